#include "controller/plan.h"

#include <gtest/gtest.h>

#include <functional>

namespace mayfly::controller {
namespace {

using store::KillCause;
using store::Phase;
using store::Reason;
using store::Stage;
using Container = Evidence::Container;
using Claim = Evidence::Claim;
using Start = Evidence::Start;

constexpr store::UnixMs kNow = 1'000'000;

// One run in some state, and what this process knows about it. Each case changes what it is about.
struct World {
    store::RunRecord record;
    Evidence evidence;
    ImageEvidence image{ImageEvidence::State::ready, "sha256:prepared", Reason::none, ""};
    Grants grants{true, true, store::Pending::Capacity, "waiting for a free run slot"};
    bool engine_up = true;
    store::UnixMs now_ms = kNow;
    PlanSettings settings;

    World() {
        auto& run = record.run;
        run.id = "01hf7yat00abcdefghjkmnpqrs";
        run.spec.limits.timeout_s = 60;
        run.spec.limits.queue_timeout_s = 100;
        run.status.created_ms = kNow - 10;
        run.queue_deadline_ms = kNow + 100'000;
    }

    World& at(Stage stage) {
        record.attempt = store::Attempt{};
        auto& attempt = *record.attempt;
        attempt.number = 1;
        attempt.stage = stage;
        attempt.container_name = "mayfly-x-1";
        attempt.nonce = "n";
        attempt.prepare_deadline_ms = kNow + 600'000;
        attempt.run_deadline_ms = kNow + 60'000;
        record.run.status.attempt = 1;
        record.run.status.phase = stage == Stage::exited    ? Phase::harvesting
                                  : stage == Stage::started ? Phase::running
                                                            : Phase::preparing;
        if (stage >= Stage::start_intent) {
            attempt.container_id = "id";
            attempt.start_tries = 1;
        }
        return *this;
    }
    World& seen(ContainerState state) {
        evidence.container = Container::present;
        evidence.container_id = "id";
        evidence.state = state;
        evidence.facts = ContainerFacts{};
        evidence.facts->state = state;
        return *this;
    }
    // The answer to our own create, and nothing since.
    World& just_made() {
        evidence.container = Container::present;
        evidence.container_id = "id";
        evidence.image_id = "sha256:prepared";
        evidence.put_is_safe = true;
        evidence.state = ContainerState::created;
        return *this;
    }
    World& prepared() {
        seen(ContainerState::created);
        evidence.verified = true;
        evidence.inputs_put = true;
        return *this;
    }
    World& with(const std::function<void(World&)>& change) {
        change(*this);
        return *this;
    }

    [[nodiscard]] Action action() const {
        return plan(
            {record, evidence, image, grants, engine_up, "default", "down", "nonce", now_ms},
            settings);
    }
    [[nodiscard]] std::string says() const {
        const auto chosen = action();
        if (const auto* commit = std::get_if<Commit>(&chosen)) {
            if (const auto* end = std::get_if<store::FinishRun>(&commit->mutation)) {
                return "finish " + std::string(to_string(end->phase)) + " " +
                       std::string(to_string(end->reason));
            }
            return "commit " + std::string(store::name_of(commit->mutation));
        }
        if (const auto* kill = std::get_if<KillContainer>(&chosen)) return "kill " + kill->signal;
        if (const auto* harvest = std::get_if<Harvest>(&chosen))
            return harvest->through_probe ? "harvest probe" : "harvest";
        return std::string(name_of(chosen));
    }
};

struct Case {
    std::string sentence;
    World world;
    std::string expected;
};

class PlanTable : public testing::TestWithParam<Case> {};

TEST_P(PlanTable, Holds) {
    EXPECT_EQ(GetParam().world.says(), GetParam().expected) << GetParam().sentence;
}

using W = World&;

INSTANTIATE_TEST_SUITE_P(
    Queued, PlanTable,
    testing::Values(
        Case{"a queued run that is admitted binds an attempt before any call", World(),
             "commit BindAttempt"},
        Case{"a queued run that is not admitted waits",
             World().with([](W w) { w.grants.prepare = false; }), "Wait"},
        Case{"one that has waited a while says why", World().with([](W w) {
                 w.grants.prepare = false;
                 w.record.run.status.created_ms = kNow - 5'000;
             }),
             "commit SetPending"},
        Case{"a queued run waits while the engine is down",
             World().with([](W w) { w.engine_up = false; }), "Wait"},
        Case{"a queued run that is cancelled ends at once",
             World().with([](W w) { w.record.run.cancel_requested_ms = 1; }),
             "finish cancelled CancelRequested"},
        Case{"... also while the engine is down", World().with([](W w) {
                 w.record.run.cancel_requested_ms = 1;
                 w.engine_up = false;
             }),
             "finish cancelled CancelRequested"},
        Case{"the queue deadline holds while the engine is down", World().with([](W w) {
                 w.now_ms = w.record.run.queue_deadline_ms;
                 w.engine_up = false;
             }),
             "finish timed_out QueueTimeout"},
        Case{"a retry waits for its backoff", World().at(Stage::collected).with([](W w) {
                 w.record.run.status.phase = Phase::queued;
                 w.record.run.status.pending = store::Pending::Backoff;
                 w.record.run.status.pending_message = "waiting before the next attempt";
                 w.record.attempt->bound_ms = kNow - 10;
             }),
             "Wait"},
        Case{"a retry binds the next attempt when it is over",
             World().at(Stage::collected).with([](W w) {
                 w.record.run.status.phase = Phase::queued;
                 w.record.attempt->bound_ms = kNow - 90'000;
             }),
             "commit BindAttempt"}));

INSTANTIATE_TEST_SUITE_P(
    Preparing, PlanTable,
    testing::Values(
        Case{"a bound attempt without its image asks for it",
             World().at(Stage::bound).with([](W w) { w.image = {}; }), "EnsureImage"},
        Case{"an image that cannot be had ends the run", World().at(Stage::bound).with([](W w) {
                 w.image = {ImageEvidence::State::failed, "", Reason::ImageUnavailable, "no"};
             }),
             "finish failed ImageUnavailable"},
        Case{"a bound attempt creates its container", World().at(Stage::bound), "CreateContainer"},
        Case{"a name that is taken is looked at, never fought for",
             World().at(Stage::bound).with([](W w) { w.evidence.name_taken = true; }),
             "InspectContainer"},
        Case{"a name that a foreign container holds ends the run, and nothing is touched",
             World().at(Stage::bound).with([](W w) { w.evidence.name_conflict = true; }),
             "finish failed NameConflict"},
        Case{"a new container gets its inputs, and their claim, first",
             World().at(Stage::bound).just_made(), "PutInputs"},
        Case{"... and is read back after them",
             World().at(Stage::bound).just_made().with([](W w) { w.evidence.inputs_put = true; }),
             "InspectContainer"},
        Case{"... and not before a look, when something may have happened to it",
             World().at(Stage::bound).just_made().with([](W w) { w.evidence.look = true; }),
             "InspectContainer"},
        Case{"... and not at all if the engine left out a limit",
             World().at(Stage::bound).just_made().with([](W w) {
                 w.evidence.create_warnings = {"pids discarded"};
             }),
             "finish failed SandboxUnverified"},
        Case{"a container that this process did not make is looked at before anything else",
             World().at(Stage::bound).just_made().with([](W w) { w.evidence.image_id.clear(); }),
             "InspectContainer"},
        Case{"a new container that a list shows running is looked at, and gets nothing",
             World().at(Stage::bound).just_made().with([](W w) {
                 w.evidence.state = ContainerState::running;
             }),
             "InspectContainer"},
        Case{"a container that was started by hand before its inputs came is never run again",
             World().at(Stage::bound).seen(ContainerState::running).with([](W w) {
                 w.evidence.inputs_put = true;
             }),
             "finish lost KilledExternally"},
        Case{"a limit that does not read back means no start",
             World().at(Stage::bound).with([](W w) {
                 w.seen(ContainerState::created);
                 w.evidence.violations = "memory";
             }),
             "finish failed SandboxUnverified"},
        Case{"any warning means no start", World().at(Stage::bound).with([](W w) {
                 w.prepared();
                 w.evidence.create_warnings = {"pids discarded"};
             }),
             "finish failed SandboxUnverified"},
        Case{"facts that nobody verified mean no start",
             World().at(Stage::bound).seen(ContainerState::created).with([](W w) {
                 w.evidence.inputs_put = true;
             }),
             "finish failed SandboxUnverified"},
        Case{"a container whose inputs were refused gets them after a look",
             World().at(Stage::bound).with([](W w) {
                 w.prepared();
                 w.evidence.inputs_put = false;
                 w.evidence.put_is_safe = true;
             }),
             "PutInputs"},
        Case{
            "inputs are not put over what may have run in the volume before",
            World().at(Stage::bound).just_made().with([](W w) { w.evidence.put_is_safe = false; }),
            "ReadClaim"},
        Case{"... and if it has, by somebody's hand, it never runs again",
             World().at(Stage::bound).just_made().with([](W w) {
                 w.evidence.put_is_safe = false;
                 w.evidence.claim = Claim::taken;
             }),
             "finish lost KilledExternally"},
        Case{"... nor when it is cancelled meanwhile",
             World().at(Stage::bound).just_made().with([](W w) {
                 w.evidence.claim = Claim::taken;
                 w.record.run.cancel_requested_ms = 1;
             }),
             "finish cancelled CancelRequested"},
        Case{"a prepared run without a run slot waits",
             World().at(Stage::bound).prepared().with([](W w) { w.grants.start = false; }),
             "Wait"},
        Case{"a prepared run with a run slot records its intent before it is started",
             World().at(Stage::bound).prepared(), "commit RecordStartIntent"},
        Case{"a container of an earlier image is made anew",
             World().at(Stage::bound).prepared().with([](W w) { w.evidence.rebuild = true; }),
             "FenceContainer"},
        Case{"a container that somebody else started is never run again",
             World().at(Stage::bound).seen(ContainerState::exited),
             "finish lost KilledExternally"},
        Case{"a container that vanished before its start is made anew",
             World().at(Stage::bound).with([](W w) { w.evidence.container = Container::absent; }),
             "CreateContainer"},
        Case{"a cancel while preparing ends it without a start",
             World().at(Stage::bound).prepared().with([](W w) {
                 w.record.run.cancel_requested_ms = 1;
             }),
             "finish cancelled CancelRequested"},
        Case{"a prepared run that waits for a slot is not late in preparing",
             World().at(Stage::bound).prepared().with([](W w) {
                 w.grants.start = false;
                 w.record.attempt->prepare_deadline_ms = kNow - 1;
             }),
             "Wait"},
        Case{"... but the queue deadline is its own",
             World().at(Stage::bound).prepared().with([](W w) {
                 w.grants.start = false;
                 w.record.run.queue_deadline_ms = kNow;
             }),
             "finish timed_out QueueTimeout"},
        Case{"the prepare deadline holds", World().at(Stage::bound).with([](W w) {
                 w.now_ms = w.record.attempt->prepare_deadline_ms;
             }),
             "finish timed_out PrepareTimeout"}));

INSTANTIATE_TEST_SUITE_P(
    Start, PlanTable,
    testing::Values(
        Case{"an intent of this process is followed by the one POST",
             World().at(Stage::start_intent).prepared().with([](W w) {
                 w.evidence.start = Start::armed;
             }),
             "StartContainer"},
        Case{"an intent of an earlier process is never followed by a POST",
             World().at(Stage::start_intent), "InspectContainer"},
        Case{"... and `created` proves nothing: the fence comes first",
             World().at(Stage::start_intent).seen(ContainerState::created), "FenceContainer"},
        Case{"a start whose answer was lost is looked at",
             World().at(Stage::start_intent).prepared().with([](W w) {
                 w.evidence.start = Start::unclear;
                 w.evidence.look = true;
             }),
             "InspectContainer"},
        Case{"... and if it looks unstarted, fenced",
             World().at(Stage::start_intent).prepared().with([](W w) {
                 w.evidence.start = Start::unclear;
             }),
             "FenceContainer"},
        Case{"an accepted start is recorded",
             World().at(Stage::start_intent).prepared().with([](W w) {
                 w.evidence.start = Start::accepted;
             }),
             "commit RecordStarted"},
        Case{"seen running is started",
             World().at(Stage::start_intent).seen(ContainerState::running),
             "commit RecordStarted"},
        Case{"seen ended is started", World().at(Stage::start_intent).seen(ContainerState::exited),
             "commit RecordStarted"},
        Case{"a dead container may have run: the fence",
             World().at(Stage::start_intent).seen(ContainerState::dead), "FenceContainer"},
        Case{"a start that the engine refused for good ends the run",
             World().at(Stage::start_intent).prepared().with([](W w) {
                 w.evidence.start = Start::refused;
                 w.evidence.facts->error = "no such runtime";
             }),
             "finish failed StartFailed"},
        Case{"behind the fence, the claim is looked at",
             World().at(Stage::start_intent).with([](W w) {
                 w.evidence.container = Container::absent;
             }),
             "ProbeClaim"},
        Case{"an untouched claim: built again, same attempt",
             World().at(Stage::start_intent).with([](W w) {
                 w.evidence.container = Container::absent;
                 w.evidence.claim = Claim::untouched;
             }),
             "CreateContainer"},
        Case{"... but not for ever", World().at(Stage::start_intent).with([](W w) {
                 w.evidence.container = Container::absent;
                 w.evidence.claim = Claim::untouched;
                 w.evidence.start_failures = 3;
                 w.evidence.start_failing_since_ms = kNow - 60'000;
                 w.evidence.start_failed_ms = kNow - 1;
             }),
             "finish failed StartFailed"},
        Case{"an engine whose runtime is away for a moment is given time",
             World().at(Stage::start_intent).with([](W w) {
                 w.evidence.container = Container::absent;
                 w.evidence.claim = Claim::untouched;
                 w.evidence.start_failures = 30;
                 w.evidence.start_failing_since_ms = kNow - 59'000;
                 w.evidence.start_failed_ms = kNow - 1;
                 w.record.run.status.pending = store::Pending::Backoff;
             }),
             "Wait"},
        Case{"... and not once it is cancelled", World().at(Stage::start_intent).with([](W w) {
                 w.evidence.container = Container::absent;
                 w.evidence.claim = Claim::untouched;
                 w.record.run.cancel_requested_ms = 1;
             }),
             "finish cancelled CancelRequested"},
        Case{"built again on the same volume: its claim is read once more",
             World().at(Stage::start_intent).just_made().with([](W w) {
                 w.evidence.claim = Claim::untouched;
                 w.evidence.put_is_safe = false;
             }),
             "ReadClaim"},
        Case{"... and if it is taken now, the fence comes first",
             World().at(Stage::start_intent).just_made().with([](W w) {
                 w.evidence.claim = Claim::taken;
             }),
             "FenceContainer"},
        Case{"built again and prepared: a new intent",
             World().at(Stage::start_intent).prepared().with([](W w) {
                 w.evidence.claim = Claim::untouched;
             }),
             "commit RecordStartIntent"},
        Case{"a taken claim: it ran, harvest what there is",
             World().at(Stage::start_intent).with([](W w) {
                 w.evidence.container = Container::absent;
                 w.evidence.claim = Claim::taken;
             }),
             "commit RecordExit"},
        Case{"no volume, no proof: lost", World().at(Stage::start_intent).with([](W w) {
                 w.evidence.container = Container::absent;
                 w.evidence.claim = Claim::volume_gone;
             }),
             "finish lost VolumeVanished"}));

INSTANTIATE_TEST_SUITE_P(
    Running, PlanTable,
    testing::Values(
        Case{"a running container is waited for",
             World().at(Stage::started).seen(ContainerState::running), "Wait"},
        Case{"a wake-up is looked at",
             World().at(Stage::started).seen(ContainerState::running).with([](W w) {
                 w.evidence.look = true;
             }),
             "InspectContainer"},
        Case{"after a restart it is looked at", World().at(Stage::started), "InspectContainer"},
        Case{"its end is recorded before the harvest",
             World().at(Stage::started).seen(ContainerState::exited), "commit RecordExit"},
        Case{"a vanished container is recorded as such", World().at(Stage::started).with([](W w) {
                 w.evidence.container = Container::absent;
             }),
             "commit RecordExit"},
        Case{"past its deadline it is looked at: it may have ended long ago",
             World().at(Stage::started).seen(ContainerState::running).with([](W w) {
                 w.now_ms = w.record.attempt->run_deadline_ms;
             }),
             "InspectContainer"},
        Case{"a kill is recorded before it is sent",
             World().at(Stage::started).seen(ContainerState::running).with([](W w) {
                 w.now_ms = w.record.attempt->run_deadline_ms;
                 w.evidence.seen_ms = w.now_ms;
             }),
             "commit RecordKill"},
        Case{"a cancel also while the engine is down", World().at(Stage::started).with([](W w) {
                 w.record.run.cancel_requested_ms = kNow;
                 w.engine_up = false;
             }),
             "commit RecordKill"},
        Case{"a deadline not: nobody can see whether it is missed",
             World().at(Stage::started).with([](W w) {
                 w.now_ms = w.record.attempt->run_deadline_ms;
                 w.engine_up = false;
             }),
             "Wait"},
        Case{"TERM first", World().at(Stage::started).seen(ContainerState::running).with([](W w) {
                 w.record.attempt->kill_cause = KillCause::cancel;
                 w.record.attempt->kill_ms = kNow;
             }),
             "kill SIGTERM"},
        Case{"then the grace",
             World().at(Stage::started).seen(ContainerState::running).with([](W w) {
                 w.record.attempt->kill_cause = KillCause::cancel;
                 w.record.attempt->kill_ms = kNow;
                 w.evidence.term_sent = true;
             }),
             "Wait"},
        Case{"then KILL", World().at(Stage::started).seen(ContainerState::running).with([](W w) {
                 w.record.attempt->kill_cause = KillCause::cancel;
                 w.record.attempt->kill_ms = kNow - 10'000;
                 w.evidence.term_sent = true;
             }),
             "kill SIGKILL"},
        Case{"a script that ends while it is being killed is recorded, not killed again",
             World().at(Stage::started).seen(ContainerState::exited).with([](W w) {
                 w.record.attempt->kill_cause = KillCause::cancel;
             }),
             "commit RecordExit"}));

HarvestEvidence harvested(ExitEvidence::Harvest state) {
    HarvestEvidence h;
    h.state = state;
    h.record = ExitRecord{};
    return h;
}

INSTANTIATE_TEST_SUITE_P(
    Ending, PlanTable,
    testing::Values(
        Case{"an ended container is harvested",
             World().at(Stage::exited).seen(ContainerState::exited), "harvest"},
        Case{"one that vanished is harvested through a probe",
             World().at(Stage::exited).with([](W w) { w.evidence.container = Container::absent; }),
             "harvest probe"},
        Case{"after a restart it is looked for first", World().at(Stage::exited),
             "InspectContainer"},
        Case{"a torn archive is fetched again",
             World().at(Stage::exited).seen(ContainerState::exited).with([](W w) {
                 w.evidence.harvest = harvested(ExitEvidence::Harvest::torn);
                 w.evidence.torn_harvests = 4;
             }),
             "harvest"},
        Case{"... a bounded number of times",
             World().at(Stage::exited).seen(ContainerState::exited).with([](W w) {
                 w.record.attempt->exit = store::EngineExit{};
                 w.evidence.harvest = harvested(ExitEvidence::Harvest::torn);
                 w.evidence.torn_harvests = 5;
             }),
             "finish lost VolumeVanished"},
        Case{"a whole harvest is concluded",
             World().at(Stage::exited).seen(ContainerState::exited).with([](W w) {
                 w.record.attempt->exit = store::EngineExit{};
                 w.evidence.harvest = harvested(ExitEvidence::Harvest::whole);
             }),
             "finish succeeded Completed"},
        Case{"a lost attempt is tried again when the run asked for it",
             World().at(Stage::exited).seen(ContainerState::exited).with([](W w) {
                 w.record.run.spec.max_attempts = 2;
                 w.evidence.harvest = harvested(ExitEvidence::Harvest::whole);
             }),
             "commit RetryRun"},
        Case{"a failed attempt is never tried again",
             World().at(Stage::exited).seen(ContainerState::exited).with([](W w) {
                 w.record.run.spec.max_attempts = 2;
                 w.record.attempt->exit = store::EngineExit{.exit_code = 1};
                 w.evidence.harvest = harvested(ExitEvidence::Harvest::whole);
                 w.evidence.harvest->record->exit_code = 1;
             }),
             "finish failed NonZeroExit"},
        Case{"then the container goes", World().at(Stage::ended).seen(ContainerState::exited),
             "RemoveContainer"},
        Case{"then the volume",
             World().at(Stage::ended).with([](W w) { w.evidence.container_removed = true; }),
             "RemoveVolume"},
        Case{"one that came late is looked for by its name",
             World().at(Stage::ended).with([](W w) { w.evidence.name_taken = true; }),
             "InspectContainer"},
        Case{"only then it is collected", World().at(Stage::ended).with([](W w) {
                 w.evidence.container_removed = true;
                 w.evidence.volume_removed = true;
             }),
             "commit MarkCollected"},
        Case{"a foreign container under our name is left alone",
             World().at(Stage::ended).with([](W w) { w.evidence.name_conflict = true; }),
             "RemoveVolume"},
        Case{"and then there is nothing left of it", World().at(Stage::ended).with([](W w) {
                 w.evidence.name_conflict = true;
                 w.evidence.volume_removed = true;
             }),
             "commit MarkCollected"},
        Case{"a collected run is forgotten", World().at(Stage::collected).with([](W w) {
                 w.record.run.status.phase = Phase::succeeded;
             }),
             "Forget"}));

TEST(Plan, TouchesTheEngineNeverWhileItIsDown) {
    for (const auto stage :
         {Stage::bound, Stage::start_intent, Stage::started, Stage::exited, Stage::ended}) {
        for (const auto state :
             {ContainerState::created, ContainerState::running, ContainerState::exited}) {
            for (const bool cancelled : {false, true}) {
                World w;
                w.at(stage).seen(state);
                w.engine_up = false;
                w.record.run.cancel_requested_ms = cancelled ? 1 : 0;
                const auto action = w.action();
                EXPECT_TRUE(std::holds_alternative<Wait>(action) ||
                            std::holds_alternative<Commit>(action))
                    << name_of(action) << " at " << to_string(stage);
            }
        }
    }
}

TEST(Plan, NamesAreFixedByTheBindAndCarryRunAttemptAndNonce) {
    const auto action = World().action();
    const auto& bind = std::get<store::BindAttempt>(std::get<Commit>(action).mutation);
    EXPECT_EQ(bind.attempt.container_name, "mayfly-01hf7yat00abcdefghjkmnpqrs-1");
    EXPECT_EQ(bind.attempt.volume_name, "mayfly-01hf7yat00abcdefghjkmnpqrs-1-nonce");
    EXPECT_EQ(bind.attempt.number, 1);
    EXPECT_EQ(bind.attempt.prepare_deadline_ms, kNow + 600'000);
}

TEST(Plan, ARunSlotIsHeldByWhatMayBeExecutingAndByNothingElse) {
    World w;
    EXPECT_FALSE(holds_run_slot(w.record, w.evidence));
    EXPECT_FALSE(holds_run_slot(w.at(Stage::bound).record, w.evidence));
    EXPECT_TRUE(holds_run_slot(w.at(Stage::start_intent).record, w.evidence));
    w.evidence.claim = Claim::untouched;
    EXPECT_FALSE(holds_run_slot(w.record, w.evidence)) << "the fence has proven that nothing runs";
    EXPECT_TRUE(holds_run_slot(w.at(Stage::started).record, w.evidence));
    EXPECT_FALSE(holds_run_slot(w.at(Stage::exited).record, w.evidence));
}

}  // namespace
}  // namespace mayfly::controller
