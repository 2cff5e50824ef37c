target_sources(mayfly-unit-tests PRIVATE metrics_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_metrics mayfly_store_types)
