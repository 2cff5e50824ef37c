#include "controller/webhook/delivery.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace mayfly::controller::webhook {
namespace {

constexpr int kGone = 410;

std::string error_of(const TryResult& result) {
    if (result.status == 0) return result.error;
    if (result.status >= 300 && result.status < 400) {
        return fmt::format("answered {}: redirects are not followed", result.status);
    }
    return fmt::format("answered {}", result.status);
}

}  // namespace

Verdict judge(const TryResult& result, std::int64_t tries, const DeliveryPolicy& policy,
              store::UnixMs now_ms, std::uint64_t random) {
    using What = Verdict::What;
    if (result.status >= 200 && result.status < 300) return {.what = What::delivered};
    auto error = error_of(result);
    if (result.status == kGone) {
        return {.what = What::given_up, .error = error + ": the receiver wants no more"};
    }
    if (tries >= policy.tries_max) return {.what = What::given_up, .error = std::move(error)};
    auto delay_ms = backoff_ms(policy.backoff, tries, random);
    if (result.retry_after_s) {
        const auto asked_s =
            std::clamp<std::int64_t>(*result.retry_after_s, 0, policy.retry_after_max_s);
        delay_ms = std::max(delay_ms, asked_s * 1'000);
    }
    return {.what = What::again, .next_ms = now_ms + delay_ms, .error = std::move(error)};
}

std::optional<std::int64_t> parse_retry_after(std::string_view text) {
    std::int64_t seconds = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, seconds);
    if (error != std::errc() || stop != end || seconds < 0) return std::nullopt;
    return seconds;
}

}  // namespace mayfly::controller::webhook
