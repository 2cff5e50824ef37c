target_sources(mayfly-unit-tests PRIVATE
  store_data_dir_test.cc
  store_database_test.cc
  store_event_test.cc
  store_fsync_test.cc
  store_ids_test.cc
  store_model_test.cc
  store_schema_test.cc
  store_store_test.cc
  store_tar_test.cc
  store_transition_test.cc
  store_types_test.cc
  store_webhook_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_store SQLiteCpp SQLite::SQLite3
                      LibArchive::LibArchive)
