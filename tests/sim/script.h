// What a simulated script does, said in its argv, and what it must therefore leave behind. The
// engine's model runs it; the oracle knows what to expect.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mayfly::sim {

struct Script {
    std::int64_t duration_ms = 50;
    std::int64_t exit_code = 0;
    std::int64_t signal = 0;      // dies of it
    std::int64_t exec_errno = 0;  // cannot be executed
    std::int64_t seed = 0;        // of everything that it writes
    std::int64_t files = 0;       // under output/
    std::int64_t file_bytes = 200;
    std::int64_t out_bytes = 0;
    std::int64_t err_bytes = 0;
    bool writes_result = false;
    bool traps_term = false;    // exits 0 on TERM
    bool ignores_term = false;  // until PID 1's grace is over
    bool out_of_memory = false;
    bool fills_work = false;
};

[[nodiscard]] std::vector<std::string> argv_of(const Script& script);
[[nodiscard]] Script script_of(const std::vector<std::string>& argv);

[[nodiscard]] std::map<std::string, std::string> artifacts_of(const Script& script);
[[nodiscard]] std::string stdout_of(const Script& script);
[[nodiscard]] std::string stderr_of(const Script& script);
[[nodiscard]] std::string result_of(const Script& script);  // "" = none

}  // namespace mayfly::sim
