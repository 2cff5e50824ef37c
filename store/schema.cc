#include "store/schema.h"

#include <array>
#include <string>

namespace mayfly::store {
namespace {

// Phases and stages are stored as the numbers of their enums, whose order is what the triggers
// compare; every other enum as its name. 0 in a *_ms column: not yet.
//
// `epoch` counts the attempts that a retry has ended. With it "forward" is one lexicographic
// order, (epoch, phase): a retry starts the phases again, one epoch further. A queued run has as
// many attempts as epochs, a live one has one more.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('instance_id', lower(hex(randomblob(8))));

CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 26),
    owner TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    spec_sha256 TEXT NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    phase INTEGER NOT NULL DEFAULT 0 CHECK (phase BETWEEN 0 AND 8),
    attempt INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    pending TEXT NOT NULL DEFAULT '',
    pending_message TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    preparing_ms INTEGER NOT NULL DEFAULT 0,
    running_ms INTEGER NOT NULL DEFAULT 0,
    harvesting_ms INTEGER NOT NULL DEFAULT 0,
    finished_ms INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    signal INTEGER,
    oom_killed INTEGER NOT NULL DEFAULT 0,
    cpu_ms INTEGER NOT NULL DEFAULT 0,
    memory_peak_bytes INTEGER NOT NULL DEFAULT 0,
    stdout_total INTEGER NOT NULL DEFAULT 0,
    stdout_kept INTEGER NOT NULL DEFAULT 0,
    stdout_truncated INTEGER NOT NULL DEFAULT 0,
    stderr_total INTEGER NOT NULL DEFAULT 0,
    stderr_kept INTEGER NOT NULL DEFAULT 0,
    stderr_truncated INTEGER NOT NULL DEFAULT 0,
    artifact_count INTEGER NOT NULL DEFAULT 0,
    artifact_bytes INTEGER NOT NULL DEFAULT 0,
    skipped TEXT NOT NULL DEFAULT '',
    skipped_count INTEGER NOT NULL DEFAULT 0,
    result_error TEXT NOT NULL DEFAULT '',
    queue_deadline_ms INTEGER NOT NULL,
    cancel_requested_ms INTEGER NOT NULL DEFAULT 0,
    delete_requested_ms INTEGER NOT NULL DEFAULT 0,
    expires_ms INTEGER NOT NULL DEFAULT 0,
    stored_bytes INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1,
    collected INTEGER NOT NULL DEFAULT 0 CHECK (collected IN (0, 1)),
    CHECK ((phase = 0 AND attempt = epoch)
        OR (phase BETWEEN 1 AND 3 AND attempt = epoch + 1)
        OR (phase >= 4 AND attempt IN (epoch, epoch + 1))),
    CHECK (collected = 0 OR phase >= 4),
    CHECK (delete_requested_ms = 0 OR phase >= 4)
) STRICT;

CREATE UNIQUE INDEX runs_by_key ON runs (owner, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX runs_by_phase ON runs (phase, id);
CREATE INDEX runs_unfinished ON runs (id) WHERE (collected = 0 OR delete_requested_ms <> 0);
CREATE INDEX runs_by_expiry ON runs (expires_ms) WHERE collected = 1;

-- Large texts, apart: a row of runs is written again at every step.
CREATE TABLE specs (
    seq INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE,
    spec TEXT NOT NULL
) STRICT;
CREATE TABLE results (
    seq INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE,
    json TEXT NOT NULL
) STRICT;

CREATE TABLE labels (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_by_value ON labels (key, value, run_id);

CREATE TABLE attempts (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    engine TEXT NOT NULL,
    container_name TEXT NOT NULL,
    volume_name TEXT NOT NULL,
    nonce TEXT NOT NULL,
    container_id TEXT NOT NULL DEFAULT '',
    stage INTEGER NOT NULL DEFAULT 0 CHECK (stage BETWEEN 0 AND 5),
    start_tries INTEGER NOT NULL DEFAULT 0,
    bound_ms INTEGER NOT NULL,
    prepare_deadline_ms INTEGER NOT NULL,
    start_intent_ms INTEGER NOT NULL DEFAULT 0,
    started_ms INTEGER NOT NULL DEFAULT 0,
    run_deadline_ms INTEGER NOT NULL DEFAULT 0,
    kill_cause TEXT NOT NULL DEFAULT 'none',
    kill_ms INTEGER NOT NULL DEFAULT 0,
    engine_interrupted INTEGER NOT NULL DEFAULT 0,
    exit_seen INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER NOT NULL DEFAULT 0,
    exit_oom_killed INTEGER NOT NULL DEFAULT 0,
    exit_error TEXT NOT NULL DEFAULT '',
    exit_state TEXT NOT NULL DEFAULT '',
    exit_started_ms INTEGER NOT NULL DEFAULT 0,
    exit_finished_ms INTEGER NOT NULL DEFAULT 0,
    outcome INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, number),
    CHECK ((stage >= 4) = (outcome >= 4))
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    mode INTEGER NOT NULL,
    PRIMARY KEY (run_id, path)
) STRICT, WITHOUT ROWID;

-- Sums over runs, kept up by the triggers below, so that no count reads finished rows.
CREATE TABLE phase_sums (
    phase INTEGER PRIMARY KEY,
    runs INTEGER NOT NULL DEFAULT 0 CHECK (runs >= 0),
    stored_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO phase_sums (phase) VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8);

CREATE TRIGGER runs_counted_in AFTER INSERT ON runs BEGIN
    UPDATE phase_sums SET runs = runs + 1, stored_bytes = stored_bytes + new.stored_bytes
     WHERE phase = new.phase;
END;
CREATE TRIGGER runs_counted_out AFTER DELETE ON runs BEGIN
    UPDATE phase_sums SET runs = runs - 1, stored_bytes = stored_bytes - old.stored_bytes
     WHERE phase = old.phase;
END;
CREATE TRIGGER runs_counted_over AFTER UPDATE OF phase, stored_bytes ON runs
WHEN old.phase <> new.phase OR old.stored_bytes <> new.stored_bytes BEGIN
    UPDATE phase_sums SET runs = runs - 1, stored_bytes = stored_bytes - old.stored_bytes
     WHERE phase = old.phase;
    UPDATE phase_sums SET runs = runs + 1, stored_bytes = stored_bytes + new.stored_bytes
     WHERE phase = new.phase;
END;

-- ------------------------------------------------------------------------- what never happens

CREATE TRIGGER runs_identity BEFORE UPDATE OF
    seq, id, owner, idempotency_key, spec_sha256, created_ms ON runs
WHEN new.seq <> old.seq OR new.id <> old.id OR new.owner <> old.owner
  OR new.idempotency_key <> old.idempotency_key OR new.spec_sha256 <> old.spec_sha256
  OR new.created_ms <> old.created_ms
BEGIN SELECT RAISE(ABORT, 'what names a run never changes'); END;

CREATE TRIGGER specs_fixed BEFORE UPDATE ON specs
BEGIN SELECT RAISE(ABORT, 'a spec never changes'); END;
CREATE TRIGGER specs_kept BEFORE DELETE ON specs
WHEN EXISTS (SELECT 1 FROM runs WHERE seq = old.seq)
BEGIN SELECT RAISE(ABORT, 'a spec goes only with its run'); END;

CREATE TRIGGER runs_forward BEFORE UPDATE OF epoch, phase, attempt ON runs
WHEN new.epoch < old.epoch OR new.attempt < old.attempt
  OR (new.epoch = old.epoch AND new.phase < old.phase)
BEGIN SELECT RAISE(ABORT, 'a run only moves forward'); END;

CREATE TRIGGER runs_retry BEFORE UPDATE OF epoch ON runs
WHEN new.epoch > old.epoch AND (new.epoch <> old.epoch + 1 OR new.phase <> 0
  OR NOT EXISTS (SELECT 1 FROM attempts
                  WHERE run_id = old.id AND number = old.attempt AND stage >= 4))
BEGIN SELECT RAISE(ABORT, 'a run is queued again only when its attempt has ended'); END;

CREATE TRIGGER runs_terminal BEFORE UPDATE ON runs
WHEN old.phase >= 4 AND (
     new.phase <> old.phase OR new.epoch <> old.epoch OR new.attempt <> old.attempt
  OR new.reason <> old.reason OR new.message <> old.message
  OR new.pending <> old.pending OR new.pending_message <> old.pending_message
  OR new.preparing_ms <> old.preparing_ms OR new.running_ms <> old.running_ms
  OR new.harvesting_ms <> old.harvesting_ms OR new.finished_ms <> old.finished_ms
  OR new.exit_code IS NOT old.exit_code OR new.signal IS NOT old.signal
  OR new.oom_killed <> old.oom_killed OR new.cpu_ms <> old.cpu_ms
  OR new.memory_peak_bytes <> old.memory_peak_bytes
  OR new.stdout_total <> old.stdout_total OR new.stdout_kept <> old.stdout_kept
  OR new.stdout_truncated <> old.stdout_truncated
  OR new.stderr_total <> old.stderr_total OR new.stderr_kept <> old.stderr_kept
  OR new.stderr_truncated <> old.stderr_truncated
  OR new.artifact_count <> old.artifact_count OR new.artifact_bytes <> old.artifact_bytes
  OR new.skipped <> old.skipped OR new.skipped_count <> old.skipped_count
  OR new.result_error <> old.result_error
  OR new.queue_deadline_ms <> old.queue_deadline_ms
  OR new.cancel_requested_ms <> old.cancel_requested_ms
  OR new.expires_ms <> old.expires_ms OR new.stored_bytes <> old.stored_bytes)
BEGIN SELECT RAISE(ABORT, 'a terminal status never changes'); END;

CREATE TRIGGER runs_once BEFORE UPDATE OF
    cancel_requested_ms, delete_requested_ms, collected ON runs
WHEN (old.cancel_requested_ms <> 0 AND new.cancel_requested_ms <> old.cancel_requested_ms)
  OR (old.delete_requested_ms <> 0 AND new.delete_requested_ms <> old.delete_requested_ms)
  OR new.collected < old.collected
BEGIN SELECT RAISE(ABORT, 'a request or a collection is never taken back'); END;

CREATE TRIGGER runs_revision BEFORE UPDATE ON runs
WHEN new.revision <> old.revision + 1
BEGIN SELECT RAISE(ABORT, 'every change of a run is one revision'); END;

CREATE TRIGGER runs_purge BEFORE DELETE ON runs
WHEN old.collected = 0
BEGIN SELECT RAISE(ABORT, 'a run is purged only when it is collected'); END;

CREATE TRIGGER results_fixed BEFORE UPDATE ON results
BEGIN SELECT RAISE(ABORT, 'a result never changes'); END;
CREATE TRIGGER results_in_time BEFORE INSERT ON results
WHEN (SELECT phase FROM runs WHERE seq = new.seq) >= 4
BEGIN SELECT RAISE(ABORT, 'a terminal status never changes'); END;
CREATE TRIGGER results_kept BEFORE DELETE ON results
WHEN EXISTS (SELECT 1 FROM runs WHERE seq = old.seq)
BEGIN SELECT RAISE(ABORT, 'a result goes only with its run'); END;

CREATE TRIGGER artifacts_fixed BEFORE UPDATE ON artifacts
BEGIN SELECT RAISE(ABORT, 'a manifest never changes'); END;
CREATE TRIGGER artifacts_in_time BEFORE INSERT ON artifacts
WHEN (SELECT phase FROM runs WHERE id = new.run_id) >= 4
BEGIN SELECT RAISE(ABORT, 'a manifest is whole when its run is terminal'); END;
CREATE TRIGGER artifacts_kept BEFORE DELETE ON artifacts
WHEN EXISTS (SELECT 1 FROM runs WHERE id = old.run_id)
BEGIN SELECT RAISE(ABORT, 'a manifest goes only with its run'); END;

CREATE TRIGGER labels_fixed BEFORE UPDATE ON labels
BEGIN SELECT RAISE(ABORT, 'labels are part of the spec and never change'); END;

CREATE TRIGGER attempts_one_by_one BEFORE INSERT ON attempts
WHEN new.number <> 1 + (SELECT coalesce(max(number), 0) FROM attempts WHERE run_id = new.run_id)
  OR EXISTS (SELECT 1 FROM attempts WHERE run_id = new.run_id AND stage < 5)
BEGIN SELECT RAISE(ABORT, 'an attempt follows only one that is collected'); END;

CREATE TRIGGER attempts_identity BEFORE UPDATE OF
    run_id, number, engine, container_name, volume_name, nonce, bound_ms ON attempts
WHEN new.run_id <> old.run_id OR new.number <> old.number OR new.engine <> old.engine
  OR new.container_name <> old.container_name OR new.volume_name <> old.volume_name
  OR new.nonce <> old.nonce OR new.bound_ms <> old.bound_ms
BEGIN SELECT RAISE(ABORT, 'what names an attempt never changes'); END;

CREATE TRIGGER attempts_forward BEFORE UPDATE OF stage ON attempts
WHEN new.stage < old.stage
BEGIN SELECT RAISE(ABORT, 'an attempt only moves forward'); END;

CREATE TRIGGER attempts_start_counted BEFORE UPDATE OF start_tries, container_id ON attempts
WHEN new.start_tries < old.start_tries
  OR (new.container_id <> old.container_id AND (new.stage <> 1 OR old.stage > 1))
BEGIN SELECT RAISE(ABORT, 'a container is named only with the intent to start it'); END;

CREATE TRIGGER attempts_first_cause BEFORE UPDATE OF kill_cause, kill_ms ON attempts
WHEN old.kill_cause <> 'none'
 AND (new.kill_cause <> old.kill_cause OR new.kill_ms <> old.kill_ms)
BEGIN SELECT RAISE(ABORT, 'the first cause of a kill stays'); END;

CREATE TRIGGER attempts_exit_once BEFORE UPDATE ON attempts
WHEN old.stage >= 3 AND (
     new.exit_seen <> old.exit_seen OR new.exit_code <> old.exit_code
  OR new.exit_oom_killed <> old.exit_oom_killed OR new.exit_error <> old.exit_error
  OR new.exit_state <> old.exit_state OR new.exit_started_ms <> old.exit_started_ms
  OR new.exit_finished_ms <> old.exit_finished_ms)
BEGIN SELECT RAISE(ABORT, 'exit facts are recorded once'); END;

CREATE TRIGGER attempts_ended BEFORE UPDATE ON attempts
WHEN old.stage >= 4 AND (
     new.outcome <> old.outcome OR new.start_tries <> old.start_tries
  OR new.prepare_deadline_ms <> old.prepare_deadline_ms
  OR new.start_intent_ms <> old.start_intent_ms OR new.started_ms <> old.started_ms
  OR new.run_deadline_ms <> old.run_deadline_ms OR new.kill_cause <> old.kill_cause
  OR new.kill_ms <> old.kill_ms OR new.engine_interrupted <> old.engine_interrupted)
BEGIN SELECT RAISE(ABORT, 'an outcome never changes'); END;

CREATE TRIGGER attempts_kept BEFORE DELETE ON attempts
WHEN EXISTS (SELECT 1 FROM runs WHERE id = old.run_id)
BEGIN SELECT RAISE(ABORT, 'an attempt goes only with its run'); END;

CREATE TRIGGER meta_fixed BEFORE UPDATE ON meta WHEN old.key = 'instance_id'
BEGIN SELECT RAISE(ABORT, 'the instance id never changes'); END;
CREATE TRIGGER meta_kept BEFORE DELETE ON meta WHEN old.key = 'instance_id'
BEGIN SELECT RAISE(ABORT, 'the instance id never changes'); END;
)sql";

// One row for each change that can be seen from outside (store/event.h), in the transaction of the
// change. The newest row is never deleted, so that an id is never given twice. Without a foreign
// key: what happened stays told when its run is gone.
constexpr const char* kVersion2 = R"sql(
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    run_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    labels TEXT NOT NULL,
    revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    phase INTEGER NOT NULL CHECK (phase BETWEEN 0 AND 8),
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    pending TEXT NOT NULL,
    pending_message TEXT NOT NULL,
    exit_code INTEGER,
    signal INTEGER
) STRICT;
CREATE INDEX events_by_run ON events (run_id, id);

CREATE TRIGGER events_fixed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'what happened never changes'); END;
CREATE TRIGGER events_in_order AFTER INSERT ON events
WHEN new.id < (SELECT max(id) FROM events)
BEGIN SELECT RAISE(ABORT, 'events are numbered in the order in which they happen'); END;
CREATE TRIGGER events_last_kept BEFORE DELETE ON events
WHEN old.id = (SELECT max(id) FROM events)
BEGIN SELECT RAISE(ABORT, 'the newest event stays: its number is the place to go on from'); END;
)sql";

// What is to be told because of an event (store/webhook.h), in the transaction of the event.
// Without a foreign key: what is pending outlives its run. The sum is kept by triggers, so that
// counting reads no rows.
constexpr const char* kVersion3 = R"sql(
CREATE TABLE webhook_deliveries (
    event_id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    origin TEXT NOT NULL,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,
    payload TEXT NOT NULL,
    state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2),
    tries INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL,
    last_status INTEGER NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT '',
    CHECK (state = 0 OR (secret = '' AND payload = ''))
) STRICT;
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (origin, next_ms, event_id)
    WHERE state = 0;
CREATE INDEX webhook_deliveries_by_run ON webhook_deliveries (run_id, event_id);

CREATE TABLE webhook_sums (
    state INTEGER PRIMARY KEY,
    deliveries INTEGER NOT NULL DEFAULT 0 CHECK (deliveries >= 0)
) STRICT;
INSERT INTO webhook_sums (state) VALUES (0);

CREATE TRIGGER webhook_deliveries_counted_in AFTER INSERT ON webhook_deliveries
WHEN new.state = 0 BEGIN
    UPDATE webhook_sums SET deliveries = deliveries + 1 WHERE state = 0;
END;
CREATE TRIGGER webhook_deliveries_counted_out AFTER UPDATE OF state ON webhook_deliveries
WHEN old.state = 0 AND new.state <> 0 BEGIN
    UPDATE webhook_sums SET deliveries = deliveries - 1 WHERE state = 0;
END;

CREATE TRIGGER webhook_deliveries_identity BEFORE UPDATE OF
    event_id, run_id, origin, url ON webhook_deliveries
WHEN new.event_id <> old.event_id OR new.run_id <> old.run_id OR new.origin <> old.origin
  OR new.url <> old.url
BEGIN SELECT RAISE(ABORT, 'what names a delivery never changes'); END;
CREATE TRIGGER webhook_deliveries_forward BEFORE UPDATE ON webhook_deliveries
WHEN old.state <> 0 OR new.tries < old.tries
  OR (new.state = 0 AND (new.payload <> old.payload OR new.secret <> old.secret))
BEGIN SELECT RAISE(ABORT, 'a delivery only moves forward'); END;
CREATE TRIGGER webhook_deliveries_kept BEFORE DELETE ON webhook_deliveries
WHEN old.state = 0
BEGIN SELECT RAISE(ABORT, 'a delivery that is pending stays'); END;
)sql";

constexpr std::array kMigrations = {
    Migration{.version = 1, .sql = kVersion1},
    Migration{.version = 2, .sql = kVersion2},
    Migration{.version = 3, .sql = kVersion3},
};

}  // namespace

std::span<const Migration> migrations() { return kMigrations; }

Result<Origin> identify(SQLite::Database& database, int newest_version) {
    const int version = database.execAndGet("PRAGMA user_version").getInt();
    const int application = database.execAndGet("PRAGMA application_id").getInt();
    const bool has_tables =
        database.execAndGet("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").getInt() != 0;
    if (version == 0 && application == 0 && !has_tables) return Origin::empty;
    if (application != kApplicationId) {
        return fail(ErrorKind::corrupt,
                    "this is a SQLite database, but not one of Mayfly's; it was not touched");
    }
    if (version > newest_version) {
        return fail(ErrorKind::too_new, "the database has schema version " +
                                            std::to_string(version) +
                                            " and this program knows versions up to " +
                                            std::to_string(newest_version) +
                                            "; it was not touched. Start the newer "
                                            "program, or restore a copy made before the upgrade");
    }
    return Origin::ours;
}

void migrate(SQLite::Database& database, std::span<const Migration> steps) {
    const int version = database.execAndGet("PRAGMA user_version").getInt();
    for (const auto& step : steps) {
        if (step.version <= version) continue;
        SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
        database.exec(step.sql);
        database.exec("PRAGMA user_version = " + std::to_string(step.version));
        database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
        transaction.commit();
    }
}

}  // namespace mayfly::store
