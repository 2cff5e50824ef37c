#include "store/store.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

namespace asio = boost::asio;
using asio::awaitable;

// A real database behind a gate that can be shut, and with a disk that can fail at begin, at a
// write or at commit.
class Gated final : public Database {
public:
    struct Controls {
        std::mutex mutex;
        std::condition_variable moved;
        bool shut = false;
        bool waiting = false;  // the store's thread stands at the gate
        std::optional<Error> fail_begin;
        std::optional<Error> fail_create;
        std::optional<Error> fail_commit;
        int rollbacks = 0;

        void set_shut(bool now) {
            const std::lock_guard lock(mutex);
            shut = now;
            moved.notify_all();
        }
        void await_waiting() {
            std::unique_lock lock(mutex);
            moved.wait(lock, [this] { return waiting; });
        }
        void pass() {
            std::unique_lock lock(mutex);
            waiting = true;
            moved.notify_all();
            moved.wait(lock, [this] { return !shut; });
            waiting = false;
        }
    };

    Gated(std::unique_ptr<Database> real, std::shared_ptr<Controls> controls)
        : real_(std::move(real)), controls_(std::move(controls)) {}

    [[nodiscard]] const std::string& instance_id() const override { return real_->instance_id(); }
    [[nodiscard]] bool is_fresh() const override { return real_->is_fresh(); }
    Result<void> begin() override {
        controls_->pass();
        if (controls_->fail_begin) return std::unexpected(*controls_->fail_begin);
        return real_->begin();
    }
    Result<void> commit() override {
        if (controls_->fail_commit) return std::unexpected(*controls_->fail_commit);
        return real_->commit();
    }
    void rollback() override {
        ++controls_->rollbacks;
        real_->rollback();
    }
    Result<CreatedRun> create_run(const NewRun& run) override {
        if (controls_->fail_create) return std::unexpected(*controls_->fail_create);
        return real_->create_run(run);
    }
    Result<RunRecord> request_cancel(const std::string& id, UnixMs now_ms) override {
        return real_->request_cancel(id, now_ms);
    }
    Result<RunRecord> request_delete(const std::string& id, UnixMs now_ms) override {
        return real_->request_delete(id, now_ms);
    }
    Result<RunRecord> apply(const Mutation& mutation) override { return real_->apply(mutation); }
    Result<void> purge(const std::string& id) override { return real_->purge(id); }
    Result<RunRecord> get(const std::string& id) override { return real_->get(id); }
    Result<std::vector<Run>> list(const RunFilter& filter) override { return real_->list(filter); }
    Result<std::vector<RunRecord>> unfinished() override { return real_->unfinished(); }
    Result<std::vector<std::string>> expired(UnixMs now_ms, std::int64_t limit) override {
        return real_->expired(now_ms, limit);
    }
    Result<std::vector<Artifact>> artifacts(const std::string& id) override {
        return real_->artifacts(id);
    }
    Result<std::optional<Artifact>> artifact(const std::string& id,
                                             const std::string& path) override {
        return real_->artifact(id, path);
    }
    Result<std::vector<std::string>> known(const std::vector<std::string>& ids) override {
        return real_->known(ids);
    }
    Result<EventPage> events(const EventFilter& filter) override { return real_->events(filter); }
    Result<EventSpan> event_span() override { return real_->event_span(); }
    void keep_events(std::int64_t count) override { real_->keep_events(count); }
    Result<WebhookHeads> webhook_heads(std::int64_t limit) override {
        return real_->webhook_heads(limit);
    }
    Result<void> record_webhook(const WebhookOutcome& outcome) override {
        return real_->record_webhook(outcome);
    }
    Result<std::optional<WebhookProgress>> webhook_progress(const std::string& run_id) override {
        return real_->webhook_progress(run_id);
    }
    Result<PhaseCounts> counts() override { return real_->counts(); }
    Result<std::int64_t> stored_bytes() override { return real_->stored_bytes(); }
    Result<std::int64_t> database_bytes() override { return real_->database_bytes(); }
    Result<void> integrity_check() override { return real_->integrity_check(); }
    [[nodiscard]] std::int64_t changes() const override { return real_->changes(); }

private:
    std::unique_ptr<Database> real_;
    std::shared_ptr<Controls> controls_;
};

void rethrow(std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
}

class StoreTest : public testing::TestWithParam<bool> {
protected:
    StoreTest() { open(); }

    void open() {
        auto database = std::make_unique<Gated>(open_database(folder_ / "mayfly.db"), controls_);
        store_ = std::make_unique<Store>(std::move(database), io_->get_executor(), GetParam());
    }
    // Starts `body`; it runs in run().
    void spawn(awaitable<void> body) { asio::co_spawn(*io_, std::move(body), rethrow); }
    void run() {
        io_->restart();
        io_->run();
    }
    void run(awaitable<void> body) {
        spawn(std::move(body));
        run();
    }
    // Lets many calls wait at once: the store's thread is held while they are made. In one thread
    // they always do.
    void run_together(awaitable<void> first, std::vector<awaitable<void>> others) {
        if (GetParam()) {
            spawn(std::move(first));
            for (auto& body : others) spawn(std::move(body));
            return run();
        }
        controls_->set_shut(true);
        spawn(std::move(first));
        io_->restart();
        io_->poll();
        controls_->await_waiting();
        for (auto& body : others) spawn(std::move(body));
        io_->poll();
        controls_->set_shut(false);
        run();
    }

    TempFolder folder_;
    std::shared_ptr<Gated::Controls> controls_ = std::make_shared<Gated::Controls>();
    std::unique_ptr<asio::io_context> io_ = std::make_unique<asio::io_context>();
    std::unique_ptr<Store> store_;
};

awaitable<void> create_in(Store& store, std::int64_t n, std::vector<Result<CreatedRun>>& results) {
    auto created = co_await store.create_run(new_run(n));
    results.push_back(std::move(created));
}

awaitable<void> apply_in(Store& store, Mutation mutation,
                         std::vector<Result<RunRecord>>& results) {
    auto done = co_await store.apply(std::move(mutation));
    results.push_back(std::move(done));
}

awaitable<void> create_and_apply(Store& store, std::vector<Mutation> way) {
    const auto id = run_id_of(way.front());
    auto run = new_run(std::stoll(id));
    auto created = co_await store.create_run(std::move(run));
    EXPECT_TRUE(created);
    for (auto& mutation : way) {
        auto done = co_await store.apply(std::move(mutation));
        EXPECT_TRUE(done);
    }
}

awaitable<void> every_call(Store& store) {
    const auto id = id_of(1);
    auto created = co_await store.create_run(new_run(1));
    EXPECT_TRUE(created);
    for (auto mutation : {bind_attempt(id, 1), start_intent(id, 1), started(id, 1), exited(id, 1),
                          finished(id, 1), collected(id, 1)}) {
        auto done = co_await store.apply(std::move(mutation));
        EXPECT_TRUE(done);
        auto read = co_await store.get(id);
        EXPECT_EQ(*read, *done) << "a read sees what was returned before";
    }
    auto listed = co_await store.list({});
    EXPECT_EQ(listed->size(), 1U);
    auto unfinished = co_await store.unfinished();
    EXPECT_TRUE(unfinished->empty());
    auto expired = co_await store.expired(1LL << 50, 10);
    EXPECT_EQ(*expired, std::vector{id});
    auto artifacts = co_await store.artifacts(id);
    EXPECT_EQ(*artifacts, full_harvest().artifacts);
    auto artifact = co_await store.artifact(id, "a.txt");
    EXPECT_EQ(**artifact, full_harvest().artifacts[0]);
    auto known = co_await store.known({id, id_of(2)});
    EXPECT_EQ(*known, std::vector{id});
    auto counts = co_await store.counts();
    EXPECT_EQ(counts->count[static_cast<int>(Phase::failed)], 1);
    auto stored = co_await store.stored_bytes();
    EXPECT_EQ(*stored, 1'000);
    auto bytes = co_await store.database_bytes();
    EXPECT_GT(*bytes, 0);
    auto cancelled = co_await store.request_cancel(id, 5);
    EXPECT_EQ(cancelled->run.cancel_requested_ms, 0);
    auto deleted = co_await store.request_delete(id, 5);
    EXPECT_EQ(deleted->run.delete_requested_ms, 5);
    auto purged = co_await store.purge(id);
    EXPECT_TRUE(purged);
    auto gone = co_await store.get(id);
    EXPECT_EQ(kind_of(gone), ErrorKind::not_found);
}

TEST_P(StoreTest, EveryCallComesBackWithItsAnswer) {
    run(every_call(*store_));
    EXPECT_EQ(store_->instance_id().size(), 16U);
    EXPECT_TRUE(store_->is_fresh());
    EXPECT_FALSE(store_->failure());
}

TEST_P(StoreTest, WritesThatWaitTogetherShareACommit) {
    std::vector<Result<CreatedRun>> results;
    std::vector<awaitable<void>> others;
    std::vector<std::int64_t> groups;
    store_->on_commit([&](double seconds, std::int64_t group) {
        EXPECT_GE(seconds, 0);
        groups.push_back(group);
    });
    for (std::int64_t n = 2; n <= 64; ++n) others.push_back(create_in(*store_, n, results));
    run_together(create_in(*store_, 1, results), std::move(others));
    ASSERT_EQ(results.size(), 64U);
    for (const auto& result : results) EXPECT_TRUE(result);
    EXPECT_EQ(store_->stats().mutations, 64);
    EXPECT_LE(store_->stats().commits, 2);
    EXPECT_EQ(static_cast<std::int64_t>(groups.size()), store_->stats().commits);
    EXPECT_EQ(groups.back(), store_->stats().last_group_size);
}

TEST_P(StoreTest, ARefusedWriteLeavesTheOthersOfItsGroup) {
    std::vector<Result<CreatedRun>> results;
    std::vector<Result<RunRecord>> refused;
    run_together(create_in(*store_, 1, results), [&] {
        std::vector<awaitable<void>> others;
        others.push_back(apply_in(*store_, started(id_of(1), 1), refused));
        others.push_back(create_in(*store_, 2, results));
        others.push_back(create_in(*store_, 1, results));
        return others;
    }());
    ASSERT_EQ(results.size(), 3U);
    EXPECT_TRUE(results[0]);
    EXPECT_TRUE(results[1]);
    EXPECT_EQ(kind_of(results[2]), ErrorKind::conflict);
    EXPECT_EQ(kind_of(refused.at(0)), ErrorKind::conflict);
    store_.reset();
    auto database = open_database(folder_ / "mayfly.db");
    EXPECT_TRUE(database->get(id_of(2)));
}

awaitable<void> create_with_key(Store& store, std::int64_t n,
                                std::vector<Result<CreatedRun>>& results) {
    auto run = new_run(n);
    run.idempotency_key = "one";
    auto created = co_await store.create_run(std::move(run));
    results.push_back(std::move(created));
}

TEST_P(StoreTest, OfManyWithOneKeyOneIsMade) {
    std::vector<Result<CreatedRun>> results;
    std::vector<awaitable<void>> others;
    for (std::int64_t n = 2; n <= 32; ++n) others.push_back(create_with_key(*store_, n, results));
    run_together(create_with_key(*store_, 1, results), std::move(others));
    ASSERT_EQ(results.size(), 32U);
    int made = 0;
    for (const auto& result : results) {
        ASSERT_TRUE(result);
        EXPECT_EQ(result->run.id, results[0]->run.id);
        made += result->existed ? 0 : 1;
    }
    EXPECT_EQ(made, 1);
}

awaitable<void> create_and_look(Store& store, std::vector<std::string>& log) {
    auto created = co_await store.create_run(new_run(1));
    log.push_back("returned " + std::to_string(created->run.revision));
    const auto pending =
        SetPending{.run_id = id_of(1), .now_ms = 1, .pending = Pending::DiskLow, .message = "m"};
    co_await store.apply(pending);
    log.push_back("returned");
    co_await store.apply(pending);
    log.push_back("returned, no change");
    co_await store.apply(started(id_of(1), 1));
    log.push_back("refused");
}

TEST_P(StoreTest, ListenersHearOfChangesBeforeTheWriterGoesOn) {
    std::vector<std::string> log;
    for (const auto* name : {"first", "second"}) {
        store_->on_change([&log, name](const RunRecord& record) {
            log.push_back(name + std::string(" ") + std::to_string(record.run.revision));
        });
    }
    run(create_and_look(*store_, log));
    EXPECT_EQ(log,
              (std::vector<std::string>{"first 1", "second 1", "returned 1", "first 2", "second 2",
                                        "returned", "returned, no change", "refused"}));
}

TEST_P(StoreTest, ARunThatChangesTwiceInAGroupIsAnnouncedOnce) {
    std::vector<Result<CreatedRun>> created;
    run(create_in(*store_, 1, created));
    std::vector<std::int64_t> heard;
    store_->on_change([&](const RunRecord& record) {
        if (record.run.id == id_of(1)) heard.push_back(record.run.revision);
    });
    std::vector<Result<RunRecord>> results;
    std::vector<awaitable<void>> others;
    others.push_back(apply_in(*store_, bind_attempt(id_of(1), 1), results));
    others.push_back(apply_in(*store_, start_intent(id_of(1), 1), results));
    run_together(create_in(*store_, 2, created), std::move(others));
    EXPECT_EQ(results.size(), 2U);
    EXPECT_EQ(heard, std::vector<std::int64_t>{3});
}

// ---------------------------------------------------------------------------------------- waiting

awaitable<void> wait_in(Store& store, std::string id, std::int64_t seen, std::int64_t timeout_ms,
                        std::vector<Result<RunRecord>>& results) {
    auto waited = co_await store.wait_for_change(std::move(id), seen, timeout_ms);
    results.push_back(std::move(waited));
}

constexpr std::int64_t kLongMs = 600'000;

TEST_P(StoreTest, ManyWaitForOneRun) {
    std::vector<Result<CreatedRun>> created;
    std::vector<Result<RunRecord>> waited;
    run(create_in(*store_, 1, created));
    for (int i = 0; i < 20; ++i) spawn(wait_in(*store_, id_of(1), 1, kLongMs, waited));
    std::vector<Result<RunRecord>> applied;
    spawn(apply_in(*store_, bind_attempt(id_of(1), 1), applied));
    run();
    ASSERT_EQ(waited.size(), 20U);
    for (const auto& record : waited) EXPECT_EQ(*record, *applied.at(0));
}

TEST_P(StoreTest, AWaitForWhatHasHappenedIsOverAtOnce) {
    std::vector<Result<CreatedRun>> created;
    std::vector<Result<RunRecord>> waited;
    run(create_in(*store_, 1, created));
    run(wait_in(*store_, id_of(1), 0, kLongMs, waited));
    EXPECT_EQ(waited.at(0)->run.revision, 1);
    run(wait_in(*store_, id_of(9), 0, kLongMs, waited));
    EXPECT_EQ(kind_of(waited.at(1)), ErrorKind::not_found);
}

TEST_P(StoreTest, AWaitEndsWithItsTime) {
    std::vector<Result<CreatedRun>> created;
    std::vector<Result<RunRecord>> waited;
    run(create_in(*store_, 1, created));
    for (std::int64_t timeout_ms : {0, 1, 20}) {
        run(wait_in(*store_, id_of(1), 1, timeout_ms, waited));
        EXPECT_EQ(waited.back()->run.revision, 1);
    }
}

TEST_P(StoreTest, AWaitEndsWithThePurge) {
    const auto id = id_of(1);
    std::vector<Result<RunRecord>> waited;
    run(create_and_apply(*store_, {finished(id, 0)}));
    spawn(wait_in(*store_, id, 2, kLongMs, waited));
    spawn([](Store& store, std::string run_id) -> awaitable<void> {
        auto purged = co_await store.purge(run_id);
        EXPECT_TRUE(purged);
    }(*store_, id));
    run();
    EXPECT_EQ(kind_of(waited.at(0)), ErrorKind::not_found);
}

TEST_P(StoreTest, AWaitEndsWithTheStore) {
    std::vector<Result<CreatedRun>> created;
    std::vector<Result<RunRecord>> waited;
    run(create_in(*store_, 1, created));
    spawn(wait_in(*store_, id_of(1), 1, kLongMs, waited));
    spawn([](Store& store) -> awaitable<void> {
        co_await store.counts();  // by now the other one waits
        store.stop();
    }(*store_));
    run();
    EXPECT_EQ(kind_of(waited.at(0)), ErrorKind::closed);
}

// --------------------------------------------------------------------------------------- failures

TEST_P(StoreTest, AfterAnUnknownCommitEverythingIsClosed) {
    std::vector<Result<CreatedRun>> results;
    std::vector<Result<RunRecord>> waited;
    run(create_in(*store_, 1, results));
    controls_->fail_commit = Error{ErrorKind::io, "fsync failed"};
    std::vector<std::string> failures;
    store_->on_failure([&](const Error& error) { failures.push_back(error.message); });
    spawn(wait_in(*store_, id_of(1), 1, kLongMs, waited));
    std::vector<awaitable<void>> others;
    for (std::int64_t n = 3; n <= 300; ++n) others.push_back(create_in(*store_, n, results));
    run_together(create_in(*store_, 2, results), std::move(others));
    ASSERT_EQ(results.size(), 300U);
    for (std::size_t i = 1; i < results.size(); ++i) {
        EXPECT_EQ(kind_of(results[i]), ErrorKind::io) << i;
        EXPECT_EQ(results[i].error().message, "fsync failed");
    }
    EXPECT_EQ(kind_of(waited.at(0)), ErrorKind::closed);
    ASSERT_TRUE(store_->failure());
    EXPECT_EQ(store_->failure()->message, "fsync failed");
    EXPECT_EQ(failures, std::vector<std::string>{"fsync failed"});
    EXPECT_GE(controls_->rollbacks, 1);

    controls_->fail_commit.reset();
    run(create_in(*store_, 301, results));
    EXPECT_EQ(kind_of(results.back()), ErrorKind::closed);
    run([](Store& store) -> awaitable<void> {
        auto read = co_await store.get(id_of(1));
        EXPECT_EQ(kind_of(read), ErrorKind::closed);
    }(*store_));
    store_.reset();
    auto database = open_database(folder_ / "mayfly.db");
    EXPECT_EQ(database->counts()->count[0], 1) << "what was told is there, what was not is not";
}

TEST_P(StoreTest, AFullDiskAtAWriteUndoesItsGroupAndTheStoreGoesOn) {
    std::vector<Result<CreatedRun>> results;
    controls_->fail_create = Error{ErrorKind::full, "no space"};
    run(create_in(*store_, 1, results));
    EXPECT_EQ(kind_of(results.at(0)), ErrorKind::full);
    EXPECT_FALSE(store_->failure());
    controls_->fail_create.reset();
    run(create_in(*store_, 1, results));
    EXPECT_TRUE(results.at(1));
}

TEST_P(StoreTest, ADamagedDatabaseStopsTheStore) {
    std::vector<Result<CreatedRun>> results;
    controls_->fail_create = Error{ErrorKind::corrupt, "malformed"};
    run(create_in(*store_, 1, results));
    EXPECT_EQ(kind_of(results.at(0)), ErrorKind::corrupt);
    EXPECT_TRUE(store_->failure());
    EXPECT_EQ(controls_->rollbacks, 1);
}

TEST_P(StoreTest, ATransactionThatDoesNotBeginStopsTheStore) {
    std::vector<Result<CreatedRun>> results;
    controls_->fail_begin = Error{ErrorKind::io, "no"};
    run(create_in(*store_, 1, results));
    EXPECT_EQ(kind_of(results.at(0)), ErrorKind::io);
    EXPECT_TRUE(store_->failure());
}

// ------------------------------------------------------------------------------------- stop, home

TEST_P(StoreTest, StopFinishesWhatWasAskedAndThenRefuses) {
    std::vector<Result<CreatedRun>> results;
    for (std::int64_t n = 1; n <= 600; ++n) spawn(create_in(*store_, n, results));
    io_->restart();
    // Each coroutine has asked when all were started; not one needs to have been answered.
    for (int i = 0; i < 600; ++i) io_->poll_one();
    store_->stop();
    spawn(create_in(*store_, 601, results));
    run();
    ASSERT_EQ(results.size(), 601U);
    int done = 0;
    for (const auto& result : results) done += result ? 1 : 0;
    EXPECT_EQ(kind_of(results.back()), ErrorKind::closed);
    EXPECT_GE(done, 1);
    store_.reset();
    auto database = open_database(folder_ / "mayfly.db");
    EXPECT_EQ(database->counts()->count[0], done);
}

TEST_P(StoreTest, TheStoreMayGoBeforeItsCallersAreAnswered) {
    std::vector<Result<CreatedRun>> results;
    std::vector<Result<RunRecord>> waited;
    bool heard = false;
    store_->on_change([&](const RunRecord&) { heard = true; });
    spawn(create_in(*store_, 1, results));
    spawn(wait_in(*store_, id_of(1), 5, kLongMs, waited));
    io_->restart();
    io_->poll_one();
    io_->poll_one();
    store_.reset();
    heard = false;
    run();
    EXPECT_EQ(results.size(), 1U);
    EXPECT_EQ(waited.size(), 1U);
    EXPECT_FALSE(heard) << "listeners live as long as the store";
}

TEST_P(StoreTest, HomeMayGoWithCallsUnderWay) {
    std::vector<Result<CreatedRun>> results;
    std::vector<Result<RunRecord>> waited;
    controls_->set_shut(!GetParam());
    for (std::int64_t n = 1; n <= 50; ++n) {
        spawn(create_in(*store_, n, results));
        spawn(wait_in(*store_, id_of(n), 9, kLongMs, waited));
    }
    io_->restart();
    if (GetParam()) {
        for (int i = 0; i < 60; ++i) io_->poll_one();
    } else {
        io_->poll();
        controls_->await_waiting();
    }
    io_.reset();
    controls_->set_shut(false);
    store_.reset();
    EXPECT_TRUE(results.empty());
    io_ = std::make_unique<asio::io_context>();
    open();
    run([](Store& store) -> awaitable<void> {
        auto counts = co_await store.counts();
        EXPECT_TRUE(counts);
    }(*store_));
}

INSTANTIATE_TEST_SUITE_P(Threads, StoreTest, testing::Values(false, true),
                         [](const auto& param) -> std::string {
                             return param.param ? "InlineWork" : "OwnThread";
                         });

}  // namespace
}  // namespace mayfly::store
