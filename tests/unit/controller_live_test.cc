#include "controller/live.h"

#include <gtest/gtest.h>

namespace mayfly::controller {
namespace {

const auto kLook = Action{InspectContainer{}}.index();
const auto kRemove = Action{RemoveVolume{}}.index();

TEST(Live, CountsOnThroughALookThatWorks) {
    Live live;
    live.step_failed(kRemove);
    live.step_worked(kLook);
    live.step_failed(kRemove);
    EXPECT_EQ(live.failures, 2);
}

TEST(Live, StopsCountingWhenWhatFailedHasWorked) {
    Live live;
    live.step_failed(kRemove);
    live.step_failed(kLook);
    live.step_worked(kLook);
    EXPECT_EQ(live.failures, 2);
    live.step_worked(kRemove);
    EXPECT_EQ(live.failures, 0);
}

TEST(Live, StopsCountingWhenTheRunMovesOn) {
    Live live;
    live.step_failed(kRemove);
    live.moved_on();
    EXPECT_EQ(live.failures, 0);
    live.step_failed(kRemove);
    EXPECT_EQ(live.failures, 1);
}

}  // namespace
}  // namespace mayfly::controller
