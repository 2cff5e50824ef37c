// Every metric family of mayflyd in one place: names, labels, label values, buckets.
//
// Pure bookkeeping. Label values come as the strings that the other rooms print anyway (phases,
// reasons, routes); the sets that are known are listed here and every series of them is born at 0,
// so that a rate() sees the first event. A value that is not listed is counted under "other": no
// caller, and no script, can make the number of series grow.
//
// Thread: every member may be called from every thread. Cost: a map lookup and an atomic add.
// Source: https://prometheus.io/docs/practices/naming/ (base units, suffixes); `promtool check
// metrics` is clean.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace mayfly::metrics {

// The clocks of one finished run, in seconds. A phase that was never entered has none.
struct RunClocks {
    std::optional<double> queue = std::nullopt;
    std::optional<double> prepare = std::nullopt;
    std::optional<double> run = std::nullopt;
    std::optional<double> harvest = std::nullopt;
    std::optional<double> total = std::nullopt;
};

// How one engine call ended; the same three as the engine's room knows, and `down` = nothing was
// sent.
inline constexpr std::string_view kCallOk = "ok";
inline constexpr std::string_view kCallDefinite = "definite";
inline constexpr std::string_view kCallUnknown = "unknown";
inline constexpr std::string_view kCallDown = "down";

// What one reconcile of one key came to, in the words of controller-runtime.
inline constexpr std::string_view kReconcileSuccess = "success";  // nothing left to do now
inline constexpr std::string_view kReconcileRequeueAfter = "requeue_after";  // at a known time
inline constexpr std::string_view kReconcileError = "error";  // comes again with backoff

// Kinds of slots.
inline constexpr std::string_view kSlotRun = "run";
inline constexpr std::string_view kSlotEngineWork = "engine_work";

// What a sweep did.
inline constexpr std::string_view kSweepRemoveContainer = "remove_container";
inline constexpr std::string_view kSweepRemoveVolume = "remove_volume";
inline constexpr std::string_view kSweepRemoveImage = "remove_image";
inline constexpr std::string_view kSweepExpireRun =
    "expire_run";  // past its ttl, or over a byte budget
inline constexpr std::string_view kSweepRemoveFiles = "remove_files";  // in the spool, of no run
inline constexpr std::string_view kSweepDryRun = "dry_run";            // would have removed
inline constexpr std::string_view kSweepHeld = "held";                 // the brake was on

// Where a run can be stuck.
inline constexpr std::string_view kStuckPreparing = "preparing";
inline constexpr std::string_view kStuckRunning = "running";
inline constexpr std::string_view kStuckHarvesting = "harvesting";
inline constexpr std::string_view kStuckCollecting = "collecting";  // ended, not yet cleaned up

// How one try of a webhook's delivery ended.
inline constexpr std::string_view kWebhookDelivered = "delivered";
inline constexpr std::string_view kWebhookFailed = "failed";    // it comes again
inline constexpr std::string_view kWebhookRefused = "refused";  // by the address rules; again
inline constexpr std::string_view kWebhookGivenUp = "given_up";

// What may be left on an engine.
inline constexpr std::string_view kOwnedContainer = "container";
inline constexpr std::string_view kOwnedVolume = "volume";
inline constexpr std::string_view kOwnedImage = "image";

class Families {
public:
    explicit Families(std::string_view version);
    ~Families();
    Families(const Families&) = delete;
    Families& operator=(const Families&) = delete;

    // ---- runs
    void run_submitted();
    void attempt_started();  // a start was acknowledged by the engine
    void run_finished(std::string_view phase, std::string_view reason, const RunClocks& clocks);
    void set_runs(std::string_view phase, std::int64_t count);      // stored right now, by phase
    void set_pending(std::string_view reason, std::int64_t count);  // not further because of
    void set_oldest_queued_seconds(double age);                     // 0 = nothing is queued
    void set_stuck(std::string_view where, std::int64_t count);     // long past their own deadline
    void set_slots(std::string_view kind, std::int64_t used, std::int64_t total);

    // ---- the loop
    void reconciled(std::string_view result, double seconds);
    void reconcile_gave_up();  // a run ended of a failure that was not its script's
    void queue_added();
    void queue_retried();
    void queue_waited(double seconds);  // from added to taken
    void set_queue_depth(std::int64_t keys);
    // Of the reconciles under way; 0 = none.
    void set_reconciles(std::int64_t under_way, double longest_seconds, double all_seconds);
    void resynced(bool ok, double seconds);

    // ---- the engine
    // `endpoint` is a template such as "POST /containers/{id}/start", as in EngineError::call.
    void engine_call(std::string_view endpoint, std::string_view result, double seconds);
    // Replaces what was known of that engine. Version strings are as the engine says; "" while it
    // is down.
    void set_engine(std::string_view engine, bool up, std::string_view version,
                    std::string_view api_version);
    void event_received(double lag_seconds);  // by both clocks; a negative lag counts as 0
    void events_reconnected();
    void set_owned(std::string_view kind, std::int64_t count);    // carry our instance id
    void set_orphans(std::string_view kind, std::int64_t count);  // and no record knows them
    void set_leaked(std::string_view kind, std::int64_t count);   // due to go, and still there
    void set_sweep_held(bool held);                               // the brake is on
    void swept(std::string_view action, std::int64_t count = 1);

    // ---- what is kept
    void harvested(std::int64_t output_bytes, std::int64_t log_bytes, std::int64_t files);
    void harvest_failed();  // an attempt at it; it comes again or the run is lost
    void committed(std::int64_t mutations,
                   double seconds);  // one transaction, `mutations` grouped in it
    void set_database_bytes(std::int64_t bytes);
    void set_spool_bytes(std::int64_t bytes);
    // Of the data directory's file system. Under `low` nothing is admitted, under `full` nothing
    // is accepted.
    void set_disk(std::int64_t free_bytes, std::int64_t low_bytes, std::int64_t full_bytes);

    // ---- webhooks
    void webhook_tried(std::string_view result, double seconds);
    void set_webhooks_pending(std::int64_t deliveries);

    // ---- the API
    void api_request_began();
    void set_followers(std::int64_t followers);
    void set_log_feeds(std::int64_t feeds);
    // Ends one that began. `route` is a template such as "/v1/runs/{id}".
    void api_request(std::string_view method, std::string_view route, int code, double seconds);

    // Called before each exposition, on its thread, to set what changes all the time. Null: none.
    // Who registers lives on that thread: mayflyd answers /metrics on the loop's.
    void on_expose(std::function<void()> refresh);

    // The text exposition format 0.0.4 ("text/plain; version=0.0.4"), families and series in the
    // order of their names. Reads /proc/self for the process_* families.
    [[nodiscard]] std::string expose();

private:
    struct Series;
    std::unique_ptr<Series> series_;
};

}  // namespace mayfly::metrics
