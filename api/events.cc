// GET /v1/events: what happens to runs, as server-sent events. Read from the database, always: a
// commit only says that there is something to read. So a reader who comes again at an id gets
// exactly what came after it, and a slow one costs no memory.
#include <algorithm>

#include "api/label_filter.h"
#include "api/service.h"
#include "api/sse.h"
#include "api/stream_life.h"
#include "store/event.h"

namespace mayfly::api {
namespace {

constexpr std::int64_t kPageRows = 500;
constexpr std::size_t kEventRunsMax = 64;  // runs named in one filter

std::string hello_data(const store::EventSpan& span) {
    return "{\"oldest\":" + std::to_string(span.oldest) +
           ",\"newest\":" + std::to_string(span.newest) + "}";
}

class EventBody final : public BodyStream {
public:
    EventBody(store::Store& store, store::EventFilter filter, store::EventSpan span,
              StreamLife life)
        : store_(store), filter_(std::move(filter)), span_(span), life_(std::move(life)) {
        filter_.limit = kPageRows;
    }

    boost::asio::awaitable<BodyPiece> next() override {
        if (!std::exchange(greeted_, true)) {
            co_return BodyPiece{
                sse_event("hello", std::to_string(filter_.after_id), hello_data(span_))};
        }
        while (true) {
            // Whoever is told to end comes again with his last id.
            if (life_.over()) co_return BodyPiece{{}, BodyPiece::End::whole};
            auto page = co_await store_.events(filter_);
            if (!page) co_return BodyPiece{{}, BodyPiece::End::cut};
            // What this reader has not seen yet is dropped already: he must not go on as if
            // nothing were missing.
            if (page->span.oldest > filter_.after_id + 1 && filter_.after_id < page->span.newest &&
                filter_.after_id > 0) {
                co_return BodyPiece{sse_event("gone", "", hello_data(page->span)),
                                    BodyPiece::End::whole};
            }
            std::string text = text_of(*page);
            if (!text.empty()) {
                life_.spoke();
                co_return BodyPiece{std::move(text)};
            }
            if (page->more) continue;
            if (life_.should_speak()) co_return BodyPiece{std::string(kSseKeepAlive)};
            auto waited = co_await store_.wait_for_event(filter_.after_id, kStreamSliceMs);
            if (!waited) co_return BodyPiece{{}, BodyPiece::End::cut};
        }
    }

private:
    std::string text_of(const store::EventPage& page) {
        std::string text;
        for (const store::Event& event : page.events) {
            text += sse_event("status", std::to_string(event.id), store::event_text(event));
        }
        filter_.after_id = page.scanned_to;
        // Rows of others were passed over: they are behind this reader too.
        if (!page.more) filter_.after_id = std::max(page.scanned_to, page.span.newest);
        return text;
    }

    store::Store& store_;
    store::EventFilter filter_;
    store::EventSpan span_;
    StreamLife life_;
    bool greeted_ = false;
};

Problem gone(const store::EventSpan& span) {
    return {ProblemType::events_gone,
            "The events after that id are not kept any more, or never were here (kept: " +
                std::to_string(span.oldest) + " to " + std::to_string(span.newest) +
                "). List the runs anew with GET /v1/runs, and follow from the id that `hello` "
                "names."};
}

}  // namespace

Service::Task<Service::Reply> Service::events(Asked request) {
    Query query(request->query, {"run", "label", "last_event_id"});
    store::EventFilter filter;
    read_labels(query, filter.labels);
    for (const std::string& run_id : query.all("run")) {
        if (!store::is_run_id(run_id)) {
            query.complain({"run", "is not the id of a run", {}, shown_text(run_id)});
        }
        filter.run_ids.push_back(run_id);
    }
    if (filter.run_ids.size() > kEventRunsMax) {
        query.complain({"run", "comes too often", static_cast<std::int64_t>(kEventRunsMax),
                        std::ssize(filter.run_ids)});
    }
    std::optional<std::int64_t> after;
    if (const auto header = request->header("last-event-id"); header && !header->empty()) {
        after = parse_integer(*header);
        if (!after || *after < 0) {
            query.complain(
                {"Last-Event-ID", "must be the id of an event", {}, shown_text(*header)});
        }
    } else {
        after = query.integer("last_event_id", 0, INT64_MAX);
    }
    if (!query.ok()) co_return std::unexpected(query.problem());
    auto life = begin_stream(*request);
    if (!life) co_return std::unexpected(std::move(life.error()));
    const auto span = co_await store_.event_span();
    if (!span) co_return std::unexpected(from_store(span.error()));
    filter.after_id = after.value_or(span->newest);
    const bool dropped = filter.after_id > 0 && filter.after_id + 1 < span->oldest;
    if (dropped || filter.after_id > span->newest) co_return std::unexpected(gone(*span));
    Response response = sse_response();
    response.stream =
        std::make_unique<EventBody>(store_, std::move(filter), *span, std::move(*life));
    co_return response;
}

}  // namespace mayfly::api
