// Which of many equal log lines are written. Pure: the time comes in.
//
// The first `burst` of a key in a window are written, the others counted; when the window is over,
// take_held says how many were held back. An engine that is away makes every run say the same:
// ten of those lines tell as much as a thousand.
//
// Thread: one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mayfly::metrics {

class Repeats {
public:
    static constexpr std::int64_t kBurst = 10;
    static constexpr std::int64_t kWindowMs = 10'000;
    static constexpr std::size_t kKeysMax = 1'024;  // beyond: a new key is always written

    struct Held {
        std::string key;
        std::int64_t count;
    };

    [[nodiscard]] bool admit(const std::string& key, std::int64_t now_ms);
    // Forgets the windows that are over, and names those that held lines back.
    [[nodiscard]] std::vector<Held> take_held(std::int64_t now_ms);

private:
    struct Window {
        std::int64_t ends_ms = 0;
        std::int64_t count = 0;
    };
    std::map<std::string, Window> windows_;
    std::int64_t next_end_ms_ = 0;  // before it no window is over
};

}  // namespace mayfly::metrics
