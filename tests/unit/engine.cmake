target_sources(mayfly-unit-tests PRIVATE
  "${CMAKE_CURRENT_LIST_DIR}/controller_sandbox_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_body_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_client_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_endpoint_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_outcome_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_parse_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_stream_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_tls_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/docker_transport_test.cc")
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_engine_docker nlohmann_json::nlohmann_json fmt::fmt)
