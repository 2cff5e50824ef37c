// mayfly-sim-engine: a Docker Engine on a unix socket that runs nothing. Behind it is the same
// DockerModel that the simulator uses, in real time: what a script does is said by its argv
// (script.h), and thousands of lifecycles a second cost no container.
//
//     mayfly-sim-engine --socket /tmp/x/engine.sock --image mayfly-test/busybox:1 &
//     mayflyd --docker-host unix:///tmp/x/engine.sock ...
//
// GET /sim/status is for the test: how many scripts ran, which of them twice, what is left.
// One thread. SIGTERM ends it.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <csignal>
#include <list>
#include <memory>

#include "store/clock.h"
#include "tests/sim/docker_model.h"
#include "tests/sim/engine_api.h"
#include "tests/sim/world.h"

namespace mayfly::sim {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::local::stream_protocol;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::int64_t kBusyTickMs = 1;
constexpr std::int64_t kIdleTickMs = 200;
// A listener that does not take its events is dropped, as real engines skip one.
constexpr std::size_t kEventBytesMax = 4 << 20;

struct Options {
    std::string socket;
    std::vector<std::string> images{"mayfly-test/busybox:1"};
    std::int64_t latency_ms = 0;
    std::int64_t start_ms = 0;
    std::uint64_t seed = 1;
};

std::string head_of(const ApiAnswer& answer, bool keep_alive) {
    const auto phrase = http::obsolete_reason(static_cast<http::status>(answer.status));
    const bool has_body = answer.status != 204 && answer.status != 304;
    return fmt::format("HTTP/1.1 {} {}\r\n{}{}{}\r\n", answer.status,
                       std::string_view(phrase.data(), phrase.size()),
                       has_body ? fmt::format("Content-Type: {}\r\nContent-Length: {}\r\n",
                                              answer.type, answer.body.size())
                                : std::string(),
                       answer.fields, keep_alive ? "" : "Connection: close\r\n");
}

class Server {
public:
    Server(asio::io_context& io, Options options)
        : io_(io),
          options_(std::move(options)),
          world_(options_.seed, false),
          model_(world_),
          begin_us_(clock_.steady_us()),
          begin_ms_(world_.now_ms()),
          api_(world_, model_, clock_.now_ms() - world_.now_ms()),
          acceptor_(io),
          tick_(io) {
        for (const auto& image : options_.images) model_.add_base_image(image, true, false);
        api_.on_event_line = [this](const std::string& line, const auto& labels) {
            tell(line, labels);
        };
    }

    void listen() {
        ::unlink(options_.socket.c_str());
        const stream_protocol::endpoint where(options_.socket);
        acceptor_.open(where.protocol());
        acceptor_.bind(where);
        acceptor_.listen();
        asio::co_spawn(io_, accept(), asio::detached);
        asio::co_spawn(io_, keep_time(), asio::detached);
    }

private:
    using Socket = stream_protocol::socket;
    using Parser = http::request_parser<http::string_body>;

    struct Listener {
        Listener(asio::io_context& io, LabelFilter labels)
            : filter(std::move(labels)), wake(io, asio::steady_timer::time_point::max()) {}
        LabelFilter filter;
        asio::steady_timer wake;
        std::string pending;
    };

    // ---- time

    void advance() {
        const auto now_ms = begin_ms_ + (clock_.steady_us() - begin_us_) / 1'000;
        while (world_.advance(now_ms)) {
        }
    }

    asio::awaitable<void> keep_time() {
        while (true) {
            const auto tick_ms = api_.anything_runs() ? kBusyTickMs : kIdleTickMs;
            tick_.expires_after(std::chrono::milliseconds(tick_ms));
            co_await tick_.async_wait(kTuple);
            advance();
        }
    }

    asio::awaitable<void> rest(std::int64_t for_ms) {
        asio::steady_timer timer(io_, std::chrono::milliseconds(for_ms));
        co_await timer.async_wait(kTuple);
    }

    // ---- connections

    asio::awaitable<void> accept() {
        while (true) {
            auto [error, socket] = co_await acceptor_.async_accept(kTuple);
            if (error) {
                // Out of descriptors, say: they come back when callers go.
                co_await rest(10);
                continue;
            }
            asio::co_spawn(io_, serve(std::move(socket)), asio::detached);
        }
    }

    asio::awaitable<void> serve(Socket socket) {
        boost::beast::flat_buffer buffer;
        bool open = true;
        while (open) {
            Parser parser;
            parser.body_limit(boost::none);
            const auto [error, size] = co_await http::async_read(socket, buffer, parser, kTuple);
            if (error && !parser.is_header_done()) co_return;
            ApiRequest request;
            const auto& message = parser.get();
            request.verb = std::string(message.method_string());
            request.whole = !error;
            const bool understood = read_target(
                std::string_view(message.target().data(), message.target().size()), request);
            const bool keep_alive = parser.keep_alive();
            request.body = std::move(parser.get().body());
            if (understood && request.path == std::vector<std::string>{"events"}) {
                co_await stream_events(std::move(socket), LabelFilter(request.query));
                co_return;
            }
            // What has arrived of an archive is extracted, whoever still waits for the answer.
            if (error && request.verb != "PUT") co_return;
            const auto answer = co_await act(std::move(request), understood);
            const bool is_head = message.method() == http::verb::head;
            open = co_await send(socket, answer, is_head, keep_alive) && !error;
        }
    }

    asio::awaitable<ApiAnswer> act(ApiRequest request, bool understood) {
        if (!understood) co_return ApiAnswer{.status = 400};
        const bool is_start = request.path.back() == "start";
        const auto wait_ms = request.path.front() == "sim"
                                 ? 0
                                 : options_.latency_ms + (is_start ? options_.start_ms : 0);
        if (wait_ms > 0) co_await rest(wait_ms);
        advance();
        const bool idled = !api_.anything_runs();
        auto answer = api_.answer(request);
        if (idled && api_.anything_runs()) tick_.cancel();
        co_return answer;
    }

    // False: the connection is of no more use.
    static asio::awaitable<bool> send(Socket& socket, const ApiAnswer& answer, bool is_head,
                                      bool keep_alive) {
        const auto head = head_of(answer, keep_alive);
        const bool has_body = !is_head && answer.status != 204 && answer.status != 304;
        const std::string_view body = has_body ? std::string_view(answer.body) : "";
        const std::array pieces{asio::buffer(head), asio::buffer(body)};
        const auto [error, size] = co_await asio::async_write(socket, pieces, kTuple);
        co_return !error && keep_alive;
    }

    // ---- events

    void tell(const std::string& line, const std::map<std::string, std::string>& labels) {
        for (auto& listener : listeners_) {
            if (!listener.filter.matches(labels)) continue;
            listener.pending += fmt::format("{:x}\r\n{}\r\n", line.size(), line);
            listener.wake.cancel();
        }
    }

    asio::awaitable<void> stream_events(Socket socket, LabelFilter filter) {
        const auto self = listeners_.emplace(listeners_.end(), io_, std::move(filter));
        std::string out =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n";
        while (true) {
            const auto [error, size] =
                co_await asio::async_write(socket, asio::buffer(out), kTuple);
            if (error || self->pending.size() > kEventBytesMax) break;
            while (self->pending.empty()) co_await self->wake.async_wait(kTuple);
            out = std::exchange(self->pending, {});
        }
        listeners_.erase(self);
    }

    asio::io_context& io_;
    Options options_;
    store::SystemClock clock_;
    World world_;
    DockerModel model_;
    std::int64_t begin_us_;
    UnixMs begin_ms_;
    EngineApi api_;
    stream_protocol::acceptor acceptor_;
    asio::steady_timer tick_;
    std::list<Listener> listeners_;
};

int serve(Options options) {
    asio::io_context io(1);
    asio::signal_set signals(io, SIGINT, SIGTERM);
    signals.async_wait([&io](const boost::system::error_code&, int) { io.stop(); });
    const auto socket = options.socket;
    Server server(io, std::move(options));
    try {
        server.listen();
    } catch (const boost::system::system_error& error) {
        fmt::print(stderr, "mayfly-sim-engine: {}: {}\n", socket, error.what());
        return 1;
    }
    io.run();
    ::unlink(socket.c_str());
    return 0;
}

}  // namespace
}  // namespace mayfly::sim

int main(int argc, char** argv) {
    mayfly::sim::Options options;
    CLI::App app("A simulated Docker Engine, in real time.");
    app.add_option("--socket", options.socket, "where to listen")->required();
    app.add_option("--image", options.images, "base images that it has");
    app.add_option("--latency-ms", options.latency_ms, "before each call takes effect");
    app.add_option("--start-ms", options.start_ms, "before a start takes effect, besides");
    app.add_option("--seed", options.seed, "of what the engine chooses");
    CLI11_PARSE(app, argc, argv);
    return mayfly::sim::serve(std::move(options));
}
