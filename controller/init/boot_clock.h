// PID 1's only clock. BOOTTIME, not MONOTONIC: the controller's own deadlines are absolute wall
// times, so a host that was suspended must count here too, or the two would disagree. Nobody can
// set it. A paused container (frozen cgroup) goes on ageing under either clock and trips when it
// is unpaused.
#pragma once

#include <time.h>

#include <cstdint>

namespace mayfly::controller {

[[nodiscard]] inline std::int64_t clock_us(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}
[[nodiscard]] inline std::int64_t boot_us() { return clock_us(CLOCK_BOOTTIME); }
[[nodiscard]] inline std::int64_t boot_ms() { return boot_us() / 1'000; }

}  // namespace mayfly::controller
