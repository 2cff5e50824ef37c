// Every place where a run can stand, in words.
#include "controller/explain.h"

#include <gtest/gtest.h>

#include <functional>

namespace mayfly::controller {
namespace {

using store::Phase;
using store::Stage;

constexpr store::UnixMs kNow = 1'000'000;

struct Case {
    const char* sentence;
    std::function<void(store::RunRecord&, Evidence&, ImageEvidence&, Grants&, bool&)> change;
    const char* action;
    const char* headline;
    const char* waits_for;
};

void at(store::RunRecord& record, Stage stage, Phase phase) {
    record.attempt = store::Attempt{};
    record.attempt->number = 1;
    record.attempt->stage = stage;
    record.attempt->container_id = "id";
    record.attempt->prepare_deadline_ms = kNow + 600'000;
    record.attempt->run_deadline_ms = kNow + 60'000;
    record.run.status.attempt = 1;
    record.run.status.phase = phase;
}

void seen(Evidence& evidence, ContainerState state) {
    evidence.container = Evidence::Container::present;
    evidence.container_id = "id";
    evidence.state = state;
    evidence.facts = ContainerFacts{};
    evidence.facts->state = state;
}

const Case kCases[] = {
    {"queued, no place",
     [](auto& record, auto&, auto&, auto& grants, bool&) {
         record.run.status.pending = store::Pending::Capacity;
         record.run.status.pending_message = "waiting for a free run slot";
         grants.prepare = false;
     },
     "Wait", "Waiting for a free place", "a free run slot"},
    {"queued, engine down",
     [](auto& record, auto&, auto&, auto&, bool& engine_up) {
         record.run.status.pending = store::Pending::EngineDown;
         record.run.status.pending_message = "down";
         engine_up = false;
     },
     "Wait", "Waiting for the engine", "the engine"},
    {"queued, with a place", [](auto&, auto&, auto&, auto&, bool&) {}, "BindAttempt",
     "About to be prepared", ""},
    {"bound, nothing seen",
     [](auto& record, auto&, auto&, auto&, bool&) { at(record, Stage::bound, Phase::preparing); },
     "CreateContainer", "Creating its container", ""},
    {"bound, the image is pulled",
     [](auto& record, auto&, auto& image, auto&, bool&) {
         at(record, Stage::bound, Phase::preparing);
         record.run.status.pending = store::Pending::ImagePull;
         record.run.status.pending_message = "Downloading 12 of 40 MB";
         image = {ImageEvidence::State::working, "", store::Reason::none,
                  "Downloading 12 of 40 MB"};
     },
     "Wait", "Waiting for its image: Downloading 12 of 40 MB", "the image"},
    {"prepared ahead",
     [](auto& record, auto& evidence, auto&, auto& grants, bool&) {
         at(record, Stage::bound, Phase::preparing);
         seen(evidence, ContainerState::created);
         evidence.verified = evidence.inputs_put = true;
         grants.start = false;
         record.run.status.pending = store::Pending::Capacity;
         record.run.status.pending_message = "waiting for a free run slot";
     },
     "Wait", "Ready to start, waiting for a run slot", "a free run slot"},
    {"after a lost answer",
     [](auto& record, auto& evidence, auto&, auto&, bool&) {
         at(record, Stage::start_intent, Phase::preparing);
         seen(evidence, ContainerState::created);
         evidence.start = Evidence::Start::unclear;
     },
     "FenceContainer", "Removing a container that may have started", ""},
    {"running",
     [](auto& record, auto& evidence, auto&, auto&, bool&) {
         at(record, Stage::started, Phase::running);
         seen(evidence, ContainerState::running);
     },
     "Wait", "Running", "the end of the script"},
    {"running, engine down",
     [](auto& record, auto&, auto&, auto&, bool& engine_up) {
         at(record, Stage::started, Phase::running);
         engine_up = false;
     },
     "Wait", "Waiting for the engine", "the engine"},
    {"being stopped",
     [](auto& record, auto& evidence, auto&, auto&, bool&) {
         at(record, Stage::started, Phase::running);
         seen(evidence, ContainerState::running);
         record.attempt->kill_cause = store::KillCause::cancel;
         record.attempt->kill_ms = kNow;
         evidence.term_sent = true;
     },
     "Wait", "Being stopped", "the end of its container"},
    {"exited",
     [](auto& record, auto& evidence, auto&, auto&, bool&) {
         at(record, Stage::exited, Phase::harvesting);
         seen(evidence, ContainerState::exited);
     },
     "Harvest", "Harvesting exit, logs and artifacts", ""},
    {"ended, still on the engine",
     [](auto& record, auto& evidence, auto&, auto&, bool&) {
         at(record, Stage::ended, Phase::succeeded);
         seen(evidence, ContainerState::exited);
     },
     "RemoveContainer", "Removing its container", ""},
};

TEST(Explain, EveryPlaceWhereARunCanStandHasItsWords) {
    for (const Case& c : kCases) {
        store::RunRecord record;
        record.run.spec.limits.timeout_s = 60;
        record.run.status.created_ms = kNow - 5'000;
        record.run.queue_deadline_ms = kNow + 100'000;
        Evidence evidence;
        ImageEvidence image{ImageEvidence::State::ready, "sha256:x", store::Reason::none, ""};
        Grants grants{true, true, store::Pending::Capacity, "waiting for a free run slot"};
        bool engine_up = true;
        c.change(record, evidence, image, grants, engine_up);
        const Observation observation{record,    evidence, image,   grants, engine_up,
                                      "default", "down",   "nonce", kNow,   kNow};
        const auto told = explain(observation, PlanSettings{});
        EXPECT_EQ(told.action, c.action) << c.sentence;
        EXPECT_EQ(told.headline, c.headline) << c.sentence;
        EXPECT_EQ(told.waits_for, c.waits_for) << c.sentence;
        EXPECT_FALSE(told.why.empty()) << c.sentence;
        ASSERT_FALSE(told.saw.empty()) << c.sentence;
        EXPECT_EQ(told.saw.front().what, "engine") << c.sentence;
        EXPECT_EQ(told.saw.front().is, engine_up ? "up" : "down") << c.sentence;
        EXPECT_TRUE(told.until_ms == 0 || told.action == "Wait") << c.sentence;
    }
}

}  // namespace
}  // namespace mayfly::controller
