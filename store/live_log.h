// The output of a run while it runs, as followers see it: where the API asks and the controller
// answers. On the loop's thread.
//
// A live log is a preview. What is kept is read again when the run has ended, and is the truth;
// a follower goes on there at the offset where the live log left him.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/error.h"
#include "store/run.h"

namespace mayfly::store {

enum class LogStream : std::uint8_t { out = 0, err = 1 };
[[nodiscard]] constexpr std::string_view to_string(LogStream stream) {
    return stream == LogStream::out ? "stdout" : "stderr";
}

// Bytes of one stream, where they begin in it.
struct LogChunk {
    LogStream stream = LogStream::out;
    std::int64_t offset = 0;
    std::string bytes;
};

struct LogNews {
    std::vector<LogChunk> chunks;  // in the order in which the engine gave them out
    bool ended = false;            // the engine's stream is over; nothing comes after this
    std::string error;             // it did not end by itself: open another
};

// One follower's place in the live log of one attempt; from its beginning.
class LiveLog {
public:
    virtual ~LiveLog() = default;
    // What is new, at most some 64 KiB; waits up to `timeout_ms` for it, and comes back with
    // nothing then.
    virtual boost::asio::awaitable<LogNews> next(std::int64_t timeout_ms) = 0;
};

class LiveLogs {
public:
    virtual ~LiveLogs() = default;
    // However many follow an attempt, the engine is asked once. `full`: as many attempts are
    // followed as the operator allows. `io`: there is no room to keep what comes.
    virtual Result<std::unique_ptr<LiveLog>> open(const RunRecord& record) = 0;
};

}  // namespace mayfly::store
