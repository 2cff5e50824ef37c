target_sources(mayfly-unit-tests PRIVATE metrics_log_test.cc metrics_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_metrics mayfly_store_types)
