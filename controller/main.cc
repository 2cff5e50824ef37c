// mayflyd: wiring only. Opens what must be open, in the order in which it can fail, and closes it
// the other way round.
#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "api/server.h"
#include "controller/alarm.h"
#include "controller/config.h"
#include "controller/detached.h"
#include "controller/engine/docker/client.h"
#include "controller/healthcheck.h"
#include "controller/log_feed.h"
#include "controller/loop.h"
#include "controller/sweeper.h"
#include "controller/webhook/dispatcher.h"
#include "controller/webhook/sender.h"
#include "controller/webhook/target.h"
#include "metrics/families.h"
#include "metrics/log.h"
#include "store/data_dir.h"
#include "store/store.h"

namespace mayfly {
namespace {

namespace asio = boost::asio;

// What a supervisor sees. 2 is a bad configuration (also CLI11's own), which a restart does not
// heal.
constexpr int kExitBadConfig = 2;
constexpr int kExitCannotOpen = 3;
constexpr int kExitStoreFailed = 4;

int give_up(int code, const std::string& message) {
    metrics::log_critical("cannot start", {{"error", message}});
    fmt::print(stderr, "mayflyd: {}\n", message);
    return code;
}

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::expected<std::unique_ptr<controller::docker::DockerEngine>, std::string> open_engine(
    asio::io_context& io, const controller::Config& config, const store::Clock& clock,
    metrics::Families& families) {
    const auto own_or = [](const std::string& own, const char* name) {
        return own.empty() ? environment(name) : own;
    };
    auto endpoint =
        controller::docker::parse_endpoint(own_or(config.docker_host, "DOCKER_HOST"),
                                           own_or(config.docker_tls_verify, "DOCKER_TLS_VERIFY"),
                                           own_or(config.docker_cert_path, "DOCKER_CERT_PATH"));
    if (!endpoint) return std::unexpected(endpoint.error());
    if (!endpoint->warning.empty())
        metrics::log_warn("about the engine's address", {{"why", endpoint->warning}});
    controller::docker::DockerSettings settings;
    settings.name = config.engine_name;
    settings.transport.endpoint = *endpoint;
    settings.observer = [&families](std::string_view call, std::string_view result,
                                    double seconds) {
        using Kind = controller::EngineError::Kind;
        auto label = metrics::kCallUnknown;
        if (result == "ok") label = metrics::kCallOk;
        if (result == to_string(Kind::not_found) || result == to_string(Kind::conflict) ||
            result == to_string(Kind::rejected) || result == to_string(Kind::local)) {
            label = metrics::kCallDefinite;
        }
        if (result == to_string(Kind::unreachable)) label = metrics::kCallDown;
        families.engine_call(call, label, seconds);
        metrics::log_debug("engine call",
                           {{"call", call}, {"result", result}, {"ms", seconds * 1'000}});
    };
    return controller::docker::DockerEngine::open(io.get_executor(), std::move(settings), clock);
}

std::expected<std::unique_ptr<controller::webhook::Sender>, std::string> open_sender(
    asio::io_context& io, const controller::WebhookConfig& config) {
    controller::webhook::SenderSettings settings;
    settings.allowed = config.allowed;
    settings.timeout_ms = config.timeout_ms;
    settings.parallel = config.parallel;
    settings.ca_file = config.ca_file;
    return controller::webhook::http_sender(io.get_executor(), std::move(settings));
}

// Refused now when no resolver is needed to know it; names are looked at when they are resolved.
std::string webhook_url_error(std::string_view url,
                              const std::vector<controller::webhook::Network>& allowed) {
    const auto target = controller::webhook::parse_target(url);
    if (!target) return target.error();
    const auto address = controller::webhook::parse_address(target->host);
    if (!address) return "";
    const auto why = controller::webhook::refusal(*address, allowed);
    if (why.empty()) return "";
    return "must lead to the public internet, or to a network that the operator allows: " + why;
}

api::Settings api_settings(const controller::Config& config) {
    api::Settings settings;
    settings.listen = config.listen;
    settings.unix_socket = config.unix_socket;
    settings.allow_remote = config.allow_remote;
    settings.allowed_hosts = config.allowed_hosts;
    settings.max_json_body_bytes = config.max_json_body_bytes;
    settings.max_input_bytes = config.max_input_bytes;
    settings.max_input_files = config.max_input_files;
    settings.max_connections = config.max_connections;
    settings.max_wait_s = config.max_wait_s;
    settings.max_followers = config.max_followers;
    settings.run_uid = config.loop.plan.sandbox.uid;
    settings.run_gid = config.loop.plan.sandbox.gid;
    settings.policy = config.policy;
    if (config.webhooks.on) {
        settings.webhook_url_error = [allowed = config.webhooks.allowed](std::string_view url) {
            return webhook_url_error(url, allowed);
        };
    }
    return settings;
}

// Everything that runs, from the moment when nothing can fail any more until the last byte is
// answered.
class Daemon {
public:
    Daemon(asio::io_context& io, const controller::Config& config, store::Store& store,
           api::Server& server, controller::docker::DockerEngine& engine, controller::Loop& loop,
           controller::Sweeper& sweeper, controller::webhook::Dispatcher* webhooks)
        : io_(io),
          config_(config),
          store_(store),
          server_(server),
          engine_(engine),
          loop_(loop),
          sweeper_(sweeper),
          webhooks_(webhooks),
          signals_(io, SIGINT, SIGTERM) {}

    int run() {
        wait_for_signal();
        asio::co_spawn(io_, serve(), controller::log_exceptions("main"));
        asio::co_spawn(io_, sweeper_.run(), controller::log_exceptions("sweeper"));
        if (webhooks_ != nullptr) {
            asio::co_spawn(io_, webhooks_->run(), controller::log_exceptions("webhooks"));
        }
        server_.start();
        io_.run();
        return exit_code_;
    }

private:
    void wait_for_signal() {
        signals_.async_wait([this](boost::system::error_code error, int number) {
            if (error) return;
            if (stopping_)
                std::_Exit(128 + number);  // the second one means now; a restart recovers
            metrics::log_info("stopping; runs go on and are adopted at the next start",
                              {{"signal", number}});
            stop();
            wait_for_signal();
        });
    }

    void stop() {
        if (stopping_) return;
        stopping_ = true;
        loop_.stop();
        sweeper_.stop();
        if (webhooks_ != nullptr) webhooks_->stop();
    }

    asio::awaitable<void> serve() {
        auto ended = co_await loop_.run();
        if (!ended) {
            metrics::log_critical("the store has failed", {{"error", ended.error().message}});
            exit_code_ = kExitStoreFailed;
        }
        stop();
        const auto began = std::chrono::steady_clock::now();
        co_await server_.stop(config_.stop_grace_s * 1'000);
        const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
            std::chrono::steady_clock::now() - began);
        if (webhooks_ != nullptr) {
            co_await webhooks_->rest(config_.stop_grace_s * 1'000 - took.count());
        }
        store_.stop();
        engine_.close();
        signals_.cancel();
        io_.stop();
    }

    asio::io_context& io_;
    const controller::Config& config_;
    store::Store& store_;
    api::Server& server_;
    controller::docker::DockerEngine& engine_;
    controller::Loop& loop_;
    controller::Sweeper& sweeper_;
    controller::webhook::Dispatcher* webhooks_;  // null: they are switched off
    asio::signal_set signals_;
    bool stopping_ = false;
    int exit_code_ = 0;
};

int run_daemon(controller::Config config) {
    metrics::open_log(
        config.log_format == "json" ? metrics::LogFormat::json : metrics::LogFormat::logfmt,
        config.log_level);
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGHUP, SIG_IGN);

    auto data_dir = store::DataDir::open(config.data_dir);
    if (!data_dir) return give_up(kExitCannotOpen, data_dir.error().message);
    auto database = store::Database::open(data_dir->database_file());
    if (!database) return give_up(kExitCannotOpen, database.error().message);
    (*database)->keep_events(config.events_kept);

    asio::io_context io(1);
    asio::thread_pool pool(static_cast<std::size_t>(config.disk_threads));
    store::SystemClock clock;
    store::SystemRandom random;
    metrics::Families families(MAYFLY_VERSION);
    store::LiveStatus live_status;
    store::Store store(std::move(*database), io.get_executor());
    store.on_commit(
        [&families](double seconds, std::int64_t group) { families.committed(group, seconds); });

    config.loop.plan.sandbox.instance_id = store.instance_id();
    config.loop.images.instance_id = store.instance_id();
    config.sweeper.sweep.instance_id = store.instance_id();

    auto engine = open_engine(io, config, clock, families);
    if (!engine) return give_up(kExitBadConfig, engine.error());
    const auto alarms = controller::system_alarms(io.get_executor());
    controller::LoopWorld world{
        io.get_executor(), pool.get_executor(), store, *data_dir, **engine, *alarms, clock, random,
        families,          live_status};
    controller::Loop loop(world, config.loop);
    controller::Sweeper sweeper(world, loop, config.sweeper);

    auto sender = open_sender(io, config.webhooks);
    if (!sender) return give_up(kExitBadConfig, sender.error());
    std::optional<controller::webhook::Dispatcher> webhooks;
    if (config.webhooks.on) {
        webhooks.emplace(controller::webhook::DispatcherWorld{io.get_executor(), store, **sender,
                                                              *alarms, clock, random, families},
                         controller::webhook::DispatcherSettings{
                             .policy = {.tries_max = config.webhooks.tries_max},
                             .parallel = config.webhooks.parallel});
    }

    controller::LogFeeds feeds(io.get_executor(), **engine, *alarms, *data_dir,
                               {.max_feeds = config.max_followed_runs});
    feeds.on_count([&families](std::int64_t open, std::int64_t) { families.set_log_feeds(open); });

    const api::World api_world{store, *data_dir, live_status, feeds, loop,
                               clock, random,    families,    pool};
    api::Server server(io, api_settings(config), api_world);
    if (auto opened = server.open(); !opened)
        return give_up(kExitBadConfig, opened.error().message);

    metrics::log_info("started", {{"version", MAYFLY_VERSION},
                                  {"instance", store.instance_id()},
                                  {"data_dir", config.data_dir},
                                  {"engine", (*engine)->endpoint()}});
    Daemon daemon(io, config, store, server, **engine, loop, sweeper,
                  webhooks ? &*webhooks : nullptr);
    const int code = daemon.run();
    pool.join();
    metrics::log_info("stopped", {{"exit_code", code}});
    metrics::flush_log();
    return code;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
    if (argc > 1 && std::string_view(argv[1]) == "healthcheck") {
        return mayfly::controller::healthcheck(argc - 1, argv + 1);
    }
    auto parsed = mayfly::controller::parse_config(argc, argv);
    if (parsed.exit_now) return parsed.exit_code;
    return mayfly::run_daemon(std::move(parsed.config));
}
