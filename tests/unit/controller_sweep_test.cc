#include "controller/sweep.h"

#include <gtest/gtest.h>

#include "controller/sandbox.h"

namespace mayfly::controller {
namespace {

constexpr store::UnixMs kNow = 10'000'000;
const std::string kRun = "01hf7yat00abcdefghjkmnpqrs";

SweepSettings settings() {
    SweepSettings s;
    s.instance_id = "me";
    return s;
}

OwnedObject object(std::string instance, std::string run, std::string attempt, std::int64_t age_ms,
                   std::string role = "run",
                   OwnedObject::Kind kind = OwnedObject::Kind::container) {
    return {kind,
            "id",
            "name",
            {{std::string(kLabelInstance), std::move(instance)},
             {std::string(kLabelRun), std::move(run)},
             {std::string(kLabelAttempt), std::move(attempt)},
             {std::string(kLabelRole), std::move(role)}},
            kNow - age_ms,
            false};
}

struct Case {
    std::string sentence;
    OwnedObject object;
    std::map<std::string, KnownRun> known;
    bool removed;
};

class Sweep : public testing::TestWithParam<Case> {};

TEST_P(Sweep, Holds) {
    const auto& c = GetParam();
    EXPECT_EQ(plan_sweep({c.object}, c.known, settings(), kNow).remove.size(), c.removed ? 1U : 0U)
        << c.sentence;
}

INSTANTIATE_TEST_SUITE_P(
    Table, Sweep,
    testing::Values(Case{"an object of another instance is not ours",
                         object("other", kRun, "1", 99'000'000),
                         {},
                         false},
                    Case{"what a plan still works on is the plan's",
                         object("me", kRun, "1", 99'000'000),
                         {{kRun, {1, true}}},
                         false},
                    Case{"what is left of an attempt that is over goes at once",
                         object("me", kRun, "1", 0),
                         {{kRun, {1, false}}},
                         true},
                    Case{"what is left of an earlier attempt goes while the next one runs",
                         object("me", kRun, "1", 0),
                         {{kRun, {2, true}}},
                         true},
                    Case{"an attempt newer than the record is left alone (a restored database)",
                         object("me", kRun, "3", 99'000'000),
                         {{kRun, {2, false}}},
                         false},
                    Case{"a run that no record knows is left alone within the grace",
                         object("me", kRun, "1", 599'000),
                         {},
                         false},
                    Case{"a run that no record knows goes after the grace",
                         object("me", kRun, "1", 601'000),
                         {},
                         true},
                    Case{"a probe goes after its own, shorter grace",
                         object("me", kRun, "1", 121'000, "probe"),
                         {{kRun, {1, true}}},
                         true},
                    Case{"a probe in use is left alone",
                         object("me", kRun, "1", 1'000, "probe"),
                         {{kRun, {1, true}}},
                         false},
                    Case{"a build container of a crash goes",
                         object("me", "", "", 121'000, "build"),
                         {},
                         true},
                    Case{"a label that is no number is left alone",
                         object("me", kRun, "1x", 99'000'000),
                         {{kRun, {1, false}}},
                         false},
                    Case{"a volume follows the same rule",
                         object("me", kRun, "1", 0, "run", OwnedObject::Kind::volume),
                         {{kRun, {1, false}}},
                         true}));

TEST(Sweep, LeavesAVolumeThatSomeContainerMounts) {
    auto volume = object("me", kRun, "1", 99'000'000, "run", OwnedObject::Kind::volume);
    volume.in_use = true;
    EXPECT_TRUE(plan_sweep({volume}, {{kRun, {1, false}}}, settings(), kNow).remove.empty());
}

TEST(Sweep, HoldsWhenMostOfWhatIsOursIsUnknown) {
    std::vector<OwnedObject> objects(11, object("me", kRun, "1", 99'000'000));
    const auto plan = plan_sweep(objects, {}, settings(), kNow);
    EXPECT_TRUE(plan.held);
    EXPECT_TRUE(plan.remove.empty());
    EXPECT_EQ(plan.orphan_containers, 11);
    objects.resize(10);
    EXPECT_EQ(plan_sweep(objects, {}, settings(), kNow).remove.size(), 10U) << "a few are swept";
}

TEST(Sweep, StillSweepsWhatIsKnownWhileItHoldsTheUnknown) {
    std::vector<OwnedObject> objects(20, object("me", kRun, "1", 99'000'000));
    objects.push_back(object("me", "01hf7yat00abcdefghjkmnpqrt", "1", 0));
    const auto plan =
        plan_sweep(objects, {{"01hf7yat00abcdefghjkmnpqrt", {1, false}}}, settings(), kNow);
    EXPECT_TRUE(plan.held);
    EXPECT_EQ(plan.remove.size(), 1U);
}

TEST(Sweep, RemovesContainersBeforeVolumes) {
    const auto plan = plan_sweep(
        {object("me", kRun, "1", 0, "run", OwnedObject::Kind::volume), object("me", kRun, "1", 0)},
        {{kRun, {1, false}}}, settings(), kNow);
    ASSERT_EQ(plan.remove.size(), 2U);
    EXPECT_EQ(plan.remove.front().object.kind, OwnedObject::Kind::container);
}

}  // namespace
}  // namespace mayfly::controller
