// Every change that the controller makes to a record, as a value. `plan` returns one, the store
// commits it, the committed record comes back. Each checks the stage and phase that it starts
// from: a change that does not fit is a `conflict` and changes nothing, so a late result for an
// attempt that has moved on is dropped by construction.
//
// All carry `run_id` and `now_ms`; those about an attempt carry its number.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "store/run.h"

namespace mayfly::store {

// queued -> preparing, with a new attempt row. Committed before any engine call of that attempt.
struct BindAttempt {
    std::string run_id;
    UnixMs now_ms = 0;
    Attempt attempt;  // number = latest + 1 (the latest, if any, must be collected); stage = bound
};

// Why it is not further. No phase change. Only while queued or preparing; a no-op when nothing
// differs.
struct SetPending {
    std::string run_id;
    UnixMs now_ms = 0;
    Pending pending = Pending::none;
    std::string message;
};

// bound -> start_intent, or start_intent again after the fence proved that nothing ran. Counts
// start_tries.
struct RecordStartIntent {
    std::string run_id;
    std::int64_t attempt = 0;
    UnixMs now_ms = 0;
    std::string container_id;
};

// start_intent -> started; phase running. The deadline is absolute.
struct RecordStarted {
    std::string run_id;
    std::int64_t attempt = 0;
    UnixMs now_ms = 0;
    UnixMs run_deadline_ms = 0;
};

// Before a TERM or KILL is sent. The first cause stays.
struct RecordKill {
    std::string run_id;
    std::int64_t attempt = 0;
    UnixMs now_ms = 0;
    KillCause cause = KillCause::none;
};

// The engine was seen to have gone away while this attempt ran: success now needs the exit record
// to say so.
struct RecordInterrupted {
    std::string run_id;
    std::int64_t attempt = 0;
    UnixMs now_ms = 0;
};

// start_intent|started -> exited; phase harvesting. `exit` is empty when the container is gone.
struct RecordExit {
    std::string run_id;
    std::int64_t attempt = 0;
    UnixMs now_ms = 0;
    std::optional<EngineExit> exit;
};

// What a harvest made durable before the terminal status is committed.
struct HarvestResult {
    std::optional<std::int64_t> exit_code;
    std::optional<std::int64_t> signal;
    bool oom_killed = false;
    std::int64_t cpu_ms = 0;
    std::int64_t memory_peak_bytes = 0;
    StreamStatus stdout_stream;
    StreamStatus stderr_stream;
    std::vector<Artifact> artifacts;
    std::vector<SkippedArtifact> skipped;
    std::int64_t skipped_count = 0;
    std::string result_json;
    std::string result_error;
    std::int64_t stored_bytes = 0;  // logs and output.tar
};

// Any non-terminal phase -> terminal, attempt -> ended, manifest, all in one transaction. Without
// an attempt (queue timeout, cancelled while queued, image refused) the run is collected at once.
struct FinishRun {
    std::string run_id;
    std::int64_t attempt = 0;  // 0 = there is none
    UnixMs now_ms = 0;
    Phase phase = Phase::failed;
    Reason reason = Reason::none;
    std::string message;
    HarvestResult harvest;
};

// The attempt ended as lost, and the run asked to be tried again: attempt -> ended(lost), run ->
// queued. The next BindAttempt needs this attempt collected.
struct RetryRun {
    std::string run_id;
    std::int64_t attempt = 0;
    UnixMs now_ms = 0;
    Reason reason = Reason::none;
    std::string message;
};

// ended -> collected: container and volume are seen to be gone. A terminal run becomes collected
// with it.
struct MarkCollected {
    std::string run_id;
    std::int64_t attempt = 0;
    UnixMs now_ms = 0;
};

using Mutation =
    std::variant<BindAttempt, SetPending, RecordStartIntent, RecordStarted, RecordKill,
                 RecordInterrupted, RecordExit, FinishRun, RetryRun, MarkCollected>;

[[nodiscard]] const std::string& run_id_of(const Mutation& mutation);
[[nodiscard]] UnixMs now_ms_of(const Mutation& mutation);
[[nodiscard]] std::string_view name_of(
    const Mutation& mutation);  // "BindAttempt", for logs and traces

}  // namespace mayfly::store
