// What `mayfly` exits with. `run` passes the script's own code on; what the client has to say
// itself is 119 to 126, as `docker run` keeps 125 to 127 for itself. Spellings are API. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

namespace mayfly::api::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitUnwell = 1;        // doctor found something wrong
inline constexpr int kExitDetached = 119;    // the run goes on without us
inline constexpr int kExitTimedOut = 120;    // a deadline of the run
inline constexpr int kExitCancelled = 121;   // somebody cancelled it
inline constexpr int kExitLost = 122;        // nobody can know how it ended
inline constexpr int kExitRefused = 123;     // mayflyd said no
inline constexpr int kExitNoContact = 124;   // mayflyd cannot be reached
inline constexpr int kExitUsage = 125;       // a wrong argument, or a local file
inline constexpr int kExitNotScript = 126;   // failed, but not by the script's exit code
inline constexpr int kExitSignalBase = 128;  // + the signal

struct ExitMeaning {
    std::string_view code;
    std::string_view meaning;
};
// For --help, the manual page and the README.
[[nodiscard]] std::span<const ExitMeaning> exit_meanings();

// What `mayfly run` exits with for a run that has ended. `status` has phase, exit_code and signal,
// as `status` of a run and the follower's `end` do.
[[nodiscard]] int exit_code_of(const nlohmann::json& status);

}  // namespace mayfly::api::cli
