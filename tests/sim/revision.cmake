# Writes OUT, which says from which revision of SOURCE it was built; touches it only when that has
# changed. Asked at every build, and not when the program runs: by then the work tree may have gone
# on.
execute_process(COMMAND git -C "${SOURCE}" describe --always --dirty --exclude=*
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT revision)
  set(revision "unknown")
endif()
set(text "#include \"tests/sim/revision.h\"\nconst char* const mayfly::sim::kRevision = \"${revision}\";\n")
set(before "")
if(EXISTS "${OUT}")
  file(READ "${OUT}" before)
endif()
if(NOT text STREQUAL before)
  file(WRITE "${OUT}" "${text}")
endif()
