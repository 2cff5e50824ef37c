// Waiting on virtual time. A waiting coroutine hangs in its Waits, so that the death of a process
// can drop all of them, whatever they hold.
#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>

#include "controller/alarm.h"
#include "tests/sim/world.h"

namespace mayfly::sim {

// Suspended coroutines of one process that wait for time or for a ring.
class Waits {
public:
    Waits(World& world, boost::asio::io_context& io) : world_(world), io_(io) {}
    ~Waits() { drop(); }
    Waits(const Waits&) = delete;
    Waits& operator=(const Waits&) = delete;

    class Resume {
    public:
        virtual ~Resume() = default;
        virtual void operator()() = 0;
    };
    // Resumes at home after `delay_ms` (negative: only by ring).
    std::int64_t add(std::int64_t delay_ms, std::unique_ptr<Resume> resume);
    void ring(std::int64_t id);
    // The process is dead: its frames go, and nothing resumes.
    void drop();
    [[nodiscard]] bool waiting(std::int64_t id) const { return waiting_.contains(id); }

    World& world() { return world_; }
    boost::asio::io_context& io() { return io_; }

private:
    World& world_;
    boost::asio::io_context& io_;
    std::int64_t last_ = 0;
    std::map<std::int64_t, std::unique_ptr<Resume>> waiting_;
    std::shared_ptr<Waits*> self_ = std::make_shared<Waits*>(this);
};

// Returns after `delay_ms` of virtual time.
boost::asio::awaitable<void> let_pass(Waits& waits, std::int64_t delay_ms);

class WorldAlarms final : public controller::Alarms {
public:
    explicit WorldAlarms(Waits& waits) : waits_(waits) {}
    [[nodiscard]] std::unique_ptr<controller::Alarm> make() override;

private:
    Waits& waits_;
};

}  // namespace mayfly::sim
