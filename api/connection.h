// One client's connection: reads heads and bodies, writes answers, each with its deadline. The
// only Beast in the product's API is behind this and server.h.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <memory>
#include <optional>
#include <string>

#include "api/header_block.h"
#include "api/http.h"
#include "api/settings.h"
#include "store/clock.h"

namespace mayfly::api {

class Connection final : public Client {
public:
    using Protocol = boost::asio::generic::stream_protocol;
    using Socket = Protocol::socket;

    // `settings` and `clock` outlive it. `is_local`: a unix socket, which no web page can reach.
    Connection(Socket socket, bool is_local, const Settings& settings, store::Clock& clock);

    // The next head. Nothing = the client is gone, or silent for too long: close. A problem =
    // answer it and close.
    boost::asio::awaitable<std::optional<Answer<std::shared_ptr<Request>>>> read_request();
    // False when the client could not be given all of it, or was not to be: then the connection
    // must be closed, which is how he can tell. `head_only`: for HEAD.
    boost::asio::awaitable<bool> write(Response response, bool head_only, bool keep_alive);
    // Whether what is left of the body is so small that reading it is cheaper than a new
    // connection.
    [[nodiscard]] bool can_skip_body() const;
    // Reads it, after the answer: a client may wait for the answer before it sends on. False when
    // it did not come.
    boost::asio::awaitable<bool> skip_body();
    // Bytes of the client are, or may be, unread: closing now would reset the connection under our
    // answer.
    [[nodiscard]] bool has_unread() const;
    // Says goodbye so that the client can read the last answer although its body was not read:
    // half-close, and read what comes for a while.
    boost::asio::awaitable<void> linger();

    boost::asio::awaitable<Answer<std::size_t>> read_body(std::span<std::byte> into) override;
    [[nodiscard]] bool gone() override;

    void close();
    [[nodiscard]] bool is_local() const { return is_local_; }
    // No request is under way: it can be closed without hurting anybody.
    [[nodiscard]] bool idle() const { return idle_; }
    // Of the request that is under way: whether the client would like to go on after it.
    [[nodiscard]] bool wants_keep_alive() const;

private:
    using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;

    boost::asio::awaitable<Answer<std::size_t>> read_head();
    Answer<std::shared_ptr<Request>> parse_head(std::size_t size);
    [[nodiscard]] std::string_view buffered() const;
    [[nodiscard]] std::int64_t body_time_left_ms() const;
    boost::asio::awaitable<bool> write_text(std::string_view head, std::string_view body);
    boost::asio::awaitable<bool> write_file(const FileSlice& file);
    boost::asio::awaitable<bool> write_stream(BodyStream& body, bool chunked);
    boost::asio::awaitable<bool> write_piece(std::string_view bytes);
    // A negative length: it is not known, the body is sent in chunks.
    [[nodiscard]] std::string head_of(const Response& response, std::int64_t length,
                                      bool keep_alive) const;
    // An old client can be told the end of a body only by the end of the connection.
    [[nodiscard]] bool understands_chunks() const;

    boost::beast::basic_stream<Protocol> stream_;
    boost::beast::flat_buffer buffer_;
    std::optional<Parser> parser_;
    const Settings& settings_;
    store::Clock& clock_;
    HeaderLimits header_limits_;
    bool is_local_;
    bool idle_ = true;
    bool first_ = true;
    bool gone_ = false;
    bool wants_continue_ = false;
    std::int64_t body_began_us_ = 0;
    std::int64_t body_bytes_ = 0;
};

}  // namespace mayfly::api
