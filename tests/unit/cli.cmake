target_sources(mayfly-unit-tests PRIVATE
  api_cli_command_line_test.cc api_cli_save_test.cc api_cli_stream_test.cc api_cli_submission_test.cc
  api_cli_text_test.cc api_cli_view_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_api_cli)
