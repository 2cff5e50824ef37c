#include "controller/plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace mayfly::controller {
namespace {

using store::Attempt;
using store::KillCause;
using store::Pending;
using store::Phase;
using store::Reason;
using store::RunRecord;
using store::Stage;
using store::UnixMs;

using Container = Evidence::Container;
using Start = Evidence::Start;
using Claim = Evidence::Claim;

UnixMs earlier(UnixMs a, UnixMs b) {
    if (a == 0) return b;
    if (b == 0) return a;
    return std::min(a, b);
}

class Planner {
public:
    Planner(const Observation& o, const PlanSettings& s)
        : o_(o), s_(s), run_(o.record.run), ev_(o.evidence), now_(o.now_ms) {}

    Action plan() {
        const auto& attempt = o_.record.attempt;
        if (attempt && attempt->stage == Stage::ended) return collect();
        if (store::is_terminal(run_.status.phase)) return Forget{};
        if (!attempt || attempt->stage == Stage::collected) return queued();
        switch (attempt->stage) {
            case Stage::bound:
                return bound();
            case Stage::start_intent:
                return start_intent();
            case Stage::started:
                return started();
            default:
                return exited();
        }
    }

private:
    const Attempt& attempt() const { return *o_.record.attempt; }
    bool cancel_requested() const { return run_.cancel_requested_ms != 0; }
    std::int64_t attempt_number() const {
        return o_.record.attempt ? o_.record.attempt->number : 0;
    }

    Action finish(Phase phase, Reason reason, std::string message) const {
        const auto& latest = o_.record.attempt;
        const bool open = latest && latest->stage < Stage::ended;
        return Commit{store::FinishRun{.run_id = run_.id,
                                       .attempt = open ? latest->number : 0,
                                       .now_ms = now_,
                                       .phase = phase,
                                       .reason = reason,
                                       .message = std::move(message),
                                       .harvest = {}}};
    }

    // Wait, and say why if it has lasted long enough to be worth a commit.
    Action wait(Pending pending, std::string message, UnixMs wake_ms) const {
        const auto& status = run_.status;
        const auto since = std::max(status.created_ms, status.preparing_ms);
        if (status.pending == pending && status.pending_message == message) return Wait{wake_ms};
        if (now_ - since < s_.pending_after_ms)
            return Wait{earlier(wake_ms, since + s_.pending_after_ms)};
        return Commit{store::SetPending{run_.id, now_, pending, std::move(message)}};
    }

    Action wait_for_engine(UnixMs wake_ms) const {
        return wait(Pending::EngineDown, o_.engine_error, wake_ms);
    }

    // ----
    // queued

    Action queued() const {
        if (cancel_requested()) return finish(Phase::cancelled, Reason::CancelRequested, "");
        if (now_ >= run_.queue_deadline_ms) return queue_timeout();
        if (const auto due = retry_due_ms(o_.record, s_); now_ < due) {
            return wait(Pending::Backoff, "waiting before the next attempt",
                        earlier(due, run_.queue_deadline_ms));
        }
        if (!o_.engine_up) return wait_for_engine(run_.queue_deadline_ms);
        if (!o_.grants.prepare)
            return wait(o_.grants.pending, o_.grants.pending_message, run_.queue_deadline_ms);
        return bind();
    }

    Action bind() const {
        const auto number = attempt_number() + 1;
        store::BindAttempt bind{.run_id = run_.id, .now_ms = now_, .attempt = {}};
        auto& a = bind.attempt;
        a.run_id = run_.id;
        a.number = number;
        a.engine = o_.engine_name;
        a.nonce = o_.fresh_nonce;
        a.container_name = fmt::format("{}-{}-{}", s_.name_prefix, run_.id, number);
        a.volume_name = fmt::format("{}-{}", a.container_name, a.nonce);
        a.bound_ms = now_;
        a.prepare_deadline_ms = now_ + s_.prepare_timeout_ms;
        return Commit{std::move(bind)};
    }

    // ----
    // preparing, starting

    Action bound() const {
        if (cancel_requested()) return finish(Phase::cancelled, Reason::CancelRequested, "");
        if (ev_.claim == Claim::taken) {
            return finish(Phase::lost, Reason::KilledExternally,
                          "somebody else had started its container, and removed it: the claim in "
                          "its volume is taken, and it is not run again");
        }
        return build();
    }

    Action queue_timeout() const {
        const auto before = attempt_number() - (run_.status.phase == Phase::queued ? 0 : 1);
        const auto waited = run_.spec.limits.queue_timeout_s;
        if (before == 0) {
            return finish(
                Phase::timed_out, Reason::QueueTimeout,
                fmt::format("it waited {} s, limits.queue_timeout_s, and was not started",
                            waited));
        }
        return finish(
            Phase::timed_out, Reason::QueueTimeout,
            fmt::format("attempt {} was lost; it waited {} s, limits.queue_timeout_s, to "
                        "be tried again, and was not",
                        before, waited));
    }

    // What an earlier process had prepared is prepared again by this one, however long it had
    // waited for its run slot meanwhile.
    UnixMs prepare_deadline_ms() const {
        return std::max(attempt().prepare_deadline_ms, o_.known_since_ms + s_.prepare_timeout_ms);
    }

    // A moment that has passed wakes nobody: who waited for it has acted on it, or waits for
    // something else.
    UnixMs if_to_come(UnixMs moment_ms) const { return moment_ms > now_ ? moment_ms : 0; }

    Action prepare_timeout() const {
        auto message =
            fmt::format("it could not be prepared within {} s", s_.prepare_timeout_ms / 1'000);
        const auto& last =
            !ev_.start_error.empty() ? ev_.start_error : run_.status.pending_message;
        if (!last.empty()) message += fmt::format(" (last: {})", last);
        return finish(Phase::timed_out, Reason::PrepareTimeout, std::move(message));
    }

    // From nothing to a verified container with its inputs, and then a request for a run slot.
    // Nothing has run yet.
    Action build() const {
        // Preparing ahead is our own idea: a run that only waits for a run slot is still waiting
        // in the queue.
        const bool prepared = is_prepared(o_.record, ev_);
        const bool waits_for_slot = prepared && !ev_.look && !o_.grants.start;
        if (waits_for_slot && now_ >= run_.queue_deadline_ms) return queue_timeout();
        if (!prepared && now_ >= prepare_deadline_ms()) return prepare_timeout();
        const auto deadline =
            if_to_come(prepared ? run_.queue_deadline_ms : prepare_deadline_ms());
        if (ev_.name_conflict) {
            return finish(
                Phase::failed, Reason::NameConflict,
                fmt::format("a container named {} exists and is not ours; it was not touched",
                            attempt().container_name));
        }
        if (!ev_.rejected.empty()) return finish(Phase::failed, Reason::StartFailed, ev_.rejected);
        if (!ev_.inputs_error.empty())
            return finish(Phase::failed, Reason::InputsMissing, ev_.inputs_error);
        if (!o_.engine_up) return wait_for_engine(deadline);
        switch (o_.image.state) {
            case ImageEvidence::State::unknown:
                return EnsureImage{};
            case ImageEvidence::State::working:
                return wait(Pending::ImagePull, o_.image.message, deadline);
            case ImageEvidence::State::failed:
                return finish(Phase::failed, o_.image.reason, o_.image.message);
            case ImageEvidence::State::ready:
                break;
        }
        if (ev_.container != Container::present) {
            if (ev_.name_taken) return InspectContainer{true};
            return CreateContainer{};
        }
        // Only the inputs of a container that this process made and nobody has seen started may be
        // put before it is looked at.
        const bool just_made = !ev_.image_id.empty() && ev_.state == ContainerState::created;
        if (ev_.look || (!ev_.facts && !just_made)) return InspectContainer{};
        if (ev_.state != ContainerState::created) return started_by_somebody();
        if (ev_.rebuild) return FenceContainer{};
        if (!ev_.create_warnings.empty() || !ev_.violations.empty()) return unverified();
        if (!ev_.inputs_put) {
            if (!ev_.put_is_safe) return ReadClaim{};
            return PutInputs{};
        }
        // Read back after the PUT, which made the claim: who had started it before is seen now,
        // and who starts it from now on takes a claim that stays taken.
        if (!ev_.facts) return InspectContainer{};
        if (!ev_.verified) return unverified();
        if (!o_.grants.start) return wait(Pending::Capacity, o_.grants.pending_message, deadline);
        return Commit{store::RecordStartIntent{run_.id, attempt().number, now_, ev_.container_id}};
    }

    Action unverified() const {
        auto message = ev_.violations;
        for (const auto& warning : ev_.create_warnings) {
            if (!message.empty()) message += "; ";
            message += warning;
        }
        return finish(
            Phase::failed, Reason::SandboxUnverified,
            fmt::format("the engine does not enforce the whole sandbox, so it was not started: {}",
                        message));
    }

    // Not by us: no intent was recorded. Its inputs may not have been whole, and it must not run
    // twice.
    Action started_by_somebody() const {
        if (ev_.state == ContainerState::removing || ev_.state == ContainerState::dead)
            return FenceContainer{};
        return finish(
            Phase::lost, Reason::KilledExternally,
            fmt::format(
                "somebody else started the container before we did (it is {}); it was removed",
                to_string(ev_.state)));
    }

    Action start_intent() const {
        if (ev_.start == Start::armed && ev_.container == Container::present)
            return StartContainer{};
        if (ev_.start == Start::accepted) return record_started();
        if (!o_.engine_up) return Wait{};
        // The fence has proven that nothing ran: as before the start.
        if (ev_.claim == Claim::untouched) return build_again();
        if (ev_.container == Container::unknown || ev_.look) return InspectContainer{};
        if (ev_.container == Container::absent) {
            if (ev_.claim == Claim::taken) return record_exit(std::nullopt);
            if (ev_.claim == Claim::volume_gone) {
                return finish(Phase::lost, Reason::VolumeVanished,
                              "it was being started, and its claim cannot be read any more: " +
                                  ev_.claim_error);
            }
            return ProbeClaim{};
        }
        switch (ev_.state) {
            case ContainerState::running:
            case ContainerState::paused:
            case ContainerState::restarting:
            case ContainerState::exited:
                return record_started();
            case ContainerState::created:
                if (ev_.start == Start::refused && ev_.facts && !ev_.facts->error.empty()) {
                    return finish(Phase::failed, Reason::StartFailed, ev_.facts->error);
                }
                return FenceContainer{};
            default:
                return FenceContainer{};
        }
    }

    Action build_again() const {
        if (cancel_requested()) return finish(Phase::cancelled, Reason::CancelRequested, "");
        // Counted by what the engine did, not by intents: a controller that is killed again and
        // again between intent and start must not use up a run's tries.
        if (ev_.start_failures >= s_.start_failures_max &&
            now_ - ev_.start_failing_since_ms >= s_.start_failing_max_ms) {
            return finish(Phase::failed, Reason::StartFailed,
                          fmt::format("the engine could not start it in {} tries: {}",
                                      ev_.start_failures, ev_.start_error));
        }
        if (ev_.start_failures > 0 && !is_prepared(o_.record, ev_)) {
            const auto again_ms =
                ev_.start_failed_ms + backoff_ms(s_.start_backoff, ev_.start_failures, 0);
            if (now_ < again_ms) return wait(Pending::Backoff, ev_.start_error, again_ms);
        }
        return build();
    }

    Action record_started() const {
        const auto deadline = now_ + run_.spec.limits.timeout_s * 1'000 +
                              s_.sandbox.term_grace_ms + s_.run_deadline_slack_ms;
        return Commit{store::RecordStarted{run_.id, attempt().number, now_, deadline}};
    }

    // ----
    // running

    Action record_exit(std::optional<store::EngineExit> exit) const {
        return Commit{store::RecordExit{run_.id, attempt().number, now_, std::move(exit)}};
    }

    Action started() const {
        // A cancel is recorded whether or not the engine is there to be told.
        if (attempt().kill_cause == KillCause::none && cancel_requested()) {
            return record_kill(KillCause::cancel);
        }
        if (!o_.engine_up) return Wait{};
        if (ev_.container == Container::unknown || ev_.look) return InspectContainer{};
        if (ev_.container == Container::absent) return record_exit(std::nullopt);
        switch (ev_.state) {
            case ContainerState::exited:
            case ContainerState::dead:
            case ContainerState::created:
                return record_exit(exit_of(*ev_.facts));
            case ContainerState::removing:
                return Wait{now_ + 500};
            default:
                return stop_or_wait();
        }
    }

    static store::EngineExit exit_of(const ContainerFacts& facts) {
        return store::EngineExit{.exit_code = facts.exit_code,
                                 .oom_killed = facts.oom_killed,
                                 .error = facts.error,
                                 .state = std::string(to_string(facts.state)),
                                 .started_ms = facts.started_ms,
                                 .finished_ms = facts.finished_ms};
    }

    Action record_kill(KillCause cause) const {
        return Commit{store::RecordKill{run_.id, attempt().number, now_, cause}};
    }

    Action stop_or_wait() const {
        if (attempt().kill_cause == KillCause::none) {
            const auto deadline_ms = attempt().run_deadline_ms;
            if (now_ < deadline_ms) return Wait{deadline_ms};
            // It may have ended long ago, with nobody to see it: only what was seen to run past
            // its deadline is recorded as killed for it.
            if (ev_.seen_ms < deadline_ms) return InspectContainer{};
            return record_kill(KillCause::run_timeout);
        }
        if (!ev_.term_sent) return KillContainer{"SIGTERM"};
        const auto kill_at = attempt().kill_ms + s_.sandbox.term_grace_ms + s_.kill_after_term_ms;
        if (now_ < kill_at) return Wait{kill_at};
        if (!ev_.kill_sent) return KillContainer{"SIGKILL"};
        return Wait{now_ + s_.kill_after_term_ms};
    }

    // ----
    // harvest, collect

    Action exited() const {
        if (ev_.harvest && (ev_.harvest->state != ExitEvidence::Harvest::torn ||
                            ev_.torn_harvests >= s_.torn_harvests_max)) {
            return conclude(*ev_.harvest);
        }
        if (!o_.engine_up) return Wait{};
        if (ev_.container == Container::unknown) return InspectContainer{};
        return Harvest{ev_.container == Container::absent};
    }

    Action conclude(const HarvestEvidence& harvest) const {
        const ExitEvidence exit{.engine = attempt().exit,
                                .record = harvest.record,
                                .record_error = harvest.record_error,
                                .fenced = attempt().started_ms == 0,
                                .cancel_requested = cancel_requested(),
                                .kill_cause = attempt().kill_cause,
                                .engine_interrupted = attempt().engine_interrupted,
                                .script_can_kill_init = run_.spec.runtime.starts_with("runsc"),
                                .harvest = harvest.state,
                                .harvest_message = harvest.message};
        auto verdict = judge_exit(exit);
        if (verdict.phase == Phase::lost && attempt().number < run_.spec.max_attempts) {
            return Commit{
                store::RetryRun{run_.id, attempt().number, now_, verdict.reason, verdict.message}};
        }
        store::FinishRun end{.run_id = run_.id,
                             .attempt = attempt().number,
                             .now_ms = now_,
                             .phase = verdict.phase,
                             .reason = verdict.reason,
                             .message = std::move(verdict.message),
                             .harvest = harvest.result};
        end.harvest.exit_code = verdict.exit_code;
        end.harvest.signal = verdict.signal;
        end.harvest.oom_killed = verdict.oom_killed;
        return Commit{std::move(end)};
    }

    // Container, then volume. The dead container was the evidence; by now the outcome is durable.
    Action collect() const {
        if (!o_.engine_up) return Wait{};
        // Somebody else's container has our name: there is none of ours to remove.
        if (!ev_.container_removed && !ev_.name_conflict) {
            if (ev_.name_taken) return InspectContainer{true};
            if (ev_.container == Container::unknown)
                return InspectContainer{attempt().container_id.empty()};
            if (ev_.container == Container::present) return RemoveContainer{};
        }
        if (!ev_.volume_removed) return RemoveVolume{};
        return Commit{store::MarkCollected{run_.id, attempt().number, now_}};
    }

    const Observation& o_;
    const PlanSettings& s_;
    const store::Run& run_;
    const Evidence& ev_;
    UnixMs now_;
};

}  // namespace

Action plan(const Observation& observation, const PlanSettings& settings) {
    return Planner(observation, settings).plan();
}

UnixMs retry_due_ms(const RunRecord& record, const PlanSettings& settings) {
    if (!record.attempt) return 0;
    const auto& latest = *record.attempt;
    const auto ended =
        std::max({record.run.status.harvesting_ms, latest.started_ms, latest.bound_ms});
    return ended + backoff_ms(settings.retry_backoff, latest.number, 0);
}

bool is_prepared(const RunRecord& record, const Evidence& evidence) {
    if (!record.attempt) return false;
    const auto stage = record.attempt->stage;
    const bool nothing_ran = stage == Stage::bound ||
                             (stage == Stage::start_intent && evidence.claim == Claim::untouched);
    return nothing_ran && evidence.container == Container::present && evidence.verified &&
           evidence.inputs_put;
}

bool holds_run_slot(const RunRecord& record, const Evidence& evidence) {
    if (!record.attempt) return false;
    const auto stage = record.attempt->stage;
    return stage == Stage::started ||
           (stage == Stage::start_intent && evidence.claim != Claim::untouched);
}

std::string_view name_of(const Action& action) {
    static constexpr std::string_view kNames[] = {
        "Wait",          "Forget",          "Commit",
        "EnsureImage",   "CreateContainer", "InspectContainer",
        "ReadClaim",     "PutInputs",       "StartContainer",
        "KillContainer", "FenceContainer",  "ProbeClaim",
        "Harvest",       "RemoveContainer", "RemoveVolume"};
    return kNames[action.index()];
}

}  // namespace mayfly::controller
