#include "tests/sim/faults.h"

namespace mayfly::sim {
namespace {

constexpr std::string_view kNames[] = {
    "none",         "refused",      "lost request",   "error before",  "lost reply",
    "late effect",  "error after",  "unreadable",     "slow",          "torn body",
    "cut body",     "half put",     "stale list",     "dropped limit", "volume only",
    "start failed", "slow removal", "repeated event", "late event",    "lost event",
};
static_assert(std::size(kNames) == kFaultCount);

}  // namespace

std::string_view to_string(Fault fault) { return kNames[static_cast<std::size_t>(fault)]; }

void Faults::draw_swarm() {
    auto& rng = world_.rng(Stream::faults);
    for (std::size_t i = 1; i < kFaultCount; ++i) {
        const bool active = rng.chance(0.25);
        const double share = rng.chance(0.2) ? 0.3 : 0.06;
        shares_[i] = active ? share : 0.0;
    }
    // A run whose limits are dropped ends at once: rare, or there is little else to see.
    shares_[static_cast<std::size_t>(Fault::dropped_limit)] *= 0.3;
}

Fault Faults::draw(std::string_view call, const std::vector<Fault>& possible) {
    if (!on_) return Fault::none;
    auto& rng = world_.rng(Stream::faults);
    for (const auto fault : possible) {
        const auto share = shares_[static_cast<std::size_t>(fault)];
        if (share <= 0.0 || !rng.chance(share)) continue;
        const auto site = ++sites_;
        if (allowed_ && !allowed_->contains(site)) continue;
        fired_.emplace(site, fmt::format("{}: {}", call, to_string(fault)));
        world_.trace("fault: {}: {}", call, to_string(fault));
        world_.probe(fmt::format("fault: {}", to_string(fault)));
        return fault;
    }
    return Fault::none;
}

}  // namespace mayfly::sim
