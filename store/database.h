// The durable truth: mayfly.db, SQLite in WAL mode with synchronous=FULL, one connection, used
// from one thread.
//
// One connection is not a style: Debian's 3.40.1 has the WAL-reset corruption bug, which needs
// two. Nothing here is thread-safe; Store owns the thread. Every method that changes something
// must run between begin() and commit(); a method that fails leaves its own changes undone
// (savepoint), the others in the group stay.
//
// After ErrorKind::io, full or corrupt from commit() the state on disk is unknown: roll back, stop
// accepting, let the supervisor restart the process. fsync is never retried in place.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/disk.h"
#include "store/error.h"
#include "store/event.h"
#include "store/mutation.h"
#include "store/run.h"
#include "store/webhook.h"

namespace mayfly::store {

struct NewRun {
    std::string id;
    std::string owner;
    std::string idempotency_key;  // "" = none
    std::string spec_sha256;
    RunSpec spec;
    UnixMs now_ms = 0;
    std::int64_t stored_bytes = 0;
};

struct CreatedRun {
    Run run;
    bool existed =
        false;  // the same Idempotency-Key with the same spec_sha256: this is the old run
};

struct RunFilter {
    std::string owner;
    std::vector<Phase> phases;                                // empty = all
    std::vector<std::pair<std::string, std::string>> labels;  // all must match
    std::string before_id;    // cursor: only ids smaller than this; "" = from the newest
    std::int64_t limit = 50;  // 1..kListLimitMax
};
inline constexpr std::int64_t kListLimitMax = 10'000;
inline constexpr std::size_t kFilterLabelsMax = 16;

struct PhaseCounts {
    PhaseNumbers count = {};
    UnixMs oldest_queued_ms = 0;  // 0 = none queued
};

class Database {
public:
    // Opens or creates, migrates, and proves its settings by reading them back. `too_new`,
    // `corrupt` and a network file system are errors with a message for the operator; nothing is
    // ever reset silently.
    // `vfs` names the SQLite VFS that holds the same files as `disk` does; null: SQLite's default.
    [[nodiscard]] static Result<std::unique_ptr<Database>> open(const std::filesystem::path& file,
                                                                Disk& disk = system_disk(),
                                                                const char* vfs = nullptr);
    virtual ~Database() = default;

    // Made once with the database and kept in it: the label that says which engine objects are
    // ours.
    [[nodiscard]] virtual const std::string& instance_id() const = 0;
    // True when open() made a new file: a fresh history must not sweep what it does not know.
    [[nodiscard]] virtual bool is_fresh() const = 0;

    virtual Result<void> begin() = 0;
    virtual Result<void> commit() = 0;
    virtual void rollback() = 0;

    // --- desired state, written for the API
    virtual Result<CreatedRun> create_run(const NewRun& run) = 0;
    // Terminal run: unchanged, the record says so. Otherwise sets cancel_requested_ms (the first
    // stays). `not_found` for a tombstone.
    virtual Result<RunRecord> request_cancel(const std::string& run_id, UnixMs now_ms) = 0;
    // Tombstone. `conflict` while not terminal, `not_found` when it has one already.
    virtual Result<RunRecord> request_delete(const std::string& run_id, UnixMs now_ms) = 0;

    // --- status, written for the controller
    virtual Result<RunRecord> apply(const Mutation& mutation) = 0;
    // Drops the row and everything that hangs on it, but for deliveries that are still pending.
    // `conflict` unless it is collected and either has a tombstone or an expiry, which the caller
    // has seen pass (`expired`). The spool folder must already be gone.
    virtual Result<void> purge(const std::string& run_id) = 0;

    // --- reads
    virtual Result<RunRecord> get(
        const std::string& run_id) = 0;  // also with a tombstone; `not_found` else
    virtual Result<std::vector<Run>> list(const RunFilter& filter) = 0;
    // Every run that still needs the controller: not terminal, or not collected, or with a
    // tombstone. By id.
    virtual Result<std::vector<RunRecord>> unfinished() = 0;
    // Collected terminal runs with expires_ms <= now_ms, oldest first.
    virtual Result<std::vector<std::string>> expired(UnixMs now_ms, std::int64_t limit) = 0;
    virtual Result<std::vector<Artifact>> artifacts(const std::string& run_id) = 0;
    virtual Result<std::optional<Artifact>> artifact(const std::string& run_id,
                                                     const std::string& path) = 0;
    // Which of these runs have a row (also terminal ones). For the sweep's "does any record know
    // it?".
    virtual Result<std::vector<std::string>> known(const std::vector<std::string>& run_ids) = 0;
    // --- what happened
    // Events after filter.after_id, by id, of those runs that still or no longer are. Looks at
    // filter.limit rows at most.
    virtual Result<EventPage> events(const EventFilter& filter) = 0;
    virtual Result<EventSpan> event_span() = 0;
    // From here on only the newest `count` (1 and up) are kept: each new one drops what is older.
    virtual void keep_events(std::int64_t count) = 0;

    // --- webhooks. An event of a run that names one makes a delivery, in the same transaction.
    // The delivery that is due first of each of up to `limit` origins, by time.
    virtual Result<WebhookHeads> webhook_heads(std::int64_t limit) = 0;
    // What a try came to. `conflict` when no such delivery is pending.
    virtual Result<void> record_webhook(const WebhookOutcome& outcome) = 0;
    // Of a run: the newest that is pending, else the newest. Nothing: there was no event to tell
    // yet, or the run has no webhook.
    virtual Result<std::optional<WebhookProgress>> webhook_progress(const std::string& run_id) = 0;

    // Of all rows, also those with a tombstone.
    virtual Result<PhaseCounts> counts() = 0;
    virtual Result<std::int64_t> stored_bytes() = 0;    // sum over runs
    virtual Result<std::int64_t> database_bytes() = 0;  // file and write-ahead log
    // Reads everything: pages, foreign keys, and that the sums are those of the rows. `corrupt`
    // says what is wrong.
    virtual Result<void> integrity_check() = 0;

    // Grows whenever a method changed a row, and stays when it found nothing to do.
    [[nodiscard]] virtual std::int64_t changes() const = 0;
};

}  // namespace mayfly::store
