#include "api/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <set>

#include "api/connection.h"
#include "api/query.h"
#include "api/service.h"
#include "api/site_check.h"
#include "metrics/log.h"

namespace mayfly::api {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using local = asio::local::stream_protocol;
using store::ErrorKind;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMaxTurnedAway = 64;  // connections over the limit that still get their 503
constexpr int kClientGone = 499;            // in metrics only: nobody was there to hear a status
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr mode_t kSocketMode = 0660;

struct Address {
    std::string host;  // without brackets
    std::string port;
};

std::optional<Address> split_address(std::string_view listen) {
    const std::size_t colon = listen.rfind(':');
    if (colon == listen.npos) return std::nullopt;
    std::string_view host = listen.substr(0, colon);
    const std::string_view port = listen.substr(colon + 1);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != host.npos) {
        return std::nullopt;
    }
    const auto number = parse_integer(port);
    if (host.empty() || !number || *number < 0 || *number > 65'535) return std::nullopt;
    return Address{std::string(host), std::string(port)};
}

ErrorKind kind_of_bind(const boost::system::error_code& error) {
    return error == asio::error::address_in_use ? ErrorKind::locked : ErrorKind::io;
}

}  // namespace

class Server::Impl : public std::enable_shared_from_this<Server::Impl> {
public:
    Impl(asio::io_context& io, Settings settings, const World& world)
        : io_(io),
          settings_(std::move(settings)),
          clock_(world.clock),
          families_(world.families),
          service_(settings_, world),
          tcp_(io),
          local_(io),
          changed_(io) {}

    ~Impl() { remove_socket_file(); }

    store::Result<void> open();
    void start();
    asio::awaitable<void> stop(std::int64_t grace_ms);
    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] std::size_t connections() const { return open_.size(); }

private:
    using Self = std::shared_ptr<Impl>;
    using Held = std::shared_ptr<Connection>;

    store::Result<void> open_tcp();
    store::Result<void> open_local();
    store::Result<void> clear_stale_socket() const;
    void remove_socket_file();

    template <class Acceptor>
    static asio::awaitable<void> accept(Self self, Acceptor& acceptor, bool is_local);
    template <class Socket>
    void welcome(Socket socket, bool is_local);
    static asio::awaitable<void> serve(Self self, Held connection);
    static asio::awaitable<void> turn_away(Self self, Held connection);
    asio::awaitable<bool> serve_one(Held connection);
    asio::awaitable<Response> answer(Held connection, Asked request);
    [[nodiscard]] std::optional<Problem> check_caller(const Connection& connection,
                                                      const Request& request) const;
    asio::awaitable<void> wait_empty(std::int64_t timeout_ms);
    template <class Task>
    void spawn(Task task, Held connection);

    asio::io_context& io_;
    const Settings settings_;
    store::Clock& clock_;
    metrics::Families& families_;
    Service service_;
    tcp::acceptor tcp_;
    local::acceptor local_;
    HostRules hosts_;
    std::uint16_t port_ = 0;
    std::set<Held> open_;
    std::size_t turned_away_ = 0;
    asio::steady_timer changed_;  // cancelled when a connection ends
    bool stopping_ = false;
    bool owns_socket_file_ = false;
};

// ------------------------------------------------------------------------------------------------
// listening

store::Result<void> Server::Impl::open() {
    if (settings_.listen.empty() && settings_.unix_socket.empty()) {
        return store::fail(
            ErrorKind::invalid,
            "nothing to listen on: set an address (127.0.0.1:7070) or a unix socket");
    }
    hosts_.names = {"localhost", "127.0.0.1", "[::1]"};
    for (const std::string& name : settings_.allowed_hosts) {
        hosts_.names.push_back(name == "*" ? name : host_name(name));
    }
    if (!settings_.listen.empty()) {
        if (auto opened = open_tcp(); !opened) return opened;
    }
    if (!settings_.unix_socket.empty()) return open_local();
    return {};
}

store::Result<void> Server::Impl::open_tcp() {
    const std::string& listen = settings_.listen;
    const auto address = split_address(listen);
    if (!address) {
        return store::fail(ErrorKind::invalid, "cannot listen on `" + listen +
                                                   "`: it must be host:port, like 127.0.0.1:7070 "
                                                   "or [::1]:7070");
    }
    boost::system::error_code error;
    tcp::resolver resolver(io_);
    const auto found =
        resolver.resolve(address->host, address->port, tcp::resolver::passive, error);
    if (error || found.empty()) {
        return store::fail(ErrorKind::invalid, "cannot listen on `" + listen + "`: the host `" +
                                                   address->host + "` is not known here");
    }
    const tcp::endpoint endpoint = found.begin()->endpoint();
    const bool loopback = std::ranges::all_of(
        found, [](const auto& entry) { return entry.endpoint().address().is_loopback(); });
    if (!loopback && !settings_.allow_remote) {
        return store::fail(
            ErrorKind::invalid,
            "will not listen on `" + listen +
                "`: it can be reached from other hosts, and there are no access tokens yet, so "
                "everyone who reaches it could run containers here. Listen on 127.0.0.1 or on a "
                "unix socket behind a proxy that authenticates, or allow remote access knowingly");
    }
    hosts_.names.push_back(host_name(listen));
    hosts_.any_ip_literal = !loopback;
    tcp_.open(endpoint.protocol(), error);
    if (!error) tcp_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) tcp_.bind(endpoint, error);
    if (!error) tcp_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
        const bool taken = error == asio::error::address_in_use;
        return store::fail(kind_of_bind(error),
                           "cannot listen on `" + listen + "`: " + error.message() +
                               (taken ? "; stop what listens there (ss -ltnp), or choose another "
                                        "port"
                                      : ""));
    }
    port_ = tcp_.local_endpoint(error).port();
    return {};
}

// A socket file that nobody listens on is left over from a crash.
store::Result<void> Server::Impl::clear_stale_socket() const {
    const std::string& path = settings_.unix_socket;
    struct stat facts{};
    if (::lstat(path.c_str(), &facts) != 0) return {};
    if (!S_ISSOCK(facts.st_mode)) {
        return store::fail(ErrorKind::invalid, "cannot listen on `" + path +
                                                   "`: something that is not a socket is there");
    }
    boost::system::error_code error;
    local::socket probe(io_);
    probe.connect(local::endpoint(path), error);
    if (!error) {
        return store::fail(ErrorKind::locked,
                           "cannot listen on `" + path + "`: another process listens there");
    }
    ::unlink(path.c_str());
    return {};
}

store::Result<void> Server::Impl::open_local() {
    const std::string& path = settings_.unix_socket;
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
        return store::fail(ErrorKind::invalid,
                           "cannot listen on `" + path + "`: the path may be at most " +
                               std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes long");
    }
    if (auto cleared = clear_stale_socket(); !cleared) return cleared;
    boost::system::error_code error;
    const local::endpoint endpoint(path);
    // Born without access for others; opened to its group when it is known to be ours.
    const mode_t before = ::umask(0177);
    local_.open(endpoint.protocol(), error);
    if (!error) local_.bind(endpoint, error);
    ::umask(before);
    if (!error) {
        owns_socket_file_ = true;
        if (::chmod(path.c_str(), kSocketMode) != 0)
            error = {errno, boost::system::system_category()};
    }
    if (!error) local_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
        return store::fail(kind_of_bind(error), "cannot listen on `" + path +
                                                    "`: " + error.message() +
                                                    "; its folder must exist and be writable");
    }
    return {};
}

void Server::Impl::remove_socket_file() {
    if (std::exchange(owns_socket_file_, false)) ::unlink(settings_.unix_socket.c_str());
}

// ------------------------------------------------------------------------------------------------
// accepting

void Server::Impl::start() {
    const auto report = [](const std::exception_ptr& failure) {
        if (failure) std::rethrow_exception(failure);
    };
    if (tcp_.is_open()) asio::co_spawn(io_, accept(shared_from_this(), tcp_, false), report);
    if (local_.is_open()) asio::co_spawn(io_, accept(shared_from_this(), local_, true), report);
}

template <class Acceptor>
asio::awaitable<void> Server::Impl::accept(Self self, Acceptor& acceptor, bool is_local) {
    while (!self->stopping_) {
        auto [error, socket] = co_await acceptor.async_accept(kTuple);
        if (self->stopping_) co_return;
        if (!error) {
            self->welcome(std::move(socket), is_local);
            continue;
        }
        if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) {
            co_return;
        }
        // Out of descriptors or memory: the connection stays in the backlog, others may end
        // meanwhile.
        metrics::log_warn("a connection was not accepted", {{"error", error.message()}});
        asio::steady_timer pause(self->io_, kAcceptPause);
        co_await pause.async_wait(kTuple);
    }
}

template <class Task>
void Server::Impl::spawn(Task task, Held connection) {
    const auto done = [self = shared_from_this(), connection](const std::exception_ptr& failure) {
        self->open_.erase(connection);
        connection->close();
        self->changed_.cancel();
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            metrics::log_error("a connection ended by an exception", {{"error", error.what()}});
        }
    };
    asio::co_spawn(io_, std::move(task), done);
}

template <class Socket>
void Server::Impl::welcome(Socket socket, bool is_local) {
    boost::system::error_code ignored;
    if constexpr (std::is_same_v<Socket, tcp::socket>) {
        socket.set_option(tcp::no_delay(true), ignored);
    }
    const auto connection = std::make_shared<Connection>(Connection::Socket(std::move(socket)),
                                                         is_local, settings_, clock_);
    if (std::cmp_less(open_.size(), settings_.max_connections)) {
        open_.insert(connection);
        spawn(serve(shared_from_this(), connection), connection);
    } else if (turned_away_ < kMaxTurnedAway) {
        ++turned_away_;
        spawn(turn_away(shared_from_this(), connection), connection);
    }
}

asio::awaitable<void> Server::Impl::turn_away(Self self, Held connection) {
    Problem problem{ProblemType::overloaded, "There are " +
                                                 std::to_string(self->settings_.max_connections) +
                                                 " connections already; try again."};
    problem.headers.emplace_back("Retry-After", "1");
    const bool sent = co_await connection->write(problem_response(problem), false, false);
    if (sent) co_await connection->linger();
    --self->turned_away_;
}

// ------------------------------------------------------------------------------------------------
// answering

asio::awaitable<void> Server::Impl::serve(Self self, Held connection) {
    bool again = true;
    while (again) again = co_await self->serve_one(connection);
}

asio::awaitable<bool> Server::Impl::serve_one(Held connection) {
    auto read = co_await connection->read_request();
    if (!read) co_return false;
    const std::int64_t began_us = clock_.steady_us();
    families_.api_request_began();
    std::string method = "other";
    std::string_view route_template = "other";
    Response response;
    if (*read) {
        const Asked request = std::move(**read);
        method = request->method;
        route_template = template_of(request->path);
        response = co_await answer(connection, request);
    } else {
        response = problem_response(read->error());
    }
    const int status = response.status;
    const auto seconds_so_far = [this, began_us] {
        return static_cast<double>(clock_.steady_us() - began_us) / 1e6;
    };
    // A stream is answered when it begins; how long somebody listens says nothing of us.
    const bool streams = response.stream != nullptr;
    const double answered_s = seconds_so_far();
    const bool keep_alive =
        *read && connection->can_skip_body() && connection->wants_keep_alive() && !stopping_;
    const bool sent =
        co_await connection->write(std::move(response), method == "HEAD", keep_alive);
    const int told = sent || streams ? status : kClientGone;
    families_.api_request(method, route_template, told, streams ? answered_s : seconds_so_far());
    if (!sent) co_return false;
    if (keep_alive) co_return co_await connection->skip_body();
    if (connection->has_unread()) co_await connection->linger();
    co_return false;
}

std::optional<Problem> Server::Impl::check_caller(const Connection& connection,
                                                  const Request& request) const {
    const std::string_view host = request.header("host").value_or("");
    // HTTP/1.0 may come without a Host; a browser never does.
    const bool exempt = connection.is_local() || !request.header("host");
    if (!exempt && !host_allowed(host, hosts_)) {
        return Problem{
            ProblemType::misdirected,
            "The Host `" + shown_text(host) +
                "` is not one of ours. Use localhost, or have the operator add the name "
                "to the allowed hosts."};
    }
    return check_site({request.method, host, request.header("origin"),
                       request.header("sec-fetch-site"), request.header("sec-fetch-mode")});
}

asio::awaitable<Response> Server::Impl::answer(Held connection, Asked request) {
    if (const auto problem = check_caller(*connection, *request)) {
        co_return problem_response(*problem);
    }
    std::string failure;
    try {
        co_return co_await service_.answer(request);
    } catch (const std::exception& error) {
        failure = error.what();
    }
    metrics::log_error("a request failed",
                       {{"route", template_of(request->path)}, {"error", failure}});
    co_return problem_response(
        {ProblemType::internal, "This is a bug of ours; the log of the daemon says more."});
}

// ------------------------------------------------------------------------------------------------
// stopping

asio::awaitable<void> Server::Impl::wait_empty(std::int64_t timeout_ms) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (!open_.empty() && std::chrono::steady_clock::now() < deadline) {
        changed_.expires_at(deadline);
        co_await changed_.async_wait(kTuple);
    }
}

asio::awaitable<void> Server::Impl::stop(std::int64_t grace_ms) {
    stopping_ = true;
    service_.begin_stop();
    boost::system::error_code ignored;
    tcp_.close(ignored);
    local_.close(ignored);
    remove_socket_file();
    for (const Held& connection : open_) {
        if (connection->idle()) connection->close();
    }
    co_await wait_empty(grace_ms);
    constexpr std::int64_t kCutMs = 1'000;
    for (const Held& connection : open_) connection->close();
    co_await wait_empty(kCutMs);
}

// ------------------------------------------------------------------------------------------------
// the face

Server::Server(asio::io_context& io, Settings settings, const World& world)
    : impl_(std::make_shared<Impl>(io, std::move(settings), world)) {}

Server::~Server() = default;

store::Result<void> Server::open() { return impl_->open(); }
void Server::start() { impl_->start(); }
asio::awaitable<void> Server::stop(std::int64_t grace_ms) {
    const auto impl = impl_;
    co_await impl->stop(grace_ms);
}
std::uint16_t Server::port() const { return impl_->port(); }
std::size_t Server::connections() const { return impl_->connections(); }

}  // namespace mayfly::api
