#include "store/transition.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

const std::string kId = id_of(1);

RunRecord queued() {
    RunRecord record;
    record.run.id = kId;
    record.run.spec = full_spec();
    record.run.status.created_ms = 1'000;
    record.run.queue_deadline_ms = 1'000 + 3'600'000;
    record.run.stored_bytes = 100;
    record.run.revision = 1;
    return record;
}

RunRecord after(std::vector<Mutation> mutations) {
    auto record = queued();
    for (const auto& mutation : mutations) {
        auto next = advance(record, mutation);
        if (!next) {
            ADD_FAILURE() << next.error().message;
            return record;
        }
        record = *std::move(next);
    }
    return record;
}

// Every place that a record can be in, on the way of a run that is retried once.
std::vector<std::pair<std::string, RunRecord>> places() {
    std::vector<Mutation> way;
    std::vector<std::pair<std::string, RunRecord>> all = {{"queued", queued()}};
    const auto step = [&](const char* name, const Mutation& mutation) {
        way.push_back(mutation);
        all.emplace_back(name, after(way));
    };
    step("bound", bind_attempt(kId, 1));
    step("start_intent", start_intent(kId, 1));
    step("started", started(kId, 1));
    step("exited", exited(kId, 1));
    step("retry", retried(kId, 1));
    step("retry collected", collected(kId, 1));
    step("bound again", bind_attempt(kId, 2));
    step("start_intent again", start_intent(kId, 2));
    step("started again", started(kId, 2));
    step("exited again", exited(kId, 2));
    step("finished", finished(kId, 2));
    step("collected", collected(kId, 2));
    return all;
}

struct Rule {
    const char* name;
    std::function<Mutation(std::int64_t attempt)> mutation;
    std::set<std::string> accepted;  // every other place is a conflict
};

const Rule kRules[] = {
    {"a run is bound when it waits and nothing of it is left",
     [](auto n) { return bind_attempt(kId, n + 1); },
     {"queued", "retry collected"}},
    {"what is not started yet may be pending",
     [](auto) {
         return SetPending{
             .run_id = kId, .now_ms = 9, .pending = Pending::DiskLow, .message = "8 MB"};
     },
     {"queued", "bound", "start_intent", "retry", "retry collected", "bound again",
      "start_intent again"}},
    {"a start is meant before it is seen",
     [](auto n) { return start_intent(kId, n); },
     {"bound", "start_intent", "bound again", "start_intent again"}},
    {"a start is seen after it was meant",
     [](auto n) { return started(kId, n); },
     {"start_intent", "start_intent again"}},
    {"a kill is for what may still run",
     [](auto n) {
         return RecordKill{.run_id = kId, .attempt = n, .now_ms = 9, .cause = KillCause::cancel};
     },
     {"bound", "start_intent", "started", "bound again", "start_intent again", "started again"}},
    {"an interruption is of what may run",
     [](auto n) { return RecordInterrupted{.run_id = kId, .attempt = n, .now_ms = 9}; },
     {"start_intent", "started", "start_intent again", "started again"}},
    {"an exit is of what may have run",
     [](auto n) { return exited(kId, n); },
     {"start_intent", "started", "start_intent again", "started again"}},
    {"every run that has not finished may finish",
     [](auto n) { return finished(kId, n); },
     {"queued", "bound", "start_intent", "started", "exited", "retry", "retry collected",
      "bound again", "start_intent again", "started again", "exited again"}},
    {"a live attempt may be retried",
     [](auto n) { return retried(kId, n); },
     {"bound", "start_intent", "started", "exited", "bound again", "start_intent again",
      "started again", "exited again"}},
    {"what has ended may be collected",
     [](auto n) { return collected(kId, n); },
     {"retry", "finished"}},
};

TEST(Transition, EachStartsOnlyFromWhereItMay) {
    for (const auto& rule : kRules) {
        for (const auto& [place, record] : places()) {
            auto next = advance(record, rule.mutation(record.run.status.attempt));
            ASSERT_EQ(next.has_value(), rule.accepted.contains(place))
                << rule.name << ", at " << place
                << (next ? std::string() : ": " + next.error().message);
            if (next) {
                EXPECT_EQ(next->run.revision, record.run.revision + 1) << rule.name;
            } else {
                EXPECT_EQ(next.error().kind, ErrorKind::conflict) << rule.name << ", " << place;
            }
        }
    }
}

TEST(Transition, NothingIsDoneForAnotherAttempt) {
    for (const auto& rule : kRules) {
        if (std::holds_alternative<SetPending>(rule.mutation(1))) continue;
        for (const auto& [place, record] : places()) {
            auto next = advance(record, rule.mutation(record.run.status.attempt + 1));
            ASSERT_FALSE(next) << rule.name << ", at " << place;
            EXPECT_EQ(next.error().kind, ErrorKind::conflict) << rule.name << ", at " << place;
        }
    }
}

TEST(Transition, WhatAnAttemptGathers) {
    auto record = after({bind_attempt(kId, 1)});
    EXPECT_EQ(record.run.status.phase, Phase::preparing);
    EXPECT_EQ(record.run.status.preparing_ms, 2'000);
    EXPECT_EQ(record.attempt->container_name, "mayfly-" + kId + "-1");

    record = after({bind_attempt(kId, 1), start_intent(kId, 1), start_intent(kId, 1)});
    EXPECT_EQ(record.attempt->start_tries, 2);
    EXPECT_EQ(record.attempt->start_intent_ms, 3'000);
    EXPECT_EQ(record.attempt->container_id, "c1");

    record = after({bind_attempt(kId, 1), start_intent(kId, 1), started(kId, 1), exited(kId, 1)});
    EXPECT_EQ(record.run.status.phase, Phase::harvesting);
    EXPECT_EQ(record.run.status.running_ms, 4'000);
    EXPECT_EQ(record.run.status.harvesting_ms, 5'000);
    EXPECT_EQ(record.attempt->run_deadline_ms, 64'000);
    EXPECT_EQ(record.attempt->exit, some_exit());
}

TEST(Transition, PendingIsClearedByEveryStepForward) {
    const auto pending = SetPending{
        .run_id = kId, .now_ms = 9, .pending = Pending::ImagePull, .message = "10 of 20 MB"};
    EXPECT_EQ(after({pending}).run.status.pending_message, "10 of 20 MB");
    EXPECT_EQ(after({pending, bind_attempt(kId, 1)}).run.status.pending, Pending::none);
    EXPECT_EQ(after({bind_attempt(kId, 1), start_intent(kId, 1), pending, started(kId, 1)})
                  .run.status.pending_message,
              "");
    EXPECT_EQ(after({bind_attempt(kId, 1), pending, finished(kId, 1)}).run.status.pending,
              Pending::none);
}

TEST(Transition, WhatChangesNothingKeepsTheRevision) {
    const auto kill = [](KillCause cause) {
        return RecordKill{.run_id = kId, .attempt = 1, .now_ms = 9, .cause = cause};
    };
    const std::vector<Mutation> twice[] = {
        {SetPending{.run_id = kId, .now_ms = 9, .pending = Pending::Capacity, .message = "full"}},
        {bind_attempt(kId, 1), kill(KillCause::cancel)},
        {bind_attempt(kId, 1), start_intent(kId, 1),
         RecordInterrupted{.run_id = kId, .attempt = 1, .now_ms = 9}},
    };
    for (const auto& way : twice) {
        auto record = after(way);
        auto again = advance(record, way.back());
        ASSERT_TRUE(again);
        EXPECT_EQ(*again, record) << name_of(way.back());
    }
    auto record =
        after({bind_attempt(kId, 1), kill(KillCause::cancel), kill(KillCause::run_timeout)});
    EXPECT_EQ(record.attempt->kill_cause, KillCause::cancel) << "the first cause stays";
}

TEST(Transition, FinishTakesTheHarvestAndSetsTheExpiry) {
    auto record = after({bind_attempt(kId, 1), start_intent(kId, 1), started(kId, 1),
                         exited(kId, 1), finished(kId, 1)});
    const auto& status = record.run.status;
    EXPECT_EQ(status.phase, Phase::failed);
    EXPECT_EQ(status.reason, Reason::NonZeroExit);
    EXPECT_EQ(status.finished_ms, 6'000);
    EXPECT_EQ(status.exit_code, 3);
    EXPECT_EQ(status.artifact_count, 2);
    EXPECT_EQ(status.artifact_bytes, 11);
    EXPECT_EQ(status.skipped_count, 102);
    EXPECT_EQ(record.run.expires_ms, 6'000 + 86'400'000);
    EXPECT_EQ(record.run.stored_bytes, 1'000);
    EXPECT_EQ(record.attempt->stage, Stage::ended);
    EXPECT_EQ(record.attempt->outcome, Phase::failed);
    EXPECT_FALSE(record.run.collected);
}

TEST(Transition, AListOfSkippedHasABound) {
    auto mutation = std::get<FinishRun>(finished(kId, 0));
    mutation.harvest.skipped.assign(500, {.path = "p", .reason = "device"});
    EXPECT_EQ(after({mutation}).run.status.skipped.size(), kMaxSkippedListed);
}

TEST(Transition, WithoutAnAttemptAFinishedRunIsCollectedAtOnce) {
    EXPECT_TRUE(after({finished(kId, 0, Phase::cancelled)}).run.collected);
}

TEST(Transition, AFinishWhileWaitingForARetryIsCollectedWhenTheOldAttemptIs) {
    const std::vector<Mutation> lost = {bind_attempt(kId, 1), start_intent(kId, 1),
                                        retried(kId, 1)};
    for (std::int64_t named : {0, 1}) {
        auto way = lost;
        way.push_back(finished(kId, named, Phase::cancelled));
        auto record = after(way);
        EXPECT_FALSE(record.run.collected) << named;
        EXPECT_EQ(record.attempt->outcome, Phase::lost) << "its outcome stays";
        way.push_back(collected(kId, 1));
        EXPECT_TRUE(after(way).run.collected) << named;
    }
    auto way = lost;
    way.push_back(collected(kId, 1));
    way.push_back(finished(kId, 0, Phase::cancelled));
    EXPECT_TRUE(after(way).run.collected);
}

TEST(Transition, ARetryQueuesTheRunAgainWithANewDeadline) {
    auto record =
        after({bind_attempt(kId, 1), start_intent(kId, 1), started(kId, 1), retried(kId, 1)});
    EXPECT_EQ(record.run.status.phase, Phase::queued);
    EXPECT_EQ(record.run.status.attempt, 1);
    EXPECT_EQ(record.run.status.pending, Pending::Backoff);
    EXPECT_EQ(record.run.status.pending_message,
              "attempt 1 ended as lost (EngineInterrupted): the engine went away");
    EXPECT_EQ(record.run.queue_deadline_ms, 6'000 + 3'600'000);
    EXPECT_EQ(record.attempt->outcome, Phase::lost);

    record = after({bind_attempt(kId, 1), start_intent(kId, 1), started(kId, 1), retried(kId, 1),
                    collected(kId, 1), bind_attempt(kId, 2)});
    EXPECT_EQ(record.run.status.preparing_ms, 2'000);
    EXPECT_EQ(record.run.status.running_ms, 0) << "the clocks are those of the newest attempt";
    EXPECT_EQ(record.attempt->number, 2);
}

TEST(Transition, NoMoreAttemptsThanAskedFor) {
    auto record = queued();
    record.run.spec.max_attempts = 1;
    record = *advance(record, bind_attempt(kId, 1));
    auto retry = advance(record, retried(kId, 1));
    ASSERT_FALSE(retry);
    EXPECT_EQ(retry.error().kind, ErrorKind::conflict);
}

TEST(Transition, WhatMakesNoSenseIsInvalid) {
    auto stage = std::get<BindAttempt>(bind_attempt(kId, 1));
    stage.attempt.stage = Stage::started;
    const std::pair<RunRecord, Mutation> cases[] = {
        {queued(), stage},
        {queued(), finished(kId, 0, Phase::running)},
        {after({bind_attempt(kId, 1)}), RecordKill{.run_id = kId, .attempt = 1}},
        {after({bind_attempt(kId, 1)}), RecordStartIntent{.run_id = kId, .attempt = 1}},
    };
    for (const auto& [record, mutation] : cases) {
        auto next = advance(record, mutation);
        ASSERT_FALSE(next) << name_of(mutation);
        EXPECT_EQ(next.error().kind, ErrorKind::invalid) << name_of(mutation);
    }
}

TEST(Transition, ACancelIsKeptOnceAndOnlyWhileNotTerminal) {
    auto cancelled = advance_cancel(queued(), 50);
    ASSERT_TRUE(cancelled);
    EXPECT_EQ(cancelled->run.cancel_requested_ms, 50);
    EXPECT_EQ(advance_cancel(*cancelled, 60), *cancelled) << "the first stays";
    auto done = after({finished(kId, 0)});
    EXPECT_EQ(advance_cancel(done, 60), done) << "a terminal run is unchanged";
}

TEST(Transition, ADeleteIsOfFinishedRunsAndHidesThem) {
    EXPECT_EQ(kind_of(advance_delete(queued(), 50)), ErrorKind::conflict);
    auto deleted = advance_delete(after({finished(kId, 0)}), 50);
    ASSERT_TRUE(deleted);
    EXPECT_EQ(deleted->run.delete_requested_ms, 50);
    EXPECT_EQ(kind_of(advance_delete(*deleted, 60)), ErrorKind::not_found);
    EXPECT_EQ(kind_of(advance_cancel(*deleted, 60)), ErrorKind::not_found);
}

}  // namespace
}  // namespace mayfly::store
