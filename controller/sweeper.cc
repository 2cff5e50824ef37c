#include "controller/sweeper.h"

#include <fmt/format.h>

#include <algorithm>

#include "metrics/log.h"

namespace mayfly::controller {
namespace asio = boost::asio;
namespace {

constexpr std::int64_t kExpireBatch = 100;
constexpr std::size_t kKnownBatch = 500;

std::string run_of(const OwnedObject& object) {
    const auto found = object.labels.find(std::string(kLabelRun));
    return found == object.labels.end() ? std::string() : found->second;
}

}  // namespace

Sweeper::Sweeper(LoopWorld world, Loop& loop, SweeperSettings settings)
    : world_(world), loop_(loop), settings_(std::move(settings)), alarm_(world_.alarms.make()) {
    if (auto folders = world_.spool.run_folders()) folders_at_start_ = std::move(*folders);
}

void Sweeper::stop() {
    stopping_ = true;
    alarm_->ring();
}

asio::awaitable<void> Sweeper::run() {
    while (!stopping_) {
        const auto now_ms = world_.clock.now_ms();
        co_await check_disk();
        co_await count_runs();
        co_await sweep_spool();
        if (now_ms >= retention_due_ms_) {
            co_await expire_runs();
            retention_due_ms_ = now_ms + settings_.retention_every_ms;
        }
        // Not before the loop has found its own again: what looks like garbage may be a run that
        // was just adopted.
        if (loop_.has_resynced() && loop_.engine_up() && now_ms >= sweep_due_ms_) {
            co_await sweep_engine();
            sweep_due_ms_ = now_ms + settings_.sweep_every_ms;
        }
        if (stopping_) break;
        co_await alarm_->wait(settings_.disk_every_ms);
    }
}

// ----
// the engine

asio::awaitable<std::map<std::string, KnownRun>> Sweeper::known_runs(
    std::vector<OwnedObject> objects) {
    std::map<std::string, KnownRun> known;
    std::vector<std::string> finished;
    for (const auto& object : objects) {
        auto id = run_of(object);
        if (!store::is_run_id(id) || known.contains(id)) continue;
        const auto live = loop_.live().find(id);
        if (live == loop_.live().end()) {
            finished.push_back(std::move(id));
            continue;
        }
        const auto& attempt = live->second->record.attempt;
        const bool open = attempt && attempt->stage < store::Stage::collected;
        known[id] = {attempt ? attempt->number : 0, open};
    }
    if (finished.empty()) co_return known;
    auto rows = co_await world_.store.known(finished);
    if (!rows) co_return known;
    for (const auto& id : *rows) {
        if (loop_.live().contains(id)) continue;
        auto record = co_await world_.store.get(id);
        if (record) known[id] = {record->attempt ? record->attempt->number : 0, false};
    }
    co_return known;
}

asio::awaitable<void> Sweeper::sweep_engine() {
    const auto own = fmt::format("{}={}", kLabelInstance, settings_.sweep.instance_id);
    auto containers = co_await world_.engine.list_containers(own);
    if (!containers) co_return;
    auto volumes = co_await world_.engine.list_volumes(own);
    if (!volumes) co_return;

    std::vector<OwnedObject> objects;
    std::set<std::string> mounted;
    for (const auto& container : *containers) {
        mounted.insert(container.volume_names.begin(), container.volume_names.end());
        objects.push_back({OwnedObject::Kind::container, container.id, container.name,
                           container.labels, container.created_ms, false});
    }
    for (const auto& volume : *volumes) {
        if (volume.driver != "local") continue;
        objects.push_back({OwnedObject::Kind::volume, volume.name, volume.name, volume.labels,
                           volume.created_ms, mounted.contains(volume.name)});
    }
    world_.families.set_owned(metrics::kOwnedContainer,
                              static_cast<std::int64_t>(containers->size()));
    world_.families.set_owned(metrics::kOwnedVolume, static_cast<std::int64_t>(volumes->size()));

    auto known = co_await known_runs(objects);
    auto plan = plan_sweep(objects, known, settings_.sweep, world_.clock.now_ms());
    world_.families.set_orphans(metrics::kOwnedContainer, plan.orphan_containers);
    world_.families.set_orphans(metrics::kOwnedVolume, plan.orphan_volumes);
    count_leaked(plan);
    world_.families.set_sweep_held(plan.held);
    if (plan.held) {
        if (!world_.live_status.sweep_held)
            metrics::log_error("sweep held", {{"why", plan.held_message}});
        world_.families.swept(metrics::kSweepHeld);
    }
    world_.live_status.sweep_held = plan.held;
    world_.live_status.sweep_message = plan.held_message;
    for (auto& item : plan.remove) {
        if (stopping_) co_return;
        const bool is_container = item.object.kind == OwnedObject::Kind::container;
        if (settings_.sweep.dry_run) {
            metrics::log_info("would be swept",
                              {{"object", item.object.name}, {"why", item.reason}});
            world_.families.swept(metrics::kSweepDryRun);
            continue;
        }
        const bool removed = co_await remove(item);
        if (!removed) continue;
        metrics::log_info(
            "swept",
            {{"object", item.object.name}, {"run", run_of(item.object)}, {"why", item.reason}});
        world_.families.swept(is_container ? metrics::kSweepRemoveContainer
                                           : metrics::kSweepRemoveVolume);
    }
    if (world_.clock.now_ms() < image_sweep_due_ms_) co_return;
    image_sweep_due_ms_ = world_.clock.now_ms() + settings_.image_sweep_every_ms;
    const auto images = co_await loop_.images().sweep({});
    if (images.removed > 0) world_.families.swept(metrics::kSweepRemoveImage, images.removed);
    world_.families.set_owned(metrics::kOwnedImage, images.kept);
}

// What is due to go, removed or held back, and was due long ago.
void Sweeper::count_leaked(const SweepPlan& plan) {
    const auto now_ms = world_.clock.now_ms();
    std::map<std::string, store::UnixMs> due;
    std::int64_t containers = 0;
    std::int64_t volumes = 0;
    const auto note = [&](const OwnedObject& object) {
        const auto before = due_since_ms_.find(object.id);
        const auto since_ms = before == due_since_ms_.end() ? now_ms : before->second;
        due.emplace(object.id, since_ms);
        if (now_ms - since_ms < settings_.leaked_after_ms) return;
        ++(object.kind == OwnedObject::Kind::container ? containers : volumes);
    };
    for (const auto& item : plan.remove) note(item.object);
    for (const auto& object : plan.held_back) note(object);
    due_since_ms_ = std::move(due);
    world_.families.set_leaked(metrics::kOwnedContainer, containers);
    world_.families.set_leaked(metrics::kOwnedVolume, volumes);
}

// Looks again, by full id, right before it deletes: the list may be old, and a run may have become
// live meanwhile.
asio::awaitable<bool> Sweeper::remove(SweepPlan::Item item) {
    const auto& object = item.object;
    const auto live = loop_.live().find(run_of(object));
    if (live != loop_.live().end() && live->second->has_open_attempt()) {
        const auto number = std::to_string(live->second->record.attempt->number);
        const auto attempt = object.labels.find(std::string(kLabelAttempt));
        if (attempt != object.labels.end() && attempt->second == number) {
            const auto role = object.labels.find(std::string(kLabelRole));
            if (role == object.labels.end() || role->second == "run") co_return false;
        }
    }
    const auto is_own = [this](const std::map<std::string, std::string>& labels) {
        const auto found = labels.find(std::string(kLabelInstance));
        return found != labels.end() && found->second == settings_.sweep.instance_id;
    };
    if (object.kind == OwnedObject::Kind::container) {
        auto facts = co_await world_.engine.inspect_container(object.id);
        if (!facts || facts->id != object.id || !is_own(facts->labels)) co_return false;
        auto removed = co_await world_.engine.remove_container(object.id, true);
        co_return removed.has_value();
    }
    auto facts = co_await world_.engine.inspect_volume(object.id);
    if (!facts || facts->driver != "local" || !is_own(facts->labels)) co_return false;
    auto removed = co_await world_.engine.remove_volume(object.id);
    co_return removed.has_value();
}

// ----
// what is kept

asio::awaitable<void> Sweeper::expire_runs() {
    auto expired = co_await world_.store.expired(world_.clock.now_ms(), kExpireBatch);
    if (!expired) co_return;
    for (const auto& id : *expired) {
        if (stopping_) co_return;
        auto removed = world_.spool.remove_run(id);
        if (!removed) {
            metrics::log_error("expired, but its files cannot be removed",
                               {{"run", id}, {"error", removed.error().message}});
            continue;
        }
        auto purged = co_await world_.store.purge(id);
        if (purged) world_.families.swept(metrics::kSweepExpireRun);
    }
    // A full batch means that there are more.
    if (std::ssize(*expired) == kExpireBatch) retention_due_ms_ = 0;
}

// Folders that no row knows: a crash between publishing the inputs and the COMMIT. Only those that
// were there when this process began: a submission of now has its folder before its row.
asio::awaitable<void> Sweeper::sweep_spool() {
    while (!folders_at_start_.empty() && !stopping_) {
        const auto count = std::min(folders_at_start_.size(), kKnownBatch);
        std::vector<std::string> batch(
            folders_at_start_.end() - static_cast<std::ptrdiff_t>(count), folders_at_start_.end());
        auto known = co_await world_.store.known(batch);
        if (!known) co_return;
        const std::set<std::string> rows(known->begin(), known->end());
        for (const auto& id : batch) {
            if (rows.contains(id)) continue;
            auto removed = world_.spool.remove_run(id);
            if (!removed) continue;
            metrics::log_info("files of no run removed", {{"run", id}});
            world_.families.swept(metrics::kSweepRemoveFiles);
        }
        folders_at_start_.resize(folders_at_start_.size() - count);
    }
}

asio::awaitable<void> Sweeper::check_disk() {
    auto space = world_.spool.disk_space();
    auto stored = co_await world_.store.stored_bytes();
    auto database = co_await world_.store.database_bytes();
    if (stored) world_.families.set_spool_bytes(*stored);
    if (database) world_.families.set_database_bytes(*database);
    if (!space) co_return;
    world_.families.set_disk(space->free_bytes, settings_.disk_low_bytes,
                             settings_.disk_full_bytes);
    auto& status = world_.live_status;
    const bool over_budget =
        settings_.spool_budget_bytes > 0 && stored && *stored > settings_.spool_budget_bytes;
    // A tenth of hysteresis, so that it does not flap at the mark.
    const auto low_mark =
        settings_.disk_low_bytes + (status.disk_low ? settings_.disk_low_bytes / 10 : 0);
    const bool low = space->free_bytes < low_mark || over_budget;
    const bool full = space->free_bytes < settings_.disk_full_bytes;
    std::string message;
    if (over_budget) {
        message = fmt::format(
            "stored runs hold {} bytes, over the budget of {}; delete runs or raise "
            "spool-budget-bytes",
            *stored, settings_.spool_budget_bytes);
    } else if (low) {
        message =
            "the data directory's disk is nearly full; free space, delete runs, or shorten their "
            "ttl_s";
    }
    if (low != status.disk_low) {
        metrics::log(low ? metrics::LogLevel::error : metrics::LogLevel::info,
                     low ? "disk low: nothing is admitted" : "disk well again",
                     {{"free_bytes", space->free_bytes}, {"why", message}});
    }
    status.disk_low = low;
    status.disk_full = full || over_budget;
    status.disk_free_bytes = space->free_bytes;
    status.disk_low_bytes = settings_.disk_low_bytes;
    status.disk_full_bytes = settings_.disk_full_bytes;
    status.disk_message = message;
    loop_.hold_admission(low, message);
}

asio::awaitable<void> Sweeper::count_runs() {
    auto counts = co_await world_.store.counts();
    if (!counts) co_return;
    for (std::size_t i = 0; i < store::kPhaseCount; ++i) {
        world_.families.set_runs(store::to_string(static_cast<store::Phase>(i)), counts->count[i]);
    }
    const auto age_ms =
        counts->oldest_queued_ms == 0 ? 0 : world_.clock.now_ms() - counts->oldest_queued_ms;
    world_.families.set_oldest_queued_seconds(
        static_cast<double>(std::max<std::int64_t>(0, age_ms)) / 1'000.0);
}

}  // namespace mayfly::controller
