#include "tests/api/fixture.h"

#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <chrono>
#include <cstdlib>

#include "store/tar_writer.h"

namespace mayfly::api {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

template <class Result>
auto must(Result result) {
    if (!result) {
        ADD_FAILURE() << result.error().message;
        std::abort();
    }
    return std::move(*result);
}

}  // namespace

ApiTest::ApiTest() {
    char name[] = "/tmp/mayfly-api-XXXXXX";
    dir_ = ::mkdtemp(name);
    data_dir_.emplace(must(store::DataDir::open(dir_ / "data")));
    auto database = must(store::Database::open(data_dir_->database_file()));
    store_ = std::make_unique<store::Store>(std::move(database), io_.get_executor());
    live_.recovered = true;
    loop_ = std::thread([this] { io_.run(); });
}

ApiTest::~ApiTest() {
    if (server_) stop();
    on_loop([this] { store_->stop(); });
    guard_.reset();
    io_.stop();
    loop_.join();
    disk_pool_.join();
    server_.reset();
    store_.reset();
    data_dir_.reset();
    std::filesystem::remove_all(dir_);
}

void ApiTest::on_loop(std::function<void()> work) {
    std::promise<void> done;
    boost::asio::post(io_, [&] {
        work();
        done.set_value();
    });
    done.get_future().wait();
}

std::size_t ApiTest::connections_left() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::size_t left = 1;
    while (left > 0 && std::chrono::steady_clock::now() < deadline) {
        on_loop([&] { left = server_->connections(); });
    }
    return left;
}

void ApiTest::serve(Settings settings) {
    if (settings.listen == Settings{}.listen) settings.listen = "127.0.0.1:0";
    server_ = std::make_unique<Server>(io_, std::move(settings), world());
    const auto opened = server_->open();
    ASSERT_TRUE(opened) << opened.error().message;
    on_loop([this] { server_->start(); });
}

void ApiTest::stop(std::int64_t grace_ms) {
    run(server_->stop(grace_ms));
    server_.reset();
}

test::HttpAnswer ApiTest::ask(const std::string& method, const std::string& target,
                              const test::Headers& headers, std::string_view body) const {
    return client().ask(method, target, headers, body);
}

test::HttpAnswer ApiTest::post(std::string_view body, test::Headers headers,
                               const std::string& query) const {
    headers.emplace_back("Content-Type", "application/json");
    return ask("POST", "/v1/runs" + query, headers, body);
}

std::string ApiTest::submit(const std::string& more_fields) const {
    const auto answer = post(R"({"image":"busybox","command":["true"])" + more_fields + "}");
    EXPECT_EQ(answer.status, 201) << answer.body;
    return json_of(answer).value("id", "");
}

store::Run ApiTest::apply(store::Mutation mutation) {
    return must(run(store_->apply(std::move(mutation)))).run;
}

void ApiTest::bind(const std::string& id, std::int64_t number) {
    const store::UnixMs now = clock_.now_ms();
    store::Attempt attempt;
    attempt.run_id = id;
    attempt.number = number;
    attempt.engine = "local";
    attempt.container_name = "mayfly-" + id + "-" + std::to_string(number);
    attempt.nonce = store::make_nonce(random_);
    attempt.volume_name = attempt.container_name + "-" + attempt.nonce;
    attempt.bound_ms = now;
    attempt.prepare_deadline_ms = now + 60'000;
    apply(store::BindAttempt{id, now, attempt});
}

void ApiTest::start_run(const std::string& id) {
    const store::UnixMs now = clock_.now_ms();
    bind(id, 1);
    apply(store::RecordStartIntent{id, 1, now, std::string(64, 'a')});
    apply(store::RecordStarted{id, 1, now, now + 60'000});
}

void ApiTest::retry_run(const std::string& id) {
    const store::UnixMs now = clock_.now_ms();
    apply(store::RetryRun{id, 1, now, store::Reason::EngineInterrupted, "it went away"});
    apply(store::MarkCollected{id, 1, now});
    bind(id, 2);
}

void ApiTest::publish(const std::string& id, std::string_view name, std::string_view content) {
    auto file = must(data_dir_->create_file());
    ASSERT_EQ(::write(file.fd(), content.data(), content.size()), std::ssize(content));
    ASSERT_TRUE(data_dir_->publish(std::move(file), id, name));
}

void ApiTest::finish_run(const std::string& id, const Ending& ending) {
    const store::UnixMs now = clock_.now_ms();
    apply(store::RecordExit{id, 1, now, store::EngineExit{}});
    store::HarvestResult harvest;
    harvest.exit_code = 0;
    harvest.result_json = ending.result_json;
    auto file = must(data_dir_->create_file());
    store::TarWriter tar(file.fd());
    for (const LeftFile& left : ending.files) {
        const auto added =
            must(tar.add_file("output/" + left.path, 0644, {}, 0, bytes_of(left.content)));
        harvest.artifacts.push_back({left.path, added.offset, added.size, added.sha256, 0644});
    }
    must(tar.finish());
    ASSERT_TRUE(data_dir_->publish(std::move(file), id, store::kOutputTar));
    publish(id, store::kStdoutLog, ending.stdout_text);
    publish(id, store::kStderrLog, ending.stderr_text);
    const auto kept = std::ssize(ending.stdout_text);
    harvest.stdout_stream = {kept, kept, false};
    apply(store::FinishRun{id, 1, now, ending.phase, ending.reason, "", harvest});
}

std::size_t ApiTest::run_folders() const { return must(data_dir_->run_folders()).size(); }

std::size_t ApiTest::files_being_written() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / "data/spool/.tmp")) {
        (void)entry;
        ++count;
    }
    return count;
}

std::size_t ApiTest::stored_runs() {
    store::RunFilter filter;
    filter.limit = store::kListLimitMax;
    return must(run(store_->list(filter))).size();
}

std::string part(const std::string& name, std::string_view content) {
    return "--XyZ\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
           std::string(content) + "\r\n";
}

nlohmann::json json_of(const test::HttpAnswer& answer) {
    return nlohmann::json::parse(answer.body, nullptr, false);
}

}  // namespace mayfly::api
