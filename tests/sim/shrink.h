// The shortest story with the same end: of a failing history, what can be left out.
#pragma once

#include "tests/sim/history.h"

namespace mayfly::sim {

struct Story {
    Recipe recipe;
    Outcome outcome;
    std::int64_t replays = 0;
};

// Leaves out acts, crashes and faults, one after the other, as long as the same invariant breaks.
// At most `replays_max` histories are played.
[[nodiscard]] Story shrink(const Recipe& failing, std::int64_t replays_max);
// For people: jobs, acts, crashes, faults.
[[nodiscard]] std::string tell(const Story& story);

}  // namespace mayfly::sim
