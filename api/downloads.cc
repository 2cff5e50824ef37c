// What a run left: logs and artifacts, as ranges of spool files. A file is named by a run id and a
// constant, never by what a script chose; an artifact is an offset and a length in output.tar.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "api/byte_range.h"
#include "api/codec.h"
#include "api/on_pool.h"
#include "api/service.h"

namespace mayfly::api {
namespace {

constexpr std::string_view kBinary = "application/octet-stream";

struct Stored {
    OwnedFd fd;
    std::int64_t size = 0;
};

// `not_found` when the run left no such file.
store::Result<Stored> open_stored(const store::DataDir& data_dir, const std::string& run_id,
                                  std::string_view name) {
    auto fd = data_dir.open_file(run_id, name);
    if (!fd) return std::unexpected(fd.error());
    Stored out{OwnedFd(*fd), 0};
    struct stat facts{};
    if (::fstat(out.fd.get(), &facts) != 0) {
        return store::fail(store::ErrorKind::io, "cannot stat a file of the spool");
    }
    out.size = facts.st_size;
    return out;
}

// Where the last `lines` lines of a file begin. A last line without its line feed is a line too.
store::Result<std::int64_t> tail_offset(int fd, std::int64_t size, std::int64_t lines) {
    std::array<char, 64 << 10> piece;
    std::int64_t left = size;
    std::int64_t seen = 0;
    while (left > 0) {
        const auto length = std::min<std::int64_t>(left, std::ssize(piece));
        const std::int64_t start = left - length;
        if (::pread(fd, piece.data(), static_cast<std::size_t>(length), start) != length) {
            return store::fail(store::ErrorKind::io, "a log cannot be read");
        }
        for (std::int64_t i = length - 1; i >= 0; --i) {
            const bool ends_file = start + i == size - 1;
            if (piece[static_cast<std::size_t>(i)] != '\n' || ends_file) continue;
            if (++seen == lines) return start + i + 1;
        }
        left = start;
    }
    return 0;
}

void guard_download(Response& response) {
    // Bytes that a script made, served from the API's own origin: never a page, never sniffed into
    // one.
    response.with("Content-Security-Policy", "sandbox; default-src 'none'");
    response.with("Accept-Ranges", "bytes");
}

// `slice` is the whole thing; Range narrows it.
Answer<Response> ranged(const Request& request, FileSlice slice, const std::string& etag,
                        std::string content_type) {
    Response response;
    guard_download(response);
    if (!etag.empty()) {
        response.with("ETag", etag).with("Cache-Control", "private, no-cache");
        if (none_match_hits(request.header("if-none-match"), etag)) {
            response.status = 304;
            return response;
        }
    } else {
        response.with("Cache-Control", "no-store");
    }
    const std::int64_t size = slice.length;
    ByteRange range{ByteRange::Kind::whole, 0, size};
    if (if_range_holds(request.header("if-range"), etag)) {
        range = parse_range(request.header("range"), size);
    }
    if (range.kind == ByteRange::Kind::unsatisfiable) {
        Problem problem{ProblemType::range_not_satisfiable,
                        "It is " + std::to_string(size) + " bytes long."};
        problem.headers.emplace_back("Content-Range", "bytes */" + std::to_string(size));
        return std::unexpected(std::move(problem));
    }
    if (range.kind == ByteRange::Kind::part) {
        response.status = 206;
        response.with("Content-Range", "bytes " + std::to_string(range.first) + "-" +
                                           std::to_string(range.first + range.length - 1) + "/" +
                                           std::to_string(size));
    }
    response.with("Content-Type", std::move(content_type));
    slice.offset += range.first;
    slice.length = range.length;
    response.file = std::move(slice);
    return response;
}

std::unexpected<Problem> damaged(std::string_view what) {
    return refuse(ProblemType::damaged, std::string(what) +
                                            " is missing or shorter than what was recorded: the "
                                            "data directory was changed by something else.");
}

std::unexpected<Problem> not_finished(const store::Run& run) {
    Problem problem{ProblemType::not_finished,
                    "The run is `" + std::string(store::to_string(run.status.phase)) +
                        "`; this is there when it has finished. GET /v1/runs/" + run.id +
                        "?wait=30s waits for that; a log can be followed until then with "
                        "follow=1."};
    problem.headers.emplace_back("Retry-After", "1");
    return std::unexpected(std::move(problem));
}

Answer<void> no_query(const Request& request) {
    const Query query(request.query, {});
    if (query.ok()) return {};
    return std::unexpected(query.problem());
}

}  // namespace

Service::Task<Answer<store::Run>> Service::find_finished(std::string run_id) {
    auto run = co_await find(std::move(run_id));
    if (!run) co_return run;
    if (!store::is_terminal(run->status.phase)) co_return not_finished(*run);
    co_return run;
}

namespace {

struct LogQuery {
    std::optional<store::LogStream> only;  // nothing: both
    std::optional<std::int64_t> tail;
    std::int64_t offset = 0;
    bool follow = false;
    LogPlace place;                       // of both streams
    std::optional<std::int64_t> attempt;  // that the offset is of
};

void read_log_place(Query& query, const Request& request, LogQuery& out) {
    const auto header = request.header("last-event-id");
    const auto one = query.one("last_event_id");
    const std::string text(header && !header->empty() ? std::string(*header) : one.value_or(""));
    if (text.empty()) return;
    if (out.only || !out.follow) {
        query.complain({"last_event_id",
                        "is for stream=both with follow=1; one stream goes on at "
                        "`offset`",
                        {},
                        shown_text(text)});
    } else if (!read_place(text, out.place)) {
        query.complain(
            {"last_event_id", "is not the id of an event of a log", {}, shown_text(text)});
    }
}

LogQuery read_log_query(Query& query, const Request& request, std::int64_t max_tail_lines) {
    LogQuery out;
    const std::string follow = query.one("follow").value_or("0");
    if (follow != "0" && follow != "1") {
        query.complain({"follow", "must be 0 or 1", {}, shown_text(follow)});
    }
    out.follow = follow == "1";
    const std::string stream = query.one("stream").value_or("stdout");
    if (stream == "stdout") out.only = store::LogStream::out;
    if (stream == "stderr") out.only = store::LogStream::err;
    if (!out.only && stream != "both") {
        query.complain({"stream",
                        "must be `stdout` or `stderr`, or with follow=1 `both`",
                        {},
                        shown_text(stream)});
    }
    if (stream == "both" && !out.follow) {
        query.complain(
            {"stream", "`both` is for follow=1; ask for each stream by itself", {}, {}});
    }
    out.tail = query.integer("tail", 1, max_tail_lines);
    const auto offset = query.integer("offset", 0, INT64_MAX);
    out.offset = offset.value_or(0);
    if (out.tail && (out.follow || offset)) {
        query.complain({"tail", "goes with neither `follow` nor `offset`", {}, {}});
    }
    if (offset && stream == "both") {
        query.complain({"offset", "is for one stream; both go on at Last-Event-ID", {}, {}});
    }
    out.attempt = query.integer("attempt", 1, INT64_MAX);
    if (out.attempt && (!out.follow || !out.only)) {
        query.complain({"attempt", "is for one stream with follow=1", {}, {}});
    }
    if (out.only == store::LogStream::out) out.place.out = out.offset;
    if (out.only == store::LogStream::err) out.place.err = out.offset;
    read_log_place(query, request, out);
    return out;
}

}  // namespace

Service::Task<Service::Reply> Service::logs(Asked request, std::string run_id) {
    Query query(request->query,
                {"stream", "tail", "follow", "offset", "attempt", "last_event_id"});
    const LogQuery asked = read_log_query(query, *request, settings_.max_tail_lines);
    if (!query.ok()) co_return std::unexpected(query.problem());
    auto record = co_await find_record(run_id);
    if (!record) co_return std::unexpected(std::move(record.error()));
    const std::int64_t attempt = record->run.status.attempt;
    if (asked.attempt && *asked.attempt != attempt) {
        co_return refuse(ProblemType::attempt_replaced,
                         "Attempt " + std::to_string(*asked.attempt) +
                             " was lost, and the run is "
                             "at attempt " +
                             std::to_string(attempt) + ": its log begins anew, at offset 0.");
    }
    if (asked.follow) {
        co_return co_await follow(request, std::move(*record), asked.only, asked.place);
    }
    if (!store::is_terminal(record->run.status.phase)) co_return not_finished(record->run);
    const store::Run* run = &record->run;
    const auto tail = asked.tail;
    const bool is_stdout = asked.only == store::LogStream::out;
    const store::StreamStatus& facts =
        is_stdout ? run->status.stdout_stream : run->status.stderr_stream;
    auto stored =
        open_stored(data_dir_, run_id, is_stdout ? store::kStdoutLog : store::kStderrLog);
    const bool absent = !stored && stored.error().kind == store::ErrorKind::not_found;
    if (absent && facts.bytes_kept > 0) co_return damaged("The log");
    if (!stored && !absent) co_return std::unexpected(from_store(stored.error()));
    FileSlice slice;
    if (stored) slice = {std::move(stored->fd), 0, stored->size};
    if (tail && slice.length > 0) {
        const int fd = slice.fd.get();
        auto work = [&, fd] { return tail_offset(fd, slice.length, *tail); };
        const auto offset = co_await on_pool(disk_pool_, std::move(work));
        if (!offset) co_return std::unexpected(from_store(offset.error()));
        slice.offset = *offset;
        slice.length -= *offset;
    }
    if (asked.offset > slice.length) {
        co_return refuse(ProblemType::range_not_satisfiable,
                         "`offset` is " + std::to_string(asked.offset) + ", and the log is " +
                             std::to_string(slice.length) + " bytes long.");
    }
    slice.offset += asked.offset;
    slice.length -= asked.offset;
    const bool as_text =
        request->header("accept").value_or("").find("text/plain") != std::string_view::npos;
    std::string type(as_text ? "text/plain; charset=utf-8" : kBinary);
    auto reply = ranged(*request, std::move(slice), "", std::move(type));
    if (reply) {
        reply->with("Vary", "Accept")
            .with("Mayfly-Bytes-Total", std::to_string(facts.bytes_total))
            .with("Mayfly-Truncated", facts.truncated ? "true" : "false");
    }
    co_return reply;
}

Service::Task<Service::Reply> Service::artifacts(Asked request, std::string run_id) {
    if (auto checked = no_query(*request); !checked) {
        co_return std::unexpected(std::move(checked.error()));
    }
    auto run = co_await find_finished(run_id);
    if (!run) co_return std::unexpected(std::move(run.error()));
    auto list = co_await store_.artifacts(std::move(run_id));
    if (!list) co_return std::unexpected(from_store(list.error()));
    co_return json_response(200, artifacts_text(run->status, *list));
}

Service::Task<Service::Reply> Service::artifact(Asked request, std::string run_id,
                                                std::string path) {
    if (auto checked = no_query(*request); !checked) {
        co_return std::unexpected(std::move(checked.error()));
    }
    auto run = co_await find_finished(run_id);
    if (!run) co_return std::unexpected(std::move(run.error()));
    auto found = co_await store_.artifact(run_id, path);
    if (!found) co_return std::unexpected(from_store(found.error()));
    if (!*found) {
        co_return refuse(ProblemType::not_found,
                         "The run left no file of this path. GET /v1/runs/" + run_id +
                             "/artifacts lists what it left.");
    }
    const store::Artifact& file = **found;
    auto stored = open_stored(data_dir_, run_id, store::kOutputTar);
    if (!stored || stored->size < file.offset + file.size) co_return damaged("The artifact");
    FileSlice slice{std::move(stored->fd), file.offset, file.size};
    auto reply =
        ranged(*request, std::move(slice), "\"" + file.sha256 + "\"", std::string(kBinary));
    if (reply && reply->status != 304) {
        reply->with("Content-Disposition", content_disposition(file.path));
    }
    co_return reply;
}

Service::Task<Service::Reply> Service::artifacts_tar(Asked request, std::string run_id) {
    if (auto checked = no_query(*request); !checked) {
        co_return std::unexpected(std::move(checked.error()));
    }
    auto run = co_await find_finished(run_id);
    if (!run) co_return std::unexpected(std::move(run.error()));
    auto stored = open_stored(data_dir_, run_id, store::kOutputTar);
    if (!stored && stored.error().kind == store::ErrorKind::not_found) {
        if (run->status.artifact_count > 0) co_return damaged("The archive");
        co_return refuse(ProblemType::not_found,
                         "The run left nothing: it never started, or its "
                         "output could not be read.");
    }
    if (!stored) co_return std::unexpected(from_store(stored.error()));
    // Never changes once it is there, so the run's id and the size name its bytes.
    const std::string etag = "\"" + run_id + "-" + std::to_string(stored->size) + "\"";
    FileSlice slice{std::move(stored->fd), 0, stored->size};
    auto reply = ranged(*request, std::move(slice), etag, "application/x-tar");
    if (reply && reply->status != 304) {
        reply->with("Content-Disposition", content_disposition(run_id + ".tar"));
    }
    co_return reply;
}

}  // namespace mayfly::api
