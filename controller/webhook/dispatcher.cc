#include "controller/webhook/dispatcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "controller/detached.h"
#include "controller/webhook/signature.h"
#include "metrics/log.h"

namespace mayfly::controller::webhook {
namespace asio = boost::asio;
namespace {

// Times are of the wall clock, and that may be set.
constexpr std::int64_t kLookEveryMs = 60'000;
// After a read or a write of the store that failed and may work again (a full disk).
constexpr std::int64_t kStoreRetryMs = 5'000;

std::string_view result_of(const TryResult& result, const Verdict& verdict) {
    if (verdict.what == Verdict::What::delivered) return metrics::kWebhookDelivered;
    if (verdict.what == Verdict::What::given_up) return metrics::kWebhookGivenUp;
    return result.refused ? metrics::kWebhookRefused : metrics::kWebhookFailed;
}

store::DeliveryState state_of(Verdict::What what) {
    if (what == Verdict::What::delivered) return store::DeliveryState::delivered;
    if (what == Verdict::What::given_up) return store::DeliveryState::given_up;
    return store::DeliveryState::pending;
}

}  // namespace

Dispatcher::Dispatcher(DispatcherWorld world, DispatcherSettings settings)
    : world_(world),
      settings_(settings),
      alarm_(world_.alarms.make()),
      rest_alarm_(world_.alarms.make()) {
    world_.store.on_change([this](const store::RunRecord& record) {
        if (record.run.spec.webhook) alarm_->ring();
    });
    // That its ttl_s is over may be the last thing to tell of a run, and is no change of a record.
    world_.store.on_purge([this](const std::string&) { alarm_->ring(); });
}

asio::awaitable<void> Dispatcher::run() {
    while (!stopping_) {
        // As many may be busy as are wanted.
        auto found = co_await world_.store.webhook_heads(2 * settings_.parallel);
        if (stopping_) break;
        if (!found) {
            if (found.error().kind == store::ErrorKind::closed) co_return;
            metrics::log_error("cannot read what webhooks are due",
                               {{"error", found.error().message}});
            co_await alarm_->wait(kStoreRetryMs);
            continue;
        }
        world_.families.set_webhooks_pending(found->pending);
        const auto delay_ms = start_due(std::move(found->heads));
        co_await alarm_->wait(delay_ms);
    }
}

// How long to wait for the next one that is due; negative: until something happens.
std::int64_t Dispatcher::start_due(std::vector<store::WebhookDelivery> heads) {
    const auto now_ms = world_.clock.now_ms();
    for (auto& delivery : heads) {
        if (busy_.contains(delivery.origin)) continue;
        if (std::cmp_greater_equal(busy_.size(), settings_.parallel)) return -1;
        // In the order of their times: none behind this one is due either.
        if (delivery.next_ms > now_ms) {
            return std::min(delivery.next_ms - now_ms, kLookEveryMs);
        }
        busy_.insert(delivery.origin);
        asio::co_spawn(world_.executor, deliver(std::move(delivery)), log_exceptions("webhook"));
    }
    return -1;
}

asio::awaitable<void> Dispatcher::deliver(store::WebhookDelivery delivery) {
    const auto began_us = world_.clock.steady_us();
    const auto number = delivery.tries + 1;
    Post post{.url = delivery.url,
              .body = delivery.payload,
              .event_id = delivery.event_id,
              .number = number,
              .timestamp_s = world_.clock.now_ms() / 1'000};
    if (!delivery.secret.empty()) {
        post.signature = sign(delivery.secret, post.timestamp_s, delivery.payload);
    }
    const auto result = co_await world_.sender.send(std::move(post));
    if (cut_) co_return;  // by us: that says nothing of the receiver
    const auto seconds = static_cast<double>(world_.clock.steady_us() - began_us) / 1e6;
    const auto now_ms = world_.clock.now_ms();
    const auto verdict = judge(result, number, settings_.policy, now_ms, world_.random.next_u64());
    world_.families.webhook_tried(result_of(result, verdict), seconds);
    log_try(delivery, result, verdict, seconds);
    store::WebhookOutcome outcome{.event_id = delivery.event_id,
                                  .state = state_of(verdict.what),
                                  .tries = number,
                                  .next_ms = verdict.next_ms,
                                  .last_status = result.status,
                                  .last_error = verdict.error};
    // Not recorded: it comes again, and the receiver knows it by its event id. But not at once,
    // or a full disk would be a storm of requests.
    auto recorded = co_await world_.store.record_webhook(outcome);
    while (!recorded && recorded.error().kind == store::ErrorKind::full && !stopping_) {
        const auto pause = world_.alarms.make();
        co_await pause->wait(kStoreRetryMs);
        recorded = co_await world_.store.record_webhook(outcome);
    }
    busy_.erase(delivery.origin);
    alarm_->ring();
    rest_alarm_->ring();
}

// Never the path or the query: they may hold a token.
void Dispatcher::log_try(const store::WebhookDelivery& delivery, const TryResult& result,
                         const Verdict& verdict, double seconds) {
    const auto level = verdict.what == Verdict::What::delivered ? metrics::LogLevel::info
                                                                : metrics::LogLevel::warn;
    const auto* message = verdict.what == Verdict::What::delivered ? "webhook delivered"
                          : verdict.what == Verdict::What::given_up
                              ? "webhook given up"
                              : "webhook failed; it comes again";
    const auto wait_ms =
        verdict.what == Verdict::What::again ? verdict.next_ms - world_.clock.now_ms() : 0;
    metrics::log(level, message,
                 {{"run", delivery.run_id},
                  {"event", delivery.event_id},
                  {"to", delivery.origin},
                  {"try", delivery.tries + 1},
                  {"status", result.status},
                  {"error", verdict.error},
                  {"again_in_ms", wait_ms},
                  {"ms", seconds * 1'000}});
}

void Dispatcher::stop() {
    stopping_ = true;
    alarm_->ring();
}

asio::awaitable<void> Dispatcher::rest(std::int64_t grace_ms) {
    const auto end_us = world_.clock.steady_us() + grace_ms * 1'000;
    while (!busy_.empty()) {
        const auto left_ms = (end_us - world_.clock.steady_us()) / 1'000;
        if (left_ms <= 0) break;
        co_await rest_alarm_->wait(left_ms);
    }
    cut_ = true;
    world_.sender.close();
}

}  // namespace mayfly::controller::webhook
