// What a simulated client wants of one run, and what it has heard so far.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "store/run.h"
#include "tests/sim/script.h"

namespace mayfly::sim {

inline constexpr const char* kImageLocal = "local:1";
inline constexpr const char* kImageRemote = "remote:1";
inline constexpr const char* kImageNowhere = "nowhere:1";
inline constexpr const char* kImageUnfit = "unfit:1";

struct Job {
    std::int64_t number = 0;
    Script script;
    std::string image = kImageLocal;
    std::int64_t timeout_s = 10;
    std::int64_t queue_timeout_s = 100'000;
    std::int64_t max_attempts = 1;
    std::int64_t ttl_s = 10'000'000;
    std::int64_t priority = 0;
    std::string owner;
    bool changes_body = false;  // sends its key once more, with another body
    // How many tries of each delivery fail before one is taken; negative: it has no webhook.
    std::int64_t webhook_failures = -1;
    bool tells_all = false;  // the webhook gets every event, not the end alone

    // What the client knows.
    std::string run_id;  // from a 201 or 200
    bool submitting = false;
    bool cancel_wanted = false;
    bool cancelling = false;
    bool cancel_answered = false;
    store::Phase phase_at_cancel = store::Phase::queued;
    bool delete_wanted = false;
    bool deleting = false;
    bool delete_answered = false;

    [[nodiscard]] std::string key() const { return "key-" + std::to_string(number); }
    [[nodiscard]] std::string input() const { return "input of " + std::to_string(number); }
};

}  // namespace mayfly::sim
