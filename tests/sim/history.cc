#include "tests/sim/history.h"

#include <sqlite3.h>

#include <algorithm>

#include "tests/sim/planted.h"
#include "tests/sim/vfs.h"

namespace mayfly::sim {
namespace {

using store::Phase;
using store::Stage;
using Kind = Act::Kind;

constexpr std::int64_t kSafetyMaxMs = 20 * 60'000;
constexpr std::int64_t kLivenessMaxMs = 90 * 60'000;
constexpr std::int64_t kClientRetryMs = 200;
constexpr std::int64_t kRestartMs = 50;
constexpr std::int64_t kTickMs = 15'000;
// At rest there are about 20; a run whose every second call fails comes to 100.
constexpr std::int64_t kCallsPerMinuteMax = 250;
constexpr std::int64_t kCallsPerMinuteMaxOfARun = 100;

constexpr std::string_view kActNames[] = {
    "submit",       "cancel",         "remove",        "crash",       "power loss",
    "restart",      "engine kill",    "engine stop",   "engine hang", "admin remove",
    "admin kill",   "admin stop",     "admin start",   "admin prune", "admin remove volume",
    "foreign name", "foreign labels", "remove images", "disk low",    "second daemon",
    "orphan",       "foreign mount",  "admin run",
};
static_assert(std::size(kActNames) == kActCount);

class History {
public:
    History(const Recipe& recipe, bool trace)
        : recipe_(recipe),
          world_(recipe.seed, trace),
          disk_(world_),
          model_(world_),
          faults_(world_, !recipe.faults),
          receivers_(world_),
          oracle_(world_, disk_, model_, receivers_,
                  {.max_running = recipe.max_running,
                   .orphan_grace_ms = settings().sweeper.sweep.grace_ms,
                   .nothing_may_be_lost = recipe.nothing_may_be_lost,
                   .calls_are_whole = !recipe.faults}),
          jobs_(recipe.jobs) {}

    Outcome play();

private:
    [[nodiscard]] ProcessSettings settings() const;
    void prepare_world();
    [[nodiscard]] std::vector<DockerModel::Image> prepared_images() const;
    void begin_life();
    void end_life();
    void schedule(const Act& act);
    void act(const Act& act);
    void act_on_container(const Act& act);
    void try_second_daemon();
    void add_orphan();
    void mount_by_somebody(const Act& act);
    void serve_clients();
    // Until `done` or `until_ms`. False: time is over.
    template <class Done>
    bool run_until(std::int64_t until_ms, Done done);
    void check_stability();
    void close_and_inspect();
    [[nodiscard]] bool all_answered() const;
    [[nodiscard]] Phase phase_of(const Job& job) const;
    [[nodiscard]] std::int64_t began_ms() const { return began_ms_; }

    const Recipe& recipe_;
    World world_;
    DiskState disk_;
    DockerModel model_;
    Faults faults_;
    Receivers receivers_;
    Oracle oracle_;
    std::vector<Job> jobs_;
    std::vector<const Act*> waiting_;  // for a phase
    std::unique_ptr<Process> process_;
    std::int64_t lives_ = 0;
    UnixMs began_ms_ = 0;
    std::int64_t acts_left_ = 0;
    std::int64_t effects_until_rest_ = 0;
    UnixMs minute_ms_ = 0;
    std::int64_t minute_calls_ = 0;
    bool healing_ = false;
};

ProcessSettings History::settings() const {
    ProcessSettings s;
    s.loop.admission.max_running = recipe_.max_running;
    s.loop.admission.prepare_ahead = recipe_.prepare_ahead;
    s.loop.engine_work_slots = recipe_.engine_work_slots;
    s.loop.ping_every_ms = 20'000;
    s.loop.resync_every_ms = kTickMs;
    s.loop.images.recheck_ms = 120'000;
    s.sweeper.sweep.grace_ms = 60'000;
    s.sweeper.sweep.aside_grace_ms = 30'000;
    s.sweeper.sweep_every_ms = 60'000;
    s.sweeper.disk_every_ms = 60'000;
    s.sweeper.retention_every_ms = 60'000;
    s.webhooks.policy.tries_max = Receivers::kTriesMax;
    s.webhooks.policy.backoff = {2'000, 60'000};
    s.webhooks.parallel = 2;
    return s;
}

// A database as a first start leaves it, so that each history need not make one.
struct Template {
    std::map<std::string, std::shared_ptr<DiskState::Table>> tables;
};

const std::vector<DockerModel::Image>& ready_images();

const Template& template_database() {
    static const Template made = [] {
        World world(0, false);
        DiskState disk(world);
        auto life = std::make_shared<Life>();
        disk.life = life;
        disk.names["/"] = nullptr;
        disk.names["/data"] = nullptr;
        mount_vfs(&disk);
        SimDisk sim(disk, life);
        {
            auto database = store::Database::open("/data/mayfly.db", sim, kVfsName);
            if (!database) std::abort();
        }
        return Template{disk.tables};
    }();
    return made;
}

void History::prepare_world() {
    // SQLite's own generator is the process's: told anew for each history.
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, static_cast<int>(recipe_.seed % 100'000 + 1),
                         nullptr);
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_RESET);
    for (const auto* folder : {"/", "/data"}) {
        disk_.names[folder] = nullptr;
        disk_.durable[folder] = nullptr;
    }
    if (!recipe_.fresh_database) {
        for (const auto& [path, table] : template_database().tables) {
            disk_.tables[path] = std::make_shared<DiskState::Table>(*table);
            disk_.tables[path]->durable = table->bytes;
            disk_.tables[path]->unsynced.clear();
        }
    }
    model_.add_base_image(kImageLocal, true, false);
    model_.add_base_image(kImageRemote, false, false);
    model_.add_base_image(kImageUnfit, true, true);
    model_.set_live_restore(recipe_.live_restore);
    if (recipe_.image_ready && !recipe_.fresh_database) {
        for (const auto& image : ready_images()) model_.images[image.id] = image;
    }
    model_.ignores_claim = planted("init_takes_no_claim");
    model_.on_execution = [this](const Execution& execution) { oracle_.begins(execution); };
    model_.inputs_match = [this](const std::string& run_id, const std::string& bytes) {
        return oracle_.inputs_match(run_id, bytes);
    };
    // Always there, near to ours, and never ours.
    model_.add_foreign("mayfly", {});
    model_.add_foreign_volume("mayfly-volume", {});
    model_.add_foreign("mayfly-01-1", {{std::string(controller::kLabelInstance), "other"},
                                       {std::string(controller::kLabelRole), "run"},
                                       {std::string(controller::kLabelRun), "x"}});
    if (recipe_.faults) faults_.draw_swarm();
    if (recipe_.allowed_faults) faults_.allow_only(*recipe_.allowed_faults);
    world_.crash_at(recipe_.crashes);
    for (const auto& job : jobs_) {
        oracle_.expect(job);
        receivers_.expect(job);
    }
    began_ms_ = world_.now_ms();
    minute_ms_ = began_ms_;
    acts_left_ = std::ssize(recipe_.acts);
    for (const auto& act : recipe_.acts) schedule(act);
}

// What an earlier life of the template's database left on the engine.
const std::vector<DockerModel::Image>& ready_images() {
    static const auto images = [] {
        Recipe recipe;
        recipe.jobs.emplace_back();
        recipe.acts.push_back({.kind = Kind::submit, .at_ms = 1, .job = 0});
        return play(recipe).prepared;
    }();
    return images;
}

std::vector<DockerModel::Image> History::prepared_images() const {
    std::vector<DockerModel::Image> images;
    for (const auto& [id, image] : model_.images) {
        if (!image.labels.contains(std::string(controller::kImageLabelBase))) continue;
        images.push_back(image);
        images.back().id = "sha256:made-before";
    }
    return images;
}

// ---- lives

void History::begin_life() {
    auto life = std::make_shared<Life>();
    life->number = ++lives_;
    process_ = std::make_unique<Process>(world_, disk_, model_, faults_, oracle_, receivers_,
                                         settings(), life);
    if (process_->start()) {
        world_.trace("process {} starts", life->number);
        return;
    }
    if (life->alive) {
        world_.violate("I18", "the controller cannot start: " + process_->why());
        life->alive = false;
    }
}

// It is dead, or has ended: what remains of it goes, and another one comes.
void History::end_life() {
    const bool power = process_->life()->power_lost && !process_->life()->alive;
    process_.reset();
    if (power) {
        disk_.power_loss();
        oracle_.power_was_lost();
        model_.power_loss();
        world_.after(kRestartMs, [this] { model_.start_engine(); });
    }
    world_.after(kRestartMs, [this] {
        if (!process_) begin_life();
    });
}

template <class Done>
bool History::run_until(std::int64_t until_ms, Done done) {
    while (!world_.violated()) {
        if (process_ && (!process_->life()->alive || process_->ended())) {
            end_life();
            continue;
        }
        if (process_ && process_->poll()) continue;
        if (done()) return true;
        if (process_) serve_clients();
        if (process_ && process_->poll()) continue;
        if (!world_.advance(until_ms)) return done();
        if (process_ && world_.now_ms() - minute_ms_ > 60'000) {
            const auto allowed =
                kCallsPerMinuteMax + kCallsPerMinuteMaxOfARun * std::ssize(recipe_.jobs);
            if (process_->engine().calls() - minute_calls_ > allowed) {
                world_.violate("I22", fmt::format("{} engine calls in a minute",
                                                  process_->engine().calls() - minute_calls_));
            }
            minute_ms_ = world_.now_ms();
            minute_calls_ = process_->engine().calls();
        }
        if (process_ && process_->engine().calls() < minute_calls_) minute_calls_ = 0;
    }
    return false;
}

// ---- clients

Phase History::phase_of(const Job& job) const {
    const auto found = oracle_.records().find(job.run_id);
    return found == oracle_.records().end() ? Phase::queued : found->second.run.status.phase;
}

void History::serve_clients() {
    for (auto it = waiting_.begin(); it != waiting_.end();) {
        const auto& act = **it;
        const auto& job = jobs_[static_cast<std::size_t>(act.job)];
        const bool there = !job.run_id.empty() && phase_of(job) >= act.phase;
        if (!there) {
            ++it;
            continue;
        }
        it = waiting_.erase(it);
        world_.after(act.at_ms, [this, &act] { this->act(act); });
    }
}

bool History::all_answered() const {
    return waiting_.empty() && std::ranges::all_of(jobs_, [this](const Job& job) {
               const bool is_submitted = std::ranges::any_of(recipe_.acts, [&job](const Act& act) {
                   return act.kind == Kind::submit && act.job == job.number;
               });
               if (!is_submitted) return true;
               if (job.run_id.empty()) return false;
               if (job.cancel_wanted && !job.cancel_answered) return false;
               return !job.delete_wanted || job.delete_answered ||
                      !oracle_.records().contains(job.run_id);
           });
}

// ---- acts

void History::schedule(const Act& act) {
    if (act.when_phase) {
        waiting_.push_back(&act);
        return;
    }
    world_.at(began_ms_ + act.at_ms, [this, &act] { this->act(act); });
}

void History::act(const Act& act) {
    --acts_left_;
    const bool of_client = act.kind <= Kind::remove;
    if (healing_ && !of_client) return;
    auto* job = act.job < 0 ? nullptr : &jobs_[static_cast<std::size_t>(act.job)];
    // A client that hears nothing tries again.
    const auto again = [this, &act] {
        ++acts_left_;
        world_.after(kClientRetryMs, [this, &act] { this->act(act); });
    };
    const bool served = process_ && process_->life()->alive && !process_->ended();
    switch (act.kind) {
        case Kind::submit:
            if (!job->run_id.empty()) return;
            if (served) process_->submit(*job);
            return again();
        case Kind::cancel:
            job->cancel_wanted = true;
            if (job->cancel_answered) return;
            if (served && !job->run_id.empty()) process_->cancel(*job);
            return again();
        case Kind::remove:
            job->delete_wanted = true;
            if (job->delete_answered) return;
            if (served && store::is_terminal(phase_of(*job))) process_->remove(*job);
            if (store::is_terminal(phase_of(*job)) && !oracle_.records().contains(job->run_id)) {
                return;
            }
            return again();
        default:
            break;
    }
    world_.trace("act: {}", to_string(act));
    world_.probe("act: " + std::string(kActNames[static_cast<std::size_t>(act.kind)]));
    switch (act.kind) {
        case Kind::crash:
            if (process_) world_.kill(process_->life(), false, "by an act");
            break;
        case Kind::power_loss:
            if (process_) world_.kill(process_->life(), true, "by an act");
            break;
        case Kind::restart:
            if (served) process_->stop();
            break;
        case Kind::engine_kill:
        case Kind::engine_stop:
            model_.stop(act.kind == Kind::engine_stop);
            world_.after(act.duration_ms, [this] { model_.start_engine(); });
            break;
        case Kind::engine_hang:
            model_.hang(true);
            world_.after(act.duration_ms, [this] { model_.hang(false); });
            break;
        case Kind::admin_prune:
            if (model_.health() != DockerModel::Health::up) break;
            oracle_.disturbed("");
            model_.prune();
            break;
        case Kind::foreign_name:
            if (!job->run_id.empty()) {
                model_.add_foreign(fmt::format("mayfly-{}-1", job->run_id), {});
            }
            break;
        case Kind::foreign_labels:
            for (const auto& [id, container] : model_.containers) {
                auto labels = container.labels;
                if (!labels.contains(std::string(controller::kLabelNonce))) continue;
                labels[std::string(controller::kLabelInstance)] = "other";
                model_.add_foreign(container.name + "-copy", labels);
                break;
            }
            break;
        case Kind::remove_images:
            std::erase_if(model_.images, [this](const auto& item) {
                return std::ranges::none_of(model_.containers, [&](const auto& container) {
                    return container.second.sandbox.image_id == item.first;
                });
            });
            break;
        case Kind::disk_low:
            disk_.free_bytes = 600LL << 20;
            world_.after(act.duration_ms, [this] { disk_.free_bytes = 100LL << 30; });
            break;
        case Kind::second_daemon:
            try_second_daemon();
            break;
        case Kind::orphan:
            add_orphan();
            break;
        case Kind::foreign_mount:
            mount_by_somebody(act);
            break;
        default:
            act_on_container(act);
            break;
    }
}

// The oldest container of ours that it makes sense for.
void History::act_on_container(const Act& act) {
    if (model_.health() != DockerModel::Health::up) return;
    for (auto& [id, container] : model_.containers) {
        if (!container.labels.contains(std::string(controller::kLabelNonce)) ||
            container.labels.at(std::string(controller::kLabelInstance)) == "other") {
            continue;
        }
        const auto full_id = id;
        const auto volume = container.sandbox.volume_name;
        if (act.kind == Kind::admin_run && container.state != ContainerState::created) continue;
        oracle_.disturbed(container.labels.at(std::string(controller::kLabelRun)));
        if (act.kind == Kind::admin_run) {
            (void)model_.start(full_id, false);
            world_.after(act.duration_ms, [this, full_id] {
                if (model_.health() == DockerModel::Health::up)
                    (void)model_.remove(full_id, true, 0);
            });
        }
        if (act.kind == Kind::admin_remove) (void)model_.remove(full_id, true, 0);
        if (act.kind == Kind::admin_kill) (void)model_.kill(full_id, "SIGKILL", false);
        if (act.kind == Kind::admin_stop) (void)model_.kill(full_id, "SIGTERM", false);
        if (act.kind == Kind::admin_start) (void)model_.start(full_id, false);
        if (act.kind == Kind::admin_remove_volume) {
            (void)model_.remove(full_id, true, 0);
            (void)model_.remove_volume(volume);
        }
        return;
    }
}

void History::add_orphan() {
    if (oracle_.instance().empty()) return;
    WorldRandom random(world_);
    const auto run_id = store::make_run_id(world_.now_ms(), random);
    const std::map<std::string, std::string> labels{
        {std::string(controller::kLabelInstance), oracle_.instance()},
        {std::string(controller::kLabelRole), "run"},
        {std::string(controller::kLabelRun), run_id},
        {std::string(controller::kLabelAttempt), "1"}};
    model_.add_foreign("mayfly-" + run_id + "-1", labels);
    model_.add_foreign_volume("mayfly-" + run_id + "-1-0", labels);
}

void History::mount_by_somebody(const Act& act) {
    for (const auto& [name, volume] : model_.volumes) {
        if (!volume.labels.contains(std::string(controller::kLabelNonce))) continue;
        model_.add_foreign("somebody", {});
        auto* holder = model_.find("somebody");
        holder->sandbox.volume_name = name;
        world_.after(act.duration_ms, [this] { (void)model_.remove("somebody", true, 0); });
        return;
    }
}

void History::try_second_daemon() {
    if (!process_ || !process_->life()->alive) return;
    auto other = std::make_shared<Life>();
    other->number = 1'000'000;
    SimDisk disk(disk_, other);
    auto opened = store::DataDir::open("/data", disk);
    if (!other->alive) return;
    if (opened || opened.error().kind != store::ErrorKind::locked) {
        world_.violate("I19", "a second daemon got the data directory");
    }
}

// ---- the phases

void History::check_stability() {
    std::int64_t commits = 0;
    const auto count = [this] { return std::ranges::count(world_.effect_names(), "commit"); };
    commits = count();
    const auto mutating = process_->engine().mutating_calls();
    const auto posts = receivers_.posts();
    const auto life = lives_;
    (void)run_until(world_.now_ms() + recipe_.stability_ticks * kTickMs, [] { return false; });
    if (world_.violated()) return;
    if (lives_ != life) {
        world_.violate("I22", "a process died at rest");
        return;
    }
    if (process_->engine().mutating_calls() != mutating) {
        world_.violate("I22", "at rest, it still changes the engine");
    }
    if (receivers_.posts() != posts) {
        world_.violate("I22", "at rest, it still tells of what was told");
    }
    if (count() != commits) world_.violate("I22", "at rest, it still writes");
}

void History::close_and_inspect() {
    process_->stop();
    (void)run_until(world_.now_ms() + 60'000, [this] { return !process_ || process_->ended(); });
    process_.reset();
    auto life = std::make_shared<Life>();
    life->number = 2'000'000;
    disk_.life = life;
    SimDisk disk(disk_, life);
    world_.crash_at({});
    auto database = store::Database::open("/data/mayfly.db", disk, kVfsName);
    if (!database) {
        world_.violate("I18", database.error().message);
        return;
    }
    oracle_.opened(**database);
}

Outcome History::play() {
    prepare_world();
    mount_vfs(&disk_);
    begin_life();
    (void)run_until(began_ms_ + kSafetyMaxMs, [this] {
        return acts_left_ <= 0 && all_answered() && oracle_.all_settled() && oracle_.all_told();
    });
    effects_until_rest_ = world_.effects();
    healing_ = true;
    world_.crash_at({});
    faults_.heal();
    model_.hang(false);
    disk_.free_bytes = 100LL << 30;
    world_.trace("healed");
    world_.after(1, [this] { model_.start_engine(); });
    const auto healthy = [this] {
        return process_ && process_->engine_up() && all_answered() && oracle_.all_settled() &&
               oracle_.all_told() && process_->pending_deliveries() == 0;
    };
    (void)run_until(world_.now_ms() + kLivenessMaxMs, healthy);
    if (!world_.violated()) oracle_.at_rest();
    if (!world_.violated() && !all_answered()) {
        world_.violate("I20", "a client was never answered");
    }
    // What is on its way to its end (a late purge, an old answer) may still arrive.
    if (!world_.violated()) {
        (void)run_until(world_.now_ms() + 8 * kTickMs, [] { return false; });
        (void)run_until(world_.now_ms() + kLivenessMaxMs, healthy);
    }
    if (!world_.violated()) oracle_.at_rest();
    if (!world_.violated()) check_stability();
    if (!world_.violated()) close_and_inspect();

    Outcome outcome;
    outcome.invariant = world_.invariant();
    outcome.message = world_.violation();
    outcome.ends = oracle_.ends();
    outcome.trace_hash = world_.trace_hash();
    outcome.effects = world_.effects();
    outcome.effects_until_rest = effects_until_rest_;
    outcome.prepared = prepared_images();
    outcome.effect_names = world_.effect_names();
    outcome.lives = lives_;
    outcome.runs = std::ssize(oracle_.records());
    outcome.lost = oracle_.lost();
    outcome.scripts = std::ssize(model_.executions);
    outcome.virtual_ms = world_.now_ms() - began_ms_;
    outcome.probes = world_.probes();
    outcome.fired = faults_.fired();
    process_.reset();
    mount_vfs(nullptr);
    return outcome;
}

}  // namespace

std::string to_string(const Act& act) {
    auto text = std::string(kActNames[static_cast<std::size_t>(act.kind)]);
    if (act.job >= 0) text += fmt::format(" of job {}", act.job);
    if (act.when_phase) {
        text += fmt::format(" {} ms after it is {}", act.at_ms, store::to_string(act.phase));
    } else {
        text += fmt::format(" at {} ms", act.at_ms);
    }
    if (act.duration_ms > 0) text += fmt::format(", for {} ms", act.duration_ms);
    return text;
}

Outcome play(const Recipe& recipe, bool trace) {
    // Made by histories of their own, which must not happen in the middle of this one.
    (void)template_database();
    if (recipe.image_ready) (void)ready_images();
    return History(recipe, trace).play();
}

// ---- a seed's recipe

namespace {

Script random_script(Rng& rng, std::int64_t number) {
    Script script;
    const std::vector<std::int64_t> durations{1, 20, 50, 300, 2'000, 8'000, 25'000};
    script.duration_ms = rng.pick(durations);
    script.seed = number + 1 + rng.below(1'000) * 100;
    script.files = rng.below(4);
    script.file_bytes = rng.chance(0.1) ? 20'000 : rng.below(600);
    script.out_bytes = rng.below(400);
    script.err_bytes = rng.below(100);
    script.writes_result = rng.chance(0.3);
    script.ignores_term = rng.chance(0.15);
    script.traps_term = !script.ignores_term && rng.chance(0.2);
    switch (rng.below(12)) {
        case 0:
            script.exit_code = 1 + rng.below(255);
            break;
        case 1:
            script.signal = 11;
            break;
        case 2:
            script.out_of_memory = true;
            break;
        case 3:
            script.fills_work = true;
            break;
        case 4:
            script.exec_errno = 2;
            break;
        case 5:
            script.exit_code = rng.chance(0.5) ? 137 : 143;
            break;
        default:
            break;
    }
    return script;
}

Job random_job(Rng& rng, std::int64_t number) {
    Job job;
    job.number = number;
    job.script = random_script(rng, number);
    const std::vector<std::int64_t> timeouts{2, 10, 30};
    job.timeout_s = rng.pick(timeouts);
    if (rng.chance(0.1)) job.queue_timeout_s = 2;
    if (rng.chance(0.4)) job.max_attempts = 1 + rng.below(3);
    if (rng.chance(0.1)) job.ttl_s = 5;
    if (rng.chance(0.15)) job.image = kImageRemote;
    if (rng.chance(0.03)) job.image = kImageNowhere;
    if (rng.chance(0.03)) job.image = kImageUnfit;
    job.priority = rng.below(3);
    job.changes_body = rng.chance(0.1);
    return job;
}

void add_acts(Recipe& recipe, Rng& rng, Kind kind, std::int64_t count, std::int64_t span_ms) {
    for (std::int64_t i = 0; i < count; ++i) {
        Act act;
        act.kind = kind;
        act.at_ms = rng.below(span_ms);
        act.job = rng.below(std::ssize(recipe.jobs));
        act.duration_ms = rng.chance(0.2) ? rng.below(60'000) : rng.below(3'000);
        if (kind == Kind::foreign_mount && rng.chance(0.7)) {
            // While there is a volume, and for long enough to be seen asking too often.
            act.when_phase = true;
            act.phase = rng.chance(0.5) ? Phase::running : Phase::harvesting;
            act.at_ms = rng.below(50);
            act.duration_ms += 180'000;
        }
        recipe.acts.push_back(act);
    }
}

}  // namespace

Recipe recipe_of(std::uint64_t seed) {
    Recipe recipe;
    recipe.seed = seed;
    Rng rng(seed ^ 0x5eed'5eed'5eed'5eedULL);
    recipe.max_running = 1 + rng.below(3);
    recipe.prepare_ahead = rng.below(3);
    recipe.engine_work_slots = 1 + rng.below(4);
    recipe.live_restore = rng.chance(0.2);
    recipe.fresh_database = rng.chance(0.03);
    recipe.image_ready = rng.chance(0.8);
    recipe.stability_ticks = 100;
    (void)rng.chance(0.1);  // drawn for nothing, so that a seed keeps its history
    const auto jobs = 1 + rng.below(rng.chance(0.2) ? 6 : 3);
    const std::int64_t span_ms = rng.chance(0.3) ? 60'000 : 6'000;
    for (std::int64_t i = 0; i < jobs; ++i) {
        recipe.jobs.push_back(random_job(rng, i));
        Act submit{.kind = Kind::submit, .at_ms = rng.below(span_ms / 2), .job = i};
        recipe.acts.push_back(submit);
        if (rng.chance(0.15)) {
            recipe.acts.push_back({.kind = Kind::cancel,
                                   .at_ms = rng.below(600),
                                   .job = i,
                                   .when_phase = true,
                                   .phase = static_cast<Phase>(rng.below(5))});
        }
        if (rng.chance(0.1)) {
            recipe.acts.push_back({.kind = Kind::remove,
                                   .at_ms = rng.below(2'000),
                                   .job = i,
                                   .when_phase = true,
                                   .phase = Phase::succeeded});
        }
    }
    // From a generator of their own, so that all else of a seed stays as it is.
    Rng hooks(seed ^ 0x3eb4'00c5'3eb4'00c5ULL);
    for (auto& job : recipe.jobs) {
        if (!hooks.chance(0.35)) continue;
        job.webhook_failures = hooks.chance(0.5) ? 0 : hooks.below(Receivers::kTriesMax + 2);
        job.tells_all = hooks.chance(0.3);
    }
    // A third of all histories: only the controller is disturbed, and nothing may be lost.
    const bool calm = rng.chance(0.33);
    recipe.nothing_may_be_lost = calm;
    recipe.faults = !calm && rng.chance(0.7);
    add_acts(recipe, rng, Kind::crash, rng.below(4), span_ms);
    if (rng.chance(0.2)) add_acts(recipe, rng, Kind::restart, 1, span_ms);
    if (rng.chance(0.05)) add_acts(recipe, rng, Kind::disk_low, 1, span_ms);
    if (rng.chance(0.02)) add_acts(recipe, rng, Kind::second_daemon, 1, span_ms);
    const auto crashes = rng.below(3);
    for (std::int64_t i = 0; i < crashes; ++i) {
        recipe.crashes.push_back({.effect = 1 + rng.below(40 * jobs),
                                  .when = static_cast<CrashWhen>(rng.below(3)),
                                  .power_loss = !calm && rng.chance(0.3)});
    }
    if (calm) return recipe;
    // A process that dies while it commits, and then a machine that dies before the next one has
    // done much: what was only written is gone, and was it acted upon?
    if (rng.chance(0.1)) {
        const auto first = 1 + rng.below(60 * jobs);
        recipe.crashes.push_back({.effect = first, .when = CrashWhen::before});
        recipe.crashes.push_back(
            {.effect = first + 1 + rng.below(12), .when = CrashWhen::before, .power_loss = true});
    }
    struct Share {
        Kind kind;
        double chance;
    };
    constexpr Share kShares[] = {
        {Kind::power_loss, 0.12},          {Kind::engine_kill, 0.25},  {Kind::engine_stop, 0.15},
        {Kind::engine_hang, 0.12},         {Kind::admin_remove, 0.08}, {Kind::admin_kill, 0.06},
        {Kind::admin_stop, 0.06},          {Kind::admin_start, 0.06},  {Kind::admin_prune, 0.08},
        {Kind::admin_remove_volume, 0.06}, {Kind::foreign_name, 0.05}, {Kind::foreign_labels, 0.1},
        {Kind::remove_images, 0.06},       {Kind::orphan, 0.05},       {Kind::foreign_mount, 0.05},
    };
    for (const auto& share : kShares) {
        if (rng.chance(share.chance)) {
            add_acts(recipe, rng, share.kind, 1 + rng.below(2), span_ms);
        }
    }
    Rng hands(seed ^ 0x4a4d'5000'4a4d'5000ULL);  // as above
    if (hands.chance(0.12)) {
        add_acts(recipe, hands, Kind::admin_run, 1 + hands.below(2), span_ms);
        for (auto& act : recipe.acts) {
            // Mostly at once: before anybody has looked.
            if (act.kind == Kind::admin_run && hands.chance(0.7)) act.duration_ms = 0;
        }
    }
    return recipe;
}

}  // namespace mayfly::sim
