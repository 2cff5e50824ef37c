#include "controller/log_feed.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <set>
#include <span>
#include <vector>

#include "controller/detached.h"
#include "metrics/log.h"

namespace mayfly::controller {
namespace {

namespace asio = boost::asio;
using store::LogNews;
using store::LogStream;

// The file is frames: one byte of stream, four of length (of this machine's order: nobody else
// reads it), the bytes.
constexpr std::size_t kFrameHead = 5;
constexpr std::size_t kFrameBytesMax = 32 << 10;
constexpr std::size_t kReadBytes = 64 << 10;
// What the run may print besides its log limits: PID 1's own last words.
constexpr std::int64_t kSlackBytes = 1 << 20;
static_assert(kFrameHead + kFrameBytesMax <= kReadBytes);

class Follower;

// One followed attempt.
struct Feed {
    std::string key;
    store::SpoolFile file;
    std::int64_t size = 0;  // of the file
    std::int64_t room = 0;  // how much it may still grow
    LogStream pending_stream = LogStream::out;
    std::string pending;  // not yet in the file
    bool flush_posted = false;
    bool ended = false;
    std::string error;
    std::shared_ptr<HangUp> hang_up = std::make_shared<HangUp>();
    std::set<Follower*> followers;

    std::expected<void, std::string> flush();
    void wake();
};

class Follower final : public store::LiveLog {
public:
    Follower(std::shared_ptr<Feed> feed, std::unique_ptr<Alarm> alarm,
             std::function<void()> on_leave)
        : feed_(std::move(feed)), alarm_(std::move(alarm)), on_leave_(std::move(on_leave)) {
        feed_->followers.insert(this);
    }
    ~Follower() override {
        feed_->followers.erase(this);
        on_leave_();
    }
    Follower(const Follower&) = delete;
    Follower& operator=(const Follower&) = delete;

    asio::awaitable<LogNews> next(std::int64_t timeout_ms) override {
        LogNews news = read();
        if (news.chunks.empty() && !news.ended) {
            co_await alarm_->wait(timeout_ms);
            news = read();
        }
        co_return news;
    }
    void ring() { alarm_->ring(); }

private:
    LogNews read();

    std::shared_ptr<Feed> feed_;
    std::unique_ptr<Alarm> alarm_;
    std::function<void()> on_leave_;
    std::int64_t at_ = 0;  // in the file; always where a frame begins
    std::array<std::int64_t, 2> offset_ = {0, 0};
};

LogNews Follower::read() {
    LogNews news;
    if (at_ < feed_->size) {
        std::string bytes(kReadBytes, '\0');
        const ssize_t got = ::pread(feed_->file.fd(), bytes.data(), bytes.size(), at_);
        std::size_t used = 0;
        const std::size_t size = got < 0 ? 0 : static_cast<std::size_t>(got);
        while (used + kFrameHead <= size) {
            std::uint32_t length = 0;
            std::memcpy(&length, bytes.data() + used + 1, sizeof length);
            if (used + kFrameHead + length > size) break;
            const auto stream = static_cast<LogStream>(bytes[used]);
            std::int64_t& offset = offset_[static_cast<std::size_t>(stream)];
            const std::string_view body(bytes.data() + used + kFrameHead, length);
            if (!news.chunks.empty() && news.chunks.back().stream == stream) {
                news.chunks.back().bytes += body;
            } else {
                news.chunks.push_back({stream, offset, std::string(body)});
            }
            offset += length;
            used += kFrameHead + length;
        }
        at_ += static_cast<std::int64_t>(used);
        if (used == 0) {
            news.ended = true;
            news.error = "the live log's file cannot be read";
        }
        return news;
    }
    news.ended = feed_->ended;
    news.error = feed_->error;
    return news;
}

std::expected<void, std::string> Feed::flush() {
    std::string_view rest = pending;
    std::string frames;
    while (!rest.empty()) {
        const std::string_view body = rest.substr(0, kFrameBytesMax);
        const auto length = static_cast<std::uint32_t>(body.size());
        frames.push_back(static_cast<char>(pending_stream));
        frames.append(reinterpret_cast<const char*>(&length), sizeof length);
        frames += body;
        rest.remove_prefix(body.size());
    }
    pending.clear();
    std::string_view left = frames;
    while (!left.empty()) {
        const ssize_t wrote = ::pwrite(file.fd(), left.data(), left.size(),
                                       size + std::ssize(frames) - std::ssize(left));
        if (wrote <= 0)
            return std::unexpected(std::string("the live log cannot be kept: ") +
                                   std::strerror(errno));
        left.remove_prefix(static_cast<std::size_t>(wrote));
    }
    size += std::ssize(frames);
    if (!frames.empty()) wake();
    return {};
}

void Feed::wake() {
    for (Follower* follower : followers) follower->ring();
}

// The engine's side of a feed. Small pieces (an engine sends a frame for each line) are gathered
// until the loop has nothing more of this read to do.
class FeedSink final : public LogSink {
public:
    FeedSink(asio::any_io_executor executor, std::shared_ptr<Feed> feed)
        : executor_(std::move(executor)), feed_(std::move(feed)) {}

    std::expected<void, std::string> write(Stream stream,
                                           std::span<const std::byte> bytes) override {
        Feed& feed = *feed_;
        const LogStream of = stream == Stream::out ? LogStream::out : LogStream::err;
        feed.room -= std::ssize(bytes);
        if (feed.room < 0) return std::unexpected("it printed more than its limits let be kept");
        if (of != feed.pending_stream || feed.pending.size() >= kFrameBytesMax) {
            if (auto flushed = feed.flush(); !flushed) return flushed;
        }
        feed.pending_stream = of;
        feed.pending.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        if (!std::exchange(feed.flush_posted, true)) {
            asio::post(executor_, [feed = feed_] {
                feed->flush_posted = false;
                if (auto flushed = feed->flush(); !flushed) {
                    feed->error = flushed.error();
                    feed->hang_up->close();
                }
            });
        }
        return {};
    }

private:
    asio::any_io_executor executor_;
    std::shared_ptr<Feed> feed_;
};

}  // namespace

class LogFeeds::Core : public std::enable_shared_from_this<LogFeeds::Core> {
public:
    Core(asio::any_io_executor executor, Engine& engine, Alarms& alarms,
         const store::DataDir& spool, LogFeedSettings settings)
        : executor_(std::move(executor)),
          engine_(engine),
          alarms_(alarms),
          spool_(spool),
          settings_(settings) {}

    store::Result<std::unique_ptr<store::LiveLog>> open(const store::RunRecord& record);
    void close();
    [[nodiscard]] std::size_t feeds() const { return feeds_.size(); }

    std::function<void(std::int64_t, std::int64_t)> observer;

private:
    using FeedPtr = std::shared_ptr<Feed>;

    store::Result<FeedPtr> start(const store::RunRecord& record, const std::string& key);
    asio::awaitable<void> run(FeedPtr feed, std::string container_id);
    asio::awaitable<void> linger(FeedPtr feed);
    void left(const FeedPtr& feed);
    void drop(const FeedPtr& feed);
    bool make_room();
    void count();

    asio::any_io_executor executor_;
    Engine& engine_;
    Alarms& alarms_;
    const store::DataDir& spool_;
    LogFeedSettings settings_;
    std::map<std::string, FeedPtr> feeds_;  // by run and attempt
    bool closed_ = false;
};

store::Result<std::unique_ptr<store::LiveLog>> LogFeeds::Core::open(
    const store::RunRecord& record) {
    if (closed_) return store::fail(store::ErrorKind::closed, "mayflyd is stopping");
    if (!record.attempt || record.attempt->container_id.empty()) {
        return store::fail(store::ErrorKind::not_found, "nothing of the run has been started");
    }
    const std::string key = record.run.id + "/" + std::to_string(record.attempt->number);
    FeedPtr feed;
    // One that ended by an error is begun again: who comes now skips what he has seen.
    if (const auto found = feeds_.find(key); found != feeds_.end()) {
        if (found->second->error.empty()) {
            feed = found->second;
        } else {
            feeds_.erase(found);
        }
    }
    if (!feed) {
        auto started = start(record, key);
        if (!started) return std::unexpected(std::move(started.error()));
        feed = std::move(*started);
    }
    const std::weak_ptr<Core> core = weak_from_this();
    const auto on_leave = [core, weak = std::weak_ptr<Feed>(feed)] {
        const auto alive = core.lock();
        const auto of = weak.lock();
        if (alive && of) alive->left(of);
    };
    auto follower = std::make_unique<Follower>(feed, alarms_.make(), on_leave);
    count();
    return follower;
}

// A feed that nobody follows makes place for one that somebody wants.
bool LogFeeds::Core::make_room() {
    if (std::cmp_less(feeds_.size(), settings_.max_feeds)) return true;
    const auto idle = std::ranges::find_if(
        feeds_, [](const auto& entry) { return entry.second->followers.empty(); });
    if (idle == feeds_.end()) return false;
    const FeedPtr feed = idle->second;
    feed->hang_up->close();
    drop(feed);
    return true;
}

store::Result<LogFeeds::Core::FeedPtr> LogFeeds::Core::start(const store::RunRecord& record,
                                                             const std::string& key) {
    if (!make_room()) {
        return store::fail(store::ErrorKind::full,
                           "the logs of " + std::to_string(settings_.max_feeds) +
                               " runs are followed already; the operator's limit is "
                               "--max-followed-runs");
    }
    auto file = spool_.create_file();
    if (!file) return std::unexpected(std::move(file.error()));
    auto feed = std::make_shared<Feed>();
    feed->key = key;
    feed->file = std::move(*file);
    feed->room = 2 * record.run.spec.limits.log_bytes + kSlackBytes;
    feeds_[key] = feed;
    asio::co_spawn(executor_, run(feed, record.attempt->container_id), log_exceptions("log feed"));
    return feed;
}

asio::awaitable<void> LogFeeds::Core::run(FeedPtr feed, std::string container_id) {
    const auto self = shared_from_this();
    FeedSink sink(executor_, feed);
    const auto ended = co_await engine_.follow_logs(container_id, sink, feed->hang_up);
    if (auto flushed = feed->flush(); !flushed) feed->error = flushed.error();
    // Over the limits, or the container is gone: the harvest has the rest. Else it may go on.
    if (!ended && ended.error().kind != EngineError::Kind::local &&
        ended.error().kind != EngineError::Kind::not_found && feed->error.empty()) {
        feed->error = ended.error().message;
        metrics::log_debug("a live log ended early",
                           {{"feed", feed->key}, {"error", ended.error().message}});
    }
    feed->ended = true;
    feed->wake();
    if (feed->followers.empty()) self->drop(feed);
}

void LogFeeds::Core::left(const FeedPtr& feed) {
    count();
    if (!feed->followers.empty()) return;
    if (feed->ended || closed_) return drop(feed);
    asio::co_spawn(executor_, linger(feed), log_exceptions("log feed"));
}

// A client that reconnects finds the feed that it left.
asio::awaitable<void> LogFeeds::Core::linger(FeedPtr feed) {
    const auto self = shared_from_this();
    const auto alarm = alarms_.make();
    co_await alarm->wait(settings_.linger_ms);
    if (feed->followers.empty()) {
        feed->hang_up->close();
        self->drop(feed);
    }
}

void LogFeeds::Core::drop(const FeedPtr& feed) {
    const auto found = feeds_.find(feed->key);
    if (found != feeds_.end() && found->second == feed) feeds_.erase(found);
    count();
}

void LogFeeds::Core::count() {
    if (!observer) return;
    std::int64_t followers = 0;
    for (const auto& [key, feed] : feeds_) followers += std::ssize(feed->followers);
    observer(std::ssize(feeds_), followers);
}

void LogFeeds::Core::close() {
    closed_ = true;
    for (const auto& [key, feed] : feeds_) feed->hang_up->close();
}

LogFeeds::LogFeeds(asio::any_io_executor executor, Engine& engine, Alarms& alarms,
                   const store::DataDir& spool, LogFeedSettings settings)
    : core_(std::make_shared<Core>(std::move(executor), engine, alarms, spool, settings)) {}

LogFeeds::~LogFeeds() { close(); }

store::Result<std::unique_ptr<store::LiveLog>> LogFeeds::open(const store::RunRecord& record) {
    return core_->open(record);
}

void LogFeeds::close() { core_->close(); }

std::size_t LogFeeds::feeds() const { return core_->feeds(); }

void LogFeeds::on_count(std::function<void(std::int64_t, std::int64_t)> observer) {
    core_->observer = std::move(observer);
}

}  // namespace mayfly::controller
