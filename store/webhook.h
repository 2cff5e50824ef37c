// Deliveries: what is to be sent because of one event of one run, and how far that is. Written in
// the transaction of the event, so that an end that is durable is a delivery that is durable.
//
// A delivery carries all that it needs and outlives its run: deleting a run, or its ttl_s, takes
// those that are over and leaves those that are still to be sent. Once over, payload and secret
// are dropped, and the row goes with its run (or at once, if that is gone already).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/clock.h"

namespace mayfly::store {

enum class DeliveryState : std::uint8_t {
    pending = 0,
    delivered = 1,
    given_up = 2,
};
[[nodiscard]] std::string_view to_string(DeliveryState state);

// One to be sent.
struct WebhookDelivery {
    std::int64_t event_id = 0;  // names it
    std::string run_id;
    std::string origin;  // scheme, host and port: one delivery at a time for each
    std::string url;
    std::string secret;
    std::string payload;     // the event as JSON text: event_text
    std::int64_t tries = 0;  // made and recorded
    UnixMs next_ms = 0;      // not before
};

struct WebhookHeads {
    // Of each origin the one that is due first, by next_ms; also those that are not due yet.
    std::vector<WebhookDelivery> heads;
    std::int64_t pending = 0;  // deliveries of all origins
};

// What a try came to.
struct WebhookOutcome {
    std::int64_t event_id = 0;
    DeliveryState state = DeliveryState::pending;
    std::int64_t tries = 0;
    UnixMs next_ms = 0;            // while pending
    std::int64_t last_status = 0;  // HTTP; 0 = none came
    std::string last_error;        // for people; "" = none
};

// The newest delivery of a run.
struct WebhookProgress {
    std::int64_t event_id = 0;
    DeliveryState state = DeliveryState::pending;
    std::int64_t tries = 0;
    UnixMs next_ms = 0;
    std::int64_t last_status = 0;
    std::string last_error;
};

// "https://host:port" of a URL whose grammar was checked before, in lower case.
[[nodiscard]] std::string origin_of(std::string_view url);

}  // namespace mayfly::store
