target_sources(mayfly-unit-tests PRIVATE
  api_assets_test.cc api_codec_test.cc api_diagnosis_test.cc api_grammar_test.cc api_head_test.cc api_multipart_test.cc api_sse_test.cc
  api_submission_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_api_core)
target_sources(mayfly-unit-tests PRIVATE api_openapi_test.cc)
