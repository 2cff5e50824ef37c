// Is this daemon well, and if not, what is to be done? A row of checks over what is known at this
// moment. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/limits.h"
#include "store/live_status.h"

namespace mayfly::api {

struct Check {
    enum class State { ok, warn, fail };
    std::string name;  // "engine", "clock": stable
    State state = State::ok;
    std::string found;  // a sentence
    std::string fix;    // what to do; "" when nothing is to be done
};
[[nodiscard]] std::string_view to_string(Check::State state);

struct Patient {
    const store::LiveStatus& live;
    const store::Policy& policy;
    std::string_view store_failure;  // "" = none
    store::UnixMs now_ms = 0;
};
[[nodiscard]] std::vector<Check> diagnose(const Patient& patient);

// {"healthy","version","now","checks":[...]}.
[[nodiscard]] std::string diagnosis_text(const std::vector<Check>& checks, store::UnixMs now_ms);

}  // namespace mayfly::api
