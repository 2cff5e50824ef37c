#include "store/database.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

class DatabaseTest : public testing::Test {
protected:
    void reopen() {
        db_.reset();
        db_ = open_database(file_);
        ASSERT_NE(db_, nullptr);
    }
    // A run that has gone all the way.
    std::string collected_run(std::int64_t n, const NewRun& run) {
        const auto id = id_of(n);
        EXPECT_TRUE(create(*db_, run));
        walk(*db_, {bind_attempt(id, 1), start_intent(id, 1), started(id, 1), exited(id, 1),
                    finished(id, 1), collected(id, 1)});
        return id;
    }
    std::string collected_run(std::int64_t n) { return collected_run(n, new_run(n)); }
    std::vector<std::string> listed(const RunFilter& filter) {
        auto runs = db_->list(filter);
        EXPECT_TRUE(runs);
        std::vector<std::string> ids;
        for (const auto& run : *runs) ids.push_back(run.id);
        return ids;
    }

    TempFolder folder_;
    std::filesystem::path file_ = folder_ / "mayfly.db";
    std::unique_ptr<Database> db_ = open_database(file_);
};

TEST_F(DatabaseTest, AnInstanceIdIsMadeOnceAndKept) {
    const auto id = db_->instance_id();
    EXPECT_EQ(id.size(), 16U);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_TRUE(db_->is_fresh());
    reopen();
    EXPECT_EQ(db_->instance_id(), id);
    EXPECT_FALSE(db_->is_fresh());

    TempFolder other;
    EXPECT_NE(open_database(other / "mayfly.db")->instance_id(), id);
}

TEST_F(DatabaseTest, ARunReadsBackAsItWasCreated) {
    auto run = new_run(1);
    run.owner = "alice";
    run.idempotency_key = "k";
    auto created = create(*db_, run);
    ASSERT_TRUE(created) << created.error().message;
    EXPECT_FALSE(created->existed);
    EXPECT_EQ(created->run.spec, run.spec);
    EXPECT_EQ(created->run.status.created_ms, run.now_ms);
    EXPECT_EQ(created->run.queue_deadline_ms, run.now_ms + 3'600'000);
    EXPECT_EQ(created->run.revision, 1);
    EXPECT_EQ(db_->get(run.id)->run, created->run);
    reopen();
    EXPECT_EQ(db_->get(run.id)->run, created->run);
    EXPECT_EQ(db_->get(run.id)->attempt, std::nullopt);
}

TEST_F(DatabaseTest, EveryStepReadsBackAsItWasReturned) {
    const auto id = id_of(1);
    ASSERT_TRUE(create(*db_, new_run(1)));
    const Mutation way[] = {
        SetPending{.run_id = id, .now_ms = 9, .pending = Pending::Capacity, .message = "full"},
        bind_attempt(id, 1),
        start_intent(id, 1),
        start_intent(id, 1),
        started(id, 1),
        RecordKill{.run_id = id, .attempt = 1, .now_ms = 9, .cause = KillCause::run_timeout},
        RecordInterrupted{.run_id = id, .attempt = 1, .now_ms = 9},
        exited(id, 1),
        retried(id, 1),
        collected(id, 1),
        bind_attempt(id, 2),
        start_intent(id, 2),
        RecordExit{.run_id = id, .attempt = 2, .now_ms = 9, .exit = std::nullopt},
        finished(id, 2),
        collected(id, 2),
    };
    std::int64_t revision = 1;
    for (const auto& mutation : way) {
        auto done = change(*db_, mutation);
        ASSERT_TRUE(done) << name_of(mutation) << ": " << done.error().message;
        EXPECT_EQ(done->run.revision, ++revision) << name_of(mutation);
        EXPECT_EQ(*db_->get(id), *done) << name_of(mutation);
    }
    auto deleted = commit(*db_, [&] { return db_->request_delete(id, 99); });
    ASSERT_TRUE(deleted) << deleted.error().message;
    EXPECT_EQ(db_->get(id), *deleted);
    EXPECT_EQ(deleted->run.status.result_json, full_harvest().result_json);
    reopen();
    EXPECT_EQ(db_->get(id), *deleted);
    EXPECT_TRUE(db_->integrity_check());
}

TEST_F(DatabaseTest, WhatIsUnknownIsNotFound) {
    EXPECT_EQ(kind_of(db_->get(id_of(9))), ErrorKind::not_found);
    EXPECT_EQ(kind_of(db_->get("'; DROP TABLE runs; --")), ErrorKind::not_found);
    ASSERT_TRUE(db_->begin());
    EXPECT_EQ(kind_of(db_->apply(started(id_of(9), 1))), ErrorKind::not_found);
    EXPECT_EQ(kind_of(db_->request_cancel(id_of(9), 1)), ErrorKind::not_found);
    EXPECT_EQ(kind_of(db_->request_delete(id_of(9), 1)), ErrorKind::not_found);
    EXPECT_EQ(kind_of(db_->purge(id_of(9))), ErrorKind::not_found);
    ASSERT_TRUE(db_->commit());
    EXPECT_TRUE(db_->artifacts(id_of(9))->empty());
    EXPECT_EQ(*db_->artifact(id_of(9), "a"), std::nullopt);
}

TEST_F(DatabaseTest, AnIdThatIsNoneIsInvalid) {
    auto run = new_run(1);
    run.id = "../../../../etc/passwd";
    EXPECT_EQ(kind_of(create(*db_, run)), ErrorKind::invalid);
}

TEST_F(DatabaseTest, ASecondRunWithAnIdIsAConflict) {
    ASSERT_TRUE(create(*db_, new_run(1)));
    EXPECT_EQ(kind_of(create(*db_, new_run(1))), ErrorKind::conflict);
    EXPECT_EQ(db_->counts()->count[0], 1);
}

TEST_F(DatabaseTest, TextThatIsNotUtf8IsInvalidAndLeavesNothing) {
    auto run = new_run(1);
    run.spec.env["A"] = "\xff";
    EXPECT_EQ(kind_of(create(*db_, run)), ErrorKind::invalid);
    EXPECT_EQ(kind_of(db_->get(run.id)), ErrorKind::not_found);
}

TEST_F(DatabaseTest, AChangeOutsideOfATransactionIsRefused) {
    EXPECT_EQ(kind_of(db_->create_run(new_run(1))), ErrorKind::io);
    EXPECT_EQ(kind_of(db_->get(id_of(1))), ErrorKind::not_found);
}

TEST_F(DatabaseTest, ARefusedChangeLeavesTheOthersOfItsGroup) {
    ASSERT_TRUE(create(*db_, new_run(1)));
    ASSERT_TRUE(db_->begin());
    EXPECT_TRUE(db_->create_run(new_run(2)));
    EXPECT_FALSE(db_->create_run(new_run(1)));
    EXPECT_FALSE(db_->apply(started(id_of(1), 1)));
    EXPECT_TRUE(db_->apply(bind_attempt(id_of(1), 1)));
    ASSERT_TRUE(db_->commit());
    reopen();
    EXPECT_EQ(*db_->known({id_of(1), id_of(2), id_of(3)}), (std::vector{id_of(1), id_of(2)}));
    EXPECT_EQ(db_->get(id_of(1))->run.status.phase, Phase::preparing);
}

// The manifest fails on its second row: a name twice. Nothing of the finish may stay.
TEST_F(DatabaseTest, AChangeThatFailsHalfWayIsUndoneWhole) {
    const auto id = id_of(1);
    ASSERT_TRUE(create(*db_, new_run(1)));
    walk(*db_, {bind_attempt(id, 1), start_intent(id, 1), started(id, 1), exited(id, 1)});
    const auto before = *db_->get(id);
    auto finish = std::get<FinishRun>(finished(id, 1));
    finish.harvest.artifacts.push_back(finish.harvest.artifacts.front());

    ASSERT_TRUE(db_->begin());
    EXPECT_TRUE(db_->create_run(new_run(2)));
    EXPECT_EQ(kind_of(db_->apply(finish)), ErrorKind::conflict);
    ASSERT_TRUE(db_->commit());
    EXPECT_EQ(*db_->get(id), before);
    EXPECT_TRUE(db_->artifacts(id)->empty());
    EXPECT_TRUE(db_->get(id_of(2)));
    EXPECT_TRUE(db_->integrity_check());
}

TEST_F(DatabaseTest, ARolledBackGroupIsAsIfItNeverWas) {
    ASSERT_TRUE(create(*db_, new_run(1)));
    ASSERT_TRUE(db_->begin());
    EXPECT_TRUE(db_->create_run(new_run(2)));
    EXPECT_TRUE(db_->apply(bind_attempt(id_of(1), 1)));
    db_->rollback();
    EXPECT_EQ(kind_of(db_->get(id_of(2))), ErrorKind::not_found);
    EXPECT_EQ(db_->get(id_of(1))->run.revision, 1);

    auto other = new_run(3);  // takes the row number that run 2 had
    other.spec.image = "other";
    ASSERT_TRUE(create(*db_, other));
    EXPECT_EQ(db_->get(other.id)->run.spec.image, "other");
    EXPECT_TRUE(db_->integrity_check());
}

TEST_F(DatabaseTest, WhatWasNotCommittedIsGoneAfterACrash) {
    ASSERT_TRUE(create(*db_, new_run(1)));
    ASSERT_TRUE(db_->begin());
    EXPECT_TRUE(db_->create_run(new_run(2)));
    reopen();  // closes without commit
    EXPECT_TRUE(db_->get(id_of(1)));
    EXPECT_EQ(kind_of(db_->get(id_of(2))), ErrorKind::not_found);
}

TEST_F(DatabaseTest, AKeyNamesOneRun) {
    auto run = new_run(1);
    run.idempotency_key = "key";
    ASSERT_TRUE(create(*db_, run));

    auto again = new_run(2);
    again.idempotency_key = "key";
    auto old = create(*db_, again);
    ASSERT_TRUE(old);
    EXPECT_TRUE(old->existed);
    EXPECT_EQ(old->run, db_->get(run.id)->run);

    auto other_body = again;
    other_body.spec_sha256 = std::string(64, '0');
    auto reused = create(*db_, other_body);
    EXPECT_EQ(kind_of(reused), ErrorKind::key_reused);
    EXPECT_NE(reused.error().message.find(run.id), std::string::npos);

    auto other_owner = again;
    other_owner.owner = "bob";
    EXPECT_FALSE(create(*db_, other_owner)->existed);
    EXPECT_FALSE(create(*db_, new_run(3))->existed) << "without a key every run is new";
    EXPECT_FALSE(create(*db_, new_run(4))->existed);
}

TEST_F(DatabaseTest, AKeyIsFreeAfterThePurge) {
    auto run = new_run(1);
    run.idempotency_key = "key";
    const auto id = collected_run(1, run);
    auto again = new_run(2);
    again.idempotency_key = "key";
    EXPECT_TRUE(create(*db_, again)->existed) << "a finished run still holds it";
    ASSERT_TRUE(commit(*db_, [&] { return db_->purge(id); }));
    EXPECT_FALSE(create(*db_, again)->existed);
}

TEST_F(DatabaseTest, APurgeTakesEverythingAndOnlyWhatIsCollected) {
    const auto id = id_of(1);
    ASSERT_TRUE(create(*db_, new_run(1)));
    const auto purge = [&] { return commit(*db_, [&] { return db_->purge(id); }); };
    EXPECT_EQ(kind_of(purge()), ErrorKind::conflict);
    walk(*db_, {bind_attempt(id, 1), start_intent(id, 1), started(id, 1), finished(id, 1)});
    EXPECT_EQ(kind_of(purge()), ErrorKind::conflict) << "finished, not collected";
    walk(*db_, {collected(id, 1)});
    ASSERT_TRUE(purge());
    EXPECT_EQ(kind_of(db_->get(id)), ErrorKind::not_found);
    EXPECT_TRUE(db_->artifacts(id)->empty());
    EXPECT_EQ(*db_->stored_bytes(), 0);
    EXPECT_TRUE(db_->integrity_check());
    EXPECT_TRUE(create(*db_, new_run(1))) << "nothing of it is in the way";
    EXPECT_EQ(db_->get(id)->attempt, std::nullopt);
}

TEST_F(DatabaseTest, UnfinishedIsWhatStillNeedsTheController) {
    collected_run(1);
    for (std::int64_t n = 2; n <= 6; ++n) ASSERT_TRUE(create(*db_, new_run(n)));
    walk(*db_, {bind_attempt(id_of(3), 1), start_intent(id_of(3), 1), started(id_of(3), 1)});
    walk(*db_, {bind_attempt(id_of(4), 1), start_intent(id_of(4), 1), finished(id_of(4), 1)});
    walk(*db_, {finished(id_of(5), 0)});  // collected at once
    walk(*db_, {finished(id_of(6), 0)});
    ASSERT_TRUE(commit(*db_, [&] { return db_->request_delete(id_of(6), 9); }));
    auto records = db_->unfinished();
    ASSERT_TRUE(records);
    std::vector<std::string> ids;
    for (const auto& record : *records) {
        ids.push_back(record.run.id);
        EXPECT_EQ(record, *db_->get(record.run.id));
    }
    EXPECT_EQ(ids, (std::vector{id_of(2), id_of(3), id_of(4), id_of(6)}));
}

TEST_F(DatabaseTest, ExpiredAreCollectedRunsOldestFirst) {
    for (std::int64_t n = 1; n <= 4; ++n) {
        ASSERT_TRUE(create(*db_, new_run(n)));
        auto finish = std::get<FinishRun>(finished(id_of(n), 0));
        finish.now_ms = 10'000 - n;
        walk(*db_, {finish});
    }
    ASSERT_TRUE(create(*db_, new_run(5)));
    walk(*db_, {bind_attempt(id_of(5), 1), finished(id_of(5), 1)});  // not collected
    const auto ttl = 86'400'000;
    EXPECT_TRUE(db_->expired(9'995 + ttl, 10)->empty());
    EXPECT_EQ(*db_->expired(9'997 + ttl, 10), (std::vector{id_of(4), id_of(3)}));
    EXPECT_EQ(*db_->expired(99'999 + ttl, 3), (std::vector{id_of(4), id_of(3), id_of(2)}));
    EXPECT_TRUE(db_->expired(99'999 + ttl, 0)->empty());
}

TEST_F(DatabaseTest, ArtifactsByRunAndByPath) {
    const auto id = collected_run(1);
    EXPECT_EQ(*db_->artifacts(id), full_harvest().artifacts);
    EXPECT_EQ(*db_->artifact(id, "d/b \u00e9"), full_harvest().artifacts[1]);
    EXPECT_EQ(*db_->artifact(id, "d"), std::nullopt);
    EXPECT_EQ(*db_->artifact(id, "A.TXT"), std::nullopt) << "names are bytes";
}

TEST_F(DatabaseTest, CountsAndBytesFollowTheRuns) {
    EXPECT_EQ(db_->counts()->oldest_queued_ms, 0);
    collected_run(1);
    for (std::int64_t n = 2; n <= 4; ++n) ASSERT_TRUE(create(*db_, new_run(n)));
    walk(*db_, {bind_attempt(id_of(2), 1)});
    auto counts = db_->counts();
    ASSERT_TRUE(counts);
    EXPECT_EQ(counts->count[static_cast<int>(Phase::queued)], 2);
    EXPECT_EQ(counts->count[static_cast<int>(Phase::preparing)], 1);
    EXPECT_EQ(counts->count[static_cast<int>(Phase::failed)], 1);
    EXPECT_EQ(counts->oldest_queued_ms, 1'003);
    EXPECT_EQ(*db_->stored_bytes(), 3 * 100 + 1'000);
    EXPECT_GT(*db_->database_bytes(), 4096);
    EXPECT_TRUE(db_->integrity_check());
}

TEST_F(DatabaseTest, AListIsFilteredAndNewestFirst) {
    // Runs 1..20: odd ones are green, every third is of kind x, multiples of four have failed,
    // five is deleted.
    for (std::int64_t n = 1; n <= 20; ++n) {
        auto run = new_run(n);
        run.owner = n > 18 ? "bob" : "";
        run.spec.labels = {{"color", n % 2 == 1 ? "green" : "red"}};
        if (n % 3 == 0) run.spec.labels["kind"] = "x";
        ASSERT_TRUE(create(*db_, run));
        if (n % 4 == 0 || n == 5) walk(*db_, {finished(id_of(n), 0)});
    }
    ASSERT_TRUE(commit(*db_, [&] { return db_->request_delete(id_of(5), 9); }));

    struct Case {
        const char* name;
        RunFilter filter;
        std::vector<std::int64_t> expected;
    };
    const auto filter = [](std::vector<Phase> phases,
                           std::vector<std::pair<std::string, std::string>> labels,
                           std::int64_t before = 0, std::int64_t limit = 50) {
        RunFilter made;
        made.phases = std::move(phases);
        made.labels = std::move(labels);
        made.before_id = before == 0 ? "" : id_of(before);
        made.limit = limit;
        return made;
    };
    auto bobs = filter({}, {});
    bobs.owner = "bob";
    const Case cases[] = {
        {"all but the deleted and the others'",
         filter({}, {}),
         {18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 4, 3, 2, 1}},
        {"a page", filter({}, {}, 0, 3), {18, 17, 16}},
        {"the next page", filter({}, {}, 16, 3), {15, 14, 13}},
        {"the last page", filter({}, {}, 3, 3), {2, 1}},
        {"after the last page", filter({}, {}, 1, 3), {}},
        {"another owner", bobs, {20, 19}},
        {"one phase", filter({Phase::failed}, {}), {16, 12, 8, 4}},
        {"a page of a phase", filter({Phase::failed}, {}, 16, 2), {12, 8}},
        {"two phases are merged",
         filter({Phase::failed, Phase::queued}, {}, 13, 4),
         {12, 11, 10, 9}},
        {"a phase twice is once", filter({Phase::failed, Phase::failed}, {}), {16, 12, 8, 4}},
        {"a phase with no runs", filter({Phase::lost}, {}), {}},
        {"one label", filter({}, {{"color", "green"}}), {17, 15, 13, 11, 9, 7, 3, 1}},
        {"a page of a label", filter({}, {{"color", "green"}}, 11, 2), {9, 7}},
        {"two labels, both", filter({}, {{"color", "green"}, {"kind", "x"}}), {15, 9, 3}},
        {"the same two the other way",
         filter({}, {{"kind", "x"}, {"color", "green"}}),
         {15, 9, 3}},
        {"a label with another value", filter({}, {{"color", "blue"}}), {}},
        {"phase and label", filter({Phase::failed}, {{"kind", "x"}}), {12}},
    };
    for (const auto& c : cases) {
        std::vector<std::string> expected;
        for (auto n : c.expected) expected.push_back(id_of(n));
        EXPECT_EQ(listed(c.filter), expected) << c.name;
    }
    EXPECT_EQ(db_->list(bobs)->front(), db_->get(id_of(20))->run);
}

TEST_F(DatabaseTest, AListIsBounded) {
    RunFilter filter;
    for (std::int64_t limit : {std::int64_t{0}, std::int64_t{-1}, kListLimitMax + 1}) {
        filter.limit = limit;
        auto refused = db_->list(filter);
        EXPECT_EQ(kind_of(refused), ErrorKind::invalid) << limit;
        EXPECT_EQ(refused.error().message.substr(0, 5), "limit");
    }
    filter.limit = 1;
    filter.labels.assign(kFilterLabelsMax + 1, {"a", "b"});
    EXPECT_EQ(kind_of(db_->list(filter)), ErrorKind::invalid);
}

TEST_F(DatabaseTest, ADeletedRunIsReadButNotListed) {
    const auto id = collected_run(1);
    ASSERT_TRUE(commit(*db_, [&] { return db_->request_delete(id, 77); }));
    EXPECT_EQ(db_->get(id)->run.delete_requested_ms, 77);
    EXPECT_TRUE(listed({}).empty());
    EXPECT_EQ(kind_of(commit(*db_, [&] { return db_->request_cancel(id, 78); })),
              ErrorKind::not_found);
}

TEST_F(DatabaseTest, ChangesGrowOnlyWithARealChange) {
    ASSERT_TRUE(create(*db_, new_run(1)));
    const auto pending =
        SetPending{.run_id = id_of(1), .now_ms = 9, .pending = Pending::DiskLow, .message = "m"};
    auto before = db_->changes();
    walk(*db_, {pending});
    EXPECT_GT(db_->changes(), before);
    before = db_->changes();
    walk(*db_, {pending});
    EXPECT_FALSE(change(*db_, started(id_of(1), 1)));
    EXPECT_EQ(db_->changes(), before);
}

// ------------------------------------------------------------------------------------------ files

TEST(DatabaseFile, WhatIsNoDatabaseIsRefusedUntouched) {
    const std::string page(4096, 'x');
    const std::pair<const char*, std::string> cases[] = {
        {"one byte", "x"},
        {"a text", "this is not a database, it is a letter to my aunt"},
        {"a page of noise", page},
        {"another header", std::string("SQLite format 2\0", 16) + page},
    };
    for (const auto& [name, content] : cases) {
        TempFolder folder;
        const auto file = folder / "mayfly.db";
        std::ofstream(file, std::ios::binary) << content;
        auto opened = Database::open(file);
        ASSERT_FALSE(opened) << name;
        EXPECT_EQ(opened.error().kind, ErrorKind::corrupt) << name;
        EXPECT_NE(opened.error().message.find(file.string()), std::string::npos) << name;
        std::ifstream in(file, std::ios::binary);
        const std::string now((std::istreambuf_iterator<char>(in)), {});
        EXPECT_EQ(now, content) << name;
        EXPECT_FALSE(std::filesystem::exists(folder / "mayfly.db-wal")) << name;
    }
}

TEST(DatabaseFile, ADamagedPageIsFoundAtTheStart) {
    TempFolder folder;
    const auto file = folder / "mayfly.db";
    {
        auto db = open_database(file);
        for (std::int64_t n = 1; n <= 50; ++n) ASSERT_TRUE(create(*db, new_run(n)));
    }
    const auto size = std::filesystem::file_size(file);
    ASSERT_GT(size, 20U * 4096);
    {
        std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
        const std::string noise(4096, '\xA5');
        for (std::uint64_t page = 2; page < size / 4096; page += 3) {
            out.seekp(static_cast<std::streamoff>(page * 4096));
            out << noise;
        }
    }
    auto opened = Database::open(file);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::corrupt) << opened.error().message;
}

// A power loss in a checkpoint: what was being copied from the log is torn, the log is not.
TEST(DatabaseFile, ATornFirstPageIsReadFromTheLog) {
    TempFolder folder;
    const auto file = folder / "mayfly.db";
    const auto copy = folder / "torn.db";
    {
        auto db = open_database(file);
        // The database grows: the first page, with its size, is in the log.
        for (std::int64_t n = 1; n <= 50; ++n) ASSERT_TRUE(create(*db, new_run(n)));
        std::filesystem::copy_file(file, copy);
        std::filesystem::copy_file(file.string() + "-wal", copy.string() + "-wal");
    }
    std::fstream(copy, std::ios::binary | std::ios::in | std::ios::out)
        << std::string(512, '\xA5');
    auto opened = Database::open(copy);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_TRUE((*opened)->get(id_of(1)));
}

TEST(DatabaseFile, WhatACrashLeftOfMakingItIsMadeAnew) {
    TempFolder folder;
    const auto file = folder / "mayfly.db";
    for (const char* left : {"mayfly.new.db", "mayfly.new.db-wal", "mayfly.new.db-journal"}) {
        std::ofstream(folder / left, std::ios::binary) << "half of a page";
    }
    auto db = open_database(file);
    ASSERT_TRUE(create(*db, new_run(1)));
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
        EXPECT_EQ(entry.path().string().find(".new."), std::string::npos) << entry.path();
    }
}

TEST(DatabaseFile, AStrangeFileBesideAStrangeLogIsNotTouched) {
    TempFolder folder;
    const auto file = folder / "mayfly.db";
    const std::string strange(5'000, 'x');
    std::ofstream(file, std::ios::binary) << strange;
    std::ofstream(file.string() + "-wal", std::ios::binary) << strange;
    auto opened = Database::open(file);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
    EXPECT_NE(opened.error().message.find("It was not changed"), std::string::npos);
    for (const auto& path : {file.string(), file.string() + "-wal"}) {
        std::ifstream in(path, std::ios::binary);
        EXPECT_EQ(std::string((std::istreambuf_iterator<char>(in)), {}), strange) << path;
    }
}

TEST(DatabaseFile, AMissingFileBesideItsLogIsNotStartedAnew) {
    TempFolder folder;
    std::ofstream(folder / "mayfly.db-wal", std::ios::binary) << "committed once";
    auto opened = Database::open(folder / "mayfly.db");
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
    EXPECT_TRUE(std::filesystem::exists(folder / "mayfly.db-wal"));
}

TEST(DatabaseFile, NobodyOpensItTwice) {
    TempFolder folder;
    auto first = open_database(folder / "mayfly.db");
    auto second = Database::open(folder / "mayfly.db");
    EXPECT_EQ(kind_of(second), ErrorKind::locked);
    EXPECT_FALSE(std::filesystem::exists(folder / "mayfly.db-shm"))
        << "no shared memory is needed";
}

TEST(DatabaseFile, AFolderThatIsNotThereIsSaid) {
    TempFolder folder;
    auto opened = Database::open(folder / "nowhere/mayfly.db");
    EXPECT_EQ(kind_of(opened), ErrorKind::io);
    EXPECT_NE(opened.error().message.find("nowhere"), std::string::npos);
}

TEST(DatabaseFile, IsForItsOwnerOnly) {
    TempFolder folder;
    auto db = open_database(folder / "mayfly.db");
    ASSERT_TRUE(create(*db, new_run(1)));
    for (const auto* name : {"mayfly.db", "mayfly.db-wal"}) {
        const auto mode = std::filesystem::status(folder / name).permissions();
        EXPECT_EQ(mode, std::filesystem::perms(0600)) << name;
    }
}

}  // namespace
}  // namespace mayfly::store
