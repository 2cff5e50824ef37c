// Prepared images: base image + /work (root, 1777) + PID 1. Made once per base image, found again
// after a restart by label, shared by all runs.
//
// A volume that is mounted for the first time takes owner and mode of its mount point from the
// image; nothing else that an engine offers sets them (measured). So: a never-started container of
// the base image, a tar put at "/", commit.
//
// plan() only asks: state() answers from memory at once, request() starts the work in the
// background, single-flight per reference, and `on_change` tells when an answer has changed (state
// or progress, progress at most every second). On the loop's thread only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "controller/alarm.h"
#include "controller/engine/engine.h"
#include "controller/plan.h"
#include "store/clock.h"

namespace mayfly::controller {

enum class PullPolicy { never, missing, always };

struct ImageSettings {
    std::string instance_id;
    std::string repository_prefix = "mayfly-prepared";
    PullPolicy pull_policy = PullPolicy::missing;
    std::int64_t pull_tries_max = 3;
    std::int64_t pull_retry_ms = 2'000;  // doubled per try
    std::int64_t recheck_ms = 30'000;  // a reference may be moved to another image behind our back
    BackoffPolicy engine_backoff{200, 5'000};
    std::int64_t failure_kept_ms = 5'000;  // a definite failure is answered from memory this long
    std::int64_t unused_kept_ms =
        7LL * 86'400'000;  // a prepared image that no run used for this long is swept
};

class ImageCache {
public:
    ImageCache(boost::asio::any_io_executor executor, Engine& engine, Alarms& alarms,
               const store::Clock& clock, store::Random& random, ImageSettings settings,
               std::function<void(const std::string& reference)> on_change);

    [[nodiscard]] ImageEvidence state(const std::string& reference) const;
    // The last prepared image of `reference`, however old the answer: a plan that was made by it
    // is carried out by it.
    [[nodiscard]] std::string prepared_id(const std::string& reference) const;
    void request(const std::string& reference);
    // The engine says that the prepared image is gone: forget it, so that the next request makes
    // it anew.
    void invalidate(const std::string& reference);
    // For how long this process has asked for it in vain; 0 = it has not.
    [[nodiscard]] std::int64_t failing_for_ms(const std::string& reference) const;
    // The same, of whichever base it was made.
    void invalidate_prepared(const std::string& prepared_id);
    // Any prepared image that is known to exist: enough for a container that is never started. ""
    // = none.
    [[nodiscard]] std::string any_prepared_id() const;
    void forget_all();  // the engine may be another one now

    struct Swept {
        std::int64_t removed = 0;
        std::int64_t kept = 0;  // of ours, on the engine
    };
    // Removes prepared images of ours that are of an older PID 1, or unused for long, and not in
    // use.
    boost::asio::awaitable<Swept> sweep(std::set<std::string> images_in_use);

private:
    struct Entry {
        ImageEvidence evidence;
        bool in_flight = false;
        std::int64_t failures = 0;  // in a row, of an engine that was not there
        store::UnixMs settled_ms = 0;
        store::UnixMs failing_since_ms = 0;  // 0 = it was there when last asked for
        store::UnixMs progress_ms = 0;
        store::UnixMs used_ms = 0;
    };
    struct Failure {
        store::Reason reason = store::Reason::ImageUnavailable;
        std::string message;
        bool engine_down = false;
    };
    template <class T>
    using Outcome = std::expected<T, Failure>;

    boost::asio::awaitable<void> settle(std::string reference);
    boost::asio::awaitable<Outcome<std::string>> resolve(std::string reference);
    boost::asio::awaitable<Outcome<ImageFacts>> base_image(std::string reference);
    boost::asio::awaitable<Outcome<void>> pull(std::string reference);
    boost::asio::awaitable<Outcome<std::string>> build(std::string base_id, std::string tag);
    void set_progress(const std::string& reference, std::string text);
    [[nodiscard]] std::string repository() const;
    [[nodiscard]] std::string tag_for(const std::string& base_id) const;

    boost::asio::any_io_executor executor_;
    Engine& engine_;
    Alarms& alarms_;
    const store::Clock& clock_;
    store::Random& random_;
    ImageSettings settings_;
    std::function<void(const std::string&)> on_change_;
    std::map<std::string, Entry> entries_;
    std::string init_sha256_;
};

}  // namespace mayfly::controller
