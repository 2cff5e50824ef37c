#include "controller/backoff.h"

#include <algorithm>

namespace mayfly::controller {

std::int64_t backoff_ms(const BackoffPolicy& policy, std::int64_t failures, std::uint64_t random) {
    auto delay = policy.first_ms;
    for (std::int64_t n = 1; n < failures && delay < policy.max_ms; ++n) delay *= 2;
    delay = std::clamp<std::int64_t>(delay, 1, policy.max_ms);
    const auto half = delay / 2;
    const auto span = static_cast<std::uint64_t>(delay - half) + 1;
    return half + static_cast<std::int64_t>(random % span);
}

}  // namespace mayfly::controller
