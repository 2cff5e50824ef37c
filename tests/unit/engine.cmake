target_sources(mayfly-unit-tests PRIVATE
  controller_sandbox_test.cc
  docker_body_test.cc
  docker_client_test.cc
  docker_endpoint_test.cc
  docker_outcome_test.cc
  docker_parse_test.cc
  docker_stream_test.cc
  docker_tls_test.cc
  docker_transport_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_engine_docker nlohmann_json::nlohmann_json fmt::fmt)
