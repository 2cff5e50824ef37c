#include "api/cli/http.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

namespace mayfly::api::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr int kConnectMs = 10'000;
constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::uint32_t kMaxHeaderBytes = 64 << 10;

// A non-blocking socket that waits with poll(2), and lets the Wake look meanwhile.
class PolledSocket {
public:
    explicit PolledSocket(Wake& wake, int silence_ms) : wake_(wake), silence_ms_(silence_ms) {}
    ~PolledSocket() { close(); }
    PolledSocket(const PolledSocket&) = delete;
    PolledSocket& operator=(const PolledSocket&) = delete;

    // errno of the failure, 0 when connected, -1 when the Wake said stop.
    int connect(int family, const sockaddr* address, socklen_t size) {
        close();
        fd_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd_ < 0) return errno;
        notice_a_dead_host();
        if (::connect(fd_, address, size) == 0) return 0;
        if (errno != EINPROGRESS) return errno;
        const int waited = wait(POLLOUT, kConnectMs);
        if (waited != 0) return waited;
        int error = 0;
        socklen_t length = sizeof error;
        if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
        return error;
    }

    // 0 = ready, -1 = stopped, else an errno (ETIMEDOUT: nothing came for so long).
    int wait(short events, int deadline_ms) {
        auto end = Clock::now() + Milliseconds(deadline_ms);
        while (true) {
            const auto left = std::chrono::duration_cast<Milliseconds>(end - Clock::now()).count();
            if (left <= 0) return ETIMEDOUT;
            pollfd fds[2] = {{fd_, events, 0}, {wake_.fd(), POLLIN, 0}};
            const int timeout = std::min(static_cast<int>(left), std::max(1, wake_.tick_ms()));
            const int ready = ::poll(fds, 2, timeout);
            if (ready < 0 && errno != EINTR) return errno;
            if (ready > 0 && fds[0].revents != 0 && fds[1].revents == 0) return 0;
            const auto asked = Clock::now();
            if (!wake_.go_on()) return -1;
            end += Clock::now() - asked;  // a person who thinks is no silence of the network
            if (ready > 0 && fds[0].revents != 0) return 0;
        }
    }

    [[nodiscard]] bool readable_now() const {
        pollfd fds = {fd_, POLLIN, 0};
        return ::poll(&fds, 1, 0) > 0;
    }

    // False, with `failure` set, when it could not be sent.
    bool send_all(std::string_view bytes, int& failure) {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n >= 0) {
                bytes.remove_prefix(static_cast<std::size_t>(n));
                continue;
            }
            if (errno == EINTR) continue;
            failure = errno == EAGAIN ? wait(POLLOUT, silence_ms_) : errno;
            if (failure != 0) return false;
        }
        return true;
    }

    // What Beast calls a SyncReadStream.
    template <class Buffers>
    std::size_t read_some(const Buffers& buffers, beast::error_code& error) {
        error = {};
        asio::mutable_buffer into;
        for (auto at = asio::buffer_sequence_begin(buffers);
             at != asio::buffer_sequence_end(buffers) && into.size() == 0; ++at) {
            into = *at;
        }
        if (into.size() == 0) return 0;
        while (true) {
            const ssize_t n = ::recv(fd_, into.data(), into.size(), 0);
            if (n > 0) return static_cast<std::size_t>(n);
            if (n == 0) {
                error = asio::error::eof;
                return 0;
            }
            if (errno == EINTR) continue;
            const int failure = errno == EAGAIN ? wait(POLLIN, silence_ms_) : errno;
            if (failure == 0) continue;
            error = failure < 0 ? beast::error_code(asio::error::operation_aborted)
                                : beast::error_code(failure, boost::system::system_category());
            return 0;
        }
    }
    template <class Buffers>
    std::size_t read_some(const Buffers& buffers) {
        beast::error_code error;
        const std::size_t n = read_some(buffers, error);
        if (error) throw beast::system_error(error);
        return n;
    }

private:
    // For streams that may be silent for long; refused by a unix socket, which needs it not.
    void notice_a_dead_host() const {
        const int on = 1;
        const int seconds = 30;
        (void)::setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        (void)::setsockopt(fd_, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
        (void)::setsockopt(fd_, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
    }

    void close() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }

    Wake& wake_;
    int silence_ms_;
    int fd_ = -1;
};

std::string words_of(int error) {
    if (error == ETIMEDOUT) return "no answer in time";
    return std::error_code(error, std::generic_category()).message();
}

std::unexpected<HttpError> unreachable(const Address& address, int error) {
    if (error < 0) return std::unexpected(HttpError{HttpError::Kind::stopped, "stopped", 0});
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
    const int error =
        socket.connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    if (error != 0) return unreachable(address, error);
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
    int error = ECONNREFUSED;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
        error = socket.connect(at->ai_family, at->ai_addr, at->ai_addrlen);
        if (error <= 0) break;
    }
    if (error != 0) return unreachable(address, error);
    return {};
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

std::unexpected<HttpError> lost(int error, bool sent_all) {
    if (error < 0)
        return std::unexpected(HttpError{HttpError::Kind::stopped, "stopped", 0, sent_all});
    return std::unexpected(HttpError{HttpError::Kind::lost,
                                     "the connection to mayflyd was lost: " + words_of(error), 0,
                                     sent_all});
}

// True when all was sent; false when an answer came before that, or the other side closed, which
// the answer, if there is one, explains.
std::expected<bool, HttpError> send(PolledSocket& socket, const Address& address,
                                    const HttpRequest& request) {
    int failure = 0;
    if (!socket.send_all(head_text(address, request), failure)) return lost(failure, false);
    if (request.body == nullptr) return true;
    request.body->rewind();
    std::string piece(kPieceBytes, '\0');
    std::int64_t sent = 0;
    while (sent < request.body->size()) {
        if (socket.readable_now()) return false;
        auto got = request.body->read(piece);
        if (!got) {
            return std::unexpected(
                HttpError{HttpError::Kind::local, std::move(got.error()), 0, false});
        }
        if (*got == 0) break;
        if (!socket.send_all(std::string_view(piece).substr(0, *got), failure)) {
            if (failure == EPIPE || failure == ECONNRESET) return false;
            return lost(failure, false);
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

std::expected<HttpAnswer, HttpError> read_answer(PolledSocket& socket, bool sent_all,
                                                 const HttpSink& sink, const HttpOnHead& on_head) {
    beast::flat_buffer buffer;
    buffer.reserve(kPieceBytes);
    http::response_parser<http::buffer_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(boost::none);
    beast::error_code error;
    http::read_header(socket, buffer, parser, error);
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
        http::read_some(socket, buffer, parser, error);
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
    PolledSocket socket(wake, request.silence_ms);
    auto connected =
        address.socket_path.empty() ? connect_tcp(socket, address) : connect_unix(socket, address);
    if (!connected) return std::unexpected(std::move(connected.error()));
    auto sent = send(socket, address, request);
    if (!sent) return std::unexpected(std::move(sent.error()));
    return read_answer(socket, *sent, sink, on_head);
}

}  // namespace mayfly::api::cli
