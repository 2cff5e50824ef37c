// Engine-work slots: how many heavy engine calls are in flight at once. More than the engine can
// use only makes each slower (measured: at 8 in parallel no more runs/s than at 4).
//
// The nearer a run is to its end, the sooner it gets a slot: work under way drains, the engine
// does not fill up with half-made runs, and when a controller is killed again and again in the
// middle, some runs get all the way through between two kills instead of all of them getting
// half-way.
//
// Harvests get at most half of the slots: one may take seconds (an engine spends 10 us on each
// line of a log, measured), and a few of them must not stop everything else.
//
// Pure bookkeeping: a key that gets no slot waits in its class; release() names the key that now
// holds a reservation.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>

namespace mayfly::controller {

enum class WorkClass : std::uint8_t { harvest, remove, start, put, create, probe, fence };
inline constexpr std::size_t kWorkClassCount = 7;

class WorkSlots {
public:
    explicit WorkSlots(std::int64_t total)
        : total_(total), harvests_max_(total > 1 ? total / 2 : 1) {}

    // True: `key` holds a slot until release(). False: it waits, and must ask again when it is
    // named by release().
    [[nodiscard]] bool acquire(const std::string& key, WorkClass work) {
        if (reserved_.erase(key) > 0) {
            waiting_.erase(key);
            holders_[key] = work;
            return true;
        }
        if (holders_.contains(key)) return true;
        if (has_room(work)) {
            waiting_.erase(key);
            holders_[key] = work;
            return true;
        }
        if (waiting_.try_emplace(key, work).second) queue_of(work).push_back(key);
        return false;
    }

    // Gives back what `key` holds, a slot or a reservation, and reserves for the next in line:
    // that key should be planned again. Also right when it holds nothing.
    [[nodiscard]] std::optional<std::string> release(const std::string& key) {
        const bool held = holders_.erase(key) > 0;
        const bool reserved = reserved_.erase(key) > 0;
        if (!held && !reserved) return std::nullopt;
        return reserve_next();
    }

    // `key` will not ask again.
    [[nodiscard]] std::optional<std::string> forget(const std::string& key) {
        waiting_.erase(key);
        return release(key);
    }

    [[nodiscard]] std::int64_t used() const {
        return static_cast<std::int64_t>(holders_.size() + reserved_.size());
    }
    [[nodiscard]] std::int64_t total() const { return total_; }

private:
    std::deque<std::string>& queue_of(WorkClass work) {
        return queues_[static_cast<std::size_t>(work)];
    }

    [[nodiscard]] bool has_room(WorkClass work) const {
        if (used() >= total_) return false;
        if (work != WorkClass::harvest) return true;
        const auto is_harvest = [](const auto& slot) { return slot.second == WorkClass::harvest; };
        const auto harvests = std::count_if(holders_.begin(), holders_.end(), is_harvest) +
                              std::count_if(reserved_.begin(), reserved_.end(), is_harvest);
        return harvests < harvests_max_;
    }

    std::optional<std::string> reserve_next() {
        for (std::size_t index = 0; index < kWorkClassCount; ++index) {
            const auto work = static_cast<WorkClass>(index);
            auto& queue = queues_[index];
            while (!queue.empty() && has_room(work)) {
                auto key = std::move(queue.front());
                queue.pop_front();
                if (waiting_.erase(key) == 0) continue;  // it got one, or went away, since
                reserved_.emplace(key, work);
                return key;
            }
        }
        return std::nullopt;
    }

    std::int64_t total_;
    std::int64_t harvests_max_;
    std::unordered_map<std::string, WorkClass> holders_;
    std::unordered_map<std::string, WorkClass> reserved_;
    std::unordered_map<std::string, WorkClass> waiting_;
    std::array<std::deque<std::string>, kWorkClassCount> queues_;
};

}  // namespace mayfly::controller
