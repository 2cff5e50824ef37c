// One try of one delivery, over the network: resolve, check, connect, POST, read the status.
//
// What keeps a webhook from becoming a way into the operator's network is here: every address that
// a name resolves to must be allowed, the connection goes to one of those very addresses (the name
// is not looked up a second time), and a redirect is an answer like any other.
//
// Thread: the executor's. Names are resolved on threads of the sender's own, because the system's
// resolver blocks for as long as it likes.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "controller/webhook/address_rules.h"
#include "controller/webhook/delivery.h"

namespace mayfly::controller::webhook {

// What is sent, all of it.
struct Post {
    std::string url;
    std::string body;  // JSON
    std::int64_t event_id = 0;
    std::int64_t number = 1;  // of this try
    std::int64_t timestamp_s = 0;
    std::string signature;  // "" = not signed
};

class Sender {
public:
    virtual ~Sender() = default;
    // Always ends within a bounded time, whatever the other side does.
    virtual boost::asio::awaitable<TryResult> send(Post post) = 0;
    // Cuts what is under way; everything after it fails at once.
    virtual void close() = 0;
};

struct SenderSettings {
    std::vector<Network> allowed;      // besides the public internet
    std::int64_t timeout_ms = 10'000;  // of one try, from the resolver to the answer's status
    std::int64_t parallel = 8;  // tries at the same time: as many names are resolved at once
    std::string ca_file;        // PEM, trusted besides the system's; "" = none
};

// The error is about ca_file.
[[nodiscard]] std::expected<std::unique_ptr<Sender>, std::string> http_sender(
    boost::asio::any_io_executor executor, SenderSettings settings);

}  // namespace mayfly::controller::webhook
