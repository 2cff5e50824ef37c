// Sends what is pending, each in its time: level-triggered, like the reconcile loop.
//
// The store is the queue. A round reads of each receiver (scheme, host and port) the delivery that
// is due first, starts what is due as far as there is room, and sleeps until the next is due, a
// try ends, a run with a webhook changes, or a run goes. One try at a time for each receiver, so
// that a slow one holds one place and no more. A try is recorded after it ended: a crash in
// between sends it again, under the same event id and the same number.
//
// Thread: the executor's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "controller/alarm.h"
#include "controller/webhook/delivery.h"
#include "controller/webhook/sender.h"
#include "metrics/families.h"
#include "store/clock.h"
#include "store/store.h"

namespace mayfly::controller::webhook {

struct DispatcherSettings {
    DeliveryPolicy policy;
    std::int64_t parallel = 8;
};

// All must outlive it.
struct DispatcherWorld {
    boost::asio::any_io_executor executor;
    store::Store& store;
    Sender& sender;
    Alarms& alarms;
    store::Clock& clock;
    store::Random& random;
    metrics::Families& families;
};

class Dispatcher {
public:
    Dispatcher(DispatcherWorld world, DispatcherSettings settings);
    Dispatcher(const Dispatcher&) = delete;
    Dispatcher& operator=(const Dispatcher&) = delete;

    // Until stop(), or until the store takes no more calls.
    boost::asio::awaitable<void> run();
    // Starts nothing new.
    void stop();
    // After stop(): returns when no try is under way any more, or after `grace_ms`. What is under
    // way then is sent again at the next start.
    boost::asio::awaitable<void> rest(std::int64_t grace_ms);

private:
    boost::asio::awaitable<void> deliver(store::WebhookDelivery delivery);
    [[nodiscard]] std::int64_t start_due(std::vector<store::WebhookDelivery> heads);
    void log_try(const store::WebhookDelivery& delivery, const TryResult& result,
                 const Verdict& verdict, double seconds);

    DispatcherWorld world_;
    DispatcherSettings settings_;
    std::unique_ptr<Alarm> alarm_;
    std::unique_ptr<Alarm> rest_alarm_;
    std::set<std::string> busy_;  // origins with a try under way
    bool stopping_ = false;
    bool cut_ = false;  // what is under way was closed from here
};

}  // namespace mayfly::controller::webhook
