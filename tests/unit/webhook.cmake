target_sources(mayfly-unit-tests PRIVATE webhook_dispatcher_test.cc webhook_rules_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_webhook)
