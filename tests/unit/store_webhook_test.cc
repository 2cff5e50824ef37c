// Deliveries: made with their event or not at all, found in their time, and never dropped while
// they are pending.
#include "store/webhook.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "store/schema.h"
#include "store/spec_json.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

constexpr const char* kUrl = "https://Example.com:8443/hook?token=t";
constexpr const char* kSecret = "a secret of some length";

NewRun told_run(std::int64_t n, bool all_events = false, const std::string& url = kUrl) {
    NewRun run = new_run(n);
    run.spec.webhook = Webhook{.url = url, .secret = kSecret, .all_events = all_events};
    return run;
}

std::vector<Mutation> to_the_end(const std::string& id) {
    return {bind_attempt(id, 1), start_intent(id, 1), started(id, 1), exited(id, 1),
            finished(id, 1)};
}

// As version 0.1.0 wrote it: without a member for what it did not know.
std::string canonical_spec_of_old() { return canonical_spec(full_spec()); }

class WebhookTest : public testing::Test {
protected:
    void end(std::int64_t n, bool all_events = false, const std::string& url = kUrl) {
        ASSERT_TRUE(create(*database_, told_run(n, all_events, url)));
        walk(*database_, to_the_end(id_of(n)));
    }
    WebhookHeads heads(std::int64_t limit = 100) {
        auto found = database_->webhook_heads(limit);
        EXPECT_TRUE(found) << found.error().message;
        return found ? *found : WebhookHeads{};
    }
    Result<void> record(const WebhookOutcome& outcome) {
        return commit(*database_, [&] { return database_->record_webhook(outcome); });
    }
    std::optional<WebhookProgress> progress(std::int64_t n) {
        auto found = database_->webhook_progress(id_of(n));
        EXPECT_TRUE(found) << found.error().message;
        return found ? *found : std::nullopt;
    }
    void purge(std::int64_t n) {
        ASSERT_TRUE(commit(*database_, [&] { return database_->request_delete(id_of(n), 9); }));
        walk(*database_, {collected(id_of(n), 1)});
        ASSERT_TRUE(commit(*database_, [&] { return database_->purge(id_of(n)); }));
    }
    std::int64_t rows() {
        database_.reset();
        std::int64_t count = 0;
        {
            SQLite::Database raw((folder_ / "mayfly.db").string(), SQLite::OPEN_READWRITE);
            count = raw.execAndGet("SELECT count(*) FROM webhook_deliveries").getInt64();
        }
        database_ = open_database(folder_ / "mayfly.db");
        return count;
    }

    TempFolder folder_;
    std::unique_ptr<Database> database_ = open_database(folder_ / "mayfly.db");
};

TEST_F(WebhookTest, TheEndOfARunIsOneDeliveryWithItsEvent) {
    ASSERT_TRUE(create(*database_, told_run(1)));
    EXPECT_FALSE(progress(1));
    EXPECT_EQ(heads().pending, 0);
    walk(*database_, to_the_end(id_of(1)));
    const auto found = heads();
    EXPECT_EQ(found.pending, 1);
    ASSERT_EQ(found.heads.size(), 1U);
    const auto& delivery = found.heads[0];
    EXPECT_EQ(delivery.run_id, id_of(1));
    EXPECT_EQ(delivery.origin, "https://example.com:8443");
    EXPECT_EQ(delivery.url, kUrl);
    EXPECT_EQ(delivery.secret, kSecret);
    EXPECT_EQ(delivery.tries, 0);
    EXPECT_EQ(delivery.next_ms, 6'000) << "at once";
    const auto event = database_->events({.after_id = delivery.event_id - 1, .limit = 1})->events;
    ASSERT_EQ(event.size(), 1U);
    EXPECT_EQ(delivery.payload, event_text(event[0]));
    EXPECT_EQ(nlohmann::json::parse(delivery.payload)["type"], "finished");
    EXPECT_EQ(delivery.payload.find(kSecret), std::string::npos);
}

TEST_F(WebhookTest, EveryEventIsADeliveryWhenAllAreAskedFor) {
    end(1, true);
    EXPECT_EQ(heads().pending, 5) << "created, preparing, running, harvesting, finished";
    ASSERT_EQ(heads().heads.size(), 1U) << "one at a time for each receiver";
    EXPECT_NE(heads().heads[0].payload.find("\"created\""), std::string::npos);
}

TEST_F(WebhookTest, ARunWithoutAWebhookAndAChangeThatIsTakenBackMakeNone) {
    ASSERT_TRUE(create(*database_, new_run(1)));
    walk(*database_, to_the_end(id_of(1)));
    ASSERT_TRUE(create(*database_, told_run(2)));
    auto way = to_the_end(id_of(2));
    const auto last = way.back();
    way.pop_back();
    walk(*database_, way);
    ASSERT_TRUE(database_->begin());
    ASSERT_TRUE(database_->apply(last));
    database_->rollback();
    EXPECT_EQ(heads().pending, 0);
}

TEST_F(WebhookTest, OfEachReceiverTheOneThatIsDueFirstInTheOrderOfTime) {
    for (std::int64_t n = 1; n <= 5; ++n) {
        end(n, false, n % 2 == 0 ? "http://b.example/x" : "http://a.example:8080?y");
    }
    auto found = heads();
    EXPECT_EQ(found.pending, 5);
    ASSERT_EQ(found.heads.size(), 2U);
    EXPECT_EQ(found.heads[0].run_id, id_of(1));
    EXPECT_EQ(found.heads[1].run_id, id_of(2));
    ASSERT_TRUE(record({.event_id = found.heads[0].event_id, .tries = 1, .next_ms = 99'000}));
    found = heads();
    EXPECT_EQ(found.heads[0].run_id, id_of(2));
    EXPECT_EQ(found.heads[1].run_id, id_of(3)) << "the next of that receiver";
    EXPECT_EQ(heads(1).heads.size(), 1U);
    EXPECT_EQ(heads(1).heads[0].run_id, id_of(2));
}

TEST_F(WebhookTest, ManyReceiversAreAllFound) {
    std::set<std::string> wanted;
    for (std::int64_t n = 1; n <= 40; ++n) {
        const auto url = "https://h" + std::to_string(n) + ".example/";
        end(n, n % 3 == 0, url);
        wanted.insert(origin_of(url));
    }
    std::set<std::string> found;
    for (const auto& delivery : heads().heads) found.insert(delivery.origin);
    EXPECT_EQ(found, wanted);
}

TEST_F(WebhookTest, AFailureIsKeptAcrossARestart) {
    end(1);
    const auto event_id = heads().heads[0].event_id;
    ASSERT_TRUE(record({.event_id = event_id,
                        .tries = 3,
                        .next_ms = 70'000,
                        .last_status = 503,
                        .last_error = "answered 503"}));
    database_.reset();
    database_ = open_database(folder_ / "mayfly.db");
    const auto found = heads();
    ASSERT_EQ(found.heads.size(), 1U);
    EXPECT_EQ(found.heads[0].tries, 3);
    EXPECT_EQ(found.heads[0].next_ms, 70'000);
    EXPECT_FALSE(found.heads[0].payload.empty());
    const auto now = progress(1);
    ASSERT_TRUE(now);
    EXPECT_EQ(now->state, DeliveryState::pending);
    EXPECT_EQ(now->last_status, 503);
    EXPECT_EQ(now->last_error, "answered 503");
}

TEST_F(WebhookTest, WhatIsOverKeepsNeitherSecretNorPayloadAndIsNotTriedAgain) {
    end(1);
    end(2);
    const auto first = heads().heads[0].event_id;
    ASSERT_TRUE(record({.event_id = first, .state = DeliveryState::delivered, .tries = 1}));
    const auto second = heads().heads[0].event_id;
    ASSERT_TRUE(record({.event_id = second,
                        .state = DeliveryState::given_up,
                        .tries = 20,
                        .last_error = "answered 500"}));
    EXPECT_EQ(heads().pending, 0);
    EXPECT_EQ(progress(1)->state, DeliveryState::delivered);
    EXPECT_EQ(progress(2)->state, DeliveryState::given_up);
    EXPECT_EQ(progress(2)->tries, 20);
    EXPECT_EQ(kind_of(record({.event_id = first, .tries = 2})), ErrorKind::conflict);
    EXPECT_EQ(kind_of(record({.event_id = 4'711, .tries = 1})), ErrorKind::conflict);
    EXPECT_TRUE(database_->integrity_check());
    database_.reset();
    SQLite::Database raw((folder_ / "mayfly.db").string(), SQLite::OPEN_READWRITE);
    EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM webhook_deliveries WHERE secret <> ''"
                             " OR payload <> ''")
                  .getInt(),
              0);
}

TEST_F(WebhookTest, APendingDeliveryOutlivesItsRunAndGoesWhenItIsOver) {
    end(1);
    end(2);
    const auto found = heads();
    ASSERT_TRUE(record(
        {.event_id = found.heads[0].event_id, .state = DeliveryState::delivered, .tries = 1}));
    purge(1);
    purge(2);
    EXPECT_EQ(rows(), 1) << "the delivered one went with its run, the pending one stays";
    EXPECT_EQ(heads().pending, 1);
    const auto left = heads().heads[0];
    EXPECT_EQ(left.run_id, id_of(2));
    EXPECT_EQ(left.secret, kSecret);
    ASSERT_TRUE(record({.event_id = left.event_id, .tries = 1, .next_ms = 9}));
    EXPECT_EQ(rows(), 1);
    ASSERT_TRUE(record({.event_id = left.event_id, .state = DeliveryState::given_up, .tries = 2}));
    EXPECT_EQ(rows(), 0);
    EXPECT_EQ(heads().pending, 0);
    EXPECT_TRUE(database_->integrity_check());
}

TEST_F(WebhookTest, TheLastEventOfARunThatExpiresIsToldAfterItIsGone) {
    end(1, true);
    walk(*database_, {collected(id_of(1), 1)});
    ASSERT_TRUE(commit(*database_, [&] { return database_->purge(id_of(1)); }));
    EXPECT_EQ(heads().pending, 6);
}

TEST_F(WebhookTest, ProgressPrefersWhatIsStillPending) {
    end(1, true);
    const auto first = heads().heads[0].event_id;
    ASSERT_TRUE(record({.event_id = first, .tries = 4, .next_ms = 99'000, .last_error = "no"}));
    while (heads().heads[0].event_id != first) {
        ASSERT_TRUE(record({.event_id = heads().heads[0].event_id,
                            .state = DeliveryState::delivered,
                            .tries = 1}));
    }
    EXPECT_EQ(progress(1)->event_id, first);
    EXPECT_EQ(progress(1)->tries, 4);
}

TEST_F(WebhookTest, TheDatabaseItselfHoldsTheRules) {
    end(1);
    end(2);
    ASSERT_TRUE(record(
        {.event_id = heads().heads[0].event_id, .state = DeliveryState::delivered, .tries = 1}));
    database_.reset();
    SQLite::Database raw((folder_ / "mayfly.db").string(), SQLite::OPEN_READWRITE);
    struct Case {
        const char* sql;
        const char* says;
    };
    const Case cases[] = {
        {"DELETE FROM webhook_deliveries WHERE state = 0", "pending stays"},
        {"UPDATE webhook_deliveries SET state = 0 WHERE state = 1", "forward"},
        {"UPDATE webhook_deliveries SET state = 2 WHERE state = 1", "forward"},
        {"UPDATE webhook_deliveries SET tries = -1 WHERE state = 0", "forward"},
        {"UPDATE webhook_deliveries SET payload = 'x' WHERE state = 0", "forward"},
        {"UPDATE webhook_deliveries SET url = 'x' WHERE state = 0", "names a delivery"},
        {"UPDATE webhook_deliveries SET state = 2 WHERE state = 0", "CHECK"},
    };
    for (const auto& c : cases) {
        std::string said;
        try {
            SQLite::Transaction undone(raw);
            raw.exec(c.sql);
        } catch (const SQLite::Exception& error) {
            said = error.what();
        }
        EXPECT_NE(said.find(c.says), std::string::npos) << c.sql << ": " << said;
    }
}

// A database as the program of each earlier version left it, with a run that has ended.
TEST(WebhookMigration, BringsADatabaseOfEachEarlierVersionAlong) {
    for (const int version : {1, 2}) {
        TempFolder folder;
        {
            SQLite::Database raw((folder / "mayfly.db").string(),
                                 SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
            migrate(raw, migrations().first(static_cast<std::size_t>(version)));
            raw.exec(
                "INSERT INTO runs (id, owner, idempotency_key, spec_sha256, created_ms,"
                " queue_deadline_ms, stored_bytes) VALUES ('" +
                id_of(1) + "', '', '', '', 1000, 9000, 10)");
            SQLite::Statement spec(raw, "INSERT INTO specs VALUES (1, ?)");
            spec.bind(1, canonical_spec_of_old());
            spec.exec();
        }
        auto database = open_database(folder / "mayfly.db");
        ASSERT_TRUE(database) << version;
        const auto old = database->get(id_of(1));
        ASSERT_TRUE(old) << old.error().message;
        EXPECT_EQ(old->run.spec.webhook, std::nullopt);
        walk(*database, to_the_end(id_of(1)));
        ASSERT_TRUE(create(*database, told_run(2)));
        walk(*database, to_the_end(id_of(2)));
        EXPECT_EQ(database->webhook_heads(10)->pending, 1) << version;
        EXPECT_TRUE(database->integrity_check()) << version;
    }
}

TEST(WebhookOrigin, IsSchemeHostAndPort) {
    EXPECT_EQ(origin_of("https://EXAMPLE.com/Path"), "https://example.com");
    EXPECT_EQ(origin_of("http://h:8080?q=/"), "http://h:8080");
    EXPECT_EQ(origin_of("http://[::1]:80/x"), "http://[::1]:80");
    EXPECT_EQ(origin_of("https://h"), "https://h");
    EXPECT_EQ(origin_of(""), "");
}

}  // namespace
}  // namespace mayfly::store
