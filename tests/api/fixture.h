// A real Server on a real Store in a temporary directory, its loop on a thread of its own. The
// test is the controller: it moves runs on by the same mutations.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "api/server.h"
#include "metrics/families.h"
#include "store/data_dir.h"
#include "store/store.h"
#include "tests/api/live_world.h"
#include "tests/support/http_client.h"

namespace mayfly::api {

struct LeftFile {
    std::string path;
    std::string content;
};

struct Ending {
    store::Phase phase = store::Phase::succeeded;
    store::Reason reason = store::Reason::Completed;
    std::vector<LeftFile> files;
    std::string stdout_text;
    std::string stderr_text;
    std::string result_json;
};

class ApiTest : public ::testing::Test {
public:
    ~ApiTest() override;

protected:
    ApiTest();

    // Opens and starts a server with these settings (listen and the like are filled in); once for
    // each test.
    void serve(Settings settings = {});
    void stop(std::int64_t grace_ms = 5'000);

    // What a server of this test stands on.
    [[nodiscard]] World world() {
        return {*store_, *data_dir_, live_,     live_logs_, explainer_,
                clock_,  random_,    families_, disk_pool_};
    }
    [[nodiscard]] test::HttpClient client() const {
        return test::HttpClient::tcp(server_->port());
    }
    test::HttpAnswer ask(const std::string& method, const std::string& target,
                         const test::Headers& headers = {}, std::string_view body = {}) const;
    // POST /v1/runs with a JSON body.
    test::HttpAnswer post(std::string_view body, test::Headers headers = {},
                          const std::string& query = "") const;
    // Submits a small run and returns its id.
    std::string submit(const std::string& more_fields = "") const;

    // Runs on the loop's thread and returns its value.
    template <class Task>
    auto run(Task task) {
        return boost::asio::co_spawn(io_, std::move(task), boost::asio::use_future).get();
    }
    void on_loop(std::function<void()> work);
    // How many connections are still open when none is, or half a minute has passed.
    [[nodiscard]] std::size_t connections_left();
    // The way of a run, as the controller would record it.
    void start_run(const std::string& id);
    void finish_run(const std::string& id, const Ending& ending);
    // The first attempt is lost, and the second is bound.
    void retry_run(const std::string& id);
    // What is in the spool: run folders and files being written.
    [[nodiscard]] std::size_t run_folders() const;
    [[nodiscard]] std::size_t files_being_written() const;
    [[nodiscard]] std::size_t stored_runs();

    std::filesystem::path dir_;
    boost::asio::io_context io_;
    std::optional<store::DataDir> data_dir_;
    std::unique_ptr<store::Store> store_;
    store::LiveStatus live_;
    FakeLiveLogs live_logs_{io_};
    FakeExplainer explainer_;
    store::SystemClock clock_;
    store::SystemRandom random_;
    metrics::Families families_{"test"};
    boost::asio::thread_pool disk_pool_{2};
    std::unique_ptr<Server> server_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{
        io_.get_executor()};
    std::thread loop_;

private:
    store::Run apply(store::Mutation mutation);
    void bind(const std::string& id, std::int64_t number);
    void publish(const std::string& id, std::string_view name, std::string_view content);
};

// multipart/form-data with the boundary "XyZ".
[[nodiscard]] std::string part(const std::string& name, std::string_view content);
inline constexpr const char* kMultipart = "multipart/form-data; boundary=XyZ";
[[nodiscard]] nlohmann::json json_of(const test::HttpAnswer& answer);

}  // namespace mayfly::api
