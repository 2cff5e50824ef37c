// One line for people on PID 1's standard error, which the engine logs among the script's own.
// Never blocks for long: a consumer that does not read loses the line, not the run.
#pragma once

#include <cstdint>

namespace mayfly::controller {

[[gnu::format(printf, 1, 2)]] void complain(const char* format, ...);
// Of all lines so far, as far as the engine took them: the exit record tells them from the
// script's.
[[nodiscard]] std::int64_t complained_bytes();

}  // namespace mayfly::controller
