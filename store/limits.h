// What the operator allows: a default and a ceiling for every limit of a run, and the rules for
// images and runtimes. Set by the configuration, enforced by the API at submission, shown by GET
// /v1/engines and in error messages.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/run.h"

namespace mayfly::store {

struct LimitRange {
    std::string_view name;            // as spelled in the spec: "memory_bytes"
    std::int64_t RunLimits::* field;  // where it lands
    std::int64_t floor;               // smallest that makes sense
    std::int64_t default_value;
    std::int64_t ceiling;  // largest that this operator allows
};

// `cpu_millis` is spelled `cpus` in the spec (decimal, 1 = 1000 millis); all others are integers
// of the unit named.
struct Policy {
    std::array<LimitRange, 10> limits = {{
        {"timeout_s", &RunLimits::timeout_s, 1, 60, 3'600},
        {"queue_timeout_s", &RunLimits::queue_timeout_s, 1, 3'600, 7 * 86'400},
        {"memory_bytes", &RunLimits::memory_bytes, 16LL << 20, 256LL << 20, 4LL << 30},
        {"cpus", &RunLimits::cpu_millis, 10, 1'000, 4'000},
        {"pids", &RunLimits::pids, 4, 128, 1'024},
        {"work_bytes", &RunLimits::work_bytes, 1LL << 20, 256LL << 20, 16LL << 30},
        {"tmp_bytes", &RunLimits::tmp_bytes, 64LL << 10, 64LL << 20, 1LL << 30},
        {"log_bytes", &RunLimits::log_bytes, 1LL << 10, 256LL << 10, 64LL << 20},
        {"artifact_bytes", &RunLimits::artifact_bytes, 0, 64LL << 20, 8LL << 30},
        {"artifact_files", &RunLimits::artifact_files, 0, 1'000, 100'000},
    }};
    std::int64_t ttl_default_s = 86'400;
    std::int64_t ttl_ceiling_s = 30 * 86'400;
    std::int64_t max_attempts_ceiling = 5;
    std::int64_t priority_min = -100;
    std::int64_t priority_max = 100;
    std::vector<std::string> allowed_images;    // patterns with `*`; empty = every image
    std::vector<std::string> allowed_runtimes;  // besides the engine's default
    std::string default_image;  // used when a spec names none; "" = a spec must name one
};

// `*` matches any run of characters (also `/`), everything else itself. Empty pattern list allows
// everything.
[[nodiscard]] bool image_allowed(const Policy& policy, std::string_view image);

}  // namespace mayfly::store
