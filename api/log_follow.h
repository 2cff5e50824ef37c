// The log of one run from a place on, live while it runs and stored when it has ended, as one
// stream of bytes for each of stdout and stderr.
//
// What is live is a preview that is forgotten; what is stored is read from the place where the
// preview stopped. A run that is tried again begins anew: the bytes of the attempt before are
// nobody's. On the loop's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "api/http.h"
#include "api/sse.h"
#include "api/world.h"

namespace mayfly::api {

struct FollowStep {
    std::vector<store::LogChunk> chunks;  // to send, in this order
    bool restarted = false;               // another attempt: offsets begin at 0 again
    bool whole = false;                   // the run is terminal and everything was handed out
    bool failed = false;                  // it cannot be gone on with
};

class LogFollow {
public:
    // `only`: one stream; nothing: both. `place.attempt` 0: whichever it is.
    LogFollow(const World& world, store::RunRecord record, std::optional<store::LogStream> only,
              LogPlace place);

    // Opens the live log if there is one now: what may be refused is refused before an answer has
    // begun. `overloaded` when too many runs are followed.
    Answer<void> open();
    // Comes back with what is new, or with nothing after at most a second.
    boost::asio::awaitable<FollowStep> next();

    [[nodiscard]] const store::Run& run() const { return record_.run; }
    [[nodiscard]] const LogPlace& place() const { return place_; }

private:
    [[nodiscard]] std::int64_t& place_of(store::LogStream stream) {
        return stream == store::LogStream::out ? place_.out : place_.err;
    }
    boost::asio::awaitable<bool> refresh(std::int64_t wait_ms);
    bool adopt_attempt();
    void take(store::LogNews news, FollowStep& step);
    bool read_stored(store::LogStream stream, FollowStep& step);

    World world_;
    store::RunRecord record_;
    std::optional<store::LogStream> only_;
    LogPlace place_;
    std::unique_ptr<store::LiveLog> live_;
    bool live_over_ = false;  // of this attempt: the rest comes when it is stored
    std::int64_t open_again_us_ = 0;
    std::int64_t refreshed_us_ = 0;
    OwnedFd stored_[2];
    bool stored_done_[2] = {false, false};
};

}  // namespace mayfly::api
