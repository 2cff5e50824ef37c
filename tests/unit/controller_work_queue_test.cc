#include "controller/work_queue.h"

#include <gtest/gtest.h>

#include "controller/backoff.h"
#include "controller/slots.h"

namespace mayfly::controller {
namespace {

TEST(WorkQueue, GivesAKeyThatWasAddedTwiceOnce) {
    WorkQueue queue;
    queue.add("a", 1);
    queue.add("a", 2);
    EXPECT_EQ(queue.take(3), "a");
    EXPECT_EQ(queue.take(3), std::nullopt);
}

TEST(WorkQueue, DoesNotGiveOutAKeyThatIsBeingWorkedOnAndGivesItAgainAfterwards) {
    WorkQueue queue;
    queue.add("a", 1);
    ASSERT_EQ(queue.take(1), "a");
    queue.add("a", 2);
    EXPECT_EQ(queue.take(2), std::nullopt);
    queue.done("a", 3);
    EXPECT_EQ(queue.take(3), "a");
    queue.done("a", 4);
    EXPECT_EQ(queue.take(4), std::nullopt);
}

TEST(WorkQueue, KeepsTheEarlierOfTwoDelays) {
    WorkQueue queue;
    queue.add_at("a", 100, 0);
    queue.add_at("a", 50, 0);
    queue.add_at("a", 70, 0);
    EXPECT_EQ(queue.next_due_ms(), 50);
    EXPECT_EQ(queue.take(49), std::nullopt);
    EXPECT_EQ(queue.take(50), "a");
    queue.done("a", 51);
    EXPECT_EQ(queue.take(200), std::nullopt);
}

TEST(WorkQueue, ForgetsADelayWhenTheKeyIsAddedWithoutOne) {
    WorkQueue queue;
    queue.add_at("a", 100, 0);
    queue.add("a", 1);
    EXPECT_EQ(queue.take(1), "a");
    queue.done("a", 2);
    EXPECT_EQ(queue.take(150), std::nullopt);
}

TEST(WorkQueue, RemembersADelayThatFellDueWhileTheKeyWasBeingWorkedOn) {
    WorkQueue queue;
    queue.add("a", 0);
    ASSERT_EQ(queue.take(0), "a");
    queue.add_at("a", 10, 0);
    EXPECT_EQ(queue.take(20), std::nullopt);
    queue.done("a", 21);
    EXPECT_EQ(queue.take(21), "a");
}

TEST(WorkQueue, ForgetsAKeyWhereverItIs) {
    WorkQueue queue;
    queue.add("ready", 0);
    queue.add_at("delayed", 5, 0);
    queue.forget("ready");
    queue.forget("delayed");
    EXPECT_EQ(queue.take(10), std::nullopt);
    EXPECT_EQ(queue.next_due_ms(), std::nullopt);
}

TEST(WorkQueue, TellsHowLongAKeyWaited) {
    WorkQueue queue;
    queue.add("a", 10);
    ASSERT_EQ(queue.take(35), "a");
    EXPECT_EQ(queue.last_wait_ms(), 25);
}

TEST(Backoff, DoublesUpToItsCeilingAndNeverLeavesTheUpperHalf) {
    const BackoffPolicy policy{100, 1'000};
    const std::int64_t expected[] = {100, 200, 400, 800, 1'000, 1'000};
    for (std::int64_t n = 1; n <= 6; ++n) {
        for (std::uint64_t random : {0ULL, 1ULL, 77ULL, ~0ULL}) {
            const auto delay = backoff_ms(policy, n, random);
            EXPECT_GE(delay, expected[n - 1] / 2) << n;
            EXPECT_LE(delay, expected[n - 1]) << n;
        }
    }
    EXPECT_LE(backoff_ms(policy, 1'000'000, 3), 1'000);
}

TEST(WorkSlots, HandAFreedSlotToWhatEndsARunBeforeWhatPreparesOne) {
    WorkSlots slots(1);
    EXPECT_TRUE(slots.acquire("a", WorkClass::create));
    EXPECT_FALSE(slots.acquire("b", WorkClass::create));
    EXPECT_FALSE(slots.acquire("c", WorkClass::harvest));
    EXPECT_EQ(slots.release("a"), "c");
    EXPECT_FALSE(slots.acquire("d", WorkClass::harvest)) << "the slot is reserved for c";
    EXPECT_TRUE(slots.acquire("c", WorkClass::harvest));
    EXPECT_EQ(slots.used(), 1);
}

TEST(WorkSlots, LeaveHalfToOthersWhenThereAreManyHarvests) {
    WorkSlots slots(4);
    EXPECT_TRUE(slots.acquire("h1", WorkClass::harvest));
    EXPECT_TRUE(slots.acquire("h2", WorkClass::harvest));
    EXPECT_FALSE(slots.acquire("h3", WorkClass::harvest));
    EXPECT_TRUE(slots.acquire("s", WorkClass::start));
    EXPECT_EQ(slots.release("s"), std::nullopt) << "a third harvest has no room";
    EXPECT_EQ(slots.release("h1"), "h3");
    EXPECT_TRUE(slots.acquire("h3", WorkClass::harvest));
}

TEST(WorkSlots, PassAReservationOnWhenItsKeyNeedsItNoMore) {
    WorkSlots slots(1);
    ASSERT_TRUE(slots.acquire("a", WorkClass::start));
    ASSERT_FALSE(slots.acquire("b", WorkClass::start));
    ASSERT_FALSE(slots.acquire("c", WorkClass::start));
    ASSERT_EQ(slots.release("a"), "b");
    EXPECT_EQ(slots.forget("b"), "c");
    EXPECT_TRUE(slots.acquire("c", WorkClass::start));
    EXPECT_EQ(slots.release("c"), std::nullopt);
    EXPECT_EQ(slots.used(), 0);
}

TEST(WorkSlots, SkipAKeyThatWentAwayWhileItWaited) {
    WorkSlots slots(1);
    ASSERT_TRUE(slots.acquire("a", WorkClass::start));
    ASSERT_FALSE(slots.acquire("b", WorkClass::start));
    EXPECT_EQ(slots.forget("b"), std::nullopt);
    EXPECT_EQ(slots.release("a"), std::nullopt);
    EXPECT_EQ(slots.used(), 0);
}

}  // namespace
}  // namespace mayfly::controller
