#include "controller/overdue.h"

#include <gtest/gtest.h>

namespace mayfly::controller {
namespace {

using store::Phase;

constexpr store::UnixMs kNow = 10'000'000;

store::RunRecord record(Phase phase) {
    store::RunRecord record;
    record.run.status.phase = phase;
    record.run.status.harvesting_ms = kNow - 1'000;
    record.run.status.finished_ms = kNow - 1'000;
    record.attempt.emplace();
    record.attempt->prepare_deadline_ms = kNow + 1'000;
    record.attempt->run_deadline_ms = kNow + 1'000;
    return record;
}

TEST(Overdue, ARunInTimeIsNotStuck) {
    for (const auto phase : {Phase::queued, Phase::preparing, Phase::running, Phase::harvesting,
                             Phase::succeeded, Phase::lost}) {
        EXPECT_EQ(stuck_in(record(phase), kNow), Stuck::no) << store::to_string(phase);
    }
}

TEST(Overdue, EachPhaseIsStuckAMinuteAfterItsDeadlineAndNotBefore) {
    auto preparing = record(Phase::preparing);
    auto running = record(Phase::running);
    const auto deadline_ms = kNow + 1'000;
    const auto last_ms = deadline_ms + kStuckAfterDeadlineMs;
    EXPECT_EQ(stuck_in(preparing, last_ms), Stuck::no);
    EXPECT_EQ(stuck_in(preparing, last_ms + 1), Stuck::preparing);
    EXPECT_EQ(stuck_in(running, last_ms), Stuck::no);
    EXPECT_EQ(stuck_in(running, last_ms + 1), Stuck::running);
    preparing.run.status.pending = store::Pending::Capacity;
    EXPECT_EQ(stuck_in(preparing, last_ms + 1), Stuck::no) << "it waits for a slot";
}

TEST(Overdue, AHarvestAndARemovalAreStuckAfterTenMinutes) {
    EXPECT_EQ(stuck_in(record(Phase::harvesting), kNow + kStuckHarvestMs), Stuck::harvesting);
    auto ended = record(Phase::failed);
    EXPECT_EQ(stuck_in(ended, kNow + kStuckCollectMs), Stuck::collecting);
    ended.run.collected = true;
    EXPECT_EQ(stuck_in(ended, kNow + kStuckCollectMs), Stuck::no);
}

TEST(Overdue, WhatAScriptOrItsClientDidIsNotOurFailure) {
    for (int i = 0; i <= static_cast<int>(store::kLastReason); ++i) {
        const auto reason = static_cast<store::Reason>(i);
        const auto name = std::string(store::to_string(reason));
        const bool ours = name == "StartFailed" || name == "SandboxUnverified" ||
                          name == "ImageUnavailable" || name == "NameConflict" ||
                          name == "PrepareTimeout" || name == "EngineInterrupted" ||
                          name == "InputsMissing" || name == "InternalError";
        EXPECT_EQ(is_our_failure(reason), ours) << name;
    }
}

}  // namespace
}  // namespace mayfly::controller
