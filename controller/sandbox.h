// The fixed profile that every container gets, as values, and the proof that a container has it.
// Pure.
//
// There is no way through here for a user to ask for a bind, a device, a capability, a namespace
// or root: the type has no such field. ADR-0013's MUSTs and SHOULDs are the constants below.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "controller/engine/facts.h"
#include "store/run.h"

namespace mayfly::controller {

// Labels on containers and volumes. Images use other keys (below): a container inherits its
// image's labels, and a foreign container made from our image must not look like ours.
inline constexpr std::string_view kLabelInstance = "io.mayfly.instance";
inline constexpr std::string_view kLabelRun = "io.mayfly.run";
inline constexpr std::string_view kLabelAttempt = "io.mayfly.attempt";
inline constexpr std::string_view kLabelNonce = "io.mayfly.nonce";
inline constexpr std::string_view kLabelSpec = "io.mayfly.spec";
inline constexpr std::string_view kLabelRole =
    "io.mayfly.role";  // "run", "probe" (never started), "build"
inline constexpr std::string_view kImageLabelInstance = "io.mayfly.image.instance";
inline constexpr std::string_view kImageLabelBase = "io.mayfly.image.base";
inline constexpr std::string_view kImageLabelInit = "io.mayfly.image.init";

inline constexpr std::string_view kWorkDir = "/work";
inline constexpr std::string_view kOutputDir = "/work/output";
inline constexpr std::string_view kClaimPath = "/work/.mayfly/claim";
inline constexpr std::string_view kInitPath = "/.mayfly/init";

// Everything that a container is created with. Made by make_sandbox, rendered by the engine's
// room.
struct Sandbox {
    std::string name;
    std::string image_id;  // the prepared image, by id
    std::map<std::string, std::string> labels;
    std::vector<std::string> entrypoint;  // PID 1 and its limits
    std::vector<std::string> cmd;         // the user's argv
    std::map<std::string, std::string> env;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    store::Network network = store::Network::none;
    std::string runtime;  // "" = default
    std::int64_t memory_bytes = 0;
    std::int64_t nano_cpus = 0;
    std::int64_t pids = 0;
    std::map<std::string, std::int64_t> ulimits;  // soft = hard
    std::string tmpfs_options;                    // for /tmp
    std::int64_t shm_bytes = 0;
    std::int64_t log_max_bytes = 0;  // the log driver's own bound, behind PID 1's
    std::string volume_name;         // mounted at /work; "" = no mount (role build)
    bool volume_read_only = false;   // role probe
};

struct SandboxSettings {
    std::string instance_id;
    std::uint32_t uid = 10001;
    std::uint32_t gid = 10001;
    std::int64_t term_grace_ms = 2'000;  // PID 1: between TERM and KILL
};

// For the attempt's own container.
[[nodiscard]] Sandbox make_sandbox(const SandboxSettings& settings, const store::Run& run,
                                   const store::Attempt& attempt,
                                   const std::string& prepared_image_id);
// A never-started container on the same volume, read-only: for looking at a volume whose container
// is gone.
[[nodiscard]] Sandbox make_probe(const SandboxSettings& settings, const store::Run& run,
                                 const store::Attempt& attempt,
                                 const std::string& prepared_image_id);

// The log driver's options: part of what is asked for and of what is verified.
[[nodiscard]] std::map<std::string, std::string> log_options(const Sandbox& sandbox);
// Every way in which `facts` is not what `sandbox` asked for, as sentences that name the field,
// what was asked and what is in force. Empty = it may be started.
[[nodiscard]] std::vector<std::string> verify_sandbox(const Sandbox& sandbox,
                                                      const ContainerFacts& facts);
// The labels that make a container this attempt's own.
[[nodiscard]] bool is_ours(const Sandbox& sandbox,
                           const std::map<std::string, std::string>& labels);

}  // namespace mayfly::controller
