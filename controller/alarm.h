// Waiting as an interface: the daemon's is a steady timer, the simulator's runs on virtual time.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <memory>

namespace mayfly::controller {

// One waiter at a time. ring() ends the wait under way, or, if there is none, the next one at
// once.
class Alarm {
public:
    virtual ~Alarm() = default;
    // Returns after `delay_ms`, or when it was rung. Negative = only when rung.
    virtual boost::asio::awaitable<void> wait(std::int64_t delay_ms) = 0;
    virtual void ring() = 0;
};

class Alarms {
public:
    virtual ~Alarms() = default;
    [[nodiscard]] virtual std::unique_ptr<Alarm> make() = 0;
};

// On steady timers of `executor`.
[[nodiscard]] std::unique_ptr<Alarms> system_alarms(boost::asio::any_io_executor executor);

}  // namespace mayfly::controller
