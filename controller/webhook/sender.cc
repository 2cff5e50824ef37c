#include "controller/webhook/sender.h"

#include <fmt/format.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <optional>
#include <set>
#include <utility>

#include "controller/webhook/target.h"

namespace mayfly::controller::webhook {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::steady_clock;

constexpr std::uint32_t kAnswerHeadBytesMax = 16 << 10;
// Of the answer's body: enough that a receiver which writes a word or two sees a whole exchange.
constexpr std::size_t kAnswerBodyBytesMax = 4 << 10;
constexpr std::int64_t kAnswerBodyMs = 1'000;
// "103 Early Hints" and its like, before the answer.
constexpr int kInterimAnswersMax = 4;
constexpr std::size_t kAddressesTried = 4;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

TryResult failed(std::string why) { return {.error = std::move(why)}; }

// ---- the resolver

struct Lookup {
    explicit Lookup(const asio::any_io_executor& executor) : timer(executor) {}
    asio::steady_timer timer;
    bool done = false;
    std::string error;
    std::vector<Address> addresses;
};

std::vector<Address> addresses_of(const addrinfo* found) {
    std::vector<Address> out;
    for (; found != nullptr; found = found->ai_next) {
        Address address;
        address.is_v6 = found->ai_family == AF_INET6;
        if (address.is_v6) {
            const auto* at = reinterpret_cast<const sockaddr_in6*>(found->ai_addr);
            std::copy_n(at->sin6_addr.s6_addr, 16, address.bytes.begin());
        } else {
            const auto* at = reinterpret_cast<const sockaddr_in*>(found->ai_addr);
            const auto* bytes = reinterpret_cast<const std::uint8_t*>(&at->sin_addr);
            std::copy_n(bytes, 4, address.bytes.begin());
        }
        if (std::ranges::find(out, address) == out.end()) out.push_back(address);
    }
    return out;
}

// Blocks. The answer goes home with `executor`.
void look_up(const std::string& host, const asio::any_io_executor& executor,
             const std::shared_ptr<Lookup>& lookup) {
    addrinfo hints = {};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
    std::string error = code == 0 ? "" : ::gai_strerror(code);
    auto addresses = addresses_of(found);
    if (found != nullptr) ::freeaddrinfo(found);
    auto deliver = [lookup, error = std::move(error), addresses = std::move(addresses)]() mutable {
        lookup->done = true;
        lookup->error = std::move(error);
        lookup->addresses = std::move(addresses);
        lookup->timer.cancel();
    };
    asio::post(executor, std::move(deliver));
}

// ---- the connection

using PlainStream = beast::basic_stream<tcp>;
using TlsStream = asio::ssl::stream<PlainStream>;

std::string io_error(const error_code& ec, std::int64_t timeout_ms) {
    if (ec == beast::error::timeout) return fmt::format("not done within {} ms", timeout_ms);
    if (ec == http::error::end_of_stream) return "closed the connection without an answer";
    return ec.message();
}

tcp::endpoint endpoint_of(const Address& address, std::uint16_t port) {
    if (address.is_v6) return {asio::ip::address_v6(address.bytes), port};
    asio::ip::address_v4::bytes_type bytes;
    std::copy_n(address.bytes.begin(), bytes.size(), bytes.begin());
    return {asio::ip::address_v4(bytes), port};
}

http::request<http::string_body> request_of(const Target& target, Post post) {
    http::request<http::string_body> request(http::verb::post, target.path, 11);
    request.set(http::field::host, target.authority());
    request.set(http::field::user_agent, "mayfly/" MAYFLY_VERSION);
    request.set(http::field::content_type, "application/json");
    request.set(http::field::connection, "close");
    request.set("Mayfly-Event-Id", std::to_string(post.event_id));
    request.set("Mayfly-Delivery-Try", std::to_string(post.number));
    request.set("Mayfly-Timestamp", std::to_string(post.timestamp_s));
    if (!post.signature.empty()) request.set("Mayfly-Signature", post.signature);
    request.body() = std::move(post.body);
    request.prepare_payload();
    return request;
}

template <class Stream>
asio::awaitable<TryResult> exchange(Stream& stream, http::request<http::string_body> request,
                                    std::int64_t timeout_ms) {
    PlainStream& layer = beast::get_lowest_layer(stream);
    const auto [unsent, sent] = co_await http::async_write(stream, request, kAwait);
    if (unsent) co_return failed("while sending: " + io_error(unsent, timeout_ms));
    beast::flat_buffer buffer(kAnswerHeadBytesMax + kAnswerBodyBytesMax);
    std::optional<http::response_parser<http::string_body>> parser;
    for (int interim = 0; interim < kInterimAnswersMax; ++interim) {
        parser.emplace();
        parser->header_limit(kAnswerHeadBytesMax);
        parser->body_limit(kAnswerBodyBytesMax);
        const auto [unread, bytes] =
            co_await http::async_read_header(stream, buffer, *parser, kAwait);
        if (unread) {
            co_return failed("while waiting for an answer: " + io_error(unread, timeout_ms));
        }
        if (parser->get().result_int() >= 200) break;
    }
    TryResult result{.status = static_cast<int>(parser->get().result_int())};
    const auto& field = parser->get()[http::field::retry_after];
    result.retry_after_s = parse_retry_after({field.data(), field.size()});
    // The status is the answer. What else comes is read for the other side's sake alone.
    layer.expires_after(std::chrono::milliseconds(kAnswerBodyMs));
    co_await http::async_read(stream, buffer, *parser, kAwait);
    layer.close();
    co_return result;
}

// ---- the sender

class HttpSender final : public Sender {
public:
    HttpSender(asio::any_io_executor executor, SenderSettings settings,
               std::unique_ptr<asio::ssl::context> tls)
        : executor_(std::move(executor)), settings_(std::move(settings)), tls_(std::move(tls)) {}
    ~HttpSender() override {
        if (resolvers_) resolvers_->join();
    }

    asio::awaitable<TryResult> send(Post post) override;
    void close() override {
        closed_ = true;
        for (const auto& lookup : lookups_) lookup->timer.cancel();
        for (PlainStream* stream : live_) stream->close();
    }

private:
    using Addresses = std::expected<std::vector<Address>, TryResult>;

    asio::awaitable<Addresses> resolve(Target target);
    asio::awaitable<Addresses> checked(Target target);
    asio::awaitable<std::string> connect(PlainStream& stream, std::vector<Address> addresses,
                                         std::uint16_t port, steady_clock::time_point end);
    asio::awaitable<std::string> handshake(TlsStream& stream, Target target);
    asio::awaitable<TryResult> speak(TlsStream& stream, Target target,
                                     std::vector<Address> addresses, Post post,
                                     steady_clock::time_point end);

    asio::any_io_executor executor_;
    SenderSettings settings_;
    std::unique_ptr<asio::ssl::context> tls_;
    bool closed_ = false;
    std::optional<asio::thread_pool> resolvers_;  // made for the first name
    std::set<std::shared_ptr<Lookup>> lookups_;
    std::set<PlainStream*> live_;
};

asio::awaitable<HttpSender::Addresses> HttpSender::resolve(Target target) {
    if (target.is_address) {
        const auto address = parse_address(target.host);
        if (!address) co_return std::unexpected(failed("the URL names no address"));
        co_return std::vector<Address>{*address};
    }
    if (!resolvers_) resolvers_.emplace(static_cast<std::size_t>(settings_.parallel));
    const auto lookup = std::make_shared<Lookup>(executor_);
    lookup->timer.expires_after(std::chrono::milliseconds(settings_.timeout_ms));
    lookups_.insert(lookup);
    const auto work = [host = target.host, executor = executor_, lookup] {
        look_up(host, executor, lookup);
    };
    asio::post(*resolvers_, work);
    co_await lookup->timer.async_wait(kAwait);
    lookups_.erase(lookup);
    if (!lookup->done) {
        co_return std::unexpected(failed(closed_
                                             ? "cut: mayflyd is stopping"
                                             : fmt::format("{} was not resolved within {} ms",
                                                           target.host, settings_.timeout_ms)));
    }
    if (!lookup->error.empty() || lookup->addresses.empty()) {
        co_return std::unexpected(
            failed(fmt::format("cannot resolve {}: {}", target.host,
                               lookup->error.empty() ? "no address" : lookup->error)));
    }
    co_return std::move(lookup->addresses);
}

// One address that is not allowed refuses the name: which one is taken would be a game of chance.
asio::awaitable<HttpSender::Addresses> HttpSender::checked(Target target) {
    auto addresses = co_await resolve(target);
    if (!addresses) co_return addresses;
    for (const auto& address : *addresses) {
        const auto why = refusal(address, settings_.allowed);
        if (why.empty()) continue;
        TryResult refused = failed(fmt::format(
            "refused: {}: {}; the operator would have to allow it (--webhook-allow-network)",
            target.host, why));
        refused.refused = true;
        co_return std::unexpected(std::move(refused));
    }
    if (addresses->size() > kAddressesTried) addresses->resize(kAddressesTried);
    co_return addresses;
}

// "" = connected. Each address gets an equal part of the time that is left.
asio::awaitable<std::string> HttpSender::connect(PlainStream& stream,
                                                 std::vector<Address> addresses,
                                                 std::uint16_t port,
                                                 steady_clock::time_point end) {
    std::string error;
    for (std::size_t i = 0; i < addresses.size() && !closed_; ++i) {
        const auto left = end - steady_clock::now();
        stream.expires_after(left / static_cast<std::int64_t>(addresses.size() - i));
        const auto [ec] = co_await stream.async_connect(endpoint_of(addresses[i], port), kAwait);
        if (!ec) co_return "";
        const std::string why = ec == beast::error::timeout ? "no answer in time" : ec.message();
        error = fmt::format("cannot connect to {}: {}", to_string(addresses[i]), why);
        stream.close();
    }
    co_return error;
}

asio::awaitable<std::string> HttpSender::handshake(TlsStream& stream, Target target) {
    error_code ec;
    stream.set_verify_callback(asio::ssl::host_name_verification(target.host), ec);
    if (!target.is_address) SSL_set_tlsext_host_name(stream.native_handle(), target.host.c_str());
    const auto [failure] = co_await stream.async_handshake(asio::ssl::stream_base::client, kAwait);
    if (!failure) co_return "";
    const long verdict = SSL_get_verify_result(stream.native_handle());
    if (verdict != X509_V_OK) {
        co_return fmt::format("the certificate of {} is not trusted: {}", target.host,
                              X509_verify_cert_error_string(verdict));
    }
    co_return "TLS handshake: " + io_error(failure, settings_.timeout_ms);
}

asio::awaitable<TryResult> HttpSender::speak(TlsStream& stream, Target target,
                                             std::vector<Address> addresses, Post post,
                                             steady_clock::time_point end) {
    PlainStream& plain = stream.next_layer();
    auto problem = co_await connect(plain, std::move(addresses), target.port, end);
    if (!problem.empty()) co_return failed(std::move(problem));
    plain.expires_after(end - steady_clock::now());
    auto request = request_of(target, std::move(post));
    if (!target.tls) {
        co_return co_await exchange(plain, std::move(request), settings_.timeout_ms);
    }
    problem = co_await handshake(stream, target);
    if (!problem.empty()) co_return failed(std::move(problem));
    co_return co_await exchange(stream, std::move(request), settings_.timeout_ms);
}

asio::awaitable<TryResult> HttpSender::send(Post post) {
    const auto end = steady_clock::now() + std::chrono::milliseconds(settings_.timeout_ms);
    const auto target = parse_target(post.url);
    if (!target) co_return failed("the URL " + target.error());
    auto addresses = co_await checked(*target);
    if (!addresses) co_return std::move(addresses.error());
    if (closed_) co_return failed("cut: mayflyd is stopping");
    TlsStream stream(executor_, *tls_);  // also for http: then only its lower layer is used
    live_.insert(&stream.next_layer());
    auto result = co_await speak(stream, *target, std::move(*addresses), std::move(post), end);
    live_.erase(&stream.next_layer());
    co_return result;
}

}  // namespace

std::expected<std::unique_ptr<Sender>, std::string> http_sender(asio::any_io_executor executor,
                                                                SenderSettings settings) {
    auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
    SSL_CTX_set_min_proto_version(tls->native_handle(), TLS1_2_VERSION);
    error_code ec;
    tls->set_verify_mode(asio::ssl::verify_peer, ec);
    tls->set_default_verify_paths(ec);
    if (!settings.ca_file.empty()) {
        tls->load_verify_file(settings.ca_file, ec);
        if (ec) {
            return std::unexpected(
                fmt::format("webhook-ca-file {}: cannot be read as PEM certificates: {}",
                            settings.ca_file, ec.message()));
        }
    }
    return std::make_unique<HttpSender>(std::move(executor), std::move(settings), std::move(tls));
}

}  // namespace mayfly::controller::webhook
