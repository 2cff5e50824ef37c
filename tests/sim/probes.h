// Branches that are rare, and that a simulation must have been in to be worth anything.
#pragma once

#include <string_view>

namespace mayfly::sim {

inline constexpr std::string_view kProbes[] = {
    "act: crash",
};

}  // namespace mayfly::sim
