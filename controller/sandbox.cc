#include "controller/sandbox.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace mayfly::controller {
namespace {

using Sentences = std::vector<std::string>;

constexpr std::int64_t kMiB = 1 << 20;

constexpr std::int64_t kNoFile = 1'024;
constexpr std::int64_t kMemlockBytes = 64 << 10;
constexpr std::int64_t kShmBytes = 1 * kMiB;

// RLIMIT_CPU is a backstop behind the cgroup's quota and PID 1's deadline: it must never be what
// ends an honest run.
constexpr std::int64_t kCpuMarginS = 60;

// An inode of tmpfs costs about 1 KiB of kernel memory that `size` does not count, so their number
// has a bound of its own: one for every page of /tmp, within these.
constexpr std::int64_t kTmpBytesPerInode = 4'096;
constexpr std::int64_t kTmpInodesMin = 64;
constexpr std::int64_t kTmpInodesMax = 65'536;

// The `local` driver stores a printed line of one byte in 26 (measured on 20.10: "\n" only, 10 400
// 000 bytes for 400 000 lines). PID 1 passes on at most log_bytes of each stream; the driver keeps
// two files of max-size, so one file must hold what one stream can cost, and nothing that PID 1
// let through is rotated away.
constexpr std::int64_t kLogDriverBytesPerByte = 40;
constexpr std::int64_t kLogDriverSlackBytes = 1 * kMiB;
// A script can write past PID 1 (they share a uid, and with it /proc/1/fd): this is what holds the
// engine's disk then. The price: above about 12 MiB of log_bytes, output of nothing but empty
// lines can lose its oldest part.
constexpr std::int64_t kLogDriverCapBytes = 512 * kMiB;

std::map<std::string, std::string> identity_labels(const SandboxSettings& settings,
                                                   const store::Run& run,
                                                   const store::Attempt& attempt,
                                                   std::string_view role) {
    return {
        {std::string(kLabelInstance), settings.instance_id},
        {std::string(kLabelRun), run.id},
        {std::string(kLabelAttempt), std::to_string(attempt.number)},
        {std::string(kLabelNonce), attempt.nonce},
        {std::string(kLabelSpec), run.spec_sha256},
        {std::string(kLabelRole), std::string(role)},
    };
}

std::vector<std::string> init_argv(const SandboxSettings& settings, const store::RunSpec& spec) {
    std::vector<std::string> argv = {
        std::string(kInitPath),
        fmt::format("--run-ms={}", spec.limits.timeout_s * 1'000),
        fmt::format("--grace-ms={}", settings.term_grace_ms),
        fmt::format("--log-bytes={}", spec.limits.log_bytes),
        fmt::format("--work-bytes={}", spec.limits.work_bytes),
    };
    if (spec.stdin_file) {
        argv.emplace_back("--stdin");
    }
    argv.emplace_back("--");
    return argv;
}

std::map<std::string, std::int64_t> ulimits_for(const store::RunLimits& limits) {
    const std::int64_t cpus_rounded_up = (limits.cpu_millis + 999) / 1'000;
    return {
        {"core", 0},
        {"cpu", limits.timeout_s * std::max<std::int64_t>(cpus_rounded_up, 1) + kCpuMarginS},
        // Per file. It is also what stops a sparse file of a terabyte, which would stream for
        // hours at the harvest.
        {"fsize", std::max({limits.work_bytes, limits.artifact_bytes, limits.tmp_bytes})},
        {"memlock", kMemlockBytes},
        {"nofile", kNoFile},
    };
}

std::string tmpfs_for(const store::RunLimits& limits) {
    const std::int64_t inodes =
        std::clamp(limits.tmp_bytes / kTmpBytesPerInode, kTmpInodesMin, kTmpInodesMax);
    return fmt::format("rw,size={},nr_inodes={},noexec,nosuid,nodev,mode=1777", limits.tmp_bytes,
                       inodes);
}

// ---- the proof, sentence by sentence

std::string quoted(std::string_view text) { return fmt::format("\"{}\"", text); }

std::string listed(const std::vector<std::string>& items) {
    std::string out = "[";
    for (const std::string& item : items) {
        out += out.size() > 1 ? ", " : "";
        out += quoted(item);
    }
    return out + "]";
}

class Proof {
public:
    void text(std::string_view field, std::string_view asked, std::string_view in_force) {
        if (asked != in_force) {
            say(field, quoted(asked), quoted(in_force));
        }
    }
    void number(std::string_view field, std::int64_t asked, std::int64_t in_force) {
        if (asked != in_force) {
            say(field, std::to_string(asked), std::to_string(in_force));
        }
    }
    void flag(std::string_view field, bool asked, bool in_force) {
        if (asked != in_force) {
            say(field, asked ? "true" : "false", in_force ? "true" : "false");
        }
    }
    void list(std::string_view field, const std::vector<std::string>& asked,
              const std::vector<std::string>& in_force) {
        if (asked != in_force) {
            say(field, listed(asked), listed(in_force));
        }
    }
    void say(std::string_view field, std::string_view asked, std::string_view in_force) {
        sentences_.push_back(
            fmt::format("{}: asked for {}, in force is {}", field, asked, in_force));
    }
    Sentences take() { return std::move(sentences_); }

private:
    Sentences sentences_;
};

void prove_identity(Proof& proof, const Sandbox& sandbox, const ContainerFacts& facts) {
    proof.text("name", sandbox.name, facts.name);
    for (const auto& [key, value] : sandbox.labels) {
        const auto found = facts.labels.find(key);
        proof.text(
            fmt::format("label {}", key), value,
            found == facts.labels.end() ? std::string_view() : std::string_view(found->second));
    }
    proof.text("image", sandbox.image_id, facts.image_id);
}

void prove_process(Proof& proof, const Sandbox& sandbox, const ContainerFacts& facts) {
    proof.text("user", fmt::format("{}:{}", sandbox.uid, sandbox.gid), facts.user);
    proof.text("working_dir", kWorkDir, facts.working_dir);
    proof.list("entrypoint", sandbox.entrypoint, facts.entrypoint);
    proof.list("cmd", sandbox.cmd, facts.cmd);
    proof.text("stop_signal", "SIGTERM", facts.stop_signal);
    proof.flag("tty", false, facts.tty);
    proof.flag("open_stdin", false, facts.open_stdin);
    proof.flag("healthcheck_off", true, facts.healthcheck_off);
    proof.flag("docker_init", false, facts.docker_init);
    proof.flag("auto_remove", false, facts.auto_remove);
    if (!facts.restart_policy.empty()) {  // some engines spell "no" as nothing
        proof.text("restart_policy", "no", facts.restart_policy);
    }
    if (!sandbox.runtime.empty()) {
        proof.text("runtime", sandbox.runtime, facts.runtime);
    }
}

// Engines give the option back as it was sent, or with the default spelled out.
bool is_no_new_privileges(std::string_view option) {
    return option == "no-new-privileges" || option == "no-new-privileges:true" ||
           option == "no-new-privileges=true";
}

void prove_paths(Proof& proof, std::string_view field, std::string_view must_have,
                 const std::vector<std::string>& in_force) {
    if (std::ranges::find(in_force, must_have) == in_force.end()) {
        proof.say(field, fmt::format("the engine's defaults with {}", must_have),
                  listed(in_force));
    }
}

void prove_privileges(Proof& proof, const ContainerFacts& facts) {
    proof.flag("privileged", false, facts.privileged);
    proof.list("cap_add", {}, facts.cap_add);
    proof.list("cap_drop", {"ALL"}, facts.cap_drop);
    if (facts.security_opt.size() != 1 || !is_no_new_privileges(facts.security_opt.front())) {
        proof.say("security_opt", listed({"no-new-privileges"}), listed(facts.security_opt));
    }
    prove_paths(proof, "masked_paths", "/proc/kcore", facts.masked_paths);
    prove_paths(proof, "readonly_paths", "/proc/sys", facts.readonly_paths);
    proof.number("device_count", 0, facts.device_count);
    proof.list("group_add", {}, facts.group_add);
}

void prove_namespaces(Proof& proof, const Sandbox& sandbox, const ContainerFacts& facts) {
    proof.flag("network_disabled", sandbox.network == store::Network::none,
               facts.network_disabled);
    proof.text("network_mode", "none", facts.network_mode);
    proof.flag("publish_all_ports", false, facts.publish_all_ports);
    proof.text("ipc_mode", "private", facts.ipc_mode);
    proof.text("pid_mode", "", facts.pid_mode);
    proof.text("uts_mode", "", facts.uts_mode);
    proof.text("userns_mode", "", facts.userns_mode);
    proof.text("cgroupns_mode", "private", facts.cgroupns_mode);
}

void prove_limits(Proof& proof, const Sandbox& sandbox, const ContainerFacts& facts) {
    proof.number("memory_bytes", sandbox.memory_bytes, facts.memory_bytes);
    proof.number("memory_swap_bytes", sandbox.memory_bytes, facts.memory_swap_bytes);
    proof.number("nano_cpus", sandbox.nano_cpus, facts.nano_cpus);
    proof.number("pids_limit", sandbox.pids, facts.pids_limit);
    proof.flag("oom_kill_disable", false, facts.oom_kill_disable);
    proof.number("shm_size_bytes", sandbox.shm_bytes, facts.shm_size_bytes);
    // The engine may add limits of its own configuration; ours must be there and exact.
    for (const auto& [name, value] : sandbox.ulimits) {
        const auto found = facts.ulimits.find(name);
        if (found == facts.ulimits.end()) {
            proof.say(fmt::format("ulimits {}", name), std::to_string(value), "none");
        } else if (found->second != std::pair(value, value)) {
            proof.say(fmt::format("ulimits {}", name), fmt::format("{0}:{0}", value),
                      fmt::format("{}:{}", found->second.first, found->second.second));
        }
    }
}

void prove_logging(Proof& proof, const Sandbox& sandbox, const ContainerFacts& facts) {
    proof.text("log_driver", "local", facts.log_driver);
    for (const auto& [key, value] : log_options(sandbox)) {
        const auto found = facts.log_options.find(key);
        proof.text(fmt::format("log_options {}", key), value,
                   found == facts.log_options.end() ? std::string_view()
                                                    : std::string_view(found->second));
    }
}

std::string mount_text(const MountFacts& mount) {
    return fmt::format("{} {} at {} {}", mount.type, mount.name.empty() ? "-" : mount.name,
                       mount.destination, mount.rw ? "rw" : "ro");
}

void prove_storage(Proof& proof, const Sandbox& sandbox, const ContainerFacts& facts) {
    proof.flag("readonly_rootfs", true, facts.readonly_rootfs);
    proof.list("binds", {}, facts.binds);
    proof.list("volumes_from", {}, facts.volumes_from);
    if (facts.tmpfs != std::map<std::string, std::string>{{"/tmp", sandbox.tmpfs_options}}) {
        std::string in_force;
        for (const auto& [path, options] : facts.tmpfs) {
            in_force += fmt::format("{}{}:{}", in_force.empty() ? "" : " ", path, options);
        }
        proof.say("tmpfs", fmt::format("/tmp:{}", sandbox.tmpfs_options),
                  in_force.empty() ? "none" : in_force);
    }
    std::string asked = "none";
    if (!sandbox.volume_name.empty()) {
        asked = mount_text({.type = "volume",
                            .name = sandbox.volume_name,
                            .destination = std::string(kWorkDir),
                            .rw = !sandbox.volume_read_only});
    }
    std::string in_force;
    for (const MountFacts& mount : facts.mounts) {
        if (mount.type == "tmpfs" && mount.destination == "/tmp") {
            continue;  // some engines list it here as well; its options are proven above
        }
        in_force += (in_force.empty() ? "" : " and ") + mount_text(mount);
    }
    proof.text("mounts", asked, in_force.empty() ? "none" : in_force);
}

}  // namespace

Sandbox make_sandbox(const SandboxSettings& settings, const store::Run& run,
                     const store::Attempt& attempt, const std::string& prepared_image_id) {
    const store::RunSpec& spec = run.spec;
    Sandbox sandbox;
    sandbox.name = attempt.container_name;
    sandbox.image_id = prepared_image_id;
    sandbox.labels = identity_labels(settings, run, attempt, "run");
    sandbox.entrypoint = init_argv(settings, spec);
    sandbox.cmd = spec.command;
    sandbox.env = spec.env;
    // After the user's, so that no spec can say otherwise.
    sandbox.env["HOME"] = "/tmp";
    sandbox.env["MAYFLY_RUN_ID"] = run.id;
    sandbox.env["MAYFLY_ATTEMPT"] = std::to_string(attempt.number);
    sandbox.uid = settings.uid;
    sandbox.gid = settings.gid;
    sandbox.network = spec.network;
    sandbox.runtime = spec.runtime;
    sandbox.memory_bytes = spec.limits.memory_bytes;
    sandbox.nano_cpus = spec.limits.cpu_millis * 1'000'000;
    sandbox.pids = spec.limits.pids;
    sandbox.ulimits = ulimits_for(spec.limits);
    sandbox.tmpfs_options = tmpfs_for(spec.limits);
    sandbox.shm_bytes = kShmBytes;
    sandbox.log_max_bytes = std::min(
        spec.limits.log_bytes * kLogDriverBytesPerByte + kLogDriverSlackBytes, kLogDriverCapBytes);
    sandbox.volume_name = attempt.volume_name;
    return sandbox;
}

Sandbox make_probe(const SandboxSettings& settings, const store::Run& run,
                   const store::Attempt& attempt, const std::string& prepared_image_id) {
    Sandbox probe = make_sandbox(settings, run, attempt, prepared_image_id);
    probe.name += "-probe";
    probe.labels = identity_labels(settings, run, attempt, "probe");
    // If somebody starts it all the same: PID 1 refuses to run without flags, and it cannot write
    // to the volume.
    probe.entrypoint = {std::string(kInitPath)};
    probe.cmd.clear();
    probe.env.clear();
    probe.volume_read_only = true;
    return probe;
}

std::map<std::string, std::string> log_options(const Sandbox& sandbox) {
    return {
        {"compress", "false"},
        {"max-file", "2"},
        {"max-size", std::to_string(sandbox.log_max_bytes)},
        // An engine may be configured to log "non-blocking" by default, which drops lines.
        {"mode", "blocking"},
    };
}

std::vector<std::string> verify_sandbox(const Sandbox& sandbox, const ContainerFacts& facts) {
    Proof proof;
    prove_identity(proof, sandbox, facts);
    prove_process(proof, sandbox, facts);
    prove_privileges(proof, facts);
    prove_namespaces(proof, sandbox, facts);
    prove_limits(proof, sandbox, facts);
    prove_logging(proof, sandbox, facts);
    prove_storage(proof, sandbox, facts);
    return proof.take();
}

bool is_ours(const Sandbox& sandbox, const std::map<std::string, std::string>& labels) {
    return !sandbox.labels.empty() &&
           std::ranges::all_of(sandbox.labels, [&labels](const auto& wanted) {
               const auto found = labels.find(wanted.first);
               return found != labels.end() && found->second == wanted.second;
           });
}

}  // namespace mayfly::controller
