#include "tests/sim/engine_api.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "controller/engine/docker/api_version.h"
#include "controller/init/init_image.h"

namespace mayfly::sim {
namespace {

using nlohmann::json;
using Labels = std::map<std::string, std::string>;

constexpr std::size_t kDoubledShown = 20;
constexpr std::size_t kLogFrameBytes = 16 << 10;
constexpr std::int64_t kMsPerS = 1'000;
constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kCpus = 1'024;
constexpr std::int64_t kMemoryBytes = std::int64_t{1} << 44;

// ---- small things

ApiAnswer refuse(int status, std::string_view message) {
    return {.status = status, .body = json{{"message", message}}.dump()};
}

ApiAnswer refuse(const EngineError& error) { return refuse(error.http_status, error.message); }

ApiAnswer nothing(int status) { return {.status = status}; }

ApiAnswer said(const json& body, int status = 200) {
    return {.status = status, .body = body.dump()};
}

std::string timestamp(UnixMs wall_ms) {
    if (wall_ms <= 0) return "0001-01-01T00:00:00Z";
    const auto second = static_cast<std::time_t>(wall_ms / kMsPerS);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(second), wall_ms % kMsPerS);
}

std::optional<std::string> decoded(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        if (text.front() != '%') {
            out += text.front();
            text.remove_prefix(1);
            continue;
        }
        unsigned value = 0;
        const auto* end = text.data() + std::min<std::size_t>(text.size(), 3);
        const auto [stop, ec] = std::from_chars(text.data() + 1, end, value, 16);
        if (text.size() < 3 || ec != std::errc() || stop != end) return std::nullopt;
        out += static_cast<char>(value);
        text.remove_prefix(3);
    }
    return out;
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> pieces;
    while (!text.empty()) {
        const auto end = text.find(at);
        if (end != 0) pieces.push_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return pieces;
}

std::string base64(std::string_view bytes) {
    std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
    out.resize(static_cast<std::size_t>(size));
    return out;
}

std::string parameter(const ApiRequest& request, const std::string& name) {
    const auto found = request.query.find(name);
    return found == request.query.end() ? std::string() : found->second;
}

std::string name_of_image(const ApiRequest& request, std::size_t behind) {
    std::string name;
    for (std::size_t i = 1; i + behind < request.path.size(); ++i) {
        name += (name.empty() ? "" : "/") + request.path[i];
    }
    return name;
}

// ---- a sandbox as it was sent

std::uint32_t number_of(std::string_view text) {
    std::uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

void read_host(const json& host, Sandbox& sandbox) {
    sandbox.memory_bytes = host.at("Memory");
    sandbox.nano_cpus = host.at("NanoCpus");
    sandbox.pids = host.at("PidsLimit");
    for (const auto& limit : host.at("Ulimits")) {
        sandbox.ulimits[limit.at("Name").get<std::string>()] = limit.at("Soft");
    }
    sandbox.tmpfs_options = host.at("Tmpfs").at("/tmp");
    sandbox.shm_bytes = host.at("ShmSize");
    const auto log_bytes = host.at("LogConfig").at("Config").at("max-size").get<std::string>();
    std::from_chars(log_bytes.data(), log_bytes.data() + log_bytes.size(), sandbox.log_max_bytes);
    sandbox.runtime = host.at("Runtime");
    for (const auto& mount : host.at("Mounts")) {
        sandbox.volume_name = mount.at("Source");
        sandbox.volume_read_only = mount.at("ReadOnly");
    }
}

Sandbox sandbox_of(const std::string& name, const json& body) {
    Sandbox sandbox;
    sandbox.name = name;
    sandbox.image_id = body.at("Image");
    sandbox.labels = body.at("Labels").get<Labels>();
    sandbox.entrypoint = body.at("Entrypoint").get<std::vector<std::string>>();
    sandbox.cmd = body.at("Cmd").get<std::vector<std::string>>();
    for (const auto& pair : body.at("Env").get<std::vector<std::string>>()) {
        const auto equals = pair.find('=');
        sandbox.env[pair.substr(0, equals)] = pair.substr(equals + 1);
    }
    const auto user = body.at("User").get<std::string>();
    const auto colon = user.find(':');
    sandbox.uid = number_of(std::string_view(user).substr(0, colon));
    sandbox.gid = number_of(std::string_view(user).substr(colon + 1));
    sandbox.network =
        body.at("NetworkDisabled").get<bool>() ? store::Network::none : store::Network::loopback;
    read_host(body.at("HostConfig"), sandbox);
    return sandbox;
}

// ---- facts as they are read

json config_json(const ContainerFacts& facts) {
    json config{{"Labels", facts.labels},
                {"User", facts.user},
                {"WorkingDir", facts.working_dir},
                {"Entrypoint", facts.entrypoint},
                {"Cmd", facts.cmd},
                {"StopSignal", facts.stop_signal},
                {"Tty", facts.tty},
                {"OpenStdin", facts.open_stdin},
                {"NetworkDisabled", facts.network_disabled}};
    config["Healthcheck"]["Test"] = json::array({"NONE"});
    return config;
}

json host_json(const ContainerFacts& facts) {
    json host{{"Memory", facts.memory_bytes},
              {"MemorySwap", facts.memory_swap_bytes},
              {"NanoCpus", facts.nano_cpus},
              {"PidsLimit", facts.pids_limit},
              {"OomKillDisable", facts.oom_kill_disable},
              {"ShmSize", facts.shm_size_bytes},
              {"Tmpfs", facts.tmpfs},
              {"NetworkMode", facts.network_mode},
              {"ReadonlyRootfs", facts.readonly_rootfs},
              {"Privileged", facts.privileged},
              {"PublishAllPorts", facts.publish_all_ports},
              {"AutoRemove", facts.auto_remove},
              {"Init", facts.docker_init},
              {"CapAdd", nullptr},
              {"CapDrop", facts.cap_drop},
              {"SecurityOpt", facts.security_opt},
              {"MaskedPaths", facts.masked_paths},
              {"ReadonlyPaths", facts.readonly_paths},
              {"IpcMode", facts.ipc_mode},
              {"PidMode", facts.pid_mode},
              {"UTSMode", facts.uts_mode},
              {"UsernsMode", facts.userns_mode},
              {"CgroupnsMode", facts.cgroupns_mode},
              {"Runtime", facts.runtime.empty() ? "runc" : facts.runtime}};
    host["RestartPolicy"]["Name"] = facts.restart_policy;
    host["LogConfig"]["Type"] = facts.log_driver;
    host["LogConfig"]["Config"] = facts.log_options;
    host["Ulimits"] = json::array();
    for (const auto& [name, limit] : facts.ulimits) {
        host["Ulimits"].push_back({{"Name", name}, {"Soft", limit.first}, {"Hard", limit.second}});
    }
    return host;
}

json mounts_json(const std::vector<controller::MountFacts>& mounts) {
    auto list = json::array();
    for (const auto& mount : mounts) {
        list.push_back({{"Type", mount.type},
                        {"Name", mount.name},
                        {"Destination", mount.destination},
                        {"RW", mount.rw}});
    }
    return list;
}

json volume_json(const controller::VolumeFacts& facts, UnixMs created_ms) {
    return {{"Name", facts.name},
            {"Driver", facts.driver},
            {"Labels", facts.labels},
            {"CreatedAt", timestamp(created_ms)}};
}

std::string frames(std::uint8_t stream, std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const auto piece = text.substr(0, kLogFrameBytes);
        const auto size = static_cast<std::uint32_t>(piece.size());
        out += {static_cast<char>(stream), '\0', '\0', '\0'};
        for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(size >> shift & 0xffU);
        out += piece;
        text.remove_prefix(piece.size());
    }
    return out;
}

ApiAnswer version_answer() {
    return said({{"Version", "26.1.5"},
                 {"ApiVersion", to_string(controller::docker::kApiNewest)},
                 {"MinAPIVersion", "1.24"},
                 {"Os", "linux"},
                 {"Arch", controller::init_arch()},
                 {"KernelVersion", "6.1.0"},
                 {"Components", json::array({{{"Name", "runc"}, {"Version", "1.1.15"}}})}});
}

ApiAnswer info_answer() {
    return said({{"ID", "simulated"},
                 {"CgroupVersion", "2"},
                 {"DefaultRuntime", "runc"},
                 {"Runtimes", {{"runc", json::object()}}},
                 {"Warnings", nullptr},
                 {"NCPU", kCpus},
                 {"MemTotal", kMemoryBytes}});
}

ApiAnswer removed(const Reply<controller::RemoveOutcome>& reply, std::string_view what) {
    if (!reply) return refuse(reply.error());
    if (*reply == controller::RemoveOutcome::already_gone) return refuse(404, what);
    return nothing(204);
}

}  // namespace

bool read_target(std::string_view target, ApiRequest& request) {
    const auto mark = target.find('?');
    for (const auto piece : split(target.substr(0, mark), '/')) {
        auto part = decoded(piece);
        if (!part) return false;
        const bool is_version = request.path.empty() && part->starts_with("v1.");
        if (!is_version) request.path.push_back(std::move(*part));
    }
    if (mark == std::string_view::npos) return true;
    for (const auto pair : split(target.substr(mark + 1), '&')) {
        const auto equals = pair.find('=');
        const auto value = equals == std::string_view::npos ? "" : pair.substr(equals + 1);
        auto text = decoded(value);
        if (!text) return false;
        request.query[std::string(pair.substr(0, equals))] = std::move(*text);
    }
    return true;
}

LabelFilter::LabelFilter(const Labels& query) {
    const auto found = query.find("filters");
    if (found == query.end()) return;
    const auto filters = json::parse(found->second);
    if (filters.contains("label")) wanted_ = filters.at("label").get<std::vector<std::string>>();
}

bool LabelFilter::matches(const Labels& labels) const {
    return std::ranges::all_of(wanted_, [&labels](const std::string& wanted) {
        const auto equals = wanted.find('=');
        const auto found = labels.find(wanted.substr(0, equals));
        if (found == labels.end()) return false;
        return equals == std::string::npos || found->second == wanted.substr(equals + 1);
    });
}

EngineApi::EngineApi(World& world, DockerModel& model, std::int64_t shift_ms)
    : world_(world), model_(model), shift_ms_(shift_ms) {
    model_.on_event = [this](const EngineEvent& event) { hear(event); };
    model_.on_execution = [this](const Execution& execution) {
        running_[execution.container_id] = std::ssize(model_.executions) - 1;
        ++executions_;
        if (!execution.asked) ++unasked_;
        const auto who = fmt::format("{}/{}", execution.run_id, execution.attempt);
        auto& times = times_[std::hash<std::string>()(who)];
        if (++times > 1 && doubled_.size() < kDoubledShown) doubled_.push_back(who);
    };
}

UnixMs EngineApi::wall(UnixMs world_ms) const { return world_ms == 0 ? 0 : world_ms + shift_ms_; }

void EngineApi::hear(const EngineEvent& event) {
    if (event.action == "start") {
        running_[event.id] = -1;
        most_running_ = std::max(most_running_, running_.size());
    }
    const auto ran = running_.find(event.id);
    if (ran != running_.end() && (event.action == "die" || event.action == "destroy")) {
        // Indices into the executions must stay; of the ended ones nothing but the count is asked.
        if (ran->second >= 0) {
            auto& execution = model_.executions[static_cast<std::size_t>(ran->second)];
            execution.run_id = std::string();
            execution.container_id = std::string();
        }
        running_.erase(ran);
    }
    if (!on_event_line) return;
    const auto at_ms = wall(world_.now_ms());
    const json line{{"Type", event.type},
                    {"Action", event.action},
                    {"Actor", {{"ID", event.id}, {"Attributes", event.attributes}}},
                    {"scope", "local"},
                    {"time", at_ms / kMsPerS},
                    {"timeNano", at_ms * kNsPerMs}};
    on_event_line(line.dump() + "\n", event.attributes);
}

// ---- who is asked

ApiAnswer EngineApi::answer(const ApiRequest& request) {
    ++requests_;
    if (request.path.empty()) return refuse(404, "page not found");
    const auto& first = request.path.front();
    try {
        if (first == "containers") return about_containers(request);
        if (first == "images" || first == "commit") return about_images(request);
        if (first == "volumes") return about_volumes(request);
        if (first == "sim") return about_simulation(request);
        return about_engine(request);
    } catch (const json::exception& error) {
        return refuse(400, error.what());
    }
}

ApiAnswer EngineApi::about_engine(const ApiRequest& request) {
    const auto& what = request.path.front();
    if (what == "version") return version_answer();
    if (what == "info") return info_answer();
    if (what == "_ping") {
        const auto newest = to_string(controller::docker::kApiNewest);
        return {.body = "OK",
                .type = "text/plain",
                .fields = fmt::format("Api-Version: {}\r\n", newest)};
    }
    return refuse(404, "page not found");
}

ApiAnswer EngineApi::about_containers(const ApiRequest& request) {
    if (request.path.size() == 2 && request.path[1] == "json") return list(request);
    if (request.path.size() == 2 && request.path[1] == "create") return create(request);
    if (request.path.size() == 2 && request.verb == "DELETE") {
        const bool force = parameter(request, "force") == "1";
        return removed(model_.remove(request.path[1], force, 0), "No such container");
    }
    if (request.path.size() == 3) return about_one(request);
    return refuse(404, "page not found");
}

ApiAnswer EngineApi::about_one(const ApiRequest& request) {
    const auto& id = request.path[1];
    const auto& what = request.path[2];
    if (what == "json") return inspect(id);
    if (what == "archive") return archive(request, id);
    if (what == "logs") return logs(id);
    if (what == "start") {
        const auto started = model_.start(id, true);
        if (!started) return refuse(started.error());
        return nothing(*started == controller::StartOutcome::started ? 204 : 304);
    }
    if (what == "kill") {
        if (model_.find(id) == nullptr) return refuse(404, "No such container");
        const auto killed = model_.kill(id, parameter(request, "signal"), true);
        if (!killed) return refuse(killed.error());
        if (*killed == controller::KillOutcome::sent) return nothing(204);
        return refuse(409, "container is not running");
    }
    return refuse(404, "page not found");
}

// ---- containers

ApiAnswer EngineApi::create(const ApiRequest& request) {
    const auto body = json::parse(request.body);
    const auto name = parameter(request, "name");
    const bool is_build = !body.at("HostConfig").contains("Memory");
    const auto made =
        is_build ? model_.create_build(name, body.at("Image"), body.at("Labels").get<Labels>())
                 : model_.create(sandbox_of(name, body), false);
    if (!made) return refuse(made.error());
    return said({{"Id", made->id}, {"Warnings", made->warnings}}, 201);
}

ApiAnswer EngineApi::list(const ApiRequest& request) {
    const LabelFilter filter(request.query);
    auto rows = json::array();
    for (const auto& [id, container] : model_.containers) {
        if (!filter.matches(container.labels)) continue;
        auto mounts = json::array();
        if (!container.sandbox.volume_name.empty()) {
            mounts.push_back({{"Type", "volume"}, {"Name", container.sandbox.volume_name}});
        }
        rows.push_back({{"Id", id},
                        {"Names", json::array({"/" + container.name})},
                        {"ImageID", container.sandbox.image_id},
                        {"Labels", container.labels},
                        {"State", to_string(container.state)},
                        {"Created", wall(container.created_ms) / kMsPerS},
                        {"Mounts", std::move(mounts)}});
    }
    return said(rows);
}

ApiAnswer EngineApi::inspect(const std::string& id) {
    const auto facts = model_.inspect(id);
    if (!facts) return refuse(facts.error());
    const json state{{"Status", to_string(facts->state)},
                     {"ExitCode", facts->exit_code},
                     {"OOMKilled", facts->oom_killed},
                     {"Error", facts->error},
                     {"StartedAt", timestamp(wall(facts->started_ms))},
                     {"FinishedAt", timestamp(wall(facts->finished_ms))}};
    return said({{"Id", facts->id},
                 {"Name", "/" + facts->name},
                 {"Created", timestamp(wall(facts->created_ms))},
                 {"Image", facts->image_id},
                 {"State", state},
                 {"Config", config_json(*facts)},
                 {"HostConfig", host_json(*facts)},
                 {"Mounts", mounts_json(facts->mounts)}});
}

ApiAnswer EngineApi::archive(const ApiRequest& request, const std::string& id) {
    const auto path = parameter(request, "path");
    if (request.verb == "PUT") {
        const auto put = model_.put(id, path, request.body, request.whole);
        return put ? nothing(200) : refuse(put.error());
    }
    if (request.verb == "HEAD") {
        const auto stat = model_.stat(id, path);
        if (!stat) return refuse(stat.error());
        const auto mtime_ms = stat->mtime_ns / kNsPerMs;
        // The mark of an untouched claim is a fixed time, not one of the model's.
        const json text{{"name", stat->name},
                        {"size", stat->size},
                        {"mode", stat->mode},
                        {"mtime", timestamp(stat->size == 0 ? mtime_ms : wall(mtime_ms))},
                        {"linkTarget", stat->link_target}};
        return {.fields =
                    fmt::format("X-Docker-Container-Path-Stat: {}\r\n", base64(text.dump()))};
    }
    // The model looks through every execution that there ever was for one that still writes here;
    // a container that does not run has none.
    std::vector<Execution> aside;
    const auto* container = model_.find(id);
    const bool runs = container != nullptr && container->state == ContainerState::running;
    if (!runs) std::swap(aside, model_.executions);
    auto tar = model_.get(id, path);
    if (!runs) std::swap(aside, model_.executions);
    if (!tar) return refuse(tar.error());
    return {.body = std::move(*tar), .type = "application/x-tar"};
}

ApiAnswer EngineApi::logs(const std::string& id) {
    const auto logs = model_.logs(id);
    if (!logs) return refuse(logs.error());
    return {.body = frames(1, logs->out) + frames(2, logs->err),
            .type = "application/vnd.docker.multiplexed-stream"};
}

// ---- images and volumes

ApiAnswer EngineApi::commit(const ApiRequest& request) {
    const auto body = json::parse(request.body);
    const auto id = model_.commit(parameter(request, "container"), parameter(request, "repo"),
                                  parameter(request, "tag"), body.at("Labels").get<Labels>());
    return id ? said({{"Id", *id}}, 201) : refuse(id.error());
}

ApiAnswer EngineApi::about_images(const ApiRequest& request) {
    if (request.path.front() == "commit") return commit(request);
    if (request.path.size() == 2 && request.path[1] == "json") {
        const LabelFilter filter(request.query);
        auto rows = json::array();
        for (const auto& [id, image] : model_.images) {
            if (!filter.matches(image.labels)) continue;
            rows.push_back({{"Id", id},
                            {"RepoDigests", nullptr},
                            {"Labels", image.labels},
                            {"Created", wall(image.created_ms) / kMsPerS}});
        }
        return said(rows);
    }
    if (request.verb == "POST") {
        const auto reference = parameter(request, "fromImage") + ":" + parameter(request, "tag");
        const auto pulled = model_.pull(reference);
        return pulled ? said({{"status", "Downloaded newer image"}}) : refuse(pulled.error());
    }
    if (request.verb == "DELETE") {
        return removed(model_.remove_image(name_of_image(request, 0)), "No such image");
    }
    const auto facts = model_.inspect_image(name_of_image(request, 1));
    if (!facts) return refuse(facts.error());
    auto declared = json::object();
    for (const auto& path : facts->volumes) declared[path] = json::object();
    return said({{"Id", facts->id},
                 {"RepoDigests", facts->repo_digests},
                 {"Os", facts->os},
                 {"Architecture", facts->arch},
                 {"Created", timestamp(wall(facts->created_ms))},
                 {"Config", {{"Volumes", declared}, {"Labels", facts->labels}}}});
}

ApiAnswer EngineApi::about_volumes(const ApiRequest& request) {
    if (request.path.size() == 1) {
        const LabelFilter filter(request.query);
        auto rows = json::array();
        for (const auto& [name, volume] : model_.volumes) {
            if (!filter.matches(volume.labels)) continue;
            rows.push_back(
                volume_json({name, "local", volume.labels, 0}, wall(volume.created_ms)));
        }
        return said({{"Volumes", std::move(rows)}, {"Warnings", nullptr}});
    }
    const auto& name = request.path[1];
    if (request.verb == "DELETE") return removed(model_.remove_volume(name), "No such volume");
    const auto facts = model_.inspect_volume(name);
    return facts ? said(volume_json(*facts, wall(facts->created_ms))) : refuse(facts.error());
}

// ---- what a test asks

ApiAnswer EngineApi::about_simulation(const ApiRequest& request) {
    if (request.path.size() == 2 && request.path[1] == "executions") {
        const auto who =
            fmt::format("{}/{}", parameter(request, "run"), parameter(request, "attempt"));
        const auto found = times_.find(std::hash<std::string>()(who));
        return said({{"executions", found == times_.end() ? 0 : found->second}});
    }
    if (request.path.size() != 2 || request.path[1] != "status") {
        return refuse(404, "page not found");
    }
    return said({{"containers", model_.containers.size()},
                 {"volumes", model_.volumes.size()},
                 {"images", model_.images.size()},
                 {"running", running_.size()},
                 {"most_running", most_running_},
                 {"executions", executions_},
                 {"executed", times_.size()},
                 {"doubled", doubled_},
                 {"unasked", unasked_},
                 {"requests", requests_},
                 {"violation", world_.violation()}});
}

}  // namespace mayfly::sim
