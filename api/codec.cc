#include "api/codec.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "api/cursor.h"
#include "store/spec_json.h"

namespace mayfly::api {
namespace {

using nlohmann::json;
using store::UnixMs;

// Names and messages may hold bytes that are not UTF-8; they come out as U+FFFD and never as an
// exception.
std::string text_of(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json text_or_null(std::string_view text) { return text.empty() ? json(nullptr) : json(text); }
json time_or_null(UnixMs ms) { return ms == 0 ? json(nullptr) : json(rfc3339(ms)); }
template <class T>
json value_or_null(const std::optional<T>& value) {
    return value ? json(*value) : json(nullptr);
}

// From the start of a phase to the start of the next one that was entered; null while it lasts or
// never was.
json clocks(const store::RunStatus& status) {
    constexpr std::array<const char*, 4> kNames = {"queue", "prepare", "run", "harvest"};
    const std::array<UnixMs, 5> entered = {status.created_ms, status.preparing_ms,
                                           status.running_ms, status.harvesting_ms,
                                           status.finished_ms};
    json out = json::object();
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        UnixMs end = 0;
        for (std::size_t next = i + 1; next < entered.size() && end == 0; ++next) {
            end = entered[next];
        }
        out[kNames[i]] = entered[i] == 0 || end == 0 ? json(nullptr)
                                                     : json(std::max<UnixMs>(0, end - entered[i]));
    }
    return out;
}

json stream_json(const store::StreamStatus& stream) {
    return {{"bytes_total", stream.bytes_total},
            {"bytes_kept", stream.bytes_kept},
            {"truncated", stream.truncated}};
}

json status_json(const store::Run& run) {
    const store::RunStatus& status = run.status;
    return {{"phase", store::to_string(status.phase)},
            {"reason", text_or_null(store::to_string(status.reason))},
            {"message", text_or_null(status.message)},
            {"pending_reason", text_or_null(store::to_string(status.pending))},
            {"pending_message", text_or_null(status.pending_message)},
            {"attempt", status.attempt},
            {"created_at", time_or_null(status.created_ms)},
            {"preparing_at", time_or_null(status.preparing_ms)},
            {"running_at", time_or_null(status.running_ms)},
            {"harvesting_at", time_or_null(status.harvesting_ms)},
            {"finished_at", time_or_null(status.finished_ms)},
            {"clocks_ms", clocks(status)},
            {"exit_code", value_or_null(status.exit_code)},
            {"signal", value_or_null(status.signal)},
            {"oom_killed", status.oom_killed},
            {"cpu_ms", status.cpu_ms},
            {"memory_peak_bytes", status.memory_peak_bytes},
            {"stdout", stream_json(status.stdout_stream)},
            {"stderr", stream_json(status.stderr_stream)},
            {"artifact_count", status.artifact_count},
            {"artifact_bytes", status.artifact_bytes},
            {"skipped_count", status.skipped_count},
            {"result_error", text_or_null(status.result_error)},
            {"cancel_requested_at", time_or_null(run.cancel_requested_ms)},
            {"expires_at", time_or_null(run.expires_ms)},
            {"revision", run.revision}};
}

// One sentence. What the admission knows is said with numbers.
std::string headline(const Explained& explained) {
    const store::RunStatus& status = explained.record.run.status;
    if (!explained.now) {
        if (!store::is_terminal(status.phase)) {
            return "Recorded; the controller has not looked at it yet";
        }
        std::string text = "Ended: " + std::string(store::to_string(status.phase));
        if (!status.message.empty()) text += " (" + status.message + ")";
        return text;
    }
    const auto& now = *explained.now;
    if (now.failures > 0) return now.headline + ", which has failed before: " + now.last_error;
    const auto& live = explained.live;
    if (now.place > 0 && now.action == "Wait" && live.run_slots_used >= live.run_slots) {
        return now.headline + ": " + std::to_string(live.run_slots_used) + " of " +
               std::to_string(live.run_slots) + " run slots are taken, and it is number " +
               std::to_string(now.place) + " in line";
    }
    return now.headline;
}

json deadlines(const store::RunRecord& record) {
    const store::RunStatus& status = record.run.status;
    const bool live = !store::is_terminal(status.phase);
    const auto& attempt = record.attempt;
    const bool open = live && attempt && attempt->stage < store::Stage::ended;
    const bool waits =
        status.phase == store::Phase::queued || status.phase == store::Phase::preparing;
    return {{"queue", time_or_null(live && waits ? record.run.queue_deadline_ms : 0)},
            {"prepare", time_or_null(open && status.phase == store::Phase::preparing
                                         ? attempt->prepare_deadline_ms
                                         : 0)},
            {"run", time_or_null(open ? attempt->run_deadline_ms : 0)}};
}

// Null for a run that names none.
json webhook_json(const std::optional<store::Webhook>& webhook,
                  const std::optional<store::WebhookProgress>& progress) {
    if (!webhook) return nullptr;
    if (!progress) {
        return {{"url", webhook->url},
                {"state", "waiting"},
                {"tries", 0},
                {"last_error", nullptr},
                {"next_try_at", nullptr}};
    }
    const bool pending = progress->state == store::DeliveryState::pending;
    return {{"url", webhook->url},
            {"state", store::to_string(progress->state)},
            {"tries", progress->tries},
            {"last_error", text_or_null(progress->last_error)},
            {"next_try_at", pending ? time_or_null(progress->next_ms) : json(nullptr)}};
}

json attempt_json(const store::RunRecord& record) {
    if (!record.attempt) return nullptr;
    const store::Attempt& attempt = *record.attempt;
    const bool killed = attempt.kill_cause != store::KillCause::none;
    return {{"number", attempt.number},
            {"engine", attempt.engine},
            {"container", attempt.container_name},
            {"volume", attempt.volume_name},
            {"stage", store::to_string(attempt.stage)},
            {"start_tries", attempt.start_tries},
            {"kill_cause", killed ? json(store::to_string(attempt.kill_cause)) : json(nullptr)},
            {"engine_interrupted", attempt.engine_interrupted}};
}

json reason_json(std::string_view reason, std::string_view message) {
    return {{"reason", reason}, {"message", message}};
}

json limit_value(const store::LimitRange& range, std::int64_t value) {
    return range.name == "cpus" ? json(static_cast<double>(value) / 1000) : json(value);
}

json policy_json(const store::Policy& policy) {
    json limits = json::object();
    for (const store::LimitRange& range : policy.limits) {
        limits[std::string(range.name)] = {{"least", limit_value(range, range.floor)},
                                           {"default", limit_value(range, range.default_value)},
                                           {"most", limit_value(range, range.ceiling)}};
    }
    limits["ttl_s"] = {
        {"least", 0}, {"default", policy.ttl_default_s}, {"most", policy.ttl_ceiling_s}};
    limits["retry.max_attempts"] = {
        {"least", 1}, {"default", 1}, {"most", policy.max_attempts_ceiling}};
    limits["priority"] = {
        {"least", policy.priority_min}, {"default", 0}, {"most", policy.priority_max}};
    return {{"limits", std::move(limits)},
            {"allowed_images", policy.allowed_images},
            {"allowed_runtimes", policy.allowed_runtimes},
            {"default_image", text_or_null(policy.default_image)}};
}

std::tm utc(UnixMs ms) {
    const std::time_t seconds = ms >= 0 ? ms / 1'000 : 0;
    std::tm out{};
    gmtime_r(&seconds, &out);
    return out;
}

}  // namespace

std::string http_date(UnixMs ms) {
    constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::tm at = utc(ms);
    char text[64];
    std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                  kDays[static_cast<std::size_t>(at.tm_wday)], at.tm_mday,
                  kMonths[static_cast<std::size_t>(at.tm_mon)], at.tm_year + 1900, at.tm_hour,
                  at.tm_min, at.tm_sec);
    return text;
}

std::string run_text(const store::Run& run, bool with_result) {
    std::string status = text_of(status_json(run));
    if (with_result) {
        // A result is at most 1 MiB of valid JSON, but of any depth: it is never taken apart in
        // here.
        const std::string& result = run.status.result_json;
        status.back() = ',';
        status += "\"result\":" + (result.empty() ? std::string("null") : result) + "}";
    }
    return "{\"id\":" + text_of(run.id) +
           ",\"spec\":" + text_of(store::shown_spec_json(run.spec)) + ",\"status\":" + status +
           "}";
}

std::string runs_text(const std::vector<store::Run>& runs, bool more, std::size_t max_bytes) {
    std::string out = "{\"runs\":[";
    std::string last;
    for (const store::Run& run : runs) {
        std::string text = run_text(run, false);
        if (!last.empty() && out.size() + text.size() > max_bytes) {
            more = true;
            break;
        }
        if (!last.empty()) out += ',';
        out += text;
        last = run.id;
    }
    out += "],\"next_cursor\":";
    out += more && !last.empty() ? text_of(make_cursor(last)) : "null";
    return out + "}";
}

std::string artifacts_text(const store::RunStatus& status,
                           const std::vector<store::Artifact>& artifacts) {
    json list = json::array();
    for (const store::Artifact& artifact : artifacts) {
        char mode[16];
        std::snprintf(mode, sizeof mode, "%04o", artifact.mode);
        list.push_back({{"path", artifact.path},
                        {"size", artifact.size},
                        {"sha256", artifact.sha256},
                        {"mode", mode}});
    }
    json skipped = json::array();
    for (const store::SkippedArtifact& entry : status.skipped) {
        skipped.push_back({{"path", entry.path}, {"reason", entry.reason}});
    }
    return text_of({{"artifacts", std::move(list)},
                    {"skipped", std::move(skipped)},
                    {"skipped_count", status.skipped_count}});
}

std::string log_status_text(const store::Run& run) {
    const store::RunStatus& status = run.status;
    return text_of({{"phase", store::to_string(status.phase)},
                    {"reason", text_or_null(store::to_string(status.reason))},
                    {"pending_reason", text_or_null(store::to_string(status.pending))},
                    {"pending_message", text_or_null(status.pending_message)},
                    {"attempt", status.attempt}});
}

std::string log_end_text(const store::Run& run) {
    const store::RunStatus& status = run.status;
    return text_of({{"phase", store::to_string(status.phase)},
                    {"reason", text_or_null(store::to_string(status.reason))},
                    {"message", text_or_null(status.message)},
                    {"exit_code", value_or_null(status.exit_code)},
                    {"signal", value_or_null(status.signal)},
                    {"stdout", stream_json(status.stdout_stream)},
                    {"stderr", stream_json(status.stderr_stream)}});
}

std::string explanation_text(const Explained& explained) {
    const store::Run& run = explained.record.run;
    const auto& now = explained.now;
    json saw = json::array();
    json decided = nullptr;
    json admission = nullptr;
    json failures = nullptr;
    json until = nullptr;
    json waits_for = nullptr;
    if (now) {
        for (const auto& seen : now->saw) {
            saw.push_back({{"what", seen.what}, {"is", seen.is}});
        }
        decided = {{"action", now->action}, {"why", now->why}};
        waits_for = text_or_null(now->waits_for);
        until = time_or_null(now->until_ms);
        if (now->place > 0) {
            admission = {{"place", now->place},
                         {"queued", explained.live.queued},
                         {"run_slots_used", explained.live.run_slots_used},
                         {"run_slots", explained.live.run_slots}};
        }
        if (now->failures > 0) {
            failures = {{"count", now->failures},
                        {"last_error", text_or_null(now->last_error)},
                        {"next_try_at", time_or_null(now->next_try_ms)}};
        }
    }
    json history = json::array();
    for (const store::Event& event : explained.history) {
        history.push_back({{"event_id", event.id},
                           {"at", rfc3339(event.at_ms)},
                           {"type", store::to_string(event.type)},
                           {"phase", store::to_string(event.phase)},
                           {"attempt", event.attempt},
                           {"reason", text_or_null(store::to_string(event.reason))},
                           {"message", text_or_null(event.message)},
                           {"cause", store::cause_of(event)}});
    }
    return text_of({{"run_id", run.id},
                    {"phase", store::to_string(run.status.phase)},
                    {"headline", headline(explained)},
                    {"saw", std::move(saw)},
                    {"decided", std::move(decided)},
                    {"waits_for", std::move(waits_for)},
                    {"until", std::move(until)},
                    {"admission", std::move(admission)},
                    {"failures", std::move(failures)},
                    {"deadlines", deadlines(explained.record)},
                    {"attempt", attempt_json(explained.record)},
                    {"webhook", webhook_json(run.spec.webhook, explained.webhook)},
                    {"history", std::move(history)}});
}

std::string engines_text(const store::LiveStatus& live, const store::Policy& policy,
                         const store::PhaseNumbers& runs) {
    json phases = json::object();
    for (std::size_t i = 0; i < store::kPhaseCount; ++i) {
        phases[std::string(store::to_string(static_cast<store::Phase>(i)))] = runs[i];
    }
    json engines = json::array();
    for (const store::EngineStatus& engine : live.engines) {
        engines.push_back({{"name", engine.name},
                           {"endpoint", engine.endpoint},
                           {"up", engine.up},
                           {"error", text_or_null(engine.error)},
                           {"since", time_or_null(engine.since_ms)},
                           {"version", text_or_null(engine.version)},
                           {"api_version", text_or_null(engine.api_version)},
                           {"os_arch", text_or_null(engine.os_arch)},
                           {"default_runtime", text_or_null(engine.default_runtime)},
                           {"runtimes", engine.runtimes},
                           {"warnings", engine.warnings},
                           {"cpus", engine.cpus},
                           {"memory_bytes", engine.memory_bytes},
                           {"cgroup_version", text_or_null(engine.cgroup_version)},
                           {"storage_driver", text_or_null(engine.storage_driver)},
                           {"security_options", engine.security_options},
                           {"clock_skew_ms", value_or_null(engine.clock_skew_ms)}});
    }
    return text_of({{"engines", std::move(engines)},
                    {"slots",
                     {{"run", {{"total", live.run_slots}, {"used", live.run_slots_used}}},
                      {"engine_work",
                       {{"total", live.engine_work_slots}, {"used", live.engine_work_slots_used}}},
                      {"prepare_ahead", live.prepare_ahead}}},
                    {"queued", live.queued},
                    {"runs", std::move(phases)},
                    {"disk",
                     {{"free_bytes", live.disk_free_bytes},
                      {"low_bytes", live.disk_low_bytes},
                      {"full_bytes", live.disk_full_bytes}}},
                    {"policy", policy_json(policy)}});
}

Readiness readiness(const store::LiveStatus& live, std::string_view store_failure, bool stopping) {
    json reasons = json::array();
    if (!store_failure.empty()) {
        reasons.push_back(reason_json("StoreFailed", store_failure));
    }
    if (!live.recovered) {
        reasons.push_back(reason_json("Recovering",
                                      "the first look at the engine after the start "
                                      "is not done"));
    }
    if (live.draining || stopping) {
        reasons.push_back(reason_json("Draining", "stopping; nothing new is taken"));
    }
    if (live.disk_full) reasons.push_back(reason_json("DiskFull", live.disk_message));
    json degraded = json::array();
    for (const store::EngineStatus& engine : live.engines) {
        if (!engine.up) {
            degraded.push_back(reason_json("EngineDown", engine.name + ": " + engine.error));
        }
    }
    if (live.engines.empty())
        degraded.push_back(reason_json("EngineDown", "no engine is known yet"));
    if (live.disk_low) degraded.push_back(reason_json("DiskLow", live.disk_message));
    if (live.sweep_held) degraded.push_back(reason_json("SweepHeld", live.sweep_message));
    const bool ready = reasons.empty();
    return {ready, text_of({{"ready", ready},
                            {"reasons", std::move(reasons)},
                            {"degraded", std::move(degraded)}})};
}

std::string welcome_text(std::string_view address) {
    const std::string at(address);
    return "Mayfly " MAYFLY_VERSION
           ": runs scripts that nobody trusts in ephemeral containers, and never loses one.\n\n"
           "Submit a run and wait for its end:\n\n"
           "  curl -s '" +
           at +
           "/v1/runs?wait=30s' -H 'Content-Type: application/json' -d '\n"
           "    {\"image\": \"busybox\", \"command\": [\"sh\", \"main.sh\"],\n"
           "     \"files\": [{\"path\": \"main.sh\", \"content\": \"echo hello; date > "
           "output/now.txt\"}]}'\n\n"
           "Then, with the id of the answer:\n\n"
           "  curl -s " +
           at +
           "/v1/runs/ID                      the run: spec and status\n"
           "  curl -s " +
           at +
           "/v1/runs/ID/logs?stream=stdout   what it printed\n"
           "  curl -s " +
           at +
           "/v1/runs/ID/artifacts            what it left under output/\n"
           "  curl -sO " +
           at +
           "/v1/runs/ID/artifacts/now.txt   one of those files\n\n"
           "Everything there is:\n\n"
           "  GET    /                              in a browser: the status page\n"
           "  POST   /v1/runs                       JSON, or multipart with a part `spec`\n"
           "  GET    /v1/runs                       ?phase= ?label=k=v ?limit= ?cursor=\n"
           "  GET    /v1/runs/{id}                  ?wait=30s\n"
           "  POST   /v1/runs/{id}/cancel\n"
           "  DELETE /v1/runs/{id}\n"
           "  GET    /v1/runs/{id}/logs             ?stream=stdout|stderr ?tail=LINES\n"
           "                                        ?follow=1 live, ?offset=BYTES, stream=both\n"
           "  GET    /v1/runs/{id}/explain          why it is where it is\n"
           "  GET    /v1/runs/{id}/artifacts\n"
           "  GET    /v1/runs/{id}/artifacts/{path}\n"
           "  GET    /v1/runs/{id}/artifacts.tar\n"
           "  GET    /v1/events                     what happens, live ?run= ?label=k=v\n"
           "  GET    /v1/engines                    engines, slots and the operator's limits\n"
           "  GET    /v1/doctor                     what is wrong here, and what to do\n"
           "  GET    /v1/openapi.json               all of this for programs: OpenAPI 3.1\n"
           "  GET    /healthz  /readyz  /metrics\n";
}

std::string welcome_json() {
    return text_of({{"name", "mayfly"},
                    {"version", MAYFLY_VERSION},
                    {"runs", "/v1/runs"},
                    {"events", "/v1/events"},
                    {"engines", "/v1/engines"},
                    {"doctor", "/v1/doctor"},
                    {"openapi", "/v1/openapi.json"},
                    {"health", "/healthz"},
                    {"ready", "/readyz"},
                    {"metrics", "/metrics"}});
}

}  // namespace mayfly::api
