#include "tests/sim/alarms.h"

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mayfly::sim {
namespace {

namespace asio = boost::asio;

template <class Handler>
class HandlerResume final : public Waits::Resume {
public:
    HandlerResume(asio::io_context& io, Handler handler) : io_(io), handler_(std::move(handler)) {}
    void operator()() override { asio::post(io_, std::move(handler_)); }

private:
    asio::io_context& io_;
    Handler handler_;
};

asio::awaitable<void> suspend(Waits& waits, std::int64_t delay_ms, std::int64_t& id) {
    auto initiate = [&waits, delay_ms, &id](auto handler) {
        using Handler = decltype(handler);
        id = waits.add(delay_ms,
                       std::make_unique<HandlerResume<Handler>>(waits.io(), std::move(handler)));
    };
    return asio::async_initiate<const asio::use_awaitable_t<>, void()>(std::move(initiate),
                                                                       asio::use_awaitable);
}

class WorldAlarm final : public controller::Alarm {
public:
    explicit WorldAlarm(Waits& waits) : waits_(waits) {}

    asio::awaitable<void> wait(std::int64_t delay_ms) override {
        if (!rung_) {
            waiting_ = true;
            co_await suspend(waits_, delay_ms, id_);
            waiting_ = false;
        }
        rung_ = false;
    }

    void ring() override {
        rung_ = true;
        if (waiting_) waits_.ring(id_);
    }

private:
    Waits& waits_;
    std::int64_t id_ = 0;
    bool waiting_ = false;
    bool rung_ = false;
};

}  // namespace

std::int64_t Waits::add(std::int64_t delay_ms, std::unique_ptr<Resume> resume) {
    const auto id = ++last_;
    waiting_.emplace(id, std::move(resume));
    if (delay_ms >= 0) {
        world_.after(delay_ms, [alive = std::weak_ptr(self_), id] {
            if (const auto self = alive.lock()) (*self)->ring(id);
        });
    }
    return id;
}

void Waits::ring(std::int64_t id) {
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) return;
    const auto resume = std::move(found->second);
    waiting_.erase(found);
    (*resume)();
}

void Waits::drop() {
    while (!waiting_.empty()) {
        // Its frame may hold alarms, whose destructors must find a whole map.
        const auto resume = std::move(waiting_.begin()->second);
        waiting_.erase(waiting_.begin());
    }
}

asio::awaitable<void> let_pass(Waits& waits, std::int64_t delay_ms) {
    std::int64_t id = 0;
    co_await suspend(waits, delay_ms, id);
}

std::unique_ptr<controller::Alarm> WorldAlarms::make() {
    return std::make_unique<WorldAlarm>(waits_);
}

}  // namespace mayfly::sim
