#include "controller/exit_policy.h"

#include <fmt/format.h>

#include "controller/init_exit_codes.h"

namespace mayfly::controller {
namespace {

using store::KillCause;
using store::Phase;
using store::Reason;

constexpr std::int64_t kKilled = 137;
constexpr std::int64_t kSigKill = 9;

ExitVerdict& end(ExitVerdict& verdict, Phase phase, Reason reason, std::string message) {
    verdict.phase = phase;
    verdict.reason = reason;
    verdict.message = std::move(message);
    return verdict;
}

ExitVerdict& lose(ExitVerdict& verdict, const ExitEvidence& evidence, Reason reason,
                  std::string_view what) {
    if (evidence.engine_interrupted) reason = Reason::EngineInterrupted;
    return end(verdict, Phase::lost, reason,
               fmt::format("{}; how the script ended cannot be known", what));
}

// The container left no (readable) record: PID 1 did not get to its last act. Or it did, and the
// record went with the volume: then nothing follows from there being none.
ExitVerdict& judge_without_record(ExitVerdict& verdict, const ExitEvidence& evidence) {
    using Harvest = ExitEvidence::Harvest;
    const auto& engine = *evidence.engine;
    const bool was_looked_for =
        evidence.harvest == Harvest::whole || evidence.harvest == Harvest::over_limit;
    if (engine.state == "created") {
        return lose(verdict, evidence, Reason::EngineInterrupted,
                    "the engine forgot that it had started the container");
    }
    if (verdict.oom_killed && engine.exit_code == kKilled) {
        return end(verdict, Phase::failed, Reason::OutOfMemory,
                   "the whole container was killed for going over its memory limit");
    }
    if (engine.exit_code == kInitClaimTaken) {
        return lose(verdict, evidence, Reason::EngineInterrupted,
                    "the container was started a second time and refused to run twice");
    }
    const bool is_ours = engine.exit_code == kInitBadVolume || engine.exit_code == kInitBadFlags;
    if (is_ours && was_looked_for) {
        return end(verdict, Phase::failed, Reason::InternalError,
                   fmt::format("PID 1 could not begin (exit code {})", engine.exit_code));
    }
    if (evidence.script_can_kill_init && engine.exit_code == kKilled && was_looked_for &&
        !evidence.engine_interrupted) {
        verdict.signal = kSigKill;
        return end(verdict, Phase::failed, Reason::Signaled,
                   "the script killed PID 1 of its sandbox");
    }
    const auto what =
        evidence.record_error.empty()
            ? fmt::format("the container ended with {} and without an exit record",
                          engine.exit_code)
            : fmt::format("the container ended with {}, and its exit record is not readable ({})",
                          engine.exit_code, evidence.record_error);
    return lose(verdict, evidence, Reason::KilledExternally, what);
}

ExitVerdict& judge_record(ExitVerdict& verdict, const ExitEvidence& evidence) {
    const auto& record = *evidence.record;
    const auto& engine = *evidence.engine;
    if (record.tripped == "timeout") {
        return end(verdict, Phase::timed_out, Reason::RunTimeout, "limits.timeout_s was over");
    }
    if (record.tripped == "work_bytes") {
        return end(verdict, Phase::failed, Reason::WorkLimit,
                   fmt::format("/work held {} bytes, over limits.work_bytes", record.work_bytes));
    }
    if (record.term_from_outside) {
        return lose(verdict, evidence, Reason::KilledExternally,
                    "somebody outside stopped the container");
    }
    if (engine.state == "created") {
        return lose(verdict, evidence, Reason::EngineInterrupted,
                    "the engine forgot that it had started the container");
    }
    if (engine.exit_code != record.exit_code) {
        return lose(verdict, evidence, Reason::KilledExternally,
                    fmt::format("the engine reports exit code {}, the exit record {}",
                                engine.exit_code, record.exit_code));
    }
    if (record.exec_errno != 0) {
        return end(
            verdict, Phase::failed, Reason::CommandNotStarted,
            fmt::format(
                "command[0] could not be executed in this image (errno {}); stderr has the name",
                record.exec_errno));
    }
    if (record.signal == 0 && record.exit_code == 0) {
        return end(verdict, Phase::succeeded, Reason::Completed, "");
    }
    if (verdict.oom_killed && (record.signal == kSigKill || record.exit_code == kKilled)) {
        return end(verdict, Phase::failed, Reason::OutOfMemory,
                   "killed for going over limits.memory_bytes");
    }
    if (record.signal != 0) {
        return end(verdict, Phase::failed, Reason::Signaled,
                   fmt::format("the script died of signal {}", record.signal));
    }
    return end(verdict, Phase::failed, Reason::NonZeroExit,
               fmt::format("the script exited with {}", record.exit_code));
}

// A harvest that is not whole takes away what depends on it: a success, or a story told only by
// the record.
void apply_harvest(ExitVerdict& verdict, const ExitEvidence& evidence) {
    using Harvest = ExitEvidence::Harvest;
    switch (evidence.harvest) {
        case Harvest::whole:
            return;
        case Harvest::over_limit:
            if (verdict.phase == Phase::succeeded) {
                end(verdict, Phase::failed, Reason::ArtifactLimit, evidence.harvest_message);
            } else {
                verdict.message +=
                    fmt::format("; no artifacts were kept: {}", evidence.harvest_message);
            }
            return;
        case Harvest::torn:
        case Harvest::volume_gone:
            if (verdict.phase == Phase::succeeded || verdict.phase == Phase::lost) {
                end(verdict, Phase::lost, Reason::VolumeVanished,
                    fmt::format("its files could not be read back: {}", evidence.harvest_message));
            } else {
                verdict.message += fmt::format("; its files could not be read back: {}",
                                               evidence.harvest_message);
            }
            return;
    }
}

// Our deadline may pass while nobody can look (the engine is away), or in the moment in which the
// script ends. PID 1 knows whether our TERM reached it. If somebody started the container again
// since, it refused, and what it says of the first time still stands.
bool ended_by_itself(const ExitEvidence& evidence) {
    return evidence.engine && evidence.record && !evidence.record->term_from_outside &&
           evidence.engine->state == "exited" &&
           (evidence.engine->exit_code == evidence.record->exit_code ||
            evidence.engine->exit_code == kInitClaimTaken);
}

}  // namespace

ExitVerdict judge_exit(const ExitEvidence& evidence) {
    ExitVerdict verdict;
    if (evidence.engine) {
        verdict.oom_killed = evidence.engine->oom_killed;
        verdict.exit_code = evidence.engine->exit_code;
    }
    if (evidence.record) {
        verdict.oom_killed = verdict.oom_killed || evidence.record->oom_kills > 0;
        verdict.exit_code = evidence.record->exit_code;
        if (evidence.record->signal != 0) verdict.signal = evidence.record->signal;
    }

    if (evidence.cancel_requested || evidence.kill_cause == KillCause::cancel) {
        end(verdict, Phase::cancelled, Reason::CancelRequested, "");
    } else if (evidence.kill_cause == KillCause::run_timeout && !ended_by_itself(evidence)) {
        end(verdict, Phase::timed_out, Reason::RunTimeout, "limits.timeout_s was over");
    } else if (!evidence.engine && evidence.fenced) {
        lose(verdict, evidence, Reason::EngineInterrupted,
             "its start was not answered, it ran, and its container had to be removed");
    } else if (!evidence.engine) {
        lose(verdict, evidence, Reason::ContainerVanished, "somebody removed the container");
    } else if (!evidence.record) {
        judge_without_record(verdict, evidence);
    } else {
        judge_record(verdict, evidence);
    }
    apply_harvest(verdict, evidence);
    return verdict;
}

}  // namespace mayfly::controller
