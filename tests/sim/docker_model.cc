#include "tests/sim/docker_model.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "controller/init/init_image.h"
#include "controller/init_exit_codes.h"
#include "store/input_tar.h"
#include "store/tar_writer.h"
#include "tests/sim/disk.h"
#include "tests/support/asked_facts.h"

namespace mayfly::sim {
namespace {

using controller::CreatedContainer;
using controller::ImageFacts;
using controller::KillOutcome;
using controller::PathStat;
using controller::RemoveOutcome;
using controller::StartOutcome;
using controller::VolumeFacts;
using Kind = EngineError::Kind;
using Labels = std::map<std::string, std::string>;

// Folder, then the claim with its header: less than this and there is no claim in the volume.
constexpr std::size_t kClaimArrivedBytes = 1'024;
constexpr std::int64_t kCheckpointMs = 40;  // between the task's start and the engine's own note
constexpr std::int64_t kUnsyncedMs = 5'000;
constexpr std::size_t kHistoryMax = 64;
constexpr std::int64_t kNsPerMs = 1'000'000;

std::unexpected<EngineError> refuse(Kind kind, int status, std::string message) {
    return std::unexpected(EngineError{kind, status, "simulated", std::move(message)});
}

std::unexpected<EngineError> no_such(const std::string& what) {
    return refuse(Kind::not_found, 404, "No such " + what);
}

bool has_label(const Labels& labels, const std::string& wanted) {
    const auto equals = wanted.find('=');
    const auto found = labels.find(wanted.substr(0, equals));
    return found != labels.end() && found->second == wanted.substr(equals + 1);
}

std::int64_t flag_of(const std::vector<std::string>& argv, std::string_view name) {
    for (const auto& word : argv) {
        if (!word.starts_with(name)) continue;
        std::int64_t value = 0;
        std::from_chars(word.data() + name.size(), word.data() + word.size(), value);
        return value;
    }
    return -1;
}

std::string record_json(std::int64_t exit_code, std::int64_t signal, std::int64_t exec_errno,
                        std::string_view tripped, bool from_outside, std::int64_t wall_ms,
                        std::int64_t oom_kills, std::size_t out, std::size_t err,
                        const std::map<std::string, std::string>& files) {
    std::size_t bytes = 0;
    for (const auto& [name, content] : files) bytes += content.size();
    return fmt::format(
        R"({{"v":1,"exit_code":{},"signal":{},"exec_errno":{},"tripped":"{}",)"
        R"("term_from_outside":{},"wall_us":{},"cpu_us":9,"memory_peak_bytes":1,"oom_kills":{},)"
        R"("work_bytes":1,"output_files":{},"output_bytes":{},)"
        R"("stdout":{{"total":{},"kept":{},"note":0}},)"
        R"("stderr":{{"total":{},"kept":{},"note":0}}}})",
        exit_code, signal, exec_errno, tripped, from_outside, wall_ms * 1'000, oom_kills,
        files.size(), bytes, out, out, err, err);
}

ContainerFacts facts_of(const DockerModel::Container& container) {
    auto facts = controller::facts_as_asked(container.sandbox);
    facts.id = container.id;
    facts.name = container.name;
    facts.labels = container.labels;
    facts.created_ms = container.created_ms;
    facts.state = container.state;
    facts.exit_code = container.exit_code;
    facts.oom_killed = container.oom_killed;
    facts.error = container.error;
    facts.started_ms = container.started_ms;
    facts.finished_ms = container.finished_ms;
    if (container.limit_dropped) facts.pids_limit = 0;
    return facts;
}

ImageFacts facts_of(const DockerModel::Image& image) {
    return {.id = image.id,
            .repo_digests = {},
            .os = image.os,
            .arch = image.arch,
            .volumes = image.volumes,
            .labels = image.labels,
            .created_ms = image.created_ms};
}

std::string label_of(const Labels& labels, std::string_view key) {
    const auto found = labels.find(std::string(key));
    return found == labels.end() ? std::string() : found->second;
}

}  // namespace

DockerModel::DockerModel(World& world) : world_(world) {}

std::string DockerModel::fresh_id() { return fmt::format("{:064x}", 0xc0'0000 + ++last_id_); }

// ---- small things

DockerModel::Container* DockerModel::find(const std::string& id_or_name) {
    const auto found = containers.find(id_or_name);
    if (found != containers.end()) return &found->second;
    for (auto& [id, container] : containers) {
        if (container.name == id_or_name) return &container;
    }
    return nullptr;
}

void DockerModel::lock(const std::string& id, std::int64_t for_ms) {
    if (auto* container = find(id)) {
        container->locked_until_ms =
            std::max(container->locked_until_ms, world_.now_ms() + for_ms);
    }
}

UnixMs DockerModel::locked_until(const std::string& id_or_name) {
    const auto* container = find(id_or_name);
    return container == nullptr ? 0 : container->locked_until_ms;
}

std::vector<ContainerSummary> DockerModel::rows() const {
    std::vector<ContainerSummary> rows;
    for (const auto& [id, container] : containers) {
        ContainerSummary row{
            id, container.name, container.labels, container.state, container.created_ms, {}};
        if (!container.sandbox.volume_name.empty())
            row.volume_names.push_back(container.sandbox.volume_name);
        rows.push_back(std::move(row));
    }
    return rows;
}

void DockerModel::changed() {
    history_.push_back({world_.now_ms(), rows()});
    if (history_.size() > kHistoryMax) history_.erase(history_.begin());
}

void DockerModel::emit(const Container& container, std::string action) {
    world_.trace("engine: {} {}", container.name, action);
    changed();
    if (!on_event || health_ != Health::up) return;
    on_event({"container", std::move(action), container.id, world_.now_ms(), container.labels});
}

// ---- containers

Reply<CreatedContainer> DockerModel::create(const Sandbox& sandbox, bool drop_limit) {
    if (find(sandbox.name) != nullptr)
        return refuse(Kind::conflict, 409, "Conflict. The name is in use");
    const auto image = images.find(sandbox.image_id);
    if (image == images.end()) return no_such("image");
    Container container;
    container.id = fresh_id();
    container.name = sandbox.name;
    container.labels = image->second.labels;
    for (const auto& [key, value] : sandbox.labels) container.labels[key] = value;
    container.sandbox = sandbox;
    container.limit_dropped = drop_limit;
    container.created_ms = world_.now_ms();
    if (!sandbox.volume_name.empty() && !volumes.contains(sandbox.volume_name)) {
        Volume volume;
        volume.name = sandbox.volume_name;
        volume.labels = sandbox.labels;
        volume.created_ms = world_.now_ms();
        volumes.emplace(volume.name, std::move(volume));
    }
    CreatedContainer created{container.id, {}};
    if (drop_limit && world_.rng(Stream::engine).chance(0.5)) {
        created.warnings.emplace_back("PIDs limit discarded");
    }
    const auto& made = containers.emplace(container.id, std::move(container)).first->second;
    emit(made, "create");
    return created;
}

Reply<CreatedContainer> DockerModel::create_build(const std::string& name,
                                                  const std::string& image, Labels labels) {
    if (find(name) != nullptr) return refuse(Kind::conflict, 409, "Conflict");
    if (!images.contains(image)) return no_such("image");
    Container container;
    container.id = fresh_id();
    container.name = name;
    container.labels = std::move(labels);
    container.sandbox.image_id = image;
    container.is_build = true;
    container.created_ms = world_.now_ms();
    CreatedContainer created{container.id, {}};
    const auto& made = containers.emplace(container.id, std::move(container)).first->second;
    emit(made, "create");
    return created;
}

Reply<ContainerFacts> DockerModel::inspect(const std::string& id_or_name) {
    const auto* container = find(id_or_name);
    if (container == nullptr) return no_such("container");
    return facts_of(*container);
}

Reply<std::vector<ContainerSummary>> DockerModel::list(const std::string& label,
                                                       std::int64_t age_ms) {
    auto found = rows();
    if (age_ms > 0) {
        found.clear();
        for (const auto& snapshot : history_) {
            if (snapshot.at_ms <= world_.now_ms() - age_ms) found = snapshot.rows;
        }
    }
    std::erase_if(found, [&](const auto& row) { return !has_label(row.labels, label); });
    return found;
}

Reply<StartOutcome> DockerModel::start(const std::string& id, bool asked) {
    auto* container = find(id);
    if (container == nullptr) return no_such("container");
    switch (container->state) {
        case ContainerState::running:
            return StartOutcome::already_running;
        case ContainerState::removing:
        case ContainerState::dead:
        case ContainerState::paused:
            return refuse(Kind::conflict, 409, "container is marked for removal");
        default:
            break;
    }
    if (container->state == ContainerState::exited) {
        world_.probe("engine: an ended container was started again");
    }
    container->asked = asked;
    container->process = -1;  // one that the engine forgot goes on by itself
    container->state = ContainerState::running;
    container->started_ms = world_.now_ms();
    container->finished_ms = 0;
    container->exit_code = 0;
    container->checkpoint_ms = world_.now_ms() + kCheckpointMs;
    emit(*container, "start");
    run_init(*container);
    return StartOutcome::started;
}

// PID 1, up to the moment when the script runs.
void DockerModel::run_init(Container& container) {
    auto volume = volumes.find(container.sandbox.volume_name);
    if (volume == volumes.end() || !volume->second.put) {
        return end_init(container, controller::kInitBadVolume);
    }
    if (flag_of(container.sandbox.entrypoint, "--run-ms=") < 0) {
        return end_init(container, controller::kInitBadFlags);
    }
    if (volume->second.claimed && !ignores_claim) {
        world_.probe("init: the claim was taken before");
        return end_init(container, controller::kInitClaimTaken);
    }
    volume->second.claimed = true;
    volume->second.claimed_ms = world_.now_ms();
    volume->second.written_ms = world_.now_ms();

    const auto script = script_of(container.sandbox.cmd);
    Execution execution;
    execution.run_id = label_of(container.labels, controller::kLabelRun);
    execution.attempt = label_of(container.labels, controller::kLabelAttempt);
    execution.container_id = container.id;
    execution.began_ms = world_.now_ms();
    execution.asked = container.asked;
    execution.volume_ms = volume->second.created_ms;
    execution.inputs_whole = inputs_match && inputs_match(execution.run_id, volume->second.inputs);
    execution.sandbox_whole = !container.limit_dropped;
    const auto process = static_cast<std::int64_t>(executions.size());
    container.process = process;
    executions.push_back(execution);
    world_.trace("script of {} runs for {} ms", container.name, script.duration_ms);
    if (on_execution) on_execution(executions.back());

    if (!artifacts_of(script).empty()) {
        const auto first = *artifacts_of(script).begin();
        volume->second.files[first.first] = first.second.substr(0, first.second.size() / 2);
    }
    const auto run_ms = flag_of(container.sandbox.entrypoint, "--run-ms=");
    const auto grace_ms = flag_of(container.sandbox.entrypoint, "--grace-ms=");
    using End = Execution::End;
    if (script.exec_errno != 0) {
        const auto code = script.exec_errno == 2 ? 127 : 126;
        world_.after(1, [=, this] { finish(process, End::natural, code, 0, true, "", false); });
    } else if (script.fills_work) {
        world_.after(std::min(script.duration_ms, run_ms), [=, this] {
            finish(process, End::natural, 137, 9, true, "work_bytes", false);
        });
    } else if (script.duration_ms > run_ms) {
        const auto late_ms = script.ignores_term ? grace_ms : 1;
        const auto signal = script.ignores_term ? 9 : 15;
        world_.after(run_ms + late_ms, [=, this] {
            finish(process, End::deadline, 128 + signal, signal, true, "timeout", false);
        });
    } else {
        const auto signal = script.out_of_memory ? 9 : script.signal;
        const auto code = signal != 0 ? 128 + signal : script.exit_code;
        world_.after(script.duration_ms,
                     [=, this] { finish(process, End::natural, code, signal, true, "", false); });
    }
}

// PID 1 ended before it ran anything.
void DockerModel::end_init(Container& container, std::int64_t code) {
    const auto id = container.id;
    world_.after(1, [this, id, code] {
        auto* found = find(id);
        if (found == nullptr || found->state != ContainerState::running || found->process >= 0)
            return;
        found->state = ContainerState::exited;
        found->exit_code = code;
        found->finished_ms = world_.now_ms();
        emit(*found, "die");
    });
}

// The script has ended, and PID 1 (if `record`) wrote its last words.
void DockerModel::finish(std::int64_t process, Execution::End end, std::int64_t exit_code,
                         std::int64_t signal, bool record, std::string_view tripped,
                         bool from_outside) {
    auto& execution = executions[static_cast<std::size_t>(process)];
    if (execution.end != Execution::End::running) return;
    execution.end = end;
    execution.exit_code = exit_code;
    execution.ended_ms = world_.now_ms();
    auto* container = find(execution.container_id);
    const bool known = container != nullptr && container->process == process;
    if (!known) return;
    const auto script = script_of(container->sandbox.cmd);
    const auto volume = volumes.find(container->sandbox.volume_name);
    if (record && volume != volumes.end()) {
        auto& it = volume->second;
        if (end == Execution::End::natural || end == Execution::End::deadline) {
            it.files = artifacts_of(script);
        }
        if (end == Execution::End::natural && script.exec_errno == 0)
            it.result = result_of(script);
        it.record = record_json(exit_code, signal, script.exec_errno, tripped, from_outside,
                                world_.now_ms() - execution.began_ms, script.out_of_memory ? 1 : 0,
                                stdout_of(script).size(), stderr_of(script).size(), it.files);
        it.written_ms = world_.now_ms();
    }
    container->out_log = stdout_of(script);
    container->err_log = stderr_of(script);
    if (!record) {
        container->out_log.resize(container->out_log.size() / 2);
        container->err_log.resize(container->err_log.size() / 2);
    }
    container->process = -1;
    if (execution.orphan) return;
    container->state = ContainerState::exited;
    container->exit_code = exit_code;
    container->oom_killed = script.out_of_memory && end == Execution::End::natural;
    container->finished_ms = world_.now_ms();
    // Measured: a fast script's start is written down after its end.
    if (container->finished_ms - container->started_ms < 2) ++container->started_ms;
    if (health_ == Health::down && world_.rng(Stream::engine).chance(0.3)) {
        container->exit_code = 255;
        world_.probe("engine: exit status unknown after a restart");
    }
    emit(*container, "die");
}

void DockerModel::terminate(Container& container) {
    if (container.process < 0) return;
    const auto script = script_of(container.sandbox.cmd);
    const auto process = container.process;
    const auto grace_ms = flag_of(container.sandbox.entrypoint, "--grace-ms=");
    const auto later_ms = script.ignores_term ? grace_ms : 5;
    const auto signal = script.ignores_term ? 9 : 15;
    world_.after(later_ms, [=, this] {
        if (script.traps_term) {
            finish(process, Execution::End::term, 0, 0, true, "", true);
        } else {
            finish(process, Execution::End::term, 128 + signal, signal, true, "", true);
        }
    });
}

void DockerModel::die(Container& container, std::int64_t exit_code, Execution::End end) {
    if (container.process < 0) return;
    finish(container.process, end, exit_code, 9, false, "", false);
}

Reply<KillOutcome> DockerModel::kill(const std::string& id, const std::string& signal,
                                     bool asked) {
    auto* container = find(id);
    if (container == nullptr || container->state != ContainerState::running) {
        return KillOutcome::not_running;
    }
    world_.trace("{} of {} by {}", signal, container->name, asked ? "us" : "somebody");
    if (signal == "SIGTERM") {
        terminate(*container);
    } else {
        die(*container, 137, Execution::End::killed);
    }
    return KillOutcome::sent;
}

void DockerModel::drop(const std::string& id) {
    const auto found = containers.find(id);
    if (found == containers.end()) return;
    auto gone = std::move(found->second);
    containers.erase(found);
    if (gone.process >= 0) {
        auto& execution = executions[static_cast<std::size_t>(gone.process)];
        // What the engine does not know of, it does not kill.
        if (!execution.orphan && execution.end == Execution::End::running) {
            execution.end = Execution::End::killed;
            execution.ended_ms = world_.now_ms();
        }
    }
    gone.state = ContainerState::removing;
    emit(gone, "destroy");
}

Reply<RemoveOutcome> DockerModel::remove(const std::string& id, bool force,
                                         std::int64_t slowly_ms) {
    auto* container = find(id);
    if (container == nullptr) return RemoveOutcome::already_gone;
    if (container->state == ContainerState::removing) {
        world_.probe("engine: removal is already in progress");
        return refuse(Kind::conflict, 409, "removal of container is already in progress");
    }
    if (container->state == ContainerState::running && !force) {
        return refuse(Kind::conflict, 409, "You cannot remove a running container");
    }
    if (container->process >= 0 &&
        !executions[static_cast<std::size_t>(container->process)].orphan) {
        die(*container, 137, Execution::End::killed);
    }
    const auto full_id = container->id;
    if (slowly_ms == 0) {
        drop(full_id);
        return RemoveOutcome::removed;
    }
    container->state = ContainerState::removing;
    changed();
    world_.after(slowly_ms, [this, full_id, epoch = epoch_] {
        auto* found = find(full_id);
        if (found == nullptr || found->state != ContainerState::removing) return;
        if (epoch == epoch_ && health_ != Health::down) return drop(full_id);
        found->state = ContainerState::dead;
        world_.probe("engine: it crashed in the middle of a removal");
        changed();
    });
    return RemoveOutcome::removed;
}

// ---- archive and logs

Reply<void> DockerModel::put(const std::string& id, const std::string& path,
                             std::string_view bytes, bool whole) {
    auto* container = find(id);
    if (container == nullptr) return no_such("container");
    if (container->is_build && path == "/") {
        container->layer_put = whole;
        return {};
    }
    const auto volume = volumes.find(container->sandbox.volume_name);
    if (volume == volumes.end() || path != controller::kWorkDir) return no_such("path");
    volume->second.inputs = bytes;
    // What did not arrive replaces nothing: a claim that was there stays.
    if (bytes.size() >= kClaimArrivedBytes) {
        volume->second.put = true;
        volume->second.claimed = false;
    }
    volume->second.written_ms = world_.now_ms();
    if (!whole) world_.probe("engine: an archive was put half-way");
    return {};
}

std::string DockerModel::tar_of(const Volume& volume) const {
    const int fd = memory_file("");
    store::TarWriter tar(fd);
    const store::TarOwner owner{10'001, 10'001};
    const auto add = [&](const std::string& name, const std::string& bytes) {
        (void)tar.add_file(name, 0644, owner, 0, std::as_bytes(std::span(bytes)));
    };
    (void)tar.add_directory("output", 01777, owner, 0);
    (void)tar.add_directory("output/.mayfly", 01777, owner, 0);
    if (!volume.record.empty()) add("output/.mayfly/exit.json", volume.record);
    if (!volume.result.empty()) add("output/.mayfly/result.json", volume.result);
    bool has_sub = false;
    for (const auto& [name, bytes] : volume.files) {
        if (name.starts_with("sub/") && !std::exchange(has_sub, true)) {
            (void)tar.add_directory("output/sub", 0755, owner, 0);
        }
        add("output/" + name, bytes);
    }
    (void)tar.finish();
    auto bytes = bytes_of(fd);
    close(fd);
    return bytes;
}

Reply<std::string> DockerModel::get(const std::string& id, const std::string& path) {
    const auto* container = find(id);
    if (container == nullptr) return no_such("container");
    const auto volume = volumes.find(container->sandbox.volume_name);
    if (volume == volumes.end() || !volume->second.put || path != controller::kOutputDir) {
        return no_such("path");
    }
    if (container->state == ContainerState::dead) world_.probe("engine: archive of a dead one");
    auto bytes = tar_of(volume->second);
    const bool busy = std::ranges::any_of(executions, [&](const Execution& execution) {
        if (execution.end != Execution::End::running) return false;
        const auto* owner = find(execution.container_id);
        return owner != nullptr && owner->sandbox.volume_name == volume->first;
    });
    if (busy && world_.rng(Stream::engine).chance(0.75)) bytes.resize(bytes.size() / 2);
    return bytes;
}

Reply<PathStat> DockerModel::stat(const std::string& id, const std::string& path) {
    const auto* container = find(id);
    if (container == nullptr) return no_such("container");
    const auto volume = volumes.find(container->sandbox.volume_name);
    if (volume == volumes.end() || !volume->second.put || path != controller::kClaimPath) {
        return no_such("path");
    }
    PathStat stat;
    stat.name = "claim";
    stat.size = volume->second.claimed ? 1 : 0;
    stat.mtime_ns = volume->second.claimed ? volume->second.claimed_ms * kNsPerMs
                                           : store::kClaimMtimeS * 1'000 * kNsPerMs;
    return stat;
}

Reply<DockerModel::Logs> DockerModel::logs(const std::string& id) {
    const auto* container = find(id);
    if (container == nullptr) return no_such("container");
    if (container->state == ContainerState::dead || container->state == ContainerState::removing) {
        world_.probe("engine: a dead one has no logs");
        return refuse(Kind::conflict, 409, "can not get logs from container which is dead");
    }
    return Logs{container->out_log, container->err_log};
}

// ---- volumes, images

Reply<VolumeFacts> DockerModel::inspect_volume(const std::string& name) {
    const auto found = volumes.find(name);
    if (found == volumes.end()) return no_such("volume");
    return VolumeFacts{name, "local", found->second.labels, found->second.created_ms};
}

Reply<std::vector<VolumeFacts>> DockerModel::list_volumes(const std::string& label) {
    std::vector<VolumeFacts> found;
    for (const auto& [name, volume] : volumes) {
        if (has_label(volume.labels, label))
            found.push_back({name, "local", volume.labels, volume.created_ms});
    }
    return found;
}

Reply<RemoveOutcome> DockerModel::remove_volume(const std::string& name) {
    if (!volumes.contains(name)) return RemoveOutcome::already_gone;
    for (const auto& [id, container] : containers) {
        if (container.sandbox.volume_name == name) {
            world_.probe("engine: a volume is in use");
            return refuse(Kind::conflict, 409, "volume is in use");
        }
    }
    volumes.erase(name);
    world_.trace("engine: volume {} is gone", name);
    return RemoveOutcome::removed;
}

Reply<ImageFacts> DockerModel::inspect_image(const std::string& reference) {
    for (const auto& [id, image] : images) {
        if (id == reference || image.names.contains(reference)) return facts_of(image);
    }
    return no_such("image");
}

Reply<void> DockerModel::pull(const std::string& reference) {
    const auto found = registry.find(reference);
    if (found == registry.end()) return no_such("image");
    images[found->second.id] = found->second;
    world_.probe("engine: an image was pulled");
    return {};
}

Reply<std::string> DockerModel::commit(const std::string& container_id,
                                       const std::string& repository, const std::string& tag,
                                       Labels labels) {
    const auto* container = find(container_id);
    if (container == nullptr) return no_such("container");
    Image image;
    image.id = "sha256:" + fresh_id();
    image.arch = controller::init_arch();
    image.labels = std::move(labels);
    image.created_ms = world_.now_ms();
    image.names.insert(repository + ":" + tag);
    if (!container->layer_put) world_.violate("I13", "an image was committed without its layer");
    for (auto& [id, other] : images) other.names.erase(repository + ":" + tag);
    const auto id = image.id;
    images[id] = std::move(image);
    return id;
}

Reply<RemoveOutcome> DockerModel::remove_image(const std::string& id) {
    if (!images.contains(id)) return RemoveOutcome::already_gone;
    for (const auto& [other, container] : containers) {
        if (container.sandbox.image_id == id) return refuse(Kind::conflict, 409, "in use");
    }
    images.erase(id);
    return RemoveOutcome::removed;
}

Reply<std::vector<ImageFacts>> DockerModel::list_images(const std::string& label) {
    std::vector<ImageFacts> found;
    for (const auto& [id, image] : images) {
        if (has_label(image.labels, label)) found.push_back(facts_of(image));
    }
    return found;
}

// ---- the engine's own life

void DockerModel::hang(bool hung) {
    if (health_ == Health::down) return;
    health_ = hung ? Health::hung : Health::up;
    world_.trace("engine {}", hung ? "hangs" : "answers again");
}

void DockerModel::stop(bool gracefully) {
    if (health_ == Health::down) return;
    world_.trace("engine {}", gracefully ? "is stopped" : "is killed");
    ++epoch_;
    if (on_epoch) on_epoch();
    health_ = Health::down;
    for (auto& [id, container] : containers) {
        if (gracefully && !live_restore_ && container.process >= 0) {
            const auto script = script_of(container.sandbox.cmd);
            if (script.traps_term) {
                finish(container.process, Execution::End::engine, 0, 0, true, "", true);
            } else if (script.ignores_term) {
                die(container, 137, Execution::End::engine);
            } else {
                finish(container.process, Execution::End::engine, 143, 15, true, "", true);
            }
        }
        if (gracefully || container.process < 0 || container.checkpoint_ms <= world_.now_ms()) {
            continue;
        }
        // It had started the task and not yet written that down.
        container.state = ContainerState::created;
        container.started_ms = 0;
        executions[static_cast<std::size_t>(container.process)].orphan = true;
        world_.probe("engine: it forgot that it had started a container");
    }
}

void DockerModel::start_engine() {
    if (health_ != Health::down) return;
    ++epoch_;
    if (on_epoch) on_epoch();
    health_ = Health::up;
    world_.trace("engine is up");
    auto& rng = world_.rng(Stream::engine);
    for (auto& [id, container] : containers) {
        if (container.state == ContainerState::removing) {
            container.state = ContainerState::dead;
            world_.probe("engine: it crashed in the middle of a removal");
        }
        if (live_restore_ || container.process < 0) continue;
        auto& execution = executions[static_cast<std::size_t>(container.process)];
        if (execution.orphan) {
            if (rng.chance(0.5)) {
                execution.end = Execution::End::engine;
                execution.ended_ms = world_.now_ms();
                container.process = -1;
            }
            continue;
        }
        world_.probe("engine: a restart ended a running container");
        const auto script = script_of(container.sandbox.cmd);
        if (script.traps_term) {
            finish(container.process, Execution::End::engine, 0, 0, true, "", true);
        } else if (rng.chance(0.5)) {
            die(container, 137, Execution::End::engine);
        } else {
            finish(container.process, Execution::End::engine, 143, 15, true, "", true);
        }
    }
    changed();
}

void DockerModel::power_loss() {
    auto& rng = world_.rng(Stream::engine);
    const auto now_ms = world_.now_ms();
    world_.trace("engine loses power");
    ++epoch_;
    if (on_epoch) on_epoch();
    health_ = Health::down;
    for (auto& [id, container] : containers) {
        if (container.state == ContainerState::removing) container.state = ContainerState::dead;
        if (container.process < 0) continue;
        auto& execution = executions[static_cast<std::size_t>(container.process)];
        execution.end = Execution::End::power;
        execution.ended_ms = now_ms;
        container.process = -1;
        const bool noted = container.checkpoint_ms <= now_ms;
        container.state = noted ? ContainerState::exited : ContainerState::created;
        container.exit_code = noted ? 255 : 0;
        if (noted) container.finished_ms = now_ms;
    }
    std::vector<std::string> vanished;
    for (const auto& [id, container] : containers) {
        const bool fresh = now_ms - container.created_ms < 1'000 && container.started_ms == 0;
        if (fresh && rng.chance(0.3)) vanished.push_back(id);
    }
    for (const auto& id : vanished) {
        containers.erase(id);
        world_.probe("power loss: the engine forgot a container");
    }
    for (auto it = volumes.begin(); it != volumes.end();) {
        auto& volume = it->second;
        const bool fresh = now_ms - volume.created_ms < 1'000 && !volume.claimed;
        const bool used = std::ranges::any_of(containers, [&](const auto& item) {
            return item.second.sandbox.volume_name == it->first;
        });
        if (fresh && !used && rng.chance(0.3)) {
            it = volumes.erase(it);
            continue;
        }
        if (now_ms - volume.written_ms < kUnsyncedMs) {
            if (!volume.claimed && rng.chance(0.3)) {
                volume.inputs.resize(volume.inputs.size() / 2);
                volume.put = volume.inputs.size() >= kClaimArrivedBytes;
            }
            if (rng.chance(0.3)) {
                volume.record.resize(volume.record.size() / 2);
                world_.probe("power loss: a torn exit record");
            }
            if (rng.chance(0.3)) volume.record.clear();
            // PID 1 syncs its record; nobody synced the script's files.
            for (auto& [name, bytes] : volume.files) {
                if (!rng.chance(0.2)) continue;
                bytes.resize(bytes.size() / 2);
                world_.probe("power loss: a torn artifact");
            }
        }
        ++it;
    }
    changed();
}

// ---- others

void DockerModel::prune() {
    world_.trace("somebody prunes the engine");
    std::vector<std::string> gone;
    for (const auto& [id, container] : containers) {
        if (container.state == ContainerState::created ||
            container.state == ContainerState::exited || container.state == ContainerState::dead) {
            gone.push_back(id);
        }
    }
    for (const auto& id : gone) drop(id);
    std::set<std::string> used;
    for (const auto& [id, container] : containers) used.insert(container.sandbox.volume_name);
    std::erase_if(volumes, [&](const auto& item) { return !used.contains(item.first); });
}

void DockerModel::add_foreign(const std::string& name, Labels labels) {
    if (find(name) != nullptr) return;
    Container container;
    container.id = fresh_id();
    container.name = name;
    container.labels = std::move(labels);
    container.created_ms = world_.now_ms();
    container.state = ContainerState::exited;
    world_.trace("somebody makes a container {}", name);
    containers.emplace(container.id, std::move(container));
    changed();
}

void DockerModel::add_foreign_volume(const std::string& name, Labels labels) {
    if (volumes.contains(name)) return;
    Volume volume;
    volume.name = name;
    volume.labels = std::move(labels);
    volume.created_ms = world_.now_ms();
    volumes.emplace(name, std::move(volume));
}

void DockerModel::add_base_image(const std::string& reference, bool local, bool unsupported) {
    Image image;
    image.id = "sha256:" + fresh_id();
    image.arch = controller::init_arch();
    if (unsupported) image.volumes = {"/data"};
    image.created_ms = world_.now_ms();
    image.names.insert(reference);
    if (local) images[image.id] = image;
    registry[reference] = std::move(image);
}

}  // namespace mayfly::sim
