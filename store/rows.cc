#include "store/rows.h"

#include <nlohmann/json.hpp>

namespace mayfly::store {
namespace {

Phase phase_of(std::int64_t number) {
    if (number < 0 || number >= static_cast<std::int64_t>(kPhaseCount)) {
        throw Unreadable("phase " + std::to_string(number));
    }
    return static_cast<Phase>(number);
}

Stage stage_of(std::int64_t number) {
    if (number < 0 || number > static_cast<std::int64_t>(Stage::collected)) {
        throw Unreadable("stage " + std::to_string(number));
    }
    return static_cast<Stage>(number);
}

template <class Enum>
Enum named(std::optional<Enum> parsed, const std::string& text) {
    if (!parsed) throw Unreadable("the name \"" + text + "\"");
    return *parsed;
}

std::vector<SkippedArtifact> parse_skipped(const std::string& text) {
    std::vector<SkippedArtifact> skipped;
    if (text.empty()) return skipped;
    try {
        for (const auto& item : nlohmann::json::parse(text)) {
            skipped.push_back(
                {.path = item.at(0).get<std::string>(), .reason = item.at(1).get<std::string>()});
        }
    } catch (const nlohmann::json::exception& error) {
        throw Unreadable(std::string("a list of skipped artifacts: ") + error.what());
    }
    return skipped;
}

StreamStatus read_stream(Use& row) {
    StreamStatus stream;
    stream.bytes_total = row.integer();
    stream.bytes_kept = row.integer();
    stream.truncated = row.flag();
    return stream;
}

}  // namespace

std::optional<std::int64_t> Use::maybe_integer() {
    auto column = statement_.getColumn(column_++);
    if (column.isNull()) return std::nullopt;
    return column.getInt64();
}

void Use::bind_one(const std::optional<std::int64_t>& value) {
    if (value) {
        statement_.bind(++bound_, *value);
    } else {
        statement_.bind(++bound_);
    }
}

const char* const kRunColumns =
    "r.seq, r.id, r.owner, r.idempotency_key, r.spec_sha256, r.phase, r.reason, r.message, "
    "r.pending, r.pending_message, r.attempt, r.created_ms, r.preparing_ms, r.running_ms, "
    "r.harvesting_ms, r.finished_ms, r.exit_code, r.signal, r.oom_killed, r.cpu_ms, "
    "r.memory_peak_bytes, r.stdout_total, r.stdout_kept, r.stdout_truncated, r.stderr_total, "
    "r.stderr_kept, r.stderr_truncated, r.artifact_count, r.artifact_bytes, r.skipped, "
    "r.skipped_count, r.result_error, r.queue_deadline_ms, r.cancel_requested_ms, "
    "r.delete_requested_ms, r.expires_ms, r.stored_bytes, r.revision, r.collected, "
    "CASE WHEN r.phase >= 4 THEN (SELECT json FROM results WHERE seq = r.seq) END";

const char* const kAttemptColumns =
    "a.number, a.engine, a.container_name, a.volume_name, a.nonce, a.container_id, a.stage, "
    "a.start_tries, a.bound_ms, a.prepare_deadline_ms, a.start_intent_ms, a.started_ms, "
    "a.run_deadline_ms, a.kill_cause, a.kill_ms, a.engine_interrupted, a.outcome, a.exit_seen, "
    "a.exit_code, a.exit_oom_killed, a.exit_error, a.exit_state, a.exit_started_ms, "
    "a.exit_finished_ms";

StoredRun read_run(Use& row) {
    StoredRun stored;
    stored.seq = row.integer();
    Run& run = stored.run;
    RunStatus& status = run.status;
    run.id = row.text();
    run.owner = row.text();
    run.idempotency_key = row.text();
    run.spec_sha256 = row.text();
    status.phase = phase_of(row.integer());
    const auto reason = row.text();
    status.reason = named(parse_reason(reason), reason);
    status.message = row.text();
    const auto pending = row.text();
    status.pending = named(parse_pending(pending), pending);
    status.pending_message = row.text();
    status.attempt = row.integer();
    status.created_ms = row.integer();
    status.preparing_ms = row.integer();
    status.running_ms = row.integer();
    status.harvesting_ms = row.integer();
    status.finished_ms = row.integer();
    status.exit_code = row.maybe_integer();
    status.signal = row.maybe_integer();
    status.oom_killed = row.flag();
    status.cpu_ms = row.integer();
    status.memory_peak_bytes = row.integer();
    status.stdout_stream = read_stream(row);
    status.stderr_stream = read_stream(row);
    status.artifact_count = row.integer();
    status.artifact_bytes = row.integer();
    status.skipped = parse_skipped(row.text());
    status.skipped_count = row.integer();
    status.result_error = row.text();
    run.queue_deadline_ms = row.integer();
    run.cancel_requested_ms = row.integer();
    run.delete_requested_ms = row.integer();
    run.expires_ms = row.integer();
    run.stored_bytes = row.integer();
    run.revision = row.integer();
    run.collected = row.flag();
    status.result_json = row.text();
    return stored;
}

std::optional<Attempt> read_attempt(Use& row, const std::string& run_id) {
    const auto number = row.maybe_integer();
    if (!number) return std::nullopt;
    Attempt attempt;
    attempt.run_id = run_id;
    attempt.number = *number;
    attempt.engine = row.text();
    attempt.container_name = row.text();
    attempt.volume_name = row.text();
    attempt.nonce = row.text();
    attempt.container_id = row.text();
    attempt.stage = stage_of(row.integer());
    attempt.start_tries = row.integer();
    attempt.bound_ms = row.integer();
    attempt.prepare_deadline_ms = row.integer();
    attempt.start_intent_ms = row.integer();
    attempt.started_ms = row.integer();
    attempt.run_deadline_ms = row.integer();
    const auto cause = row.text();
    attempt.kill_cause = named(parse_kill_cause(cause), cause);
    attempt.kill_ms = row.integer();
    attempt.engine_interrupted = row.flag();
    attempt.outcome = phase_of(row.integer());
    if (row.flag()) {
        EngineExit exit;
        exit.exit_code = row.integer();
        exit.oom_killed = row.flag();
        exit.error = row.text();
        exit.state = row.text();
        exit.started_ms = row.integer();
        exit.finished_ms = row.integer();
        attempt.exit = std::move(exit);
    }
    return attempt;
}

Event read_event(Use& row) {
    Event event;
    event.id = row.integer();
    event.at_ms = row.integer();
    const auto type = row.text();
    event.type = named(parse_event_type(type), type);
    event.run_id = row.text();
    event.owner = row.text();
    const auto labels = row.text();
    try {
        event.labels = nlohmann::json::parse(labels).get<std::map<std::string, std::string>>();
    } catch (const nlohmann::json::exception& error) {
        throw Unreadable(std::string("the labels of an event: ") + error.what());
    }
    event.revision = row.integer();
    event.attempt = row.integer();
    event.phase = phase_of(row.integer());
    const auto reason = row.text();
    event.reason = named(parse_reason(reason), reason);
    event.message = row.text();
    const auto pending = row.text();
    event.pending = named(parse_pending(pending), pending);
    event.pending_message = row.text();
    event.exit_code = row.maybe_integer();
    event.signal = row.maybe_integer();
    return event;
}

std::string labels_json(const std::map<std::string, std::string>& labels) {
    return nlohmann::json(labels).dump();
}

std::string skipped_json(const std::vector<SkippedArtifact>& skipped) {
    if (skipped.empty()) return {};
    auto list = nlohmann::json::array();
    for (const auto& item : skipped) list.push_back({item.path, item.reason});
    return list.dump();
}

}  // namespace mayfly::store
