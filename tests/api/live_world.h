// The controller's half of what is live, as a test plays it: what the engine printed so far, and
// what the controller thinks of a run.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <map>
#include <set>
#include <string>

#include "store/explanation.h"
#include "store/live_log.h"

namespace mayfly::api {

class FakeExplainer final : public store::Explainer {
public:
    [[nodiscard]] std::optional<store::Explanation> explain(
        const std::string& run_id) const override {
        const auto found = known.find(run_id);
        if (found == known.end()) return std::nullopt;
        return found->second;
    }
    std::map<std::string, store::Explanation> known;
};

// One live log for all runs. Everything on the loop's thread.
class FakeLiveLogs final : public store::LiveLogs {
public:
    explicit FakeLiveLogs(boost::asio::io_context& io) : io_(io) {}

    void print(store::LogStream stream, std::string bytes) {
        auto& offset = offsets_[static_cast<std::size_t>(stream)];
        chunks_.push_back({stream, offset, bytes});
        offset += std::ssize(bytes);
        wake();
    }
    void end(std::string error = {}) {
        ended_ = true;
        error_ = std::move(error);
        wake();
    }
    void begin_anew() {
        ended_ = false;
        error_.clear();
    }

    store::Result<std::unique_ptr<store::LiveLog>> open(const store::RunRecord&) override {
        if (refuse) return std::unexpected(*refuse);
        ++opened;
        return std::make_unique<Follower>(*this);
    }

    std::optional<store::Error> refuse;
    int opened = 0;

private:
    class Follower final : public store::LiveLog {
    public:
        explicit Follower(FakeLiveLogs& logs) : logs_(logs), timer_(logs.io_) {
            logs_.timers_.insert(&timer_);
        }
        ~Follower() override { logs_.timers_.erase(&timer_); }
        boost::asio::awaitable<store::LogNews> next(std::int64_t timeout_ms) override {
            if (at_ == logs_.chunks_.size() && !logs_.ended_) {
                timer_.expires_after(std::chrono::milliseconds(timeout_ms));
                boost::system::error_code woken;
                co_await timer_.async_wait(
                    boost::asio::redirect_error(boost::asio::use_awaitable, woken));
            }
            store::LogNews news;
            if (at_ < logs_.chunks_.size()) {
                news.chunks.push_back(logs_.chunks_[at_++]);
            } else {
                news.ended = logs_.ended_;
                news.error = logs_.error_;
            }
            co_return news;
        }

    private:
        FakeLiveLogs& logs_;
        boost::asio::steady_timer timer_;
        std::size_t at_ = 0;
    };

    void wake() {
        for (auto* timer : timers_) timer->cancel();
    }

    boost::asio::io_context& io_;
    std::vector<store::LogChunk> chunks_;
    std::int64_t offsets_[2] = {0, 0};
    bool ended_ = false;
    std::string error_;
    std::set<boost::asio::steady_timer*> timers_;
};

}  // namespace mayfly::api
