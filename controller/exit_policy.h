// How a run ended, from everything that is known about its end. Pure.
//
// Three witnesses: the engine (exit code, OOM flag), PID 1's exit record, and our own intents.
// Ours come first: a kill that we recorded is never read from a 137. `succeeded` needs all of: the
// engine's 0, the record's 0, nobody outside having interrupted it, and a whole harvest. What we
// cannot know is `lost`, never a guess.
#pragma once

#include <optional>
#include <string>

#include "controller/archive/exit_record.h"
#include "store/run.h"

namespace mayfly::controller {

struct ExitEvidence {
    std::optional<store::EngineExit> engine;  // nothing: the container is gone
    std::optional<ExitRecord> record;
    std::string record_error;  // why there is no record although there was a file
    // There is no engine's word because we removed the container ourselves: its start was never
    // answered, and only so could it be known that nothing would start any more.
    bool fenced = false;
    bool cancel_requested = false;
    store::KillCause kill_cause = store::KillCause::none;
    bool engine_interrupted = false;
    // A runtime with a kernel of its own (gVisor), in which a script can kill PID 1.
    bool script_can_kill_init = false;

    enum class Harvest { whole, over_limit, torn, volume_gone } harvest = Harvest::whole;
    std::string harvest_message;
};

struct ExitVerdict {
    store::Phase phase = store::Phase::lost;
    store::Reason reason = store::Reason::none;
    std::string message;
    std::optional<std::int64_t> exit_code;
    std::optional<std::int64_t> signal;
    bool oom_killed = false;
};

[[nodiscard]] ExitVerdict judge_exit(const ExitEvidence& evidence);

}  // namespace mayfly::controller
