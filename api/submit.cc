// POST /v1/runs. The order is the product: the inputs' tar is whole, fsynced and named; then the
// row is committed; then the client hears 201.
#include <algorithm>

#include "api/codec.h"
#include "api/on_pool.h"
#include "api/service.h"

namespace mayfly::api {
namespace {

constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::size_t kMaxKeyBytes = 255;
// What multipart adds around the inputs: every part has a boundary and a header.
constexpr std::int64_t kPartOverheadBytes = 1 << 10;

Problem invalid_key(std::string message, Shown limit = {}) {
    Problem problem{ProblemType::invalid_header, "`Idempotency-Key` " + message + "."};
    problem.errors.push_back({"Idempotency-Key", std::move(message), std::move(limit), {}});
    return problem;
}

Answer<std::string> idempotency_key(const Request& request) {
    if (request.header_count("idempotency-key") > 1) {
        return std::unexpected(invalid_key("comes more than once", std::int64_t{1}));
    }
    const auto key = request.header("idempotency-key");
    if (!key) return std::string();
    const bool printable = std::ranges::all_of(*key, [](char c) { return c > ' ' && c < 0x7F; });
    if (key->empty() || key->size() > kMaxKeyBytes || !printable) {
        return std::unexpected(
            invalid_key("must be 1 to 255 printable ASCII characters without blanks",
                        static_cast<std::int64_t>(kMaxKeyBytes)));
    }
    return std::string(*key);
}

Problem too_large(std::int64_t limit_bytes) {
    Problem problem{ProblemType::body_too_large,
                    "The body may be at most " + std::to_string(limit_bytes) + " bytes long."};
    problem.errors.push_back({"body", "has too many bytes", limit_bytes, {}});
    return problem;
}

}  // namespace

Answer<void> Service::can_accept(const Request& request) const {
    if (stopping_ || live_.draining) {
        Problem problem{ProblemType::shutting_down,
                        "Nothing new is taken; submit again when the service is back."};
        problem.headers.emplace_back("Retry-After", "5");
        return std::unexpected(std::move(problem));
    }
    if (store_.failure()) {
        return std::unexpected(from_store({store::ErrorKind::closed, store_.failure()->message}));
    }
    Problem full{ProblemType::disk_full, live_.disk_message};
    full.headers.emplace_back("Retry-After", "30");
    if (live_.disk_full) return std::unexpected(std::move(full));
    const auto space = data_dir_.disk_space();
    const std::int64_t wanted = settings_.min_free_bytes + request.content_length.value_or(0);
    if (space && space->free_bytes < wanted) {
        full.detail = "The data directory's disk has " + std::to_string(space->free_bytes) +
                      " bytes left; this submission needs " + std::to_string(wanted) + ".";
        return std::unexpected(std::move(full));
    }
    return {};
}

Service::Task<Service::Reply> Service::submit(Asked request) {
    Query query(request->query, {"wait"});
    const std::int64_t wait_ms = query.wait_ms(settings_.max_wait_s);
    if (!query.ok()) co_return std::unexpected(query.problem());
    auto key = idempotency_key(*request);
    if (!key) co_return std::unexpected(std::move(key.error()));
    if (auto free = can_accept(*request); !free)
        co_return std::unexpected(std::move(free.error()));

    const std::string content_type(request->header("content-type").value_or(""));
    const std::string type = media_type(content_type);
    const bool is_json = type == "application/json";
    if (!is_json && type != "multipart/form-data") {
        co_return refuse(ProblemType::unsupported_media_type,
                         "Send application/json, or multipart/form-data with a part `spec`.");
    }
    const store::UnixMs now_ms = clock_.now_ms();
    std::string run_id = store::make_run_id(now_ms, random_);
    Answer<Accepted> accepted;
    if (is_json) {
        accepted = co_await take_json_body(request, run_id, now_ms);
    } else {
        auto boundary = multipart_boundary(content_type);
        if (!boundary) {
            co_return refuse(ProblemType::invalid_multipart, "Content-Type names no boundary.");
        }
        accepted = co_await take_multipart_body(request, std::move(*boundary), run_id, now_ms);
    }
    if (!accepted) co_return std::unexpected(std::move(accepted.error()));
    co_return co_await record(request, std::move(run_id), std::move(*key), std::move(*accepted),
                              now_ms, wait_ms);
}

Service::Task<Answer<Accepted>> Service::take_json_body(Asked request, std::string run_id,
                                                        store::UnixMs now_ms) {
    const std::int64_t limit = settings_.max_json_body_bytes;
    if (request->content_length.value_or(0) > limit) co_return std::unexpected(too_large(limit));
    std::string text;
    std::size_t used = 0;
    while (true) {
        // Grows with what has come, not with what a header promised.
        const std::size_t room = std::max(used, std::size_t{4} << 10);
        text.resize(used + std::min(room, kPieceBytes));
        const auto into = std::as_writable_bytes(std::span(text)).subspan(used);
        auto got = co_await request->client->read_body(into);
        if (!got) co_return std::unexpected(std::move(got.error()));
        if (*got == 0) break;
        used += *got;
        if (std::cmp_greater(used, limit)) co_return std::unexpected(too_large(limit));
    }
    text.resize(used);
    auto work = [&]() -> Answer<Accepted> {
        Intake intake(data_dir_, settings_, run_id, now_ms);
        if (auto taken = intake.take_json(text); !taken) {
            return std::unexpected(std::move(taken.error()));
        }
        return intake.publish();
    };
    co_return co_await on_pool(disk_pool_, std::move(work));
}

Service::Task<Answer<Accepted>> Service::take_multipart_body(Asked request, std::string boundary,
                                                             std::string run_id,
                                                             store::UnixMs now_ms) {
    const std::int64_t limit = settings_.max_json_body_bytes + settings_.max_input_bytes +
                               (settings_.max_input_files + 8) * kPartOverheadBytes;
    if (request->content_length.value_or(0) > limit) co_return std::unexpected(too_large(limit));
    Intake intake(data_dir_, settings_, std::move(run_id), now_ms);
    MultipartParser parser(boundary, intake);
    std::vector<std::byte> piece(kPieceBytes);
    std::int64_t total = 0;
    while (true) {
        // Whole pieces: a hop to the pool for every packet would cost more than the work.
        std::size_t filled = 0;
        bool ended = false;
        while (filled < piece.size() && !ended) {
            auto got = co_await request->client->read_body(std::span(piece).subspan(filled));
            if (!got) co_return std::unexpected(std::move(got.error()));
            ended = *got == 0;
            filled += *got;
        }
        total += static_cast<std::int64_t>(filled);
        if (total > limit) co_return std::unexpected(too_large(limit));
        auto work = [&]() -> Answer<std::optional<Accepted>> {
            auto fed = parser.feed(std::span(piece).first(filled));
            if (fed && !ended) return std::nullopt;
            if (fed) fed = parser.finish();
            if (!fed) return std::unexpected(std::move(fed.error()));
            auto accepted = intake.publish();
            if (!accepted) return std::unexpected(std::move(accepted.error()));
            return std::move(*accepted);
        };
        auto step = co_await on_pool(disk_pool_, std::move(work));
        if (!step) co_return std::unexpected(std::move(step.error()));
        if (*step) co_return std::move(**step);
    }
}

Service::Task<void> Service::discard(std::string run_id) {
    auto work = [&] { return data_dir_.remove_run(run_id); };
    // What cannot be removed now is removed by the next start: no record knows it.
    (void)co_await on_pool(disk_pool_, std::move(work));
}

Service::Task<Service::Reply> Service::record(Asked request, std::string run_id, std::string key,
                                              Accepted accepted, store::UnixMs now_ms,
                                              std::int64_t wait_ms) {
    store::NewRun wanted;
    wanted.id = run_id;
    wanted.idempotency_key = std::move(key);
    wanted.spec_sha256 = std::move(accepted.spec_sha256);
    wanted.spec = std::move(accepted.spec);
    wanted.now_ms = now_ms;
    wanted.stored_bytes = accepted.stored_bytes;
    auto created = co_await store_.create_run(std::move(wanted));
    if (!created) {
        using store::ErrorKind;
        const ErrorKind kind = created.error().kind;
        // Only when it is certain that there is no row. After a failed COMMIT the row may be
        // there, and then it must find its inputs; the next start removes what no row knows.
        const bool no_row = kind == ErrorKind::key_reused || kind == ErrorKind::invalid ||
                            kind == ErrorKind::conflict || kind == ErrorKind::not_found;
        if (no_row) co_await discard(std::move(run_id));
        co_return std::unexpected(from_store(created.error()));
    }
    const bool existed = created->existed;
    if (existed) {
        co_await discard(std::move(run_id));
    } else {
        families_.run_submitted();
    }
    store::Run run = std::move(created->run);
    if (wait_ms > 0) {
        auto waited = co_await wait_until_terminal(run, wait_ms, request->client);
        // Accepted is accepted: a wait that fails changes nothing about that.
        if (waited) run = std::move(*waited);
    }
    Response response = json_response(existed ? 200 : 201, run_text(run));
    response.with("Location", "/v1/runs/" + run.id);
    co_return response;
}

}  // namespace mayfly::api
