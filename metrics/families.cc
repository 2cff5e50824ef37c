#include "metrics/families.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "metrics/process.h"

namespace mayfly::metrics {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using prometheus::MetricFamily;
using prometheus::Registry;

using Strings = std::span<const std::string_view>;
using Buckets = Histogram::BucketBoundaries;

constexpr std::string_view kOther = "other";

// ----
// label values

constexpr std::array<std::string_view, 9> kPhases = {
    "queued", "preparing", "running",   "harvesting", "succeeded",
    "failed", "timed_out", "cancelled", "lost",
};

constexpr std::array<std::string_view, 5> kPendingReasons = {
    "Capacity", "EngineDown", "DiskLow", "ImagePull", "Backoff",
};

struct Outcome {
    std::string_view phase;
    std::string_view reason;
};
constexpr std::array kOutcomes = {
    Outcome{"succeeded", "Completed"},       Outcome{"failed", "NonZeroExit"},
    Outcome{"failed", "Signaled"},           Outcome{"failed", "OutOfMemory"},
    Outcome{"failed", "WorkLimit"},          Outcome{"failed", "CommandNotStarted"},
    Outcome{"failed", "StartFailed"},        Outcome{"failed", "SandboxUnverified"},
    Outcome{"failed", "ArtifactLimit"},      Outcome{"failed", "ImageNotAllowed"},
    Outcome{"failed", "ImageUnavailable"},   Outcome{"failed", "ImageUnsupported"},
    Outcome{"failed", "NameConflict"},       Outcome{"failed", "InputsMissing"},
    Outcome{"failed", "InternalError"},      Outcome{"timed_out", "QueueTimeout"},
    Outcome{"timed_out", "PrepareTimeout"},  Outcome{"timed_out", "RunTimeout"},
    Outcome{"cancelled", "CancelRequested"}, Outcome{"lost", "EngineInterrupted"},
    Outcome{"lost", "ContainerVanished"},    Outcome{"lost", "VolumeVanished"},
    Outcome{"lost", "KilledExternally"},
};

constexpr std::array kSlotKinds = {kSlotRun, kSlotEngineWork};
constexpr std::array kReconcileResults = {kReconcileSuccess, kReconcileRequeueAfter,
                                          kReconcileError};
constexpr std::array kStuckWhere = {kStuckPreparing, kStuckRunning, kStuckHarvesting,
                                    kStuckCollecting};
constexpr std::array kCallResults = {kCallOk, kCallDefinite, kCallUnknown, kCallDown};
constexpr std::array kOwnedKinds = {kOwnedContainer, kOwnedVolume, kOwnedImage};
constexpr std::array kSweepActions = {
    kSweepRemoveContainer, kSweepRemoveVolume, kSweepRemoveImage, kSweepExpireRun,
    kSweepRemoveFiles,     kSweepDryRun,       kSweepHeld,
};

constexpr std::array kWebhookResults = {kWebhookDelivered, kWebhookFailed, kWebhookRefused,
                                        kWebhookGivenUp};

constexpr std::array<std::string_view, 23> kEngineEndpoints = {
    "GET /_ping",
    "GET /version",
    "GET /info",
    "GET /images/{name}/json",
    "GET /images/json",
    "POST /images/create",
    "DELETE /images/{name}",
    "POST /commit",
    "POST /containers/create",
    "GET /containers/{id}/json",
    "GET /containers/json",
    "POST /containers/{id}/start",
    "POST /containers/{id}/kill",
    "DELETE /containers/{id}",
    "PUT /containers/{id}/archive",
    "GET /containers/{id}/archive",
    "HEAD /containers/{id}/archive",
    "GET /containers/{id}/logs",
    "GET /containers/{id}/logs?follow",
    "GET /volumes/{name}",
    "GET /volumes",
    "DELETE /volumes/{name}",
    "GET /events",
};

struct Route {
    std::string_view method;
    std::string_view path;
    int success;  // the usual code
};
constexpr std::array kRoutes = {
    Route{"POST", "/v1/runs", 201},
    Route{"GET", "/v1/runs", 200},
    Route{"GET", "/v1/runs/{id}", 200},
    Route{"DELETE", "/v1/runs/{id}", 204},
    Route{"POST", "/v1/runs/{id}/cancel", 202},
    Route{"GET", "/v1/runs/{id}/logs", 200},
    Route{"GET", "/v1/runs/{id}/artifacts", 200},
    Route{"GET", "/v1/runs/{id}/artifacts/{path}", 200},
    Route{"GET", "/v1/runs/{id}/artifacts.tar", 200},
    Route{"GET", "/v1/runs/{id}/explain", 200},
    Route{"GET", "/v1/events", 200},
    Route{"GET", "/v1/doctor", 200},
    Route{"GET", "/v1/engines", 200},
    Route{"GET", "/v1/openapi.json", 200},
    Route{"GET", "/healthz", 200},
    Route{"GET", "/readyz", 200},
    Route{"GET", "/metrics", 200},
    Route{"GET", "/", 200},
    Route{"GET", "/ui/{name}", 200},
};
constexpr std::array kUsualErrors = {400, 404, 409, 413, 500, 503, 507};
constexpr std::array<std::string_view, 7> kMethods = {"GET",    "HEAD",  "POST",   "PUT",
                                                      "DELETE", "PATCH", "OPTIONS"};

// ----
// buckets

// 5 ms to one hour: what people wait for.
const Buckets& run_buckets() {
    static const Buckets buckets = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,    2.5,
                                    5,     10,   30,    60,   120, 300,  600, 1800, 3600};
    return buckets;
}

// One ms to one minute: calls to the engine.
const Buckets& call_buckets() {
    static const Buckets buckets = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                    0.25,  0.5,    1,     2.5,  5,     10,   60};
    return buckets;
}

// 50 us to ten seconds: what stays inside this host, and HTTP requests.
const Buckets& local_buckets() {
    static const Buckets buckets = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                    0.025,   0.05,   0.1,     0.25,   0.5,   1,      2.5,   10};
    return buckets;
}

const Buckets& group_buckets() {
    static const Buckets buckets = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
    return buckets;
}

// ----
// series, by label value

template <class Metric>
Family<Metric>& family_of(Registry& registry, const char* name, const char* help) {
    if constexpr (std::is_same_v<Metric, Counter>) {
        return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
    } else if constexpr (std::is_same_v<Metric, Gauge>) {
        return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
    } else {
        return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
    }
}

template <class Metric, class... Args>
Metric& lone(Registry& registry, const char* name, const char* help, const Args&... args) {
    return family_of<Metric>(registry, name, help).Add({}, args...);
}

// A family with one label: all its series exist from the start, and never another.
template <class Metric>
class ByLabel {
public:
    template <class... Args>
    ByLabel(Registry& registry, const char* name, const char* help, const char* label,
            Strings values, const Args&... args) {
        auto& family = family_of<Metric>(registry, name, help);
        for (const std::string_view value : values) {
            series_.emplace(value, &family.Add({{label, std::string(value)}}, args...));
        }
        other_ = &family.Add({{label, std::string(kOther)}}, args...);
    }

    Metric& at(std::string_view value) const {
        const auto found = series_.find(value);
        return found == series_.end() ? *other_ : *found->second;
    }

private:
    std::map<std::string_view, Metric*> series_;  // keys are the constants above
    Metric* other_ = nullptr;
};

// A counter with two labels, over the pairs that can be.
class ByPair {
public:
    ByPair(Registry& registry, const char* name, const char* help, std::string first,
           std::string second)
        : family_(family_of<Counter>(registry, name, help)),
          first_(std::move(first)),
          second_(std::move(second)),
          other_(&make(kOther, kOther)) {}

    void bear(std::string_view a, std::string_view b) { series_.emplace(Key(a, b), &make(a, b)); }

    Counter& at(std::string_view a, std::string_view b) const {
        const auto found = series_.find(Key(a, b));
        return found == series_.end() ? *other_ : *found->second;
    }

private:
    using Key = std::pair<std::string_view, std::string_view>;

    Counter& make(std::string_view a, std::string_view b) {
        return family_.Add({{first_, std::string(a)}, {second_, std::string(b)}});
    }

    Family<Counter>& family_;
    std::string first_;
    std::string second_;
    std::map<Key, Counter*> series_;
    Counter* other_;
};

void observe(Histogram& histogram, const std::optional<double>& seconds) {
    if (seconds) {
        histogram.Observe(std::max(0.0, *seconds));  // wall clocks may step back
    }
}

void put(Gauge& gauge, std::int64_t value) { gauge.Set(static_cast<double>(value)); }

void count(Counter& counter, std::int64_t more) {
    if (more > 0) {
        counter.Increment(static_cast<double>(more));
    }
}

}  // namespace

// ----
// the families

struct Families::Series {
    explicit Series(std::string_view version) {
        for (const Outcome& outcome : kOutcomes) {
            finished.bear(outcome.phase, outcome.reason);
        }
        for (const std::string_view endpoint : kEngineEndpoints) {
            for (const std::string_view result : kCallResults) {
                calls.bear(endpoint, result);
            }
        }
        for (const Route& route : kRoutes) {
            bear_route(route, route.success);
            for (const int code : kUsualErrors) {
                bear_route(route, code);
            }
        }
        family_of<Gauge>(registry, "mayfly_build_info", "Always 1; the version is in the label.")
            .Add({{"version", std::string(version)}})
            .Set(1);
    }

    void bear_route(const Route& route, int code) {
        requests.Add({{"method", std::string(route.method)},
                      {"route", std::string(route.path)},
                      {"code", std::to_string(code)}});
    }

    Registry registry;
    std::mutex refresh_mutex;
    std::function<void()> refresh;

    // ---- runs
    Counter& submitted = lone<Counter>(registry, "mayfly_runs_submitted_total",
                                       "Runs accepted: durable before the client heard so.");
    Counter& attempts = lone<Counter>(registry, "mayfly_attempts_started_total",
                                      "Attempts that the engine acknowledged as started.");
    ByPair finished{registry, "mayfly_runs_finished_total",
                    "Runs that reached a terminal phase, by phase and reason.", "phase", "reason"};
    Histogram& queue_clock =
        lone<Histogram>(registry, "mayfly_run_queue_seconds",
                        "From accepted to admitted, of finished runs.", run_buckets());
    Histogram& prepare_clock =
        lone<Histogram>(registry, "mayfly_run_prepare_seconds",
                        "From admitted to started, of finished runs.", run_buckets());
    Histogram& run_clock =
        lone<Histogram>(registry, "mayfly_run_run_seconds",
                        "From started to exited, of finished runs.", run_buckets());
    Histogram& harvest_clock =
        lone<Histogram>(registry, "mayfly_run_harvest_seconds",
                        "From exited to durable, of finished runs.", run_buckets());
    Histogram& total_clock =
        lone<Histogram>(registry, "mayfly_run_total_seconds",
                        "From accepted to durable, of finished runs.", run_buckets());
    ByLabel<Gauge> runs{registry, "mayfly_runs", "Runs stored right now, by phase.", "phase",
                        kPhases};
    ByLabel<Gauge> pending{registry, "mayfly_runs_pending",
                           "Queued or preparing runs that wait, by what they wait for.", "reason",
                           kPendingReasons};
    Gauge& oldest_queued = lone<Gauge>(registry, "mayfly_oldest_queued_seconds",
                                       "Age of the oldest queued run; 0 when none is.");
    ByLabel<Gauge> stuck{registry, "mayfly_runs_stuck",
                         "Runs long past their own deadline, by what they are stuck in.", "where",
                         kStuckWhere};
    ByLabel<Gauge> slots{registry, "mayfly_slots", "Slots there are, by kind.", "kind",
                         kSlotKinds};
    ByLabel<Gauge> slots_used{registry, "mayfly_slots_used", "Slots taken right now, by kind.",
                              "kind", kSlotKinds};

    // ---- the loop
    ByLabel<Counter> reconciles{registry, "mayfly_reconcile_total",
                                "Reconciles of one run, by what they came to.", "result",
                                kReconcileResults};
    Counter& reconcile_errors =
        lone<Counter>(registry, "mayfly_reconcile_errors_total", "Reconciles that failed.");
    Counter& terminal_errors = lone<Counter>(
        registry, "mayfly_terminal_reconcile_errors_total",
        "Runs that ended of a failure that was not their script's, nor their client's.");
    Histogram& reconcile_time =
        lone<Histogram>(registry, "mayfly_reconcile_time_seconds",
                        "Length of one reconcile, its engine calls included.", run_buckets());
    Gauge& active_workers =
        lone<Gauge>(registry, "mayfly_active_workers", "Reconciles under way.");
    Gauge& queue_depth =
        lone<Gauge>(registry, "mayfly_workqueue_depth", "Keys that wait for a reconcile.");
    Counter& queue_adds =
        lone<Counter>(registry, "mayfly_workqueue_adds_total", "Keys added to the work queue.");
    Counter& queue_retries = lone<Counter>(registry, "mayfly_workqueue_retries_total",
                                           "Keys added again after a failure, with backoff.");
    Histogram& queue_wait =
        lone<Histogram>(registry, "mayfly_workqueue_queue_duration_seconds",
                        "How long a key waited in the work queue.", local_buckets());
    Gauge& longest_running =
        lone<Gauge>(registry, "mayfly_workqueue_longest_running_processor_seconds",
                    "Age of the oldest reconcile under way; 0 when none is.");
    Gauge& unfinished_work = lone<Gauge>(registry, "mayfly_workqueue_unfinished_work_seconds",
                                         "Ages of all reconciles under way, added up.");
    Counter& resyncs = lone<Counter>(registry, "mayfly_resyncs_total",
                                     "Full looks at the engine, whether they worked or not.");
    Counter& resync_errors =
        lone<Counter>(registry, "mayfly_resync_errors_total", "Full looks that failed.");
    Histogram& resync_time =
        lone<Histogram>(registry, "mayfly_resync_seconds",
                        "Length of one full look at the engine.", call_buckets());

    // ---- the engine
    ByPair calls{registry, "mayfly_engine_calls_total",
                 "Calls to the engine, by endpoint and how they ended.", "endpoint", "result"};
    ByLabel<Histogram> call_time{registry,
                                 "mayfly_engine_call_seconds",
                                 "Length of one call to the engine, bodies included.",
                                 "endpoint",
                                 kEngineEndpoints,
                                 call_buckets()};
    Family<Gauge>& engine_up =
        family_of<Gauge>(registry, "mayfly_engine_up", "1 while the engine answers, else 0.");
    Family<Gauge>& engine_info =
        family_of<Gauge>(registry, "mayfly_engine_info",
                         "Always 1; what the engine said of itself is in the labels.");
    std::mutex engines_mutex;
    std::map<std::string, Gauge*, std::less<>> engine_infos;  // the series of each engine, if any
    Counter& events = lone<Counter>(registry, "mayfly_engine_events_received_total",
                                    "Events received from the engine.");
    Histogram& event_lag =
        lone<Histogram>(registry, "mayfly_engine_event_lag_seconds",
                        "From the engine's stamp on an event to us.", local_buckets());
    Counter& event_reconnects =
        lone<Counter>(registry, "mayfly_engine_event_reconnects_total",
                      "Times that the stream of events ended and was opened again.");
    ByLabel<Gauge> owned{registry, "mayfly_owned_objects",
                         "Objects on the engine that carry our instance id, by kind.", "kind",
                         kOwnedKinds};
    ByLabel<Gauge> orphans{registry, "mayfly_orphan_objects",
                           "Objects of ours on the engine that no record knows, by kind.", "kind",
                           kOwnedKinds};
    ByLabel<Gauge> leaked{registry, "mayfly_leaked_objects",
                          "Objects of ours that are due to be removed for long, by kind.", "kind",
                          kOwnedKinds};
    Gauge& sweep_held = lone<Gauge>(
        registry, "mayfly_sweep_held",
        "1 while the brake holds back the sweep: so much garbage looks like a lost database.");
    ByLabel<Counter> sweeps{registry, "mayfly_sweep_actions_total",
                            "What sweeps removed, would have removed or held back.", "action",
                            kSweepActions};

    // ---- what is kept
    Counter& output_bytes =
        lone<Counter>(registry, "mayfly_harvested_output_bytes_total", "Artifact bytes stored.");
    Counter& log_bytes =
        lone<Counter>(registry, "mayfly_harvested_log_bytes_total", "Log bytes stored.");
    Counter& files = lone<Counter>(registry, "mayfly_harvested_files_total", "Artifacts stored.");
    Counter& harvest_failures =
        lone<Counter>(registry, "mayfly_harvest_failures_total",
                      "Attempts to fetch the results of a run that failed or came back torn.");
    Histogram& commit_time = lone<Histogram>(
        registry, "mayfly_store_commit_seconds",
        "Length of one durable transaction, from its first statement.", local_buckets());
    Histogram& commit_group =
        lone<Histogram>(registry, "mayfly_store_commit_mutations",
                        "Changes committed together in one transaction.", group_buckets());
    Gauge& database_bytes = lone<Gauge>(registry, "mayfly_store_database_bytes",
                                        "Size of the database and its write-ahead log.");
    Gauge& spool_bytes = lone<Gauge>(registry, "mayfly_store_spool_bytes",
                                     "Inputs, logs and artifacts kept in files.");
    Gauge& disk_free = lone<Gauge>(registry, "mayfly_disk_free_bytes",
                                   "Free on the file system of the data directory.");
    Gauge& disk_low = lone<Gauge>(registry, "mayfly_disk_low_watermark_bytes",
                                  "With less than this free no run is admitted.");
    Gauge& disk_full = lone<Gauge>(registry, "mayfly_disk_full_watermark_bytes",
                                   "With less than this free no run is accepted.");

    // ---- webhooks
    ByLabel<Counter> webhook_tries{registry, "mayfly_webhook_deliveries_total",
                                   "Tries to deliver a webhook, by how they ended.", "result",
                                   kWebhookResults};
    Gauge& webhooks_pending = lone<Gauge>(registry, "mayfly_webhook_pending",
                                          "Deliveries that are neither made nor given up.");
    Histogram& webhook_time =
        lone<Histogram>(registry, "mayfly_webhook_try_seconds",
                        "Length of one try to deliver a webhook.", call_buckets());

    // ---- the API
    Gauge& in_flight = lone<Gauge>(registry, "mayfly_api_requests_in_flight",
                                   "HTTP requests begun and not yet answered in full.");
    Gauge& followers = lone<Gauge>(registry, "mayfly_api_followers",
                                   "Clients that follow a log or the events right now.");
    Gauge& log_feeds = lone<Gauge>(registry, "mayfly_log_feeds",
                                   "Runs whose live log is read from an engine right now.");
    Family<Counter>& requests = family_of<Counter>(
        registry, "mayfly_api_requests_total", "HTTP requests, by method, route and status code.");
    ByLabel<Histogram> request_time{
        registry,
        "mayfly_api_request_seconds",
        "Length of one HTTP request, from its head to the last byte of the answer.",
        "route",
        routes(),
        local_buckets()};

    static Strings routes() {
        static const std::vector<std::string_view> paths = [] {
            std::vector<std::string_view> out;
            for (const Route& route : kRoutes) {
                out.push_back(route.path);
            }
            return out;
        }();
        return paths;
    }
};

Families::Families(std::string_view version) : series_(std::make_unique<Series>(version)) {}
Families::~Families() = default;

// ----
// runs

void Families::run_submitted() { series_->submitted.Increment(); }

void Families::attempt_started() { series_->attempts.Increment(); }

void Families::run_finished(std::string_view phase, std::string_view reason,
                            const RunClocks& clocks) {
    series_->finished.at(phase, reason).Increment();
    observe(series_->queue_clock, clocks.queue);
    observe(series_->prepare_clock, clocks.prepare);
    observe(series_->run_clock, clocks.run);
    observe(series_->harvest_clock, clocks.harvest);
    observe(series_->total_clock, clocks.total);
}

void Families::set_runs(std::string_view phase, std::int64_t count) {
    put(series_->runs.at(phase), count);
}

void Families::set_pending(std::string_view reason, std::int64_t count) {
    put(series_->pending.at(reason), count);
}

void Families::set_oldest_queued_seconds(double age) { series_->oldest_queued.Set(age); }

void Families::set_stuck(std::string_view where, std::int64_t count) {
    put(series_->stuck.at(where), count);
}

void Families::set_slots(std::string_view kind, std::int64_t used, std::int64_t total) {
    put(series_->slots.at(kind), total);
    put(series_->slots_used.at(kind), used);
}

// ----
// the loop

void Families::reconciled(std::string_view result, double seconds) {
    series_->reconciles.at(result).Increment();
    if (result == kReconcileError) series_->reconcile_errors.Increment();
    observe(series_->reconcile_time, seconds);
}

void Families::reconcile_gave_up() { series_->terminal_errors.Increment(); }

void Families::queue_added() { series_->queue_adds.Increment(); }

void Families::queue_retried() { series_->queue_retries.Increment(); }

void Families::queue_waited(double seconds) { observe(series_->queue_wait, seconds); }

void Families::set_queue_depth(std::int64_t keys) { put(series_->queue_depth, keys); }

void Families::set_reconciles(std::int64_t under_way, double longest_seconds, double all_seconds) {
    put(series_->active_workers, under_way);
    series_->longest_running.Set(longest_seconds);
    series_->unfinished_work.Set(all_seconds);
}

void Families::resynced(bool ok, double seconds) {
    series_->resyncs.Increment();
    if (!ok) {
        series_->resync_errors.Increment();
    }
    observe(series_->resync_time, seconds);
}

// ----
// the engine

void Families::engine_call(std::string_view endpoint, std::string_view result, double seconds) {
    series_->calls.at(endpoint, result).Increment();
    observe(series_->call_time.at(endpoint), seconds);
}

void Families::set_engine(std::string_view engine, bool up, std::string_view version,
                          std::string_view api_version) {
    const std::string name(engine);
    series_->engine_up.Add({{"engine", name}}).Set(up ? 1 : 0);
    const std::lock_guard lock(series_->engines_mutex);
    Gauge*& info = series_->engine_infos[name];
    if (info != nullptr) {
        // What it said before; the series would else stay beside the new one for ever.
        series_->engine_info.Remove(info);
        info = nullptr;
    }
    if (!version.empty()) {
        info = &series_->engine_info.Add({{"engine", name},
                                          {"version", std::string(version)},
                                          {"api_version", std::string(api_version)}});
        info->Set(1);
    }
}

void Families::event_received(double lag_seconds) {
    series_->events.Increment();
    observe(series_->event_lag, lag_seconds);
}

void Families::events_reconnected() { series_->event_reconnects.Increment(); }

void Families::set_owned(std::string_view kind, std::int64_t count) {
    put(series_->owned.at(kind), count);
}

void Families::set_orphans(std::string_view kind, std::int64_t count) {
    put(series_->orphans.at(kind), count);
}

void Families::set_leaked(std::string_view kind, std::int64_t count) {
    put(series_->leaked.at(kind), count);
}

void Families::set_sweep_held(bool held) { series_->sweep_held.Set(held ? 1 : 0); }

void Families::swept(std::string_view action, std::int64_t count) {
    metrics::count(series_->sweeps.at(action), count);
}

// ----
// what is kept

void Families::harvested(std::int64_t output_bytes, std::int64_t log_bytes, std::int64_t files) {
    count(series_->output_bytes, output_bytes);
    count(series_->log_bytes, log_bytes);
    count(series_->files, files);
}

void Families::harvest_failed() { series_->harvest_failures.Increment(); }

void Families::committed(std::int64_t mutations, double seconds) {
    series_->commit_group.Observe(static_cast<double>(mutations));
    observe(series_->commit_time, seconds);
}

void Families::set_database_bytes(std::int64_t bytes) { put(series_->database_bytes, bytes); }

void Families::set_spool_bytes(std::int64_t bytes) { put(series_->spool_bytes, bytes); }

void Families::set_disk(std::int64_t free_bytes, std::int64_t low_bytes, std::int64_t full_bytes) {
    put(series_->disk_free, free_bytes);
    put(series_->disk_low, low_bytes);
    put(series_->disk_full, full_bytes);
}

// ----
// webhooks

void Families::webhook_tried(std::string_view result, double seconds) {
    series_->webhook_tries.at(result).Increment();
    observe(series_->webhook_time, seconds);
}

void Families::set_webhooks_pending(std::int64_t deliveries) {
    put(series_->webhooks_pending, deliveries);
}

// ----
// the API

void Families::set_followers(std::int64_t followers) { put(series_->followers, followers); }
void Families::set_log_feeds(std::int64_t feeds) { put(series_->log_feeds, feeds); }
void Families::api_request_began() { series_->in_flight.Increment(); }

void Families::api_request(std::string_view method, std::string_view route, int code,
                           double seconds) {
    series_->in_flight.Decrement();
    const bool known_method = std::ranges::find(kMethods, method) != kMethods.end();
    const bool known_route = std::ranges::find(kRoutes, route, &Route::path) != kRoutes.end();
    const bool known_code = code >= 100 && code <= 599;
    series_->requests
        .Add({{"method", std::string(known_method ? method : kOther)},
              {"route", std::string(known_route ? route : kOther)},
              {"code", known_code ? std::to_string(code) : std::string(kOther)}})
        .Increment();
    observe(series_->request_time.at(route), seconds);
}

// ----
// exposition

void Families::on_expose(std::function<void()> refresh) {
    const std::lock_guard lock(series_->refresh_mutex);
    series_->refresh = std::move(refresh);
}

std::string Families::expose() {
    {
        const std::lock_guard lock(series_->refresh_mutex);
        if (series_->refresh) series_->refresh();
    }
    std::vector<MetricFamily> families = series_->registry.Collect();
    std::ranges::move(collect_process(), std::back_inserter(families));
    std::ranges::sort(families, {}, &MetricFamily::name);
    for (MetricFamily& family : families) {
        std::ranges::sort(family.metric, {}, &prometheus::ClientMetric::label);
    }
    return prometheus::TextSerializer().Serialize(families);
}

}  // namespace mayfly::metrics
