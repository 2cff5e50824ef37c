#include "controller/engine/docker/parse.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "controller/engine/docker/rfc3339.h"

namespace mayfly::controller::docker {
namespace {

using nlohmann::json;

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kMsPerS = 1'000;
constexpr std::size_t kPathStatHeaderMax = 16 << 10;

// Reads fields of one JSON object; the first complaint wins and everything after it reads as
// empty. null is missing: that is how Go writes an empty list or map.
class Fields {
public:
    Fields(const json& object, std::string where, std::string& complaint)
        : object_(object.is_object() ? &object : nullptr),
          where_(std::move(where)),
          complaint_(complaint) {
        if (object_ == nullptr) {
            complain("is not an object");
        }
    }

    // The field, or nullptr. `must` = its absence is a complaint.
    const json* find(const char* key, bool must = false) {
        if (object_ == nullptr) {
            return nullptr;
        }
        const auto found = object_->find(key);
        if (found != object_->end() && !found->is_null()) {
            return &*found;
        }
        if (must) {
            complain(fmt::format("has no {}", key));
        }
        return nullptr;
    }

    std::string text(const char* key, bool must = false) {
        const json* at = find(key, must);
        if (at == nullptr) {
            return {};
        }
        if (!at->is_string()) {
            complain_type(key, "a string", *at);
            return {};
        }
        return at->get<std::string>();
    }
    bool flag(const char* key, bool must = false) {
        const json* at = find(key, must);
        if (at != nullptr && !at->is_boolean()) {
            complain_type(key, "true or false", *at);
            return false;
        }
        return at != nullptr && at->get<bool>();
    }
    std::int64_t number(const char* key, bool must = false) {
        const json* at = find(key, must);
        return at == nullptr ? 0 : whole(key, *at);
    }
    std::vector<std::string> texts(const char* key) {
        std::vector<std::string> out;
        each(key, [&](const json& item) {
            if (item.is_string()) {
                out.push_back(item.get<std::string>());
            } else {
                complain_type(key, "a list of strings", item);
            }
        });
        return out;
    }
    std::map<std::string, std::string> pairs(const char* key) {
        std::map<std::string, std::string> out;
        const json* at = find(key);
        if (at == nullptr) {
            return out;
        }
        if (!at->is_object()) {
            complain_type(key, "an object of strings", *at);
            return out;
        }
        for (const auto& [name, value] : at->items()) {
            if (value.is_string()) {
                out.emplace(name, value.get<std::string>());
            } else {
                complain_type(key, "an object of strings", value);
            }
        }
        return out;
    }
    // Keys of an object, or the strings of a list: engines write sets in both ways.
    std::vector<std::string> names(const char* key) {
        const json* at = find(key);
        if (at == nullptr || !at->is_object()) {
            return texts(key);
        }
        std::vector<std::string> out;
        for (const auto& [name, value] : at->items()) {
            out.push_back(name);
        }
        return out;
    }
    std::int64_t time_ms(const char* key, bool must = false) {
        const std::string at = text(key, must);
        if (at.empty()) {
            return 0;
        }
        const auto ns = parse_rfc3339_ns(at);
        if (!ns) {
            complain(fmt::format("has a {} that is no timestamp", key));
            return 0;
        }
        return *ns / kNsPerMs;
    }
    void each(const char* key, const std::function<void(const json& item)>& visit) {
        const json* at = find(key);
        if (at == nullptr) {
            return;
        }
        if (!at->is_array()) {
            complain_type(key, "a list", *at);
            return;
        }
        for (const json& item : *at) {
            visit(item);
        }
    }
    std::size_t count(const char* key) {
        std::size_t items = 0;
        each(key, [&items](const json&) { ++items; });
        return items;
    }
    Fields object(const char* key, bool must = true) {
        static const json kEmpty = json::object();
        const json* at = find(key, must);
        return {at == nullptr ? kEmpty : *at, fmt::format("{}.{}", where_, key), complaint_};
    }
    Fields item(const json& at, const char* key) {
        return {at, fmt::format("{}.{}[]", where_, key), complaint_};
    }
    void complain(std::string_view what) {
        if (complaint_.empty()) {
            complaint_ = fmt::format("{} {}", where_, what);
        }
    }

private:
    void complain_type(const char* key, std::string_view wanted, const json& got) {
        complain(fmt::format("has a {} that is not {} but: {}", key, wanted, got.type_name()));
    }
    std::int64_t whole(const char* key, const json& at) {
        constexpr auto kLargest = std::numeric_limits<std::int64_t>::max();
        const bool too_large = at.is_number_unsigned() &&
                               at.get<std::uint64_t>() > static_cast<std::uint64_t>(kLargest);
        if (!at.is_number_integer() || too_large) {
            complain_type(key, "a whole number of 64 bits", at);
            return 0;
        }
        return at.get<std::int64_t>();
    }

    const json* object_;
    std::string where_;
    std::string& complaint_;
};

template <class T, class Read>
Parsed<T> read_object(std::string_view body, const char* what, Read read) {
    const json parsed = json::parse(body, nullptr, false);
    if (parsed.is_discarded()) {
        return std::unexpected(fmt::format("{}: not JSON", what));
    }
    std::string complaint;
    Fields fields(parsed, what, complaint);
    T out = read(fields);
    if (!complaint.empty()) {
        return std::unexpected(std::move(complaint));
    }
    return out;
}

template <class T, class Read>
Parsed<std::vector<T>> read_list(const json& list, const char* what, Read read) {
    if (!list.is_array()) {
        return std::unexpected(fmt::format("{}: not a JSON list", what));
    }
    std::vector<T> out;
    out.reserve(list.size());
    for (const json& item : list) {
        std::string complaint;
        Fields fields(item, fmt::format("{}[{}]", what, out.size()), complaint);
        out.push_back(read(fields));
        if (!complaint.empty()) {
            return std::unexpected(std::move(complaint));
        }
    }
    return out;
}

ContainerState state_of(std::string_view status) {
    for (const ContainerState state :
         {ContainerState::created, ContainerState::running, ContainerState::paused,
          ContainerState::restarting, ContainerState::removing, ContainerState::exited,
          ContainerState::dead}) {
        if (to_string(state) == status) {
            return state;
        }
    }
    return ContainerState::unknown;
}

std::string without_slash(std::string name) {
    if (name.starts_with('/')) {
        name.erase(0, 1);
    }
    return name;
}

void read_state(Fields state, ContainerFacts& out) {
    out.state = state_of(state.text("Status", true));
    out.exit_code = state.number("ExitCode", true);
    out.oom_killed = state.flag("OOMKilled", true);
    out.error = state.text("Error");
    out.started_ms = state.time_ms("StartedAt", true);
    out.finished_ms = state.time_ms("FinishedAt", true);
}

void read_config(Fields config, ContainerFacts& out) {
    out.labels = config.pairs("Labels");
    out.user = config.text("User");
    out.working_dir = config.text("WorkingDir");
    out.entrypoint = config.texts("Entrypoint");
    out.cmd = config.texts("Cmd");
    out.stop_signal = config.text("StopSignal");
    out.tty = config.flag("Tty");
    out.open_stdin = config.flag("OpenStdin");
    out.network_disabled = config.flag("NetworkDisabled");
    // No health check at all, or one that says so. An image's own would come back as its command.
    const std::vector<std::string> test = config.object("Healthcheck", false).texts("Test");
    out.healthcheck_off = test.empty() || test == std::vector<std::string>{"NONE"};
}

void read_limits(Fields& host, ContainerFacts& out) {
    out.memory_bytes = host.number("Memory");
    out.memory_swap_bytes = host.number("MemorySwap");
    out.nano_cpus = host.number("NanoCpus");
    // Engines write "unlimited" as null, 0 or -1.
    out.pids_limit = std::max<std::int64_t>(host.number("PidsLimit"), 0);
    out.oom_kill_disable = host.flag("OomKillDisable");
    out.shm_size_bytes = host.number("ShmSize");
    out.tmpfs = host.pairs("Tmpfs");
    host.each("Ulimits", [&](const json& item) {
        Fields limit = host.item(item, "Ulimits");
        out.ulimits[limit.text("Name", true)] = {limit.number("Soft", true),
                                                 limit.number("Hard", true)};
    });
}

void read_host_config(Fields host, ContainerFacts& out) {
    read_limits(host, out);
    out.network_mode = host.text("NetworkMode");
    out.readonly_rootfs = host.flag("ReadonlyRootfs");
    out.privileged = host.flag("Privileged");
    out.publish_all_ports = host.flag("PublishAllPorts");
    out.auto_remove = host.flag("AutoRemove");
    out.docker_init = host.flag("Init");
    out.restart_policy = host.object("RestartPolicy", false).text("Name");
    out.cap_add = host.texts("CapAdd");
    out.cap_drop = host.texts("CapDrop");
    out.security_opt = host.texts("SecurityOpt");
    out.masked_paths = host.texts("MaskedPaths");
    out.readonly_paths = host.texts("ReadonlyPaths");
    out.ipc_mode = host.text("IpcMode");
    out.pid_mode = host.text("PidMode");
    out.uts_mode = host.text("UTSMode");
    out.userns_mode = host.text("UsernsMode");
    out.cgroupns_mode = host.text("CgroupnsMode");
    Fields log = host.object("LogConfig", false);
    out.log_driver = log.text("Type");
    out.log_options = log.pairs("Config");
    out.runtime = host.text("Runtime");
    out.binds = host.texts("Binds");
    out.group_add = host.texts("GroupAdd");
    out.volumes_from = host.texts("VolumesFrom");
    out.device_count = static_cast<std::int64_t>(
        host.count("Devices") + host.count("DeviceRequests") + host.count("DeviceCgroupRules"));
}

ContainerFacts read_container(Fields& root) {
    ContainerFacts out;
    out.id = root.text("Id", true);
    out.name = without_slash(root.text("Name", true));
    out.created_ms = root.time_ms("Created", true);
    out.image_id = root.text("Image");
    read_state(root.object("State"), out);
    read_config(root.object("Config"), out);
    read_host_config(root.object("HostConfig"), out);
    root.each("Mounts", [&](const json& item) {
        Fields mount = root.item(item, "Mounts");
        out.mounts.push_back({.type = mount.text("Type"),
                              .name = mount.text("Name"),
                              .destination = mount.text("Destination"),
                              .rw = mount.flag("RW")});
    });
    return out;
}

ContainerSummary read_summary(Fields& root) {
    ContainerSummary out;
    out.id = root.text("Id", true);
    // A name with a second slash is a link's alias, not the container's own name.
    for (std::string& name : root.texts("Names")) {
        name = without_slash(std::move(name));
        if (out.name.empty() && name.find('/') == std::string::npos) {
            out.name = std::move(name);
        }
    }
    out.labels = root.pairs("Labels");
    out.state = state_of(root.text("State", true));
    out.created_ms = root.number("Created") * kMsPerS;
    root.each("Mounts", [&](const json& item) {
        Fields mount = root.item(item, "Mounts");
        if (mount.text("Type") == "volume") {
            out.volume_names.push_back(mount.text("Name"));
        }
    });
    return out;
}

ImageFacts read_image(Fields& root) {
    ImageFacts out;
    out.id = root.text("Id", true);
    out.repo_digests = root.texts("RepoDigests");
    out.os = root.text("Os", true);
    out.arch = root.text("Architecture", true);
    out.created_ms = root.time_ms("Created");
    Fields config = root.object("Config", false);
    out.volumes = config.names("Volumes");
    out.labels = config.pairs("Labels");
    return out;
}

ImageFacts read_image_summary(Fields& root) {
    ImageFacts out;
    out.id = root.text("Id", true);
    out.repo_digests = root.texts("RepoDigests");
    out.labels = root.pairs("Labels");
    out.created_ms = root.number("Created") * kMsPerS;
    return out;
}

VolumeFacts read_volume(Fields& root) {
    VolumeFacts out;
    out.name = root.text("Name", true);
    out.driver = root.text("Driver", true);
    out.labels = root.pairs("Labels");
    out.created_ms = root.time_ms("CreatedAt");
    return out;
}

std::string runc_version_of(Fields& root) {
    std::string version;
    root.each("Components", [&](const json& item) {
        Fields component = root.item(item, "Components");
        if (component.text("Name") == "runc") {
            version = component.text("Version");
        }
    });
    return version;
}

Parsed<std::string> base64_text(std::string_view encoded) {
    if (encoded.empty() || encoded.size() % 4 != 0 || encoded.size() > kPathStatHeaderMax) {
        return std::unexpected("path stat: not base64");
    }
    std::string out(encoded.size() / 4 * 3, '\0');
    const int written = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                        reinterpret_cast<const unsigned char*>(encoded.data()),
                                        static_cast<int>(encoded.size()));
    if (written < 0) {
        return std::unexpected("path stat: not base64");
    }
    const std::size_t padding = encoded.ends_with("==") ? 2 : encoded.ends_with('=') ? 1 : 0;
    out.resize(static_cast<std::size_t>(written) - padding);
    return out;
}

PathStat read_path_stat(Fields& root) {
    PathStat out;
    out.name = root.text("name");
    out.size = root.number("size", true);
    const std::int64_t mode = root.number("mode", true);
    if (mode < 0 || mode > std::numeric_limits<std::uint32_t>::max()) {
        root.complain("has a mode that is not of 32 bits");
    }
    out.mode = static_cast<std::uint32_t>(mode);
    const auto mtime_ns = parse_rfc3339_ns(root.text("mtime", true));
    if (!mtime_ns) {
        root.complain("has a mtime that is no timestamp");
    }
    out.mtime_ns = mtime_ns.value_or(0);
    out.link_target = root.text("linkTarget");
    return out;
}

}  // namespace

Parsed<ContainerFacts> parse_container(std::string_view body) {
    return read_object<ContainerFacts>(body, "container", read_container);
}

Parsed<std::vector<ContainerSummary>> parse_container_list(std::string_view body) {
    return read_list<ContainerSummary>(json::parse(body, nullptr, false), "containers",
                                       read_summary);
}

Parsed<ImageFacts> parse_image(std::string_view body) {
    return read_object<ImageFacts>(body, "image", read_image);
}

Parsed<std::vector<ImageFacts>> parse_image_list(std::string_view body) {
    return read_list<ImageFacts>(json::parse(body, nullptr, false), "images", read_image_summary);
}

Parsed<VolumeFacts> parse_volume(std::string_view body) {
    return read_object<VolumeFacts>(body, "volume", read_volume);
}

Parsed<std::vector<VolumeFacts>> parse_volume_list(std::string_view body) {
    const json parsed = json::parse(body, nullptr, false);
    if (!parsed.is_object() || !parsed.contains("Volumes")) {
        return std::unexpected("volumes: not a JSON object with Volumes");
    }
    const json& list = parsed.at("Volumes");
    if (list.is_null()) {
        return std::vector<VolumeFacts>();
    }
    return read_list<VolumeFacts>(list, "volumes", read_volume);
}

Parsed<EngineEvent> parse_event(std::string_view line) {
    return read_object<EngineEvent>(line, "event", [](Fields& root) {
        EngineEvent event;
        event.type = root.text("Type", true);
        event.action = root.text("Action", true);
        event.time_ms = root.number("timeNano") / 1'000'000;
        Fields actor = root.object("Actor");
        event.id = actor.text("ID", true);
        event.attributes = actor.pairs("Attributes");
        return event;
    });
}

Parsed<PathStat> parse_path_stat(std::string_view header) {
    const auto text = base64_text(header);
    if (!text) {
        return std::unexpected(text.error());
    }
    return read_object<PathStat>(*text, "path stat", read_path_stat);
}

Parsed<Created> parse_created(std::string_view body) {
    return read_object<Created>(body, "created container", [](Fields& root) {
        Created created{.id = root.text("Id", true), .warnings = root.texts("Warnings")};
        if (created.id.empty()) {
            root.complain("has no Id");
        }
        return created;
    });
}

Parsed<std::string> parse_id(std::string_view body) {
    return read_object<std::string>(body, "commit", [](Fields& root) {
        std::string id = root.text("Id", true);
        if (id.empty()) {
            root.complain("has no Id");
        }
        return id;
    });
}

Parsed<VersionFacts> parse_version(std::string_view body) {
    return read_object<VersionFacts>(body, "version", [](Fields& root) {
        VersionFacts out;
        out.facts.version = root.text("Version", true);
        out.facts.os = root.text("Os", true);
        out.facts.arch = root.text("Arch", true);
        out.facts.kernel = root.text("KernelVersion");
        out.facts.runc_version = runc_version_of(root);
        out.api_oldest = root.text("MinAPIVersion");
        return out;
    });
}

Parsed<EngineFacts> parse_info(std::string_view body, EngineFacts facts) {
    return read_object<EngineFacts>(body, "info", [&facts](Fields& root) {
        EngineFacts out = std::move(facts);
        out.id = root.text("ID");
        out.cgroup_version = root.text("CgroupVersion");
        out.default_runtime = root.text("DefaultRuntime");
        out.runtimes = root.names("Runtimes");
        out.warnings = root.texts("Warnings");
        out.cpus = root.number("NCPU", true);
        out.memory_bytes = root.number("MemTotal", true);
        out.storage_driver = root.text("Driver");
        out.security_options = root.texts("SecurityOptions");
        const auto at = parse_rfc3339_ns(root.text("SystemTime"));
        out.system_time_ms = at ? *at / 1'000'000 : 0;
        return out;
    });
}

}  // namespace mayfly::controller::docker
