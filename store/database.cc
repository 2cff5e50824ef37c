#include "store/database.h"

#include <fmt/core.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "store/file_system.h"
#include "store/rows.h"
#include "store/schema.h"
#include "store/spec_json.h"
#include "store/transition.h"

namespace mayfly::store {
namespace {

namespace fs = std::filesystem;

constexpr int kBusyTimeoutMs = 2'000;
constexpr std::string_view kFileMagic{"SQLite format 3\0", 16};
// Of a write-ahead log, but for the last bit (sqlite.org/fileformat2.html#the_write_ahead_log).
constexpr std::string_view kLogMagic{"\x37\x7f\x06", 3};
// A whole quick_check reads every page. Up to here it takes well under a second; above, the start
// checks the small tables only, and reading finds what else is broken.
constexpr std::int64_t kQuickCheckMaxBytes = 128LL << 20;
constexpr std::size_t kSpecCacheRuns = 2'048;
// Filters by phase and label: with fewer rows than this in those phases it is cheaper to walk them
// than the label.
constexpr std::int64_t kPhaseDrivenMax = 10'000;
// Greater than every id: the cursor from the newest.
constexpr const char* kAfterEveryId = "~";

// ------------------------------------------------------------------------------------------
// errors

ErrorKind kind_of(int sqlite_code) {
    switch (sqlite_code & 0xFF) {
        case SQLITE_FULL:
            return ErrorKind::full;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return ErrorKind::corrupt;
        case SQLITE_CONSTRAINT:
            return ErrorKind::conflict;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return ErrorKind::locked;
        case SQLITE_TOOBIG:
        case SQLITE_RANGE:
        case SQLITE_MISMATCH:
            return ErrorKind::invalid;
        default:
            return ErrorKind::io;
    }
}

Error to_error(const SQLite::Exception& error) {
    return Error{
        kind_of(error.getErrorCode()),
        fmt::format("database: {} (SQLite code {})", error.what(), error.getExtendedErrorCode())};
}

// The edge: whatever is thrown inside becomes an Error here.
template <class Work>
auto guarded(Work&& work) -> decltype(work()) {
    try {
        return work();
    } catch (const SQLite::Exception& error) {
        return std::unexpected(to_error(error));
    } catch (const Unreadable& error) {
        return fail(ErrorKind::corrupt, std::string("database: cannot read ") + error.what());
    } catch (const nlohmann::json::exception& error) {
        return fail(ErrorKind::invalid, std::string("not JSON: ") + error.what());
    }
}

std::unexpected<Error> no_such_run(const std::string& run_id) {
    return fail(ErrorKind::not_found, "no run " + run_id);
}

std::int64_t number_of(Phase phase) { return static_cast<std::int64_t>(phase); }

// How many attempts were ended by a retry; see schema.cc.
std::int64_t epoch_of(const RunStatus& status) {
    return status.phase == Phase::queued ? status.attempt : status.attempt - 1;
}

// --------------------------------------------------------------------------------------
// statements

const std::string kSelectRecord = std::string("SELECT ") + kRunColumns + ", " + kAttemptColumns +
                                  " FROM runs r LEFT JOIN attempts a"
                                  " ON a.run_id = r.id AND a.number = r.attempt";

const std::string kSelectEvent =
    "SELECT id, at_ms, type, run_id, owner, labels, revision, attempt, phase, reason, message,"
    " pending, pending_message, exit_code, signal FROM events";

// From one origin to the next by one seek each, however many deliveries wait for it.
const std::string kSelectWebhookHeads =
    "WITH RECURSIVE origins (origin) AS ("
    " SELECT (SELECT min(origin) FROM webhook_deliveries"
    "          INDEXED BY webhook_deliveries_pending WHERE state = 0)"
    " UNION ALL"
    " SELECT (SELECT min(d.origin) FROM webhook_deliveries d"
    "          INDEXED BY webhook_deliveries_pending"
    "          WHERE d.state = 0 AND d.origin > origins.origin)"
    " FROM origins WHERE origins.origin IS NOT NULL)"
    " SELECT d.event_id, d.run_id, d.origin, d.url, d.secret, d.payload, d.tries, d.next_ms"
    " FROM origins CROSS JOIN webhook_deliveries d ON d.event_id ="
    "  (SELECT event_id FROM webhook_deliveries INDEXED BY webhook_deliveries_pending"
    "    WHERE state = 0 AND origin = origins.origin ORDER BY next_ms, event_id LIMIT 1)"
    " ORDER BY d.next_ms, d.event_id LIMIT ?";

// INDEXED BY makes a read that would scan finished rows fail, however few there are yet. Those
// that open and close transactions are needed at once, some of them where nothing may fail any
// more.
struct Statements {
    SQLite::Database& db;

    SQLite::Statement begin{db, "BEGIN IMMEDIATE"};
    SQLite::Statement commit{db, "COMMIT"};
    SQLite::Statement savepoint{db, "SAVEPOINT change"};
    SQLite::Statement release{db, "RELEASE change"};
    SQLite::Statement rollback_to{db, "ROLLBACK TO change"};

    Prepared run_by_id{db, kSelectRecord + " WHERE r.id = ?"};
    Prepared run_by_seq{db, kSelectRecord + " WHERE r.seq = ?"};
    Prepared run_by_key{db,
                        "SELECT id FROM runs WHERE owner = ? AND idempotency_key = ? AND "
                        "idempotency_key <> ''"};
    Prepared spec{db, "SELECT spec FROM specs WHERE seq = ?"};
    Prepared known{db, "SELECT 1 FROM runs WHERE id = ?"};
    Prepared unfinished{db,
                        "SELECT seq FROM runs INDEXED BY runs_unfinished"
                        " WHERE (collected = 0 OR delete_requested_ms <> 0) ORDER BY id"};
    Prepared expired{db,
                     "SELECT id FROM runs INDEXED BY runs_by_expiry"
                     " WHERE collected = 1 AND expires_ms <= ?"
                     " ORDER BY expires_ms LIMIT ?"};
    Prepared artifacts{db,
                       "SELECT path, \"offset\", size, sha256, mode FROM artifacts"
                       " WHERE run_id = ? ORDER BY path"};
    Prepared artifact{db,
                      "SELECT path, \"offset\", size, sha256, mode FROM artifacts"
                      " WHERE run_id = ? AND path = ?"};
    Prepared phase_sums{db, "SELECT phase, runs FROM phase_sums"};
    Prepared stored_bytes{db, "SELECT sum(stored_bytes) FROM phase_sums"};
    Prepared oldest_queued{db,
                           "SELECT created_ms FROM runs INDEXED BY runs_by_phase"
                           " WHERE phase = 0 ORDER BY id LIMIT 1"};
    Prepared page_count{db, "PRAGMA page_count"};
    Prepared event_span{db,
                        "SELECT coalesce((SELECT min(id) FROM events), 0),"
                        " coalesce((SELECT max(id) FROM events), 0)"};
    Prepared events{db, kSelectEvent + " WHERE id > ? ORDER BY id LIMIT ?"};
    Prepared events_of_run{db, kSelectEvent +
                                   " INDEXED BY events_by_run WHERE run_id = ? AND id > ?"
                                   " ORDER BY id LIMIT ?"};

    Prepared webhook_heads{db, kSelectWebhookHeads};
    Prepared webhooks_pending{db, "SELECT deliveries FROM webhook_sums WHERE state = 0"};
    Prepared webhook_progress{
        db,
        "SELECT event_id, state, tries, next_ms, last_status, last_error FROM webhook_deliveries"
        " INDEXED BY webhook_deliveries_by_run WHERE run_id = ?"
        " ORDER BY state = 0 DESC, event_id DESC LIMIT 1"};

    Prepared insert_run{db,
                        "INSERT INTO runs (id, owner, idempotency_key, spec_sha256, created_ms,"
                        " queue_deadline_ms, stored_bytes) VALUES (?, ?, ?, ?, ?, ?, ?)"};
    Prepared insert_spec{db, "INSERT INTO specs VALUES (?, ?)"};
    Prepared insert_label{db, "INSERT INTO labels VALUES (?, ?, ?)"};
    Prepared insert_result{db, "INSERT INTO results VALUES (?, ?)"};
    Prepared insert_artifact{db, "INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?)"};
    Prepared insert_attempt{
        db,
        "INSERT INTO attempts (run_id, number, engine, container_name, volume_name, nonce,"
        " container_id, bound_ms, prepare_deadline_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"};
    Prepared update_attempt{
        db,
        "UPDATE attempts SET container_id = ?, stage = ?, start_tries = ?,"
        " start_intent_ms = ?, started_ms = ?, run_deadline_ms = ?, kill_cause = ?,"
        " kill_ms = ?, engine_interrupted = ?, outcome = ?, exit_seen = ?, exit_code = ?,"
        " exit_oom_killed = ?, exit_error = ?, exit_state = ?, exit_started_ms = ?,"
        " exit_finished_ms = ? WHERE run_id = ? AND number = ?"};
    Prepared update_progress{
        db,
        "UPDATE runs SET epoch = ?, phase = ?, attempt = ?, pending = ?, pending_message = ?,"
        " preparing_ms = ?, running_ms = ?, harvesting_ms = ?, queue_deadline_ms = ?,"
        " revision = ? WHERE seq = ?"};
    Prepared update_requests{
        db,
        "UPDATE runs SET pending = ?, pending_message = ?, cancel_requested_ms = ?,"
        " revision = ? WHERE seq = ?"};
    Prepared update_ending{
        db, "UPDATE runs SET delete_requested_ms = ?, collected = ?, revision = ? WHERE seq = ?"};
    Prepared update_revision{db, "UPDATE runs SET revision = ? WHERE seq = ?"};
    Prepared update_finish{
        db,
        "UPDATE runs SET phase = ?, reason = ?, message = ?, pending = '',"
        " pending_message = '', finished_ms = ?, exit_code = ?, signal = ?, oom_killed = ?,"
        " cpu_ms = ?, memory_peak_bytes = ?, stdout_total = ?, stdout_kept = ?,"
        " stdout_truncated = ?, stderr_total = ?, stderr_kept = ?, stderr_truncated = ?,"
        " artifact_count = ?, artifact_bytes = ?, skipped = ?, skipped_count = ?,"
        " result_error = ?, expires_ms = ?, stored_bytes = ?, collected = ?, revision = ?"
        " WHERE seq = ?"};
    Prepared insert_event{
        db,
        "INSERT INTO events (at_ms, type, run_id, owner, labels, revision, attempt, phase,"
        " reason, message, pending, pending_message, exit_code, signal)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"};
    Prepared drop_events{db, "DELETE FROM events WHERE id <= ?"};
    Prepared insert_delivery{
        db,
        "INSERT INTO webhook_deliveries (event_id, run_id, origin, url, secret, payload, next_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"};
    Prepared retry_delivery{
        db,
        "UPDATE webhook_deliveries SET tries = ?, next_ms = ?, last_status = ?, last_error = ?"
        " WHERE event_id = ? AND state = 0"};
    Prepared end_delivery{
        db,
        "UPDATE webhook_deliveries SET state = ?, secret = '', payload = '', tries = ?,"
        " last_status = ?, last_error = ? WHERE event_id = ? AND state = 0"};
    Prepared drop_delivery{db,
                           "DELETE FROM webhook_deliveries WHERE event_id = ? AND state <> 0"
                           " AND NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id)"};
    Prepared drop_deliveries{db, "DELETE FROM webhook_deliveries WHERE run_id = ? AND state <> 0"};
    Prepared delete_run{db, "DELETE FROM runs WHERE seq = ?"};
};

// Undoes what one change did, unless it was kept.
class Savepoint {
public:
    Savepoint(Statements& statements, sqlite3* handle) : statements_(statements), handle_(handle) {
        Use(statements_.savepoint).run();
    }
    ~Savepoint() {
        // After some errors SQLite has undone the whole transaction already.
        if (kept_ || sqlite3_get_autocommit(handle_) != 0) return;
        statements_.rollback_to.tryExecuteStep();
        statements_.rollback_to.tryReset();
        statements_.release.tryExecuteStep();
        statements_.release.tryReset();
    }
    Savepoint(const Savepoint&) = delete;
    Savepoint& operator=(const Savepoint&) = delete;
    void keep() {
        Use(statements_.release).run();
        kept_ = true;
    }

private:
    Statements& statements_;
    sqlite3* handle_;
    bool kept_ = false;
};

// Parsed specs of the runs in hand: a spec never changes, and a run is read about ten times in its
// life.
class SpecCache {
public:
    [[nodiscard]] const RunSpec* find(std::int64_t seq) const {
        auto found = specs_.find(seq);
        return found == specs_.end() ? nullptr : &found->second;
    }
    void put(std::int64_t seq, const RunSpec& spec) {
        if (!specs_.try_emplace(seq, spec).second) return;
        order_.push_back(seq);
        if (order_.size() > kSpecCacheRuns) {
            specs_.erase(order_.front());
            order_.pop_front();
        }
    }
    void forget(std::int64_t seq) {
        if (specs_.erase(seq) == 0) return;
        order_.erase(std::ranges::find(order_, seq));
    }
    void clear() {
        specs_.clear();
        order_.clear();
    }

private:
    std::unordered_map<std::int64_t, RunSpec> specs_;
    std::deque<std::int64_t> order_;
};

// ---------------------------------------------------------------------------------------- the
// form

struct Stored {
    std::int64_t seq = 0;
    RunRecord record;
};

class SqliteDatabase final : public Database {
public:
    SqliteDatabase(std::unique_ptr<SQLite::Database> db, const fs::path& file, Disk& disk,
                   bool fresh)
        : db_(std::move(db)),
          statements_(Statements{.db = *db_}),
          disk_(disk),
          wal_file_(file.string() + "-wal"),
          page_bytes_(db_->execAndGet("PRAGMA page_size").getInt64()),
          instance_id_(
              db_->execAndGet("SELECT value FROM meta WHERE key = 'instance_id'").getString()),
          fresh_(fresh) {}

    [[nodiscard]] const std::string& instance_id() const override { return instance_id_; }
    [[nodiscard]] bool is_fresh() const override { return fresh_; }

    Result<void> begin() override;
    Result<void> commit() override;
    void rollback() override;

    Result<CreatedRun> create_run(const NewRun& run) override;
    Result<RunRecord> request_cancel(const std::string& run_id, UnixMs now_ms) override;
    Result<RunRecord> request_delete(const std::string& run_id, UnixMs now_ms) override;
    Result<RunRecord> apply(const Mutation& mutation) override;
    Result<void> purge(const std::string& run_id) override;

    Result<RunRecord> get(const std::string& run_id) override;
    Result<std::vector<Run>> list(const RunFilter& filter) override;
    Result<std::vector<RunRecord>> unfinished() override;
    Result<std::vector<std::string>> expired(UnixMs now_ms, std::int64_t limit) override;
    Result<std::vector<Artifact>> artifacts(const std::string& run_id) override;
    Result<std::optional<Artifact>> artifact(const std::string& run_id,
                                             const std::string& path) override;
    Result<std::vector<std::string>> known(const std::vector<std::string>& run_ids) override;
    Result<EventPage> events(const EventFilter& filter) override;
    Result<EventSpan> event_span() override;
    void keep_events(std::int64_t count) override {
        events_kept_ = std::max<std::int64_t>(count, 1);
    }
    Result<WebhookHeads> webhook_heads(std::int64_t limit) override;
    Result<void> record_webhook(const WebhookOutcome& outcome) override;
    Result<std::optional<WebhookProgress>> webhook_progress(const std::string& run_id) override;
    Result<PhaseCounts> counts() override;
    Result<std::int64_t> stored_bytes() override;
    Result<std::int64_t> database_bytes() override;
    Result<void> integrity_check() override;
    [[nodiscard]] std::int64_t changes() const override {
        return sqlite3_total_changes64(db_->getHandle());
    }

private:
    // Runs `work` inside the group's transaction, in a savepoint that is kept only when it
    // succeeds.
    template <class Work>
    auto change(Work&& work) -> decltype(work()) {
        return guarded([&]() -> decltype(work()) {
            if (sqlite3_get_autocommit(db_->getHandle()) != 0) {
                return fail(ErrorKind::io, "database: a change outside of a transaction");
            }
            Savepoint savepoint(statements_, db_->getHandle());
            auto result = work();
            if (result) savepoint.keep();
            return result;
        });
    }

    std::optional<Stored> load(Use&& row);
    std::optional<Stored> load_by_id(const std::string& run_id) {
        return load(std::move(Use(statements_.run_by_id).bind(run_id)));
    }
    Stored load_by_seq(std::int64_t seq);
    RunSpec load_spec(std::int64_t seq);

    Result<CreatedRun> insert(const NewRun& run);
    void write(const Stored& before, const RunRecord& after, const HarvestResult* harvest,
               UnixMs now_ms);
    void tell(const RunRecord* before, const RunRecord& after, UnixMs now_ms);
    void record(Event event, const RunSpec& spec);
    void enqueue(const Event& event, const Webhook& webhook);
    void write_attempt(const Attempt& attempt);
    void write_progress(std::int64_t seq, const Run& run);
    void write_finish(std::int64_t seq, const Run& run, const HarvestResult& harvest);

    using IdAndSeq = std::pair<std::string, std::int64_t>;
    std::vector<IdAndSeq> select(const RunFilter& filter, std::optional<Phase> phase);
    std::vector<IdAndSeq> select_by_phases(const RunFilter& filter);
    bool walk_phases(const RunFilter& filter);
    SQLite::Statement& cached(const std::string& sql);

    std::unique_ptr<SQLite::Database> db_;
    Statements statements_;
    std::unordered_map<std::string, std::unique_ptr<SQLite::Statement>> list_statements_;
    SpecCache specs_;
    Disk& disk_;
    fs::path wal_file_;
    std::int64_t page_bytes_;
    std::string instance_id_;
    bool fresh_;
    std::int64_t events_kept_ = kEventsKept;
};

// ------------------------------------------------------------------------------------
// transactions

Result<void> SqliteDatabase::begin() {
    return guarded([&]() -> Result<void> {
        Use(statements_.begin).run();
        return {};
    });
}

Result<void> SqliteDatabase::commit() {
    return guarded([&]() -> Result<void> {
        Use(statements_.commit).run();
        return {};
    });
}

void SqliteDatabase::rollback() {
    specs_.clear();  // of runs that are no more
    if (sqlite3_get_autocommit(db_->getHandle()) == 0) db_->tryExec("ROLLBACK");
}

// -------------------------------------------------------------------------------------------
// loads

RunSpec SqliteDatabase::load_spec(std::int64_t seq) {
    if (const auto* spec = specs_.find(seq)) return *spec;
    Use row(statements_.spec);
    if (!row.bind(seq).next()) throw Unreadable("the spec of a run: it has none");
    auto parsed = parse_spec(row.text());
    if (!parsed) throw Unreadable(parsed.error().message);
    return *std::move(parsed);
}

std::optional<Stored> SqliteDatabase::load(Use&& row) {
    if (!row.next()) return std::nullopt;
    auto [seq, run] = read_run(row);
    Stored stored{.seq = seq, .record = {.run = std::move(run), .attempt = std::nullopt}};
    stored.record.attempt = read_attempt(row, stored.record.run.id);
    stored.record.run.spec = load_spec(seq);
    return stored;
}

Stored SqliteDatabase::load_by_seq(std::int64_t seq) {
    auto stored = load(std::move(Use(statements_.run_by_seq).bind(seq)));
    if (!stored) throw Unreadable("a run that an index names");
    return *std::move(stored);
}

// ----------------------------------------------------------------------------------- desired
// state

Result<CreatedRun> SqliteDatabase::create_run(const NewRun& run) {
    if (!is_run_id(run.id)) return fail(ErrorKind::invalid, "id: not a run id");
    return change([&]() -> Result<CreatedRun> {
        if (run.idempotency_key.empty()) return insert(run);
        std::string old_id;
        {
            Use row(statements_.run_by_key);
            if (!row.bind(run.owner, run.idempotency_key).next()) return insert(run);
            old_id = row.text();
        }
        auto old = load_by_id(old_id);
        if (!old) throw Unreadable("a run that an index names");
        if (old->record.run.spec_sha256 != run.spec_sha256) {
            return fail(ErrorKind::key_reused,
                        "Idempotency-Key: it was used for run " + old_id + " with another body");
        }
        return CreatedRun{.run = std::move(old->record.run), .existed = true};
    });
}

Result<CreatedRun> SqliteDatabase::insert(const NewRun& new_run) {
    Run run;
    run.id = new_run.id;
    run.owner = new_run.owner;
    run.idempotency_key = new_run.idempotency_key;
    run.spec_sha256 = new_run.spec_sha256;
    run.spec = new_run.spec;
    run.status.created_ms = new_run.now_ms;
    run.queue_deadline_ms = new_run.now_ms + new_run.spec.limits.queue_timeout_s * 1000;
    run.stored_bytes = new_run.stored_bytes;
    run.revision = 1;

    const auto spec_text = canonical_spec(run.spec);
    Use(statements_.insert_run)
        .bind(run.id, run.owner, run.idempotency_key, run.spec_sha256, run.status.created_ms,
              run.queue_deadline_ms, run.stored_bytes)
        .run();
    const std::int64_t seq = db_->getLastInsertRowid();
    Use(statements_.insert_spec).bind(seq, spec_text).run();
    for (const auto& [key, value] : run.spec.labels) {
        Use(statements_.insert_label).bind(run.id, key, value).run();
    }
    specs_.forget(seq);  // a purged run may have had this number
    specs_.put(seq, run.spec);
    RunRecord record{.run = std::move(run), .attempt = std::nullopt};
    tell(nullptr, record, new_run.now_ms);
    return CreatedRun{.run = std::move(record.run), .existed = false};
}

Result<RunRecord> SqliteDatabase::request_cancel(const std::string& run_id, UnixMs now_ms) {
    return change([&]() -> Result<RunRecord> {
        auto stored = load_by_id(run_id);
        if (!stored) return no_such_run(run_id);
        auto next = advance_cancel(stored->record, now_ms);
        if (next) write(*stored, *next, nullptr, now_ms);
        return next;
    });
}

Result<RunRecord> SqliteDatabase::request_delete(const std::string& run_id, UnixMs now_ms) {
    return change([&]() -> Result<RunRecord> {
        auto stored = load_by_id(run_id);
        if (!stored) return no_such_run(run_id);
        auto next = advance_delete(stored->record, now_ms);
        if (next) write(*stored, *next, nullptr, now_ms);
        return next;
    });
}

// ------------------------------------------------------------------------------------------
// status

Result<RunRecord> SqliteDatabase::apply(const Mutation& mutation) {
    const auto& run_id = run_id_of(mutation);
    return change([&]() -> Result<RunRecord> {
        auto stored = load_by_id(run_id);
        if (!stored) return no_such_run(run_id);
        specs_.put(stored->seq, stored->record.run.spec);
        auto next = advance(stored->record, mutation);
        if (!next) {
            next.error().message.insert(0, std::string(name_of(mutation)) + ": ");
            return next;
        }
        const auto* finish = std::get_if<FinishRun>(&mutation);
        const HarvestResult* harvest = finish == nullptr ? nullptr : &finish->harvest;
        write(*stored, *next, harvest, now_ms_of(mutation));
        if (next->run.collected) specs_.forget(stored->seq);
        return next;
    });
}

// Writes what `after` has over `before`. Narrow updates: columns that are named in an UPDATE cost
// their indexes.
void SqliteDatabase::write(const Stored& before, const RunRecord& after,
                           const HarvestResult* harvest, UnixMs now_ms) {
    const Run& old_run = before.record.run;
    const Run& run = after.run;
    if (run.revision == old_run.revision) return;
    const std::int64_t seq = before.seq;

    // The attempt first: the triggers on runs look at it.
    if (after.attempt && after.attempt != before.record.attempt) {
        const Attempt& attempt = *after.attempt;
        if (!before.record.attempt || before.record.attempt->number != attempt.number) {
            Use(statements_.insert_attempt)
                .bind(run.id, attempt.number, attempt.engine, attempt.container_name,
                      attempt.volume_name, attempt.nonce, attempt.container_id, attempt.bound_ms,
                      attempt.prepare_deadline_ms)
                .run();
        } else {
            write_attempt(attempt);
        }
    }
    const RunStatus& old_status = old_run.status;
    const RunStatus& status = run.status;
    if (harvest != nullptr) {
        write_finish(seq, run, *harvest);
    } else if (status.phase != old_status.phase || status.attempt != old_status.attempt) {
        write_progress(seq, run);
    } else if (run.delete_requested_ms != old_run.delete_requested_ms ||
               run.collected != old_run.collected) {
        Use(statements_.update_ending)
            .bind(run.delete_requested_ms, run.collected, run.revision, seq)
            .run();
    } else if (run.cancel_requested_ms != old_run.cancel_requested_ms ||
               status.pending != old_status.pending ||
               status.pending_message != old_status.pending_message) {
        Use(statements_.update_requests)
            .bind(to_string(status.pending), status.pending_message, run.cancel_requested_ms,
                  run.revision, seq)
            .run();
    } else {
        Use(statements_.update_revision).bind(run.revision, seq).run();
    }
    tell(&before.record, after, now_ms);
}

void SqliteDatabase::tell(const RunRecord* before, const RunRecord& after, UnixMs now_ms) {
    auto event = event_of(before, after);
    if (!event) return;
    event->at_ms = now_ms;
    record(*std::move(event), after.run.spec);
}

void SqliteDatabase::record(Event event, const RunSpec& spec) {
    const std::string labels = labels_json(event.labels);
    Use(statements_.insert_event)
        .bind(event.at_ms, to_string(event.type), event.run_id, event.owner, labels,
              event.revision, event.attempt, number_of(event.phase), to_string(event.reason),
              event.message, to_string(event.pending), event.pending_message, event.exit_code,
              event.signal)
        .run();
    event.id = db_->getLastInsertRowid();
    const std::int64_t gone = event.id - events_kept_;
    if (gone > 0) Use(statements_.drop_events).bind(gone).run();
    if (spec.webhook) enqueue(event, *spec.webhook);
}

void SqliteDatabase::enqueue(const Event& event, const Webhook& webhook) {
    if (!webhook.all_events && event.type != EventType::finished) return;
    const std::string origin = origin_of(webhook.url);
    const std::string payload = event_text(event);
    Use(statements_.insert_delivery)
        .bind(event.id, event.run_id, origin, webhook.url, webhook.secret, payload, event.at_ms)
        .run();
}

void SqliteDatabase::write_attempt(const Attempt& attempt) {
    const EngineExit exit = attempt.exit.value_or(EngineExit{});
    Use(statements_.update_attempt)
        .bind(attempt.container_id, static_cast<std::int64_t>(attempt.stage), attempt.start_tries,
              attempt.start_intent_ms, attempt.started_ms, attempt.run_deadline_ms,
              to_string(attempt.kill_cause), attempt.kill_ms, attempt.engine_interrupted,
              number_of(attempt.outcome), attempt.exit.has_value(), exit.exit_code,
              exit.oom_killed, exit.error, exit.state, exit.started_ms, exit.finished_ms,
              attempt.run_id, attempt.number)
        .run();
}

void SqliteDatabase::write_progress(std::int64_t seq, const Run& run) {
    const RunStatus& status = run.status;
    Use(statements_.update_progress)
        .bind(epoch_of(status), number_of(status.phase), status.attempt, to_string(status.pending),
              status.pending_message, status.preparing_ms, status.running_ms, status.harvesting_ms,
              run.queue_deadline_ms, run.revision, seq)
        .run();
}

void SqliteDatabase::write_finish(std::int64_t seq, const Run& run, const HarvestResult& harvest) {
    for (const auto& artifact : harvest.artifacts) {
        Use(statements_.insert_artifact)
            .bind(run.id, artifact.path, artifact.offset, artifact.size, artifact.sha256,
                  static_cast<std::int64_t>(artifact.mode))
            .run();
    }
    if (!harvest.result_json.empty()) {
        Use(statements_.insert_result).bind(seq, harvest.result_json).run();
    }
    const RunStatus& status = run.status;
    const auto skipped = skipped_json(status.skipped);
    Use(statements_.update_finish)
        .bind(number_of(status.phase), to_string(status.reason), status.message,
              status.finished_ms, status.exit_code, status.signal, status.oom_killed,
              status.cpu_ms, status.memory_peak_bytes, status.stdout_stream.bytes_total,
              status.stdout_stream.bytes_kept, status.stdout_stream.truncated,
              status.stderr_stream.bytes_total, status.stderr_stream.bytes_kept,
              status.stderr_stream.truncated, status.artifact_count, status.artifact_bytes,
              skipped, status.skipped_count, status.result_error, run.expires_ms, run.stored_bytes,
              run.collected, run.revision, seq)
        .run();
}

Result<void> SqliteDatabase::purge(const std::string& run_id) {
    return change([&]() -> Result<void> {
        auto stored = load_by_id(run_id);
        if (!stored) return no_such_run(run_id);
        const Run& run = stored->record.run;
        if (!run.collected) {
            return fail(ErrorKind::conflict, "run " + run_id + " is not collected: it cannot go");
        }
        if (run.delete_requested_ms == 0 && run.expires_ms == 0) {
            return fail(ErrorKind::conflict, "run " + run_id + " is neither deleted nor expired");
        }
        // A tombstone has told it already.
        if (run.delete_requested_ms == 0) record(expiry_event(stored->record), run.spec);
        Use(statements_.drop_deliveries).bind(run_id).run();
        Use(statements_.delete_run).bind(stored->seq).run();
        specs_.forget(stored->seq);
        return {};
    });
}

// -------------------------------------------------------------------------------------------
// reads

Result<RunRecord> SqliteDatabase::get(const std::string& run_id) {
    return guarded([&]() -> Result<RunRecord> {
        auto stored = load_by_id(run_id);
        if (!stored) return no_such_run(run_id);
        return std::move(stored->record);
    });
}

SQLite::Statement& SqliteDatabase::cached(const std::string& sql) {
    auto& statement = list_statements_[sql];
    if (!statement) statement = std::make_unique<SQLite::Statement>(*db_, sql);
    return *statement;
}

// The newest ids before the cursor: with `phase` those of that phase, by its index; else those
// with the first label, by its index; else all, by id.
std::vector<SqliteDatabase::IdAndSeq> SqliteDatabase::select(const RunFilter& filter,
                                                             std::optional<Phase> phase) {
    const bool by_label = !phase && !filter.labels.empty();
    std::string sql = "SELECT r.id, r.seq FROM ";
    if (by_label) {
        sql +=
            "labels l INDEXED BY labels_by_value CROSS JOIN runs r ON r.id = l.run_id"
            " WHERE l.key = ? AND l.value = ? AND l.run_id < ?";
    } else if (phase) {
        sql += "runs r INDEXED BY runs_by_phase WHERE r.phase = ? AND r.id < ?";
    } else {
        sql += "runs r INDEXED BY sqlite_autoindex_runs_1 WHERE r.id < ?";
    }
    sql += " AND r.owner = ? AND r.delete_requested_ms = 0";
    for (std::size_t i = by_label ? 1 : 0; i < filter.labels.size(); ++i) {
        sql += " AND EXISTS (SELECT 1 FROM labels WHERE run_id = r.id AND key = ? AND value = ?)";
    }
    // A mask keeps the text the same for every set of phases.
    if (by_label) sql += " AND (? >> r.phase) & 1";
    sql += by_label ? " ORDER BY l.run_id DESC LIMIT ?" : " ORDER BY r.id DESC LIMIT ?";

    const std::string cursor = filter.before_id.empty() ? kAfterEveryId : filter.before_id;
    Use row(cached(sql));
    if (by_label) row.bind(filter.labels[0].first, filter.labels[0].second);
    if (phase) row.bind(number_of(*phase));
    row.bind(cursor, filter.owner);
    for (std::size_t i = by_label ? 1 : 0; i < filter.labels.size(); ++i) {
        row.bind(filter.labels[i].first, filter.labels[i].second);
    }
    if (by_label) {
        std::int64_t mask = filter.phases.empty() ? -1 : 0;
        for (auto wanted : filter.phases) mask |= std::int64_t{1} << number_of(wanted);
        row.bind(mask);
    }
    row.bind(filter.limit);
    std::vector<IdAndSeq> found;
    while (row.next()) {
        auto id = row.text();
        found.emplace_back(std::move(id), row.integer());
    }
    return found;
}

std::vector<SqliteDatabase::IdAndSeq> SqliteDatabase::select_by_phases(const RunFilter& filter) {
    auto phases = filter.phases;
    std::ranges::sort(phases);
    phases.erase(std::ranges::unique(phases).begin(), phases.end());
    std::vector<IdAndSeq> found;
    for (auto phase : phases) {
        auto some = select(filter, phase);
        std::ranges::move(some, std::back_inserter(found));
    }
    std::ranges::sort(found, std::greater{});
    if (found.size() > static_cast<std::size_t>(filter.limit)) {
        found.resize(static_cast<std::size_t>(filter.limit));
    }
    return found;
}

bool SqliteDatabase::walk_phases(const RunFilter& filter) {
    if (filter.phases.empty()) return false;
    if (filter.labels.empty()) return true;
    std::int64_t rows = 0;
    Use row(statements_.phase_sums);
    while (row.next()) {
        const auto phase = static_cast<Phase>(row.integer());
        const auto count = row.integer();
        if (std::ranges::find(filter.phases, phase) != filter.phases.end()) rows += count;
    }
    return rows <= kPhaseDrivenMax;
}

Result<std::vector<Run>> SqliteDatabase::list(const RunFilter& filter) {
    if (filter.limit < 1 || filter.limit > kListLimitMax) {
        return fail(ErrorKind::invalid,
                    fmt::format("limit: {} is not within 1 and {}", filter.limit, kListLimitMax));
    }
    if (filter.labels.size() > kFilterLabelsMax) {
        return fail(ErrorKind::invalid,
                    fmt::format("label: at most {} at a time", kFilterLabelsMax));
    }
    return guarded([&]() -> Result<std::vector<Run>> {
        const auto found =
            walk_phases(filter) ? select_by_phases(filter) : select(filter, std::nullopt);
        std::vector<Run> runs;
        runs.reserve(found.size());
        for (const auto& [id, seq] : found) runs.push_back(load_by_seq(seq).record.run);
        return runs;
    });
}

Result<std::vector<RunRecord>> SqliteDatabase::unfinished() {
    return guarded([&]() -> Result<std::vector<RunRecord>> {
        std::vector<RunRecord> records;
        Use row(statements_.unfinished);
        while (row.next()) records.push_back(load_by_seq(row.integer()).record);
        return records;
    });
}

Result<std::vector<std::string>> SqliteDatabase::expired(UnixMs now_ms, std::int64_t limit) {
    return guarded([&]() -> Result<std::vector<std::string>> {
        std::vector<std::string> ids;
        Use row(statements_.expired);
        row.bind(now_ms, std::max<std::int64_t>(limit, 0));
        while (row.next()) ids.push_back(row.text());
        return ids;
    });
}

Artifact read_artifact(Use& row) {
    Artifact artifact;
    artifact.path = row.text();
    artifact.offset = row.integer();
    artifact.size = row.integer();
    artifact.sha256 = row.text();
    artifact.mode = static_cast<std::uint32_t>(row.integer());
    return artifact;
}

Result<std::vector<Artifact>> SqliteDatabase::artifacts(const std::string& run_id) {
    return guarded([&]() -> Result<std::vector<Artifact>> {
        std::vector<Artifact> found;
        Use row(statements_.artifacts);
        row.bind(run_id);
        while (row.next()) found.push_back(read_artifact(row));
        return found;
    });
}

Result<std::optional<Artifact>> SqliteDatabase::artifact(const std::string& run_id,
                                                         const std::string& path) {
    return guarded([&]() -> Result<std::optional<Artifact>> {
        Use row(statements_.artifact);
        if (!row.bind(run_id, path).next()) return std::optional<Artifact>();
        return std::optional(read_artifact(row));
    });
}

Result<std::vector<std::string>> SqliteDatabase::known(const std::vector<std::string>& run_ids) {
    return guarded([&]() -> Result<std::vector<std::string>> {
        std::vector<std::string> found;
        for (const auto& run_id : run_ids) {
            Use row(statements_.known);
            if (row.bind(run_id).next()) found.push_back(run_id);
        }
        return found;
    });
}

Result<EventPage> SqliteDatabase::events(const EventFilter& filter) {
    if (filter.limit < 1 || filter.limit > kEventLimitMax) {
        return fail(ErrorKind::invalid,
                    fmt::format("limit: {} is not within 1 and {}", filter.limit, kEventLimitMax));
    }
    return guarded([&]() -> Result<EventPage> {
        EventPage page{.events = {}, .scanned_to = filter.after_id, .more = false, .span = {}};
        const bool one_run = filter.run_ids.size() == 1;
        Use row(one_run ? statements_.events_of_run : statements_.events);
        if (one_run) row.bind(filter.run_ids.front());
        row.bind(filter.after_id, filter.limit);
        std::int64_t rows = 0;
        for (; row.next(); ++rows) {
            Event event = read_event(row);
            page.scanned_to = event.id;
            if (event_passes(event, filter)) page.events.push_back(std::move(event));
        }
        page.more = rows == filter.limit;
        Use span(statements_.event_span);
        if (span.next()) page.span = {.oldest = span.integer(), .newest = span.integer()};
        return page;
    });
}

Result<EventSpan> SqliteDatabase::event_span() {
    return guarded([&]() -> Result<EventSpan> {
        Use row(statements_.event_span);
        EventSpan span;
        if (row.next()) span = {.oldest = row.integer(), .newest = row.integer()};
        return span;
    });
}

// ------------------------------------------------------------------------------------------
// webhooks

Result<WebhookHeads> SqliteDatabase::webhook_heads(std::int64_t limit) {
    return guarded([&]() -> Result<WebhookHeads> {
        WebhookHeads found;
        Use pending(statements_.webhooks_pending);
        if (pending.next()) found.pending = pending.integer();
        if (found.pending == 0) return found;
        Use row(statements_.webhook_heads);
        row.bind(std::max<std::int64_t>(limit, 0));
        while (row.next()) {
            WebhookDelivery delivery;
            delivery.event_id = row.integer();
            delivery.run_id = row.text();
            delivery.origin = row.text();
            delivery.url = row.text();
            delivery.secret = row.text();
            delivery.payload = row.text();
            delivery.tries = row.integer();
            delivery.next_ms = row.integer();
            found.heads.push_back(std::move(delivery));
        }
        return found;
    });
}

Result<void> SqliteDatabase::record_webhook(const WebhookOutcome& outcome) {
    return change([&]() -> Result<void> {
        const auto before = changes();
        if (outcome.state == DeliveryState::pending) {
            Use(statements_.retry_delivery)
                .bind(outcome.tries, outcome.next_ms, outcome.last_status, outcome.last_error,
                      outcome.event_id)
                .run();
        } else {
            Use(statements_.end_delivery)
                .bind(static_cast<std::int64_t>(outcome.state), outcome.tries, outcome.last_status,
                      outcome.last_error, outcome.event_id)
                .run();
        }
        if (changes() == before) {
            return fail(ErrorKind::conflict,
                        fmt::format("no delivery of event {} is pending", outcome.event_id));
        }
        Use(statements_.drop_delivery).bind(outcome.event_id).run();
        return {};
    });
}

Result<std::optional<WebhookProgress>> SqliteDatabase::webhook_progress(
    const std::string& run_id) {
    return guarded([&]() -> Result<std::optional<WebhookProgress>> {
        Use row(statements_.webhook_progress);
        if (!row.bind(run_id).next()) return std::optional<WebhookProgress>();
        WebhookProgress progress;
        progress.event_id = row.integer();
        const auto state = row.integer();
        if (state < 0 || state > static_cast<std::int64_t>(DeliveryState::given_up)) {
            throw Unreadable("the state of a delivery: " + std::to_string(state));
        }
        progress.state = static_cast<DeliveryState>(state);
        progress.tries = row.integer();
        progress.next_ms = row.integer();
        progress.last_status = row.integer();
        progress.last_error = row.text();
        return std::optional(std::move(progress));
    });
}

Result<PhaseCounts> SqliteDatabase::counts() {
    return guarded([&]() -> Result<PhaseCounts> {
        PhaseCounts counts;
        Use row(statements_.phase_sums);
        while (row.next()) {
            const auto phase = row.integer();
            if (phase < 0 || phase >= static_cast<std::int64_t>(kPhaseCount)) continue;
            counts.count[phase] = row.integer();
        }
        Use oldest(statements_.oldest_queued);
        if (oldest.next()) counts.oldest_queued_ms = oldest.integer();
        return counts;
    });
}

Result<std::int64_t> SqliteDatabase::stored_bytes() {
    return guarded([&]() -> Result<std::int64_t> {
        Use row(statements_.stored_bytes);
        return row.next() ? row.integer() : 0;
    });
}

Result<std::int64_t> SqliteDatabase::database_bytes() {
    return guarded([&]() -> Result<std::int64_t> {
        Use row(statements_.page_count);
        const std::int64_t pages = row.next() ? row.integer() : 0;
        return pages * page_bytes_ + disk_.file_size(wal_file_).value_or(0);
    });
}

Result<void> SqliteDatabase::integrity_check() {
    return guarded([&]() -> Result<void> {
        const auto verdict = db_->execAndGet("PRAGMA integrity_check(1)").getString();
        if (verdict != "ok") return fail(ErrorKind::corrupt, "integrity_check: " + verdict);
        SQLite::Statement keys(*db_, "PRAGMA foreign_key_check");
        if (keys.executeStep()) {
            return fail(ErrorKind::corrupt, "foreign_key_check: a row of " +
                                                keys.getColumn(0).getString() +
                                                " has lost its parent");
        }
        SQLite::Statement sums(
            *db_,
            "SELECT phase FROM phase_sums s WHERE (runs, stored_bytes) <>"
            " (SELECT count(*), coalesce(sum(stored_bytes), 0) FROM runs WHERE phase = s.phase)");
        if (sums.executeStep()) {
            return fail(ErrorKind::corrupt, "phase_sums: the sum of phase " +
                                                sums.getColumn(0).getString() +
                                                " is not that of its runs");
        }
        SQLite::Statement webhooks(*db_,
                                   "SELECT 1 FROM webhook_sums s WHERE deliveries <>"
                                   " (SELECT count(*) FROM webhook_deliveries"
                                   "   WHERE state = s.state)");
        if (webhooks.executeStep()) {
            return fail(ErrorKind::corrupt, "webhook_sums: the sum is not that of its deliveries");
        }
        return {};
    });
}

// --------------------------------------------------------------------------------------------
// open

std::unexpected<Error> broken(const fs::path& file, const std::string& why) {
    return fail(ErrorKind::corrupt,
                file.string() + ": " + why +
                    ". It was not changed. Move it away together with its -wal file to start "
                    "empty, or restore a copy");
}

// The first bytes of a file, or fewer.
Result<std::string> head_of(const fs::path& file, std::size_t bytes, Disk& disk) {
    auto fd = disk.open_file(file);
    if (!fd) return std::unexpected(std::move(fd).error());
    std::string head(bytes, '\0');
    const auto got = ::pread(*fd, head.data(), head.size(), 0);
    ::close(*fd);
    head.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return head;
}

// Before SQLite sees the file: it would take a stray short file for an empty database. True: there
// is none, or an empty one.
Result<bool> inspect_file(const fs::path& file, Disk& disk) {
    const auto size = disk.file_size(file);
    if (size && *size > 0) {
        const auto head = head_of(file, kFileMagic.size(), disk);
        if (!head) return std::unexpected(head.error());
        if (*head == kFileMagic) return false;
        // A power loss in a checkpoint may have torn the first page. The log still has it then,
        // and SQLite judges both.
        const auto log = head_of(file.string() + "-wal", kLogMagic.size() + 1, disk);
        if (log && log->starts_with(kLogMagic)) return false;
        return broken(file, "it is not a SQLite database");
    }
    if (!size && size.error().kind != ErrorKind::not_found) return std::unexpected(size.error());
    const auto wal = disk.file_size(file.string() + "-wal");
    if (wal && *wal > 0) {
        return broken(file,
                      "it is missing or empty, but its write-ahead log is there and holds "
                      "what was committed last");
    }
    return true;
}

struct Pragma {
    const char* name;
    std::string set;
    std::string read_back;
};

// exclusive: nobody else can open a second connection, and the log needs no shared memory.
Result<void> prove_settings(SQLite::Database& db) {
    const std::array<Pragma, 8> pragmas = {{
        {"locking_mode", "EXCLUSIVE", "exclusive"},
        {"synchronous", "FULL", "2"},
        {"journal_mode", "WAL", "wal"},
        {"foreign_keys", "ON", "1"},
        {"trusted_schema", "OFF", "0"},
        {"temp_store", "MEMORY", "2"},
        {"wal_autocheckpoint", "1000", "1000"},
        {"busy_timeout", std::to_string(kBusyTimeoutMs), std::to_string(kBusyTimeoutMs)},
    }};
    for (const auto& pragma : pragmas) {
        const std::string name = std::string("PRAGMA ") + pragma.name;
        SQLite::Statement set(db, name + " = " + pragma.set);
        while (set.executeStep()) {
        }
        const auto is = db.execAndGet(name).getString();
        if (is != pragma.read_back) {
            return fail(ErrorKind::io, fmt::format("database: {} is {} after it was set to {}",
                                                   pragma.name, is, pragma.set));
        }
    }
    return {};
}

Result<void> quick_check(SQLite::Database& db, const fs::path& file) {
    const std::int64_t bytes = db.execAndGet("PRAGMA page_count").getInt64() *
                               db.execAndGet("PRAGMA page_size").getInt64();
    std::vector<std::string> checks = {"PRAGMA quick_check(1)"};
    if (bytes > kQuickCheckMaxBytes) {
        checks = {"PRAGMA quick_check(meta)", "PRAGMA quick_check(phase_sums)"};
    }
    for (const auto& check : checks) {
        const auto verdict = db.execAndGet(check).getString();
        if (verdict != "ok") return broken(file, "the database is damaged: " + verdict);
    }
    return {};
}

// A process that was killed between writing a commit to the log and syncing it leaves a commit
// that we read and a power loss takes back. Whoever acts on what it reads (removes a container
// because its run has ended) must not read that: a checkpoint syncs the log first, then the
// database.
Result<void> settle_log(SQLite::Database& db) {
    const auto busy = db.execAndGet("PRAGMA wal_checkpoint(TRUNCATE)").getInt();
    if (busy == 0) return {};
    return fail(ErrorKind::io, "database: the write-ahead log cannot be made durable");
}

std::unique_ptr<SQLite::Database> connect(const fs::path& file, const char* vfs) {
    auto db = std::make_unique<SQLite::Database>(
        file.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX, kBusyTimeoutMs,
        vfs == nullptr ? std::string() : std::string(vfs));
    sqlite3_extended_result_codes(db->getHandle(), 1);
    // Before the first look: then the log never needs shared memory beside the file.
    db->exec("PRAGMA locking_mode = EXCLUSIVE");
    return db;
}

// A new database comes to its name whole: a power loss while it is made leaves a file that nobody
// reads, and the next start makes it anew. (A torn first page at the name would look like somebody
// else's file, and would rightly be refused.)
Result<void> make_database(const fs::path& file, std::span<const Migration> steps, Disk& disk,
                           const char* vfs) {
    auto draft = file;
    draft.replace_extension("new" + file.extension().string());
    for (const auto* of : {"", "-wal", "-journal"}) {
        if (auto removed = disk.remove_file(draft.string() + of); !removed) return removed;
    }
    auto fd = disk.create_file(draft);
    if (!fd) return std::unexpected(std::move(fd).error());
    ::close(*fd);
    {
        const auto db = connect(draft, vfs);
        if (auto set = prove_settings(*db); !set) return set;
        migrate(*db, steps);
        if (auto durable = settle_log(*db); !durable) return durable;
    }
    if (auto renamed = disk.rename_file(draft, file); !renamed) return renamed;
    return disk.sync_folder(file.parent_path());
}

Result<std::unique_ptr<Database>> open_checked(const fs::path& file, Disk& disk, const char* vfs) {
    const auto steps = migrations();
    auto is_new = inspect_file(file, disk);
    if (!is_new) return std::unexpected(std::move(is_new).error());
    if (*is_new) {
        if (auto made = make_database(file, steps, disk, vfs); !made)
            return std::unexpected(std::move(made).error());
    }
    auto db = connect(file, vfs);
    const auto origin = identify(*db, steps.back().version);
    if (!origin) {
        auto error = origin.error();
        error.message = file.string() + ": " + error.message;
        return std::unexpected(std::move(error));
    }
    if (auto set = prove_settings(*db); !set) return std::unexpected(std::move(set).error());
    if (*origin != Origin::empty && !*is_new) {
        if (auto whole = quick_check(*db, file); !whole) {
            return std::unexpected(std::move(whole).error());
        }
    }
    if (auto settled = settle_log(*db); !settled) return std::unexpected(settled.error());
    migrate(*db, steps);
    return std::make_unique<SqliteDatabase>(std::move(db), file, disk, *is_new);
}

}  // namespace

Result<std::unique_ptr<Database>> Database::open(const fs::path& given, Disk& disk,
                                                 const char* vfs) {
    std::error_code error;
    const auto file = fs::absolute(given, error);
    if (error) return std::unexpected(file_error("find", given, error.value()));
    if (auto local = disk.require_local(file.parent_path()); !local) {
        return std::unexpected(std::move(local).error());
    }
    auto opened = guarded([&]() -> Result<std::unique_ptr<Database>> {
        try {
            return open_checked(file, disk, vfs);
        } catch (const SQLite::Exception& error) {
            if (kind_of(error.getErrorCode()) != ErrorKind::corrupt) throw;
            return broken(file, std::string("the database is damaged: ") + error.what());
        }
    });
    if (!opened && opened.error().message.find(file.string()) == std::string::npos) {
        opened.error().message = file.string() + ": " + opened.error().message;
    }
    return opened;
}

}  // namespace mayfly::store
