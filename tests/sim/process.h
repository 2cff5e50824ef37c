// One life of the controller: everything that mayflyd is made of but its sockets, on a simulated
// machine. Destroying it is kill -9.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>

#include "controller/loop.h"
#include "controller/sweeper.h"
#include "controller/webhook/dispatcher.h"
#include "store/store.h"
#include "tests/sim/job.h"
#include "tests/sim/oracle.h"
#include "tests/sim/receivers.h"
#include "tests/sim/sim_engine.h"

namespace mayfly::sim {

struct ProcessSettings {
    controller::LoopSettings loop;
    controller::SweeperSettings sweeper;
    controller::webhook::DispatcherSettings webhooks;
};

class Process {
public:
    Process(World& world, DiskState& disk, DockerModel& model, Faults& faults, Oracle& oracle,
            Receivers& receivers, ProcessSettings settings, LifePtr life);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    // False: it could not start; why() says it.
    [[nodiscard]] bool start();
    [[nodiscard]] const std::string& why() const { return why_; }
    // Runs one thing that is ready. False: nothing is.
    bool poll();
    [[nodiscard]] const LifePtr& life() const { return life_; }
    // SIGTERM: it ends by itself soon.
    void stop();
    [[nodiscard]] bool ended() const { return ended_; }
    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] bool engine_up() const { return loop_ && loop_->engine_up(); }

    // The client's requests, as the API's handlers carry them out.
    void submit(Job& job);
    void cancel(Job& job);
    void remove(Job& job);

    [[nodiscard]] const SimEngine& engine() const { return *engine_; }
    // Of webhooks, as its reader of the events saw it last.
    [[nodiscard]] std::int64_t pending_deliveries() const { return pending_deliveries_; }

private:
    boost::asio::awaitable<void> serve();
    boost::asio::awaitable<void> read_events();
    boost::asio::awaitable<void> submitting(Job& job, bool other_body);
    boost::asio::awaitable<void> cancelling(Job& job);
    boost::asio::awaitable<void> removing(Job& job);
    void watch(const controller::Live& live, std::string_view action);

    World& world_;
    DiskState& disk_state_;
    DockerModel& model_;
    Oracle& oracle_;
    ProcessSettings settings_;
    LifePtr life_;
    SimDisk disk_;
    WorldClock clock_;
    WorldRandom random_;
    std::unique_ptr<boost::asio::io_context> io_;
    std::unique_ptr<Waits> waits_;
    std::unique_ptr<WorldAlarms> alarms_;
    std::unique_ptr<SimEngine> engine_;
    std::unique_ptr<SimSender> sender_;
    std::optional<store::DataDir> data_dir_;
    std::unique_ptr<store::Store> store_;
    store::LiveStatus live_status_;
    std::unique_ptr<controller::Loop> loop_;
    std::unique_ptr<controller::Sweeper> sweeper_;
    std::unique_ptr<controller::webhook::Dispatcher> dispatcher_;
    std::unique_ptr<controller::Alarm> reader_alarm_;
    std::int64_t pending_deliveries_ = 0;
    std::string why_;
    bool ended_ = false;
    bool failed_ = false;
};

}  // namespace mayfly::sim
