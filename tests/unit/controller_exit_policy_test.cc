#include "controller/exit_policy.h"

#include <gtest/gtest.h>

namespace mayfly::controller {
namespace {

using store::EngineExit;
using store::KillCause;
using store::Phase;
using store::Reason;

struct Case {
    std::string sentence;
    ExitEvidence evidence;
    Phase phase;
    Reason reason;
};

EngineExit engine(std::int64_t code, bool oom = false, std::string state = "exited") {
    return {.exit_code = code, .oom_killed = oom, .error = "", .state = std::move(state)};
}

ExitRecord record(std::int64_t code, std::int64_t signal = 0) {
    ExitRecord r;
    r.exit_code = code;
    r.signal = signal;
    return r;
}

ExitRecord tripped(std::string what) {
    auto r = record(143, 15);
    r.tripped = std::move(what);
    return r;
}

ExitRecord stopped_from_outside(std::int64_t code) {
    auto r = record(code);
    r.term_from_outside = true;
    return r;
}

ExitRecord not_executed() {
    auto r = record(127);
    r.exec_errno = 2;
    return r;
}

ExitRecord oom_of_child(std::int64_t code, std::int64_t signal) {
    auto r = record(code, signal);
    r.oom_kills = 1;
    return r;
}

class JudgeExit : public testing::TestWithParam<Case> {};

TEST_P(JudgeExit, Holds) {
    const auto verdict = judge_exit(GetParam().evidence);
    EXPECT_EQ(to_string(verdict.phase), to_string(GetParam().phase))
        << GetParam().sentence << ": " << verdict.message;
    EXPECT_EQ(to_string(verdict.reason), to_string(GetParam().reason)) << GetParam().sentence;
    if (verdict.phase != Phase::succeeded && verdict.phase != Phase::cancelled) {
        EXPECT_NE(verdict.message, "") << "people need a sentence";
    }
}

INSTANTIATE_TEST_SUITE_P(
    Table, JudgeExit,
    testing::Values(
        Case{"0 by engine and record is a success",
             {.engine = engine(0), .record = record(0)},
             Phase::succeeded,
             Reason::Completed},
        Case{"0 by the engine alone is not (a script may trap TERM and exit 0 when the engine "
             "goes down)",
             {.engine = engine(0)},
             Phase::lost,
             Reason::KilledExternally},
        Case{"0 by both, but stopped from outside, is not",
             {.engine = engine(0), .record = stopped_from_outside(0)},
             Phase::lost,
             Reason::KilledExternally},
        Case{"... and is the engine's doing when it was seen to restart",
             {.engine = engine(0), .record = stopped_from_outside(0), .engine_interrupted = true},
             Phase::lost,
             Reason::EngineInterrupted},
        Case{"0 by the record alone is not (somebody removed the container)",
             {.record = record(0)},
             Phase::lost,
             Reason::ContainerVanished},
        Case{"a record of 0 and an engine's 137 is not (a forged record, then a kill)",
             {.engine = engine(137), .record = record(0)},
             Phase::lost,
             Reason::KilledExternally},
        Case{"the script's own 3 is a failure",
             {.engine = engine(3), .record = record(3)},
             Phase::failed,
             Reason::NonZeroExit},
        Case{"the script's own 137 is its own",
             {.engine = engine(137), .record = record(137)},
             Phase::failed,
             Reason::NonZeroExit},
        Case{"137 without a record is somebody's kill",
             {.engine = engine(137)},
             Phase::lost,
             Reason::KilledExternally},
        Case{"255 without a record after an engine restart is lost",
             {.engine = engine(255), .engine_interrupted = true},
             Phase::lost,
             Reason::EngineInterrupted},
        Case{"137 with our recorded deadline is a timeout",
             {.engine = engine(137), .kill_cause = KillCause::run_timeout},
             Phase::timed_out,
             Reason::RunTimeout},
        Case{"a deadline that passed while nobody could look is not the end of a script that had "
             "ended",
             {.engine = engine(0), .record = record(0), .kill_cause = KillCause::run_timeout},
             Phase::succeeded,
             Reason::Completed},
        Case{"nor of one that somebody tried to start again",
             {.engine = engine(86), .record = record(0), .kill_cause = KillCause::run_timeout},
             Phase::lost,
             Reason::KilledExternally},
        Case{"a record that the engine's word does not bear out ends no deadline",
             {.engine = engine(137), .record = record(0), .kill_cause = KillCause::run_timeout},
             Phase::timed_out,
             Reason::RunTimeout},
        Case{"PID 1's own deadline is a timeout",
             {.engine = engine(143), .record = tripped("timeout")},
             Phase::timed_out,
             Reason::RunTimeout},
        Case{"a cancel that was accepted is never a success afterwards",
             {.engine = engine(0), .record = record(0), .cancel_requested = true},
             Phase::cancelled,
             Reason::CancelRequested},
        Case{"a container that the fence removed did not vanish",
             {.record = record(0), .fenced = true},
             Phase::lost,
             Reason::EngineInterrupted},
        Case{"a cancelled run whose container is gone is cancelled all the same",
             {.cancel_requested = true, .kill_cause = KillCause::cancel},
             Phase::cancelled,
             Reason::CancelRequested},
        Case{"killed for memory",
             {.engine = engine(137, true), .record = oom_of_child(137, 9)},
             Phase::failed,
             Reason::OutOfMemory},
        Case{"killed for memory with PID 1",
             {.engine = engine(137, true)},
             Phase::failed,
             Reason::OutOfMemory},
        Case{"a child killed for memory and a script that goes on to 0 is a success",
             {.engine = engine(0, true), .record = oom_of_child(0, 0)},
             Phase::succeeded,
             Reason::Completed},
        Case{"a child killed for memory and a script that fails otherwise fails by its own code",
             {.engine = engine(2, true), .record = oom_of_child(2, 0)},
             Phase::failed,
             Reason::NonZeroExit},
        Case{"died of SIGSEGV",
             {.engine = engine(139), .record = record(139, 11)},
             Phase::failed,
             Reason::Signaled},
        Case{"grew over /work",
             {.engine = engine(143), .record = tripped("work_bytes")},
             Phase::failed,
             Reason::WorkLimit},
        Case{"no such command",
             {.engine = engine(127), .record = not_executed()},
             Phase::failed,
             Reason::CommandNotStarted},
        Case{"the script's own 127 is its own",
             {.engine = engine(127), .record = record(127)},
             Phase::failed,
             Reason::NonZeroExit},
        Case{"86 without a record: PID 1 refused a second start",
             {.engine = engine(86)},
             Phase::lost,
             Reason::EngineInterrupted},
        Case{"the script's own 86 is its own",
             {.engine = engine(86), .record = record(86)},
             Phase::failed,
             Reason::NonZeroExit},
        Case{"87 without a record is our bug, not the script's",
             {.engine = engine(87)},
             Phase::failed,
             Reason::InternalError},
        Case{"87 whose record went with the volume may be the script's own",
             {.engine = engine(87), .harvest = ExitEvidence::Harvest::volume_gone},
             Phase::lost,
             Reason::VolumeVanished},
        Case{"88 whose record came torn may be the script's own",
             {.engine = engine(88), .harvest = ExitEvidence::Harvest::torn},
             Phase::lost,
             Reason::VolumeVanished},
        Case{"gVisor: a script that kills PID 1 has failed",
             {.engine = engine(137), .script_can_kill_init = true},
             Phase::failed,
             Reason::Signaled},
        Case{"gVisor: 137 whose record went with the volume may be the script's own",
             {.engine = engine(137),
              .script_can_kill_init = true,
              .harvest = ExitEvidence::Harvest::volume_gone},
             Phase::lost,
             Reason::VolumeVanished},
        Case{"`created` after it was started: the engine forgot",
             {.engine = engine(0, false, "created")},
             Phase::lost,
             Reason::EngineInterrupted},
        Case{"a success with too many artifacts is a failure",
             {.engine = engine(0),
              .record = record(0),
              .harvest = ExitEvidence::Harvest::over_limit,
              .harvest_message = "m"},
             Phase::failed,
             Reason::ArtifactLimit},
        Case{"a failure with too many artifacts keeps its own reason",
             {.engine = engine(1),
              .record = record(1),
              .harvest = ExitEvidence::Harvest::over_limit},
             Phase::failed,
             Reason::NonZeroExit},
        Case{"a success whose files cannot be read whole is lost",
             {.engine = engine(0),
              .record = record(0),
              .harvest = ExitEvidence::Harvest::torn,
              .harvest_message = "m"},
             Phase::lost,
             Reason::VolumeVanished},
        Case{"a timeout whose volume is gone is still a timeout",
             {.engine = engine(137),
              .kill_cause = KillCause::run_timeout,
              .harvest = ExitEvidence::Harvest::volume_gone},
             Phase::timed_out,
             Reason::RunTimeout}));

TEST(JudgeExit, ReportsTheExactExitCodeForEveryCode) {
    for (const std::int64_t code : {1, 2, 125, 126, 127, 137, 143, 255}) {
        const auto verdict = judge_exit({.engine = engine(code), .record = record(code)});
        EXPECT_EQ(verdict.exit_code, code);
        EXPECT_EQ(verdict.phase, Phase::failed);
    }
}

}  // namespace
}  // namespace mayfly::controller
