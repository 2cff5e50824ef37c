#include "tests/sim/oracle.h"

#include <algorithm>

#include "store/data_dir.h"
#include "store/sha256.h"

namespace mayfly::sim {
namespace {

using store::Phase;
using store::Reason;
using store::RunRecord;
using store::Stage;
using End = Execution::End;

std::string label_of(const std::map<std::string, std::string>& labels, std::string_view key) {
    const auto found = labels.find(std::string(key));
    return found == labels.end() ? std::string() : found->second;
}

std::string spool_path(const std::string& run_id, std::string_view name) {
    return "/data/spool/" + run_id + "/" + std::string(name);
}

}  // namespace

Oracle::Oracle(World& world, DiskState& disk, DockerModel& model, const Receivers& receivers,
               OracleSettings settings)
    : world_(world), disk_(disk), model_(model), receivers_(receivers), settings_(settings) {}

const Job* Oracle::job_of(const std::string& run_id) const {
    const auto record = records_.find(run_id);
    if (record == records_.end()) return nullptr;
    const auto& key = record->second.run.idempotency_key;
    for (const auto& [number, job] : jobs_) {
        if (job->key() == key) return job;
    }
    return nullptr;
}

const Execution* Oracle::last_execution(const RunRecord& record) const {
    const Execution* last = nullptr;
    for (const auto& execution : model_.executions) {
        if (execution.run_id == record.run.id) last = &execution;
    }
    return last;
}

bool Oracle::has_excuse(const std::string& run_id) const {
    return disturbed_.contains("") || disturbed_.contains(run_id) || power_losses_ > 0 ||
           model_.epoch() > 0;
}

// ---- the client

void Oracle::accepted(const Job& job) {
    accepted_.insert(job.run_id);
    const auto [known, first] = job_by_key_.try_emplace(job.run_id, job.number);
    if (!first && known->second != job.number) {
        world_.violate("I3", "two keys have one run " + job.run_id);
    }
    for (const auto& [run_id, number] : job_by_key_) {
        if (number == job.number && run_id != job.run_id) {
            world_.violate(
                "I3", fmt::format("{} has two runs: {} and {}", job.key(), run_id, job.run_id));
        }
    }
}

// ---- records

void Oracle::committed(const RunRecord& record) {
    const auto& id = record.run.id;
    auto found = records_.find(id);
    if (found != records_.end()) {
        // Two listeners' worth of news may come in one turn: only the newer one counts.
        if (record.run.revision < found->second.run.revision) return;
        auto merged = record;
        if (!merged.attempt) merged.attempt = found->second.attempt;
        check_step(found->second, merged);
        found->second = merged;
    } else {
        found = records_.emplace(id, record).first;
    }
    if (found->second.attempt && found->second.attempt->stage == Stage::collected &&
        settings_.calls_are_whole && power_losses_ == 0 &&
        model_.volumes.contains(found->second.attempt->volume_name)) {
        world_.violate("I21", id + " counts as collected, and its volume is there");
    }
    world_.trace(
        "{} rev {} {} {} {} {}", id, record.run.revision,
        store::to_string(record.run.status.phase), store::to_string(record.run.status.reason),
        record.attempt ? store::to_string(record.attempt->stage) : "", record.run.status.message);
}

void Oracle::check_step(const RunRecord& before, const RunRecord& after) {
    const auto& old = before.run.status;
    const auto& now = after.run.status;
    if (store::is_terminal(old.phase)) {
        auto expected = old;
        expected.attempt = now.attempt;
        if (now != expected) {
            world_.violate(
                "I4", fmt::format("{} was {} and is {}", after.run.id, store::to_string(old.phase),
                                  store::to_string(now.phase)));
        }
    } else if (now.phase < old.phase &&
               !(now.phase == Phase::queued && after.run.spec.max_attempts > 1)) {
        world_.violate("I5",
                       fmt::format("{} went from {} back to {}", after.run.id,
                                   store::to_string(old.phase), store::to_string(now.phase)));
    }
    if (before.attempt && after.attempt) {
        if (after.attempt->number < before.attempt->number ||
            (after.attempt->number == before.attempt->number &&
             after.attempt->stage < before.attempt->stage)) {
            world_.violate("I5", after.run.id + ": its attempt went back");
        }
        if (after.attempt->number > after.run.spec.max_attempts) {
            world_.violate("I16", after.run.id + " has more attempts than it asked for");
        }
    }
    if (!store::is_terminal(old.phase) && store::is_terminal(now.phase)) check_end(after);
}

// How it ended, against what really happened.
void Oracle::check_end(const RunRecord& record) {
    const auto& run = record.run;
    const auto& status = run.status;
    const auto* job = job_of(run.id);
    const auto* truth = last_execution(record);
    world_.probe(fmt::format("end: {} {}", store::to_string(status.phase),
                             store::to_string(status.reason)));
    const auto wrong = [&](std::string_view invariant, std::string_view why) {
        world_.violate(
            invariant,
            fmt::format("{} is {} ({}: {}), but {}", run.id, store::to_string(status.phase),
                        store::to_string(status.reason), status.message, why));
    };
    if (job == nullptr) return;
    const auto& script = job->script;
    const bool natural = truth != nullptr && truth->end == End::natural;
    if (job->cancel_answered && !store::is_terminal(job->phase_at_cancel) &&
        status.phase == Phase::succeeded) {
        wrong("I17", "its cancel was acknowledged before");
    }
    switch (status.phase) {
        case Phase::succeeded:
            if (!natural || truth->exit_code != 0) wrong("I6", "no script of it ended with 0");
            break;
        case Phase::cancelled:
            if (!job->cancel_wanted) wrong("I15", "nobody asked for that");
            break;
        case Phase::timed_out:
            if (status.reason == Reason::RunTimeout && natural &&
                script.duration_ms < job->timeout_s * 1'000) {
                wrong("I15", "the script ended by itself, in time");
            }
            if (status.reason != Reason::RunTimeout && truth != nullptr && truth->asked &&
                truth->attempt == std::to_string(status.attempt) &&
                status.message.find("was lost") == std::string::npos) {
                wrong("I15", "it had run");
            }
            break;
        case Phase::failed:
            switch (status.reason) {
                case Reason::NonZeroExit:
                    if (!natural || truth->exit_code != status.exit_code.value_or(-1)) {
                        wrong("I15", "no script of it ended like that");
                    }
                    break;
                case Reason::Signaled:
                    if (!natural || script.signal == 0) wrong("I15", "no signal of its own");
                    break;
                case Reason::OutOfMemory:
                    if (!script.out_of_memory) wrong("I15", "there was memory");
                    break;
                case Reason::WorkLimit:
                    if (!script.fills_work) wrong("I15", "/work was small");
                    break;
                case Reason::CommandNotStarted:
                    if (script.exec_errno == 0) wrong("I15", "it could be executed");
                    break;
                case Reason::InputsMissing:
                    wrong("I2", "its inputs were accepted");
                    break;
                case Reason::InternalError:
                    if (power_losses_ == 0) wrong("I15", "nothing was broken");
                    break;
                default:
                    if (settings_.nothing_may_be_lost && job->image != kImageNowhere &&
                        job->image != kImageUnfit) {
                        wrong("I15", "nothing but the controller failed");
                    }
                    if (truth != nullptr && truth->asked &&
                        truth->attempt == std::to_string(status.attempt)) {
                        wrong("I15", "it had run");
                    }
                    break;
            }
            break;
        case Phase::lost:
            ++lost_;
            if (settings_.nothing_may_be_lost) wrong("I15", "only the controller was disturbed");
            if (!has_excuse(run.id) && status.message.find("not whole") == std::string::npos &&
                status.message.find("archive brings") == std::string::npos) {
                wrong("I15", "nothing happened to it that could not be known");
            }
            break;
        default:
            break;
    }
}

// ---- the engine

void Oracle::touches(std::string_view call, const std::string& target) {
    if (call.find("/create") != std::string_view::npos) return;
    check_owned(call, target);
    if (call == "late POST /containers/{id}/start") {
        // It ran after the controller had looked, and the fence cut it short.
        const auto* container = model_.find(target);
        if (container != nullptr) {
            disturbed(label_of(container->labels, controller::kLabelRun));
        }
    }
    if (call.starts_with("late ")) return;
    if (call == "DELETE /containers/{id}") {
        if (const auto* container = model_.find(target)) check_container_removal(*container);
    } else if (call == "DELETE /volumes/{name}") {
        const auto found = model_.volumes.find(target);
        if (found != model_.volumes.end()) check_volume_removal(found->second);
    }
}

void Oracle::check_owned(std::string_view call, const std::string& target) {
    std::string owner = instance_;
    if (const auto* container = model_.find(target)) {
        owner = label_of(container->labels, controller::kLabelInstance);
    } else if (const auto volume = model_.volumes.find(target); volume != model_.volumes.end()) {
        owner = label_of(volume->second.labels, controller::kLabelInstance);
    } else if (const auto image = model_.images.find(target); image != model_.images.end()) {
        owner = label_of(image->second.labels, controller::kImageLabelInstance);
    }
    if (owner != instance_) {
        world_.violate("I10", fmt::format("{} of {}, which is not ours", call, target));
    }
}

void Oracle::check_container_removal(const DockerModel::Container& container) {
    if (label_of(container.labels, controller::kLabelRole) != "run") return;
    const auto run_id = label_of(container.labels, controller::kLabelRun);
    const auto found = records_.find(run_id);
    if (found == records_.end()) {
        if (removed_.contains(run_id)) return;
        if (world_.now_ms() - container.created_ms < settings_.orphan_grace_ms) {
            world_.violate("I21", container.name + " was swept within its grace");
        }
        return;
    }
    const auto& attempt = found->second.attempt;
    if (!attempt ||
        label_of(container.labels, controller::kLabelAttempt) != std::to_string(attempt->number)) {
        return;
    }
    if (attempt->stage == Stage::started || attempt->stage == Stage::exited) {
        world_.violate("I11", container.name + " is removed before its harvest is durable");
    }
}

void Oracle::check_volume_removal(const DockerModel::Volume& volume) {
    const auto run_id = label_of(volume.labels, controller::kLabelRun);
    const auto found = records_.find(run_id);
    if (found == records_.end()) {
        if (!removed_.contains(run_id) &&
            world_.now_ms() - volume.created_ms < settings_.orphan_grace_ms) {
            world_.violate("I21", volume.name + " was swept within its grace");
        }
        return;
    }
    const auto& attempt = found->second.attempt;
    if (attempt && attempt->volume_name == volume.name && attempt->stage < Stage::ended) {
        world_.violate("I11", volume.name + " is removed before its harvest is durable");
    }
}

void Oracle::begins(const Execution& execution) {
    std::int64_t running = 0;
    for (const auto& other : model_.executions) {
        const bool same = &other == &execution || (other.container_id == execution.container_id &&
                                                   other.began_ms == execution.began_ms);
        const bool runs = other.end == End::running && !other.orphan;
        if (runs && other.asked) ++running;
        if (same) continue;
        // Somebody who starts a container of ours by hand and removes it with its volume has
        // removed every trace of it: that a start was not ours to know is theirs to answer for.
        const bool by_hand = !other.asked && other.volume_ms != execution.volume_ms;
        if (other.run_id == execution.run_id && other.attempt == execution.attempt && !by_hand) {
            world_.violate("I1", fmt::format("attempt {} of {} runs a second time",
                                             execution.attempt, execution.run_id));
        }
        if (other.run_id == execution.run_id && runs) {
            world_.violate("I16", fmt::format("two attempts of {} overlap", execution.run_id));
        }
    }
    for (const auto& other : model_.executions) {
        const bool retried =
            other.run_id == execution.run_id && other.attempt != execution.attempt;
        // An archive that stays torn is lost as well, however the script ended.
        const bool torn = world_.probes().contains("fault: torn body") ||
                          world_.probes().contains("fault: cut body");
        if (retried && other.end == End::natural && !torn && !has_excuse(execution.run_id)) {
            world_.violate("I16", execution.run_id + " is tried again although it had ended");
        }
    }
    if (!execution.asked) return;
    if (running > settings_.max_running) {
        world_.violate("I14",
                       fmt::format("{} scripts run, {} may", running, settings_.max_running));
    }
    if (!execution.inputs_whole) {
        world_.violate("I12", execution.run_id + " runs without exactly its inputs");
    }
    if (!execution.sandbox_whole) {
        world_.violate("I13", execution.run_id + " runs without a limit");
    }
}

bool Oracle::inputs_match(const std::string& run_id, const std::string& bytes) const {
    const auto found = inputs_.find(run_id);
    return found != inputs_.end() && found->second == store::sha256_hex(bytes);
}

// ---- the database

void Oracle::opened(store::Database& database) {
    if (auto whole = database.integrity_check(); !whole) {
        world_.violate("I18", whole.error().message);
        return;
    }
    std::map<std::string, std::string> by_key;
    auto runs =
        database.list({.owner = "", .phases = {}, .labels = {}, .before_id = "", .limit = 1'000});
    if (!runs) {
        world_.violate("I18", runs.error().message);
        return;
    }
    if (runs->size() > jobs_.size()) {
        world_.violate("I3", fmt::format("{} runs for {} keys", runs->size(), jobs_.size()));
    }
    for (const auto& run : *runs) {
        if (run.idempotency_key.empty()) continue;
        const auto [other, first] = by_key.try_emplace(run.idempotency_key, run.id);
        if (!first) world_.violate("I3", run.idempotency_key + " has two runs in the database");
    }
    check_events(database, *runs);
    // Also those of which no client has heard: what a process reads it acts upon.
    for (const auto& run : *runs) {
        auto record = database.get(run.id);
        if (record && !accepted_.contains(run.id)) committed(*record);
    }
    for (const auto& id : accepted_) {
        auto record = database.get(id);
        if (!record) {
            const auto* job = job_of(id);
            const bool may_be_gone =
                removed_.contains(id) ||
                (job != nullptr && (job->delete_wanted || job->ttl_s < 1'000));
            if (!may_be_gone) world_.violate("I2", "accepted, and not in the database: " + id);
            removed_.insert(id);
            continue;
        }
        const auto known = records_.find(id);
        if (known != records_.end() && record->run.revision < known->second.run.revision) {
            world_.violate("I2", fmt::format("{}: revision {} was heard of, and {} is stored", id,
                                             known->second.run.revision, record->run.revision));
        }
        committed(*record);
        check_kept(database, record->run);
    }
}

// What a terminal run promises is there, byte for byte.
void Oracle::check_kept(store::Database& database, const store::Run& run) {
    const auto& status = run.status;
    if (run.delete_requested_ms != 0) return;
    // Past its time its files go first, then its row.
    if (run.expires_ms != 0 && run.expires_ms <= world_.now_ms()) return;
    if (!disk_.exists(spool_path(run.id, store::kInputTar))) {
        world_.violate("I2", run.id + ": its inputs are gone");
    }
    if (!store::is_terminal(status.phase)) return;
    auto artifacts = database.artifacts(run.id);
    if (!artifacts) {
        world_.violate("I18", artifacts.error().message);
        return;
    }
    const auto tar = disk_.read(spool_path(run.id, store::kOutputTar));
    std::map<std::string, std::string> kept;
    for (const auto& artifact : *artifacts) {
        const auto end = artifact.offset + artifact.size;
        if (end > std::ssize(tar)) {
            world_.violate("I8", run.id + ": " + artifact.path + " is not whole on disk");
            return;
        }
        auto bytes = tar.substr(static_cast<std::size_t>(artifact.offset),
                                static_cast<std::size_t>(artifact.size));
        if (store::sha256_hex(bytes) != artifact.sha256) {
            world_.violate("I8", run.id + ": " + artifact.path + " is not what was hashed");
        }
        kept[artifact.path] = std::move(bytes);
    }
    const auto* job = job_of(run.id);
    if (job == nullptr) return;
    const bool by_itself =
        status.phase == Phase::succeeded || status.reason == Reason::NonZeroExit;
    if (!by_itself || status.message.find("could not be read back") != std::string::npos) return;
    if (kept != artifacts_of(job->script)) {
        world_.violate("I7", fmt::format("{} is {} with {} artifacts that are not the script's {}",
                                         run.id, store::to_string(status.phase), kept.size(),
                                         artifacts_of(job->script).size()));
    }
    if (status.result_json != result_of(job->script)) {
        world_.violate("I7", run.id + ": result.json is not the script's");
    }
    const auto out = disk_.read(spool_path(run.id, store::kStdoutLog));
    if (out != stdout_of(job->script) && !status.stdout_stream.truncated) {
        world_.violate("I9", run.id + ": its stdout is not whole, and nothing says so");
    }
    const auto err = disk_.read(spool_path(run.id, store::kStderrLog));
    if (err != stderr_of(job->script) && !status.stderr_stream.truncated) {
        world_.violate("I9", run.id + ": its stderr is not whole, and nothing says so");
    }
}

// ---- events

store::EventFilter Oracle::unread_events() const {
    return {.owner = "", .after_id = std::ssize(events_), .run_ids = {}, .labels = {}};
}

void Oracle::heard(const store::Event& event) {
    if (event.id != std::ssize(events_) + 1) {
        world_.violate("I23", fmt::format("event {} comes after {}", event.id, events_.size()));
        return;
    }
    const auto before = last_events_.find(event.run_id);
    check_story(before == last_events_.end() ? nullptr : &before->second, event);
    events_.push_back(event);
    last_events_[event.run_id] = event;
}

void Oracle::check_story(const store::Event* before, const store::Event& event) {
    using Type = store::EventType;
    const auto wrong = [&](std::string_view why) {
        world_.violate("I23", fmt::format("event {}, {} of {}: {}", event.id,
                                          store::to_string(event.type), event.run_id, why));
    };
    if ((event.type == Type::created) != (before == nullptr))
        return wrong("`created` comes first");
    if (before == nullptr) return;
    if (event.revision < before->revision ||
        (event.revision == before->revision && event.type != Type::deleted)) {
        wrong("its revision is not newer");
    }
    if (before->type == Type::deleted) wrong("nothing comes after `deleted`");
    if (event.phase < before->phase && event.type != Type::retrying) wrong("its phase went back");
    if (store::is_terminal(before->phase)) {
        if (event.type != Type::deleted) wrong("it had ended");
        if (event.phase != before->phase) wrong("it ends twice");
    }
    const bool ends = !store::is_terminal(before->phase) && store::is_terminal(event.phase);
    if (ends != (event.type == Type::finished)) wrong("an end is `finished`, and nothing else is");
}

bool Oracle::is_to_be_told(const store::Event& event) const {
    const auto* job = job_of(event.run_id);
    return job != nullptr && job->webhook_failures >= 0 &&
           (job->tells_all || event.type == store::EventType::finished);
}

const store::Event* Oracle::first_untold() const {
    for (const auto& event : events_) {
        if (!is_to_be_told(event)) continue;
        const auto told = receivers_.told().find(event.id);
        if (told == receivers_.told().end() || !told->second.over) return &event;
    }
    return nullptr;
}

// Those that were read are as they were, those that were told are there, and the last one of each
// run says what its row says.
void Oracle::check_events(store::Database& database, const std::vector<store::Run>& runs) {
    std::int64_t read = 0;
    for (bool more = true; more && !world_.violated();) {
        auto page = database.events({.owner = "", .after_id = read, .run_ids = {}, .labels = {}});
        if (!page) return world_.violate("I18", page.error().message);
        for (const auto& event : page->events) {
            if (read >= std::ssize(events_)) {
                heard(event);
            } else if (events_[static_cast<std::size_t>(read)] != event) {
                world_.violate("I23", fmt::format("event {} is not what it was", read + 1));
            }
            ++read;
        }
        more = page->more;
    }
    if (read < std::ssize(events_)) {
        world_.violate("I23", fmt::format("event {} was read, and is gone", read + 1));
    }
    for (const auto& [id, told] : receivers_.told()) {
        const bool is_there = id <= read;
        if (!is_there) world_.violate("I24", fmt::format("event {} was told, and is gone", id));
        if (world_.violated()) return;
        if (store::event_text(events_[static_cast<std::size_t>(id - 1)]) != told.body) {
            world_.violate("I24", fmt::format("event {} was told otherwise", id));
        }
    }
    std::set<std::string> there;
    for (const auto& run : runs) {
        there.insert(run.id);
        const auto last = last_events_.find(run.id);
        if (last == last_events_.end()) {
            world_.violate("I23", run.id + " is there, and no event says so");
            return;
        }
        const auto& event = last->second;
        const auto& status = run.status;
        if (event.phase != status.phase || event.reason != status.reason ||
            event.attempt != status.attempt || event.pending != status.pending ||
            event.pending_message != status.pending_message ||
            event.exit_code != status.exit_code || event.signal != status.signal ||
            event.revision > run.revision) {
            world_.violate("I23", fmt::format("{} is {} at revision {}, and its last event says "
                                              "{} at revision {}",
                                              run.id, store::to_string(status.phase), run.revision,
                                              store::to_string(event.phase), event.revision));
        }
    }
    for (const auto& [run_id, event] : last_events_) {
        if (!there.contains(run_id) && event.type != store::EventType::deleted) {
            world_.violate("I23", run_id + " is gone, and no event says so");
        }
    }
}

// ---- the end

bool Oracle::all_settled() const {
    for (const auto& [id, container] : model_.containers) {
        if (label_of(container.labels, controller::kLabelInstance) == instance_) return false;
    }
    for (const auto& [name, volume] : model_.volumes) {
        if (label_of(volume.labels, controller::kLabelInstance) == instance_) return false;
    }
    return std::ranges::all_of(records_,
                               [](const auto& item) { return item.second.run.collected; });
}

void Oracle::at_rest() {
    for (const auto& [id, record] : records_) {
        if (!store::is_terminal(record.run.status.phase)) {
            world_.violate("I20", fmt::format("{} is still {} ({})", id,
                                              store::to_string(record.run.status.phase),
                                              record.run.status.pending_message));
        } else if (!record.run.collected) {
            world_.violate("I20", id + " is not collected");
        }
    }
    for (const auto& [id, container] : model_.containers) {
        if (label_of(container.labels, controller::kLabelInstance) == instance_) {
            world_.violate("I21", "left on the engine: container " + container.name);
        }
    }
    for (const auto& [name, volume] : model_.volumes) {
        if (label_of(volume.labels, controller::kLabelInstance) == instance_) {
            world_.violate("I21", "left on the engine: volume " + name);
        }
    }
    if (const auto* event = first_untold()) {
        world_.violate("I24", fmt::format("event {}, {} of {}, was not told", event->id,
                                          store::to_string(event->type), event->run_id));
    }
}

std::string Oracle::ends() const {
    std::map<std::int64_t, std::string> by_job;
    for (const auto& [id, record] : records_) {
        const auto* job = job_of(id);
        if (job == nullptr) continue;
        const auto& status = record.run.status;
        // When a cancel arrives is the client's luck.
        if (status.phase == Phase::cancelled) {
            by_job[job->number] = "cancelled";
            continue;
        }
        by_job[job->number] =
            fmt::format("{} {} {} {} attempt {}", store::to_string(status.phase),
                        store::to_string(status.reason), status.exit_code.value_or(-1),
                        status.artifact_count, status.attempt);
    }
    std::string text;
    for (const auto& [number, end] : by_job) text += fmt::format("job {}: {}\n", number, end);
    return text;
}

}  // namespace mayfly::sim
