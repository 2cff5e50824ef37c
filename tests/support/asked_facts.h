// What an engine says of a container that is exactly what was asked for: for tests that change one
// thing about it, and for the simulated engine.
#pragma once

#include <fmt/format.h>

#include <string>

#include "controller/sandbox.h"

namespace mayfly::controller {

inline ContainerFacts facts_as_asked(const Sandbox& sandbox) {
    ContainerFacts facts;
    facts.name = sandbox.name;
    facts.labels = sandbox.labels;
    facts.state = ContainerState::created;
    facts.image_id = sandbox.image_id;
    facts.user = fmt::format("{}:{}", sandbox.uid, sandbox.gid);
    facts.working_dir = kWorkDir;
    facts.entrypoint = sandbox.entrypoint;
    facts.cmd = sandbox.cmd;
    facts.stop_signal = "SIGTERM";
    facts.network_disabled = sandbox.network == store::Network::none;
    facts.healthcheck_off = true;
    facts.network_mode = "none";
    facts.readonly_rootfs = true;
    facts.restart_policy = "no";
    facts.cap_drop = {"ALL"};
    facts.security_opt = {"no-new-privileges"};
    facts.masked_paths = {"/proc/kcore", "/proc/keys"};
    facts.readonly_paths = {"/proc/bus", "/proc/sys"};
    facts.memory_bytes = sandbox.memory_bytes;
    facts.memory_swap_bytes = sandbox.memory_bytes;
    facts.nano_cpus = sandbox.nano_cpus;
    facts.pids_limit = sandbox.pids;
    for (const auto& [name, value] : sandbox.ulimits) facts.ulimits[name] = {value, value};
    facts.ipc_mode = "private";
    facts.cgroupns_mode = "private";
    facts.shm_size_bytes = sandbox.shm_bytes;
    facts.tmpfs = {{"/tmp", sandbox.tmpfs_options}};
    facts.log_driver = "local";
    facts.log_options = log_options(sandbox);
    facts.runtime = "runc";  // the default
    if (sandbox.volume_name.empty()) return facts;
    facts.mounts = {{.type = "volume",
                     .name = sandbox.volume_name,
                     .destination = std::string(kWorkDir),
                     .rw = !sandbox.volume_read_only}};
    return facts;
}

}  // namespace mayfly::controller
