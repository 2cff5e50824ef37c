// Live logs: one stream of the engine's for each followed attempt, however many follow it.
//
// What the engine gives out goes into a file under the spool's .tmp at once, so the engine is
// never held up by a slow follower, and a follower costs a place in that file and nothing else.
// The file is as long as the run's log limits allow, and goes with its last follower.
//
// The stream is a preview: the log that is kept is read by the harvest. On the loop's thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "controller/alarm.h"
#include "controller/engine/engine.h"
#include "store/data_dir.h"
#include "store/live_log.h"

namespace mayfly::controller {

struct LogFeedSettings {
    std::int64_t max_feeds = 64;      // attempts followed at a time
    std::int64_t linger_ms = 10'000;  // a feed without followers is kept so long
};

class LogFeeds final : public store::LiveLogs {
public:
    // All outlive the last follower and the last handler of `executor`.
    LogFeeds(boost::asio::any_io_executor executor, Engine& engine, Alarms& alarms,
             const store::DataDir& spool, LogFeedSettings settings);
    ~LogFeeds() override;
    LogFeeds(const LogFeeds&) = delete;
    LogFeeds& operator=(const LogFeeds&) = delete;

    store::Result<std::unique_ptr<store::LiveLog>> open(const store::RunRecord& record) override;
    // Ends every stream; followers hear that it ended. Nothing is opened any more.
    void close();
    [[nodiscard]] std::size_t feeds() const;
    // Called on the loop's thread when the number of feeds or followers has changed.
    void on_count(std::function<void(std::int64_t feeds, std::int64_t followers)> observer);

private:
    class Core;
    std::shared_ptr<Core> core_;
};

}  // namespace mayfly::controller
