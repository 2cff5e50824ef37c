#include "api/log_follow.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "api/stream_life.h"

namespace mayfly::api {
namespace {

using store::LogChunk;
using store::LogStream;
using store::Phase;

constexpr std::size_t kPieceBytes = 64 << 10;

}  // namespace

LogFollow::LogFollow(const World& world, store::RunRecord record, std::optional<LogStream> only,
                     LogPlace place)
    : world_(world),
      record_(std::move(record)),
      only_(only),
      place_(place),
      refreshed_us_(world.clock.steady_us()) {
    if (place_.attempt == 0) place_.attempt = record_.run.status.attempt;
}

Answer<void> LogFollow::open() {
    if (live_ || live_over_ || record_.run.status.phase != Phase::running) return {};
    auto opened = world_.live_logs.open(record_);
    if (opened) {
        live_ = std::move(*opened);
        return {};
    }
    open_again_us_ = world_.clock.steady_us() + kStreamSliceMs * 1'000;
    if (opened.error().kind != store::ErrorKind::full) return {};
    Problem problem{ProblemType::overloaded, opened.error().message + "; try again later."};
    problem.headers.emplace_back("Retry-After", "5");
    return std::unexpected(std::move(problem));
}

boost::asio::awaitable<bool> LogFollow::refresh(std::int64_t wait_ms) {
    auto newer =
        co_await world_.store.wait_for_change(record_.run.id, record_.run.revision, wait_ms);
    if (!newer || newer->run.delete_requested_ms != 0) co_return false;
    record_ = std::move(*newer);
    refreshed_us_ = world_.clock.steady_us();
    co_return true;
}

// True: what was handed out so far was of another attempt.
bool LogFollow::adopt_attempt() {
    const std::int64_t attempt = record_.run.status.attempt;
    if (attempt == place_.attempt) return false;
    const bool began = place_.attempt != 0 && (place_.out != 0 || place_.err != 0);
    place_ = began ? LogPlace{attempt, 0, 0} : LogPlace{attempt, place_.out, place_.err};
    live_.reset();
    live_over_ = false;
    return began;
}

void LogFollow::take(store::LogNews news, FollowStep& step) {
    for (LogChunk& chunk : news.chunks) {
        if (only_ && chunk.stream != *only_) continue;
        std::int64_t& place = place_of(chunk.stream);
        const std::int64_t end = chunk.offset + std::ssize(chunk.bytes);
        if (end <= place || chunk.offset > place) continue;
        chunk.bytes.erase(0, static_cast<std::size_t>(place - chunk.offset));
        chunk.offset = place;
        place = end;
        step.chunks.push_back(std::move(chunk));
    }
    if (!news.ended) return;
    live_.reset();
    if (news.error.empty()) {
        live_over_ = true;
    } else {
        open_again_us_ = world_.clock.steady_us() + kStreamSliceMs * 1'000;
    }
}

// One piece of the stored log; false when it cannot be read.
bool LogFollow::read_stored(LogStream stream, FollowStep& step) {
    const auto index = static_cast<std::size_t>(stream);
    if (stored_done_[index]) return true;
    if (stored_[index].get() < 0) {
        const auto name = stream == LogStream::out ? store::kStdoutLog : store::kStderrLog;
        auto fd = world_.data_dir.open_file(record_.run.id, name);
        const auto& status = record_.run.status;
        const auto& facts = stream == LogStream::out ? status.stdout_stream : status.stderr_stream;
        if (!fd) {
            stored_done_[index] = true;
            return fd.error().kind == store::ErrorKind::not_found && facts.bytes_kept == 0;
        }
        stored_[index] = OwnedFd(*fd);
    }
    std::string bytes(kPieceBytes, '\0');
    std::int64_t& place = place_of(stream);
    const ssize_t got = ::pread(stored_[index].get(), bytes.data(), bytes.size(), place);
    if (got < 0) return errno == EINTR;
    bytes.resize(static_cast<std::size_t>(got));
    if (got == 0) {
        stored_done_[index] = true;
        return true;
    }
    step.chunks.push_back({stream, place, std::move(bytes)});
    place += got;
    return true;
}

boost::asio::awaitable<FollowStep> LogFollow::next() {
    FollowStep step;
    const std::int64_t age_us = world_.clock.steady_us() - refreshed_us_;
    if (!store::is_terminal(record_.run.status.phase) && age_us > kStreamSliceMs * 1'000) {
        const bool there = co_await refresh(0);
        if (!there) {
            step.failed = true;
            co_return step;
        }
    }
    step.restarted = adopt_attempt();
    if (step.restarted) co_return step;
    if (store::is_terminal(record_.run.status.phase)) {
        live_.reset();
        for (const LogStream stream : {LogStream::out, LogStream::err}) {
            if (only_ && stream != *only_) continue;
            if (!step.chunks.empty()) co_return step;
            step.failed = step.failed || !read_stored(stream, step);
        }
        const auto done = [this](LogStream stream) {
            return (only_ && stream != *only_) || stored_done_[static_cast<std::size_t>(stream)];
        };
        step.whole =
            !step.failed && step.chunks.empty() && done(LogStream::out) && done(LogStream::err);
        co_return step;
    }
    if (!live_ && world_.clock.steady_us() >= open_again_us_) static_cast<void>(open());
    if (live_) {
        auto news = co_await live_->next(kStreamSliceMs);
        take(std::move(news), step);
        co_return step;
    }
    step.failed = !co_await refresh(kStreamSliceMs);
    co_return step;
}

}  // namespace mayfly::api
