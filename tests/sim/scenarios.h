// Named small histories, each of them crashed at every single side effect.
#pragma once

#include <string>
#include <vector>

#include "tests/sim/history.h"

namespace mayfly::sim {

struct Scenario {
    std::string name;
    Recipe recipe;
    bool pairs = false;        // small enough for every pair of crashes
    bool may_be_lost = false;  // it contains an end that nobody can know
};

[[nodiscard]] const std::vector<Scenario>& scenarios();

struct Sweep {
    std::int64_t effects = 0;
    std::int64_t histories = 0;
    std::int64_t lost_by_process_crash = 0;
    std::int64_t lost_by_power_loss = 0;
    std::vector<std::string> failures;  // with what to do to see it again
};

// Crashes at each side effect: before it, after it and before its answer, after its answer; as a
// process and as a machine. With `pairs`: every two process crashes. `share`: this worker's part.
[[nodiscard]] Sweep crash_everywhere(const Scenario& scenario, bool pairs, std::int64_t worker,
                                     std::int64_t workers);

}  // namespace mayfly::sim
