// What goes wrong between the controller and its engine. A seed picks which kinds may happen in
// its history and how often (swarm testing). Whether the n-th call of a kind meets one follows
// from the seed and n alone: a failing history can be told again with fewer of them, and the
// others stay where they were.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/world.h"

namespace mayfly::sim {

enum class Fault : std::uint8_t {
    none,
    refused,        // nothing was sent
    lost_request,   // it never arrived; the caller's deadline passes
    error_before,   // 500, and nothing changed
    lost_reply,     // it happened; the connection was cut
    late_effect,    // the caller's deadline passes, and then it happens
    error_after,    // 500, and it happened
    unreadable,     // it happened; the reply is no JSON
    slow,           // it takes long
    torn_body,      // an archive arrives short, and the engine said 200
    cut_body,       // an archive arrives short, and the connection was cut
    half_put,       // an archive is put half-way
    stale,          // a list is older than what was said before
    dropped_limit,  // a limit is not in force
    volume_only,    // create made the volume, and failed
    start_failed,   // the runtime could not start it; it stays created
    slow_removal,   // it is `removing` for a while
    repeated_event,
    late_event,
    lost_event,
};
inline constexpr std::size_t kFaultCount = 20;
[[nodiscard]] std::string_view to_string(Fault fault);

class Faults {
public:
    Faults(World& world, bool none)
        : world_(world), on_(!none), seed_(world.rng(Stream::faults).next()) {
        shares_.fill(0);
    }

    // Which kinds this history has, and how often.
    void draw_swarm();
    void set(Fault fault, double share) { shares_[static_cast<std::size_t>(fault)] = share; }
    void heal() { on_ = false; }
    // Only these of the faults that would fire are allowed to: for a shorter story.
    void allow_only(std::set<std::string> sites) { allowed_ = std::move(sites); }

    // The fault that this call meets, of those that can happen to it.
    Fault draw(std::string_view call, const std::vector<Fault>& possible);
    // "POST /containers/{id}/start #2: lost reply"
    [[nodiscard]] const std::set<std::string>& fired() const { return fired_; }

private:
    World& world_;
    bool on_;
    std::array<double, kFaultCount> shares_{};
    std::uint64_t seed_;
    std::map<std::string, std::int64_t, std::less<>> calls_;
    std::set<std::string> fired_;
    std::optional<std::set<std::string>> allowed_;
};

}  // namespace mayfly::sim
