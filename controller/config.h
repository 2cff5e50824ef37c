// The configuration: one table of options, each a flag, an environment variable and a key of the
// config file. --help and the README's table are printed from it.
#pragma once

#include <string>
#include <vector>

#include "controller/loop.h"
#include "controller/sweeper.h"
#include "controller/webhook/address_rules.h"
#include "store/event.h"
#include "store/limits.h"

namespace mayfly::controller {

struct WebhookConfig {
    bool on = true;
    std::vector<webhook::Network> allowed;
    std::int64_t timeout_ms = 10'000;
    std::int64_t tries_max = 20;
    std::int64_t parallel = 8;
    std::string ca_file;  // "" = the system's certificates alone
};

struct Config {
    std::string data_dir = "/var/lib/mayfly";
    std::string docker_host;        // "" = DOCKER_HOST, or the default socket
    std::string docker_tls_verify;  // as Docker's own variables
    std::string docker_cert_path;
    std::string engine_name = "default";
    std::string log_level = "info";
    std::string log_format = "logfmt";

    LoopSettings loop;
    SweeperSettings sweeper;
    store::Policy policy;
    WebhookConfig webhooks;

    // For the API's room; main hands them on.
    std::string listen = "127.0.0.1:7070";
    std::string unix_socket;
    bool allow_remote = false;
    std::vector<std::string> allowed_hosts;
    std::int64_t max_json_body_bytes = 4LL << 20;
    std::int64_t max_input_bytes = 256LL << 20;
    std::int64_t max_input_files = 1'000;
    std::int64_t max_connections = 1'024;
    std::int64_t max_wait_s = 60;
    std::int64_t max_followers = 512;
    std::int64_t max_followed_runs = 64;
    std::int64_t events_kept = store::kEventsKept;
    std::int64_t stop_grace_s = 10;
    std::int64_t disk_threads = 8;
};

struct ParsedConfig {
    Config config;
    // Set when there is nothing to run: --help, --version, --help-markdown, or an error that was
    // printed.
    bool exit_now = false;
    int exit_code = 0;
};

// Prints help and errors itself. Bad values name the option, the value and the range.
[[nodiscard]] ParsedConfig parse_config(int argc, const char* const* argv);

}  // namespace mayfly::controller
