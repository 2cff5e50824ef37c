#include "api/connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <chrono>
#include <cstdio>

#include "api/codec.h"
#include "api/router.h"

namespace mayfly::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kHeadReadBytes = 4 << 10;
constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::int64_t kSkipBodyMaxBytes = 64 << 10;
constexpr std::int64_t kLingerMaxBytes = 16 << 20;

std::chrono::milliseconds ms(std::int64_t value) { return std::chrono::milliseconds(value); }

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

std::string_view reason_phrase(int status) {
    const auto phrase = http::obsolete_reason(static_cast<http::status>(status));
    return {phrase.data(), phrase.size()};
}

}  // namespace

Connection::Connection(Socket socket, bool is_local, const Settings& settings, store::Clock& clock)
    : stream_(std::move(socket)), settings_(settings), clock_(clock), is_local_(is_local) {
    header_limits_.max_header_bytes = static_cast<std::size_t>(settings.max_header_bytes);
    header_limits_.max_request_line_bytes =
        static_cast<std::size_t>(settings.max_request_line_bytes);
    buffer_.max_size(header_limits_.max_header_bytes + kPieceBytes);
}

std::string_view Connection::buffered() const {
    const auto data = buffer_.data();
    return {static_cast<const char*>(data.data()), data.size()};
}

void Connection::close() {
    gone_ = true;
    stream_.cancel();
    beast::error_code ignored;
    stream_.socket().close(ignored);
}

bool Connection::gone() {
    if (gone_) return true;
    char byte = 0;
    const ssize_t got =
        ::recv(stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    // Half closed counts as gone: a client that will not send again can not be told from one that
    // has left.
    gone_ = got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    return gone_;
}

bool Connection::wants_keep_alive() const { return parser_ && parser_->get().keep_alive(); }

// The size of a whole head in the buffer; 0 = the client is gone.
asio::awaitable<Answer<std::size_t>> Connection::read_head() {
    idle_ = true;
    bool begun = false;
    stream_.expires_after(ms(first_ ? settings_.header_timeout_ms : settings_.idle_timeout_ms));
    while (true) {
        // An empty line before a request is a leftover of old clients (RFC 9112 §2.2).
        while (buffered().starts_with("\r\n")) buffer_.consume(2);
        if (!buffered().empty() && !begun) {
            // From here on the whole header has one deadline: bytes that trickle in do not move
            // it.
            begun = true;
            idle_ = false;
            stream_.expires_after(ms(settings_.header_timeout_ms));
        }
        const std::size_t size = head_size(buffered());
        if (size > 0) co_return size;
        if (buffered().size() > header_limits_.max_header_bytes) {
            co_return std::unexpected(oversized_head(buffered(), header_limits_));
        }
        const auto room = buffer_.prepare(kHeadReadBytes);
        const auto [error, got] = co_await stream_.async_read_some(room, kTuple);
        if (error) co_return std::size_t{0};
        buffer_.commit(got);
    }
}

Answer<std::shared_ptr<Request>> Connection::parse_head(std::size_t size) {
    const std::string_view head = buffered().substr(0, size);
    if (auto problem = check_head(head, header_limits_)) return std::unexpected(*problem);
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(head.size() + 1));
    parser_->body_limit(boost::none);
    beast::error_code error;
    parser_->put(asio::buffer(head), error);
    if (error && error != http::error::need_buffer) {
        return refuse(ProblemType::bad_request, "The header cannot be read: " + error.message());
    }
    if (!parser_->is_header_done()) {
        return refuse(ProblemType::bad_request, "The header cannot be read.");
    }
    parser_->eager(true);
    const auto& message = parser_->get();
    auto target = split_target({message.target().data(), message.target().size()});
    if (!target) return std::unexpected(std::move(target.error()));
    auto request = std::make_shared<Request>();
    request->method = {message.method_string().data(), message.method_string().size()};
    request->path = std::move(target->path);
    request->query = std::move(target->query);
    for (const auto& field : message) {
        request->headers.emplace_back(
            lower({field.name_string().data(), field.name_string().size()}),
            std::string(field.value().data(), field.value().size()));
    }
    if (!target->authority.empty() && target->authority != request->header("host")) {
        return refuse(ProblemType::bad_request, "The request target and Host name two hosts.");
    }
    if (const auto length = parser_->content_length()) {
        request->content_length = static_cast<std::int64_t>(*length);
    }
    request->has_body = !parser_->is_done();
    wants_continue_ = request->has_body && message.version() >= 11 &&
                      lower(request->header("expect").value_or("")) == "100-continue";
    request->client = this;
    buffer_.consume(size);
    return request;
}

asio::awaitable<std::optional<Answer<std::shared_ptr<Request>>>> Connection::read_request() {
    parser_.reset();
    const auto size = co_await read_head();
    first_ = false;
    if (!size) co_return std::unexpected(size.error());
    if (*size == 0) {
        gone_ = true;
        co_return std::nullopt;
    }
    body_began_us_ = clock_.steady_us();
    body_bytes_ = 0;
    co_return parse_head(*size);
}

std::int64_t Connection::body_time_left_ms() const {
    const std::int64_t taken_ms = (clock_.steady_us() - body_began_us_) / 1'000;
    const std::int64_t earned_ms =
        body_bytes_ * 1'000 / std::max<std::int64_t>(1, settings_.body_min_bytes_per_s);
    return std::min(settings_.idle_timeout_ms, settings_.body_grace_ms + earned_ms - taken_ms);
}

asio::awaitable<Answer<std::size_t>> Connection::read_body(std::span<std::byte> into) {
    const Problem cut{ProblemType::bad_request, "The body ended before it was whole."};
    if (parser_->is_done()) co_return std::size_t{0};
    if (wants_continue_) {
        wants_continue_ = false;
        const bool sent = co_await write_piece("HTTP/1.1 100 Continue\r\n\r\n");
        if (!sent) co_return std::unexpected(cut);
    }
    auto& body = parser_->get().body();
    body.data = into.data();
    body.size = into.size();
    while (true) {
        const std::int64_t left_ms = body_time_left_ms();
        if (left_ms <= 0) {
            close();
            co_return std::unexpected(cut);
        }
        stream_.expires_after(ms(left_ms));
        auto [error, ignored] = co_await http::async_read_some(stream_, buffer_, *parser_, kTuple);
        if (error == http::error::need_buffer) error = {};
        const std::size_t got = into.size() - body.size;
        if (error) {
            const bool framing =
                error.category() == http::make_error_code(http::error::bad_chunk).category();
            const bool ended =
                error == http::error::partial_message || error == http::error::end_of_stream;
            if (framing && !ended) {
                co_return refuse(ProblemType::bad_request,
                                 "The body's framing is broken: " + error.message() + ".");
            }
            gone_ = true;
            co_return std::unexpected(cut);
        }
        body_bytes_ += static_cast<std::int64_t>(got);
        if (got > 0 || parser_->is_done()) co_return got;
    }
}

bool Connection::can_skip_body() const {
    if (!parser_ || gone_) return false;
    if (parser_->is_done()) return true;
    // A client that waits for `100 Continue` would be invited to send what nobody wants.
    const auto left = parser_->content_length_remaining();
    return left && std::cmp_less_equal(*left, kSkipBodyMaxBytes) && !wants_continue_;
}

asio::awaitable<bool> Connection::skip_body() {
    std::array<std::byte, 4 << 10> piece;
    while (!parser_->is_done()) {
        const auto got = co_await read_body(std::span(piece));
        if (!got) co_return false;
    }
    co_return true;
}

bool Connection::has_unread() const {
    return !parser_ || !parser_->is_done() || buffer_.size() > 0;
}

std::string Connection::head_of(const Response& response, std::int64_t length,
                                bool keep_alive) const {
    std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
    head += reason_phrase(response.status);
    head += "\r\nDate: " + http_date(clock_.now_ms());
    if (length < 0) {
        if (understands_chunks()) head += "\r\nTransfer-Encoding: chunked";
    } else if (response.status != 304 && response.status != 204) {
        head += "\r\nContent-Length: " + std::to_string(length);
    }
    if (!keep_alive) head += "\r\nConnection: close";
    head += "\r\nX-Content-Type-Options: nosniff\r\n";
    for (const auto& [name, value] : response.headers) {
        head += name + ": ";
        // No value can end its line: response splitting stops here, whoever made the value.
        for (const char c : value) head += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
        head += "\r\n";
    }
    return head + "\r\n";
}

asio::awaitable<bool> Connection::write(Response response, bool head_only, bool keep_alive) {
    std::int64_t length = response.file ? response.file->length : std::ssize(response.body);
    if (response.stream) length = -1;
    const std::string head = head_of(response, length, keep_alive);
    const bool no_body = head_only || response.status == 304 || response.status == 204;
    if (no_body || response.file || response.stream) {
        const bool sent = co_await write_piece(head);
        if (!sent || no_body) co_return sent;
        if (response.stream) {
            const bool chunked = understands_chunks();
            const bool all = co_await write_stream(*response.stream, chunked);
            co_return all&& chunked;
        }
        co_return co_await write_file(*response.file);
    }
    co_return co_await write_text(head, response.body);
}

asio::awaitable<bool> Connection::write_piece(std::string_view bytes) {
    stream_.expires_after(ms(settings_.write_timeout_ms));
    const auto [error, ignored] =
        co_await asio::async_write(stream_, asio::buffer(bytes.data(), bytes.size()), kTuple);
    if (error) gone_ = true;
    co_return !error;
}

bool Connection::understands_chunks() const { return parser_ && parser_->get().version() >= 11; }

asio::awaitable<bool> Connection::write_stream(BodyStream& body, bool chunked) {
    std::string framed;
    while (true) {
        BodyPiece piece = co_await body.next();
        framed.clear();
        if (!piece.bytes.empty()) {
            std::array<char, 32> size{};
            std::snprintf(size.data(), size.size(), "%zx\r\n", piece.bytes.size());
            if (chunked) framed += size.data();
            framed += piece.bytes;
            if (chunked) framed += "\r\n";
        }
        if (piece.end == BodyPiece::End::whole && chunked) framed += "0\r\n\r\n";
        if (!framed.empty()) {
            const bool sent = co_await write_piece(framed);
            if (!sent) co_return false;
        }
        if (piece.end != BodyPiece::End::none) co_return piece.end == BodyPiece::End::whole;
    }
}

asio::awaitable<bool> Connection::write_text(std::string_view head, std::string_view body) {
    const std::string_view first = body.substr(0, kPieceBytes);
    const std::array<asio::const_buffer, 2> buffers = {asio::buffer(head.data(), head.size()),
                                                       asio::buffer(first.data(), first.size())};
    stream_.expires_after(ms(settings_.write_timeout_ms));
    const auto [error, ignored] = co_await asio::async_write(stream_, buffers, kTuple);
    if (error) {
        gone_ = true;
        co_return false;
    }
    for (std::size_t at = first.size(); at < body.size(); at += kPieceBytes) {
        const bool sent = co_await write_piece(body.substr(at, kPieceBytes));
        if (!sent) co_return false;
    }
    co_return true;
}

asio::awaitable<bool> Connection::write_file(const FileSlice& file) {
    std::string piece(std::min<std::size_t>(kPieceBytes, static_cast<std::size_t>(file.length)),
                      '\0');
    std::int64_t sent_bytes = 0;
    while (sent_bytes < file.length) {
        const auto wanted = static_cast<std::size_t>(
            std::min<std::int64_t>(std::ssize(piece), file.length - sent_bytes));
        const ssize_t got = ::pread(file.fd.get(), piece.data(), wanted, file.offset + sent_bytes);
        // Too late for another status: a connection that is cut before Content-Length says it.
        if (got <= 0) co_return false;
        const bool sent =
            co_await write_piece(std::string_view(piece).substr(0, static_cast<std::size_t>(got)));
        if (!sent) co_return false;
        sent_bytes += got;
    }
    co_return true;
}

asio::awaitable<void> Connection::linger() {
    if (gone_) co_return;
    beast::error_code ignored;
    stream_.socket().shutdown(Socket::shutdown_send, ignored);
    stream_.expires_after(ms(settings_.linger_timeout_ms));
    std::array<char, 16 << 10> piece;
    for (std::int64_t total = 0; total < kLingerMaxBytes;) {
        const auto [error, got] = co_await stream_.async_read_some(asio::buffer(piece), kTuple);
        if (error) co_return;
        total += static_cast<std::int64_t>(got);
    }
}

}  // namespace mayfly::api
