// What becomes of a delivery after a try. Pure: time and jitter are arguments.
//
// 2xx is delivered. Everything else is tried again until the tries are used up, but for 410 Gone,
// by which a receiver says that it wants no more. Other 4xx are tried again as well, as Stripe and
// the Standard Webhooks do: a 404, 401 or 403 is most often a receiver in the middle of a deploy,
// behind a proxy that lost its way, or with a secret being changed, and a try costs little, while
// a result that nobody heard of is lost. A redirect is a failure: it would be followed to a place
// that nobody has checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "controller/backoff.h"
#include "store/clock.h"

namespace mayfly::controller::webhook {

// How one try ended.
struct TryResult {
    int status = 0;  // 0 = there was no answer, and `error` says why
    std::string error;
    std::optional<std::int64_t> retry_after_s;
    bool refused = false;  // nothing was sent: the address is not allowed
};

struct DeliveryPolicy {
    std::int64_t tries_max = 20;
    BackoffPolicy backoff{2'000, 3'600'000};
    std::int64_t retry_after_max_s = 3'600;  // of a Retry-After that asks for more
};

struct Verdict {
    enum class What : std::uint8_t { delivered, again, given_up };
    What what = What::again;
    store::UnixMs next_ms = 0;  // only for `again`
    std::string error;          // for people; "" when it was delivered
    bool operator==(const Verdict&) const = default;
};

// `tries` counts this one. `random` is the jitter, see backoff_ms.
[[nodiscard]] Verdict judge(const TryResult& result, std::int64_t tries,
                            const DeliveryPolicy& policy, store::UnixMs now_ms,
                            std::uint64_t random);

// The whole seconds of a Retry-After header; nothing for a date or anything else.
[[nodiscard]] std::optional<std::int64_t> parse_retry_after(std::string_view text);

}  // namespace mayfly::controller::webhook
