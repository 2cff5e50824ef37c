#include "controller/alarm.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

namespace mayfly::controller {
namespace asio = boost::asio;
namespace {

class TimerAlarm final : public Alarm {
public:
    explicit TimerAlarm(const asio::any_io_executor& executor) : timer_(executor) {}

    asio::awaitable<void> wait(std::int64_t delay_ms) override {
        if (rung_) {
            rung_ = false;
            co_return;
        }
        if (delay_ms < 0) {
            timer_.expires_at(asio::steady_timer::time_point::max());
        } else {
            timer_.expires_after(std::chrono::milliseconds(delay_ms));
        }
        waiting_ = true;
        co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        waiting_ = false;
        rung_ = false;
    }

    void ring() override {
        rung_ = true;
        if (waiting_) timer_.cancel();
    }

private:
    asio::steady_timer timer_;
    bool waiting_ = false;
    bool rung_ = false;
};

class TimerAlarms final : public Alarms {
public:
    explicit TimerAlarms(asio::any_io_executor executor) : executor_(std::move(executor)) {}
    std::unique_ptr<Alarm> make() override { return std::make_unique<TimerAlarm>(executor_); }

private:
    asio::any_io_executor executor_;
};

}  // namespace

std::unique_ptr<Alarms> system_alarms(asio::any_io_executor executor) {
    return std::make_unique<TimerAlarms>(std::move(executor));
}

}  // namespace mayfly::controller
