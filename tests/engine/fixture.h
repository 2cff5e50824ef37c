// What the tests on a real engine share: the engine, a loop that runs one call to its end, tars.
//
// The engine is the one that MAYFLY_TEST_ENGINE or DOCKER_HOST names, never a default; without
// them the program fails at once. It must hold the image mayfly-test/busybox:1 (busybox with its
// applets as links, /bin/sh among them).
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controller/engine/docker/client.h"
#include "controller/engine/engine.h"
#include "controller/sandbox.h"
#include "store/clock.h"

namespace mayfly::controller::docker {

inline constexpr const char* kBaseImage = "mayfly-test/busybox:1";

// nullptr = none is named.
const char* test_engine();

struct TarEntry {
    std::string path;  // a directory ends with '/'
    unsigned mode = 0644;
    std::string content;
};
std::string make_tar(const std::vector<TarEntry>& entries);
// Regular files only: path -> content. Fails the test when it is not a whole tar.
std::map<std::string, std::string> read_tar(const std::string& bytes);

class TextSource final : public ByteSource {
public:
    explicit TextSource(std::string text) : text_(std::move(text)) {}
    [[nodiscard]] std::int64_t size() const override {
        return static_cast<std::int64_t>(text_.size());
    }
    std::expected<std::size_t, std::string> read(std::span<std::byte> buffer) override;

private:
    std::string text_;
    std::size_t at_ = 0;
};

class TextSink final : public ByteSink {
public:
    std::expected<void, std::string> write(std::span<const std::byte> bytes) override;
    std::string text;
    std::size_t refuse_after = SIZE_MAX;
};

class TextLogSink final : public LogSink {
public:
    std::expected<void, std::string> write(Stream stream,
                                           std::span<const std::byte> bytes) override;
    std::string out;
    std::string err;
};

class EngineTest : public ::testing::Test {
public:
    EngineTest();
    ~EngineTest() override;

protected:
    // Runs the loop until `call` has ended.
    template <class T>
    T run(boost::asio::awaitable<T> call) {
        std::optional<T> result;
        std::exception_ptr thrown;
        boost::asio::co_spawn(io_, std::move(call), [&](std::exception_ptr error, T value) {
            thrown = error;
            result.emplace(std::move(value));
        });
        while (!result) {
            io_.restart();
            io_.run_one();
        }
        if (thrown) {
            std::rethrow_exception(thrown);
        }
        return std::move(*result);
    }
    // The value, or a failed test with the engine's words.
    template <class T>
    T must(boost::asio::awaitable<Reply<T>> call) {
        Reply<T> reply = run(std::move(call));
        if (!reply) {
            ADD_FAILURE() << reply.error().call << ": " << to_string(reply.error().kind) << " "
                          << reply.error().message;
            throw std::runtime_error("the call failed");
        }
        return std::move(*reply);
    }
    void must(boost::asio::awaitable<Reply<void>> call);
    // Runs the loop until `done`, at most 20 s.
    bool run_until(const std::function<bool()>& done);

    // The prepared image: /work of mode 1777 and something that acts as PID 1. Made once.
    const std::string& prepared_image();
    // A run's sandbox with a name of its own, removed with its volume at the test's end.
    Sandbox new_sandbox(std::vector<std::string> command);
    std::string new_name();
    // Inspects until the container has ended.
    ContainerFacts wait_for_end(const std::string& id);

    boost::asio::io_context io_;
    store::SystemClock clock_;
    std::map<std::string, int> calls_;  // "GET /containers/{id}/json ok" -> how often
    std::unique_ptr<DockerEngine> engine_;
    std::vector<std::string> volumes_;
    std::vector<std::string> containers_;
};

}  // namespace mayfly::controller::docker
