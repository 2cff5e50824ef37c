#include "tests/sim/world.h"

#include <cstdio>
#include <cstdlib>

namespace mayfly::sim {
namespace {

// Long after the mtime that marks an untouched claim, which no fresh one may be.
constexpr UnixMs kBeginMs = 1'800'000'000'000;
constexpr std::int64_t kAskedMax = 1'000'000;
constexpr std::uint64_t kFnvPrime = 0x100000001b3ULL;

}  // namespace

std::uint64_t Rng::next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    auto z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

std::int64_t Rng::below(std::int64_t bound) {
    return bound <= 1 ? 0 : static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(bound));
}

bool Rng::chance(double probability) {
    return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability;
}

std::string_view to_string(CrashWhen when) {
    switch (when) {
        case CrashWhen::before:
            return "before";
        case CrashWhen::after:
            return "after";
        default:
            return "seen";
    }
}

World::World(std::uint64_t seed, bool keep_trace)
    : seed_(seed), now_ms_(kBeginMs), keep_trace_(keep_trace) {
    Rng seeds(seed * 0x2545F4914F6CDD1DULL + 1);
    for (std::size_t i = 0; i < kStreamCount; ++i) streams_.emplace_back(seeds.next());
}

void World::at(UnixMs when_ms, std::function<void()> event) {
    events_.emplace(std::pair(std::max(when_ms, now_ms_), ++sequence_), std::move(event));
}

void World::asked() const {
    if (++asked_ < kAskedMax) return;
    fmt::print("seed {}: I22: it spins: {} looks at the clock in one moment\n", seed_, asked_);
    std::fflush(stdout);
    std::_Exit(1);
}

bool World::advance(UnixMs until_ms) {
    asked_ = 0;
    const auto first = events_.begin();
    if (first == events_.end() || first->first.first > until_ms) {
        now_ms_ = std::max(now_ms_, until_ms);
        return false;
    }
    now_ms_ = first->first.first;
    const auto event = std::move(first->second);
    events_.erase(first);
    event();
    return true;
}

void World::note(const std::string& line) {
    for (const char c : line) {
        hash_ = (hash_ ^ static_cast<unsigned char>(c)) * kFnvPrime;
    }
    hash_ = (hash_ ^ static_cast<std::uint64_t>(now_ms_)) * kFnvPrime;
    if (keep_trace_) fmt::print("{:>10} {}\n", now_ms_ - kBeginMs, line);
}

void World::violate(std::string_view invariant, std::string message) {
    if (violated()) return;
    invariant_ = invariant;
    violation_ = std::move(message);
    trace("VIOLATED {}: {}", invariant_, violation_);
}

const CrashPoint* World::due(CrashWhen when) const {
    for (const auto& point : crash_points_) {
        if (point.effect == effects_ && point.when == when) return &point;
    }
    return nullptr;
}

bool World::may(const LifePtr& life, std::string_view effect) {
    if (life->dying && life->alive) kill(life, life->power_lost, "after it saw an answer");
    if (!life->alive) return false;
    ++effects_;
    effect_names_.emplace_back(effect);
    if (const auto* point = due(CrashWhen::before)) {
        kill(life, point->power_loss, fmt::format("before {} ({})", effects_, effect));
        return false;
    }
    return true;
}

void World::did(const LifePtr& life) {
    const auto* point = due(CrashWhen::after);
    if (point == nullptr || !life->alive) return;
    kill(life, point->power_loss, fmt::format("after {}", effects_));
}

void World::saw(const LifePtr& life) {
    const auto* point = due(CrashWhen::seen);
    if (point == nullptr || !life->alive) return;
    life->dying = true;
    life->power_lost = point->power_loss;
}

void World::kill(const LifePtr& life, bool power_loss, std::string_view why) {
    if (!life->alive) return;
    life->alive = false;
    life->power_lost = power_loss;
    trace("process {} {} {}", life->number, power_loss ? "loses power" : "is killed", why);
}

}  // namespace mayfly::sim
