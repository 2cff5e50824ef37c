// GET /v1/runs/{id}/logs?follow=1: the bytes of one stream, or both as server-sent events.
#include "api/codec.h"
#include "api/log_follow.h"
#include "api/service.h"
#include "api/stream_life.h"

namespace mayfly::api {
namespace {

using store::LogChunk;
using store::LogStream;

// The bytes of one stream. They end with the body's own end only when they are whole: whoever is
// cut off knows from what he has got where to go on.
class RawLogBody final : public BodyStream {
public:
    RawLogBody(LogFollow follow, StreamLife life)
        : follow_(std::move(follow)), life_(std::move(life)) {}

    boost::asio::awaitable<BodyPiece> next() override {
        while (true) {
            if (life_.over()) co_return BodyPiece{{}, BodyPiece::End::cut};
            FollowStep step = co_await follow_.next();
            if (step.failed || step.restarted) co_return BodyPiece{{}, BodyPiece::End::cut};
            if (step.whole) co_return BodyPiece{{}, BodyPiece::End::whole};
            std::string bytes;
            for (LogChunk& chunk : step.chunks) bytes += chunk.bytes;
            if (!bytes.empty()) co_return BodyPiece{std::move(bytes)};
        }
    }

private:
    LogFollow follow_;
    StreamLife life_;
};

class SseLogBody final : public BodyStream {
public:
    SseLogBody(LogFollow follow, StreamLife life)
        : follow_(std::move(follow)), life_(std::move(life)), sent_(follow_.place()) {}

    boost::asio::awaitable<BodyPiece> next() override {
        while (true) {
            std::string text = status_news();
            if (!text.empty()) {
                life_.spoke();
                co_return BodyPiece{std::move(text)};
            }
            if (life_.over()) co_return BodyPiece{{}, BodyPiece::End::whole};
            FollowStep step = co_await follow_.next();
            if (step.failed) co_return BodyPiece{{}, BodyPiece::End::cut};
            text = status_news() + text_of(step);
            if (step.whole) co_return BodyPiece{text + goodbye(), BodyPiece::End::whole};
            if (!text.empty()) {
                life_.spoke();
                co_return BodyPiece{std::move(text)};
            }
            if (life_.should_speak()) co_return BodyPiece{std::string(kSseKeepAlive)};
        }
    }

private:
    // What a client has not been told yet of where the run is.
    std::string status_news() {
        std::string now = log_status_text(follow_.run());
        if (now == told_status_) return {};
        told_status_ = std::move(now);
        return sse_event("status", "", told_status_);
    }

    std::string text_of(FollowStep& step) {
        std::string text;
        if (step.restarted) {
            held_[0].clear();
            held_[1].clear();
            sent_ = follow_.place();
            text += sse_event("restart", to_text(sent_),
                              "{\"attempt\":" + std::to_string(sent_.attempt) + "}");
        }
        for (const LogChunk& chunk : step.chunks) {
            std::string& held = held_[static_cast<std::size_t>(chunk.stream)];
            held += chunk.bytes;
            text += send(chunk.stream, whole_characters(held));
        }
        return text;
    }

    std::string send(LogStream stream, std::size_t size) {
        std::string& held = held_[static_cast<std::size_t>(stream)];
        if (size == 0) return {};
        std::int64_t& place = stream == LogStream::out ? sent_.out : sent_.err;
        const std::string data =
            log_data(store::to_string(stream), place, std::string_view(held).substr(0, size));
        sent_.attempt = follow_.place().attempt;
        place += static_cast<std::int64_t>(size);
        held.erase(0, size);
        return sse_event("log", to_text(sent_), data);
    }

    std::string goodbye() {
        std::string text = send(LogStream::out, held_[0].size());
        text += send(LogStream::err, held_[1].size());
        return text + sse_event("end", "", log_end_text(follow_.run()));
    }

    LogFollow follow_;
    StreamLife life_;
    LogPlace sent_;
    std::string told_status_;
    std::string held_[2];  // the beginning of a character whose end has not come yet
};

}  // namespace

Answer<StreamLife> Service::begin_stream(const Request& request) {
    if (stopping_ || world_.live.draining) {
        Problem problem{ProblemType::shutting_down, "The service is stopping; try again."};
        problem.headers.emplace_back("Retry-After", "1");
        return std::unexpected(std::move(problem));
    }
    if (*followers_ >= settings_.max_followers) {
        Problem problem{ProblemType::overloaded,
                        "There are " + std::to_string(settings_.max_followers) +
                            " followers already; the operator's limit is --max-followers."};
        problem.headers.emplace_back("Retry-After", "5");
        return std::unexpected(std::move(problem));
    }
    ++*followers_;
    world_.families.set_followers(*followers_);
    const auto give_back = [count = followers_, &families = world_.families](void*) {
        --*count;
        families.set_followers(*count);
    };
    std::shared_ptr<void> place(static_cast<void*>(followers_.get()), give_back);
    return StreamLife(request.client, stopping_, world_.live, world_.clock, std::move(place));
}

Service::Task<Service::Reply> Service::follow(Asked request, store::RunRecord record,
                                              std::optional<LogStream> only, LogPlace place) {
    auto life = begin_stream(*request);
    if (!life) co_return std::unexpected(std::move(life.error()));
    LogFollow log(world_, std::move(record), only, place);
    if (auto opened = log.open(); !opened) co_return std::unexpected(std::move(opened.error()));
    Response response;
    if (only) {
        const bool as_text =
            request->header("accept").value_or("").find("text/plain") != std::string_view::npos;
        response.with("Content-Type",
                      as_text ? "text/plain; charset=utf-8" : "application/octet-stream");
        response.with("Cache-Control", "no-store").with("Vary", "Accept");
        response.with("Content-Security-Policy", "sandbox; default-src 'none'");
        const std::int64_t offset = *only == LogStream::out ? place.out : place.err;
        response.with("Mayfly-Log-Offset", std::to_string(offset));
    } else {
        response = sse_response();
    }
    response.with("Mayfly-Attempt", std::to_string(log.place().attempt));
    if (only) {
        response.stream = std::make_unique<RawLogBody>(std::move(log), std::move(*life));
    } else {
        response.stream = std::make_unique<SseLogBody>(std::move(log), std::move(*life));
    }
    co_return response;
}

}  // namespace mayfly::api
