// The store as the loop sees it: Database on a thread of its own, with group commit.
//
// Call from the io_context's thread only; each call suspends, its work runs on the store's thread,
// and the coroutine resumes at home. Writes that wait at the same time share one transaction and
// one fdatasync: a write returns after that COMMIT. Reads see every write that was returned before
// they were asked.
//
// After an unknown commit (see Database) every call answers `closed` and `failure()` says why.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/database.h"

namespace mayfly::store {

// Told on the loop's thread, after COMMIT, once per changed run. `record.run.id` is the key;
// level-triggered users need nothing more.
using ChangeListener = std::function<void(const RunRecord& record)>;
using PurgeListener = std::function<void(const std::string& run_id)>;

struct CommitStats {
    std::int64_t commits = 0;
    std::int64_t mutations = 0;
    std::int64_t last_group_size = 0;
    std::int64_t commit_us_total = 0;
    std::int64_t last_commit_us = 0;
};

class Store {
public:
    // `home` is the loop's executor. With `inline_work`, work runs on `home` itself instead of a
    // thread: for the simulator, which needs one thread.
    Store(std::unique_ptr<Database> database, boost::asio::any_io_executor home,
          bool inline_work = false);
    ~Store();  // stop() if not done
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    [[nodiscard]] const std::string& instance_id() const;
    [[nodiscard]] bool is_fresh() const;
    [[nodiscard]] const std::optional<Error>& failure() const;
    [[nodiscard]] const CommitStats& stats() const;
    // Called after every group commit, on the loop's thread: (seconds, group size).
    void on_commit(std::function<void(double seconds, std::int64_t group)> observer);

    // Called once, on the loop's thread, when failure() comes to be: nothing is stored any more,
    // and whoever waits for a change waits for ever. The process should end.
    void on_failure(std::function<void(const Error& error)> listener);

    // Listeners live as long as the store. Called in the order in which they were added.
    void on_change(ChangeListener listener);
    // Of a run that was purged there is no record: after that COMMIT these are told instead.
    void on_purge(PurgeListener listener);

    boost::asio::awaitable<Result<CreatedRun>> create_run(NewRun run);
    boost::asio::awaitable<Result<RunRecord>> request_cancel(std::string run_id, UnixMs now_ms);
    boost::asio::awaitable<Result<RunRecord>> request_delete(std::string run_id, UnixMs now_ms);
    boost::asio::awaitable<Result<RunRecord>> apply(Mutation mutation);
    boost::asio::awaitable<Result<void>> purge(std::string run_id);

    boost::asio::awaitable<Result<RunRecord>> get(std::string run_id);
    boost::asio::awaitable<Result<std::vector<Run>>> list(RunFilter filter);
    boost::asio::awaitable<Result<std::vector<RunRecord>>> unfinished();
    boost::asio::awaitable<Result<std::vector<std::string>>> expired(UnixMs now_ms,
                                                                     std::int64_t limit);
    boost::asio::awaitable<Result<std::vector<Artifact>>> artifacts(std::string run_id);
    boost::asio::awaitable<Result<std::optional<Artifact>>> artifact(std::string run_id,
                                                                     std::string path);
    boost::asio::awaitable<Result<std::vector<std::string>>> known(
        std::vector<std::string> run_ids);
    boost::asio::awaitable<Result<EventPage>> events(EventFilter filter);
    boost::asio::awaitable<Result<EventSpan>> event_span();
    boost::asio::awaitable<Result<WebhookHeads>> webhook_heads(std::int64_t limit);
    boost::asio::awaitable<Result<void>> record_webhook(WebhookOutcome outcome);
    boost::asio::awaitable<Result<std::optional<WebhookProgress>>> webhook_progress(
        std::string run_id);
    boost::asio::awaitable<Result<PhaseCounts>> counts();
    boost::asio::awaitable<Result<std::int64_t>> stored_bytes();
    boost::asio::awaitable<Result<std::int64_t>> database_bytes();

    // Waits until `run_id` changes past `seen_revision`, is purged, or `timeout_ms` is over.
    // Returns the newest record either way. Many may wait for one run. Bounded by the caller.
    boost::asio::awaitable<Result<RunRecord>> wait_for_change(std::string run_id,
                                                              std::int64_t seen_revision,
                                                              std::int64_t timeout_ms);

    // Waits until an event after `seen_id` was committed, or `timeout_ms` is over. `closed` when
    // the store has stopped or failed. Says nothing of which: ask for events() then.
    boost::asio::awaitable<Result<void>> wait_for_event(std::int64_t seen_id,
                                                        std::int64_t timeout_ms);

    // Finishes what was asked, then refuses. Joins the thread.
    void stop();

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace mayfly::store
