// What an engine can tell us, as values. Pure: no Asio, no JSON, no Docker. plan() decides by
// these.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/clock.h"

namespace mayfly::controller {

using store::UnixMs;

struct EngineFacts {
    std::string version;      // "20.10.24"
    std::string api_version;  // negotiated
    std::string os;           // "linux"
    std::string arch;         // "amd64" as the engine spells it in /version
    std::string kernel;
    std::string cgroup_version;
    std::string default_runtime;
    std::vector<std::string> runtimes;
    std::vector<std::string> warnings;  // /info Warnings
    std::string runc_version;
    std::string id;  // /info ID: changes when another engine answers at the same address
    std::int64_t cpus = 0;
    std::int64_t memory_bytes = 0;
    std::string storage_driver;
    std::vector<std::string> security_options;  // "name=seccomp,profile=default", ...
    UnixMs system_time_ms = 0;                  // by the engine's clock; 0 = it does not say
};

struct ImageFacts {
    std::string id;  // sha256:...
    std::vector<std::string> repo_digests;
    std::string os;
    std::string arch;
    std::vector<std::string> volumes;  // paths that the image declares
    std::map<std::string, std::string> labels;
    UnixMs created_ms = 0;
};

enum class ContainerState {
    created,
    running,
    paused,
    restarting,
    removing,
    exited,
    dead,
    unknown
};
[[nodiscard]] std::string_view to_string(ContainerState state);

struct MountFacts {
    std::string type;  // "volume", "bind", "tmpfs"
    std::string name;
    std::string destination;
    bool rw = false;
};

// One inspect: identity, state, and every limit as the engine says it is in force.
struct ContainerFacts {
    std::string id;
    std::string name;  // without the leading '/'
    std::map<std::string, std::string> labels;
    UnixMs created_ms = 0;

    ContainerState state = ContainerState::unknown;
    std::int64_t exit_code = 0;
    bool oom_killed = false;
    std::string error;
    UnixMs started_ms = 0;  // 0 = never, as far as the engine knows
    UnixMs finished_ms = 0;

    // Read back for verification. Names follow the engine's own.
    std::string image_id;
    std::string user;
    std::string working_dir;
    std::vector<std::string> entrypoint;
    std::vector<std::string> cmd;
    std::string stop_signal;
    bool tty = false;
    bool open_stdin = false;
    bool network_disabled = false;
    bool healthcheck_off = false;
    std::string network_mode;
    bool readonly_rootfs = false;
    bool privileged = false;
    bool publish_all_ports = false;
    bool auto_remove = false;
    std::string restart_policy;
    std::vector<std::string> cap_add;
    std::vector<std::string> cap_drop;
    std::vector<std::string> security_opt;
    std::vector<std::string> masked_paths;
    std::vector<std::string> readonly_paths;
    std::int64_t memory_bytes = 0;
    std::int64_t memory_swap_bytes = 0;
    std::int64_t nano_cpus = 0;
    std::int64_t pids_limit = 0;  // 0 = none in force
    bool oom_kill_disable = false;
    bool docker_init = false;  // HostConfig.Init: the engine puts a PID 1 of its own before ours
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> ulimits;  // soft, hard
    std::string ipc_mode;
    std::string pid_mode;
    std::string uts_mode;
    std::string userns_mode;
    std::string cgroupns_mode;
    std::int64_t shm_size_bytes = 0;
    std::map<std::string, std::string> tmpfs;  // path -> options
    std::string log_driver;
    std::map<std::string, std::string> log_options;
    std::string runtime;
    std::vector<std::string> binds;
    std::int64_t device_count = 0;  // Devices + DeviceRequests + DeviceCgroupRules
    std::vector<std::string> group_add;
    std::vector<std::string> volumes_from;
    std::vector<MountFacts> mounts;
};

// A row of the list call: enough to wake a key and to sweep by, never enough to decide an outcome.
struct ContainerSummary {
    std::string id;
    std::string name;
    std::map<std::string, std::string> labels;
    ContainerState state = ContainerState::unknown;
    UnixMs created_ms = 0;
    std::vector<std::string> volume_names;
};

struct VolumeFacts {
    std::string name;
    std::string driver;
    std::map<std::string, std::string> labels;
    UnixMs created_ms = 0;
};

struct PathStat {
    std::string name;
    std::int64_t size = 0;
    std::uint32_t mode = 0;     // Go's os.FileMode as sent
    std::int64_t mtime_ns = 0;  // since the epoch
    std::string link_target;
};

// From the events stream: a wake-up, nothing more.
struct EngineEvent {
    std::string type;    // "container"
    std::string action;  // "die", "destroy", ...
    std::string id;
    store::UnixMs time_ms = 0;                      // by the engine's clock; 0 = it did not say
    std::map<std::string, std::string> attributes;  // labels among them
};

}  // namespace mayfly::controller
