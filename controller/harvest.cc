#include "controller/harvest.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "controller/archive/harvest_reader.h"

namespace mayfly::controller {
namespace asio = boost::asio;
namespace {

using Kind = HarvestFailure::Kind;
using State = ExitEvidence::Harvest;

// PID 1's note about the gap, and room for what a script writes around PID 1.
constexpr std::int64_t kLogSlackBytes = 4'096;
// Of the raw archive, beyond the artifacts themselves: headers per entry, the record, result.json,
// padding.
constexpr std::int64_t kTarBytesPerFile = 2'048;
constexpr std::int64_t kTarSlackBytes = 4LL << 20;

std::expected<void, std::string> write_all(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto written = write(fd, bytes.data(), bytes.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            return std::unexpected(
                fmt::format("the spool cannot be written: {}", std::strerror(errno)));
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

class BoundedLogSink final : public LogSink {
public:
    BoundedLogSink(int out_fd, int err_fd, std::int64_t bytes_max)
        : fds_{out_fd, err_fd}, bytes_max_(bytes_max) {}

    std::expected<void, std::string> write(Stream stream,
                                           std::span<const std::byte> bytes) override {
        const auto index = stream == Stream::out ? 0U : 1U;
        const auto room = bytes_max_ - written_[index];
        if (static_cast<std::int64_t>(bytes.size()) > room) {
            cut_[index] = true;
            bytes = bytes.first(static_cast<std::size_t>(room));
        }
        written_[index] += static_cast<std::int64_t>(bytes.size());
        return write_all(fds_[index], bytes);
    }
    [[nodiscard]] std::int64_t written(unsigned index) const { return written_[index]; }
    [[nodiscard]] bool cut(unsigned index) const { return cut_[index]; }

private:
    int fds_[2];
    std::int64_t bytes_max_;
    std::int64_t written_[2] = {0, 0};
    bool cut_[2] = {false, false};
};

class BoundedFileSink final : public ByteSink {
public:
    BoundedFileSink(int fd, std::int64_t bytes_max) : fd_(fd), bytes_max_(bytes_max) {}

    std::expected<void, std::string> write(std::span<const std::byte> bytes) override {
        written_ += static_cast<std::int64_t>(bytes.size());
        if (written_ > bytes_max_) {
            over_ = true;
            return std::unexpected(std::string("over the limit"));
        }
        return write_all(fd_, bytes);
    }
    [[nodiscard]] bool over() const { return over_; }

private:
    int fd_;
    std::int64_t bytes_max_;
    std::int64_t written_ = 0;
    bool over_ = false;
};

std::unexpected<HarvestFailure> engine_failure(EngineError error) {
    const auto kind = error.kind == EngineError::Kind::local ? Kind::local : Kind::engine;
    auto message = error.message;
    return std::unexpected(HarvestFailure{kind, std::move(error), std::move(message)});
}

std::unexpected<HarvestFailure> local_failure(std::string message) {
    return std::unexpected(HarvestFailure{Kind::local, {}, std::move(message)});
}

void judge_result_json(store::HarvestResult& result, const HarvestIndex& index) {
    result.result_error = index.result_error;
    if (!index.result_text) return;
    if (!nlohmann::json::accept(*index.result_text)) {
        result.result_error = "result.json is not valid JSON";
        return;
    }
    result.result_json = *index.result_text;
}

store::StreamStatus stream_status(const std::optional<ExitRecord>& record, bool is_out,
                                  std::int64_t stored, bool cut) {
    store::StreamStatus status{.bytes_total = stored, .bytes_kept = stored, .truncated = cut};
    if (!record) return status;
    const auto& counted = is_out ? record->out : record->err;
    status.bytes_total = std::max(counted.total, stored - counted.note);
    status.truncated = cut || counted.total > counted.kept || stored < counted.kept + counted.note;
    return status;
}

// The archive is well-formed; is it all of it? PID 1 counted.
void compare_with_record(HarvestEvidence& evidence, const HarvestIndex& index) {
    const auto& record = *evidence.record;
    if (record.output_files < 0 || index.seen_files < 0) return;
    if (record.output_files == index.seen_files && record.output_bytes == index.seen_bytes) return;
    evidence.state = State::torn;
    evidence.message = fmt::format(
        "output/ held {} files with {} bytes when the script ended, and its archive brings {} "
        "with {}",
        record.output_files, record.output_bytes, index.seen_files, index.seen_bytes);
}

struct PublishJob {
    const store::DataDir* spool;
    store::RunRecord record;
    store::SpoolFile raw;  // no descriptor: there is no archive
    store::SpoolFile out_log;
    store::SpoolFile err_log;
    std::int64_t log_bytes[2] = {0, 0};
    bool log_cut[2] = {false, false};
    HarvestEvidence evidence;
};

// On the pool's thread. Whatever happens to the archive, the logs are kept.
std::expected<HarvestEvidence, HarvestFailure> index_and_publish(PublishJob job) {
    auto& evidence = job.evidence;
    const auto& run = job.record.run;
    const auto& limits = run.spec.limits;
    store::SpoolFile verified;
    if (job.raw) {
        auto file = job.spool->create_file();
        if (!file) return local_failure(file.error().message);
        verified = std::move(*file);
        HarvestLimits bounds;
        bounds.artifact_bytes = limits.artifact_bytes;
        bounds.artifact_files = limits.artifact_files;
        auto index = read_harvest(job.raw.fd(), verified.fd(), bounds);
        if (!index) {
            if (index.error().kind == HarvestError::Kind::io)
                return local_failure(index.error().message);
            // A body that we cut ourselves because it was over the limit is torn as well: the
            // limit is the cause.
            if (evidence.state == State::whole) {
                evidence.state = index.error().kind == HarvestError::Kind::torn
                                     ? State::torn
                                     : State::over_limit;
                evidence.message = index.error().message;
            }
            verified = {};
        } else {
            evidence.result.artifacts = std::move(index->artifacts);
            evidence.result.skipped = std::move(index->skipped);
            evidence.result.skipped_count = index->skipped_count;
            evidence.result.stored_bytes += index->output_tar_bytes;
            judge_result_json(evidence.result, *index);
        }
        const auto& record_json = index ? index->exit_record_json : index.error().exit_record_json;
        if (!record_json.empty()) {
            auto record = parse_exit_record(record_json);
            if (record) {
                evidence.record = *record;
                if (index) compare_with_record(evidence, *index);
            } else {
                evidence.record_error = record.error();
            }
        }
    }
    if (evidence.state == State::torn) {  // it is fetched again; if that never helps, logs remain
        evidence.result = {};
        verified = {};
    }

    auto& result = evidence.result;
    if (evidence.record) {
        result.cpu_ms = evidence.record->cpu_us / 1'000;
        result.memory_peak_bytes = evidence.record->memory_peak_bytes;
    }
    result.stdout_stream = stream_status(evidence.record, true, job.log_bytes[0], job.log_cut[0]);
    result.stderr_stream = stream_status(evidence.record, false, job.log_bytes[1], job.log_cut[1]);
    result.stored_bytes += job.log_bytes[0] + job.log_bytes[1];
    if (job.out_log) {
        auto published = job.spool->publish(std::move(job.out_log), run.id, store::kStdoutLog);
        if (published)
            published = job.spool->publish(std::move(job.err_log), run.id, store::kStderrLog);
        if (!published) return local_failure(published.error().message);
    }
    if (verified) {
        auto published = job.spool->publish(std::move(verified), run.id, store::kOutputTar);
        if (!published) return local_failure(published.error().message);
    }
    return evidence;
}

asio::awaitable<std::expected<HarvestEvidence, HarvestFailure>> publish_on_pool(PublishJob job) {
    co_return index_and_publish(std::move(job));
}

}  // namespace

asio::awaitable<std::expected<HarvestEvidence, HarvestFailure>> Harvester::harvest(
    store::RunRecord record, std::string container_id, bool is_probe) {
    auto logs = co_await fetch_logs(record, container_id, is_probe);
    if (!logs) co_return std::unexpected(logs.error());
    auto archive = co_await fetch_archive(record, container_id);
    if (!archive) co_return std::unexpected(archive.error());

    PublishJob job{.spool = &spool_,
                   .record = record,
                   .raw = std::move(archive->raw),
                   .out_log = std::move(logs->out),
                   .err_log = std::move(logs->err),
                   .evidence = {}};
    job.log_bytes[0] = logs->out_bytes;
    job.log_bytes[1] = logs->err_bytes;
    job.log_cut[0] = logs->out_cut;
    job.log_cut[1] = logs->err_cut;
    job.evidence.state = archive->state;
    job.evidence.message = archive->message;
    auto work = publish_on_pool(std::move(job));
    co_return co_await asio::co_spawn(pool_, std::move(work), asio::use_awaitable);
}

asio::awaitable<std::expected<Harvester::Logs, HarvestFailure>> Harvester::fetch_logs(
    store::RunRecord record, std::string container_id, bool is_probe) {
    Logs logs;
    auto out = spool_.create_file();
    if (!out) co_return local_failure(out.error().message);
    auto err = spool_.create_file();
    if (!err) co_return local_failure(err.error().message);
    logs.out = std::move(*out);
    logs.err = std::move(*err);
    if (is_probe) co_return logs;

    BoundedLogSink sink(logs.out.fd(), logs.err.fd(),
                        record.run.spec.limits.log_bytes + kLogSlackBytes);
    auto reply = co_await engine_.read_logs(container_id, sink);
    if (!reply) {
        using E = EngineError::Kind;
        const auto kind = reply.error().kind;
        if (kind == E::not_found) {
            co_return std::unexpected(
                HarvestFailure{Kind::container_vanished, reply.error(), reply.error().message});
        }
        // A dead container has no logs any more, and its archive still answers (measured): go on
        // without.
        if (kind != E::conflict && kind != E::rejected) co_return engine_failure(reply.error());
        logs.out_cut = true;
        logs.err_cut = true;
    }
    logs.out_bytes = sink.written(0);
    logs.err_bytes = sink.written(1);
    logs.out_cut = logs.out_cut || sink.cut(0);
    logs.err_cut = logs.err_cut || sink.cut(1);
    co_return logs;
}

asio::awaitable<std::expected<Harvester::Archive, HarvestFailure>> Harvester::fetch_archive(
    store::RunRecord record, std::string container_id) {
    Archive archive;
    auto raw = spool_.create_file();
    if (!raw) co_return local_failure(raw.error().message);
    const auto& limits = record.run.spec.limits;
    BoundedFileSink sink(raw->fd(), limits.artifact_bytes +
                                        (limits.artifact_files + 1'000) * kTarBytesPerFile +
                                        kTarSlackBytes);
    auto reply = co_await engine_.get_archive(container_id, std::string(kOutputDir), sink);
    if (reply) {
        archive.raw = std::move(*raw);
        co_return archive;
    }
    if (sink.over()) {
        // What came is enough to find the exit record: PID 1's folder is read first or the verdict
        // is the engine's.
        archive.raw = std::move(*raw);
        archive.state = State::over_limit;
        archive.message = fmt::format("output/ holds more than limits.artifact_bytes = {}",
                                      limits.artifact_bytes);
        co_return archive;
    }
    if (reply.error().kind == EngineError::Kind::not_found) {
        // The container or the path: the caller's next look tells which.
        co_return std::unexpected(
            HarvestFailure{Kind::container_vanished, reply.error(), reply.error().message});
    }
    co_return engine_failure(reply.error());
}

}  // namespace mayfly::controller
