#include "controller/engine/docker/transport.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <chrono>
#include <set>
#include <utility>
#include <vector>

namespace mayfly::controller::docker {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using unix_stream = asio::local::stream_protocol;

constexpr std::size_t kBufferBytes = 64 << 10;
constexpr std::uint32_t kHeadBytesMax = 32 << 10;
constexpr std::size_t kErrorBodyBytesMax = 64 << 10;
// An engine that refuses an upload half-way says why and closes; it is given this long to say it.
constexpr std::int64_t kRefusalReadMs = 2'000;
// TCP keepalive: an engine that vanished from the network is noticed after about a minute.
constexpr int kKeepaliveIdleS = 30;
constexpr int kKeepaliveIntervalS = 10;
constexpr int kKeepaliveCount = 3;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// ---- the stream

struct IoResult {
    error_code ec;
    std::size_t bytes = 0;
};

// A connected socket of any of the three kinds. At most one operation at a time.
class Stream {
public:
    Stream() = default;
    virtual ~Stream() = default;
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    virtual asio::awaitable<IoResult> read_some(asio::mutable_buffer buffer) = 0;
    virtual asio::awaitable<IoResult> write_some(asio::const_buffer buffer) = 0;
    // For the operations to come; nothing = no deadline.
    virtual void set_deadline(std::optional<std::chrono::milliseconds> from_now) = 0;
    [[nodiscard]] virtual int native_handle() = 0;
    virtual void close() = 0;
    // A write that failed at its first byte sent nothing. Not so where bytes are wrapped first.
    [[nodiscard]] virtual bool is_plain() const = 0;
    // Open, and nothing to be read: neither an end nor bytes that nobody asked for.
    [[nodiscard]] bool is_quiet() {
        char byte = 0;
        const ssize_t got = ::recv(native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
};

template <class Layer>
void set_layer_deadline(Layer& layer, std::optional<std::chrono::milliseconds> from_now) {
    if (from_now) {
        layer.expires_after(*from_now);
    } else {
        layer.expires_never();
    }
}

template <class Protocol>
class PlainStream final : public Stream {
public:
    explicit PlainStream(asio::any_io_executor executor) : layer_(std::move(executor)) {}
    asio::awaitable<IoResult> read_some(asio::mutable_buffer buffer) override {
        const auto [ec, bytes] = co_await layer_.async_read_some(buffer, kAwait);
        co_return IoResult{ec, bytes};
    }
    asio::awaitable<IoResult> write_some(asio::const_buffer buffer) override {
        const auto [ec, bytes] = co_await layer_.async_write_some(buffer, kAwait);
        co_return IoResult{ec, bytes};
    }
    void set_deadline(std::optional<std::chrono::milliseconds> from_now) override {
        set_layer_deadline(layer_, from_now);
    }
    int native_handle() override { return layer_.socket().native_handle(); }
    void close() override { layer_.close(); }
    [[nodiscard]] bool is_plain() const override { return true; }
    auto& layer() { return layer_; }

private:
    beast::basic_stream<Protocol> layer_;
};

class TlsStream final : public Stream {
public:
    TlsStream(asio::any_io_executor executor, asio::ssl::context& context)
        : tls_(std::move(executor), context) {}
    asio::awaitable<IoResult> read_some(asio::mutable_buffer buffer) override {
        const auto [ec, bytes] = co_await tls_.async_read_some(buffer, kAwait);
        co_return IoResult{ec, bytes};
    }
    asio::awaitable<IoResult> write_some(asio::const_buffer buffer) override {
        const auto [ec, bytes] = co_await tls_.async_write_some(buffer, kAwait);
        co_return IoResult{ec, bytes};
    }
    void set_deadline(std::optional<std::chrono::milliseconds> from_now) override {
        set_layer_deadline(layer(), from_now);
    }
    int native_handle() override { return layer().socket().native_handle(); }
    void close() override { layer().close(); }
    [[nodiscard]] bool is_plain() const override { return false; }
    beast::basic_stream<tcp>& layer() { return tls_.next_layer(); }
    asio::ssl::stream<beast::basic_stream<tcp>>& tls() { return tls_; }

private:
    asio::ssl::stream<beast::basic_stream<tcp>> tls_;
};

// ---- the TLS context

std::unexpected<std::string> tls_refused(std::string_view file, const error_code& ec) {
    return std::unexpected(fmt::format("TLS: {}: {}", file, ec.message()));
}

std::expected<std::unique_ptr<asio::ssl::context>, std::string> tls_context(
    const Endpoint& endpoint) {
    auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
    SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
    error_code ec;
    // A key with a passphrase must fail, not ask at a terminal.
    context->set_password_callback([](std::size_t, auto) { return std::string(); }, ec);
    if (endpoint.verify_peer) {
        context->set_verify_mode(asio::ssl::verify_peer, ec);
        if (endpoint.ca_file.empty()) {
            context->set_default_verify_paths(ec);
        } else if (context->load_verify_file(endpoint.ca_file, ec); ec) {
            return tls_refused(endpoint.ca_file, ec);
        }
    } else {
        context->set_verify_mode(asio::ssl::verify_none, ec);
    }
    if (!endpoint.cert_file.empty()) {
        if (context->use_certificate_chain_file(endpoint.cert_file, ec); ec) {
            return tls_refused(endpoint.cert_file, ec);
        }
        if (context->use_private_key_file(endpoint.key_file, asio::ssl::context::pem, ec); ec) {
            return tls_refused(endpoint.key_file, ec);
        }
    }
    return context;
}

// ---- the deadline

class Deadline {
public:
    Deadline(const store::Clock& clock, std::int64_t total_ms, std::int64_t idle_ms)
        : clock_(&clock),
          total_ms_(total_ms),
          idle_ms_(idle_ms),
          end_us_(clock.steady_us() + total_ms * 1'000) {}

    // Prepares `stream` for one operation; false = the time is up.
    [[nodiscard]] bool arm(Stream& stream) {
        std::optional<std::int64_t> ms;
        by_total_ = false;
        if (idle_ms_ > 0) {
            ms = idle_ms_;
        }
        if (total_ms_ > 0) {
            const std::int64_t left_ms = (end_us_ - clock_->steady_us()) / 1'000;
            if (!ms || left_ms < *ms) {
                ms = left_ms;
                by_total_ = true;
            }
        }
        if (ms && *ms <= 0) {
            return false;
        }
        if (ms) {
            stream.set_deadline(std::chrono::milliseconds(*ms));
        } else {
            stream.set_deadline(std::nullopt);
        }
        return true;
    }
    [[nodiscard]] std::string message() const {
        return by_total_ ? fmt::format("not done within {} ms", total_ms_)
                         : fmt::format("nothing moved for {} ms", idle_ms_);
    }

private:
    const store::Clock* clock_;
    std::int64_t total_ms_;
    std::int64_t idle_ms_;
    std::int64_t end_us_;
    bool by_total_ = false;
};

// ---- the decoder

// One reply, pushed in as bytes.
class Decoder final : public http::basic_parser<false> {
public:
    Decoder(const Request& request, Answer& answer) : request_(request), answer_(answer) {
        eager(true);
        header_limit(kHeadBytesMax);
        body_limit(boost::none);
        skip(request.verb == "HEAD");
    }
    // The rest of an error's body is of no interest: the reply counts as whole.
    [[nodiscard]] bool has_enough() const { return has_enough_; }
    // Why a callback stopped the parser; none = it did not.
    [[nodiscard]] Fault stopped() const { return stopped_; }

private:
    using view = boost::beast::string_view;

    void on_request_impl(http::verb, view, view, int, error_code&) override {}
    void on_response_impl(int code, view, int, error_code&) override { status_ = code; }
    void on_field_impl(http::field, view name, view value, error_code&) override {
        if (beast::iequals(name, "Api-Version")) {
            answer_.api_version.assign(value.data(), value.size());
        } else if (beast::iequals(name, "X-Docker-Container-Path-Stat")) {
            answer_.path_stat.assign(value.data(), value.size());
        }
    }
    void on_header_impl(error_code& ec) override {
        answer_.status = status_;
        const bool streamed = is_accepted() && request_.on_bytes;
        // Its end would look the same as a cut, and half a log is not a log.
        if (streamed && need_eof() && !is_done()) {
            stop(Fault::protocol, "the reply says neither how long it is nor where it ends", ec);
            return;
        }
        if (is_accepted() && request_.on_accepted) {
            request_.on_accepted();
        }
    }
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(view body, error_code& ec) override { return take(body, ec); }
    void on_chunk_header_impl(std::uint64_t, view, error_code&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, view body, error_code& ec) override {
        return take(body, ec);
    }
    void on_finish_impl(error_code&) override {}

    [[nodiscard]] bool is_accepted() const { return status_ >= 200 && status_ < 300; }

    std::size_t take(view body, error_code& ec) {
        if (is_accepted() && request_.on_bytes) {
            const std::span<const char> bytes(body.data(), body.size());
            if (auto taken = request_.on_bytes(std::as_bytes(bytes)); !taken) {
                answer_.stream_error = std::move(taken.error());
                stop(Fault::local, answer_.stream_error->message, ec);
            }
            return body.size();
        }
        const std::size_t limit = is_accepted() ? request_.reply_bytes_max : kErrorBodyBytesMax;
        const std::size_t room = limit - answer_.body.size();
        answer_.body.append(body.data(), std::min(room, body.size()));
        if (body.size() > room) {
            has_enough_ = !is_accepted();
            stop(has_enough_ ? Fault::none : Fault::protocol,
                 fmt::format("the reply is longer than {} bytes", limit), ec);
        }
        return body.size();
    }
    void stop(Fault fault, std::string message, error_code& ec) {
        stopped_ = fault;
        answer_.fault_message = std::move(message);
        ec = make_error_code(boost::system::errc::operation_canceled);
    }

    const Request& request_;
    Answer& answer_;
    int status_ = 0;
    Fault stopped_ = Fault::none;
    bool has_enough_ = false;
};

void fail(Answer& answer, Fault fault, std::string message) {
    answer.fault = fault;
    answer.fault_message = std::move(message);
}

}  // namespace

// ---- the core

class Transport::Core {
public:
    Core(asio::any_io_executor executor, TransportSettings settings, const store::Clock& clock,
         std::unique_ptr<asio::ssl::context> tls)
        : executor_(std::move(executor)),
          settings_(std::move(settings)),
          clock_(clock),
          tls_(std::move(tls)) {}

    static asio::awaitable<Answer> exchange(std::shared_ptr<Core> core, Request request);
    void close();
    [[nodiscard]] std::size_t idle_count() const { return idle_.size(); }
    [[nodiscard]] std::int64_t connects() const { return connects_; }

private:
    struct Connection {
        explicit Connection(Core& owner) : core(owner) { core.live_.insert(this); }
        ~Connection() { core.live_.erase(this); }
        Connection(const Connection&) = delete;
        Connection& operator=(const Connection&) = delete;
        Core& core;
        std::unique_ptr<Stream> stream;
        std::vector<std::byte> buffer = std::vector<std::byte>(kBufferBytes);
        std::int64_t rests_since_us = 0;
    };
    using ConnectionPtr = std::unique_ptr<Connection>;
    using ConnectResult = std::expected<ConnectionPtr, std::string>;

    // How far one request got on one connection.
    struct Progress {
        std::int64_t sent_bytes = 0;
        std::int64_t reply_bytes = 0;
        bool all_sent = false;
        bool reusable = false;
        bool write_failed = false;
    };

    asio::awaitable<ConnectResult> connect();
    asio::awaitable<std::string> connect_unix(Connection& connection);
    asio::awaitable<std::string> connect_tcp(Connection& connection);
    asio::awaitable<std::string> handshake(TlsStream& stream);
    [[nodiscard]] std::string connect_problem(const error_code& ec) const;
    template <class Socket>
    static void tune(Socket& socket);

    asio::awaitable<void> perform(Connection& connection, Request& request, Answer& answer,
                                  Progress& progress);
    asio::awaitable<bool> send(Connection& connection, Request& request, Deadline& deadline,
                               Answer& answer, Progress& progress);
    asio::awaitable<bool> send_source(Connection& connection, ByteSource& source,
                                      Deadline& deadline, Answer& answer, Progress& progress);
    asio::awaitable<bool> write_all(Connection& connection, std::span<const std::byte> bytes,
                                    Deadline& deadline, Answer& answer, Progress& progress);
    asio::awaitable<void> receive(Connection& connection, Request& request, Deadline& deadline,
                                  Answer& answer, Progress& progress);
    static bool decode(std::optional<Decoder>& decoder, Request& request, Answer& answer,
                       std::span<std::byte> buffer, std::size_t& filled);
    void fail_io(Answer& answer, const error_code& ec, const Deadline& deadline,
                 std::string_view doing) const;
    [[nodiscard]] std::string head_of(const Request& request) const;
    ConnectionPtr take_idle(const Request& request);
    void give_back(ConnectionPtr connection);

    asio::any_io_executor executor_;
    TransportSettings settings_;
    const store::Clock& clock_;
    std::unique_ptr<asio::ssl::context> tls_;
    bool closed_ = false;
    std::int64_t connects_ = 0;
    std::set<Connection*> live_;       // before idle_: a connection leaves this set when it dies
    std::vector<ConnectionPtr> idle_;  // the latest used is last
};

// ---- connecting

template <class Socket>
void Transport::Core::tune(Socket& socket) {
    const int fd = socket.native_handle();
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kKeepaliveIdleS, sizeof(int));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kKeepaliveIntervalS, sizeof(int));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &kKeepaliveCount, sizeof(int));
}

// "" = none.
std::string Transport::Core::connect_problem(const error_code& ec) const {
    if (ec == beast::error::timeout) {
        return fmt::format("no answer within {} ms", settings_.connect_ms);
    }
    return ec ? ec.message() : std::string();
}

asio::awaitable<std::string> Transport::Core::connect_unix(Connection& connection) {
    auto stream = std::make_unique<PlainStream<unix_stream>>(executor_);
    auto& layer = stream->layer();
    connection.stream = std::move(stream);
    layer.expires_after(std::chrono::milliseconds(settings_.connect_ms));
    const unix_stream::endpoint where(settings_.endpoint.path);
    const auto [ec] = co_await layer.async_connect(where, kAwait);
    co_return connect_problem(ec);
}

// A name is resolved within the resolver's own times (resolv.conf); getaddrinfo has no other.
asio::awaitable<std::string> Transport::Core::connect_tcp(Connection& connection) {
    const Endpoint& endpoint = settings_.endpoint;
    std::vector<tcp::endpoint> where;
    error_code not_literal;
    const auto address = asio::ip::make_address(endpoint.host, not_literal);
    if (not_literal) {
        tcp::resolver resolver(executor_);
        const auto [ec, found] =
            co_await resolver.async_resolve(endpoint.host, std::to_string(endpoint.port), kAwait);
        if (ec) {
            co_return fmt::format("cannot resolve {}: {}", endpoint.host, ec.message());
        }
        for (const auto& entry : found) {
            where.push_back(entry.endpoint());
        }
    } else {
        where.emplace_back(address, endpoint.port);
    }
    if (closed_) {
        co_return "closed";
    }
    beast::basic_stream<tcp>* layer = nullptr;
    TlsStream* tls = nullptr;
    if (tls_) {
        auto stream = std::make_unique<TlsStream>(executor_, *tls_);
        tls = stream.get();
        layer = &stream->layer();
        connection.stream = std::move(stream);
    } else {
        auto stream = std::make_unique<PlainStream<tcp>>(executor_);
        layer = &stream->layer();
        connection.stream = std::move(stream);
    }
    layer->expires_after(std::chrono::milliseconds(settings_.connect_ms));
    const auto [ec, at] = co_await layer->async_connect(where, kAwait);
    if (ec) {
        co_return connect_problem(ec);
    }
    tune(layer->socket());
    std::string problem;
    if (tls != nullptr) {
        problem = co_await handshake(*tls);
    }
    co_return problem;
}

asio::awaitable<std::string> Transport::Core::handshake(TlsStream& stream) {
    const Endpoint& endpoint = settings_.endpoint;
    error_code ec;
    if (endpoint.verify_peer) {
        stream.tls().set_verify_callback(asio::ssl::host_name_verification(endpoint.host), ec);
    }
    error_code not_literal;
    asio::ip::make_address(endpoint.host, not_literal);
    if (not_literal) {  // SNI carries names only
        SSL_set_tlsext_host_name(stream.tls().native_handle(), endpoint.host.c_str());
    }
    const auto [failed] =
        co_await stream.tls().async_handshake(asio::ssl::stream_base::client, kAwait);
    if (!failed) {
        co_return "";
    }
    const long verdict = SSL_get_verify_result(stream.tls().native_handle());
    if (endpoint.verify_peer && verdict != X509_V_OK) {
        co_return fmt::format("the engine's certificate: {}",
                              X509_verify_cert_error_string(verdict));
    }
    co_return fmt::format("TLS handshake: {}", connect_problem(failed));
}

asio::awaitable<Transport::Core::ConnectResult> Transport::Core::connect() {
    ++connects_;
    auto connection = std::make_unique<Connection>(*this);
    std::string problem;
    if (settings_.endpoint.transport == Endpoint::Transport::unix_socket) {
        problem = co_await connect_unix(*connection);
    } else {
        problem = co_await connect_tcp(*connection);
    }
    if (closed_) {
        problem = "the client is closed";
    }
    if (!problem.empty()) {
        co_return std::unexpected(
            fmt::format("cannot connect to {}: {}", settings_.endpoint.text, problem));
    }
    co_return connection;
}

// ---- idle connections

Transport::Core::ConnectionPtr Transport::Core::take_idle(const Request& request) {
    const std::int64_t now_us = clock_.steady_us();
    const std::int64_t keep_us = settings_.idle_keep_ms * 1'000;
    std::erase_if(idle_, [&](const ConnectionPtr& connection) {
        return now_us - connection->rests_since_us > keep_us;
    });
    while (!idle_.empty()) {
        const std::int64_t rested_us = now_us - idle_.back()->rests_since_us;
        if (!request.only_asks() && rested_us > settings_.mutation_rest_ms * 1'000) {
            return nullptr;
        }
        ConnectionPtr taken = std::move(idle_.back());
        idle_.pop_back();
        if (taken->stream->is_quiet()) {
            return taken;
        }
    }
    return nullptr;
}

void Transport::Core::give_back(ConnectionPtr connection) {
    if (closed_ || idle_.size() >= settings_.idle_connections) {
        return;
    }
    connection->rests_since_us = clock_.steady_us();
    idle_.push_back(std::move(connection));
}

// ---- sending

std::string Transport::Core::head_of(const Request& request) const {
    const Endpoint& endpoint = settings_.endpoint;
    std::string host = "localhost";
    if (endpoint.transport != Endpoint::Transport::unix_socket) {
        const bool is_v6 = endpoint.host.find(':') != std::string::npos;
        host = fmt::format("{}{}{}:{}", is_v6 ? "[" : "", endpoint.host, is_v6 ? "]" : "",
                           endpoint.port);
    }
    // No Accept: newer engines choose another form of stream by it.
    std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: mayfly/{}\r\n",
                                   request.verb, request.target, host, MAYFLY_VERSION);
    if (request.source != nullptr) {
        head += fmt::format("Content-Type: application/x-tar\r\nContent-Length: {}\r\n",
                            request.source->size());
    } else if (!request.body.empty()) {
        head += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                            request.body.size());
    } else if (!request.only_asks()) {
        head += "Content-Length: 0\r\n";
    }
    return head + "\r\n";
}

void Transport::Core::fail_io(Answer& answer, const error_code& ec, const Deadline& deadline,
                              std::string_view doing) const {
    if (closed_) {
        fail(answer, Fault::cut, "the client was closed");
    } else if (ec == beast::error::timeout) {
        fail(answer, Fault::timeout, deadline.message());
    } else {
        fail(answer, Fault::cut, fmt::format("while {}: {}", doing, ec.message()));
    }
}

asio::awaitable<bool> Transport::Core::write_all(Connection& connection,
                                                 std::span<const std::byte> bytes,
                                                 Deadline& deadline, Answer& answer,
                                                 Progress& progress) {
    while (!bytes.empty()) {
        if (!deadline.arm(*connection.stream)) {
            fail(answer, Fault::timeout, deadline.message());
            co_return false;
        }
        const asio::const_buffer buffer(bytes.data(), bytes.size());
        const IoResult wrote = co_await connection.stream->write_some(buffer);
        progress.sent_bytes += static_cast<std::int64_t>(wrote.bytes);
        if (wrote.ec) {
            progress.write_failed = true;
            fail_io(answer, wrote.ec, deadline, "sending");
            // Also how a full backlog of a unix socket shows: connected, says Asio, and it is not.
            if (progress.sent_bytes == 0 && connection.stream->is_plain() &&
                answer.fault == Fault::cut) {
                answer.fault = Fault::unreachable;
            }
            co_return false;
        }
        bytes = bytes.subspan(wrote.bytes);
    }
    co_return true;
}

asio::awaitable<bool> Transport::Core::send_source(Connection& connection, ByteSource& source,
                                                   Deadline& deadline, Answer& answer,
                                                   Progress& progress) {
    std::int64_t left = source.size();
    while (left > 0) {
        std::span<std::byte> room(connection.buffer);
        if (left < static_cast<std::int64_t>(room.size())) {
            room = room.first(static_cast<std::size_t>(left));
        }
        const auto got = source.read(room);
        if (!got) {
            fail(answer, Fault::local, got.error());
            co_return false;
        }
        if (*got == 0 || *got > room.size()) {
            fail(answer, Fault::local,
                 fmt::format("the source ended {} bytes before its size", left));
            co_return false;
        }
        const bool sent =
            co_await write_all(connection, room.first(*got), deadline, answer, progress);
        if (!sent) {
            co_return false;
        }
        left -= static_cast<std::int64_t>(*got);
    }
    co_return true;
}

asio::awaitable<bool> Transport::Core::send(Connection& connection, Request& request,
                                            Deadline& deadline, Answer& answer,
                                            Progress& progress) {
    // A source is read only once the head is out: until then the request can go elsewhere.
    const std::string first = head_of(request) + request.body;
    const auto bytes = std::as_bytes(std::span(first));
    bool sent = co_await write_all(connection, bytes, deadline, answer, progress);
    if (sent && request.source != nullptr) {
        sent = co_await send_source(connection, *request.source, deadline, answer, progress);
    }
    co_return sent;
}

// ---- receiving

// True = the reply is finished, well or badly; false = more bytes are needed.
bool Transport::Core::decode(std::optional<Decoder>& decoder, Request& request, Answer& answer,
                             std::span<std::byte> buffer, std::size_t& filled) {
    std::size_t used = 0;
    error_code ec;
    while (used < filled) {
        used += decoder->put(asio::const_buffer(buffer.data() + used, filled - used), ec);
        const bool interim = decoder->is_done() && answer.status >= 100 && answer.status < 200 &&
                             answer.status != 101;
        if (ec || !interim) {
            break;
        }
        answer = Answer{};  // "100 Continue" and its like: the answer is still to come
        decoder.emplace(request, answer);
    }
    std::copy(buffer.begin() + static_cast<std::ptrdiff_t>(used),
              buffer.begin() + static_cast<std::ptrdiff_t>(filled), buffer.begin());
    filled -= used;
    if (decoder->has_enough()) {
        fail(answer, Fault::none, "");
        return true;
    }
    if (decoder->stopped() != Fault::none) {
        answer.fault = decoder->stopped();
        return true;
    }
    if (ec == http::error::need_more) {
        if (filled < buffer.size()) {
            return false;
        }
        ec = http::error::header_limit;
    }
    if (ec) {
        fail(answer, Fault::protocol, fmt::format("not an HTTP reply: {}", ec.message()));
        return true;
    }
    return decoder->is_done();
}

asio::awaitable<void> Transport::Core::receive(Connection& connection, Request& request,
                                               Deadline& deadline, Answer& answer,
                                               Progress& progress) {
    std::optional<Decoder> decoder;
    decoder.emplace(request, answer);
    const std::span<std::byte> buffer(connection.buffer);
    std::size_t filled = 0;
    for (;;) {
        if (!deadline.arm(*connection.stream)) {
            fail(answer, Fault::timeout, deadline.message());
            co_return;
        }
        const asio::mutable_buffer room(buffer.data() + filled, buffer.size() - filled);
        const IoResult got = co_await connection.stream->read_some(room);
        progress.reply_bytes += static_cast<std::int64_t>(got.bytes);
        if (got.ec) {
            error_code partial;
            if (got.ec == asio::error::eof && decoder->got_some() && !decoder->is_done()) {
                decoder->put_eof(partial);
                if (!partial) {
                    co_return;  // a reply that ends with its connection
                }
            }
            fail_io(answer, got.ec, deadline, "waiting for the reply");
            co_return;
        }
        filled += got.bytes;
        const bool finished = decode(decoder, request, answer, buffer, filled);
        if (finished) {
            progress.reusable = answer.fault == Fault::none && decoder->is_done() &&
                                decoder->keep_alive() && filled == 0;
            co_return;
        }
    }
}

asio::awaitable<void> Transport::Core::perform(Connection& connection, Request& request,
                                               Answer& answer, Progress& progress) {
    Deadline deadline(clock_, request.total_ms, request.idle_ms);
    progress.all_sent = co_await send(connection, request, deadline, answer, progress);
    if (progress.all_sent) {
        co_await receive(connection, request, deadline, answer, progress);
        co_return;
    }
    if (!progress.write_failed || answer.fault != Fault::cut || closed_) {
        co_return;
    }
    // It would not take more; a refusal ("no such container") may already lie in the socket. A
    // success cannot: it did not get what it needed.
    Answer refusal;
    Deadline soon(clock_, kRefusalReadMs, kRefusalReadMs);
    request.on_accepted = nullptr;
    request.on_bytes = nullptr;
    co_await receive(connection, request, soon, refusal, progress);
    progress.reusable = false;
    if (refusal.status >= 300) {
        answer = std::move(refusal);
    }
}

asio::awaitable<Answer> Transport::Core::exchange(std::shared_ptr<Core> core, Request request) {
    for (bool may_reuse = true;; may_reuse = false) {
        Answer answer;
        if (core->closed_) {
            fail(answer, Fault::unreachable, "the client is closed");
            co_return answer;
        }
        ConnectionPtr connection;
        if (may_reuse) {
            connection = core->take_idle(request);
        }
        const bool reused = connection != nullptr;
        if (!reused) {
            auto connected = co_await core->connect();
            if (!connected) {
                fail(answer, Fault::unreachable, std::move(connected.error()));
                co_return answer;
            }
            connection = std::move(*connected);
        }
        Progress progress;
        if (request.hang_up) {
            if (request.hang_up->asked()) {
                fail(answer, Fault::cut, "hung up");
                co_return answer;
            }
            request.hang_up->when_asked([stream = connection->stream.get()] { stream->close(); });
        }
        co_await core->perform(*connection, request, answer, progress);
        if (request.hang_up) {
            request.hang_up->when_asked(nullptr);
            if (request.hang_up->asked()) co_return answer;
        }
        const bool nothing_sent = answer.fault == Fault::unreachable;
        const bool nothing_said = answer.fault == Fault::cut && progress.reply_bytes == 0;
        if (reused && !core->closed_ && (nothing_sent || (nothing_said && request.only_asks()))) {
            continue;
        }
        if (progress.reusable) {
            core->give_back(std::move(connection));
        }
        co_return answer;
    }
}

void Transport::Core::close() {
    closed_ = true;
    idle_.clear();
    for (Connection* connection : live_) {
        if (connection->stream) {
            connection->stream->close();
        }
    }
}

// ---- the face

Transport::Transport(std::shared_ptr<Core> core) : core_(std::move(core)) {}

Transport::~Transport() { close(); }

std::expected<std::unique_ptr<Transport>, std::string> Transport::open(
    asio::any_io_executor executor, TransportSettings settings, const store::Clock& clock) {
    std::unique_ptr<asio::ssl::context> tls;
    if (settings.endpoint.transport == Endpoint::Transport::tls) {
        auto context = tls_context(settings.endpoint);
        if (!context) {
            return std::unexpected(std::move(context.error()));
        }
        tls = std::move(*context);
    }
    auto core =
        std::make_shared<Core>(std::move(executor), std::move(settings), clock, std::move(tls));
    return std::unique_ptr<Transport>(new Transport(std::move(core)));
}

asio::awaitable<Answer> Transport::exchange(Request request) {
    return Core::exchange(core_, std::move(request));
}

void Transport::close() { core_->close(); }

std::size_t Transport::idle_count() const { return core_->idle_count(); }

std::int64_t Transport::connects() const { return core_->connects(); }

}  // namespace mayfly::controller::docker
