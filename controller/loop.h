// The reconcile loop: keys in, one step at a time per key, until nothing is left to do.
//
// A step of one key:
//   1 look: fill an Observation from the record, the evidence and the grants
//   2 plan(): choose one action                      (no suspension between 1 and 2)
//   3 nothing to do -> come again at the time it names, or when something changes
//   4 a commit -> the store; the committed record is the new truth
//   5 an engine action -> a work slot, one call, fold what was learned
//   6 go to 1; after an error, come again with backoff
//
// Keys are added by: the store's changes (the API wrote), the engine's events (wake-ups only), the
// periodic resync (one list call for all runs; never a proof of absence), admission (a slot is
// free), images (prepared), time.
//
// One thread, one io_context; it owns all state here. The queue is the only shared thing, and a
// key in it says nothing but "look".
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "controller/alarm.h"
#include "controller/apply.h"
#include "controller/engine/engine.h"
#include "controller/images.h"
#include "controller/live.h"
#include "controller/slots.h"
#include "controller/work_queue.h"
#include "metrics/families.h"
#include "store/data_dir.h"
#include "store/explanation.h"
#include "store/live_status.h"
#include "store/store.h"

namespace mayfly::controller {

struct LoopSettings {
    PlanSettings plan;
    ImageSettings images;
    AdmissionLimits admission;
    std::int64_t engine_work_slots = 4;
    BackoffPolicy step_backoff{100, 15'000};
    BackoffPolicy engine_backoff{200, 5'000};
    std::int64_t ping_every_ms = 10'000;
    std::int64_t resync_every_ms = 15'000;
};

// Everything the loop stands on; all must outlive it.
struct LoopWorld {
    boost::asio::any_io_executor executor;  // the loop's
    boost::asio::any_io_executor pool;      // blocking disk and hash work
    store::Store& store;
    const store::DataDir& spool;
    Engine& engine;
    Alarms& alarms;
    store::Clock& clock;
    store::Random& random;
    metrics::Families& families;
    store::LiveStatus& live_status;
};

class Loop final : public store::Explainer {
public:
    Loop(LoopWorld world, LoopSettings settings);
    ~Loop() override;
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // Reads every unfinished run, then runs until stop(). Returns when nothing of it is under way
    // any more. An error is the store's, and the end of the process.
    boost::asio::awaitable<store::Result<void>> run();
    // Take nothing new; let the steps under way end. Containers go on running: the next process
    // adopts them.
    void stop();

    // Admission is held (the disk is low): queued runs stay queued, with this reason.
    void hold_admission(bool held, std::string message);
    // True once all unfinished runs were read and the engine was listed at least once.
    [[nodiscard]] bool has_resynced() const { return has_resynced_; }
    [[nodiscard]] bool engine_up() const { return engine_up_; }

    // For the sweep: what is under way on the engine, by run id.
    [[nodiscard]] const std::unordered_map<std::string, LivePtr>& live() const { return live_; }
    [[nodiscard]] ImageCache& images() { return images_; }

    [[nodiscard]] std::optional<store::Explanation> explain(
        const std::string& run_id) const override;

    // Called on the loop's thread with each finished step: tests and traces.
    void on_step(std::function<void(const Live&, std::string_view action)> observer) {
        observer_ = std::move(observer);
    }

private:
    boost::asio::awaitable<void> dispatch();
    boost::asio::awaitable<void> drive(std::string key);
    boost::asio::awaitable<bool> commit(store::Mutation mutation, LivePtr live);
    boost::asio::awaitable<void> purge(std::string key);
    boost::asio::awaitable<void> watch_engine();
    boost::asio::awaitable<void> watch_events();
    boost::asio::awaitable<bool> resync();
    boost::asio::awaitable<void> resync_now();

    // `image` is lent to the observation.
    [[nodiscard]] Observation look(const Live& live, const ImageEvidence& image) const;
    [[nodiscard]] Action look_and_plan(const Live& live);
    [[nodiscard]] std::int64_t place_of(const std::string& key) const;
    bool settle(const std::string& key, const LivePtr& live, const Action& action);
    void fold_commit(const store::Mutation& mutation, Live& live);
    void fold_listed(const std::string& key, Live& live, const ContainerSummary* found);
    static void log_step(const Live& live);
    static void log_change(const store::Mutation& mutation, Live& live, double commit_ms);
    void after_failure(const std::string& key, Live& live, const StepOutcome& outcome);
    void on_store_change(const store::RunRecord& record);
    void on_engine_event(const EngineEvent& event);
    void on_image_change(const std::string& reference);
    void index(const std::string& key, const Live& live);
    void admit();
    [[nodiscard]] Usage usage() const;
    void wake(const std::string& key);
    void wake_all();
    void need_admission();
    void set_engine_up(const EngineFacts& facts);
    void set_engine_down(const EngineError& error);
    void suspect_engine();
    void give_back(const std::string& key);
    void publish_status();
    void refresh_metrics();
    void finished_metrics(const store::Run& run);

    LoopWorld world_;
    LoopSettings settings_;
    ImageCache images_;
    Harvester harvester_;
    Applier applier_;

    std::unordered_map<std::string, LivePtr> live_;
    // Index of live_: who waits for admission (by priority, age), who has an open or uncollected
    // attempt.
    std::set<std::tuple<std::int64_t, store::UnixMs, std::string>> queued_;
    std::unordered_map<std::string, std::tuple<std::int64_t, store::UnixMs, std::string>>
        queued_at_;
    std::set<std::string> active_;

    std::unordered_map<std::string, std::int64_t> driven_since_us_;  // reconciles under way

    WorkQueue queue_;
    WorkSlots slots_;
    std::unique_ptr<Alarm> dispatch_alarm_;
    std::unique_ptr<Alarm> engine_alarm_;
    std::unique_ptr<Alarm> events_alarm_;
    bool admission_due_ = true;
    bool admission_held_ = false;
    std::string admission_message_;

    bool engine_up_ = false;
    bool engine_reachable_ = false;
    std::string engine_error_ = "not connected yet";
    EngineFacts engine_facts_;
    std::int64_t engine_failures_ = 0;
    bool has_resynced_ = false;
    bool resync_running_ = false;
    bool resync_again_ = false;
    std::int64_t resync_due_ms_ = 0;

    bool stopping_ = false;
    std::int64_t under_way_ = 0;  // coroutines of ours besides run()
    std::unique_ptr<Alarm> idle_alarm_;
    std::optional<store::Error> store_failure_;
    std::function<void(const Live&, std::string_view)> observer_;
};

}  // namespace mayfly::controller
