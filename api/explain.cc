// GET /v1/runs/{id}/explain, and GET /v1/engines: what the controller knows right now, with what
// the store has.
#include "api/codec.h"
#include "api/service.h"

namespace mayfly::api {
namespace {

// Of one run. A run that is pulled an image for has one for each step of the pull.
constexpr std::int64_t kHistoryRows = 1'000;

}  // namespace

Service::Task<Service::Reply> Service::explain(Asked request, std::string run_id) {
    const Query query(request->query, {});
    if (!query.ok()) co_return std::unexpected(query.problem());
    auto record = co_await find_record(run_id);
    if (!record) co_return std::unexpected(std::move(record.error()));
    auto page = co_await store_.events({.run_ids = {run_id}, .limit = kHistoryRows});
    if (!page) co_return std::unexpected(from_store(page.error()));
    auto webhook = co_await store_.webhook_progress(run_id);
    if (!webhook) co_return std::unexpected(from_store(webhook.error()));
    // Asked last: nothing may happen between the answer and what it is told with.
    const auto now = world_.explainer.explain(run_id);
    co_return json_response(200, explanation_text({*record, now, page->events, live_, *webhook}));
}

Service::Task<Service::Reply> Service::engines(Asked request) {
    const Query query(request->query, {});
    if (!query.ok()) co_return std::unexpected(query.problem());
    const auto counts = co_await store_.counts();
    if (!counts) co_return std::unexpected(from_store(counts.error()));
    co_return json_response(200, engines_text(live_, settings_.policy, counts->count));
}

}  // namespace mayfly::api
