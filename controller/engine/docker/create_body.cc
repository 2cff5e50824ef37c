#include "controller/engine/docker/create_body.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace mayfly::controller::docker {
namespace {

using nlohmann::json;

// dump() throws on what is not UTF-8; then there is no body and nothing is sent.
Body rendered(const json& body, std::string_view what) {
    try {
        return body.dump();
    } catch (const json::exception&) {
        return std::unexpected(fmt::format("{}: a string in it is not UTF-8", what));
    }
}

json object_of(const std::map<std::string, std::string>& pairs) {
    json out = json::object();
    for (const auto& [key, value] : pairs) {
        out[key] = value;
    }
    return out;
}

json array_of(const std::vector<std::string>& items) {
    json out = json::array();
    for (const std::string& item : items) {
        out.push_back(item);
    }
    return out;
}

json env_of(const std::map<std::string, std::string>& env) {
    json out = json::array();
    for (const auto& [key, value] : env) {
        out.push_back(fmt::format("{}={}", key, value));
    }
    return out;
}

json ulimits_of(const std::map<std::string, std::int64_t>& ulimits) {
    json out = json::array();
    for (const auto& [name, value] : ulimits) {
        json one;
        one["Name"] = name;
        one["Soft"] = value;
        one["Hard"] = value;
        out.push_back(std::move(one));
    }
    return out;
}

// The one mount: created with the container when it is not there, and labelled then.
json work_volume(const Sandbox& sandbox) {
    json options;
    options["Labels"] = object_of(sandbox.labels);
    options["DriverConfig"]["Name"] = "local";
    // A fresh volume takes owner and mode of the image's /work, which is what makes it writable to
    // the run. A probe only looks: copying would reset the owner of a volume that was used.
    options["NoCopy"] = sandbox.volume_read_only;
    json mount;
    mount["Type"] = "volume";
    mount["Source"] = sandbox.volume_name;
    mount["Target"] = kWorkDir;
    mount["ReadOnly"] = sandbox.volume_read_only;
    mount["VolumeOptions"] = std::move(options);
    return json::array({std::move(mount)});
}

// What is said even where it is the engine's default: a default can be configured otherwise.
json host_config(const Sandbox& sandbox) {
    json host;
    host["NetworkMode"] = "none";
    host["Memory"] = sandbox.memory_bytes;
    host["MemorySwap"] = sandbox.memory_bytes;  // the sum: no swap
    host["NanoCpus"] = sandbox.nano_cpus;
    host["PidsLimit"] = sandbox.pids;
    host["OomKillDisable"] = false;
    host["Ulimits"] = ulimits_of(sandbox.ulimits);
    host["Tmpfs"]["/tmp"] = sandbox.tmpfs_options;
    host["ReadonlyRootfs"] = true;
    host["Privileged"] = false;
    host["PublishAllPorts"] = false;
    host["CapAdd"] = json::array();
    host["CapDrop"] = json::array({"ALL"});
    host["SecurityOpt"] = json::array({"no-new-privileges"});
    host["IpcMode"] = "private";
    host["CgroupnsMode"] = "private";
    host["PidMode"] = "";
    host["UTSMode"] = "";
    host["UsernsMode"] = "";
    host["ShmSize"] = sandbox.shm_bytes;
    host["LogConfig"]["Type"] = "local";
    host["LogConfig"]["Config"] = object_of(log_options(sandbox));
    host["RestartPolicy"]["Name"] = "no";
    host["AutoRemove"] = false;  // the dead container is the evidence
    host["Init"] = false;        // PID 1 is ours
    host["Runtime"] = sandbox.runtime;
    host["Mounts"] = sandbox.volume_name.empty() ? json::array() : work_volume(sandbox);
    return host;
}

// Zero means "unlimited" to an engine.
std::expected<void, std::string> check_limits(const Sandbox& sandbox) {
    const std::pair<std::string_view, std::int64_t> limits[] = {
        {"memory_bytes", sandbox.memory_bytes},
        {"nano_cpus", sandbox.nano_cpus},
        {"pids", sandbox.pids},
        {"shm_bytes", sandbox.shm_bytes},
        {"log_max_bytes", sandbox.log_max_bytes},
    };
    for (const auto& [name, value] : limits) {
        if (value <= 0) {
            return std::unexpected(fmt::format("sandbox {}: {} is no limit: {} must be positive",
                                               sandbox.name, value, name));
        }
    }
    if (sandbox.uid == 0 || sandbox.gid == 0) {
        return std::unexpected(fmt::format("sandbox {}: uid and gid must not be 0", sandbox.name));
    }
    return {};
}

}  // namespace

Body create_body(const Sandbox& sandbox) {
    if (const auto checked = check_limits(sandbox); !checked) {
        return std::unexpected(checked.error());
    }
    json body;
    body["Image"] = sandbox.image_id;
    body["User"] = fmt::format("{}:{}", sandbox.uid, sandbox.gid);
    body["WorkingDir"] = kWorkDir;
    body["Entrypoint"] = array_of(sandbox.entrypoint);
    body["Cmd"] = array_of(sandbox.cmd);
    body["Env"] = env_of(sandbox.env);
    body["Labels"] = object_of(sandbox.labels);
    body["StopSignal"] = "SIGTERM";
    body["Healthcheck"]["Test"] = json::array({"NONE"});
    body["Tty"] = false;
    body["OpenStdin"] = false;
    body["StdinOnce"] = false;
    body["AttachStdin"] = false;
    body["AttachStdout"] = false;
    body["AttachStderr"] = false;
    // Same isolation as NetworkMode none alone (`lo` and nothing else), but the engine skips its
    // network hook: a start takes less than half as long. It writes no /etc/hosts then, so names
    // do not resolve, not even localhost; a run that needs them asks for the slower start.
    body["NetworkDisabled"] = sandbox.network == store::Network::none;
    body["HostConfig"] = host_config(sandbox);
    return rendered(body, fmt::format("sandbox {}", sandbox.name));
}

Body build_body(const std::string& image, const std::map<std::string, std::string>& labels) {
    json body;
    body["Image"] = image;
    body["Labels"] = object_of(labels);
    body["Entrypoint"] = json::array({std::string(kInitPath)});  // an image may have no command
    body["Cmd"] = json::array();
    body["NetworkDisabled"] = true;
    body["HostConfig"]["NetworkMode"] = "none";
    body["HostConfig"]["RestartPolicy"]["Name"] = "no";
    body["HostConfig"]["AutoRemove"] = false;
    body["HostConfig"]["CapDrop"] = json::array({"ALL"});
    body["HostConfig"]["SecurityOpt"] = json::array({"no-new-privileges"});
    return rendered(body, "build container");
}

Body commit_body(const std::map<std::string, std::string>& labels) {
    json body;
    for (const std::string_view key :
         {kLabelInstance, kLabelRun, kLabelAttempt, kLabelNonce, kLabelSpec, kLabelRole}) {
        body["Labels"][std::string(key)] = "";
    }
    for (const auto& [key, value] : labels) {
        body["Labels"][key] = value;
    }
    return rendered(body, "image labels");
}

}  // namespace mayfly::controller::docker
