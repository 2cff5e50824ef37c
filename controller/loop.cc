#include "controller/loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "controller/detached.h"
#include "controller/explain.h"
#include "controller/overdue.h"
#include "metrics/log.h"

namespace mayfly::controller {
namespace asio = boost::asio;
namespace {

using store::Phase;
using store::Stage;
using store::UnixMs;
using Container = Evidence::Container;

// Actions that are short and must not wait behind long ones: a kill that waits for a slot is a
// deadline that is missed.
bool needs_slot(const Action& action) {
    return !std::holds_alternative<KillContainer>(action) &&
           !std::holds_alternative<InspectContainer>(action) &&
           !std::holds_alternative<RemoveVolume>(action) &&
           !std::holds_alternative<EnsureImage>(action);
}

WorkClass class_of(const Action& action) {
    if (std::holds_alternative<Harvest>(action)) return WorkClass::harvest;
    if (std::holds_alternative<StartContainer>(action)) return WorkClass::start;
    if (std::holds_alternative<PutInputs>(action)) return WorkClass::put;
    if (std::holds_alternative<CreateContainer>(action)) return WorkClass::create;
    if (std::holds_alternative<ReadClaim>(action) || std::holds_alternative<ProbeClaim>(action))
        return WorkClass::probe;
    if (std::holds_alternative<FenceContainer>(action)) return WorkClass::fence;
    return WorkClass::remove;
}

std::string label(const std::map<std::string, std::string>& labels, std::string_view key) {
    const auto found = labels.find(std::string(key));
    return found == labels.end() ? std::string() : found->second;
}

constexpr std::size_t kAdmissionWindow =
    512;  // of the queue, in order; more cannot be granted at once

Candidate candidate(const store::Run& run) {
    return {.key = run.id,
            .owner = run.owner,
            .priority = run.spec.priority,
            .created_ms = run.status.created_ms,
            .memory_bytes = run.spec.limits.memory_bytes,
            .cpu_millis = run.spec.limits.cpu_millis};
}

}  // namespace

Loop::Loop(LoopWorld world, LoopSettings settings)
    : world_(world),
      settings_(std::move(settings)),
      images_(world_.executor, world_.engine, world_.alarms, world_.clock, world_.random,
              settings_.images,
              [this](const std::string& reference) { on_image_change(reference); }),
      harvester_(world_.engine, world_.spool, world_.pool),
      applier_(world_.engine, images_, harvester_, world_.spool, settings_.plan),
      slots_(settings_.engine_work_slots),
      dispatch_alarm_(world_.alarms.make()),
      engine_alarm_(world_.alarms.make()),
      events_alarm_(world_.alarms.make()),
      idle_alarm_(world_.alarms.make()) {
    world_.store.on_change([this](const store::RunRecord& record) { on_store_change(record); });
    world_.store.on_failure([this](const store::Error& error) {
        if (store_failure_) return;
        store_failure_ = error;
        metrics::log_critical("the store has failed", {{"error", error.message}});
        stop();
    });
    world_.live_status.engines.assign(1, {});
    publish_status();
    world_.families.set_engine(world_.engine.name(), false, "", "");
    world_.families.on_expose([this] { refresh_metrics(); });
}

Loop::~Loop() { world_.families.on_expose(nullptr); }

// ----
// life

asio::awaitable<store::Result<void>> Loop::run() {
    auto records = co_await world_.store.unfinished();
    if (!records) co_return std::unexpected(records.error());
    for (const auto& record : *records) on_store_change(record);
    metrics::log_info("recovered", {{"runs", live_.size()}});
    world_.live_status.recovered = true;

    under_way_ = 3;
    const auto ended = [this](std::exception_ptr failure) {
        log_exceptions("loop")(failure);
        --under_way_;
        idle_alarm_->ring();
    };
    asio::co_spawn(world_.executor, dispatch(), ended);
    asio::co_spawn(world_.executor, watch_engine(), ended);
    asio::co_spawn(world_.executor, watch_events(), ended);
    while (under_way_ > 0 || queue_.working_count() > 0) {
        if (stopping_ && queue_.working_count() == 0) break;
        co_await idle_alarm_->wait(-1);
    }
    if (store_failure_) co_return std::unexpected(*store_failure_);
    co_return store::Result<void>{};
}

void Loop::stop() {
    stopping_ = true;
    world_.live_status.draining = true;
    dispatch_alarm_->ring();
    engine_alarm_->ring();
    events_alarm_->ring();
    idle_alarm_->ring();
}

void Loop::wake(const std::string& key) {
    queue_.add(key, world_.clock.now_ms());
    world_.families.queue_added();
    dispatch_alarm_->ring();
}

void Loop::need_admission() {
    admission_due_ = true;
    dispatch_alarm_->ring();
}

void Loop::wake_all() {
    for (const auto& [key, live] : live_) wake(key);
}

void Loop::hold_admission(bool held, std::string message) {
    if (held == admission_held_ && message == admission_message_) return;
    const bool changed = held != admission_held_;
    admission_held_ = held;
    admission_message_ = std::move(message);
    need_admission();
    if (changed) wake_all();
}

// ----
// dispatch

asio::awaitable<void> Loop::dispatch() {
    const auto ended = [this](std::exception_ptr failure) {
        log_exceptions("drive")(failure);
        idle_alarm_->ring();
    };
    while (!stopping_) {
        if (admission_due_) admit();
        while (!stopping_) {
            auto key = queue_.take(world_.clock.now_ms());
            if (!key) break;
            world_.families.queue_waited(static_cast<double>(queue_.last_wait_ms()) / 1'000.0);
            const auto found = live_.find(*key);
            if (found == live_.end()) {
                queue_.done(*key, world_.clock.now_ms());
                continue;
            }
            // Most keys of a long queue have nothing to do: settled here, without a coroutine.
            const auto live = found->second;
            if (settle(*key, live, look_and_plan(*live))) continue;
            asio::co_spawn(world_.executor, drive(*key), ended);
        }
        if (stopping_) break;
        publish_status();
        if (admission_due_) continue;
        const auto due_ms = queue_.next_due_ms();
        const auto delay_ms =
            due_ms ? std::max<std::int64_t>(0, *due_ms - world_.clock.now_ms()) : -1;
        co_await dispatch_alarm_->wait(delay_ms);
    }
}

Observation Loop::look(const Live& live, const ImageEvidence& image) const {
    Observation observation{live.record, live.evidence, image, {}, engine_up_, {}, {}, {}, 0, 0};
    observation.grants.prepare = live.granted_prepare;
    observation.grants.start = live.granted_start;
    observation.grants.pending =
        admission_held_ ? store::Pending::DiskLow : store::Pending::Capacity;
    observation.grants.pending_message =
        admission_held_ ? admission_message_ : "waiting for a free run slot";
    observation.engine_name = world_.engine.name();
    observation.engine_error = engine_error_;
    observation.known_since_ms = live.known_since_ms;
    observation.now_ms = world_.clock.now_ms();
    return observation;
}

Action Loop::look_and_plan(const Live& live) {
    const auto image = images_.state(live.record.run.spec.image);
    Observation observation = look(live, image);
    if (live.granted_prepare) observation.fresh_nonce = store::make_nonce(world_.random);
    return plan(observation, settings_.plan);
}

// From 1, among those who wait to be prepared; 0 = it does not.
std::int64_t Loop::place_of(const std::string& key) const {
    const auto at = queued_at_.find(key);
    if (at == queued_at_.end() || live_.at(key)->granted_prepare) return 0;
    std::int64_t place = 1;
    for (const auto& other : queued_) {
        if (other == at->second) break;
        if (!live_.at(std::get<2>(other))->granted_prepare) ++place;
    }
    return place;
}

std::optional<store::Explanation> Loop::explain(const std::string& run_id) const {
    const auto found = live_.find(run_id);
    if (found == live_.end()) return std::nullopt;
    const Live& live = *found->second;
    const auto image = images_.state(live.record.run.spec.image);
    auto out = controller::explain(look(live, image), settings_.plan);
    out.place = place_of(run_id);
    out.failures = live.failures;
    if (live.failures > 0) {
        out.last_error = live.last_error;
        out.next_try_ms = queue_.due_ms(run_id).value_or(0);
    }
    return out;
}

// Wait and Forget need no coroutine. True = that was it.
bool Loop::settle(const std::string& key, const LivePtr& live, const Action& action) {
    const auto now_ms = world_.clock.now_ms();
    if (const auto* wait = std::get_if<Wait>(&action)) {
        give_back(key);
        queue_.done(key, now_ms);
        // Never at once, whatever the plan says: a key that is ready again before anything else
        // can happen would keep everything else from happening.
        if (wait->wake_ms > 0) {
            const auto soonest_ms = now_ms + settings_.step_backoff.first_ms;
            queue_.add_at(key, std::max(wait->wake_ms, soonest_ms), now_ms);
        }
        // A retry whose backoff is over was passed over by the last admission.
        if (live->record.attempt && queued_at_.contains(key) && !live->granted_prepare)
            need_admission();
        return true;
    }
    if (!std::holds_alternative<Forget>(action)) return false;
    give_back(key);
    const auto& run = live->record.run;
    if (run.collected && run.delete_requested_ms != 0) {
        ++under_way_;
        const auto ended = [this](std::exception_ptr failure) {
            log_exceptions("purge")(failure);
            --under_way_;
            idle_alarm_->ring();
        };
        asio::co_spawn(world_.executor, purge(key), ended);
    }
    queue_.forget(key);
    if (auto at = queued_at_.find(key); at != queued_at_.end()) {
        queued_.erase(at->second);
        queued_at_.erase(at);
    }
    active_.erase(key);
    live_.erase(key);
    need_admission();
    return true;
}

void Loop::give_back(const std::string& key) {
    const auto next = slots_.forget(key);
    if (next) wake(*next);
}

asio::awaitable<void> Loop::drive(std::string key) {
    const auto began_us = world_.clock.steady_us();
    driven_since_us_.emplace(key, began_us);
    auto result = metrics::kReconcileSuccess;
    const auto found = live_.find(key);
    const auto live = found == live_.end() ? LivePtr{} : found->second;
    while (live && !stopping_) {
        const auto action = look_and_plan(*live);
        if (settle(key, live, action)) {
            const auto* wait = std::get_if<Wait>(&action);
            if (wait != nullptr && wait->wake_ms > 0) result = metrics::kReconcileRequeueAfter;
            break;
        }
        if (const auto* change = std::get_if<Commit>(&action)) {
            const bool committed = co_await commit(change->mutation, live);
            if (observer_) observer_(*live, name_of(change->mutation));
            if (committed) continue;
            result = metrics::kReconcileError;
            queue_.done(key, world_.clock.now_ms());
            break;
        }
        if (needs_slot(action) && !slots_.acquire(key, class_of(action))) {
            queue_.done(key, world_.clock.now_ms());
            break;
        }
        const auto asked_ms = world_.clock.now_ms();
        const auto start_failures = live->evidence.start_failures;
        const auto step_began_us = world_.clock.steady_us();
        const auto outcome = co_await applier_.apply(action, live);
        live->last_step = name_of(action);
        live->last_step_ms = static_cast<double>(world_.clock.steady_us() - step_began_us) / 1e3;
        if (std::holds_alternative<InspectContainer>(action)) live->evidence.seen_ms = asked_ms;
        if (live->evidence.start_failures > start_failures) {
            auto& ev = live->evidence;
            ev.start_failed_ms = world_.clock.now_ms();
            if (ev.start_failing_since_ms == 0) ev.start_failing_since_ms = ev.start_failed_ms;
        }
        if (observer_) observer_(*live, name_of(action));
        if (const auto next = slots_.release(key)) wake(*next);
        index(key, *live);
        if (outcome.kind == StepOutcome::Kind::progress) {
            live->step_worked(action.index());
            log_step(*live);
            continue;
        }
        live->step_failed(action.index());
        result = metrics::kReconcileError;
        if (std::holds_alternative<Harvest>(action)) world_.families.harvest_failed();
        after_failure(key, *live, outcome);
        break;
    }
    driven_since_us_.erase(key);
    if (live && stopping_) queue_.done(key, world_.clock.now_ms());
    const auto seconds = static_cast<double>(world_.clock.steady_us() - began_us) / 1e6;
    world_.families.reconciled(result, seconds);
}

void Loop::log_step(const Live& live) {
    metrics::log_debug(live.last_step,
                       {{"run", live.record.run.id},
                        {"attempt", live.record.attempt ? live.record.attempt->number : 0},
                        {"phase", store::to_string(live.record.run.status.phase)},
                        {"ms", live.last_step_ms}});
}

void Loop::log_change(const store::Mutation& mutation, Live& live, double commit_ms) {
    const auto& run = live.record.run;
    const auto* end = std::get_if<store::FinishRun>(&mutation);
    metrics::log_info(name_of(mutation),
                      {{"run", run.id},
                       {"attempt", live.record.attempt ? live.record.attempt->number : 0},
                       {"phase", store::to_string(run.status.phase)},
                       {"reason", store::to_string(run.status.reason)},
                       {"why", end ? end->message : std::string()},
                       {"after", live.last_step},
                       {"after_ms", live.last_step_ms},
                       {"commit_ms", commit_ms}});
    live.last_step = {};
    live.last_step_ms = 0;
}

void Loop::after_failure(const std::string& key, Live& live, const StepOutcome& outcome) {
    const auto now_ms = world_.clock.now_ms();
    live.last_error = outcome.error;
    world_.families.queue_retried();
    if (outcome.kind == StepOutcome::Kind::engine_down) suspect_engine();
    queue_.done(key, now_ms);
    const auto delay_ms =
        backoff_ms(settings_.step_backoff, live.failures, world_.random.next_u64());
    metrics::log_warn("step failed",
                      {{"run", key},
                       {"attempt", live.record.attempt ? live.record.attempt->number : 0},
                       {"phase", store::to_string(live.record.run.status.phase)},
                       {"step", live.last_step},
                       {"ms", live.last_step_ms},
                       {"failures", live.failures},
                       {"again_in_ms", delay_ms},
                       {"error", outcome.error}});
    queue_.add_at(key, now_ms + delay_ms, now_ms);
    dispatch_alarm_->ring();
}

// ----
// commits

asio::awaitable<bool> Loop::commit(store::Mutation mutation, LivePtr live) {
    const auto began_us = world_.clock.steady_us();
    live->committing = true;
    auto reply = co_await world_.store.apply(mutation);
    live->committing = false;
    const auto key = live->record.run.id;
    if (reply) {
        live->adopt(*reply);
        log_change(mutation, *live,
                   static_cast<double>(world_.clock.steady_us() - began_us) / 1e3);
        fold_commit(mutation, *live);
        index(key, *live);
        live->moved_on();
        co_return true;
    }
    if (reply.error().kind == store::ErrorKind::conflict ||
        reply.error().kind == store::ErrorKind::not_found) {
        // Our picture is old, or the plan is wrong: read again, and come back slowly in case it is
        // the latter.
        metrics::log_error(
            "a change was refused",
            {{"run", key}, {"change", name_of(mutation)}, {"error", reply.error().message}});
        auto fresh = co_await world_.store.get(key);
        if (fresh) live->record = *fresh;
        live->step_failed(Action{Commit{}}.index());
        after_failure(key, *live, {StepOutcome::Kind::retry, reply.error().message});
        co_return false;
    }
    if (reply.error().kind != store::ErrorKind::closed || !store_failure_)
        store_failure_ = reply.error();
    metrics::log_critical(
        "the store has failed",
        {{"run", key}, {"change", name_of(mutation)}, {"error", reply.error().message}});
    stop();
    co_return false;
}

void Loop::fold_commit(const store::Mutation& mutation, Live& live) {
    if (std::holds_alternative<store::BindAttempt>(mutation)) {
        live.granted_prepare = false;
        live.evidence = {};
        live.evidence.volume_unmade = true;
    } else if (std::holds_alternative<store::RecordStartIntent>(mutation)) {
        live.granted_start = false;
        live.evidence.start = Evidence::Start::armed;
        live.evidence.claim = Evidence::Claim::unknown;
    } else if (std::holds_alternative<store::RecordStarted>(mutation)) {
        world_.families.attempt_started();
    } else if (std::holds_alternative<store::FinishRun>(mutation)) {
        live.granted_prepare = false;
        live.granted_start = false;
        const auto& run = live.record.run;
        if (is_our_failure(run.status.reason)) world_.families.reconcile_gave_up();
        finished_metrics(run);
        if (live.evidence.harvest) live.evidence.harvest.reset();
    } else if (std::holds_alternative<store::RetryRun>(mutation)) {
        live.granted_start = false;
        live.evidence.harvest.reset();
    }
}

void Loop::finished_metrics(const store::Run& run) {
    const auto& status = run.status;
    metrics::RunClocks clocks;
    const auto seconds = [](UnixMs from, UnixMs to) -> std::optional<double> {
        if (from == 0 || to == 0) return std::nullopt;
        return static_cast<double>(std::max<UnixMs>(0, to - from)) / 1'000.0;
    };
    clocks.queue = seconds(status.created_ms, status.preparing_ms);
    clocks.prepare = seconds(status.preparing_ms, status.running_ms);
    clocks.run = seconds(status.running_ms, status.harvesting_ms);
    clocks.harvest = seconds(status.harvesting_ms, status.finished_ms);
    clocks.total = seconds(status.created_ms, status.finished_ms);
    world_.families.run_finished(store::to_string(status.phase), store::to_string(status.reason),
                                 clocks);
    world_.families.harvested(status.artifact_bytes,
                              status.stdout_stream.bytes_kept + status.stderr_stream.bytes_kept,
                              status.artifact_count);
}

asio::awaitable<void> Loop::purge(std::string key) {
    auto removed = world_.spool.remove_run(key);
    if (!removed) {
        metrics::log_error("its files cannot be removed",
                           {{"run", key}, {"error", removed.error().message}});
        co_return;
    }
    auto purged = co_await world_.store.purge(key);
    if (!purged)
        metrics::log_error("not purged", {{"run", key}, {"error", purged.error().message}});
}

// ----
// what wakes keys

void Loop::on_store_change(const store::RunRecord& record) {
    const auto& key = record.run.id;
    auto found = live_.find(key);
    if (found == live_.end()) {
        if (record.run.collected && record.run.delete_requested_ms == 0) return;
        auto live = std::make_shared<Live>();
        live->record = record;
        live->known_since_ms = world_.clock.now_ms();
        live_.emplace(key, live);
        if (record.run.revision == 1) {
            metrics::log_info("accepted", {{"run", key},
                                           {"phase", store::to_string(record.run.status.phase)},
                                           {"image", record.run.spec.image},
                                           {"owner", record.run.owner}});
        }
        index(key, *live);
        wake(key);
        return;
    }
    auto& live = *found->second;
    live.adopt(record);
    index(key, live);
    if (!live.committing) wake(key);
}

void Loop::on_image_change(const std::string& reference) {
    for (const auto& key : active_) {
        const auto& record = live_.at(key)->record;
        if (record.run.spec.image == reference && record.attempt &&
            record.attempt->stage < Stage::started) {
            wake(key);
        }
    }
}

void Loop::on_engine_event(const EngineEvent& event) {
    const auto lag_ms = event.time_ms == 0 ? 0 : world_.clock.now_ms() - event.time_ms;
    world_.families.event_received(static_cast<double>(lag_ms) / 1'000.0);
    if (event.action != "die" && event.action != "destroy") return;
    const auto found = live_.find(label(event.attributes, kLabelRun));
    if (found == live_.end()) return;
    auto& live = *found->second;
    if (!live.record.attempt || live.record.attempt->stage >= Stage::exited) return;
    if (!live.evidence.container_id.empty() && live.evidence.container_id != event.id) return;
    live.evidence.look = true;
    wake(found->first);
}

// ----
// admission

void Loop::index(const std::string& key, const Live& live) {
    if (auto at = queued_at_.find(key); at != queued_at_.end()) {
        queued_.erase(at->second);
        queued_at_.erase(at);
    }
    const auto& run = live.record.run;
    const bool between = !live.record.attempt || live.record.attempt->stage == Stage::collected;
    if (run.status.phase == Phase::queued && between) {
        auto at = std::tuple(-run.spec.priority, run.status.created_ms, key);
        queued_.insert(at);
        queued_at_.emplace(key, std::move(at));
        active_.erase(key);
    } else {
        active_.insert(key);
    }
    need_admission();
}

Usage Loop::usage() const {
    Usage usage;
    for (const auto& key : active_) {
        const auto& live = *live_.at(key);
        if (!live.has_open_attempt()) continue;
        const auto& limits = live.record.run.spec.limits;
        if (live.granted_start || holds_run_slot(live.record, live.evidence)) {
            ++usage.running;
            usage.memory_bytes += limits.memory_bytes;
            usage.cpu_millis += limits.cpu_millis;
            ++usage.by_owner[live.record.run.owner];
        } else if (live.record.attempt->stage < Stage::started) {
            ++usage.preparing;
            ++usage.by_owner[live.record.run.owner];
        }
    }
    return usage;
}

void Loop::admit() {
    admission_due_ = false;
    auto now_usage = usage();
    std::vector<Candidate> prepared;
    for (const auto& key : active_) {
        const auto& live = *live_.at(key);
        if (live.granted_start || !is_prepared(live.record, live.evidence)) continue;
        prepared.push_back(candidate(live.record.run));
    }
    for (const auto& key : admit_to_start(std::move(prepared), now_usage, settings_.admission,
                                          world_.clock.now_ms())) {
        live_.at(key)->granted_start = true;
        ++now_usage.running;
        --now_usage.preparing;
        wake(key);
    }
    if (admission_held_ || !engine_up_) return;
    std::vector<Candidate> queued;
    for (const auto& at : queued_) {
        const auto& live = *live_.at(std::get<2>(at));
        if (live.granted_prepare) {
            ++now_usage.preparing;
            continue;
        }
        if (world_.clock.now_ms() < retry_due_ms(live.record, settings_.plan)) continue;
        queued.push_back(candidate(live.record.run));
        if (queued.size() >= kAdmissionWindow) break;
    }
    for (const auto& key : admit_to_prepare(std::move(queued), now_usage, settings_.admission)) {
        live_.at(key)->granted_prepare = true;
        wake(key);
    }
}

// ----
// the engine

void Loop::suspect_engine() { engine_alarm_->ring(); }

asio::awaitable<void> Loop::watch_engine() {
    while (!stopping_) {
        auto facts = co_await world_.engine.probe();
        if (stopping_) break;
        if (!facts) {
            ++engine_failures_;
            set_engine_down(facts.error());
        } else {
            engine_failures_ = 0;
            engine_reachable_ = true;
            engine_error_.clear();
            engine_facts_ = *facts;
            const auto now_ms = world_.clock.now_ms();
            if (facts->system_time_ms != 0) {
                world_.live_status.engines.front().clock_skew_ms = facts->system_time_ms - now_ms;
            }
            if (!engine_up_ || now_ms >= resync_due_ms_) {
                const bool listed = co_await resync();
                if (listed && !engine_up_) set_engine_up(engine_facts_);
                if (!listed) ++engine_failures_;
            }
            events_alarm_->ring();
        }
        auto delay_ms = std::min(settings_.ping_every_ms, settings_.resync_every_ms);
        if (engine_failures_ > 0) {
            delay_ms =
                backoff_ms(settings_.engine_backoff, engine_failures_, world_.random.next_u64());
        }
        co_await engine_alarm_->wait(delay_ms);
    }
}

void Loop::set_engine_up(const EngineFacts& facts) {
    engine_up_ = true;
    metrics::log_info("engine up", {{"engine", world_.engine.name()},
                                    {"version", facts.version},
                                    {"api", facts.api_version}});
    world_.families.set_engine(world_.engine.name(), true, facts.version, facts.api_version);
    auto& status = world_.live_status.engines.front();
    status.since_ms = world_.clock.now_ms();
    publish_status();
    need_admission();
    wake_all();
}

void Loop::set_engine_down(const EngineError& error) {
    engine_error_ = fmt::format("the engine at {} does not answer: {}", world_.engine.endpoint(),
                                error.message);
    engine_reachable_ = false;
    if (!engine_up_) {
        publish_status();
        return;
    }
    engine_up_ = false;
    metrics::log_error("engine down",
                       {{"engine", world_.engine.name()}, {"error", error.message}});
    world_.families.set_engine(world_.engine.name(), false, "", "");
    world_.live_status.engines.front().since_ms = world_.clock.now_ms();
    images_.forget_all();
    for (const auto& key : active_) {
        // Whatever we saw may be of another life of the engine. What was proven about the past
        // stays proven.
        auto& ev = live_.at(key)->evidence;
        if (ev.container == Container::present) ev.container = Container::unknown;
        ev.look = true;
        ev.term_sent = false;
        ev.kill_sent = false;
    }
    publish_status();
    wake_all();
}

asio::awaitable<void> Loop::watch_events() {
    const auto own = fmt::format("{}={}", kLabelInstance, settings_.plan.sandbox.instance_id);
    while (!stopping_) {
        if (!engine_reachable_) {
            co_await events_alarm_->wait(-1);
            continue;
        }
        const auto connected = [this] {
            asio::co_spawn(world_.executor, resync_now(), log_exceptions("resync"));
        };
        const auto listener = [this](const EngineEvent& event) { on_engine_event(event); };
        auto end = co_await world_.engine.events(own, connected, listener);
        if (stopping_) break;
        world_.families.events_reconnected();
        metrics::log_warn("events ended",
                          {{"engine", world_.engine.name()},
                           {"error", end ? std::string("closed") : end.error().message}});
        // The stream ends when the engine goes away, however short: what ran then may have been
        // interrupted.
        for (const auto& key : active_) {
            auto live = live_.at(key);
            if (!live->record.attempt || live->record.attempt->stage != Stage::started) continue;
            live->evidence.look = true;
            if (live->record.attempt->engine_interrupted) continue;
            store::RecordInterrupted mark{key, live->record.attempt->number,
                                          world_.clock.now_ms()};
            ++under_way_;
            const auto ended = [this](std::exception_ptr failure,
                                      store::Result<store::RunRecord>) {
                log_exceptions("interrupted")(failure);
                --under_way_;
                idle_alarm_->ring();
            };
            asio::co_spawn(world_.executor, world_.store.apply(std::move(mark)), ended);
        }
        suspect_engine();
        const auto alarm = world_.alarms.make();
        co_await alarm->wait(settings_.engine_backoff.first_ms);
    }
}

asio::awaitable<void> Loop::resync_now() {
    const bool listed = co_await resync();
    if (!listed) suspect_engine();
}

// One list call for all runs. It wakes keys and finds running containers again; it proves no
// absence (the engine lists from a snapshot that may be older than what it has already told us).
asio::awaitable<bool> Loop::resync() {
    if (resync_running_) {
        resync_again_ = true;
        co_return true;
    }
    resync_running_ = true;
    bool listed = false;
    do {
        resync_again_ = false;
        const auto own = fmt::format("{}={}", kLabelInstance, settings_.plan.sandbox.instance_id);
        const auto began_us = world_.clock.steady_us();
        auto containers = co_await world_.engine.list_containers(own);
        listed = containers.has_value();
        world_.families.resynced(listed,
                                 static_cast<double>(world_.clock.steady_us() - began_us) / 1e6);
        if (!listed) break;
        std::map<std::string, const ContainerSummary*> by_nonce;
        for (const auto& summary : *containers) {
            if (label(summary.labels, kLabelRole) != "run") continue;
            by_nonce[label(summary.labels, kLabelNonce)] = &summary;
        }
        for (const auto& key : std::vector<std::string>(active_.begin(), active_.end())) {
            auto& live = *live_.at(key);
            if (!live.record.attempt) continue;
            const auto found = by_nonce.find(live.record.attempt->nonce);
            fold_listed(key, live, found == by_nonce.end() ? nullptr : found->second);
        }
    } while (resync_again_ && !stopping_);
    resync_running_ = false;
    if (listed) {
        has_resynced_ = true;
        resync_due_ms_ = world_.clock.now_ms() + settings_.resync_every_ms;
    }
    co_return listed;
}

void Loop::fold_listed(const std::string& key, Live& live, const ContainerSummary* found) {
    auto& ev = live.evidence;
    const auto stage = live.record.attempt->stage;
    if (queue_.is_working(key)) {  // it is looking with its own eyes
        if (found == nullptr || stage != Stage::started) return;
        if (found->state == ContainerState::running) return;
        ev.look = true;  // perhaps at a moment that has passed
        wake(key);
        return;
    }
    // A list may be older than what we know: this is a container of the same attempt that the
    // fence has removed since, and its id must not take the place of the living one's.
    const auto& recorded = live.record.attempt->container_id;
    if (found != nullptr && stage >= Stage::start_intent && found->id != recorded) {
        if (stage >= Stage::ended) return;
        ev.look = true;
        wake(key);
        return;
    }
    if (found == nullptr) {
        if (ev.container == Container::present && stage < Stage::exited) {
            ev.look = true;
            wake(key);
        }
        return;
    }
    if (ev.container == Container::unknown) {
        if (stage == Stage::bound) {
            ev.name_taken = true;  // looked at, and verified, before anything else
        } else {
            ev.container_id = found->id;
            ev.container = Container::present;
            ev.state = found->state;
            ev.look = found->state != ContainerState::running;
        }
        wake(key);
        return;
    }
    if (ev.container == Container::absent || (stage < Stage::exited && ev.state != found->state)) {
        if (stage >= Stage::ended) return;
        ev.look = true;
        wake(key);
    }
}

// ----
// status

void Loop::publish_status() {
    auto& status = world_.live_status;
    const auto now_usage = usage();
    status.run_slots = settings_.admission.max_running;
    status.run_slots_used = now_usage.running;
    status.engine_work_slots = slots_.total();
    status.engine_work_slots_used = slots_.used();
    status.prepare_ahead = settings_.admission.prepare_ahead;
    status.queued = static_cast<std::int64_t>(queued_.size());
    auto& engine = status.engines.front();
    engine.name = world_.engine.name();
    engine.endpoint = world_.engine.endpoint();
    engine.up = engine_up_;
    engine.error = engine_up_ ? "" : engine_error_;
    engine.version = engine_facts_.version;
    engine.api_version = engine_facts_.api_version;
    engine.os_arch = engine_facts_.os + "/" + engine_facts_.arch;
    engine.default_runtime = engine_facts_.default_runtime;
    engine.runtimes = engine_facts_.runtimes;
    engine.warnings = engine_facts_.warnings;
    engine.cpus = engine_facts_.cpus;
    engine.memory_bytes = engine_facts_.memory_bytes;
    engine.kernel = engine_facts_.kernel;
    engine.cgroup_version = engine_facts_.cgroup_version;
    engine.storage_driver = engine_facts_.storage_driver;
    engine.security_options = engine_facts_.security_options;
}

void Loop::refresh_metrics() {
    publish_status();
    const auto& status = world_.live_status;
    auto& families = world_.families;
    families.set_slots(metrics::kSlotRun, status.run_slots_used, status.run_slots);
    families.set_slots(metrics::kSlotEngineWork, status.engine_work_slots_used,
                       status.engine_work_slots);
    families.set_queue_depth(static_cast<std::int64_t>(queue_.ready_count()));
    const auto now_us = world_.clock.steady_us();
    std::int64_t longest_us = 0;
    std::int64_t all_us = 0;
    for (const auto& [key, since_us] : driven_since_us_) {
        longest_us = std::max(longest_us, now_us - since_us);
        all_us += now_us - since_us;
    }
    families.set_reconciles(std::ssize(driven_since_us_), static_cast<double>(longest_us) / 1e6,
                            static_cast<double>(all_us) / 1e6);
    std::map<store::Pending, std::int64_t> pending;
    std::map<Stuck, std::int64_t> stuck;
    const auto now_ms = world_.clock.now_ms();
    for (const auto& [id, live] : live_) {
        ++pending[live->record.run.status.pending];
        ++stuck[stuck_in(live->record, now_ms)];
    }
    for (int i = 1; i <= static_cast<int>(store::kLastPending); ++i) {
        const auto reason = static_cast<store::Pending>(i);
        families.set_pending(store::to_string(reason), pending[reason]);
    }
    families.set_stuck(metrics::kStuckPreparing, stuck[Stuck::preparing]);
    families.set_stuck(metrics::kStuckRunning, stuck[Stuck::running]);
    families.set_stuck(metrics::kStuckHarvesting, stuck[Stuck::harvesting]);
    families.set_stuck(metrics::kStuckCollecting, stuck[Stuck::collecting]);
}

}  // namespace mayfly::controller
