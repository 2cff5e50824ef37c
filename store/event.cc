#include "store/event.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace mayfly::store {
namespace {

using json = nlohmann::json;

constexpr std::array<std::string_view, static_cast<std::size_t>(kLastEventType) + 1> kNames = {
    "created",    "pending",  "preparing", "running",          "stopping", "interrupted",
    "harvesting", "finished", "retrying",  "cancel_requested", "deleted"};

template <class Value>
json or_null(const std::optional<Value>& value) {
    return value ? json(*value) : json(nullptr);
}

json text_or_null(std::string_view text) { return text.empty() ? json(nullptr) : json(text); }

std::string_view why_stopped(KillCause cause) {
    switch (cause) {
        case KillCause::cancel:
            return "a cancel was requested";
        case KillCause::run_timeout:
            return "it ran longer than limits.timeout_s";
        case KillCause::prepare_timeout:
            return "it could not be started in time";
        case KillCause::none:
            break;
    }
    return "";
}

std::optional<EventType> entered(const RunStatus& before, const RunStatus& after) {
    if (after.phase == before.phase) return std::nullopt;
    switch (after.phase) {
        case Phase::queued:
            return EventType::retrying;
        case Phase::preparing:
            return EventType::preparing;
        case Phase::running:
            return EventType::running;
        case Phase::harvesting:
            return EventType::harvesting;
        default:
            return EventType::finished;
    }
}

std::optional<EventType> type_of(const RunRecord* before, const RunRecord& after) {
    if (before == nullptr) return EventType::created;
    const Run& old = before->run;
    const Run& run = after.run;
    if (const auto type = entered(old.status, run.status)) return type;
    if (run.delete_requested_ms != old.delete_requested_ms) return EventType::deleted;
    if (run.cancel_requested_ms != old.cancel_requested_ms) return EventType::cancel_requested;
    if (before->attempt && after.attempt) {
        if (after.attempt->kill_cause != before->attempt->kill_cause) return EventType::stopping;
        if (after.attempt->engine_interrupted != before->attempt->engine_interrupted) {
            return EventType::interrupted;
        }
    }
    if (run.status.pending != old.status.pending ||
        run.status.pending_message != old.status.pending_message) {
        return EventType::pending;
    }
    return std::nullopt;
}

Event shown(const RunRecord& record, EventType type) {
    const Run& run = record.run;
    const RunStatus& status = run.status;
    return {.type = type,
            .run_id = run.id,
            .owner = run.owner,
            .labels = run.spec.labels,
            .revision = run.revision,
            .attempt = status.attempt,
            .phase = status.phase,
            .reason = status.reason,
            .message = status.message,
            .pending = status.pending,
            .pending_message = status.pending_message,
            .exit_code = status.exit_code,
            .signal = status.signal};
}

std::string cause_of_finish(const Event& event) {
    switch (event.reason) {
        case Reason::Completed:
            return "The script exited with 0, its record says so too, and all that it left is "
                   "stored.";
        case Reason::NonZeroExit:
            return "The script exited with a code of its own.";
        case Reason::RunTimeout:
            return "It ran longer than limits.timeout_s and was stopped.";
        case Reason::QueueTimeout:
            return "No place became free within limits.queue_timeout_s.";
        case Reason::PrepareTimeout:
            return "It could not be started within the operator's prepare timeout.";
        case Reason::CancelRequested:
            return "A cancel was requested.";
        default:
            break;
    }
    if (event.phase == Phase::lost) return "How it ended cannot be known, so it is not guessed.";
    return "What was seen leaves no other end (reason " + std::string(to_string(event.reason)) +
           ").";
}

}  // namespace

std::string_view to_string(EventType type) { return kNames[static_cast<std::size_t>(type)]; }

std::optional<EventType> parse_event_type(std::string_view text) {
    const auto* found = std::ranges::find(kNames, text);
    if (found == kNames.end()) return std::nullopt;
    return static_cast<EventType>(found - kNames.begin());
}

std::optional<Event> event_of(const RunRecord* before, const RunRecord& after) {
    const auto type = type_of(before, after);
    if (!type) return std::nullopt;
    Event event = shown(after, *type);
    if (*type == EventType::stopping) event.message = why_stopped(after.attempt->kill_cause);
    if (*type == EventType::deleted) event.message.clear();
    return event;
}
std::string event_text(const Event& event) {
    json labels = json::object();
    for (const auto& [key, value] : event.labels) labels[key] = value;
    const json out = {{"id", event.id},
                      {"at", rfc3339(event.at_ms)},
                      {"type", to_string(event.type)},
                      {"run_id", event.run_id},
                      {"labels", std::move(labels)},
                      {"revision", event.revision},
                      {"attempt", event.attempt},
                      {"phase", to_string(event.phase)},
                      {"reason", text_or_null(to_string(event.reason))},
                      {"message", text_or_null(event.message)},
                      {"pending_reason", text_or_null(to_string(event.pending))},
                      {"pending_message", text_or_null(event.pending_message)},
                      {"exit_code", or_null(event.exit_code)},
                      {"signal", or_null(event.signal)}};
    return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool event_passes(const Event& event, const EventFilter& filter) {
    if (event.owner != filter.owner || event.id <= filter.after_id) return false;
    const auto& runs = filter.run_ids;
    if (!runs.empty() && std::ranges::find(runs, event.run_id) == runs.end()) return false;
    return std::ranges::all_of(filter.labels, [&event](const auto& wanted) {
        const auto found = event.labels.find(wanted.first);
        return found != event.labels.end() && found->second == wanted.second;
    });
}

Event expiry_event(const RunRecord& record) {
    Event event = shown(record, EventType::deleted);
    event.at_ms = record.run.expires_ms;
    event.message = "its ttl_s is over";
    return event;
}

std::string cause_of(const Event& event) {
    switch (event.type) {
        case EventType::created:
            return "The submission was recorded.";
        case EventType::pending:
            return event.pending == Pending::none ? "Nothing holds it up any more."
                                                  : event.pending_message;
        case EventType::preparing:
            return "Admission gave it a place: image, container and inputs are made ready.";
        case EventType::running:
            return "The engine said that its container has started.";
        case EventType::stopping:
            return "It is stopped because " + event.message + ".";
        case EventType::interrupted:
            return "The engine was seen to go away, or to restart, while it ran.";
        case EventType::harvesting:
            return "Its container has ended: exit, logs and artifacts are made durable.";
        case EventType::finished:
            return cause_of_finish(event);
        case EventType::retrying:
            return "It asked to be tried again when it is lost: " + event.pending_message + ".";
        case EventType::cancel_requested:
            return "A client asked to cancel it.";
        case EventType::deleted:
            if (event.message.empty()) return "A client asked to delete it.";
            return "It was removed because " + event.message + ".";
    }
    return "";
}

}  // namespace mayfly::store
