# The script's side of PID 1's tests: static, so that it also runs in an empty image.
add_executable(mayfly-init-hostile init_hostile.cc)
target_compile_options(mayfly-init-hostile
  PRIVATE -Os -Wall -Wextra -Werror -fno-exceptions -fno-rtti)
target_link_options(mayfly-init-hostile PRIVATE -static -nostdlib++ -fuse-ld=lld-19)

target_sources(mayfly-unit-tests PRIVATE init_test.cc init_box.cc)
target_link_libraries(mayfly-unit-tests PRIVATE mayfly_archive mayfly_init_image)
target_compile_definitions(mayfly-unit-tests
  PRIVATE MAYFLY_INIT_HOSTILE="$<TARGET_FILE:mayfly-init-hostile>")
add_dependencies(mayfly-unit-tests mayfly-init-hostile)
