// How long to wait before the n-th try. Pure: the jitter comes in as a number, so that a seed
// gives a history.
#pragma once

#include <cstdint>

namespace mayfly::controller {

struct BackoffPolicy {
    std::int64_t first_ms = 100;
    std::int64_t max_ms = 15'000;
};

// Doubles from first_ms to max_ms; `failures` counts from 1. `random` spreads it over [1/2, 1] of
// that.
[[nodiscard]] std::int64_t backoff_ms(const BackoffPolicy& policy, std::int64_t failures,
                                      std::uint64_t random);

}  // namespace mayfly::controller
