// What should happen next to one run. Pure: values in, one value out; no clock, no I/O, no
// coroutine, no Docker.
//
// The loop looks (fills an Observation, without suspending), calls plan(), does the one action it
// names, folds what was learned into the Evidence, and comes again. Everything durable is in the
// record; Evidence is what this process has seen with its own eyes since it started, and may be
// thrown away at any moment: plan() then asks to look again, and never concludes from its absence.
//
// The start protocol (at most once per attempt), as stages of the attempt:
//
//   bound         names and nonce are committed. create -> read the claim, unless the volume is
//                 new -> PUT inputs, which makes the claim new -> read back: every limit in force,
//                 not started by anybody -> wait for a run slot
//   start_intent  committed before the one POST /start.
//                 204 or 304, or seen running or ended        -> started
//                 refused by the engine, container still there -> failed
//                 anything else                                -> the fence: remove the container,
//                 so that a start still in flight can only fail; look at the claim in the volume;
//                 untouched = nothing ran: build again, same attempt; taken = it ran: never again,
//                 harvest what there is
//   started       wait for the end; TERM, then KILL, at the deadline or on cancel, recorded before
//                 they are sent
//   exited        harvest -> terminal status and manifest in one commit
//   ended         remove container, then volume -> collected
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "controller/admission.h"
#include "controller/archive/exit_record.h"
#include "controller/backoff.h"
#include "controller/engine/facts.h"
#include "controller/exit_policy.h"
#include "controller/sandbox.h"
#include "store/mutation.h"
#include "store/run.h"

namespace mayfly::controller {

// The prepared image of this run's image, as the image cache knows it.
struct ImageEvidence {
    enum class State { unknown, working, ready, failed } state = State::unknown;
    std::string prepared_id;                     // ready
    store::Reason reason = store::Reason::none;  // failed: ImageUnavailable, ImageUnsupported
    std::string message;                         // failed: why; working: progress, for people
};

// What one harvest brought home: durable in the spool, not yet in the record.
struct HarvestEvidence {
    store::HarvestResult result;
    ExitEvidence::Harvest state = ExitEvidence::Harvest::whole;
    std::string message;
    std::optional<ExitRecord> record;
    std::string record_error;
};

struct Evidence {
    // No create was sent for this attempt, which this process bound: its volume is not there yet.
    bool volume_unmade = false;

    // --- the container of the current attempt
    enum class Container { unknown, absent, present } container = Container::unknown;
    std::string container_id;
    ContainerState state = ContainerState::unknown;  // last seen
    std::optional<ContainerFacts> facts;  // from the last inspect, if no PUT came after it
    std::vector<std::string> create_warnings;
    bool name_taken =
        false;  // a container with our name exists: it may be ours, look at it by name
    bool name_conflict = false;  // ... and it is not
    std::string image_id;        // the prepared image it was created from, if by this process
    // Something that was sent to this container may still be under way: a PUT that was not
    // answered, or whatever an earlier process sent. A PUT that comes late makes the claim anew,
    // under a script that has run. So a container gets one PUT; to try again, it is removed first,
    // which leaves the late one nothing to find.
    bool rebuild = false;
    // A PUT also makes the claim new, and so may take away what says that something has run here,
    // by somebody's hand. It takes nothing away if the volume came with this container, or if the
    // claim in it was read, through this container, and is not taken.
    bool put_is_safe = false;
    bool verified = false;     // every limit read back
    std::string violations;    // why it was not
    bool inputs_put = false;   // a PUT of all inputs returned 200 for this container
    std::string inputs_error;  // our own copy of the inputs cannot be read
    std::string rejected;      // the engine said that the request itself is wrong

    // --- the start
    enum class Start {
        none,      // nothing sent by this process
        armed,     // the intent was committed by this process, the POST is next
        accepted,  // 204 or 304
        refused,   // a definite error: this POST started nothing
        unclear,   // it may have started, or may yet
    } start = Start::none;
    std::string start_error;          // the last one, also of earlier tries
    std::int64_t start_failures = 0;  // starts of this attempt that the engine failed, seen by us
    store::UnixMs start_failing_since_ms = 0;
    store::UnixMs start_failed_ms = 0;  // the last of them
    // What the claim in the volume says, read after the container was removed, or through the next
    // one that was made on it (`taken` only). `untouched` also when the engine proved by itself
    // that nothing ran. Valid until the next intent.
    enum class Claim { unknown, untouched, taken, volume_gone } claim = Claim::unknown;
    std::string claim_error;  // volume_gone: what was in the way of reading it

    // --- the end
    store::UnixMs seen_ms = 0;  // when the last inspect was asked for
    bool term_sent = false;
    bool kill_sent = false;
    std::optional<HarvestEvidence> harvest;
    std::int64_t torn_harvests = 0;
    bool container_removed = false;
    bool volume_removed = false;

    // Something may have happened since we looked: an event, a resync that differs, a reconnect.
    // Look again.
    bool look = false;
};

struct Grants {
    bool prepare = false;
    bool start = false;
    store::Pending pending = store::Pending::Capacity;  // why not
    std::string pending_message;
};

struct PlanSettings {
    SandboxSettings sandbox;
    std::string name_prefix = "mayfly";
    std::int64_t prepare_timeout_ms = 600'000;
    std::int64_t run_deadline_slack_ms =
        5'000;  // the controller's deadline is this much after PID 1's
    std::int64_t kill_after_term_ms = 5'000;  // on top of PID 1's own grace
    // A start that the engine itself could not carry out (its runtime is away, a shim does not
    // come up) is tried again, until it has failed so often and for so long.
    std::int64_t start_failures_max = 3;
    std::int64_t start_failing_max_ms = 60'000;
    BackoffPolicy start_backoff{500, 10'000};
    std::int64_t torn_harvests_max = 5;
    std::int64_t pending_after_ms =
        1'000;  // a pending reason is recorded when a run has waited this long
    BackoffPolicy retry_backoff{1'000, 60'000};
};

struct Observation {
    const store::RunRecord& record;
    const Evidence& evidence;
    const ImageEvidence& image;
    Grants grants;
    bool engine_up = false;
    std::string engine_name;
    std::string engine_error;
    std::string fresh_nonce;  // used if an attempt is bound now
    store::UnixMs now_ms = 0;
    store::UnixMs known_since_ms = 0;  // since when this process has this run
};

// ---- actions: each is one call to the engine, one harvest, or one commit
struct Commit {
    store::Mutation mutation;
};
struct EnsureImage {};
struct CreateContainer {};
struct InspectContainer {
    bool by_name = false;
};
struct ReadClaim {};  // through the attempt's own container, which was not started
struct PutInputs {};
struct StartContainer {};
struct KillContainer {
    std::string signal;
};
struct FenceContainer {};  // remove by force, keep the volume
struct ProbeClaim {};      // look at the claim through a never-started container
struct Harvest {
    bool through_probe = false;  // the container is gone
};
struct RemoveContainer {};
struct RemoveVolume {};
// Nothing to do now. Come again at wake_ms (0: only when something changes).
struct Wait {
    store::UnixMs wake_ms = 0;
};
// Nothing left to do for ever.
struct Forget {};

using Action = std::variant<Wait, Forget, Commit, EnsureImage, CreateContainer, InspectContainer,
                            ReadClaim, PutInputs, StartContainer, KillContainer, FenceContainer,
                            ProbeClaim, Harvest, RemoveContainer, RemoveVolume>;

[[nodiscard]] std::string_view name_of(const Action& action);

[[nodiscard]] Action plan(const Observation& observation, const PlanSettings& settings);

// When a run whose last attempt was lost may be tried again; 0 = at once.
[[nodiscard]] store::UnixMs retry_due_ms(const store::RunRecord& record,
                                         const PlanSettings& settings);
// True once this attempt needs nothing but a run slot: what admission offers to start.
[[nodiscard]] bool is_prepared(const store::RunRecord& record, const Evidence& evidence);
// True while it may be executing: what holds a run slot.
[[nodiscard]] bool holds_run_slot(const store::RunRecord& record, const Evidence& evidence);

}  // namespace mayfly::controller
