// The nouns. A Run is what the user asks for (`spec`, immutable) and what we have seen (`status`,
// written only by the controller). An Attempt is one container, one shot, never restarted; a retry
// is a new attempt.
//
// Values only: no I/O, no clock, no lock. Every room speaks these types.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/clock.h"

namespace mayfly::store {

// ---- phases and reasons

// Order matters: within one attempt a phase only ever grows, and a terminal phase never changes.
// The pair (attempt, phase) is what moves forward; the database holds that with a trigger.
enum class Phase : std::uint8_t {
    queued = 0,      // durable, waiting for admission
    preparing = 1,   // an attempt is bound: image, container, inputs
    running = 2,     // the engine said that it started
    harvesting = 3,  // it ended; exit, logs and artifacts are being made durable
    succeeded = 4,
    failed = 5,
    timed_out = 6,
    cancelled = 7,
    lost = 8,  // we cannot know how it ended; never guessed to be a success
};
inline constexpr std::size_t kPhaseCount = 9;
// How many runs are in each phase, by its number.
using PhaseNumbers = std::array<std::int64_t, kPhaseCount>;
[[nodiscard]] constexpr bool is_terminal(Phase phase) { return phase >= Phase::succeeded; }
[[nodiscard]] std::string_view to_string(Phase phase);  // "queued", "timed_out", ...
[[nodiscard]] std::optional<Phase> parse_phase(std::string_view text);

// Why a run is in its (terminal) phase. The spelling of to_string is API: CamelCase, stable for
// ever.
enum class Reason : std::uint8_t {
    none,
    Completed,          // succeeded
    NonZeroExit,        // failed: the script's own exit code
    Signaled,           // failed: the script died of a signal that nobody we know of sent
    OutOfMemory,        // failed: the kernel killed it inside its memory limit
    WorkLimit,          // failed: /work grew over limits.work_bytes
    CommandNotStarted,  // failed: argv[0] is missing or not executable in the image
    StartFailed,        // failed: the engine or OCI runtime could not start the container
    SandboxUnverified,  // failed: a limit did not read back; it was not started
    ArtifactLimit,      // failed: more artifact bytes or files than allowed
    ImageNotAllowed,    // failed: the operator's image rules
    ImageUnavailable,   // failed: not on the engine and not to be pulled
    ImageUnsupported,   // failed: declares volumes, or is of another architecture
    NameConflict,       // failed: a foreign container holds our name; it was not touched
    QueueTimeout,       // timed_out before it was prepared
    PrepareTimeout,     // timed_out before it started
    RunTimeout,         // timed_out: limits.timeout_s
    CancelRequested,    // cancelled
    EngineInterrupted,  // lost: the engine stopped or restarted under it
    ContainerVanished,  // lost: somebody removed the container
    VolumeVanished,     // lost: somebody removed the volume, or the archive cannot be read whole
    KilledExternally,   // lost: stopped or killed by somebody who is not us
    InputsMissing,      // failed: the spooled inputs are gone or do not hash to what was accepted
    InternalError,      // failed: a bug of ours; the message says where
};
[[nodiscard]] std::string_view to_string(Reason reason);  // "" for none
[[nodiscard]] std::optional<Reason> parse_reason(std::string_view text);
inline constexpr Reason kLastReason = Reason::InternalError;

// Why a queued or preparing run is not further. Shown to the user as `pending_reason`.
enum class Pending : std::uint8_t { none, Capacity, EngineDown, DiskLow, ImagePull, Backoff };
[[nodiscard]] std::string_view to_string(Pending pending);  // "" for none
[[nodiscard]] std::optional<Pending> parse_pending(std::string_view text);
inline constexpr Pending kLastPending = Pending::Backoff;

// ---- the spec

// What one run may use. Zero never means "unlimited": the API replaces absent values by the
// operator's defaults and refuses what is over the operator's ceilings, so that everything below
// is set.
struct RunLimits {
    std::int64_t timeout_s = 0;
    std::int64_t queue_timeout_s = 0;
    std::int64_t memory_bytes = 0;
    std::int64_t cpu_millis = 0;  // 1000 = one CPU; spelled `cpus` (a decimal number) in JSON
    std::int64_t pids = 0;
    std::int64_t work_bytes = 0;
    std::int64_t tmp_bytes = 0;
    std::int64_t log_bytes =
        0;  // kept of each of stdout and stderr: half of it head, half of it tail
    std::int64_t artifact_bytes = 0;
    std::int64_t artifact_files = 0;
    bool operator==(const RunLimits&) const = default;
};

// One input. The bytes are in the run's input.tar; here is what names them.
struct InputFile {
    std::string path;        // relative to /work; validated, UTF-8
    std::uint32_t mode = 0;  // permission bits only
    std::int64_t size = 0;
    std::string sha256;  // lower-case hex
    bool operator==(const InputFile&) const = default;
};

enum class Network : std::uint8_t {
    none,      // NetworkDisabled: lo is up, no names resolve, the fast start
    loopback,  // the same isolation, `localhost` resolves, the slower start
};

// Where to tell of this run. The URL is validated by the API.
struct Webhook {
    std::string url;
    std::string secret;       // "" = what is sent is not signed. Never shown, never logged
    bool all_events = false;  // every event of the run, not its end alone
    bool operator==(const Webhook&) const = default;
};

struct RunSpec {
    std::string image;
    std::vector<std::string> command;
    std::vector<InputFile> files;
    std::optional<InputFile> stdin_file;  // path is empty
    std::map<std::string, std::string> env;
    std::map<std::string, std::string> labels;
    RunLimits limits;
    Network network = Network::none;
    std::string runtime;  // OCI runtime; empty = the engine's default
    std::int64_t priority = 0;
    std::int64_t max_attempts = 1;  // > 1 only for lost attempts: retry{max_attempts, on:["lost"]}
    std::int64_t ttl_s = 0;         // kept this long after it finished
    std::optional<Webhook> webhook;
    bool operator==(const RunSpec&) const = default;
};

// ---- the status

struct StreamStatus {
    std::int64_t bytes_total = 0;  // printed by the script
    std::int64_t bytes_kept = 0;   // stored
    bool truncated = false;
    bool operator==(const StreamStatus&) const = default;
};

// A file under output/ that is whole in output.tar.
struct Artifact {
    std::string path;         // relative to output/
    std::int64_t offset = 0;  // of its first byte in output.tar
    std::int64_t size = 0;
    std::string sha256;
    std::uint32_t mode = 0;
    bool operator==(const Artifact&) const = default;
};

// Something under output/ that was not kept, and why ("symlink", "device", "bad_name", ...).
struct SkippedArtifact {
    std::string path;  // control and non-UTF-8 bytes percent-encoded
    std::string reason;
    bool operator==(const SkippedArtifact&) const = default;
};

struct RunStatus {
    Phase phase = Phase::queued;
    Reason reason = Reason::none;
    std::string message;  // for people
    Pending pending = Pending::none;
    std::string pending_message;
    std::int64_t attempt = 0;  // number of the current attempt; 0 = none yet

    // When each phase was entered; 0 = not (yet). preparing_ms - created_ms is the queue clock,
    // and so on.
    UnixMs created_ms = 0;
    UnixMs preparing_ms = 0;
    UnixMs running_ms = 0;
    UnixMs harvesting_ms = 0;
    UnixMs finished_ms = 0;

    std::optional<std::int64_t> exit_code;
    std::optional<std::int64_t> signal;
    bool oom_killed = false;
    std::int64_t cpu_ms = 0;
    std::int64_t memory_peak_bytes = 0;
    StreamStatus stdout_stream;
    StreamStatus stderr_stream;
    std::int64_t artifact_count = 0;
    std::int64_t artifact_bytes = 0;
    std::vector<SkippedArtifact> skipped;  // at most kMaxSkippedListed
    std::int64_t skipped_count = 0;
    std::string result_json;   // the text of result.json: valid JSON, or empty
    std::string result_error;  // why there is no result although the file was there
    bool operator==(const RunStatus&) const = default;
};
inline constexpr std::size_t kMaxSkippedListed = 100;

struct Run {
    std::string id;
    std::string owner;            // one for now: ""
    std::string idempotency_key;  // "" = none given
    std::string spec_sha256;      // over the canonical spec, which names every input by hash
    RunSpec spec;
    RunStatus status;
    // Absolute: when it was queued (again, for a retry) + limits.queue_timeout_s.
    UnixMs queue_deadline_ms = 0;
    UnixMs cancel_requested_ms =
        0;  // 0 = no. Desired state: written by the API, acted on by the controller
    UnixMs delete_requested_ms = 0;  // 0 = no. A tombstone: the API answers 404 from here on
    UnixMs expires_ms = 0;           // finished + ttl_s; 0 while not terminal
    std::int64_t stored_bytes = 0;   // in the spool, inputs and outputs
    std::int64_t revision = 0;       // grows with every committed change of this row
    bool collected = false;          // terminal, and nothing of it is left on the engine
    bool operator==(const Run&) const = default;
};

// ---- the attempt

// How far an attempt is known to be, durably. Only ever grows.
enum class Stage : std::uint8_t {
    bound = 0,  // names, nonce and engine are fixed. A create may be in flight from here on
    start_intent =
        1,        // one POST /start may be in flight from here on: never start what might have run
    started = 2,  // seen running, or seen to have run
    exited = 3,   // exit facts are recorded; the harvest may go on
    ended = 4,    // its outcome is durable; what is left on the engine is only garbage
    collected = 5,  // container and volume are gone
};
[[nodiscard]] std::string_view to_string(Stage stage);

// Who decided that it must stop. Recorded before the call, so that 137 is never read as anything.
enum class KillCause : std::uint8_t { none, cancel, run_timeout, prepare_timeout };
[[nodiscard]] std::string_view to_string(KillCause cause);  // "none", "cancel", ...
[[nodiscard]] std::optional<KillCause> parse_kill_cause(std::string_view text);

// What the engine said about the end. All from one inspect.
struct EngineExit {
    std::int64_t exit_code = 0;
    bool oom_killed = false;
    std::string error;      // State.Error
    std::string state;      // "exited", "dead", "created"
    UnixMs started_ms = 0;  // by the engine's clock; may be later than finished_ms (measured)
    UnixMs finished_ms = 0;
    bool operator==(const EngineExit&) const = default;
};

struct Attempt {
    std::string run_id;
    std::int64_t number = 1;
    std::string engine;          // name of the engine it is bound to
    std::string container_name;  // <prefix>-<run id>-<number>
    std::string volume_name;     // <prefix>-<run id>-<number>-<nonce>: nobody else can hold it
    std::string nonce;
    std::string container_id;  // full id; known from start_intent on
    Stage stage = Stage::bound;
    std::int64_t start_tries = 0;  // start_intents committed so far
    UnixMs bound_ms = 0;
    UnixMs prepare_deadline_ms = 0;
    UnixMs start_intent_ms = 0;
    UnixMs started_ms = 0;
    UnixMs run_deadline_ms = 0;  // absolute; the controller's own, later than PID 1's
    KillCause kill_cause = KillCause::none;
    UnixMs kill_ms = 0;
    bool engine_interrupted = false;  // the engine was seen to restart while it ran
    std::optional<EngineExit> exit;
    Phase outcome = Phase::queued;  // terminal once stage >= ended
    bool operator==(const Attempt&) const = default;
};

// A run with its current (highest) attempt, read in one transaction. What the controller works on.
struct RunRecord {
    Run run;
    std::optional<Attempt> attempt;
    bool operator==(const RunRecord&) const = default;
};

}  // namespace mayfly::store
