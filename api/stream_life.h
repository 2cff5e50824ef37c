// What every answer without an end shares: it counts against max_followers, notices that its
// client has left or that we are stopping, and says something at least every so often.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "api/http.h"
#include "store/clock.h"
#include "store/live_status.h"

namespace mayfly::api {

// How long a stream waits for news before it looks whether anybody is still there.
inline constexpr std::int64_t kStreamSliceMs = 1'000;
// A silent stream sends a comment so often: proxies close what is silent for a minute.
inline constexpr std::int64_t kKeepAliveMs = 15'000;

class StreamLife {
public:
    // `count` is one place of max_followers, given back when it is destroyed.
    StreamLife(Client* client, const bool& stopping, const store::LiveStatus& live,
               const store::Clock& clock, std::shared_ptr<void> count)
        : client_(client),
          stopping_(&stopping),
          live_(&live),
          clock_(&clock),
          count_(std::move(count)),
          spoke_us_(clock.steady_us()) {}

    [[nodiscard]] bool over() const { return *stopping_ || live_->draining || client_->gone(); }
    void spoke() { spoke_us_ = clock_->steady_us(); }
    // True when it is time for a sign of life; counts as one.
    [[nodiscard]] bool should_speak() {
        if (clock_->steady_us() - spoke_us_ < kKeepAliveMs * 1'000) return false;
        spoke();
        return true;
    }

private:
    Client* client_;
    const bool* stopping_;
    const store::LiveStatus* live_;
    const store::Clock* clock_;
    std::shared_ptr<void> count_;
    std::int64_t spoke_us_;
};

}  // namespace mayfly::api
