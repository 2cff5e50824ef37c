// HTTP/1.1 to one engine: connections, deadlines, bytes. Knows nothing of Docker but where it is.
//
// One request at a time on a connection; a few idle ones are kept. Replies are decoded as they
// arrive, in one buffer a connection. All of it runs on the loop's thread.
//
// When a request is sent twice. Never, but for two cases in which the first sending cannot have
// been acted on: the idle connection that was taken for it took not one byte (any request), or it
// ended before one byte of a reply came and the request only asks (GET, HEAD). An idle connection
// may have been closed by the engine or a proxy at any time and we learn of it only by using it;
// so a request that changes something goes out on a fresh connection, or on one that was in use a
// moment ago and is seen to be open. What still fails then is unknown to its caller, as it must
// be: the engine may have acted.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "controller/engine/byte_stream.h"
#include "controller/engine/docker/endpoint.h"
#include "controller/engine/docker/log_demux.h"
#include "controller/engine/docker/outcome.h"
#include "store/clock.h"

namespace mayfly::controller::docker {

struct TransportSettings {
    Endpoint endpoint;
    std::int64_t connect_ms = 5'000;  // with the TLS handshake
    std::size_t idle_connections = 8;
    std::int64_t idle_keep_ms = 20'000;
    // A request that changes something is sent on a connection that rested no longer than this.
    std::int64_t mutation_rest_ms = 1'000;
};

struct Request {
    std::string verb;    // "GET"
    std::string target;  // "/v1.41/containers/json?all=1", encoded
    std::string body;    // JSON; "" = none
    // Instead of `body`: a tar, streamed. Outlives the call.
    ByteSource* source = nullptr;
    std::int64_t total_ms = 0;              // for the whole call; 0 = no end
    std::int64_t idle_ms = 0;               // between two movements of bytes; 0 = no end
    std::size_t reply_bytes_max = 1 << 20;  // of a body that is collected
    // The head of a 2xx reply is in.
    std::function<void()> on_accepted;
    // Body of a 2xx reply, piece by piece, instead of collecting it. An error closes the
    // connection.
    std::function<std::expected<void, StreamError>(std::span<const std::byte>)> on_bytes;

    // Ends the call from outside, with Fault::cut.
    std::shared_ptr<HangUp> hang_up;

    [[nodiscard]] bool only_asks() const { return verb == "GET" || verb == "HEAD"; }
};

struct Answer {
    int status = 0;  // 0 = no whole head arrived
    std::string api_version;
    std::string path_stat;
    std::string body;
    Fault fault = Fault::none;
    std::string fault_message;
    std::optional<StreamError> stream_error;  // of on_bytes; `fault` is local then
};

class Transport {
public:
    // Reads the certificates. The error names the file. `clock` outlives the transport.
    static std::expected<std::unique_ptr<Transport>, std::string> open(
        boost::asio::any_io_executor executor, TransportSettings settings,
        const store::Clock& clock);
    ~Transport();
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;

    // Never throws for what an engine or a network can do.
    boost::asio::awaitable<Answer> exchange(Request request);
    // Ends every call under way with Fault::cut, and refuses new ones.
    void close();
    [[nodiscard]] std::size_t idle_count() const;
    [[nodiscard]] std::int64_t connects() const;  // attempted so far

private:
    class Core;
    explicit Transport(std::shared_ptr<Core> core);
    // Shared with the calls under way: their frames may outlive this object.
    std::shared_ptr<Core> core_;
};

}  // namespace mayfly::controller::docker
