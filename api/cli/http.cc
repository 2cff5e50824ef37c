#include "api/cli/http.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "api/cli/socket.h"
#include "api/cli/tls.h"

namespace mayfly::api::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::uint32_t kMaxHeaderBytes = 64 << 10;

// The connection, with TLS or without; for Beast a SyncReadStream.
class Channel {
public:
    Channel(Wake& wake, int silence_ms) : socket_(wake, silence_ms) {}

    PolledSocket& socket() { return socket_; }
    std::expected<void, TlsError> begin_tls(const std::string& host, const std::string& ca_file) {
        return tls_.emplace(socket_).begin(host, ca_file);
    }

    std::expected<void, SocketError> send_all(std::string_view bytes) {
        return tls_ ? tls_->send_all(bytes) : socket_.send_all(bytes);
    }
    bool readable_now() { return tls_ ? tls_->readable_now() : socket_.readable_now(); }

    template <class Buffers>
    std::size_t read_some(const Buffers& buffers, beast::error_code& error) {
        error = {};
        asio::mutable_buffer into;
        for (auto at = asio::buffer_sequence_begin(buffers);
             at != asio::buffer_sequence_end(buffers) && into.size() == 0; ++at) {
            into = *at;
        }
        if (into.size() == 0) return 0;
        const std::span<char> room(static_cast<char*>(into.data()), into.size());
        const auto got = tls_ ? tls_->receive(room) : socket_.receive(room);
        if (got && *got > 0) return *got;
        if (got) {
            error = asio::error::eof;
        } else if (got.error() == kStopped) {
            error = asio::error::operation_aborted;
        } else {
            error = beast::error_code(got.error(), boost::system::system_category());
        }
        return 0;
    }
    template <class Buffers>
    std::size_t read_some(const Buffers& buffers) {
        beast::error_code error;
        const std::size_t n = read_some(buffers, error);
        if (error) throw beast::system_error(error);
        return n;
    }

private:
    PolledSocket socket_;
    std::optional<Tls> tls_;
};

std::string words_of(int error) {
    if (error == ETIMEDOUT) return "no answer in time";
    return std::error_code(error, std::generic_category()).message();
}

std::unexpected<HttpError> unreachable(const Address& address, int error) {
    if (error == kStopped)
        return std::unexpected(HttpError{HttpError::Kind::stopped, "stopped", 0});
    return std::unexpected(HttpError{
        HttpError::Kind::unreachable,
        fmt::format("cannot reach mayflyd at {}: {}", address.shown, words_of(error)), error});
}

std::expected<void, HttpError> connect_unix(PolledSocket& socket, const Address& address) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (address.socket_path.size() >= sizeof name.sun_path)
        return unreachable(address, ENAMETOOLONG);
    std::memcpy(name.sun_path, address.socket_path.data(), address.socket_path.size());
    auto connected =
        socket.connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    if (!connected) return unreachable(address, connected.error());
    return {};
}

std::expected<void, HttpError> connect_tcp(PolledSocket& socket, const Address& address) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
    if (failed != 0) {
        return std::unexpected(HttpError{
            HttpError::Kind::unreachable,
            fmt::format("cannot reach mayflyd at {}: {}", address.shown, ::gai_strerror(failed)),
            0});
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, ::freeaddrinfo);
    SocketError error = ECONNREFUSED;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
        auto connected = socket.connect(at->ai_family, at->ai_addr, at->ai_addrlen);
        if (connected) return {};
        error = connected.error();
        if (error == kStopped) break;
    }
    return unreachable(address, error);
}

std::expected<void, HttpError> begin_tls(Channel& channel, const Address& address) {
    auto begun = channel.begin_tls(address.host, address.ca_file);
    if (begun) return {};
    const TlsError& error = begun.error();
    switch (error.kind) {
        case TlsError::Kind::socket:
            return unreachable(address, error.error);
        case TlsError::Kind::ca_file:
            return std::unexpected(HttpError{HttpError::Kind::local, error.words});
        default:
            return std::unexpected(HttpError{
                HttpError::Kind::unproven,
                fmt::format("{} is not proven to be mayflyd's: {}", address.shown, error.words),
                error.kind == TlsError::Kind::untrusted ? EKEYREJECTED : EPROTO});
    }
}

std::string head_text(const Address& address, const HttpRequest& request) {
    std::string head =
        fmt::format("{} {}{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", request.method,
                    address.prefix, request.target, address.authority());
    head += "User-Agent: mayfly-cli/" MAYFLY_VERSION "\r\n";
    for (const auto& [name, value] : request.headers) {
        head += fmt::format("{}: {}\r\n", name, value);
    }
    if (request.body != nullptr) {
        head += fmt::format("Content-Length: {}\r\n", request.body->size());
    } else if (request.method != "GET") {
        head += "Content-Length: 0\r\n";
    }
    return head + "\r\n";
}

std::unexpected<HttpError> lost(SocketError error, bool sent_all) {
    if (error == kStopped)
        return std::unexpected(HttpError{HttpError::Kind::stopped, "stopped", 0, sent_all});
    return std::unexpected(HttpError{HttpError::Kind::lost,
                                     "the connection to mayflyd was lost: " + words_of(error), 0,
                                     sent_all});
}

// True when all was sent; false when an answer came before that, or the other side closed, which
// the answer, if there is one, explains.
std::expected<bool, HttpError> send(Channel& channel, const Address& address,
                                    const HttpRequest& request) {
    if (auto sent = channel.send_all(head_text(address, request)); !sent)
        return lost(sent.error(), false);
    if (request.body == nullptr) return true;
    request.body->rewind();
    std::string piece(kPieceBytes, '\0');
    std::int64_t sent = 0;
    while (sent < request.body->size()) {
        if (channel.readable_now()) return false;
        auto got = request.body->read(piece);
        if (!got) {
            return std::unexpected(
                HttpError{HttpError::Kind::local, std::move(got.error()), 0, false});
        }
        if (*got == 0) break;
        if (auto gone = channel.send_all(std::string_view(piece).substr(0, *got)); !gone) {
            if (gone.error() == EPIPE || gone.error() == ECONNRESET) return false;
            return lost(gone.error(), false);
        }
        sent += static_cast<std::int64_t>(*got);
        request.body->sent(sent);
    }
    return true;
}

std::unexpected<HttpError> unread(const beast::error_code& error, bool sent_all) {
    HttpError out{HttpError::Kind::lost, {}, 0, sent_all};
    if (error == asio::error::operation_aborted) {
        out.kind = HttpError::Kind::stopped;
        out.message = "stopped";
    } else if (error == http::error::end_of_stream || error == http::error::partial_message ||
               error == asio::error::eof) {
        out.message = "mayflyd closed the connection before its answer was whole";
    } else if (error.category() == boost::system::system_category()) {
        out.message = "the connection to mayflyd was lost: " + words_of(error.value());
    } else {
        out.message =
            "the answer is not HTTP (" + error.message() + "): is it mayflyd that listens there?";
    }
    return std::unexpected(std::move(out));
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

std::expected<HttpAnswer, HttpError> read_answer(Channel& channel, bool sent_all,
                                                 const HttpSink& sink, const HttpOnHead& on_head) {
    beast::flat_buffer buffer;
    buffer.reserve(kPieceBytes);
    http::response_parser<http::buffer_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(boost::none);
    beast::error_code error;
    http::read_header(channel, buffer, parser, error);
    if (error) return unread(error, sent_all);
    HttpAnswer answer;
    answer.status = static_cast<int>(parser.get().result_int());
    for (const auto& field : parser.get()) {
        answer.headers.emplace_back(
            lower({field.name_string().data(), field.name_string().size()}),
            std::string(field.value()));
    }
    if (on_head) on_head(answer);
    // Not eager: that would hold a live stream's bytes back until a whole piece is full.
    parser.eager(false);
    std::string piece(kPieceBytes, '\0');
    while (!parser.is_done()) {
        auto& body = parser.get().body();
        body.data = piece.data();
        body.size = piece.size();
        http::read_some(channel, buffer, parser, error);
        if (error == http::error::need_buffer) error = {};
        const std::string_view bytes(piece.data(), piece.size() - body.size);
        if (answer.ok() && sink) {
            if (!bytes.empty() && !sink(bytes)) {
                answer.cut = true;
                return answer;
            }
        } else if (answer.body.size() + bytes.size() > kMaxBodyBytes) {
            return std::unexpected(HttpError{
                HttpError::Kind::lost, "the answer is larger than any of mayflyd", 0, sent_all});
        } else {
            answer.body += bytes;
        }
        if (error) return unread(error, sent_all);
    }
    return answer;
}

}  // namespace

std::string_view HttpAnswer::header(std::string_view name) const {
    const auto at = std::ranges::find_if(headers, [&](const auto& h) { return h.first == name; });
    return at == headers.end() ? std::string_view() : std::string_view(at->second);
}

std::expected<HttpAnswer, HttpError> ask_http(const Address& address, const HttpRequest& request,
                                              Wake& wake, const HttpSink& sink,
                                              const HttpOnHead& on_head) {
    Channel channel(wake, request.silence_ms);
    auto connected = address.socket_path.empty() ? connect_tcp(channel.socket(), address)
                                                 : connect_unix(channel.socket(), address);
    if (connected && address.tls) connected = begin_tls(channel, address);
    if (!connected) return std::unexpected(std::move(connected.error()));
    auto sent = send(channel, address, request);
    if (!sent) return std::unexpected(std::move(sent.error()));
    return read_answer(channel, *sent, sink, on_head);
}

}  // namespace mayfly::api::cli
