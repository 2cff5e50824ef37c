// What an operator can set about the API. Every limit is named in the answer that it causes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "store/limits.h"

namespace mayfly::api {

struct Settings {
    // "host:port"; port 0 takes a free one; "" = no TCP at all (then unix_socket must be set).
    std::string listen = "127.0.0.1:7070";
    std::string unix_socket;  // path; "" = none
    // There are no tokens yet: whoever reaches the address may run containers.
    bool allow_remote = false;
    // Host names, besides localhost and the one in `listen`, under which clients reach us. "*" =
    // all.
    std::vector<std::string> allowed_hosts;

    std::int64_t max_request_line_bytes = 8 << 10;
    std::int64_t max_header_bytes = 16 << 10;
    std::int64_t max_json_body_bytes = 4 << 20;
    std::int64_t max_input_bytes = 256 << 20;  // all inputs of a run together
    std::int64_t max_input_files = 1'000;
    std::int64_t max_stdin_bytes = 64 << 20;
    std::int64_t max_list = 200;            // runs in one page
    std::int64_t max_list_bytes = 8 << 20;  // of one page; it ends early with a cursor
    std::int64_t max_tail_lines = 100'000;  // of a log
    std::int64_t max_wait_s = 60;
    std::int64_t max_connections = 1'024;
    std::int64_t max_followers = 512;  // answers without an end under way, of max_connections
    std::int64_t min_free_bytes = 64
                                  << 20;  // left on the data directory's disk after a submission

    std::int64_t header_timeout_ms = 10'000;  // from a request's first byte to its whole header
    std::int64_t idle_timeout_ms = 30'000;    // before a request, and between two pieces of a body
    std::int64_t body_grace_ms = 30'000;      // a body may take this long, and beyond it
    std::int64_t body_min_bytes_per_s = 1 << 10;  // must have come in at this rate on average
    std::int64_t write_timeout_ms = 30'000;       // for each piece of 64 KiB
    std::int64_t linger_timeout_ms = 2'000;  // for a client to read an answer to a body not read

    std::uint32_t run_uid = 10'001;  // owns the inputs inside the container
    std::uint32_t run_gid = 10'001;
    store::Policy policy;
    // Why a webhook cannot go to this URL, "" when it can. Empty: there are no webhooks.
    std::function<std::string(std::string_view url)> webhook_url_error;
};

}  // namespace mayfly::api
