// What the controller knows right now and keeps nowhere: published for the API to show. Written
// and read on the loop's thread only; a restart starts it empty. Nothing decides by it except
// readiness.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/clock.h"

namespace mayfly::store {

struct EngineStatus {
    std::string name;
    std::string endpoint;  // "unix:///var/run/docker.sock"; no credentials
    bool up = false;
    std::string error;  // why it is not up, for people
    UnixMs since_ms = 0;
    std::string version;
    std::string api_version;  // the one in use
    std::string os_arch;
    std::string default_runtime;
    std::vector<std::string> runtimes;
    std::vector<std::string> warnings;  // what the engine cannot do, known risks of its version
    std::int64_t cpus = 0;
    std::int64_t memory_bytes = 0;
    std::string kernel;
    std::string cgroup_version;
    std::string storage_driver;
    std::vector<std::string> security_options;
    std::optional<std::int64_t> clock_skew_ms;  // the engine's clock less ours, when last asked
};

struct LiveStatus {
    bool recovered = false;  // the first full look after start is done
    bool draining = false;   // stopping: nothing new is taken
    bool disk_low = false;   // admission is held
    bool disk_full = false;  // submissions are refused
    std::string disk_message;
    std::int64_t disk_free_bytes = 0;  // of the data directory's; 0 = not looked yet
    std::int64_t disk_low_bytes = 0;   // below it admission is held
    std::int64_t disk_full_bytes = 0;  // below it submissions are refused
    bool sweep_held = false;           // the sweep's brake is on
    std::string sweep_message;
    std::vector<EngineStatus> engines;
    std::int64_t run_slots = 0;
    std::int64_t run_slots_used = 0;
    std::int64_t engine_work_slots = 0;
    std::int64_t engine_work_slots_used = 0;
    std::int64_t prepare_ahead = 0;
    std::int64_t queued = 0;
};

}  // namespace mayfly::store
