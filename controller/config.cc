#include "controller/config.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mayfly::controller {
namespace {

constexpr std::int64_t kMaxBytes = 1LL << 50;
constexpr std::int64_t kDayS = 86'400;

std::string env_name(const std::string& flag) {
    std::string name = "MAYFLY_";
    for (const char c : flag)
        name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return name;
}

// One line an option: flag, environment variable and config key all come from `flag`.
class Options {
public:
    explicit Options(CLI::App& app) : app_(app) {}

    void group(std::string name) { group_ = std::move(name); }

    void text(const std::string& flag, std::string& target, const std::string& what) {
        finish(app_.add_option("--" + flag, target, what), flag);
    }
    void choice(const std::string& flag, std::string& target,
                const std::vector<std::string>& allowed, const std::string& what) {
        finish(app_.add_option("--" + flag, target, what)->check(CLI::IsMember(allowed)), flag);
    }
    void texts(const std::string& flag, std::vector<std::string>& target,
               const std::string& what) {
        finish(app_.add_option("--" + flag, target, what)->delimiter(','), flag);
    }
    void number(const std::string& flag, std::int64_t& target, std::int64_t floor,
                std::int64_t ceiling, const std::string& what) {
        finish(app_.add_option("--" + flag, target, what)->check(CLI::Range(floor, ceiling)),
               flag);
    }
    void decimal(const std::string& flag, double& target, double floor, double ceiling,
                 const std::string& what) {
        finish(app_.add_option("--" + flag, target, what)->check(CLI::Range(floor, ceiling)),
               flag);
    }
    void yes(const std::string& flag, bool& target, const std::string& what) {
        auto* option = app_.add_flag("--" + flag, target, what);
        option->envname(env_name(flag))->group(group_);
    }

private:
    void finish(CLI::Option* option, const std::string& flag) {
        option->capture_default_str()->envname(env_name(flag))->group(group_);
    }

    CLI::App& app_;
    std::string group_;
};

// What is spelled in other units on the command line than inside.
struct Spelled {
    std::string pull_policy = "missing";
    std::int64_t prepare_timeout_s = 600;
    std::int64_t starvation_s = 30;
    std::int64_t resync_every_s = 15;
    std::int64_t sweep_every_s = 60;
    std::int64_t sweep_grace_s = 600;
    std::int64_t run_uid = 10'001;
    std::int64_t run_gid = 10'001;
    double cpu_budget = 0;
    double default_cpus = 1;
    double max_cpus = 4;
    std::string webhooks = "on";
    std::vector<std::string> webhook_networks;
    std::int64_t webhook_timeout_s = 10;
};

std::string dashed(std::string_view name) {
    std::string text(name);
    std::replace(text.begin(), text.end(), '_', '-');
    return text;
}

void add_limits(Options& options, Config& config, Spelled& spelled) {
    options.group("Limits of a run");
    for (auto& limit : config.policy.limits) {
        const auto name = dashed(limit.name);
        if (limit.name == "cpus") {
            options.decimal("default-cpus", spelled.default_cpus, 0.01, 1'024,
                            "CPUs of a run that names none");
            options.decimal("max-cpus", spelled.max_cpus, 0.01, 1'024,
                            "most CPUs that a run may ask for");
            continue;
        }
        options.number("default-" + name, limit.default_value, limit.floor, kMaxBytes,
                       fmt::format("limits.{} of a run that names none", limit.name));
        options.number("max-" + name, limit.ceiling, limit.floor, kMaxBytes,
                       fmt::format("largest limits.{} that a run may ask for", limit.name));
    }
    auto& policy = config.policy;
    options.number("default-ttl-s", policy.ttl_default_s, 0, 3'650 * kDayS,
                   "how long a finished run is kept");
    options.number("max-ttl-s", policy.ttl_ceiling_s, 0, 3'650 * kDayS,
                   "longest ttl_s that a run may ask for");
    options.number("max-attempts", policy.max_attempts_ceiling, 1, 100,
                   "largest retry.max_attempts that a run may ask for");
}

void add_service(Options& options, Config& config) {
    options.group("Service");
    options.text("data-dir", config.data_dir,
                 "where the database and the runs' files live; one daemon per directory");
    options.text("listen", config.listen, "HOST:PORT of the HTTP API");
    options.text("unix-socket", config.unix_socket, "also listen on this socket");
    options.yes("allow-remote", config.allow_remote,
                "allow --listen on other than loopback; whoever reaches the port can run scripts");
    options.texts("allowed-hosts", config.allowed_hosts,
                  "further names for the Host header, comma-separated");
    options.choice("log-level", config.log_level,
                   {"trace", "debug", "info", "warn", "error", "critical"},
                   "least level that is logged, to stderr");
    options.choice("log-format", config.log_format, {"logfmt", "json"},
                   "how a log line is written");
    options.number("max-json-body-bytes", config.max_json_body_bytes, 1'024, 64LL << 20,
                   "largest JSON request body");
    options.number("max-input-bytes", config.max_input_bytes, 1'024, 1LL << 40,
                   "inputs of one run, all files together");
    options.number("max-input-files", config.max_input_files, 1, 100'000, "inputs of one run");
    options.number("max-connections", config.max_connections, 1, 100'000,
                   "open client connections");
    options.number("max-followers", config.max_followers, 1, 100'000,
                   "clients that follow logs or events at a time");
    options.number("max-followed-runs", config.max_followed_runs, 1, 4'096,
                   "runs whose live log is followed at a time; each costs the engine one stream");
    options.number("events-kept", config.events_kept, 100, 100'000'000,
                   "events that /v1/events can resume from; the oldest go");
    options.number("max-wait-s", config.max_wait_s, 1, 3'600, "longest ?wait=");
    options.number("stop-grace-s", config.stop_grace_s, 0, 600,
                   "on SIGTERM, time for steps and requests under way");
    options.number("disk-threads", config.disk_threads, 1, 64,
                   "threads for hashing, tar work and fsync");
}

void add_engine(Options& options, Config& config, Spelled& spelled) {
    options.group("Engine");
    options.text(
        "docker-host", config.docker_host,
        "unix:///path or tcp://host:port; default: DOCKER_HOST, else unix:///var/run/docker.sock");
    options.text("docker-tls-verify", config.docker_tls_verify,
                 "non-empty: TLS, and the engine's certificate is verified");
    options.text("docker-cert-path", config.docker_cert_path,
                 "folder with ca.pem, cert.pem and key.pem");
    options.text("engine-name", config.engine_name,
                 "what this engine is called in records and metrics");
    options.text("name-prefix", config.loop.plan.name_prefix,
                 "first part of container and volume names");
    options.choice("pull-policy", spelled.pull_policy, {"never", "missing", "always"},
                   "when images are pulled");
    options.texts(
        "allowed-images", config.policy.allowed_images,
        "patterns with *, comma-separated; empty: every image. Digests are patterns too");
    options.texts("allowed-runtimes", config.policy.allowed_runtimes,
                  "OCI runtimes that a run may name, besides the engine's default");
    options.text("default-image", config.policy.default_image, "image of a run that names none");
    options.number("run-uid", spelled.run_uid, 1, 2'147'483'646, "user id of every script");
    options.number("run-gid", spelled.run_gid, 1, 2'147'483'646, "group id of every script");
    options.number("term-grace-ms", config.loop.plan.sandbox.term_grace_ms, 0, 600'000,
                   "between TERM and KILL, at a deadline or on cancel");
}

void add_capacity(Options& options, Config& config, Spelled& spelled) {
    auto& loop = config.loop;
    options.group("Capacity");
    options.number("max-running", loop.admission.max_running, 1, 10'000,
                   "scripts that run at once");
    options.number("prepare-ahead", loop.admission.prepare_ahead, 0, 10'000,
                   "runs prepared beyond the free run slots");
    options.number("engine-work-slots", loop.engine_work_slots, 1, 256,
                   "heavy engine calls in flight at once");
    options.number("memory-budget-bytes", loop.admission.memory_bytes, 0, kMaxBytes,
                   "memory limits of all running scripts together; 0: no budget");
    options.decimal("cpu-budget", spelled.cpu_budget, 0, 10'000,
                    "CPUs of all running scripts together; 0: no budget");
    options.number("starvation-s", spelled.starvation_s, 0, kDayS,
                   "a run too large for the free budget is overtaken only this long");
    options.number("prepare-timeout-s", spelled.prepare_timeout_s, 1, kDayS,
                   "from admission to start, pull included");
}

void add_rounds(Options& options, Config& config, Spelled& spelled) {
    auto& rounds = config.sweeper;
    options.group("Rounds and disk");
    options.number("resync-every-s", spelled.resync_every_s, 1, 3'600,
                   "one list call for all runs");
    options.number("sweep-every-s", spelled.sweep_every_s, 1, kDayS,
                   "removal of what no run wants any more");
    options.number("sweep-grace-s", spelled.sweep_grace_s, 0, 30 * kDayS,
                   "age of an object of ours that no record knows, before it is removed");
    options.yes("sweep-dry-run", rounds.sweep.dry_run,
                "log what would be removed, remove nothing");
    options.number("disk-low-bytes", rounds.disk_low_bytes, 0, kMaxBytes,
                   "under this much free: nothing is admitted");
    options.number("disk-full-bytes", rounds.disk_full_bytes, 0, kMaxBytes,
                   "under this much free: submissions are refused");
    options.number("spool-budget-bytes", rounds.spool_budget_bytes, 0, kMaxBytes,
                   "what all stored runs may hold together; 0: what the disk holds");
}

void add_webhooks(Options& options, Config& config, Spelled& spelled) {
    auto& webhooks = config.webhooks;
    options.group("Webhooks");
    options.choice("webhooks", spelled.webhooks, {"on", "off"},
                   "off: a run with a webhook is refused, and nothing is sent");
    options.texts("webhook-allow-network", spelled.webhook_networks,
                  "networks like 10.1.0.0/16 that webhooks may reach besides the public internet; "
                  "comma-separated or repeated");
    options.number("webhook-timeout-s", spelled.webhook_timeout_s, 1, 60,
                   "of one try, from the resolver to the answer");
    options.number("webhook-tries-max", webhooks.tries_max, 1, 100,
                   "tries of one delivery before it is given up; the pauses double from 2 s to "
                   "an hour");
    options.number("webhook-parallel", webhooks.parallel, 1, 64,
                   "tries at the same time, each to another receiver");
    options.text("webhook-ca-file", webhooks.ca_file,
                 "PEM file of certificates to trust besides the system's");
}

void fold(Config& config, const Spelled& spelled) {
    constexpr std::int64_t kMs = 1'000;
    auto& loop = config.loop;
    loop.images.pull_policy = spelled.pull_policy == "never"    ? PullPolicy::never
                              : spelled.pull_policy == "always" ? PullPolicy::always
                                                                : PullPolicy::missing;
    loop.plan.prepare_timeout_ms = spelled.prepare_timeout_s * kMs;
    loop.plan.sandbox.uid = static_cast<std::uint32_t>(spelled.run_uid);
    loop.plan.sandbox.gid = static_cast<std::uint32_t>(spelled.run_gid);
    loop.admission.starvation_ms = spelled.starvation_s * kMs;
    loop.admission.cpu_millis = std::llround(spelled.cpu_budget * 1'000);
    loop.resync_every_ms = spelled.resync_every_s * kMs;
    config.sweeper.sweep_every_ms = spelled.sweep_every_s * kMs;
    config.sweeper.sweep.grace_ms = spelled.sweep_grace_s * kMs;
    config.webhooks.on = spelled.webhooks == "on";
    config.webhooks.timeout_ms = spelled.webhook_timeout_s * kMs;
    for (auto& limit : config.policy.limits) {
        if (limit.name != "cpus") continue;
        limit.default_value = std::llround(spelled.default_cpus * 1'000);
        limit.ceiling = std::llround(spelled.max_cpus * 1'000);
    }
}

// "" = all of them are networks.
std::string read_networks(Config& config, const Spelled& spelled) {
    for (const auto& text : spelled.webhook_networks) {
        const auto network = webhook::parse_network(text);
        if (!network) return "webhook-allow-network: " + network.error();
        config.webhooks.allowed.push_back(*network);
    }
    return "";
}

// What no single option can know.
std::string contradiction(const Config& config) {
    for (const auto& limit : config.policy.limits) {
        if (limit.default_value > limit.ceiling) {
            return fmt::format("default-{0} ({1}) is over max-{0} ({2})", dashed(limit.name),
                               limit.default_value, limit.ceiling);
        }
        const auto budget = limit.name == "memory_bytes" ? config.loop.admission.memory_bytes
                            : limit.name == "cpus"       ? config.loop.admission.cpu_millis
                                                         : 0;
        if (budget > 0 && limit.ceiling > budget) {
            return fmt::format(
                "max-{} is over the budget of all runs together: a run that asks for it could "
                "never start",
                dashed(limit.name));
        }
    }
    if (config.policy.ttl_default_s > config.policy.ttl_ceiling_s)
        return "default-ttl-s is over max-ttl-s";
    if (config.sweeper.disk_full_bytes > config.sweeper.disk_low_bytes)
        return "disk-full-bytes is over disk-low-bytes";
    const auto& prefix = config.loop.plan.name_prefix;
    const auto bad = [](char c) {
        return !(std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-');
    };
    if (prefix.empty() || prefix.size() > 32 || std::any_of(prefix.begin(), prefix.end(), bad) ||
        !std::isalnum(static_cast<unsigned char>(prefix.front()))) {
        return "name-prefix must be 1 to 32 letters, digits, '-' or '_', and begin with a letter "
               "or digit";
    }
    return "";
}

// CLI11 writes "INT:INT in [1 - 64]": the type, then what its check says.
std::string values_of(const CLI::Option& option) {
    auto text = option.get_type_name();
    if (option.get_expected_max() == 0) return "";
    if (const auto colon = text.find(':'); colon != std::string::npos) text.erase(0, colon + 1);
    for (const std::string_view type : {"INT in ", "FLOAT in ", "TEXT"}) {
        if (text.starts_with(type)) text.erase(0, type.size());
    }
    std::replace(text.begin(), text.end(), '|', '/');
    return text;
}

void print_markdown(const CLI::App& app) {
    std::string group;
    for (const auto* option : app.get_options()) {
        if (option->get_group().empty() || option->get_envname().empty()) continue;
        if (option->get_group() != group) {
            group = option->get_group();
            fmt::print("\n**{}**\n\n| flag | default | values | what |\n|---|---|---|---|\n",
                       group);
        }
        const auto value = option->get_default_str();
        fmt::print("| `{}` | {} | {} | {} |\n", option->get_name(),
                   value.empty() || value == "[]" ? "" : "`" + value + "`", values_of(*option),
                   option->get_description());
    }
}

constexpr int kBadConfig = 2;  // a supervisor need not try again

constexpr const char* kFooter =
    "\nEach flag is also an environment variable (MAYFLY_DATA_DIR for --data-dir) and a key of "
    "the --config file\n"
    "(data-dir = \"/var/lib/mayfly\"). A flag beats the environment, and that beats the file.\n"
    "\nTo see it work: mayflyd --data-dir /tmp/mayfly, then: curl http://127.0.0.1:7070/\n"
    "Whether one is alive: mayflyd healthcheck [--url http://127.0.0.1:7070]";

}  // namespace

ParsedConfig parse_config(int argc, const char* const* argv) {
    ParsedConfig parsed;
    auto& config = parsed.config;
    Spelled spelled;
    CLI::App app{
        "mayflyd: runs scripts that nobody trusts in ephemeral containers, and never loses one.\n"
        "Runs are recorded through the HTTP API; a reconcile loop makes them so on a Docker "
        "Engine.",
        "mayflyd"};
    app.footer(kFooter);
    app.set_version_flag("--version", "mayflyd " MAYFLY_VERSION);
    app.set_config("--config", "", "read options from this file (TOML or INI)");
    bool markdown = false;
    app.add_flag("--help-markdown", markdown, "print the table of options for the README");
    Options options(app);
    add_service(options, config);
    add_engine(options, config, spelled);
    add_capacity(options, config, spelled);
    add_limits(options, config, spelled);
    add_rounds(options, config, spelled);
    add_webhooks(options, config, spelled);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        parsed.exit_now = true;
        parsed.exit_code = app.exit(error) == 0 ? 0 : kBadConfig;
        return parsed;
    }
    if (markdown) {
        print_markdown(app);
        parsed.exit_now = true;
        return parsed;
    }
    fold(config, spelled);
    auto sentence = read_networks(config, spelled);
    if (sentence.empty()) sentence = contradiction(config);
    if (!sentence.empty()) {
        fmt::print(stderr, "mayflyd: {}\n", sentence);
        parsed.exit_now = true;
        parsed.exit_code = kBadConfig;
    }
    return parsed;
}

}  // namespace mayfly::controller
