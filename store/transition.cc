#include "store/transition.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace mayfly::store {
namespace {

constexpr std::int64_t kMsPerSecond = 1000;

std::string where(const RunRecord& record) {
    std::string text = "the run is " + std::string(to_string(record.run.status.phase));
    if (record.attempt) {
        text += ", attempt " + std::to_string(record.attempt->number) + " is " +
                std::string(to_string(record.attempt->stage));
    }
    return text;
}

std::unexpected<Error> conflict(const RunRecord& record, std::string_view wanted) {
    return fail(ErrorKind::conflict,
                "run " + record.run.id + ": " + std::string(wanted) + "; " + where(record));
}

void clear_pending(RunStatus& status) {
    status.pending = Pending::none;
    status.pending_message.clear();
}

// One change at work on `record`. Each overload checks first and changes only then; true =
// something changed.
struct Advance {
    RunRecord& record;
    Run& run = record.run;
    RunStatus& status = run.status;

    Result<bool> operator()(const BindAttempt& change);
    Result<bool> operator()(const SetPending& change);
    Result<bool> operator()(const RecordStartIntent& change);
    Result<bool> operator()(const RecordStarted& change);
    Result<bool> operator()(const RecordKill& change);
    Result<bool> operator()(const RecordInterrupted& change);
    Result<bool> operator()(const RecordExit& change);
    Result<bool> operator()(const FinishRun& change);
    Result<bool> operator()(const RetryRun& change);
    Result<bool> operator()(const MarkCollected& change);

    // The current attempt, if `number` is it and its stage is within [from, to].
    Attempt* current(std::int64_t number, Stage from, Stage to) {
        if (!record.attempt || record.attempt->number != number) return nullptr;
        auto stage = record.attempt->stage;
        return stage >= from && stage <= to ? &*record.attempt : nullptr;
    }
    bool is_live() const {
        return status.phase > Phase::queued && status.phase < Phase::succeeded;
    }
    void take(const HarvestResult& harvest);
};

Result<bool> Advance::operator()(const BindAttempt& change) {
    if (status.phase != Phase::queued) return conflict(record, "only a queued run is bound");
    if (change.attempt.number != status.attempt + 1) {
        return conflict(record, "the next attempt is number " +
                                    std::to_string(status.attempt + 1) + ", not " +
                                    std::to_string(change.attempt.number));
    }
    if (record.attempt && record.attempt->stage != Stage::collected) {
        return conflict(record, "the attempt before must be collected first");
    }
    if (change.attempt.number > std::max<std::int64_t>(run.spec.max_attempts, 1)) {
        return conflict(record, "no attempt is left");
    }
    if (change.attempt.stage != Stage::bound || is_terminal(change.attempt.outcome)) {
        return fail(ErrorKind::invalid, "BindAttempt: a new attempt has stage bound");
    }
    record.attempt = change.attempt;
    record.attempt->run_id = run.id;
    status.attempt = change.attempt.number;
    status.phase = Phase::preparing;
    status.preparing_ms = change.now_ms;
    status.running_ms = 0;
    status.harvesting_ms = 0;
    clear_pending(status);
    return true;
}

Result<bool> Advance::operator()(const SetPending& change) {
    if (status.phase > Phase::preparing) {
        return conflict(record, "only a queued or preparing run is pending");
    }
    if (status.pending == change.pending && status.pending_message == change.message) return false;
    status.pending = change.pending;
    status.pending_message = change.message;
    return true;
}

Result<bool> Advance::operator()(const RecordStartIntent& change) {
    auto* attempt = current(change.attempt, Stage::bound, Stage::start_intent);
    if (attempt == nullptr || status.phase != Phase::preparing) {
        return conflict(record, "a start is meant only for attempt " +
                                    std::to_string(change.attempt) + " while it is not started");
    }
    if (change.container_id.empty()) {
        return fail(ErrorKind::invalid, "RecordStartIntent: container_id is empty");
    }
    attempt->stage = Stage::start_intent;
    attempt->start_tries += 1;
    attempt->start_intent_ms = change.now_ms;
    attempt->container_id = change.container_id;
    return true;
}

Result<bool> Advance::operator()(const RecordStarted& change) {
    auto* attempt = current(change.attempt, Stage::start_intent, Stage::start_intent);
    if (attempt == nullptr || status.phase != Phase::preparing) {
        return conflict(record, "attempt " + std::to_string(change.attempt) +
                                    " must be at start_intent to be seen started");
    }
    attempt->stage = Stage::started;
    attempt->started_ms = change.now_ms;
    attempt->run_deadline_ms = change.run_deadline_ms;
    status.phase = Phase::running;
    status.running_ms = change.now_ms;
    clear_pending(status);
    return true;
}

Result<bool> Advance::operator()(const RecordKill& change) {
    auto* attempt = current(change.attempt, Stage::bound, Stage::started);
    if (attempt == nullptr || !is_live()) {
        return conflict(
            record, "attempt " + std::to_string(change.attempt) + " must be live to be killed");
    }
    if (change.cause == KillCause::none) {
        return fail(ErrorKind::invalid, "RecordKill: cause is none");
    }
    if (attempt->kill_cause != KillCause::none) return false;
    attempt->kill_cause = change.cause;
    attempt->kill_ms = change.now_ms;
    return true;
}

Result<bool> Advance::operator()(const RecordInterrupted& change) {
    auto* attempt = current(change.attempt, Stage::start_intent, Stage::started);
    if (attempt == nullptr || !is_live()) {
        return conflict(record, "attempt " + std::to_string(change.attempt) +
                                    " must be under way to be interrupted");
    }
    if (attempt->engine_interrupted) return false;
    attempt->engine_interrupted = true;
    return true;
}

Result<bool> Advance::operator()(const RecordExit& change) {
    auto* attempt = current(change.attempt, Stage::start_intent, Stage::started);
    if (attempt == nullptr || !is_live()) {
        return conflict(
            record, "attempt " + std::to_string(change.attempt) + " must be under way to exit");
    }
    attempt->stage = Stage::exited;
    attempt->exit = change.exit;
    status.phase = Phase::harvesting;
    status.harvesting_ms = change.now_ms;
    clear_pending(status);
    return true;
}

void Advance::take(const HarvestResult& harvest) {
    status.exit_code = harvest.exit_code;
    status.signal = harvest.signal;
    status.oom_killed = harvest.oom_killed;
    status.cpu_ms = harvest.cpu_ms;
    status.memory_peak_bytes = harvest.memory_peak_bytes;
    status.stdout_stream = harvest.stdout_stream;
    status.stderr_stream = harvest.stderr_stream;
    status.artifact_count = static_cast<std::int64_t>(harvest.artifacts.size());
    status.artifact_bytes = 0;
    for (const auto& artifact : harvest.artifacts) status.artifact_bytes += artifact.size;
    status.skipped = harvest.skipped;
    if (status.skipped.size() > kMaxSkippedListed) status.skipped.resize(kMaxSkippedListed);
    status.skipped_count = harvest.skipped_count;
    status.result_json = harvest.result_json;
    status.result_error = harvest.result_error;
    run.stored_bytes += harvest.stored_bytes;
}

Result<bool> Advance::operator()(const FinishRun& change) {
    if (!is_terminal(change.phase)) {
        return fail(ErrorKind::invalid, "FinishRun: " + std::string(to_string(change.phase)) +
                                            " is not a terminal phase");
    }
    if (is_terminal(status.phase)) return conflict(record, "the run has finished already");
    if (status.phase == Phase::queued) {
        // Nothing is live. After a retry the attempt before may still be named.
        if (change.attempt != 0 && change.attempt != status.attempt) {
            return conflict(record, "there is no attempt " + std::to_string(change.attempt));
        }
        run.collected = !record.attempt || record.attempt->stage == Stage::collected;
    } else {
        auto* attempt = current(change.attempt, Stage::bound, Stage::exited);
        if (attempt == nullptr) {
            return conflict(record, "attempt " + std::to_string(change.attempt) + " is not live");
        }
        attempt->stage = Stage::ended;
        attempt->outcome = change.phase;
    }
    status.phase = change.phase;
    status.reason = change.reason;
    status.message = change.message;
    status.finished_ms = change.now_ms;
    clear_pending(status);
    take(change.harvest);
    run.expires_ms = change.now_ms + run.spec.ttl_s * kMsPerSecond;
    return true;
}

Result<bool> Advance::operator()(const RetryRun& change) {
    auto* attempt = current(change.attempt, Stage::bound, Stage::exited);
    if (attempt == nullptr || !is_live()) {
        return conflict(
            record, "attempt " + std::to_string(change.attempt) + " must be live to be retried");
    }
    if (attempt->number >= run.spec.max_attempts) return conflict(record, "no attempt is left");
    attempt->stage = Stage::ended;
    attempt->outcome = Phase::lost;
    status.phase = Phase::queued;
    status.pending = Pending::Backoff;
    status.pending_message = "attempt " + std::to_string(attempt->number) + " ended as lost";
    if (change.reason != Reason::none) {
        status.pending_message += " (" + std::string(to_string(change.reason)) + ")";
    }
    if (!change.message.empty()) status.pending_message += ": " + change.message;
    // It waits anew: a run that was lost late must not find its queue deadline over.
    run.queue_deadline_ms = change.now_ms + run.spec.limits.queue_timeout_s * kMsPerSecond;
    return true;
}

Result<bool> Advance::operator()(const MarkCollected& change) {
    auto* attempt = current(change.attempt, Stage::ended, Stage::ended);
    if (attempt == nullptr) {
        return conflict(record, "attempt " + std::to_string(change.attempt) +
                                    " must have ended to be collected");
    }
    attempt->stage = Stage::collected;
    if (is_terminal(status.phase)) run.collected = true;
    return true;
}

Result<RunRecord> committed(RunRecord record, Result<bool> changed) {
    if (!changed) return std::unexpected(std::move(changed).error());
    if (*changed) record.run.revision += 1;
    return record;
}

std::unexpected<Error> deleted(const RunRecord& record) {
    return fail(ErrorKind::not_found, "run " + record.run.id + " is deleted");
}

}  // namespace

Result<RunRecord> advance(RunRecord record, const Mutation& mutation) {
    auto changed = std::visit(Advance{.record = record}, mutation);
    return committed(std::move(record), std::move(changed));
}

Result<RunRecord> advance_cancel(RunRecord record, UnixMs now_ms) {
    if (record.run.delete_requested_ms != 0) return deleted(record);
    if (is_terminal(record.run.status.phase) || record.run.cancel_requested_ms != 0) return record;
    record.run.cancel_requested_ms = now_ms;
    return committed(std::move(record), true);
}

Result<RunRecord> advance_delete(RunRecord record, UnixMs now_ms) {
    if (record.run.delete_requested_ms != 0) return deleted(record);
    if (!is_terminal(record.run.status.phase)) {
        return conflict(record, "only a finished run is deleted; cancel it first");
    }
    record.run.delete_requested_ms = now_ms;
    return committed(std::move(record), true);
}

}  // namespace mayfly::store
