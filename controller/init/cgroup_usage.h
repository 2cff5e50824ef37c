// What the container used, by its control group (v1 or v2), or by rusage where no group can be
// read.
#pragma once

#include <cstdint>

namespace mayfly::controller {

struct Usage {
    std::int64_t cpu_us = 0;
    std::int64_t memory_peak_bytes = 0;
    std::int64_t oom_kills = 0;
};

// Everything in the container so far. By rusage (children that were waited for) the peak is that
// of the largest single process, and kills for memory are not known.
[[nodiscard]] Usage usage_so_far();

// INT64_MAX = none, or not to be read.
[[nodiscard]] std::int64_t memory_limit_bytes();

}  // namespace mayfly::controller
