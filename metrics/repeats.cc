#include "metrics/repeats.h"

#include <algorithm>
#include <limits>

namespace mayfly::metrics {

bool Repeats::admit(const std::string& key, std::int64_t now_ms) {
    auto found = windows_.find(key);
    if (found == windows_.end()) {
        if (windows_.size() >= kKeysMax) return true;
        found = windows_.emplace(key, Window{now_ms + kWindowMs, 0}).first;
        next_end_ms_ = windows_.size() == 1 ? found->second.ends_ms
                                            : std::min(next_end_ms_, found->second.ends_ms);
    }
    return ++found->second.count <= kBurst;
}

std::vector<Repeats::Held> Repeats::take_held(std::int64_t now_ms) {
    std::vector<Held> held;
    if (windows_.empty() || now_ms < next_end_ms_) return held;
    next_end_ms_ = std::numeric_limits<std::int64_t>::max();
    for (auto at = windows_.begin(); at != windows_.end();) {
        const auto& window = at->second;
        if (now_ms < window.ends_ms) {
            next_end_ms_ = std::min(next_end_ms_, window.ends_ms);
            ++at;
            continue;
        }
        if (window.count > kBurst) held.push_back({at->first, window.count - kBurst});
        at = windows_.erase(at);
    }
    return held;
}

}  // namespace mayfly::metrics
