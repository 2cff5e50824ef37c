#include "controller/engine/docker/client.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/unit/docker_test_server.h"

namespace mayfly::controller::docker {
namespace {

using Kind = EngineError::Kind;

constexpr const char* kVersionBody =
    R"({"Version":"20.10","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"})";

// An engine that answers by a table: "GET /v1.41/info" -> bytes. What is not in it is a 404. Ping
// and version are.
class TableEngine {
public:
    TableEngine()
        : server_([this](ServerConnection& connection, int) {
              for (;;) {
                  const std::string request = connection.read_request();
                  if (request.empty()) {
                      return;
                  }
                  if (!connection.send(reply_to(request)) || closes_) {
                      return;
                  }
              }
          }) {
        say("GET /_ping", http_reply(200, "OK", "Api-Version: 1.41\r\n"));
        say("GET /version", http_reply(200, kVersionBody));
    }
    void say(const std::string& line, std::string bytes) {
        const std::lock_guard lock(mutex_);
        table_[line] = std::move(bytes);
    }
    // Every connection closes after its reply, and says so before: without that a next request
    // could be on its way to a socket that is just being closed.
    void close_after_reply() { closes_ = true; }
    [[nodiscard]] std::vector<std::string> asked() {
        const std::lock_guard lock(mutex_);
        return asked_;
    }
    [[nodiscard]] const Endpoint& endpoint() const { return server_.endpoint(); }

private:
    std::string reply_to(const std::string& request) {
        const std::string target = request.substr(0, request.find(" HTTP/"));
        const std::string line = target.substr(0, target.find('?'));
        const std::lock_guard lock(mutex_);
        asked_.push_back(line);
        const auto found = table_.find(line);
        std::string reply = found == table_.end()
                                ? http_reply(404, R"({"message":"not in the table"})")
                                : found->second;
        const std::size_t status_end = reply.find("\r\n");
        if (closes_ && status_end != std::string::npos) {
            reply.insert(status_end, "\r\nConnection: close");
        }
        return reply;
    }

    std::mutex mutex_;
    std::map<std::string, std::string> table_;
    std::vector<std::string> asked_;
    std::atomic<bool> closes_ = false;
    TestServer server_;
};

std::string chunked(const std::string& body, bool whole = true) {
    char size[16];
    std::snprintf(size, sizeof(size), "%zx", body.size());
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(size) + "\r\n" +
           body + "\r\n" + (whole ? "0\r\n\r\n" : "");
}

class ClientTest : public ::testing::Test {
public:
    ClientTest() {
        DockerSettings settings;
        settings.transport.endpoint = table_.endpoint();
        settings.observer = [this](std::string_view call, std::string_view result,
                                   double seconds) {
            EXPECT_GE(seconds, 0.0);
            observed_.push_back(std::string(call) + " " + std::string(result));
        };
        engine_ = *DockerEngine::open(io_.get_executor(), std::move(settings), clock_);
    }
    ~ClientTest() override {
        engine_->close();
        io_.restart();
        io_.run();
    }

protected:
    template <class T>
    Reply<T> run(Call<T> call) {
        return run_call(io_, std::move(call));
    }

    TableEngine table_;
    boost::asio::io_context io_;
    store::SystemClock clock_;
    std::vector<std::string> observed_;
    std::unique_ptr<DockerEngine> engine_;
};

class CountingSink final : public ByteSink {
public:
    std::expected<void, std::string> write(std::span<const std::byte> bytes) override {
        size += bytes.size();
        return {};
    }
    std::size_t size = 0;
};

class CountingLogs final : public LogSink {
public:
    std::expected<void, std::string> write(Stream, std::span<const std::byte> bytes) override {
        size += bytes.size();
        return {};
    }
    std::size_t size = 0;
};

TEST_F(ClientTest, TheFirstCallNegotiatesAndTheNextDoesNot) {
    table_.say("GET /v1.41/volumes/v",
               http_reply(200, R"({"Name":"v","Driver":"local","CreatedAt":""})"));
    EXPECT_TRUE(run(engine_->inspect_volume("v")).has_value());
    EXPECT_TRUE(run(engine_->inspect_volume("v")).has_value());
    EXPECT_EQ((std::vector<std::string>{"GET /_ping", "GET /version", "GET /v1.41/volumes/v",
                                        "GET /v1.41/volumes/v"}),
              table_.asked());
    EXPECT_EQ((std::vector<std::string>{"GET /_ping ok", "GET /version ok",
                                        "GET /volumes/{name} ok", "GET /volumes/{name} ok"}),
              observed_);
}

TEST_F(ClientTest, AnEngineThatWasExchangedIsNegotiatedWithAgain) {
    const std::string volume = http_reply(200, R"({"Name":"v","Driver":"local"})");
    table_.say("GET /v1.41/volumes/v", volume);
    ASSERT_TRUE(run(engine_->inspect_volume("v")).has_value());
    table_.say("GET /_ping", http_reply(200, "OK", "Api-Version: 1.52\r\n"));
    table_.say("GET /version", http_reply(200, R"({"Version":"29.0","MinAPIVersion":"1.44",
        "Os":"linux","Arch":"amd64"})"));
    table_.say("GET /v1.41/volumes/v", http_reply(400, "client version 1.41 is too old."));
    table_.say("GET /v1.45/volumes/v", volume);
    const auto refused = run(engine_->inspect_volume("v"));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(Kind::rejected, refused.error().kind);
    EXPECT_TRUE(run(engine_->inspect_volume("v")).has_value());
}

TEST_F(ClientTest, AnEngineThatIsTooOldIsToldSo) {
    table_.say("GET /_ping", http_reply(200, "OK", "Api-Version: 1.39\r\n"));
    const auto facts = run(engine_->probe());
    ASSERT_FALSE(facts.has_value());
    EXPECT_EQ(Kind::rejected, facts.error().kind);
    EXPECT_NE(std::string::npos, facts.error().message.find("Docker 20.10 or newer"));
    const auto started = run(engine_->start_container("c"));
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(Kind::unreachable, started.error().kind) << "it is certain that nothing was started";
    EXPECT_EQ("POST /containers/{id}/start", started.error().call);
}

TEST_F(ClientTest, AProxyInPlaceOfAnEngineIsNotAnEngine) {
    table_.say("GET /_ping", http_reply(200, "<html>hello</html>"));
    const auto facts = run(engine_->probe());
    ASSERT_FALSE(facts.has_value());
    EXPECT_NE(std::string::npos, facts.error().message.find("is this a Docker Engine?"));
}

TEST_F(ClientTest, AStartIsOneRequestWhateverBecomesOfIt) {
    table_.close_after_reply();
    ASSERT_FALSE(run(engine_->inspect_volume("v")).has_value());  // negotiated
    struct Case {
        const char* sentence;
        std::string reply;
        Kind kind;
        bool unknown;
    };
    const Case cases[] = {
        {"closed without a word", "", Kind::cut, true},
        {"a cut head", "HTTP/1.1 20", Kind::cut, true},
        {"500", http_reply(500, R"({"message":"shim"})"), Kind::server, true},
        {"400 exec not found", http_reply(400, R"({"message":"exec: not found"})"), Kind::rejected,
         false},
        {"404", http_reply(404, R"({"message":"No such container: c"})"), Kind::not_found, false},
        {"409", http_reply(409, R"({"message":"is paused"})"), Kind::conflict, false},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        table_.say("POST /v1.41/containers/c/start", c.reply);
        const auto before = table_.asked().size();
        const auto started = run(engine_->start_container("c"));
        ASSERT_FALSE(started.has_value());
        EXPECT_EQ(c.kind, started.error().kind) << started.error().message;
        EXPECT_EQ(c.unknown, started.error().is_unknown());
        EXPECT_EQ("POST /containers/{id}/start", started.error().call);
        EXPECT_EQ(before + 1, table_.asked().size());
    }
    EXPECT_EQ("is paused", run(engine_->start_container("c")).error().message);
}

TEST_F(ClientTest, A2xxThatCannotBeReadIsUnknownAndNotASuccess) {
    for (const char* body : {"", "{}", "[]", "<html>", R"({"Id":"c)", R"({"Id":7})"}) {
        SCOPED_TRACE(body);
        table_.say("POST /v1.41/containers/create", http_reply(201, body));
        table_.say("GET /v1.41/containers/c/json", http_reply(200, body));
        const auto created = run(engine_->create_build_container("n", "i", {}));
        ASSERT_FALSE(created.has_value());
        EXPECT_EQ(Kind::protocol, created.error().kind);
        EXPECT_EQ(201, created.error().http_status);
        const auto inspected = run(engine_->inspect_container("c"));
        ASSERT_FALSE(inspected.has_value());
        EXPECT_TRUE(inspected.error().is_unknown());
    }
    EXPECT_EQ("GET /containers/{id}/json protocol", observed_.back());
}

TEST_F(ClientTest, ABodyThatCannotBeRenderedSendsNothing) {
    Sandbox sandbox;
    sandbox.name = "n";
    const auto created = run(engine_->create_container(sandbox));
    ASSERT_FALSE(created.has_value());
    EXPECT_EQ(Kind::local, created.error().kind);
    EXPECT_NE(std::string::npos, created.error().message.find("must be positive"));
    EXPECT_TRUE(table_.asked().empty());
}

TEST_F(ClientTest, WarningsOfACreateComeBack) {
    table_.say("POST /v1.41/containers/create",
               http_reply(201, R"({"Id":"c","Warnings":["PIDs limit discarded"]})"));
    const auto created = run(engine_->create_build_container("n", "i", {}));
    ASSERT_TRUE(created.has_value());
    EXPECT_EQ("c", created->id);
    EXPECT_EQ(std::vector<std::string>{"PIDs limit discarded"}, created->warnings);
}

TEST_F(ClientTest, APullEndsByWhatItsStreamSays) {
    struct Case {
        const char* sentence;
        std::string reply;
        std::optional<Kind> kind;
    };
    const std::string progress = R"({"status":"Waiting","id":"aa","progressDetail":{}})"
                                 "\r\n";
    const Case cases[] = {
        {"whole", chunked(progress), {}},
        {"an error at its end, in a 200",
         chunked(progress + R"({"errorDetail":{},"error":"no space left"})"
                            "\r\n"),
         Kind::rejected},
        {"cut between two lines", chunked(progress, false), Kind::cut},
        {"cut in a line", chunked(progress + R"({"err)"), Kind::cut},
        {"not JSON", chunked("<html>\n"), Kind::protocol},
        {"refused", http_reply(404, R"({"message":"pull access denied"})"), Kind::not_found},
        {"the registry is down", http_reply(500, R"({"message":"dial tcp"})"), Kind::server},
    };
    table_.close_after_reply();
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        table_.say("POST /v1.41/images/create", c.reply);
        std::string told;
        const auto pulled =
            run(engine_->pull_image("python:3", [&told](std::string_view text) { told = text; }));
        EXPECT_EQ(!c.kind.has_value(), pulled.has_value());
        if (c.kind && !pulled) {
            EXPECT_EQ(*c.kind, pulled.error().kind) << pulled.error().message;
        }
        if (!c.kind) {
            EXPECT_EQ("0 of 1 layers", told);
        }
    }
}

TEST_F(ClientTest, LogsAreWholeOrAnError) {
    struct Case {
        const char* sentence;
        std::string reply;
        std::optional<Kind> kind;
    };
    const std::string frame("\1\0\0\0\0\0\0\2hi", 10);
    const Case cases[] = {
        {"whole", chunked(frame), {}},
        {"cut in a frame", chunked(frame.substr(0, 9)), Kind::cut},
        {"cut between frames", chunked(frame, false), Kind::cut},
        {"the engine's own error", chunked(std::string("\3\0\0\0\0\0\0\1x", 9)), Kind::server},
        {"a terminal's", chunked("plain text"), Kind::protocol},
        {"of a dead container", http_reply(409, R"({"message":"is dead"})"), Kind::conflict},
        {"driver none", http_reply(501, R"({"message":"does not support reading"})"),
         Kind::server},
    };
    table_.close_after_reply();
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        table_.say("GET /v1.41/containers/c/logs", c.reply);
        CountingLogs logs;
        const auto read = run(engine_->read_logs("c", logs));
        EXPECT_EQ(!c.kind.has_value(), read.has_value());
        if (c.kind && !read) {
            EXPECT_EQ(*c.kind, read.error().kind) << read.error().message;
        }
    }
}

TEST_F(ClientTest, AnArchiveThatIsCutIsCut) {
    table_.close_after_reply();
    table_.say("GET /v1.41/containers/c/archive", chunked("0123456789", false));
    CountingSink sink;
    const auto got = run(engine_->get_archive("c", "/work/output", sink));
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(Kind::cut, got.error().kind);
    EXPECT_EQ(10U, sink.size);
}

TEST_F(ClientTest, APathStatWithoutItsHeaderIsUnknown) {
    table_.say("HEAD /v1.41/containers/c/archive", "HTTP/1.1 200 OK\r\n\r\n");
    const auto stat = run(engine_->stat_path("c", "/work"));
    ASSERT_FALSE(stat.has_value());
    EXPECT_EQ(Kind::protocol, stat.error().kind);
}

TEST_F(ClientTest, EventsTellAndAlwaysEndInAnError) {
    const std::string die =
        R"({"Type":"container","Action":"die","Actor":{"ID":"c","Attributes":{"a":"b"}}})"
        "\n";
    struct Case {
        const char* sentence;
        std::string reply;
        Kind kind;
        std::size_t events;
        bool connected;
    };
    const Case cases[] = {
        {"a clean end", chunked(die + die), Kind::cut, 2, true},
        {"a cut", chunked(die, false), Kind::cut, 1, true},
        {"an event that is too long is skipped",
         chunked(die + std::string(3 << 20, 'x') + "\n" + die), Kind::cut, 2, true},
        {"not JSON", chunked(die + "<html>\n" + die), Kind::protocol, 1, true},
        {"refused", http_reply(500, "no"), Kind::server, 0, false},
    };
    table_.close_after_reply();
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        table_.say("GET /v1.41/events", c.reply);
        bool connected = false;
        std::size_t events = 0;
        const auto ended = run(engine_->events(
            "a=b", [&connected] { connected = true; },
            [&events](const EngineEvent& event) {
                EXPECT_EQ("die", event.action);
                EXPECT_EQ("b", event.attributes.at("a"));
                ++events;
            }));
        ASSERT_FALSE(ended.has_value());
        EXPECT_EQ(c.kind, ended.error().kind) << ended.error().message;
        EXPECT_EQ(c.events, events);
        EXPECT_EQ(c.connected, connected);
    }
}

TEST_F(ClientTest, TheProbesFactsCarryTheEndpointsWarning) {
    table_.say("GET /v1.41/info", http_reply(200, R"({"ID":"e","NCPU":2,"MemTotal":1})"));
    DockerSettings settings;
    settings.transport.endpoint = table_.endpoint();
    settings.transport.endpoint.warning = "not encrypted";
    auto engine = *DockerEngine::open(io_.get_executor(), std::move(settings), clock_);
    const auto facts = run(engine->probe());
    ASSERT_TRUE(facts.has_value()) << facts.error().message;
    EXPECT_EQ("1.41", facts->api_version);
    EXPECT_EQ("e", facts->id);
    EXPECT_EQ(std::vector<std::string>{"not encrypted"}, facts->warnings);
}

}  // namespace
}  // namespace mayfly::controller::docker
