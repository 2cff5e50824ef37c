// Two halves share a Core. The worker half runs on the store's thread and touches the database;
// the home half (handlers, listeners, waiters, figures) is touched at home only. A call's handler
// never leaves home: what travels is the work and, back, its result. So when the home io_context
// dies first, its service (HomeWatch) drops the handlers there, and the store's thread finds the
// door shut.
#include "store/store.h"

#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace mayfly::store {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

// Writes in one transaction. More would only make the first of them wait longer.
constexpr std::size_t kGroupMax = 256;

std::int64_t newest_of(Database& database) {
    const auto span = database.event_span();
    return span ? span->newest : 0;
}

Error closed() { return Error{ErrorKind::closed, "the store has stopped"}; }

// One call. `run` and `refuse` belong to the worker half, `complete` and `drop` to home; in
// between it is handed over by the queue's mutex and by post.
class Call {
public:
    explicit Call(bool writes) : writes_(writes) {}
    virtual ~Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    virtual void run(Database& database) = 0;
    virtual void refuse(const Error& error) = 0;
    [[nodiscard]] virtual const Error* error() const = 0;
    // Of a write that succeeded: which run it changed, and, until it is completed, the record that
    // it left. Purged: none.
    [[nodiscard]] virtual const std::string* changed_run() const = 0;
    virtual void show(const std::function<void(const RunRecord*)>& audience) = 0;
    virtual void complete() = 0;
    virtual void drop() = 0;

    [[nodiscard]] bool writes() const { return writes_; }

private:
    bool writes_;
};
using CallPtr = std::shared_ptr<Call>;

template <class Value, class Work, class Handler>
class HandlerCall final : public Call {
public:
    HandlerCall(bool writes, std::string purged, Work work, Handler handler)
        : Call(writes),
          purged_(std::move(purged)),
          work_(std::move(work)),
          handler_(std::move(handler)) {}

    void run(Database& database) override { result_ = work_(database); }
    void refuse(const Error& error) override { result_ = std::unexpected(error); }
    [[nodiscard]] const Error* error() const override {
        return result_.has_value() ? nullptr : &result_.error();
    }
    [[nodiscard]] const std::string* changed_run() const override {
        if (!purged_.empty()) return &purged_;
        if constexpr (std::is_same_v<Value, RunRecord> || std::is_same_v<Value, CreatedRun>) {
            return &result_->run.id;
        } else {
            return nullptr;
        }
    }
    void show(const std::function<void(const RunRecord*)>& audience) override {
        if constexpr (std::is_same_v<Value, RunRecord>) {
            audience(&*result_);
        } else if constexpr (std::is_same_v<Value, CreatedRun>) {
            // Lent, not copied: a run is some dozen allocations.
            RunRecord record{.run = std::move(result_->run), .attempt = std::nullopt};
            audience(&record);
            result_->run = std::move(record.run);
        } else {
            audience(nullptr);
        }
    }
    void complete() override {
        if (!handler_) return;
        auto handler = *std::move(handler_);
        handler_.reset();
        std::move(handler)(std::move(result_));
    }
    void drop() override { handler_.reset(); }

private:
    std::string purged_;  // the run that this write removes, if it does
    Work work_;
    std::optional<Handler> handler_;
    Result<Value> result_ = std::unexpected(closed());
};

// Everything that the worker half has to tell home after one group or one batch of reads.
struct Delivery {
    std::vector<CallPtr> calls;
    std::vector<CallPtr> changes;  // of `calls`, the newest for each run that changed
    std::optional<Error> failure;
    std::int64_t group = 0;  // writes committed; 0 = no commit
    std::int64_t commit_us = 0;
    std::int64_t newest_event = 0;  // 0 = not asked for
};

// Somebody waiting for a run to change. Lives in the waiting coroutine's frame.
struct Waiter {
    explicit Waiter(const asio::any_io_executor& home) : timer(home) {}
    asio::steady_timer timer;
    std::optional<Result<RunRecord>> news;
};

// ------------------------------------------------------------------------------------------- Core

class Core : public std::enable_shared_from_this<Core> {
public:
    Core(std::unique_ptr<Database> database, asio::any_io_executor home, bool inline_work)
        : instance_id(database->instance_id()),
          is_fresh(database->is_fresh()),
          inline_work_(inline_work),
          home_(std::move(home)),
          database_(std::move(database)),
          newest_event_(newest_of(*database_)) {}

    void start();
    void stop();
    // Home is going: drop what would resume there.
    void home_is_gone();

    // At home.
    void enqueue(CallPtr call);
    void add_waiter(const std::string& run_id, Waiter* waiter) {
        waiters_.emplace(run_id, waiter);
    }
    void remove_waiter(const std::string& run_id, Waiter* waiter);
    void add_event_waiter(asio::steady_timer* timer) { event_waiters_.insert(timer); }
    void remove_event_waiter(asio::steady_timer* timer) { event_waiters_.erase(timer); }
    [[nodiscard]] std::int64_t newest_event() const { return newest_event_; }
    [[nodiscard]] const asio::any_io_executor& home() const { return home_; }
    [[nodiscard]] bool stopped() const { return stopped_; }

    const std::string instance_id;
    const bool is_fresh;
    std::optional<Error> failure;
    CommitStats stats;
    std::vector<ChangeListener> listeners;
    std::vector<PurgeListener> purge_listeners;
    std::function<void(double, std::int64_t)> commit_observer;
    std::function<void(const Error&)> failure_listener;

private:
    // Worker half.
    void work();
    std::deque<CallPtr> take_batch();
    void process(std::deque<CallPtr> batch);
    void write_group(std::vector<CallPtr> calls);
    void run_group(const std::vector<CallPtr>& calls, std::vector<CallPtr>& changes);
    void refuse_group(std::vector<CallPtr> calls, const Error& error, bool fatal);
    void hand_over(Delivery delivery);

    // Home half.
    void deliver(Delivery delivery);
    void wake(const std::string& run_id, const RunRecord* record);
    void wake_all(const Error& error);
    void complete(const CallPtr& call);
    void drain_at_home();

    const bool inline_work_;

    std::mutex door_;  // held while posting: home cannot die in the middle of it
    bool home_open_ = true;
    asio::any_io_executor home_;

    std::mutex queue_mutex_;
    std::condition_variable queue_filled_;
    std::deque<CallPtr> queue_;
    bool stopping_ = false;
    std::thread thread_;

    std::unique_ptr<Database> database_;
    bool broken_ = false;  // worker half: the outcome of a commit is unknown

    bool stopped_ = false;
    bool drain_posted_ = false;
    std::unordered_set<CallPtr> pending_;
    std::multimap<std::string, Waiter*> waiters_;
    std::set<asio::steady_timer*> event_waiters_;
    std::int64_t newest_event_;  // committed
};

// In the home io_context's registry of services, so that it hears when that context is destroyed.
class HomeWatch final : public asio::execution_context::service {
public:
    using key_type = HomeWatch;
    static inline asio::execution_context::id id;
    explicit HomeWatch(asio::execution_context& context) : service(context) {}

    void add(const std::shared_ptr<Core>& core) {
        std::erase_if(cores_, [](const auto& known) { return known.expired(); });
        cores_.push_back(core);
    }

private:
    void shutdown() override {
        for (const auto& known : std::exchange(cores_, {})) {
            if (auto core = known.lock()) core->home_is_gone();
        }
    }
    std::vector<std::weak_ptr<Core>> cores_;
};

void Core::start() {
    auto& context = asio::query(home_, asio::execution::context);
    asio::use_service<HomeWatch>(context).add(shared_from_this());
    if (!inline_work_) thread_ = std::thread([this] { work(); });
}

void Core::stop() {
    if (std::exchange(stopped_, true)) return;
    {
        const std::lock_guard lock(queue_mutex_);
        stopping_ = true;
    }
    queue_filled_.notify_one();
    if (thread_.joinable()) thread_.join();
    while (inline_work_ && !queue_.empty()) process(take_batch());
    database_.reset();
    wake_all(closed());
}

void Core::home_is_gone() {
    {
        const std::lock_guard lock(door_);
        home_open_ = false;
    }
    listeners.clear();
    purge_listeners.clear();
    commit_observer = nullptr;
    failure_listener = nullptr;
    // Dropping a handler destroys its coroutine, which may do anything but suspend, such as stop
    // this store.
    for (const auto& call : std::exchange(pending_, {})) call->drop();
}

// ------------------------------------------------------------------------------------ worker half

void Core::work() {
    while (true) {
        {
            std::unique_lock lock(queue_mutex_);
            queue_filled_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
            if (queue_.empty()) return;
        }
        process(take_batch());
    }
}

// Everything that waits, as far as the writes fit into one group.
std::deque<CallPtr> Core::take_batch() {
    const std::lock_guard lock(queue_mutex_);
    std::deque<CallPtr> batch;
    std::size_t writes = 0;
    while (!queue_.empty()) {
        if (queue_.front()->writes() && writes == kGroupMax) break;
        writes += queue_.front()->writes() ? 1U : 0U;
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
    }
    return batch;
}

// Writes first: their fsync is what others wait for, and a read may see more than it must.
void Core::process(std::deque<CallPtr> batch) {
    std::vector<CallPtr> writes;
    Delivery reads;
    for (auto& call : batch) (call->writes() ? writes : reads.calls).push_back(std::move(call));
    if (!writes.empty()) write_group(std::move(writes));
    for (const auto& call : reads.calls) {
        if (broken_) {
            call->refuse(closed());
        } else {
            call->run(*database_);
        }
    }
    if (!reads.calls.empty()) hand_over(std::move(reads));
}

// Runs each write in its own savepoint (the database's doing) and gathers what changed.
void Core::run_group(const std::vector<CallPtr>& calls, std::vector<CallPtr>& changes) {
    std::unordered_map<std::string, std::size_t> place;
    for (const auto& call : calls) {
        const auto before = database_->changes();
        call->run(*database_);
        if (call->error() != nullptr || database_->changes() == before) continue;
        const auto* run_id = call->changed_run();
        if (run_id == nullptr) continue;
        const auto [known, first] = place.try_emplace(*run_id, changes.size());
        if (first) {
            changes.push_back(call);
        } else {
            changes[known->second] = call;
        }
    }
}

void Core::write_group(std::vector<CallPtr> calls) {
    if (broken_) return refuse_group(std::move(calls), closed(), false);
    if (auto begun = database_->begin(); !begun) {
        const bool fatal = begun.error().kind != ErrorKind::full;
        return refuse_group(std::move(calls), begun.error(), fatal);
    }
    Delivery delivery;
    run_group(calls, delivery.changes);
    for (const auto& call : calls) {
        // These may have undone more than their own write: then nothing of the group is to be
        // trusted.
        const auto* error = call->error();
        if (error == nullptr) continue;
        const bool fatal = error->kind == ErrorKind::io || error->kind == ErrorKind::corrupt;
        if (!fatal && error->kind != ErrorKind::full) continue;
        database_->rollback();
        return refuse_group(std::move(calls), Error(*error), fatal);
    }
    const auto start = steady_clock::now();
    if (auto committed = database_->commit(); !committed) {
        database_->rollback();
        return refuse_group(std::move(calls), committed.error(), true);
    }
    const auto took = steady_clock::now() - start;
    if (const auto span = database_->event_span()) delivery.newest_event = span->newest;
    delivery.commit_us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
    delivery.group = static_cast<std::int64_t>(calls.size());
    delivery.calls = std::move(calls);
    hand_over(std::move(delivery));
}

void Core::refuse_group(std::vector<CallPtr> calls, const Error& error, bool fatal) {
    Delivery delivery;
    if (fatal) {
        broken_ = true;
        delivery.failure = error;
        // Who waits behind this group waits for the same disk.
        const std::lock_guard lock(queue_mutex_);
        std::ranges::move(queue_, std::back_inserter(calls));
        queue_.clear();
    }
    for (const auto& call : calls) call->refuse(error);
    delivery.calls = std::move(calls);
    hand_over(std::move(delivery));
}

void Core::hand_over(Delivery delivery) {
    const std::lock_guard lock(door_);
    if (!home_open_) return;
    asio::post(home_, [self = shared_from_this(), delivery = std::move(delivery)]() mutable {
        self->deliver(std::move(delivery));
    });
}

// -------------------------------------------------------------------------------------- home half

void Core::enqueue(CallPtr call) {
    pending_.insert(call);
    if (stopped_ || failure) {
        call->refuse(closed());
        asio::post(home_, [self = shared_from_this(), call] { self->complete(call); });
        return;
    }
    {
        const std::lock_guard lock(queue_mutex_);
        queue_.push_back(std::move(call));
    }
    if (!inline_work_) {
        queue_filled_.notify_one();
    } else if (!std::exchange(drain_posted_, true)) {
        asio::post(home_, [self = shared_from_this()] { self->drain_at_home(); });
    }
}

void Core::drain_at_home() {
    drain_posted_ = false;
    if (stopped_) return;
    while (!queue_.empty()) process(take_batch());
}

void Core::deliver(Delivery delivery) {
    if (delivery.failure && !failure) {
        failure = std::move(delivery.failure);
        if (failure_listener) failure_listener(*failure);
    }
    if (delivery.group > 0) {
        stats.commits += 1;
        stats.mutations += delivery.group;
        stats.last_group_size = delivery.group;
        stats.last_commit_us = delivery.commit_us;
        stats.commit_us_total += delivery.commit_us;
        if (commit_observer) {
            commit_observer(static_cast<double>(delivery.commit_us) / 1e6, delivery.group);
        }
    }
    if (delivery.newest_event > newest_event_) {
        newest_event_ = delivery.newest_event;
        for (asio::steady_timer* timer : event_waiters_) timer->cancel();
    }
    for (const auto& call : delivery.changes) {
        const std::string run_id = *call->changed_run();
        call->show([this, &run_id](const RunRecord* record) {
            // By index: a listener may add a listener.
            for (std::size_t i = 0; record != nullptr && i < listeners.size(); ++i) {
                listeners[i](*record);
            }
            for (std::size_t i = 0; record == nullptr && i < purge_listeners.size(); ++i) {
                purge_listeners[i](run_id);
            }
            wake(run_id, record);
        });
    }
    // Each in a turn of its own, so that one coroutine's exception is not another's end.
    for (const auto& call : delivery.calls) {
        asio::post(home_, [self = shared_from_this(), call] { self->complete(call); });
    }
    if (failure) wake_all(closed());
}

void Core::complete(const CallPtr& call) {
    if (pending_.erase(call) != 0) call->complete();
}

void Core::remove_waiter(const std::string& run_id, Waiter* waiter) {
    const auto [begin, end] = waiters_.equal_range(run_id);
    for (auto it = begin; it != end; ++it) {
        if (it->second != waiter) continue;
        waiters_.erase(it);
        return;
    }
}

void Core::wake(const std::string& run_id, const RunRecord* record) {
    const auto [begin, end] = waiters_.equal_range(run_id);
    for (auto it = begin; it != end; ++it) {
        Waiter& waiter = *it->second;
        if (record != nullptr) {
            waiter.news = *record;
        } else {
            waiter.news = fail(ErrorKind::not_found, "run " + run_id + " was removed");
        }
        waiter.timer.cancel();
    }
}

void Core::wake_all(const Error& error) {
    for (asio::steady_timer* timer : event_waiters_) timer->cancel();
    for (const auto& [run_id, waiter] : waiters_) {
        waiter->news = std::unexpected(error);
        waiter->timer.cancel();
    }
}

// ------------------------------------------------------------------------------------------ calls

enum class Kind { read, write };

template <class Value, class Work>
asio::awaitable<Result<Value>> call(std::shared_ptr<Core> core, Kind kind, Work work,
                                    std::string purged = {}) {
    auto initiate = [core, kind, purged, work = std::move(work)](auto handler) mutable {
        using Handler = decltype(handler);
        core->enqueue(std::make_shared<HandlerCall<Value, Work, Handler>>(
            kind == Kind::write, std::move(purged), std::move(work), std::move(handler)));
    };
    return asio::async_initiate<const asio::use_awaitable_t<>, void(Result<Value>)>(
        std::move(initiate), asio::use_awaitable);
}

class WaiterEntry {
public:
    WaiterEntry(std::shared_ptr<Core> core, std::string run_id)
        : core_(std::move(core)), run_id_(std::move(run_id)), waiter_(core_->home()) {
        core_->add_waiter(run_id_, &waiter_);
    }
    ~WaiterEntry() { core_->remove_waiter(run_id_, &waiter_); }
    WaiterEntry(const WaiterEntry&) = delete;
    WaiterEntry& operator=(const WaiterEntry&) = delete;
    Waiter& operator*() { return waiter_; }

private:
    std::shared_ptr<Core> core_;
    std::string run_id_;
    Waiter waiter_;
};

asio::awaitable<Result<RunRecord>> read_record(std::shared_ptr<Core> core, std::string run_id) {
    auto read = [run_id = std::move(run_id)](Database& database) { return database.get(run_id); };
    return call<RunRecord>(std::move(core), Kind::read, std::move(read));
}

asio::awaitable<Result<RunRecord>> wait_on(std::shared_ptr<Core> core, std::string run_id,
                                           std::int64_t seen_revision, std::int64_t timeout_ms) {
    // Entered before the read: what changes in between is news, not lost.
    WaiterEntry entry(core, run_id);
    Waiter& waiter = *entry;
    waiter.timer.expires_after(std::chrono::milliseconds(timeout_ms));
    Result<RunRecord> newest = co_await read_record(core, run_id);
    while (true) {
        if (waiter.news) {
            newest = *std::move(waiter.news);
            waiter.news.reset();
        }
        if (!newest || newest->run.revision > seen_revision) co_return newest;
        if (core->stopped() || core->failure) co_return std::unexpected(closed());
        if (waiter.timer.expiry() <= steady_clock::now()) co_return newest;
        boost::system::error_code woken;
        co_await waiter.timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
}

class EventWaiter {
public:
    explicit EventWaiter(std::shared_ptr<Core> core)
        : core_(std::move(core)), timer_(core_->home()) {
        core_->add_event_waiter(&timer_);
    }
    ~EventWaiter() { core_->remove_event_waiter(&timer_); }
    EventWaiter(const EventWaiter&) = delete;
    EventWaiter& operator=(const EventWaiter&) = delete;
    asio::steady_timer& operator*() { return timer_; }

private:
    std::shared_ptr<Core> core_;
    asio::steady_timer timer_;
};

asio::awaitable<Result<void>> wait_event(std::shared_ptr<Core> core, std::int64_t seen_id,
                                         std::int64_t timeout_ms) {
    EventWaiter waiter(core);
    asio::steady_timer& timer = *waiter;
    timer.expires_after(std::chrono::milliseconds(timeout_ms));
    while (core->newest_event() <= seen_id) {
        if (core->stopped() || core->failure) co_return std::unexpected(closed());
        if (timer.expiry() <= steady_clock::now()) break;
        boost::system::error_code woken;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
    co_return Result<void>{};
}

}  // namespace

// ------------------------------------------------------------------------------------------ Store

class Store::Impl {
public:
    std::shared_ptr<Core> core;
};

Store::Store(std::unique_ptr<Database> database, asio::any_io_executor home, bool inline_work)
    : impl_(std::make_unique<Impl>()) {
    impl_->core = std::make_shared<Core>(std::move(database), std::move(home), inline_work);
    impl_->core->start();
}

Store::~Store() {
    stop();
    impl_->core->listeners.clear();
    impl_->core->purge_listeners.clear();
    impl_->core->commit_observer = nullptr;
}

void Store::stop() { impl_->core->stop(); }

const std::string& Store::instance_id() const { return impl_->core->instance_id; }
bool Store::is_fresh() const { return impl_->core->is_fresh; }
const std::optional<Error>& Store::failure() const { return impl_->core->failure; }
const CommitStats& Store::stats() const { return impl_->core->stats; }

void Store::on_commit(std::function<void(double seconds, std::int64_t group)> observer) {
    impl_->core->commit_observer = std::move(observer);
}

void Store::on_failure(std::function<void(const Error& error)> listener) {
    impl_->core->failure_listener = std::move(listener);
}

void Store::on_change(ChangeListener listener) {
    impl_->core->listeners.push_back(std::move(listener));
}

void Store::on_purge(PurgeListener listener) {
    impl_->core->purge_listeners.push_back(std::move(listener));
}

asio::awaitable<Result<CreatedRun>> Store::create_run(NewRun run) {
    auto work = [run = std::move(run)](Database& database) { return database.create_run(run); };
    return call<CreatedRun>(impl_->core, Kind::write, std::move(work));
}

asio::awaitable<Result<RunRecord>> Store::request_cancel(std::string run_id, UnixMs now_ms) {
    auto work = [run_id = std::move(run_id), now_ms](Database& database) {
        return database.request_cancel(run_id, now_ms);
    };
    return call<RunRecord>(impl_->core, Kind::write, std::move(work));
}

asio::awaitable<Result<RunRecord>> Store::request_delete(std::string run_id, UnixMs now_ms) {
    auto work = [run_id = std::move(run_id), now_ms](Database& database) {
        return database.request_delete(run_id, now_ms);
    };
    return call<RunRecord>(impl_->core, Kind::write, std::move(work));
}

asio::awaitable<Result<RunRecord>> Store::apply(Mutation mutation) {
    auto work = [mutation = std::move(mutation)](Database& database) {
        return database.apply(mutation);
    };
    return call<RunRecord>(impl_->core, Kind::write, std::move(work));
}

asio::awaitable<Result<void>> Store::purge(std::string run_id) {
    auto work = [run_id](Database& database) { return database.purge(run_id); };
    return call<void>(impl_->core, Kind::write, std::move(work), std::move(run_id));
}

asio::awaitable<Result<RunRecord>> Store::get(std::string run_id) {
    return read_record(impl_->core, std::move(run_id));
}

asio::awaitable<Result<std::vector<Run>>> Store::list(RunFilter filter) {
    auto work = [filter = std::move(filter)](Database& database) { return database.list(filter); };
    return call<std::vector<Run>>(impl_->core, Kind::read, std::move(work));
}

asio::awaitable<Result<std::vector<RunRecord>>> Store::unfinished() {
    auto work = [](Database& database) { return database.unfinished(); };
    return call<std::vector<RunRecord>>(impl_->core, Kind::read, work);
}

asio::awaitable<Result<std::vector<std::string>>> Store::expired(UnixMs now_ms,
                                                                 std::int64_t limit) {
    auto work = [now_ms, limit](Database& database) { return database.expired(now_ms, limit); };
    return call<std::vector<std::string>>(impl_->core, Kind::read, work);
}

asio::awaitable<Result<std::vector<Artifact>>> Store::artifacts(std::string run_id) {
    auto work = [run_id = std::move(run_id)](Database& database) {
        return database.artifacts(run_id);
    };
    return call<std::vector<Artifact>>(impl_->core, Kind::read, std::move(work));
}

asio::awaitable<Result<std::optional<Artifact>>> Store::artifact(std::string run_id,
                                                                 std::string path) {
    auto work = [run_id = std::move(run_id), path = std::move(path)](Database& database) {
        return database.artifact(run_id, path);
    };
    return call<std::optional<Artifact>>(impl_->core, Kind::read, std::move(work));
}

asio::awaitable<Result<std::vector<std::string>>> Store::known(std::vector<std::string> run_ids) {
    auto work = [run_ids = std::move(run_ids)](Database& database) {
        return database.known(run_ids);
    };
    return call<std::vector<std::string>>(impl_->core, Kind::read, std::move(work));
}

asio::awaitable<Result<WebhookHeads>> Store::webhook_heads(std::int64_t limit) {
    auto work = [limit](Database& database) { return database.webhook_heads(limit); };
    return call<WebhookHeads>(impl_->core, Kind::read, work);
}

asio::awaitable<Result<void>> Store::record_webhook(WebhookOutcome outcome) {
    auto work = [outcome = std::move(outcome)](Database& database) {
        return database.record_webhook(outcome);
    };
    return call<void>(impl_->core, Kind::write, std::move(work));
}

asio::awaitable<Result<std::optional<WebhookProgress>>> Store::webhook_progress(
    std::string run_id) {
    auto work = [run_id = std::move(run_id)](Database& database) {
        return database.webhook_progress(run_id);
    };
    return call<std::optional<WebhookProgress>>(impl_->core, Kind::read, std::move(work));
}

asio::awaitable<Result<PhaseCounts>> Store::counts() {
    auto work = [](Database& database) { return database.counts(); };
    return call<PhaseCounts>(impl_->core, Kind::read, work);
}

asio::awaitable<Result<std::int64_t>> Store::stored_bytes() {
    auto work = [](Database& database) { return database.stored_bytes(); };
    return call<std::int64_t>(impl_->core, Kind::read, work);
}

asio::awaitable<Result<std::int64_t>> Store::database_bytes() {
    auto work = [](Database& database) { return database.database_bytes(); };
    return call<std::int64_t>(impl_->core, Kind::read, work);
}

asio::awaitable<Result<EventPage>> Store::events(EventFilter filter) {
    auto work = [filter = std::move(filter)](Database& database) {
        return database.events(filter);
    };
    return call<EventPage>(impl_->core, Kind::read, std::move(work));
}

asio::awaitable<Result<EventSpan>> Store::event_span() {
    auto work = [](Database& database) { return database.event_span(); };
    return call<EventSpan>(impl_->core, Kind::read, work);
}

asio::awaitable<Result<void>> Store::wait_for_event(std::int64_t seen_id,
                                                    std::int64_t timeout_ms) {
    return wait_event(impl_->core, seen_id, timeout_ms);
}

asio::awaitable<Result<RunRecord>> Store::wait_for_change(std::string run_id,
                                                          std::int64_t seen_revision,
                                                          std::int64_t timeout_ms) {
    return wait_on(impl_->core, std::move(run_id), seen_revision, timeout_ms);
}

}  // namespace mayfly::store
