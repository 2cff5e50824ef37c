// The HTTP/1.1 server: sockets, deadlines, framing, and who may talk to us. What is answered is
// the Service's.
//
// Everything runs on the io_context's one thread, but for the disk pool. Every connection has a
// deadline at every moment: a client can be slow, silent or gone, and costs one connection of
// max_connections for a bounded time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>

#include "api/settings.h"
#include "api/world.h"
#include "store/error.h"

namespace mayfly::api {

class Server {
public:
    // All references outlive the io_context's last handler; disk_pool is joined before the
    // io_context is destroyed.
    Server(boost::asio::io_context& io, Settings settings, const World& world);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // Binds and listens. `invalid` for an address that is none, or that is not loopback without
    // allow_remote; `locked` when somebody else listens there; `io` else. The message says which
    // address, and what to do.
    store::Result<void> open();
    // Accepts from here on.
    void start();
    // Stops accepting, lets requests under way finish for grace_ms, answers whoever waits, then
    // cuts what is left.
    boost::asio::awaitable<void> stop(std::int64_t grace_ms);

    // The TCP port that is listened on, 0 when there is none. For `listen` with port 0.
    [[nodiscard]] std::uint16_t port() const;
    [[nodiscard]] std::size_t connections() const;

private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace mayfly::api
