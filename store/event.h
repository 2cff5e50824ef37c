// What happened to a run, one row for each change that anybody outside can see: the stream that
// /v1/events sends, what a webhook carries, and the history in an explanation. Written in the
// transaction of the change itself, so that the stream has neither a gap nor an event too many.
//
// Values only, and pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/run.h"

namespace mayfly::store {

// The spelling of to_string is API: stable for ever.
enum class EventType : std::uint8_t {
    created,           // recorded; queued
    pending,           // why it is not further has changed
    preparing,         // an attempt is bound
    running,           // the engine said that it started
    stopping,          // it is about to be stopped; the message says why
    interrupted,       // the engine was seen to go away under it
    harvesting,        // it ended
    finished,          // terminal, with everything that it left
    retrying,          // lost, and queued again as it asked
    cancel_requested,  // somebody asked for its end
    deleted,           // removed, by request or because its ttl_s is over; its last event
};
inline constexpr EventType kLastEventType = EventType::deleted;
[[nodiscard]] std::string_view to_string(EventType type);
[[nodiscard]] std::optional<EventType> parse_event_type(std::string_view text);

struct Event {
    std::int64_t id = 0;  // 1, 2, 3 ...: grows with every event of this database
    UnixMs at_ms = 0;
    EventType type = EventType::created;
    std::string run_id;
    std::string owner;
    std::map<std::string, std::string> labels;
    std::int64_t revision = 0;  // of the run, after the change
    std::int64_t attempt = 0;
    Phase phase = Phase::queued;
    Reason reason = Reason::none;
    std::string message;
    Pending pending = Pending::none;
    std::string pending_message;
    std::optional<std::int64_t> exit_code;
    std::optional<std::int64_t> signal;
    bool operator==(const Event&) const = default;
};

// What the change of a record from `before` (null: it is new) to `after` is called, with what it
// shows, but for its id and time. Nothing when nobody outside can see a difference.
[[nodiscard]] std::optional<Event> event_of(const RunRecord* before, const RunRecord& after);

// A run that goes because its ttl_s is over: `deleted`, at the time when it was over.
[[nodiscard]] Event expiry_event(const RunRecord& record);

// The JSON text that clients get: one line.
[[nodiscard]] std::string event_text(const Event& event);
// Why such a thing happens, as a sentence for people.
[[nodiscard]] std::string cause_of(const Event& event);

// What a reader of the stream asks for.
struct EventFilter {
    std::string owner;
    std::int64_t after_id = 0;
    std::vector<std::string> run_ids;                         // empty = of all
    std::vector<std::pair<std::string, std::string>> labels;  // all must match
    std::int64_t limit = 500;                                 // rows looked at, 1..kEventLimitMax
};
inline constexpr std::int64_t kEventLimitMax = 10'000;

[[nodiscard]] bool event_passes(const Event& event, const EventFilter& filter);

// 0 and 0: there is none.
struct EventSpan {
    std::int64_t oldest = 0;
    std::int64_t newest = 0;
};

struct EventPage {
    std::vector<Event> events;    // by id
    std::int64_t scanned_to = 0;  // every event up to this id was looked at
    bool more = false;            // there are rows behind it
    EventSpan span;               // of all that are kept, at the same moment
};

// How many events are kept when nothing else is said; the oldest go.
inline constexpr std::int64_t kEventsKept = 100'000;

}  // namespace mayfly::store
