#include "api/service.h"

#include <algorithm>

#include "api/byte_range.h"
#include "api/codec.h"
#include "api/cursor.h"
#include "api/diagnosis.h"
#include "api/label_filter.h"
#include "api/openapi_document.h"
#include "store/sha256.h"

namespace mayfly::api {
namespace {

// How long a waiter sleeps before it looks whether its client is still there and whether we are
// stopping.
constexpr std::int64_t kWaitSliceMs = 1'000;
constexpr std::int64_t kListDefault = 50;
static_assert(kLabelFiltersMax == store::kFilterLabelsMax);

std::unexpected<Problem> refused(const store::Error& error) {
    return std::unexpected(from_store(error));
}

void read_phases(Query& query, store::RunFilter& filter) {
    for (const std::string& list : query.all("phase")) {
        std::string_view rest = list;
        while (true) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            const std::string_view name = rest.substr(0, comma);
            if (const auto phase = store::parse_phase(name)) {
                filter.phases.push_back(*phase);
            } else {
                query.complain({"phase",
                                "must be phases with commas between: queued, preparing, running, "
                                "harvesting, succeeded, failed, timed_out, cancelled, lost",
                                {},
                                shown_text(name)});
            }
            if (comma == rest.size()) break;
            rest.remove_prefix(comma + 1);
        }
    }
    std::ranges::sort(filter.phases);
    const auto [first, last] = std::ranges::unique(filter.phases);
    filter.phases.erase(first, last);
}

// Routes without parameters say so, instead of ignoring a typo.
Answer<void> no_query(const Request& request) {
    const Query query(request.query, {});
    if (query.ok()) return {};
    return std::unexpected(query.problem());
}

}  // namespace

Service::Service(const Settings& settings, const World& world)
    : settings_(settings),
      world_(world),
      store_(world.store),
      data_dir_(world.data_dir),
      live_(world.live),
      clock_(world.clock),
      random_(world.random),
      families_(world.families),
      disk_pool_(world.disk_pool) {}

boost::asio::awaitable<Response> Service::answer(Asked request) {
    auto match = route(request->method, request->path);
    if (!match) co_return problem_response(match.error());
    auto reply = co_await dispatch(request, std::move(*match));
    if (!reply) co_return problem_response(reply.error());
    co_return std::move(*reply);
}

Service::Task<Service::Reply> Service::dispatch(Asked request, Match match) {
    switch (match.endpoint) {
        case Endpoint::submit:
            co_return co_await submit(request);
        case Endpoint::list:
            co_return co_await list(request);
        case Endpoint::show:
            co_return co_await show(request, std::move(match.run_id));
        case Endpoint::cancel:
            co_return co_await cancel(request, std::move(match.run_id));
        case Endpoint::remove:
            co_return co_await remove(request, std::move(match.run_id));
        case Endpoint::logs:
            co_return co_await logs(request, std::move(match.run_id));
        case Endpoint::artifacts:
            co_return co_await artifacts(request, std::move(match.run_id));
        case Endpoint::artifact:
            co_return co_await artifact(request, std::move(match.run_id),
                                        std::move(match.artifact_path));
        case Endpoint::artifacts_tar:
            co_return co_await artifacts_tar(request, std::move(match.run_id));
        case Endpoint::welcome:
            co_return plain(*request, welcome(*request));
        case Endpoint::asset:
            co_return plain(*request, asset(*request, match.asset_name));
        case Endpoint::engines:
            co_return co_await engines(request);
        case Endpoint::events:
            co_return co_await events(request);
        case Endpoint::explain:
            co_return co_await explain(request, std::move(match.run_id));
        case Endpoint::doctor: {
            const std::string failure = store_.failure() ? store_.failure()->message : "";
            const store::UnixMs now_ms = clock_.now_ms();
            const auto checks = diagnose({live_, settings_.policy, failure, now_ms});
            co_return plain(*request, json_response(200, diagnosis_text(checks, now_ms)));
        }
        case Endpoint::health:
            co_return plain(*request, json_response(200, "{\"ok\":true}"));
        case Endpoint::ready: {
            const std::string failure = store_.failure() ? store_.failure()->message : "";
            const Readiness state = readiness(live_, failure, stopping_);
            co_return plain(*request, json_response(state.ready ? 200 : 503, state.text));
        }
        case Endpoint::metrics: {
            Response response;
            response.with("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                .with("Cache-Control", "no-store");
            response.body = families_.expose();
            co_return plain(*request, std::move(response));
        }
        case Endpoint::openapi:
            co_return plain(*request, openapi(*request));
    }
    co_return refuse(ProblemType::internal, "A route has no endpoint.");
}

Service::Reply Service::plain(const Request& request, Reply reply) const {
    if (auto checked = no_query(request); !checked) {
        return std::unexpected(std::move(checked.error()));
    }
    return reply;
}

Service::Task<Answer<store::RunRecord>> Service::find_record(std::string run_id) {
    auto record = co_await store_.get(std::move(run_id));
    if (!record) co_return refused(record.error());
    if (record->run.delete_requested_ms != 0) {
        co_return refuse(ProblemType::not_found, "There is no run of this id.");
    }
    co_return std::move(*record);
}

Service::Task<Answer<store::Run>> Service::find(std::string run_id) {
    auto record = co_await find_record(std::move(run_id));
    if (!record) co_return std::unexpected(std::move(record.error()));
    co_return std::move(record->run);
}

Service::Task<Answer<store::Run>> Service::wait_until_terminal(store::Run run,
                                                               std::int64_t wait_ms,
                                                               Client* client) {
    const std::int64_t deadline_us = clock_.steady_us() + wait_ms * 1'000;
    while (!store::is_terminal(run.status.phase) && !stopping_ && !live_.draining) {
        const std::int64_t left_ms = (deadline_us - clock_.steady_us()) / 1'000;
        if (left_ms <= 0 || client->gone()) break;
        const std::int64_t slice_ms = std::min(left_ms, kWaitSliceMs);
        auto record = co_await store_.wait_for_change(run.id, run.revision, slice_ms);
        if (!record) co_return refused(record.error());
        run = std::move(record->run);
    }
    co_return run;
}

Service::Task<Service::Reply> Service::show(Asked request, std::string run_id) {
    Query query(request->query, {"wait"});
    const std::int64_t wait_ms = query.wait_ms(settings_.max_wait_s);
    if (!query.ok()) co_return std::unexpected(query.problem());
    auto run = co_await find(std::move(run_id));
    if (run && wait_ms > 0) {
        run = co_await wait_until_terminal(std::move(*run), wait_ms, request->client);
    }
    if (!run) co_return std::unexpected(std::move(run.error()));
    co_return json_response(200, run_text(*run));
}

Service::Task<Service::Reply> Service::list(Asked request) {
    Query query(request->query, {"phase", "label", "limit", "cursor"});
    store::RunFilter filter;
    read_phases(query, filter);
    read_labels(query, filter.labels);
    const std::int64_t limit = query.integer("limit", 1, settings_.max_list)
                                   .value_or(std::min(kListDefault, settings_.max_list));
    if (const auto cursor = query.one("cursor")) {
        if (const auto before = read_cursor(*cursor)) {
            filter.before_id = *before;
        } else {
            query.complain(
                {"cursor", "is not a `next_cursor` of a listing", {}, shown_text(*cursor)});
        }
    }
    if (!query.ok()) co_return std::unexpected(query.problem());
    filter.limit = limit + 1;  // one more, to know whether there is a next page
    auto runs = co_await store_.list(std::move(filter));
    if (!runs) co_return refused(runs.error());
    const bool more = std::ssize(*runs) > limit;
    if (more) runs->pop_back();
    co_return json_response(
        200, runs_text(*runs, more, static_cast<std::size_t>(settings_.max_list_bytes)));
}

Service::Task<Service::Reply> Service::cancel(Asked request, std::string run_id) {
    Query query(request->query, {"wait"});
    const std::int64_t wait_ms = query.wait_ms(settings_.max_wait_s);
    if (!query.ok()) co_return std::unexpected(query.problem());
    auto record = co_await store_.request_cancel(std::move(run_id), clock_.now_ms());
    if (!record) co_return refused(record.error());
    store::Run run = std::move(record->run);
    if (run.delete_requested_ms != 0) {
        co_return refuse(ProblemType::not_found, "There is no run of this id.");
    }
    if (store::is_terminal(run.status.phase)) {
        co_return refuse(ProblemType::already_finished,
                         "The run is already `" + std::string(store::to_string(run.status.phase)) +
                             "`; there is nothing to cancel.");
    }
    if (wait_ms > 0) {
        auto waited = co_await wait_until_terminal(std::move(run), wait_ms, request->client);
        if (!waited) co_return std::unexpected(std::move(waited.error()));
        run = std::move(*waited);
    }
    co_return json_response(202, run_text(run));
}

Service::Task<Service::Reply> Service::remove(Asked request, std::string run_id) {
    if (auto checked = no_query(*request); !checked) {
        co_return std::unexpected(std::move(checked.error()));
    }
    auto record = co_await store_.request_delete(std::move(run_id), clock_.now_ms());
    if (record) co_return json_response(202, run_text(record->run));
    if (record.error().kind == store::ErrorKind::conflict) {
        co_return refuse(ProblemType::still_running,
                         "Only a finished run can be deleted: cancel it first, and wait for it.");
    }
    co_return refused(record.error());
}

Response Service::openapi(const Request& request) {
    static const std::string etag = "\"" + store::sha256_hex(openapi_document()) + "\"";
    Response response;
    response.with("ETag", etag).with("Cache-Control", "no-cache");
    if (none_match_hits(request.header("if-none-match"), etag)) {
        response.status = 304;
        return response;
    }
    response.with("Content-Type", "application/json");
    response.body = openapi_document();
    return response;
}

}  // namespace mayfly::api
