// The rules that the database holds by itself, tried with raw SQL, and how the schema comes to be.
#include "store/schema.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "store/file_system.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

// One run at each place: 1 queued, 2 preparing, 3 running, 4 harvesting, 5 finished and its
// webhook pending, 6 collected, 7 waiting for a retry with its attempt collected, 8 the same not
// collected, 9 deleted, 10 cancelled while queued with a wish to kill.
void fill(Database& db) {
    for (std::int64_t n = 1; n <= 10; ++n) {
        auto run = new_run(n);
        if (n == 5) run.spec.webhook = Webhook{.url = "http://h/"};
        ASSERT_TRUE(create(db, run));
    }
    const auto to = [&db](std::int64_t n, std::size_t steps) {
        const auto id = id_of(n);
        const std::vector<Mutation> way = {bind_attempt(id, 1), start_intent(id, 1),
                                           started(id, 1),      exited(id, 1),
                                           finished(id, 1),     collected(id, 1)};
        walk(db, {way.begin(), way.begin() + static_cast<std::ptrdiff_t>(steps)});
    };
    to(2, 2);
    to(3, 3);
    to(4, 4);
    to(5, 5);
    to(6, 6);
    to(7, 3);
    walk(db, {retried(id_of(7), 1), collected(id_of(7), 1)});
    to(8, 3);
    walk(db, {retried(id_of(8), 1)});
    to(9, 6);
    ASSERT_TRUE(commit(db, [&] { return db.request_delete(id_of(9), 9); }));
    ASSERT_TRUE(commit(db, [&] { return db.request_cancel(id_of(10), 9); }));
    walk(db,
         {bind_attempt(id_of(10), 1),
          RecordKill{.run_id = id_of(10), .attempt = 1, .now_ms = 9, .cause = KillCause::cancel}});
}

class RawSql : public testing::Test {
protected:
    void SetUp() override {
        {
            auto db = open_database(folder_ / "mayfly.db");
            fill(*db);
        }
        raw_ = std::make_unique<SQLite::Database>((folder_ / "mayfly.db").string(),
                                                  SQLite::OPEN_READWRITE);
        raw_->exec("PRAGMA foreign_keys = ON");
    }

    // What the database says to `sql`, whose ids are written #n; "" when it agrees. Always undone.
    std::string tried(std::string sql) {
        for (std::int64_t n = 10; n >= 1; --n) {
            const std::string mark = "#" + std::to_string(n);
            for (auto at = sql.find(mark); at != std::string::npos; at = sql.find(mark)) {
                sql.replace(at, mark.size(), "'" + id_of(n) + "'");
            }
        }
        SQLite::Transaction undone(*raw_);
        try {
            if (raw_->exec(sql) == 0) return "no row was meant: " + sql;
            return "";
        } catch (const SQLite::Exception& error) {
            return error.what();
        }
    }

    TempFolder folder_;
    std::unique_ptr<SQLite::Database> raw_;
};

struct Forbidden {
    const char* name;
    const char* sql;
    const char* sentence;
};

constexpr const char* kForward = "a run only moves forward";
constexpr const char* kTerminal = "a terminal status never changes";
constexpr const char* kRetry = "a run is queued again only when its attempt has ended";
constexpr const char* kNamed = "what names a run never changes";
constexpr const char* kOnce = "a request or a collection is never taken back";
constexpr const char* kNamesAttempt = "what names an attempt never changes";
constexpr const char* kOutcome = "an outcome never changes";
constexpr const char* kExitOnce = "exit facts are recorded once";
constexpr const char* kOneByOne = "an attempt follows only one that is collected";
constexpr const char* kContainer = "a container is named only with the intent to start it";
constexpr const char* kManifest = "a manifest never changes";
constexpr const char* kCheck = "CHECK constraint failed";

const Forbidden kForbidden[] = {
    {"running back to preparing",
     "UPDATE runs SET phase = 1, revision = revision + 1 WHERE id = #3", kForward},
    {"harvesting back to running",
     "UPDATE runs SET phase = 2, revision = revision + 1 WHERE id = #4", kForward},
    {"an epoch back", "UPDATE runs SET epoch = 0, revision = revision + 1 WHERE id = #7",
     kForward},
    {"an attempt back", "UPDATE runs SET attempt = 0, revision = revision + 1 WHERE id = #7",
     kForward},
    {"queued again while its attempt lives",
     "UPDATE runs SET phase = 0, epoch = 1, revision = revision + 1 WHERE id = #3", kRetry},
    {"a retry into another phase than queued",
     "UPDATE runs SET phase = 1, epoch = 2, revision = revision + 1 WHERE id = #8", kRetry},
    {"two epochs at once",
     "UPDATE runs SET epoch = 3, attempt = 3, revision = revision + 1 WHERE id = #8", kRetry},
    {"queued without leaving its attempt behind",
     "UPDATE runs SET phase = 0, revision = revision + 1 WHERE id = #2", kForward},
    {"an attempt that skips the binding",
     "UPDATE runs SET attempt = 1, revision = revision + 1 WHERE id = #1", kCheck},
    {"preparing without an attempt",
     "UPDATE runs SET phase = 1, revision = revision + 1 WHERE id = #1", kCheck},
    {"a phase that is none", "UPDATE runs SET phase = 9, revision = revision + 1 WHERE id = #3",
     kCheck},
    {"collected before it has finished",
     "UPDATE runs SET collected = 1, revision = revision + 1 WHERE id = #3", kCheck},
    {"deleted before it has finished",
     "UPDATE runs SET delete_requested_ms = 1, revision = revision + 1 WHERE id = #3", kCheck},

    {"another outcome", "UPDATE runs SET phase = 4, revision = revision + 1 WHERE id = #5",
     kTerminal},
    {"a later outcome", "UPDATE runs SET phase = 8, revision = revision + 1 WHERE id = #5",
     kTerminal},
    {"back from the dead", "UPDATE runs SET phase = 0, revision = revision + 1 WHERE id = #6",
     kTerminal},
    {"another id", "UPDATE runs SET id = #1 || '', revision = revision + 1 WHERE id = #2", kNamed},
    {"another owner", "UPDATE runs SET owner = 'eve', revision = revision + 1 WHERE id = #1",
     kNamed},
    {"another key", "UPDATE runs SET idempotency_key = 'k', revision = revision + 1 WHERE id = #1",
     kNamed},
    {"another hash of the spec",
     "UPDATE runs SET spec_sha256 = '', revision = revision + 1 WHERE id = #1", kNamed},
    {"another birthday", "UPDATE runs SET created_ms = 0, revision = revision + 1 WHERE id = #1",
     kNamed},
    {"another spec", "UPDATE specs SET spec = '{}' WHERE seq = 1", "a spec never changes"},
    {"no spec", "DELETE FROM specs WHERE seq = 1", "a spec goes only with its run"},
    {"other labels", "UPDATE labels SET value = 'red' WHERE run_id = #1",
     "labels are part of the spec and never change"},
    {"a change without a revision", "UPDATE runs SET pending = 'DiskLow' WHERE id = #1",
     "every change of a run is one revision"},
    {"a revision back", "UPDATE runs SET revision = revision - 1 WHERE id = #3",
     "every change of a run is one revision"},
    {"a purge of what is not collected", "DELETE FROM runs WHERE id = #5",
     "a run is purged only when it is collected"},
    {"collected taken back",
     "UPDATE runs SET collected = 0, revision = revision + 1 WHERE id = #6", kOnce},
    {"a tombstone taken back",
     "UPDATE runs SET delete_requested_ms = 0, revision = revision + 1 WHERE id = #9", kOnce},
    {"a cancel taken back",
     "UPDATE runs SET cancel_requested_ms = 0, revision = revision + 1 WHERE id = #10", kOnce},

    {"an attempt back to bound", "UPDATE attempts SET stage = 0 WHERE run_id = #3",
     "an attempt only moves forward"},
    {"a collected attempt back", "UPDATE attempts SET stage = 4 WHERE run_id = #6",
     "an attempt only moves forward"},
    {"a stage that is none", "UPDATE attempts SET stage = 6, outcome = 8 WHERE run_id = #3",
     kCheck},
    {"ended without an outcome", "UPDATE attempts SET stage = 4 WHERE run_id = #3", kCheck},
    {"an outcome before the end", "UPDATE attempts SET outcome = 4 WHERE run_id = #3", kCheck},
    {"another outcome of an attempt", "UPDATE attempts SET outcome = 8 WHERE run_id = #5",
     kOutcome},
    {"a later start", "UPDATE attempts SET started_ms = 9 WHERE run_id = #5", kOutcome},
    {"an interruption after the end",
     "UPDATE attempts SET engine_interrupted = 1 WHERE run_id = #5", kOutcome},
    {"another exit code", "UPDATE attempts SET exit_code = 0 WHERE run_id = #4", kExitOnce},
    {"an exit unseen", "UPDATE attempts SET exit_seen = 0 WHERE run_id = #5", kExitOnce},
    {"another container name", "UPDATE attempts SET container_name = 'x' WHERE run_id = #2",
     kNamesAttempt},
    {"another volume", "UPDATE attempts SET volume_name = 'x' WHERE run_id = #2", kNamesAttempt},
    {"another engine", "UPDATE attempts SET engine = 'x' WHERE run_id = #2", kNamesAttempt},
    {"another number", "UPDATE attempts SET number = 2 WHERE run_id = #2", kNamesAttempt},
    {"another container after the start",
     "UPDATE attempts SET container_id = 'x' WHERE run_id = #3", kContainer},
    {"a start uncounted", "UPDATE attempts SET start_tries = 0 WHERE run_id = #2", kContainer},
    {"another cause of a kill",
     "UPDATE attempts SET kill_cause = 'run_timeout' WHERE run_id = #10",
     "the first cause of a kill stays"},
    {"a second attempt beside a live one",
     "INSERT INTO attempts (run_id, number, engine, container_name, volume_name, nonce, bound_ms, "
     "prepare_deadline_ms) VALUES (#3, 2, '', '', '', '', 0, 0)",
     kOneByOne},
    {"a second attempt before the first is collected",
     "INSERT INTO attempts (run_id, number, engine, container_name, volume_name, nonce, bound_ms, "
     "prepare_deadline_ms) VALUES (#8, 2, '', '', '', '', 0, 0)",
     kOneByOne},
    {"an attempt left out",
     "INSERT INTO attempts (run_id, number, engine, container_name, volume_name, nonce, bound_ms, "
     "prepare_deadline_ms) VALUES (#7, 3, '', '', '', '', 0, 0)",
     kOneByOne},
    {"an attempt gone", "DELETE FROM attempts WHERE run_id = #3",
     "an attempt goes only with its run"},

    {"a late artifact", "INSERT INTO artifacts VALUES (#5, 'late', 0, 0, '', 0)",
     "a manifest is whole when its run is terminal"},
    {"another hash", "UPDATE artifacts SET sha256 = '' WHERE run_id = #5", kManifest},
    {"another place in the tar", "UPDATE artifacts SET \"offset\" = 0 WHERE run_id = #5",
     kManifest},
    {"an artifact gone", "DELETE FROM artifacts WHERE run_id = #5",
     "a manifest goes only with its run"},
    {"an artifact of no run", "INSERT INTO artifacts VALUES ('none', 'a', 0, 0, '', 0)",
     "FOREIGN KEY constraint failed"},
    {"a late result",
     "INSERT INTO results VALUES ((SELECT seq FROM runs WHERE id = #6) + 100, '1')",
     "FOREIGN KEY constraint failed"},
    {"a result in place of another", "UPDATE results SET json = '0'", "a result never changes"},
    {"a result gone", "DELETE FROM results", "a result goes only with its run"},
    {"another instance id", "UPDATE meta SET value = 'x' WHERE key = 'instance_id'",
     "the instance id never changes"},
    {"no instance id", "DELETE FROM meta", "the instance id never changes"},
    {"a key twice",
     "INSERT INTO runs (id, owner, idempotency_key, spec_sha256, created_ms, "
     "queue_deadline_ms, stored_bytes) SELECT substr(id, 1, 25) || char(96 + n), "
     "'', 'k', '', 0, 0, 0 FROM runs, (SELECT 1 n UNION SELECT 2) WHERE id = #1",
     "UNIQUE constraint failed"},
    {"an event rewritten", "UPDATE events SET message = 'x' WHERE id = 1",
     "what happened never changes"},
    {"an event before the newest",
     "INSERT INTO events SELECT 0, at_ms, type, run_id, owner, labels, revision, attempt, phase, "
     "reason, message, pending, pending_message, exit_code, signal FROM events WHERE id = 1",
     "events are numbered in the order in which they happen"},
    {"the newest event gone", "DELETE FROM events",
     "the newest event stays: its number is the place to go on from"},
    {"another receiver for a delivery", "UPDATE webhook_deliveries SET url = 'http://other/'",
     "what names a delivery never changes"},
    {"a try taken back", "UPDATE webhook_deliveries SET tries = -1",
     "a delivery only moves forward"},
    {"a pending delivery removed", "DELETE FROM webhook_deliveries",
     "a delivery that is pending stays"},
};

TEST_F(RawSql, WhatNeverHappensIsRefusedByTheDatabaseItself) {
    for (const auto& c : kForbidden) {
        const auto said = tried(c.sql);
        EXPECT_NE(said.find(c.sentence), std::string::npos)
            << c.name << "\n  said: " << (said.empty() ? "nothing" : said);
    }
}

TEST_F(RawSql, EveryFieldOfATerminalStatusIsHeld) {
    // The columns that may still change; all the others are in the trigger, whoever adds one.
    const std::set<std::string> open = {"revision", "collected", "delete_requested_ms"};
    SQLite::Statement columns(*raw_, "SELECT name, type FROM pragma_table_info('runs')");
    int held = 0;
    while (columns.executeStep()) {
        const auto name = columns.getColumn(0).getString();
        if (open.contains(name)) continue;
        const bool text = columns.getColumn(1).getString() == "TEXT";
        const std::string value = text ? "'other'" : "777";
        const auto said = tried("UPDATE runs SET " + name + " = " + value +
                                ", revision = revision + 1 WHERE id = #5");
        EXPECT_NE(said, "") << name << " of a terminal run was changed";
        ++held;
    }
    EXPECT_GT(held, 35);
}

TEST_F(RawSql, WhatMayHappenIsAllowed) {
    const std::pair<const char*, const char*> cases[] = {
        {"the next phase", "UPDATE runs SET phase = 3, revision = revision + 1 WHERE id = #3"},
        {"a retry",
         "UPDATE attempts SET stage = 4, outcome = 8 WHERE run_id = #3;"
         "UPDATE runs SET phase = 0, epoch = 1, revision = revision + 1 WHERE id = #3"},
        {"the attempt after a retry",
         "INSERT INTO attempts (run_id, number, engine, container_name, volume_name, nonce, "
         "bound_ms, prepare_deadline_ms) VALUES (#7, 2, '', '', '', '', 0, 0);"
         "UPDATE runs SET phase = 1, attempt = 2, revision = revision + 1 WHERE id = #7"},
        {"cancelled while it waits for a retry",
         "UPDATE runs SET phase = 7, revision = revision + 1 WHERE id = #8"},
        {"collected", "UPDATE runs SET collected = 1, revision = revision + 1 WHERE id = #5"},
        {"deleted",
         "UPDATE runs SET delete_requested_ms = 5, revision = revision + 1 WHERE id = #5"},
        {"purged", "DELETE FROM runs WHERE id = #6"},
    };
    for (const auto& [name, sql] : cases) EXPECT_EQ(tried(sql), "") << name;
}

TEST_F(RawSql, EverySentenceOfATriggerIsTried) {
    std::set<std::string> in_schema;
    SQLite::Statement triggers(*raw_, "SELECT sql FROM sqlite_schema WHERE type = 'trigger'");
    const std::regex raise(R"(RAISE\(ABORT, '([^']+)'\))");
    while (triggers.executeStep()) {
        const auto sql = triggers.getColumn(0).getString();
        std::smatch match;
        if (std::regex_search(sql, match, raise)) in_schema.insert(match[1]);
    }
    std::set<std::string> here;
    for (const auto& c : kForbidden) here.insert(c.sentence);
    for (const auto& sentence : in_schema) EXPECT_TRUE(here.contains(sentence)) << sentence;
    EXPECT_GE(in_schema.size(), 20U);
}

TEST_F(RawSql, TheReadsOfTheLoopDoNotScanFinishedRuns) {
    const std::pair<const char*, const char*> cases[] = {
        {"SELECT seq FROM runs INDEXED BY runs_unfinished WHERE (collected = 0 OR "
         "delete_requested_ms <> 0) ORDER BY id",
         "runs_unfinished"},
        {"SELECT id, seq FROM runs INDEXED BY runs_by_phase WHERE phase = 1 AND id < '~' AND "
         "owner "
         "= '' ORDER BY id DESC LIMIT 5",
         "runs_by_phase (phase=? AND id<?)"},
        {"SELECT l.run_id FROM labels l INDEXED BY labels_by_value WHERE l.key = 'a' AND l.value "
         "= "
         "'b' AND l.run_id < '~' ORDER BY l.run_id DESC LIMIT 5",
         "labels_by_value (key=? AND value=? AND run_id<?)"},
        {"SELECT id FROM runs INDEXED BY runs_by_expiry WHERE collected = 1 AND expires_ms <= 5 "
         "ORDER BY expires_ms LIMIT 5",
         "runs_by_expiry (expires_ms<?)"},
    };
    for (const auto& [sql, index] : cases) {
        SQLite::Statement plan(*raw_, std::string("EXPLAIN QUERY PLAN ") + sql);
        std::string text;
        while (plan.executeStep()) text += plan.getColumn(3).getString() + "\n";
        EXPECT_NE(text.find(index), std::string::npos) << text;
        EXPECT_EQ(text.find("TEMP B-TREE"), std::string::npos) << "it sorts: " << text;
    }
}

// ------------------------------------------------------------------------------------- migrations

SQLite::Database raw_file(const TempFolder& folder) {
    return SQLite::Database((folder / "mayfly.db").string(),
                            SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
}

TEST(Migrations, AreNumberedFromOneWithoutAGap) {
    int expected = 1;
    for (const auto& step : migrations()) EXPECT_EQ(step.version, expected++);
}

TEST(Migrations, BringAnEmptyFileToTheNewestVersion) {
    TempFolder folder;
    {
        open_database(folder / "mayfly.db");
    }
    auto raw = raw_file(folder);
    EXPECT_EQ(raw.execAndGet("PRAGMA user_version").getInt(), migrations().back().version);
    EXPECT_EQ(raw.execAndGet("PRAGMA application_id").getInt(), kApplicationId);
    EXPECT_EQ(raw.execAndGet("PRAGMA journal_mode").getString(), "wal");
    EXPECT_EQ(*identify(raw, 99), Origin::ours);
}

TEST(Migrations, OneThatFailsLeavesTheVersionBeforeItWhole) {
    TempFolder folder;
    auto raw = raw_file(folder);
    const Migration bad[] = {
        {.version = 1, .sql = "CREATE TABLE a (x); INSERT INTO a VALUES (1);"},
        {.version = 2, .sql = "CREATE TABLE b (x); DROP TABLE a; SELECT no_such_function();"},
    };
    EXPECT_THROW(migrate(raw, bad), SQLite::Exception);
    EXPECT_EQ(raw.execAndGet("PRAGMA user_version").getInt(), 1);
    EXPECT_EQ(raw.execAndGet("SELECT x FROM a").getInt(), 1);
    EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM sqlite_schema").getInt(), 1);

    const Migration good[] = {
        bad[0],
        {.version = 2, .sql = "ALTER TABLE a ADD COLUMN y DEFAULT 7;"},
        {.version = 3, .sql = "CREATE TABLE c (x);"},
    };
    migrate(raw, good);
    EXPECT_EQ(raw.execAndGet("PRAGMA user_version").getInt(), 3);
    EXPECT_EQ(raw.execAndGet("SELECT y FROM a").getInt(), 7) << "and nothing was done twice";
    migrate(raw, good);
    EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM a").getInt(), 1);
}

TEST(Migrations, ANewerVersionIsRefusedUntouched) {
    TempFolder folder;
    {
        auto db = open_database(folder / "mayfly.db");
        ASSERT_TRUE(create(*db, new_run(1)));
    }
    {
        auto raw = raw_file(folder);
        raw.exec("PRAGMA user_version = 1000");
    }
    auto opened = Database::open(folder / "mayfly.db");
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::too_new);
    EXPECT_NE(opened.error().message.find("1000"), std::string::npos) << opened.error().message;
    auto raw = raw_file(folder);
    EXPECT_EQ(raw.execAndGet("PRAGMA user_version").getInt(), 1000);
    EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM runs").getInt(), 1);
}

TEST(Migrations, SomebodyElsesDatabaseIsRefusedUntouched) {
    TempFolder folder;
    {
        auto raw = raw_file(folder);
        raw.exec("CREATE TABLE bookmarks (url)");
    }
    auto opened = Database::open(folder / "mayfly.db");
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
    auto raw = raw_file(folder);
    EXPECT_EQ(raw.execAndGet("SELECT group_concat(name) FROM sqlite_schema").getString(),
              "bookmarks");
    EXPECT_EQ(raw.execAndGet("PRAGMA journal_mode").getString(), "delete");
}

TEST(FileSystems, ThoseOverANetworkAreKnown) {
    EXPECT_EQ(network_file_system(0x6969), "NFS");
    EXPECT_EQ(network_file_system(static_cast<int>(0xFF534D42)), "CIFS") << "sign-extended";
    EXPECT_EQ(network_file_system(0xFE534D42), "SMB2");
    EXPECT_EQ(network_file_system(0xEF53), "") << "ext4";
    EXPECT_EQ(network_file_system(0x01021994), "") << "tmpfs";
    EXPECT_EQ(network_file_system(0x65735546), "") << "FUSE";
    TempFolder folder;
    EXPECT_TRUE(require_local(folder.path()));
}

}  // namespace
}  // namespace mayfly::store
