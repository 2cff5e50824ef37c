#include "tests/sim/process.h"

#include <boost/asio/co_spawn.hpp>

#include "controller/detached.h"
#include "store/input_tar.h"
#include "store/spec_json.h"
#include "tests/sim/vfs.h"

namespace mayfly::sim {
namespace {

namespace asio = boost::asio;

constexpr const char* kDataDir = "/data";
constexpr std::int64_t kStopGraceMs = 5'000;
constexpr std::int64_t kReaderPaceMs = 1'000;

// Its figures are looked at by nobody here.
metrics::Families& families() {
    static metrics::Families all("sim");
    return all;
}

store::RunSpec spec_of(const Job& job) {
    store::RunSpec spec;
    spec.image = job.image;
    spec.command = argv_of(job.script);
    spec.limits = {.timeout_s = job.timeout_s,
                   .queue_timeout_s = job.queue_timeout_s,
                   .memory_bytes = 64LL << 20,
                   .cpu_millis = 500,
                   .pids = 64,
                   .work_bytes = 1LL << 28,
                   .tmp_bytes = 1LL << 24,
                   .log_bytes = 1LL << 18,
                   .artifact_bytes = 1LL << 24,
                   .artifact_files = 100};
    spec.max_attempts = job.max_attempts;
    spec.ttl_s = job.ttl_s;
    spec.priority = job.priority;
    if (job.webhook_failures >= 0) {
        spec.webhook = store::Webhook{.url = Receivers::url_of(job),
                                      .secret = Receivers::secret_of(job),
                                      .all_events = job.tells_all};
    }
    return spec;
}

}  // namespace

Process::Process(World& world, DiskState& disk, DockerModel& model, Faults& faults, Oracle& oracle,
                 Receivers& receivers, ProcessSettings settings, LifePtr life)
    : world_(world),
      disk_state_(disk),
      model_(model),
      oracle_(oracle),
      settings_(std::move(settings)),
      life_(std::move(life)),
      disk_(disk, life_),
      clock_(world),
      random_(world),
      io_(std::make_unique<asio::io_context>(1)),
      waits_(std::make_unique<Waits>(world, *io_)),
      alarms_(std::make_unique<WorldAlarms>(*waits_)) {
    engine_ = std::make_unique<SimEngine>(
        world_, *waits_, model_, faults, life_,
        [&oracle = oracle_](std::string_view call, const std::string& target) {
            oracle.touches(call, target);
        });
    sender_ = std::make_unique<SimSender>(world_, *waits_, receivers, life_);
}

// Everything that waits goes first, then what is ready to run, then what they stood on. From the
// moment when the life is over none of it has any effect.
Process::~Process() {
    life_->alive = false;
    model_.on_event = nullptr;
    model_.on_epoch = nullptr;
    waits_->drop();
    io_.reset();
    reader_alarm_.reset();
    dispatcher_.reset();
    sweeper_.reset();
    loop_.reset();
    store_.reset();
}

bool Process::start() {
    disk_state_.life = life_;
    mount_vfs(&disk_state_);
    auto data_dir = store::DataDir::open(kDataDir, disk_);
    if (!data_dir) {
        why_ = data_dir.error().message;
        return false;
    }
    data_dir_.emplace(std::move(*data_dir));
    auto database = store::Database::open(data_dir_->database_file(), disk_, kVfsName);
    if (!database) {
        why_ = database.error().message;
        return false;
    }
    if (!life_->alive) return false;
    oracle_.set_instance((*database)->instance_id());
    oracle_.opened(**database);

    store_ = std::make_unique<store::Store>(std::move(*database), io_->get_executor(), true);
    store_->on_change([this](const store::RunRecord& record) {
        if (life_->alive) oracle_.committed(record);
        reader_alarm_->ring();
    });
    store_->on_purge([this](const std::string&) { reader_alarm_->ring(); });
    reader_alarm_ = alarms_->make();
    const auto& instance = store_->instance_id();
    settings_.loop.plan.sandbox.instance_id = instance;
    settings_.loop.images.instance_id = instance;
    settings_.sweeper.sweep.instance_id = instance;
    const controller::LoopWorld world{io_->get_executor(),
                                      io_->get_executor(),
                                      *store_,
                                      *data_dir_,
                                      *engine_,
                                      *alarms_,
                                      clock_,
                                      random_,
                                      families(),
                                      live_status_};
    loop_ = std::make_unique<controller::Loop>(world, settings_.loop);
    sweeper_ = std::make_unique<controller::Sweeper>(world, *loop_, settings_.sweeper);
    dispatcher_ = std::make_unique<controller::webhook::Dispatcher>(
        controller::webhook::DispatcherWorld{io_->get_executor(), *store_, *sender_, *alarms_,
                                             clock_, random_, families()},
        settings_.webhooks);
    loop_->on_step(
        [this](const controller::Live& live, std::string_view action) { watch(live, action); });
    asio::co_spawn(*io_, serve(), controller::log_exceptions("loop"));
    asio::co_spawn(*io_, sweeper_->run(), controller::log_exceptions("sweeper"));
    asio::co_spawn(*io_, dispatcher_->run(), controller::log_exceptions("webhooks"));
    asio::co_spawn(*io_, read_events(), controller::log_exceptions("reader"));
    return true;
}

asio::awaitable<void> Process::serve() {
    auto result = co_await loop_->run();
    if (!result) {
        failed_ = true;
        world_.trace("the store has failed: {}", result.error().message);
    }
    sweeper_->stop();
    dispatcher_->stop();
    co_await dispatcher_->rest(kStopGraceMs);
    ended_ = true;
}

// A client of /v1/events, and one who looks at what is still to be told.
asio::awaitable<void> Process::read_events() {
    while (life_->alive && !ended_) {
        auto page = co_await store_->events(oracle_.unread_events());
        if (!life_->alive) co_return;
        if (page) {
            for (const auto& event : page->events) oracle_.heard(event);
            if (page->more) continue;
        }
        const auto found = co_await store_->webhook_heads(1);
        if (!life_->alive) co_return;
        if (found) pending_deliveries_ = found->pending;
        const bool is_done = page && found && found->pending == 0;
        const std::int64_t delay_ms = is_done ? -1 : kReaderPaceMs;
        co_await reader_alarm_->wait(delay_ms);
    }
}

void Process::watch(const controller::Live& live, std::string_view action) {
    const auto stage =
        live.record.attempt ? store::to_string(live.record.attempt->stage) : "no attempt";
    world_.probe(fmt::format("step: {} when {}", action, stage));
}

bool Process::poll() {
    if (io_->stopped()) io_->restart();
    return io_->poll_one() > 0;
}

void Process::stop() {
    loop_->stop();
    sweeper_->stop();
    dispatcher_->stop();
}

// ---- the client

void Process::submit(Job& job) {
    job.submitting = true;
    asio::co_spawn(*io_, submitting(job, false), controller::log_exceptions("submit"));
}

// As api/submit.cc does it: inputs durable, then the row, then the answer.
asio::awaitable<void> Process::submitting(Job& job, bool other_body) {
    const auto run_id = store::make_run_id(world_.now_ms(), random_);
    auto file = data_dir_->create_file();
    if (!file) {
        job.submitting = false;
        co_return;
    }
    store::InputTarBuilder tar(file->fd(), {10'001, 10'001}, 0);
    const auto input = job.input() + (other_body ? "!" : "");
    bool good = tar.begin().has_value() && tar.begin_file("in.txt", 0644).has_value() &&
                tar.write(std::as_bytes(std::span(input))).has_value() &&
                tar.end_file().has_value();
    const auto bytes = tar.finish();
    good = good && bytes.has_value();
    auto spec = spec_of(job);
    spec.files = tar.files();
    oracle_.note_inputs(run_id, store::sha256_hex(bytes_of(file->fd())));
    if (good) good = data_dir_->publish(std::move(*file), run_id, store::kInputTar).has_value();
    if (!good) {
        if (life_->alive) (void)data_dir_->remove_run(run_id);
        job.submitting = false;
        co_return;
    }
    store::NewRun wanted;
    wanted.id = run_id;
    wanted.idempotency_key = job.key();
    wanted.spec_sha256 = store::sha256_hex(store::canonical_spec(spec));
    wanted.spec = std::move(spec);
    wanted.now_ms = world_.now_ms();
    wanted.stored_bytes = *bytes;
    auto created = co_await store_->create_run(std::move(wanted));
    job.submitting = false;
    if (!life_->alive) co_return;
    if (!created) {
        using Kind = store::ErrorKind;
        const auto kind = created.error().kind;
        if (kind == Kind::key_reused || kind == Kind::invalid || kind == Kind::conflict) {
            (void)data_dir_->remove_run(run_id);
        }
        if (other_body && kind != Kind::key_reused && kind != Kind::closed && kind != Kind::io) {
            world_.violate("I3", "a key with another body was not refused as such");
        }
        if (other_body) world_.probe("client: a key came with another body");
        co_return;
    }
    if (created->existed) (void)data_dir_->remove_run(run_id);
    if (created->existed) world_.probe("client: a key came twice");
    if (other_body) {
        world_.violate("I3", "a key with another body was accepted");
        co_return;
    }
    job.run_id = created->run.id;
    world_.trace("client: job {} is run {}", job.number, job.run_id);
    oracle_.accepted(job);
    if (std::exchange(job.changes_body, false)) co_await submitting(job, true);
}

void Process::cancel(Job& job) {
    job.cancelling = true;
    asio::co_spawn(*io_, cancelling(job), controller::log_exceptions("cancel"));
}

asio::awaitable<void> Process::cancelling(Job& job) {
    auto record = co_await store_->request_cancel(job.run_id, world_.now_ms());
    job.cancelling = false;
    if (!life_->alive) co_return;
    const bool gone = !record && record.error().kind == store::ErrorKind::not_found;
    if (!record && !gone) co_return;
    job.cancel_answered = true;
    job.phase_at_cancel = gone ? store::Phase::lost : record->run.status.phase;
    world_.trace("client: cancel of job {} is acknowledged", job.number);
}

void Process::remove(Job& job) {
    job.deleting = true;
    asio::co_spawn(*io_, removing(job), controller::log_exceptions("delete"));
}

asio::awaitable<void> Process::removing(Job& job) {
    auto record = co_await store_->request_delete(job.run_id, world_.now_ms());
    job.deleting = false;
    if (!life_->alive) co_return;
    const bool gone = !record && record.error().kind == store::ErrorKind::not_found;
    if (record || gone) job.delete_answered = true;
}

}  // namespace mayfly::sim
