// The periodic rounds beside the loop: objects on the engine that no plan wants any more (sweep.h
// decides), runs past their TTL, files of no run, and the disk's watermarks. Each round is safe to
// miss and safe to repeat.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>

#include "controller/loop.h"
#include "controller/sweep.h"

namespace mayfly::controller {

struct SweeperSettings {
    SweepSettings sweep;
    std::int64_t sweep_every_ms = 60'000;
    std::int64_t image_sweep_every_ms = 3'600'000;
    std::int64_t leaked_after_ms = 180'000;  // due to be removed for so long: told as leaked
    std::int64_t retention_every_ms = 10'000;
    std::int64_t disk_every_ms = 5'000;
    std::int64_t disk_low_bytes = 1LL << 30;     // under this much free: nothing is admitted
    std::int64_t disk_full_bytes = 256LL << 20;  // under this much free: nothing is accepted
    std::int64_t spool_budget_bytes =
        0;  // all runs together may store this much; 0 = what the disk holds
};

class Sweeper {
public:
    Sweeper(LoopWorld world, Loop& loop, SweeperSettings settings);

    // Until stop().
    boost::asio::awaitable<void> run();
    void stop();

    // One round each; run() calls them, and so do tests.
    boost::asio::awaitable<void> sweep_engine();
    boost::asio::awaitable<void> expire_runs();
    boost::asio::awaitable<void> sweep_spool();
    boost::asio::awaitable<void> check_disk();

private:
    boost::asio::awaitable<std::map<std::string, KnownRun>> known_runs(
        std::vector<OwnedObject> objects);
    boost::asio::awaitable<bool> remove(SweepPlan::Item item);
    boost::asio::awaitable<void> count_runs();
    void count_leaked(const SweepPlan& plan);

    LoopWorld world_;
    Loop& loop_;
    SweeperSettings settings_;
    std::unique_ptr<Alarm> alarm_;
    store::UnixMs sweep_due_ms_ = 0;
    store::UnixMs image_sweep_due_ms_ = 0;
    store::UnixMs retention_due_ms_ = 0;
    std::vector<std::string> folders_at_start_;
    std::map<std::string, store::UnixMs> due_since_ms_;  // objects that a sweep wants gone, by id
    bool stopping_ = false;
};

}  // namespace mayfly::controller
