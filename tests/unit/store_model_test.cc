// The database against a model of it: a map of records and the pure rules. Random changes,
// sensible and not, in groups that are committed, rolled back or cut by a restart. After each the
// answers must be those of the model; at the end every read must be what one computes by looking
// at all runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "store/transition.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

using Model = std::map<std::string, RunRecord>;

class World {
public:
    explicit World(std::uint32_t seed) : random_(seed) {}

    std::int64_t below(std::int64_t n) {
        return std::uniform_int_distribution<std::int64_t>(0, n - 1)(random_);
    }

    void step() {
        if (below(8) == 0 || model_.empty()) return create_one();
        const auto chosen = std::next(model_.begin(), below(std::ssize(model_)));
        const std::string id = chosen->first;
        ++now_;
        switch (below(12)) {
            case 0:
                return expect(id, db_->request_cancel(id, now_),
                              advance_cancel(chosen->second, now_));
            case 1:
                return expect(id, db_->request_delete(id, now_),
                              advance_delete(chosen->second, now_));
            case 2:
                return purge_one(id);
            default: {
                const auto mutation = any_mutation(chosen->second);
                return expect(id, db_->apply(mutation), advance(chosen->second, mutation));
            }
        }
    }

    void group() {
        ASSERT_TRUE(db_->begin());
        const Model before = model_;
        for (auto left = 1 + below(6); left > 0; --left) {
            step();
            if (testing::Test::HasFailure()) return;
        }
        switch (below(20)) {
            case 0:
                db_->rollback();
                model_ = before;
                break;
            case 1:  // as a crash: no commit, no rollback
                db_.reset();
                db_ = open_database(folder_ / "mayfly.db");
                model_ = before;
                break;
            default:
                ASSERT_TRUE(db_->commit());
        }
        for (const auto& [id, record] : model_) {
            if (below(4) == 0) ASSERT_EQ(*db_->get(id), record);
        }
    }

    void compare_all_reads();

private:
    void create_one() {
        auto run = new_run(++created_);
        run.spec.max_attempts = 1 + below(3);
        run.spec.labels = {{"n", std::to_string(created_ % 5)}};
        if (below(2) == 0) run.spec.labels["even"] = created_ % 2 == 0 ? "yes" : "no";
        auto made = db_->create_run(run);
        ASSERT_TRUE(made) << made.error().message;
        model_[run.id] = RunRecord{.run = made->run, .attempt = std::nullopt};
    }

    void purge_one(const std::string& id) {
        const auto purged = db_->purge(id);
        ASSERT_EQ(purged.has_value(), model_[id].run.collected);
        if (purged) model_.erase(id);
    }

    void expect(const std::string& id, const Result<RunRecord>& real,
                const Result<RunRecord>& expected) {
        ASSERT_EQ(real.has_value(), expected.has_value())
            << (real ? expected.error().message : real.error().message);
        if (!expected) {
            EXPECT_EQ(real.error().kind, expected.error().kind);
            return;
        }
        ASSERT_EQ(*real, *expected);
        model_[id] = *expected;
    }

    // Mostly the next step of its life, sometimes anything.
    Mutation any_mutation(const RunRecord& record) {
        const auto& id = record.run.id;
        const auto n = record.run.status.attempt;
        const auto stage = record.attempt ? record.attempt->stage : Stage::collected;
        ++now_;
        if (below(3) != 0) {
            if (record.run.status.phase == Phase::queued && stage == Stage::collected) {
                return bind_attempt(id, n + 1);
            }
            if (stage == Stage::bound) return start_intent(id, n);
            if (stage == Stage::start_intent) return started(id, n);
            if (stage == Stage::started) return exited(id, n);
            if (stage == Stage::exited) return below(2) == 0 ? end(id, n) : retried(id, n);
            if (stage == Stage::ended) return collected(id, n);
        }
        const auto wrong = n + below(2);
        switch (below(9)) {
            case 0:
                return bind_attempt(id, wrong);
            case 1:
                return start_intent(id, wrong);
            case 2:
                return started(id, wrong);
            case 3:
                return RecordExit{
                    .run_id = id, .attempt = wrong, .now_ms = now_, .exit = std::nullopt};
            case 4:
                return RecordKill{.run_id = id,
                                  .attempt = n,
                                  .now_ms = now_,
                                  .cause = static_cast<KillCause>(below(4))};
            case 5:
                return RecordInterrupted{.run_id = id, .attempt = n, .now_ms = now_};
            case 6:
                return retried(id, n);
            case 7:
                return end(id, below(2) == 0 ? 0 : n);
            default:
                return SetPending{.run_id = id,
                                  .now_ms = now_,
                                  .pending = static_cast<Pending>(below(6)),
                                  .message = std::to_string(below(2))};
        }
    }

    Mutation end(const std::string& id, std::int64_t n) {
        auto finish = std::get<FinishRun>(finished(id, n, static_cast<Phase>(4 + below(5))));
        finish.now_ms = now_;
        if (below(2) == 0) finish.harvest = {};
        return finish;
    }

    std::mt19937 random_;
    TempFolder folder_;
    std::unique_ptr<Database> db_ = open_database(folder_ / "mayfly.db");
    Model model_;
    std::int64_t created_ = 0;
    UnixMs now_ = 10'000;
};

void World::compare_all_reads() {
    std::vector<RunRecord> unfinished;
    std::vector<Run> listed;
    std::vector<Run> labelled;
    PhaseCounts counts;
    std::int64_t bytes = 0;
    for (const auto& [id, record] : model_) {
        ASSERT_EQ(*db_->get(id), record);
        const Run& run = record.run;
        ++counts.count[static_cast<int>(run.status.phase)];
        bytes += run.stored_bytes;
        if (!run.collected || run.delete_requested_ms != 0) unfinished.push_back(record);
        if (run.delete_requested_ms != 0) continue;
        listed.insert(listed.begin(), run);
        if (is_terminal(run.status.phase) && run.spec.labels.at("n") == "3") {
            labelled.insert(labelled.begin(), run);
        }
        if (run.status.phase == Phase::queued && counts.oldest_queued_ms == 0) {
            counts.oldest_queued_ms = run.status.created_ms;
        }
    }
    EXPECT_EQ(*db_->unfinished(), unfinished);
    EXPECT_EQ(*db_->stored_bytes(), bytes);
    const auto real = *db_->counts();
    EXPECT_TRUE(std::ranges::equal(real.count, counts.count));
    EXPECT_EQ(real.oldest_queued_ms, counts.oldest_queued_ms);
    RunFilter all;
    all.limit = kListLimitMax;
    EXPECT_EQ(*db_->list(all), listed);
    all.labels = {{"n", "3"}};
    all.phases = {Phase::succeeded, Phase::failed, Phase::timed_out, Phase::cancelled,
                  Phase::lost};
    EXPECT_EQ(*db_->list(all), labelled);
    EXPECT_TRUE(db_->integrity_check());
}

class ModelTest : public testing::TestWithParam<std::uint32_t> {};

TEST_P(ModelTest, TheDatabaseAnswersAsTheModelDoes) {
    World world(GetParam());
    for (int groups = 0; groups < 150 && !HasFailure(); ++groups) world.group();
    if (!HasFailure()) world.compare_all_reads();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest, testing::Range(1U, 9U));

}  // namespace
}  // namespace mayfly::store
