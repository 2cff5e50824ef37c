// The ground that a simulated history stands on: virtual time, seeded randomness in separate
// streams, the trace, and the list of side effects at which a process can die.
//
// One thread. One seed gives one history: nothing here asks the machine for time, randomness or
// an address.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/clock.h"

namespace mayfly::sim {

using store::UnixMs;

// splitmix64: small, fast, and the same on every machine.
class Rng {
public:
    explicit Rng(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next();
    // 0 <= result < bound.
    std::int64_t below(std::int64_t bound);
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + below(high - low + 1);
    }
    bool chance(double probability);
    template <class T>
    const T& pick(const std::vector<T>& items) {
        return items[static_cast<std::size_t>(below(std::ssize(items)))];
    }

private:
    std::uint64_t state_;
};

// A change of one fault's probability must not change the workload of the same seed.
enum class Stream : std::uint8_t { workload, schedule, engine, faults, disk, nonces, receivers };
inline constexpr std::size_t kStreamCount = 7;

// One process of the controller, from its start to its death. Whatever it still holds when it is
// dead has no effect any more.
struct Life {
    std::int64_t number = 0;
    bool alive = true;
    bool power_lost = false;
    bool dying = false;  // it has seen an answer and will have no further effect
};
using LifePtr = std::shared_ptr<Life>;

enum class CrashWhen : std::uint8_t { before, after, seen };
[[nodiscard]] std::string_view to_string(CrashWhen when);

struct CrashPoint {
    std::int64_t effect = 0;  // 1..; counted over all lives of a history
    CrashWhen when = CrashWhen::before;
    bool power_loss = false;
};

class World {
public:
    World(std::uint64_t seed, bool keep_trace);

    // ---- time
    [[nodiscard]] UnixMs now_ms() const { return now_ms_; }
    // The product has asked for the time. One that asks for ever while none goes by spins: the end
    // of this program, for nothing else can stop it.
    void asked() const;
    void at(UnixMs when_ms, std::function<void()> event);
    void after(std::int64_t delay_ms, std::function<void()> event) {
        at(now_ms_ + delay_ms, std::move(event));
    }
    // Moves to the next event and runs it. False: there is none up to `until_ms`, which is now.
    bool advance(UnixMs until_ms);

    // ---- randomness
    Rng& rng(Stream stream) { return streams_[static_cast<std::size_t>(stream)]; }

    // ---- what happened
    template <class... Args>
    void trace(fmt::format_string<Args...> format, Args&&... args) {
        note(fmt::format(format, std::forward<Args>(args)...));
    }
    [[nodiscard]] std::uint64_t trace_hash() const { return hash_; }
    // A rare branch was taken.
    void probe(std::string_view name) { probes_.emplace(name); }
    [[nodiscard]] const std::set<std::string, std::less<>>& probes() const { return probes_; }
    // An invariant does not hold. The first one stays.
    void violate(std::string_view invariant, std::string message);
    [[nodiscard]] bool violated() const { return !invariant_.empty(); }
    [[nodiscard]] const std::string& invariant() const { return invariant_; }
    [[nodiscard]] const std::string& violation() const { return violation_; }

    // ---- side effects
    void crash_at(std::vector<CrashPoint> points) { crash_points_ = std::move(points); }
    // About to have an effect. False: the process is dead, or dies here, and there is none.
    bool may(const LifePtr& life, std::string_view effect);
    // It took place. The process may die before it hears of that.
    void did(const LifePtr& life);
    // The process has heard.
    void saw(const LifePtr& life);
    void kill(const LifePtr& life, bool power_loss, std::string_view why);
    [[nodiscard]] std::int64_t effects() const { return effects_; }
    [[nodiscard]] const std::vector<std::string>& effect_names() const { return effect_names_; }

private:
    void note(const std::string& line);
    [[nodiscard]] const CrashPoint* due(CrashWhen when) const;

    std::uint64_t seed_;
    UnixMs now_ms_;
    mutable std::int64_t asked_ = 0;
    std::int64_t sequence_ = 0;
    std::map<std::pair<UnixMs, std::int64_t>, std::function<void()>> events_;
    std::vector<Rng> streams_;
    bool keep_trace_;
    std::uint64_t hash_ = 0xcbf29ce484222325ULL;
    std::set<std::string, std::less<>> probes_;
    std::string invariant_;
    std::string violation_;
    std::vector<CrashPoint> crash_points_;
    std::int64_t effects_ = 0;
    std::vector<std::string> effect_names_;
};

// Time and randomness as the product asks for them.
class WorldClock final : public store::Clock {
public:
    explicit WorldClock(const World& world) : world_(world) {}
    [[nodiscard]] UnixMs now_ms() const override {
        world_.asked();
        return world_.now_ms();
    }
    [[nodiscard]] std::int64_t steady_us() const override { return world_.now_ms() * 1'000; }

private:
    const World& world_;
};

class WorldRandom final : public store::Random {
public:
    explicit WorldRandom(World& world) : world_(world) {}
    [[nodiscard]] std::uint64_t next_u64() override { return world_.rng(Stream::nonces).next(); }

private:
    World& world_;
};

}  // namespace mayfly::sim
