// The stream of events: which change makes which event, that it is one transaction with the
// change, and that a reader who comes again misses nothing.
#include "store/event.h"

#include <nlohmann/json.hpp>

#include "store/database.h"
#include "store/transition.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

class EventTest : public testing::Test {
protected:
    std::vector<Event> read(EventFilter filter = {}) {
        auto page = database_->events(filter);
        EXPECT_TRUE(page) << page.error().message;
        return page ? page->events : std::vector<Event>{};
    }
    std::vector<std::string> types(EventFilter filter = {}) {
        std::vector<std::string> out;
        for (const Event& event : read(std::move(filter))) {
            out.emplace_back(to_string(event.type));
        }
        return out;
    }
    void reopen() {
        database_.reset();
        database_ = open_database(folder_ / "mayfly.db");
    }

    TempFolder folder_;
    std::unique_ptr<Database> database_ = open_database(folder_ / "mayfly.db");
    const std::string id_ = id_of(1);
};

Mutation pending(const std::string& id, Pending why, std::string message) {
    return SetPending{
        .run_id = id, .now_ms = 1'500, .pending = why, .message = std::move(message)};
}

TEST_F(EventTest, EachChangeThatCanBeSeenIsOneEventAndNoOther) {
    ASSERT_TRUE(create(*database_, new_run(1)));
    walk(*database_, {pending(id_, Pending::Capacity, "4 of 4 run slots are taken"),
                      pending(id_, Pending::Capacity, "4 of 4 run slots are taken"),
                      bind_attempt(id_, 1), start_intent(id_, 1), started(id_, 1),
                      RecordInterrupted{.run_id = id_, .attempt = 1, .now_ms = 4'100}});
    const auto cancelled =
        commit(*database_, [&] { return database_->request_cancel(id_, 4'200); });
    ASSERT_TRUE(cancelled);
    walk(*database_,
         {RecordKill{.run_id = id_, .attempt = 1, .now_ms = 4'300, .cause = KillCause::cancel},
          exited(id_, 1), finished(id_, 1), collected(id_, 1)});
    ASSERT_TRUE(commit(*database_, [&] { return database_->request_delete(id_, 9'000); }));
    EXPECT_EQ(types(), (std::vector<std::string>{"created", "pending", "preparing", "running",
                                                 "interrupted", "cancel_requested", "stopping",
                                                 "harvesting", "finished", "deleted"}));
    ASSERT_TRUE(commit(*database_, [&] { return database_->purge(id_); }));
    EXPECT_EQ(read().size(), 10U) << "a run that was deleted tells nothing when it goes";
}

TEST_F(EventTest, ARetryIsToldWithWhatWasLost) {
    ASSERT_TRUE(create(*database_, new_run(1)));
    walk(*database_, {bind_attempt(id_, 1), start_intent(id_, 1), started(id_, 1), retried(id_, 1),
                      collected(id_, 1), bind_attempt(id_, 2)});
    EXPECT_EQ(types(), (std::vector<std::string>{"created", "preparing", "running", "retrying",
                                                 "preparing"}));
    const Event retry = read()[3];
    EXPECT_EQ(retry.phase, Phase::queued);
    EXPECT_NE(cause_of(retry).find("EngineInterrupted"), std::string::npos) << cause_of(retry);
}

TEST_F(EventTest, ARunThatGoesBecauseItsTimeIsOverSaysSo) {
    ASSERT_TRUE(create(*database_, new_run(1)));
    walk(*database_, {bind_attempt(id_, 1), start_intent(id_, 1), started(id_, 1), exited(id_, 1),
                      finished(id_, 1), collected(id_, 1)});
    ASSERT_TRUE(commit(*database_, [&] { return database_->purge(id_); }));
    const Event last = read().back();
    EXPECT_EQ(last.type, EventType::deleted);
    EXPECT_EQ(cause_of(last), "It was removed because its ttl_s is over.");
    EXPECT_EQ(last.at_ms, 6'000 + full_spec().ttl_s * 1'000);
}

TEST_F(EventTest, AnEventReadsBackWholeAlsoAfterARestart) {
    ASSERT_TRUE(create(*database_, new_run(1)));
    walk(*database_, {bind_attempt(id_, 1), start_intent(id_, 1), started(id_, 1), exited(id_, 1),
                      finished(id_, 1)});
    reopen();
    const Event last = read().back();
    const Event wanted{.id = 5,
                       .at_ms = 6'000,
                       .type = EventType::finished,
                       .run_id = id_,
                       .labels = {{"team", "blue"}, {"kind", "test"}},
                       .revision = 6,
                       .attempt = 1,
                       .phase = Phase::failed,
                       .reason = Reason::NonZeroExit,
                       .message = "exit code 3",
                       .exit_code = 3,
                       .signal = 9};
    EXPECT_EQ(last, wanted);
}

TEST_F(EventTest, AChangeThatIsTakenBackTellsNothing) {
    ASSERT_TRUE(create(*database_, new_run(1)));
    ASSERT_TRUE(database_->begin());
    ASSERT_TRUE(database_->apply(bind_attempt(id_, 1)));
    database_->rollback();
    ASSERT_FALSE(change(*database_, started(id_, 1)));
    EXPECT_EQ(types(), std::vector<std::string>{"created"});
}

TEST_F(EventTest, AReaderWhoGoesOnFromAnIdGetsEveryLaterOneOnce) {
    for (std::int64_t n = 1; n <= 30; ++n) ASSERT_TRUE(create(*database_, new_run(n)));
    std::int64_t at = 0;
    std::vector<std::int64_t> seen;
    while (true) {
        const auto page = database_->events({.after_id = at, .limit = 7});
        ASSERT_TRUE(page);
        for (const Event& event : page->events) seen.push_back(event.id);
        at = page->scanned_to;
        if (!page->more) break;
    }
    ASSERT_EQ(seen.size(), 30U);
    for (std::size_t i = 0; i < seen.size(); ++i) {
        EXPECT_EQ(seen[i], static_cast<std::int64_t>(i) + 1);
    }
}

TEST_F(EventTest, FiltersByRunAndLabelSkipRowsButNotThePlace) {
    for (std::int64_t n = 1; n <= 3; ++n) {
        NewRun run = new_run(n);
        run.spec.labels = {{"team", n == 2 ? "red" : "blue"}};
        ASSERT_TRUE(create(*database_, run));
    }
    const struct {
        const char* sentence;
        EventFilter filter;
        std::vector<std::int64_t> ids;
        std::int64_t scanned_to;
    } cases[] = {
        {"no filter", {}, {1, 2, 3}, 3},
        {"one run", {.run_ids = {id_of(2)}}, {2}, 2},
        {"two runs", {.run_ids = {id_of(1), id_of(3)}}, {1, 3}, 3},
        {"a label", {.labels = {{"team", "red"}}}, {2}, 3},
        {"a label that is another's value", {.labels = {{"team", "green"}}}, {}, 3},
        {"two labels must both match", {.labels = {{"team", "red"}, {"kind", "x"}}}, {}, 3},
        {"another owner", {.owner = "else"}, {}, 3},
        {"after the last", {.after_id = 3}, {}, 3},
    };
    for (const auto& c : cases) {
        const auto page = database_->events(c.filter);
        ASSERT_TRUE(page) << c.sentence;
        std::vector<std::int64_t> ids;
        for (const Event& event : page->events) ids.push_back(event.id);
        EXPECT_EQ(ids, c.ids) << c.sentence;
        EXPECT_EQ(page->scanned_to, c.scanned_to) << c.sentence;
    }
}

TEST_F(EventTest, TheOldestGoAndTheNumbersGoOn) {
    database_->keep_events(3);
    for (std::int64_t n = 1; n <= 10; ++n) ASSERT_TRUE(create(*database_, new_run(n)));
    const auto span = database_->event_span();
    ASSERT_TRUE(span);
    EXPECT_EQ(span->oldest, 8);
    EXPECT_EQ(span->newest, 10);
    reopen();
    database_->keep_events(1);
    ASSERT_TRUE(create(*database_, new_run(11)));
    EXPECT_EQ(read().size(), 1U);
    EXPECT_EQ(read().front().id, 11);
}

TEST_F(EventTest, LimitsOutOfRangeAreInvalid) {
    for (const std::int64_t limit : {std::int64_t{0}, kEventLimitMax + 1}) {
        EXPECT_EQ(kind_of(database_->events({.limit = limit})), ErrorKind::invalid) << limit;
    }
}

TEST(EventText, HasEveryFieldAndNullsForWhatIsNot) {
    const Event event{.id = 42,
                      .at_ms = 1'740'830'400'123,
                      .type = EventType::running,
                      .run_id = id_of(7),
                      .labels = {{"team", "blue"}},
                      .revision = 5,
                      .attempt = 1,
                      .phase = Phase::running};
    EXPECT_EQ(nlohmann::json::parse(event_text(event)), nlohmann::json::parse(R"({
        "id": 42, "at": "2025-03-01T12:00:00.123Z", "type": "running",
        "run_id": "00000000000000000000000007", "labels": {"team": "blue"}, "revision": 5,
        "attempt": 1, "phase": "running", "reason": null, "message": null,
        "pending_reason": null, "pending_message": null, "exit_code": null, "signal": null})"));
    EXPECT_EQ(event_text(event).find('\n'), std::string::npos);
}

TEST(EventText, NamesOfTypesReadBack) {
    for (int i = 0; i <= static_cast<int>(kLastEventType); ++i) {
        const auto type = static_cast<EventType>(i);
        EXPECT_EQ(parse_event_type(to_string(type)), type);
    }
    EXPECT_FALSE(parse_event_type("Running"));
}

}  // namespace
}  // namespace mayfly::store
