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
    if (!on_ || possible.empty()) return Fault::none;
    auto kind = std::string(call) + std::string(to_string(possible.front()));
    const auto count = ++calls_[kind];
    Rng rng(seed_ + std::hash<std::string>{}(kind) + static_cast<std::uint64_t>(count) * 977);
    for (const auto fault : possible) {
        const auto share = shares_[static_cast<std::size_t>(fault)];
        if (share <= 0.0 || !rng.chance(share)) continue;
        auto site = fmt::format("{} #{}: {}", call, count, to_string(fault));
        if (allowed_ && !allowed_->contains(site)) continue;
        world_.trace("fault: {}", site);
        world_.probe(fmt::format("fault: {}", to_string(fault)));
        fired_.insert(std::move(site));
        return fault;
    }
    return Fault::none;
}

}  // namespace mayfly::sim
