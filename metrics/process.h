// The process_* families that every Prometheus client exposes, read from /proc/self when asked.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace mayfly::metrics {

// What cannot be read is left out; never throws. Opens and closes a few files under /proc.
[[nodiscard]] std::vector<prometheus::MetricFamily> collect_process();

}  // namespace mayfly::metrics
