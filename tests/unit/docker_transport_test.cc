#include "controller/engine/docker/transport.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "store/clock.h"
#include "tests/unit/docker_test_server.h"

namespace mayfly::controller::docker {
namespace {

constexpr std::int64_t kSoonMs = 150;
constexpr std::int64_t kLongMs = 15'000;

Request get(const std::string& target = "/v1.41/x") {
    Request request;
    request.verb = "GET";
    request.target = target;
    request.total_ms = kLongMs;
    return request;
}

Request post(const std::string& body = "") {
    Request request;
    request.verb = "POST";
    request.target = "/v1.41/x";
    request.body = body;
    request.total_ms = kLongMs;
    return request;
}

class TransportTest : public ::testing::Test {
public:
    ~TransportTest() override {
        transport_.reset();
        io_.restart();
        io_.run();
    }

protected:
    Transport& to(const Endpoint& endpoint) {
        settings_.endpoint = endpoint;
        auto opened = Transport::open(io_.get_executor(), settings_, clock_);
        EXPECT_TRUE(opened.has_value()) << opened.error();
        transport_ = std::move(*opened);
        return *transport_;
    }
    Answer ask(const TestServer& server, Request request) {
        Transport& transport = transport_ ? *transport_ : to(server.endpoint());
        return run_call(io_, transport.exchange(std::move(request)));
    }

    boost::asio::io_context io_;
    store::SystemClock clock_;
    TransportSettings settings_;
    std::unique_ptr<Transport> transport_;
};

// ---- replies, good and bad

struct ReplyCase {
    const char* sentence;
    std::string bytes;  // what the server sends before it closes
    int status;
    Fault fault;
    std::string body;
};

std::vector<ReplyCase> reply_cases() {
    return {
        {"a length", http_reply(200, "hello"), 200, Fault::none, "hello"},
        {"no body", http_reply(201, ""), 201, Fault::none, ""},
        {"chunks",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
         200, Fault::none, "hello"},
        {"until it closes", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", 200, Fault::none,
         "hello"},
        {"204 has no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, Fault::none, ""},
        {"204 with a body that does not belong to it",
         "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", 204, Fault::none, ""},
        {"304 has no body", "HTTP/1.1 304 Not Modified\r\n\r\n", 304, Fault::none, ""},
        {"100 comes before the answer",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 X\r\nA: b\r\n\r\n" + http_reply(200, "hello"),
         200, Fault::none, "hello"},
        {"a proxy's page", http_reply(502, "<html>bad gateway</html>"), 502, Fault::none,
         "<html>bad gateway</html>"},
        {"nothing", "", 0, Fault::cut, ""},
        {"half a status line", "HTTP/1.1 20", 0, Fault::cut, ""},
        {"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 0, Fault::cut, ""},
        {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 200, Fault::cut,
         "hello"},
        {"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello", 200,
         Fault::cut, "hello"},
        {"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
         200, Fault::cut, "hello"},
        {"half a refusal", "HTTP/1.1 404 X\r\nContent-Length: 10\r\n\r\nhello", 404, Fault::cut,
         "hello"},
        {"a chunk's length that is none",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", 200,
         Fault::protocol, ""},
        {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
         0, Fault::protocol, ""},
        {"a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", 0,
         Fault::protocol, ""},
        {"another protocol", "SSH-2.0-OpenSSH_9.2\r\n", 0, Fault::protocol, ""},
        {"TLS where it was not expected", std::string("\x15\x03\x01\x00\x02\x02\x46", 7), 0,
         Fault::cut, ""},
        {"an endless head", "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x'), 0,
         Fault::protocol, ""},
        {"an endless row of fields",
         [] {
             std::string head = "HTTP/1.1 200 OK\r\n";
             for (int i = 0; i < 10'000; ++i) {
                 head += "X-Field: y\r\n";
             }
             return head;
         }(),
         0, Fault::protocol, ""},
    };
}

TEST_F(TransportTest, SaysOfEveryReplyWhetherItIsWhole) {
    for (const ReplyCase& c : reply_cases()) {
        SCOPED_TRACE(c.sentence);
        TestServer server([&c](ServerConnection& connection, int) {
            connection.read_request();
            connection.send(c.bytes);
        });
        transport_.reset();
        const Answer answer = ask(server, get());
        EXPECT_EQ(c.status, answer.status);
        EXPECT_EQ(c.fault, answer.fault) << answer.fault_message;
        EXPECT_EQ(c.body, answer.body);
        EXPECT_EQ(c.fault == Fault::none, answer.fault_message.empty()) << answer.fault_message;
        EXPECT_EQ(0U, transport_->idle_count() * (c.fault == Fault::none ? 0U : 1U));
    }
}

TEST_F(TransportTest, ReadsTheSameWhereverThePiecesEnd) {
    TestServer server(
        [](ServerConnection& connection, int) {
            while (!connection.read_request().empty()) {
                const std::string reply =
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\napi-version: 1.41\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: "
                    "x\r\n\r\n";
                for (const char byte : reply) {
                    connection.send(std::string(1, byte));
                }
            }
        },
        TestServer::Kind::unix_socket);
    for (int i = 0; i < 50; ++i) {
        const Answer answer = ask(server, get());
        EXPECT_EQ(200, answer.status);
        EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
        EXPECT_EQ("hello", answer.body);
        EXPECT_EQ("1.41", answer.api_version);
    }
    EXPECT_EQ(1, server.connections());
}

TEST_F(TransportTest, AHeadReplyHasALengthAndNoBody) {
    TestServer server([](ServerConnection& connection, int) {
        while (!connection.read_request().empty()) {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"
                "X-Docker-Container-Path-Stat: e30=\r\n\r\n");
        }
    });
    Request request = get();
    request.verb = "HEAD";
    for (int i = 0; i < 2; ++i) {
        const Answer answer = ask(server, request);
        EXPECT_EQ(200, answer.status);
        EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
        EXPECT_EQ("e30=", answer.path_stat);
    }
    EXPECT_EQ(1, server.connections());
}

TEST_F(TransportTest, AResetInTheBodyIsACut) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello");
        connection.reset();
    });
    const Answer answer = ask(server, get());
    EXPECT_EQ(Fault::cut, answer.fault) << answer.fault_message;
}

TEST_F(TransportTest, AReplyOverItsLimitIsNotBelievedHalf) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send(http_reply(200, std::string(5'000, 'x')));
        connection.wait_for_close();
    });
    Request request = get();
    request.reply_bytes_max = 4'999;
    const Answer answer = ask(server, request);
    EXPECT_EQ(Fault::protocol, answer.fault);
    EXPECT_EQ("the reply is longer than 4999 bytes", answer.fault_message);
    EXPECT_EQ(0U, transport_->idle_count());
}

TEST_F(TransportTest, ALongErrorIsCutToItsBeginning) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send(http_reply(500, std::string(5 << 20, 'x')));
        connection.wait_for_close();
    });
    const Answer answer = ask(server, get());
    EXPECT_EQ(500, answer.status);
    EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
    EXPECT_EQ(64U << 10, answer.body.size());
    EXPECT_EQ(0U, transport_->idle_count()) << "the rest of it is still on the way";
}

// ---- no connection

TEST_F(TransportTest, NobodyListensIsUnreachable) {
    Endpoint endpoint;
    {
        TestServer server([](ServerConnection&, int) {});
        endpoint = server.endpoint();
    }
    const Answer answer = run_call(io_, to(endpoint).exchange(post()));
    EXPECT_EQ(Fault::unreachable, answer.fault);
    EXPECT_NE(std::string::npos, answer.fault_message.find(endpoint.text)) << answer.fault_message;
    EXPECT_NE(std::string::npos, answer.fault_message.find("refused")) << answer.fault_message;
}

TEST_F(TransportTest, ASocketThatIsNotThereIsUnreachable) {
    const auto endpoint = parse_endpoint("unix:///nowhere/docker.sock", "", "");
    const Answer answer = run_call(io_, to(*endpoint).exchange(get()));
    EXPECT_EQ(Fault::unreachable, answer.fault);
    EXPECT_EQ("cannot connect to unix:///nowhere/docker.sock: No such file or directory",
              answer.fault_message);
}

TEST_F(TransportTest, ANameThatDoesNotResolveIsUnreachable) {
    const auto endpoint = parse_endpoint("tcp://no-such-engine.invalid:2375", "", "");
    const Answer answer = run_call(io_, to(*endpoint).exchange(get()));
    EXPECT_EQ(Fault::unreachable, answer.fault);
    EXPECT_NE(std::string::npos, answer.fault_message.find("cannot resolve"))
        << answer.fault_message;
}

// ---- deadlines

TEST_F(TransportTest, AcceptedAndNeverAnsweredIsATimeout) {
    TestServer server([](ServerConnection& connection, int) { connection.wait_for_close(); });
    Request request = post();
    request.total_ms = kSoonMs;
    const Answer answer = ask(server, request);
    EXPECT_EQ(Fault::timeout, answer.fault);
    EXPECT_EQ("not done within 150 ms", answer.fault_message);
    EXPECT_EQ(0, answer.status);
    EXPECT_EQ(1, server.connections()) << "a timeout is never a reason to send again";
}

TEST_F(TransportTest, AReplyThatStopsMovingIsATimeout) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        connection.wait_for_close();
    });
    Request request = get();
    request.idle_ms = kSoonMs;
    const Answer answer = ask(server, request);
    EXPECT_EQ(Fault::timeout, answer.fault);
    EXPECT_EQ("nothing moved for 150 ms", answer.fault_message);
    EXPECT_EQ(200, answer.status);
}

TEST_F(TransportTest, ASlowDripMeetsTheWholeCallsDeadline) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while (!connection.closes_within(10) && connection.send("x")) {
        }
    });
    Request request = get();
    request.idle_ms = kLongMs;
    request.total_ms = 2 * kSoonMs;
    const Answer answer = ask(server, request);
    EXPECT_EQ(Fault::timeout, answer.fault);
    EXPECT_EQ("not done within 300 ms", answer.fault_message);
    EXPECT_FALSE(answer.body.empty());
}

TEST_F(TransportTest, ASlowDripIsProgressForADeadlineWithoutEnd) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
        for (int i = 0; i < 20 && !connection.closes_within(20); ++i) {
            connection.send("x");
        }
    });
    Request request = get();
    request.total_ms = 0;
    request.idle_ms = 2 * kSoonMs;
    const Answer answer = ask(server, request);
    EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
    EXPECT_EQ(20U, answer.body.size());
}

// ---- idle connections

TEST_F(TransportTest, RequestsInARowShareAConnection) {
    TestServer server([](ServerConnection& connection, int) {
        while (!connection.read_request().empty()) {
            connection.send(http_reply(200, "hello"));
        }
    });
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ("hello", ask(server, i % 2 == 0 ? get() : post("{}")).body);
    }
    EXPECT_EQ(1, server.connections());
    EXPECT_EQ(1U, transport_->idle_count());
}

TEST_F(TransportTest, AReplyThatClosesIsNotSharedAndNeitherIsOneWithMoreThanItSaid) {
    for (const std::string& reply :
         {http_reply(200, "hello", "Connection: close\r\n"), http_reply(200, "hello") + "more",
          std::string("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")}) {
        TestServer server([&reply](ServerConnection& connection, int) {
            connection.read_request();
            connection.send(reply);
            connection.wait_for_close();
        });
        transport_.reset();
        EXPECT_EQ("hello", ask(server, get()).body);
        EXPECT_EQ("hello", ask(server, get()).body);
        EXPECT_EQ(2, server.connections());
    }
}

// The server answers the first request of each connection and then does what `after` says.
TestServer::Behaviour answers_once_then(const std::function<void(ServerConnection&)>& after) {
    return [after](ServerConnection& connection, int number) {
        if (connection.read_request().empty()) {
            return;
        }
        connection.send(http_reply(200, "number " + std::to_string(number)));
        after(connection);
    };
}

TEST_F(TransportTest, AQuestionThatAnIdleConnectionDroppedIsAskedAgainOnce) {
    std::atomic<int> dropped = 0;
    TestServer server(answers_once_then([&dropped](ServerConnection& connection) {
        dropped += connection.read_request().empty() ? 0 : 1;  // and closes without a word
    }));
    EXPECT_EQ("number 0", ask(server, get()).body);
    const Answer again = ask(server, get());
    EXPECT_EQ(Fault::none, again.fault) << again.fault_message;
    EXPECT_EQ("number 1", again.body);
    EXPECT_EQ(1, dropped);
}

TEST_F(TransportTest, AChangeThatAnIdleConnectionDroppedIsNeverSentAgain) {
    std::atomic<int> dropped = 0;
    TestServer server(answers_once_then([&dropped](ServerConnection& connection) {
        dropped += connection.read_request().empty() ? 0 : 1;
    }));
    EXPECT_EQ("number 0", ask(server, get()).body);
    const Answer answer = ask(server, post("{}"));
    EXPECT_EQ(Fault::cut, answer.fault);
    EXPECT_EQ(0, answer.status);
    EXPECT_EQ(1, dropped);
    EXPECT_EQ(1, server.connections());
}

TEST_F(TransportTest, AChangeGoesOutFreshWhenTheConnectionHasRested) {
    settings_.mutation_rest_ms = -1;
    TestServer server([](ServerConnection& connection, int number) {
        while (!connection.read_request().empty()) {
            connection.send(http_reply(200, "number " + std::to_string(number)));
        }
    });
    EXPECT_EQ("number 0", ask(server, get()).body);
    EXPECT_EQ("number 1", ask(server, post()).body);
    EXPECT_EQ("number 1", ask(server, get()).body) << "questions may still share";
}

TEST_F(TransportTest, AnIdleConnectionThatTheServerClosedIsSeenBeforeUse) {
    TestServer server(answers_once_then([](ServerConnection&) {}));
    EXPECT_EQ("number 0", ask(server, get()).body);
    // The end of the connection is in our socket once the server's thread is done with it.
    for (int i = 1; i < 20; ++i) {
        const Answer answer = ask(server, get());
        EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
        EXPECT_EQ("number " + std::to_string(i), answer.body);
    }
}

TEST_F(TransportTest, BytesThatNobodyAskedForSpoilAnIdleConnection) {
    std::atomic<bool> heard = false;
    std::atomic<bool> spoiled = false;
    TestServer server([&](ServerConnection& connection, int number) {
        connection.read_request();
        connection.send(http_reply(200, "number " + std::to_string(number)));
        if (number == 0) {
            heard.wait(false);
            connection.send(http_reply(200, "forged"));
            spoiled = true;
            spoiled.notify_all();
        }
        connection.wait_for_close();
    });
    EXPECT_EQ("number 0", ask(server, get()).body);
    EXPECT_EQ(1U, transport_->idle_count());
    heard = true;
    heard.notify_all();
    spoiled.wait(false);
    EXPECT_EQ("number 1", ask(server, post()).body);
}

TEST_F(TransportTest, FewIdleConnectionsAreKept) {
    settings_.idle_connections = 2;
    std::atomic<int> waiting = 0;
    TestServer server([&waiting](ServerConnection& connection, int) {
        while (!connection.read_request().empty()) {
            ++waiting;
            while (waiting < 5 && !connection.closes_within(1)) {
            }
            connection.send(http_reply(200, "hello"));
        }
    });
    Transport& transport = to(server.endpoint());
    int ended = 0;
    for (int i = 0; i < 5; ++i) {
        boost::asio::co_spawn(io_, transport.exchange(get()),
                              [&ended](std::exception_ptr, const Answer& answer) {
                                  EXPECT_EQ("hello", answer.body);
                                  ++ended;
                              });
    }
    while (ended < 5) {
        io_.restart();
        io_.run_one();
    }
    EXPECT_EQ(5, server.connections());
    EXPECT_EQ(2U, transport.idle_count());
}

// ---- bodies, streamed

class PatternSource final : public ByteSource {
public:
    explicit PatternSource(std::int64_t bytes) : size_(bytes) {}
    [[nodiscard]] std::int64_t size() const override { return size_; }
    std::expected<std::size_t, std::string> read(std::span<std::byte> buffer) override {
        if (at == fails_at) {
            return std::unexpected("the disk does not answer");
        }
        largest_read = std::max(largest_read, buffer.size());
        const auto take = static_cast<std::size_t>(std::min<std::int64_t>(
            static_cast<std::int64_t>(buffer.size()), std::min(ends_at, size_) - at));
        for (std::size_t i = 0; i < take; ++i) {
            buffer[i] = static_cast<std::byte>((at + static_cast<std::int64_t>(i)) % 251);
        }
        at += static_cast<std::int64_t>(take);
        return take;
    }
    std::int64_t at = 0;
    std::int64_t ends_at = INT64_MAX;
    std::int64_t fails_at = -1;
    std::size_t largest_read = 0;

private:
    std::int64_t size_;
};

Request put(ByteSource& source) {
    Request request;
    request.verb = "PUT";
    request.target = "/v1.41/x";
    request.source = &source;
    request.total_ms = kLongMs;
    request.idle_ms = kLongMs;
    return request;
}

TEST_F(TransportTest, AnUploadArrivesWholeAndPassesThroughASmallBuffer) {
    constexpr std::int64_t kBytes = (8 << 20) + 12'345;
    std::string got;
    TestServer server([&got](ServerConnection& connection, int) {
        got = connection.read_request();
        connection.send(http_reply(200, ""));
    });
    PatternSource source(kBytes);
    const Answer answer = ask(server, put(source));
    EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
    EXPECT_EQ(200, answer.status);
    EXPECT_LE(source.largest_read, 64U << 10);
    const std::string body = got.substr(got.find("\r\n\r\n") + 4);
    ASSERT_EQ(static_cast<std::size_t>(kBytes), body.size());
    bool same = true;
    for (std::size_t i = 0; i < body.size(); ++i) {
        same = same && static_cast<unsigned char>(body[i]) == i % 251;
    }
    EXPECT_TRUE(same);
}

TEST_F(TransportTest, ARefusalHalfWayThroughAnUploadIsHeard) {
    TestServer server(
        [](ServerConnection& connection, int) {
            connection.read_head();
            connection.send(http_reply(404, "no such container", "Connection: close\r\n"));
        },
        TestServer::Kind::unix_socket);
    PatternSource source(32 << 20);
    const Answer answer = ask(server, put(source));
    EXPECT_EQ(404, answer.status);
    EXPECT_EQ("no such container", answer.body);
    EXPECT_LT(source.at, 32 << 20);
}

TEST_F(TransportTest, ASuccessHalfWayThroughAnUploadIsNotBelieved) {
    TestServer server(
        [](ServerConnection& connection, int) {
            connection.read_head();
            connection.send(http_reply(200, "", "Connection: close\r\n"));
        },
        TestServer::Kind::unix_socket);
    PatternSource source(32 << 20);
    const Answer answer = ask(server, put(source));
    EXPECT_EQ(Fault::cut, answer.fault);
    EXPECT_EQ(0, answer.status);
}

TEST_F(TransportTest, ASourceThatFailsOrEndsEarlyIsOurOwnFault) {
    TestServer server([](ServerConnection& connection, int) { connection.wait_for_close(); });
    PatternSource fails(1 << 20);
    fails.fails_at = 128 << 10;
    Answer answer = ask(server, put(fails));
    EXPECT_EQ(Fault::local, answer.fault);
    EXPECT_EQ("the disk does not answer", answer.fault_message);
    PatternSource ends(1 << 20);
    ends.ends_at = 100'000;
    answer = ask(server, put(ends));
    EXPECT_EQ(Fault::local, answer.fault);
    EXPECT_EQ("the source ended 948576 bytes before its size", answer.fault_message);
    EXPECT_EQ(0U, transport_->idle_count());
}

TEST_F(TransportTest, ADownloadIsHandedOnPieceByPiece) {
    const std::string large(5'000'000, 'y');
    TestServer server([&large](ServerConnection& connection, int) {
        while (!connection.read_request().empty()) {
            connection.send(http_reply(200, large));
        }
    });
    std::size_t got = 0;
    std::size_t largest = 0;
    int accepted = 0;
    Request request = get();
    request.on_accepted = [&] { ++accepted; };
    request.on_bytes = [&](std::span<const std::byte> bytes) -> std::expected<void, StreamError> {
        EXPECT_EQ(1, accepted);
        got += bytes.size();
        largest = std::max(largest, bytes.size());
        return {};
    };
    const Answer answer = ask(server, request);
    EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
    EXPECT_EQ(large.size(), got);
    EXPECT_LE(largest, 64U << 10);
    EXPECT_EQ("", answer.body);
    EXPECT_EQ(1U, transport_->idle_count());
}

TEST_F(TransportTest, ASinkThatHasEnoughClosesTheConnectionAtOnce) {
    std::atomic<bool> closed = false;
    TestServer server([&closed](ServerConnection& connection, int) {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nhello");
        closed = connection.closes_within(10'000);
    });
    Request request = get();
    request.on_bytes = [](std::span<const std::byte>) -> std::expected<void, StreamError> {
        return std::unexpected(StreamError{EngineError::Kind::local, "over the limit"});
    };
    const Answer answer = ask(server, request);
    ASSERT_TRUE(answer.stream_error.has_value());
    EXPECT_EQ("over the limit", answer.stream_error->message);
    EXPECT_EQ(0U, transport_->idle_count());
    server.stop();
    EXPECT_TRUE(closed);
}

TEST_F(TransportTest, AnErrorsBodyDoesNotReachTheSink) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send(http_reply(404, "no such container"));
    });
    Request request = get();
    request.on_accepted = [] { ADD_FAILURE() << "it was not"; };
    request.on_bytes = [](std::span<const std::byte>) -> std::expected<void, StreamError> {
        ADD_FAILURE() << "these are not its bytes";
        return {};
    };
    const Answer answer = ask(server, request);
    EXPECT_EQ(404, answer.status);
    EXPECT_EQ("no such container", answer.body);
}

TEST_F(TransportTest, AStreamWhoseEndCannotBeToldFromACutIsRefused) {
    TestServer server([](ServerConnection& connection, int) {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\n\r\nhello");
    });
    Request request = get();
    request.on_bytes = [](std::span<const std::byte>) -> std::expected<void, StreamError> {
        return {};
    };
    EXPECT_EQ(Fault::protocol, ask(server, request).fault);
}

// ---- what is sent

TEST_F(TransportTest, SaysWhatItMustAndNoMore) {
    std::vector<std::string> got;
    TestServer server(
        [&got](ServerConnection& connection, int) {
            for (;;) {
                std::string request = connection.read_request();
                if (request.empty()) {
                    return;
                }
                got.push_back(std::move(request));
                connection.send(http_reply(200, ""));
            }
        },
        TestServer::Kind::unix_socket);
    ask(server, get());
    ask(server, post());
    ask(server, post("{}"));
    PatternSource source(3);
    ask(server, put(source));
    transport_.reset();
    server.stop();
    const std::string common = " /v1.41/x HTTP/1.1\r\nHost: localhost\r\nUser-Agent: mayfly/" +
                               std::string(MAYFLY_VERSION) + "\r\n";
    EXPECT_EQ(
        (std::vector<std::string>{
            "GET" + common + "\r\n", "POST" + common + "Content-Length: 0\r\n\r\n",
            "POST" + common + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            "PUT" + common + "Content-Type: application/x-tar\r\nContent-Length: 3\r\n\r\n" +
                std::string("\0\1\2", 3)}),
        got);
}

// ---- closing

TEST_F(TransportTest, CloseEndsWhatWaitsAndRefusesWhatComes) {
    std::atomic<bool> asked = false;
    TestServer server([&asked](ServerConnection& connection, int) {
        connection.read_request();
        asked = true;
        connection.wait_for_close();
    });
    Transport& transport = to(server.endpoint());
    Request request = get();
    request.total_ms = 0;
    std::optional<Answer> answer;
    boost::asio::co_spawn(io_, transport.exchange(request),
                          [&answer](std::exception_ptr, Answer got) { answer = std::move(got); });
    while (!asked) {
        io_.restart();
        io_.run_for(std::chrono::milliseconds(1));
    }
    transport.close();
    io_.restart();
    io_.run();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(Fault::cut, answer->fault);
    EXPECT_EQ("the client was closed", answer->fault_message);
    EXPECT_EQ(Fault::unreachable, run_call(io_, transport.exchange(get())).fault);
}

TEST_F(TransportTest, TheLoopMayDieBeforeTheTransportAndAfterIt) {
    TestServer server([](ServerConnection& connection, int) { connection.wait_for_close(); });
    TransportSettings settings;
    settings.endpoint = server.endpoint();
    auto io = std::make_unique<boost::asio::io_context>();
    auto transport = *Transport::open(io->get_executor(), settings, clock_);
    boost::asio::co_spawn(*io, transport->exchange(get()),
                          [](std::exception_ptr, const Answer&) {});
    io->run_for(std::chrono::milliseconds(20));
    transport.reset();
    io.reset();
    SUCCEED();
}

}  // namespace
}  // namespace mayfly::controller::docker
