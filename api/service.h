// The endpoints. Knows the store, the data directory and what is live right now; knows no socket.
//
// All members are called on the loop's thread. Blocking work (inputs, scanning a log) goes to the
// disk pool.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <optional>
#include <string>

#include "api/http.h"
#include "api/intake.h"
#include "api/query.h"
#include "api/router.h"
#include "api/settings.h"
#include "api/sse.h"
#include "api/stream_life.h"
#include "api/world.h"

namespace mayfly::api {

class Service {
public:
    // `settings` outlives it.
    Service(const Settings& settings, const World& world);

    // Never throws for what a client did; a problem is an answer too. `request.client` is valid
    // meanwhile.
    boost::asio::awaitable<Response> answer(Asked request);

    // From here on submissions are refused and whoever waits gets what there is.
    void begin_stop() { stopping_ = true; }

private:
    using Reply = Answer<Response>;
    template <class T>
    using Task = boost::asio::awaitable<T>;

    Task<Reply> dispatch(Asked request, Match match);
    // The answer of a route that takes no parameters.
    [[nodiscard]] Reply plain(const Request& request, Reply reply) const;

    // page.cc
    [[nodiscard]] Reply welcome(const Request& request) const;
    [[nodiscard]] Reply asset(const Request& request, std::string_view name) const;

    // submit.cc
    Task<Reply> submit(Asked request);
    Task<Answer<Accepted>> take_json_body(Asked request, std::string run_id, store::UnixMs now_ms);
    Task<Answer<Accepted>> take_multipart_body(Asked request, std::string boundary,
                                               std::string run_id, store::UnixMs now_ms);
    Task<Reply> record(Asked request, std::string run_id, std::string key, Accepted accepted,
                       store::UnixMs now_ms, std::int64_t wait_ms);
    [[nodiscard]] Answer<void> can_accept(const Request& request) const;
    Task<void> discard(std::string run_id);

    // service.cc
    [[nodiscard]] static Response openapi(const Request& request);
    Task<Reply> list(Asked request);
    Task<Reply> show(Asked request, std::string run_id);
    Task<Reply> cancel(Asked request, std::string run_id);
    Task<Reply> remove(Asked request, std::string run_id);
    Task<Answer<store::Run>> find(std::string run_id);
    Task<Answer<store::RunRecord>> find_record(std::string run_id);
    // The run once it is terminal, or as it is when the time is over, the client is gone, or we
    // stop.
    Task<Answer<store::Run>> wait_until_terminal(store::Run run, std::int64_t wait_ms,
                                                 Client* client);

    // downloads.cc
    Task<Reply> logs(Asked request, std::string run_id);
    Task<Reply> artifacts(Asked request, std::string run_id);
    Task<Reply> artifact(Asked request, std::string run_id, std::string path);
    Task<Reply> artifacts_tar(Asked request, std::string run_id);
    Task<Answer<store::Run>> find_finished(std::string run_id);

    // follow.cc
    Task<Reply> follow(Asked request, store::RunRecord record,
                       std::optional<store::LogStream> only, LogPlace place);
    // One more answer without an end. `overloaded` over max_followers.
    Answer<StreamLife> begin_stream(const Request& request);

    // events.cc
    Task<Reply> events(Asked request);

    // explain.cc
    Task<Reply> explain(Asked request, std::string run_id);
    Task<Reply> engines(Asked request);

    const Settings& settings_;
    World world_;
    store::Store& store_;
    const store::DataDir& data_dir_;
    const store::LiveStatus& live_;
    store::Clock& clock_;
    store::Random& random_;
    metrics::Families& families_;
    boost::asio::thread_pool& disk_pool_;
    std::shared_ptr<std::int64_t> followers_ = std::make_shared<std::int64_t>(0);
    bool stopping_ = false;
};

}  // namespace mayfly::api
