// Keys that want attention. A key is a run's id and nothing else: what happened is never in the
// queue, the driver looks.
//
//   - a key that is added twice before it is taken is taken once
//   - a key that is being worked on is not given out again; if it was added meanwhile, it is ready
//   when it is done
//   - of two delays for one key the earlier wins; adding it without a delay beats both
//   - first ready, first out
//
// Pure: time is an argument. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "store/clock.h"

namespace mayfly::controller {

class WorkQueue {
public:
    void add(const std::string& key, store::UnixMs now_ms);
    void add_at(const std::string& key, store::UnixMs due_ms, store::UnixMs now_ms);

    // The next ready key, now being worked on; nothing if none is due.
    [[nodiscard]] std::optional<std::string> take(store::UnixMs now_ms);
    // The work on `key` is over.
    void done(const std::string& key, store::UnixMs now_ms);
    // Forget everything about it, also while it is being worked on.
    void forget(const std::string& key);

    // When the earliest delayed key is due; nothing if there is none.
    [[nodiscard]] std::optional<store::UnixMs> next_due_ms() const;
    // When this key is due, if it is delayed.
    [[nodiscard]] std::optional<store::UnixMs> due_ms(const std::string& key) const;
    [[nodiscard]] std::size_t ready_count() const { return ready_.size(); }
    [[nodiscard]] std::size_t working_count() const { return working_.size(); }
    [[nodiscard]] std::size_t delayed_count() const { return due_.size(); }
    [[nodiscard]] bool is_working(const std::string& key) const { return working_.contains(key); }
    [[nodiscard]] std::int64_t adds() const { return adds_; }
    // How long the key taken last had been ready.
    [[nodiscard]] std::int64_t last_wait_ms() const { return last_wait_ms_; }

private:
    void make_ready(const std::string& key, store::UnixMs now_ms);
    void move_due(store::UnixMs now_ms);

    std::deque<std::string> order_;  // ready keys; stale entries are skipped
    std::unordered_map<std::string, store::UnixMs> ready_;  // key -> since
    std::set<std::pair<store::UnixMs, std::string>> by_due_;
    std::unordered_map<std::string, store::UnixMs> due_;
    std::unordered_map<std::string, bool> working_;  // key -> was added again meanwhile
    std::int64_t adds_ = 0;
    std::int64_t last_wait_ms_ = 0;
};

}  // namespace mayfly::controller
