// Which queued run may be prepared, and which prepared run may start. Pure.
//
// Order: priority (higher first), then the owner with the least under way, then age. A candidate
// that does not fit the memory or CPU budget is passed over, so that smaller ones go on, until it
// has waited `starvation_ms`: from then on nothing behind it is admitted, and the budget drains
// for it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "store/clock.h"

namespace mayfly::controller {

struct Candidate {
    std::string key;
    std::string owner;
    std::int64_t priority = 0;
    store::UnixMs created_ms = 0;
    std::int64_t memory_bytes = 0;
    std::int64_t cpu_millis = 0;
};

// What is under way. `running` counts from the committed start intent until the exit is seen: a
// slot is taken by everything that may be executing.
struct Usage {
    std::int64_t running = 0;
    std::int64_t preparing = 0;     // bound, and without a start intent
    std::int64_t memory_bytes = 0;  // of the running
    std::int64_t cpu_millis = 0;
    std::map<std::string, std::int64_t> by_owner;  // running + preparing
};

struct AdmissionLimits {
    std::int64_t max_running = 4;
    std::int64_t prepare_ahead = 4;  // prepared beyond the free run slots
    std::int64_t memory_bytes = 0;   // 0 = no budget
    std::int64_t cpu_millis = 0;
    std::int64_t starvation_ms = 30'000;
};

// Sorted by the order above; ties by key.
void sort_candidates(std::vector<Candidate>& candidates,
                     const std::map<std::string, std::int64_t>& by_owner);

// The keys of `queued` that may be prepared now, in order.
[[nodiscard]] std::vector<std::string> admit_to_prepare(std::vector<Candidate> queued,
                                                        const Usage& usage,
                                                        const AdmissionLimits& limits);
// The keys of `prepared` that may start now, in order.
[[nodiscard]] std::vector<std::string> admit_to_start(std::vector<Candidate> prepared,
                                                      const Usage& usage,
                                                      const AdmissionLimits& limits,
                                                      store::UnixMs now_ms);

}  // namespace mayfly::controller
