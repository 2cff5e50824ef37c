// Why a run is where it is: what the controller saw last, what it decided by it, and what it waits
// for. Where the API asks and the controller answers; on the loop's thread. Words for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/clock.h"

namespace mayfly::store {

struct Explanation {
    struct Seen {
        std::string what;  // "container"
        std::string is;    // "running"
    };
    std::string headline;  // one sentence
    std::vector<Seen> saw;
    std::string action;     // the step that comes next, "Wait" when none does
    std::string why;        // a sentence
    std::string waits_for;  // "" = it does not wait
    UnixMs until_ms = 0;    // 0 = no time is set for it
    // While it waits for admission: its place in the order in which places are given, from 1.
    std::int64_t place = 0;
    // Steps that failed in a row, and when the next is tried; 0 = none.
    std::int64_t failures = 0;
    std::string last_error;
    UnixMs next_try_ms = 0;
};

class Explainer {
public:
    virtual ~Explainer() = default;
    // Nothing when the controller has nothing left to do for it, or does not know it (yet).
    [[nodiscard]] virtual std::optional<Explanation> explain(const std::string& run_id) const = 0;
};

}  // namespace mayfly::store
