#include "controller/work_queue.h"

#include <algorithm>

namespace mayfly::controller {

void WorkQueue::make_ready(const std::string& key, store::UnixMs now_ms) {
    if (auto due = due_.find(key); due != due_.end()) {
        by_due_.erase({due->second, key});
        due_.erase(due);
    }
    if (ready_.try_emplace(key, now_ms).second) order_.push_back(key);
}

void WorkQueue::add(const std::string& key, store::UnixMs now_ms) {
    ++adds_;
    if (auto working = working_.find(key); working != working_.end()) {
        working->second = true;
        return;
    }
    make_ready(key, now_ms);
}

void WorkQueue::add_at(const std::string& key, store::UnixMs due_ms, store::UnixMs now_ms) {
    if (due_ms <= now_ms) {
        add(key, now_ms);
        return;
    }
    if (ready_.contains(key)) return;
    auto [entry, is_new] = due_.try_emplace(key, due_ms);
    if (!is_new) {
        if (entry->second <= due_ms) return;
        by_due_.erase({entry->second, key});
        entry->second = due_ms;
    }
    by_due_.emplace(due_ms, key);
}

void WorkQueue::move_due(store::UnixMs now_ms) {
    while (!by_due_.empty() && by_due_.begin()->first <= now_ms) {
        const auto key = by_due_.begin()->second;
        by_due_.erase(by_due_.begin());
        due_.erase(key);
        if (auto working = working_.find(key); working != working_.end()) {
            working->second = true;
        } else {
            make_ready(key, now_ms);
        }
    }
}

std::optional<std::string> WorkQueue::take(store::UnixMs now_ms) {
    move_due(now_ms);
    while (!order_.empty()) {
        auto key = std::move(order_.front());
        order_.pop_front();
        auto entry = ready_.find(key);
        if (entry == ready_.end()) continue;  // forgotten since
        last_wait_ms_ = std::max<std::int64_t>(0, now_ms - entry->second);
        ready_.erase(entry);
        working_.emplace(key, false);
        return key;
    }
    return std::nullopt;
}

void WorkQueue::done(const std::string& key, store::UnixMs now_ms) {
    auto working = working_.find(key);
    if (working == working_.end()) return;
    const bool again = working->second;
    working_.erase(working);
    if (again) make_ready(key, now_ms);
}

void WorkQueue::forget(const std::string& key) {
    if (auto due = due_.find(key); due != due_.end()) {
        by_due_.erase({due->second, key});
        due_.erase(due);
    }
    ready_.erase(key);
    working_.erase(key);
}

std::optional<store::UnixMs> WorkQueue::next_due_ms() const {
    if (by_due_.empty()) return std::nullopt;
    return by_due_.begin()->first;
}

std::optional<store::UnixMs> WorkQueue::due_ms(const std::string& key) const {
    const auto found = due_.find(key);
    if (found == due_.end()) return std::nullopt;
    return found->second;
}

}  // namespace mayfly::controller
