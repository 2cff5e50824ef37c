target_sources(mayfly-unit-tests PRIVATE archive_entry_name_test.cc archive_exit_record_test.cc
               archive_harvest_test.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_archive LibArchive::LibArchive)
