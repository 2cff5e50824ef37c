// Sockets, framing, deadlines, and who may talk to us.
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/api/fixture.h"

namespace mayfly::api {
namespace {

using test::HttpAnswer;
using test::HttpClient;
using Protocol = ApiTest;

std::size_t open_descriptors() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        (void)entry;
        ++count;
    }
    return count;
}

TEST_F(Protocol, AnswersANewcomer) {
    serve();
    const auto text = ask("GET", "/");
    EXPECT_EQ(text.status, 200);
    EXPECT_NE(text.body.find("/v1/runs"), std::string::npos);
    EXPECT_NE(text.body.find("curl"), std::string::npos);
    EXPECT_EQ(json_of(ask("GET", "/", {{"Accept", "application/json"}}))["runs"], "/v1/runs");
    EXPECT_EQ(ask("GET", "/healthz").status, 200);
    EXPECT_EQ(ask("GET", "/readyz").status, 200);
    EXPECT_EQ(ask("GET", "/v1/engines").status, 200);
}

TEST_F(Protocol, DescribesItselfForPrograms) {
    serve();
    const auto first = ask("GET", "/v1/openapi.json");
    EXPECT_EQ(first.status, 200);
    EXPECT_EQ(first.header("Content-Type"), "application/json");
    EXPECT_EQ(json_of(first)["openapi"].get<std::string>().substr(0, 4), "3.1.");
    const std::string etag = first.header("ETag");
    const auto again = ask("GET", "/v1/openapi.json", {{"If-None-Match", etag}});
    EXPECT_EQ(again.status, 304);
    EXPECT_EQ(again.header("ETag"), etag);
    EXPECT_EQ(ask("GET", "/v1/openapi.json", {{"If-None-Match", "\"older\""}}).body, first.body);
    EXPECT_EQ(json_of(ask("GET", "/", {{"Accept", "application/json"}}))["openapi"],
              "/v1/openapi.json");
}

TEST_F(Protocol, RefusesWhatIsNotThere) {
    serve();
    struct Case {
        const char* method;
        const char* target;
        int status;
        const char* type;
    };
    for (const Case& c : {
             Case{"GET", "/nowhere", 404, "not-found"},
             {"GET", "/v1/runs/01hzy0000000000000000000ab", 404, "not-found"},
             {"GET", "/v1/runs/../../../etc/passwd", 404, "not-found"},
             {"GET", "/v1/runs/%2e%2e%2f", 404, "not-found"},
             {"PUT", "/v1/runs", 405, "method-not-allowed"},
             {"OPTIONS", "/v1/runs", 405, "method-not-allowed"},
             {"TRACE", "/", 405, "method-not-allowed"},
             {"GET", "/healthz?x=1", 400, "invalid-query"},
             {"GET", "/v1/runs?limit=0", 400, "invalid-query"},
             {"GET", "/v1/runs?limit=1000000000", 400, "invalid-query"},
             {"GET", "/v1/runs?cursor=%27%20OR%201=1--", 400, "invalid-query"},
             {"GET", "/v1/runs?phase=done", 400, "invalid-query"},
             {"GET", "/v1/runs?label=nothing", 400, "invalid-query"},
             {"GET", "*", 400, "bad-request"},
         }) {
        const auto answer = ask(c.method, c.target);
        EXPECT_EQ(answer.status, c.status) << c.method << " " << c.target << answer.body;
        EXPECT_EQ(json_of(answer)["type"], std::string("urn:mayfly:problem:") + c.type)
            << c.target;
        EXPECT_EQ(answer.header("Content-Type"), "application/problem+json") << c.target;
    }
    EXPECT_EQ(ask("PUT", "/v1/runs").header("Allow"), "GET, HEAD, POST");
}

TEST_F(Protocol, ClosesAfterHeadsThatItCannotTrust) {
    serve();
    struct Case {
        const char* sentence;
        std::string head;
        const char* status;
    };
    for (const Case& c : {
             Case{"both framings",
                  "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                  "400"},
             {"bare line feeds", "GET / HTTP/1.1\nHost: localhost\n\n", "400"},
             {"a folded line", "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n", "400"},
             {"no version", "GET /\r\n\r\n", "400"},
             {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
             {"a TLS hello", std::string("\x16\x03\x01\x02\x00\x01\n\n", 8), "400"},
             {"an endless request line", "GET /" + std::string(20'000, 'a'), "414"},
             {"an endless header",
              "GET / HTTP/1.1\r\nHost: localhost\r\nA: " + std::string(20'000, 'a'), "431"},
             {"two hosts in one request",
              "GET http://127.0.0.1/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"},
         }) {
        auto peer = client();
        // What follows a head that is not understood must not be read as a request.
        peer.send(c.head + "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        const std::string all = peer.read_to_end();
        EXPECT_EQ(all.substr(0, 13), std::string("HTTP/1.1 ") + c.status + " ") << c.sentence;
        EXPECT_NE(all.find("Connection: close"), std::string::npos) << c.sentence;
        EXPECT_EQ(all.find("HTTP/1.1 200"), std::string::npos) << c.sentence;
    }
}

TEST_F(Protocol, KeepsConnectionsAndPipelines) {
    serve();
    auto peer = client();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(peer.ask("GET", "/healthz").status, 200);
    const std::string one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    peer.send("\r\n" + one + one + "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n" + one);
    EXPECT_EQ(peer.read().status, 200);
    EXPECT_EQ(peer.read().status, 200);
    const auto head = peer.read(true);
    EXPECT_EQ(head.status, 200);
    EXPECT_GT(std::stoi(head.header("Content-Length")), 500);
    EXPECT_EQ(peer.read().status, 200);
    // A small body that nobody wanted does not cost the connection.
    EXPECT_EQ(peer.ask("POST", "/healthz", {}, "{}").status, 405);
    EXPECT_EQ(peer.ask("GET", "/healthz").status, 200);
    const auto last = peer.ask("GET", "/healthz", {{"Connection", "close"}});
    EXPECT_EQ(last.header("Connection"), "close");
    EXPECT_EQ(peer.read_to_end(), "");
    auto old = client();
    old.send("GET /healthz HTTP/1.0\r\n\r\n");
    EXPECT_NE(old.read_to_end().find("200 OK"), std::string::npos);
}

TEST_F(Protocol, RefusesOtherHostsAndOtherSites) {
    Settings settings;
    settings.allowed_hosts = {"Mayfly.lan"};
    serve(settings);
    struct Case {
        const char* sentence;
        const char* method;
        test::Headers headers;
        int status;
    };
    for (const Case& c : {
             Case{"DNS rebinding", "GET", {{"Host", "evil.com"}}, 421},
             {"an address that is not ours", "GET", {{"Host", "10.0.0.1:7070"}}, 421},
             {"an empty Host", "GET", {{"Host", ""}}, 421},
             {"a name of the operator's", "GET", {{"Host", "mayfly.lan:80"}}, 200},
             {"IPv6 loopback", "GET", {{"Host", "[::1]:7070"}}, 200},
             {"a cross-site fetch", "POST", {{"Origin", "http://evil.com"}}, 403},
             {"a cross-site form", "POST", {{"Sec-Fetch-Site", "cross-site"}}, 403},
             {"a sandboxed page", "GET", {{"Origin", "null"}}, 403},
         }) {
        const auto answer = ask(c.method, "/v1/runs", c.headers);
        EXPECT_EQ(answer.status, c.status) << c.sentence << answer.body;
        EXPECT_FALSE(answer.has("Access-Control-Allow-Origin"));
    }
}

TEST_F(Protocol, ASlowHeaderIsCutAtItsDeadline) {
    Settings settings;
    settings.header_timeout_ms = 150;
    serve(settings);
    auto slow = client();
    slow.send("GET /healthz HTTP/1.1\r\nHost: loc");
    EXPECT_EQ(slow.read_to_end(), "");  // returns when the server closes
    auto silent = client();
    EXPECT_EQ(silent.read_to_end(), "");
    EXPECT_EQ(ask("GET", "/healthz").status, 200);
}

TEST_F(Protocol, ATricklingHeaderDoesNotMoveItsDeadline) {
    Settings settings;
    settings.header_timeout_ms = 300;
    serve(settings);
    auto slow = client();
    // More bytes than a deadline that moved with each would need; ends when the server closes.
    int sent = 0;
    const auto began = std::chrono::steady_clock::now();
    std::string line = "GET /healthz HTTP/1.1\r\n";
    while (slow.send(line) &&
           std::chrono::steady_clock::now() - began < std::chrono::seconds(20)) {
        line = "A: b\r\n";
        ++sent;
        if (sent % 10 == 0) EXPECT_EQ(ask("GET", "/healthz").status, 200);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the pace, not a wait
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

TEST_F(Protocol, ASlowBodyIsCut) {
    Settings settings;
    settings.idle_timeout_ms = 10'000;
    settings.body_grace_ms = 200;
    settings.body_min_bytes_per_s = 1 << 20;
    serve(settings);
    auto slow = client();
    slow.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000\r\n\r\n{");
    EXPECT_EQ(slow.read_to_end(), "");
    EXPECT_EQ(run_folders(), 0U);
}

TEST_F(Protocol, IdleConnectionsEnd) {
    Settings settings;
    settings.idle_timeout_ms = 100;
    serve(settings);
    auto peer = client();
    EXPECT_EQ(peer.ask("GET", "/healthz").status, 200);
    EXPECT_EQ(peer.read_to_end(), "");
}

TEST_F(Protocol, AnswersBeforeAnUnwantedBody) {
    Settings settings;
    settings.max_json_body_bytes = 1'000;
    serve(settings);
    auto peer = client();
    // 10 GiB announced, none sent: the answer comes from the header alone.
    peer.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 10737418240\r\n\r\n");
    const auto answer = peer.read();
    EXPECT_EQ(answer.status, 413);
    EXPECT_EQ(json_of(answer)["errors"][0]["limit"], 1'000);
    EXPECT_EQ(answer.header("Connection"), "close");
    auto expecting = client();
    expecting.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n");
    EXPECT_EQ(expecting.read().status, 413);
    auto typeless = client();
    EXPECT_EQ(typeless.ask("POST", "/v1/runs", {{"Content-Type", "text/plain"}}, "{}").status,
              415);
}

TEST_F(Protocol, CountsAChunkedBodyThatNeverEnds) {
    Settings settings;
    settings.max_json_body_bytes = 100'000;
    serve(settings);
    auto peer = client();
    peer.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = "1000\r\n" + std::string(4'096, ' ') + "\r\n";
    int chunks = 0;
    while (chunks < 100'000 && peer.send(chunk)) ++chunks;
    EXPECT_LT(chunks, 100'000);
    auto second = client();
    second.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 26; ++i) second.send(chunk);
    EXPECT_EQ(second.read().status, 413);
    auto broken = client();
    broken.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n-5\r\n");
    EXPECT_EQ(broken.read().status, 400);
    auto overflowing = client();
    overflowing.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        "\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n");
    EXPECT_EQ(overflowing.read().status, 400);
    EXPECT_EQ(run_folders(), 0U);
}

TEST_F(Protocol, InvitesABodyThatWaitsForIt) {
    serve();
    auto peer = client();
    const std::string body = R"({"image":"busybox","command":["true"]})";
    peer.send(
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Expect: 100-continue\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n");
    EXPECT_EQ(peer.read().status, 100);
    peer.send(body);
    EXPECT_EQ(peer.read().status, 201);
    EXPECT_EQ(peer.ask("GET", "/healthz").status, 200);
}

TEST_F(Protocol, TurnsAwayConnectionsOverTheLimit) {
    Settings settings;
    settings.max_connections = 2;
    serve(settings);
    auto first = client();
    EXPECT_EQ(first.ask("GET", "/healthz").status, 200);
    auto second = client();
    EXPECT_EQ(second.ask("GET", "/healthz").status, 200);
    auto third = client();
    const auto answer = third.read();
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.header("Retry-After"), "1");
    EXPECT_EQ(json_of(answer)["type"], "urn:mayfly:problem:overloaded");
    third.close();
    first.close();
    HttpAnswer again;
    for (int i = 0; i < 1'000 && again.status != 200; ++i) again = ask("GET", "/healthz");
    EXPECT_EQ(again.status, 200);
}

TEST_F(Protocol, ListensOnAUnixSocket) {
    Settings settings;
    settings.listen = "";
    settings.unix_socket = (dir_ / "s.sock").string();
    serve(settings);
    struct stat facts{};
    ASSERT_EQ(::stat(settings.unix_socket.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777U, 0660U);
    auto peer = HttpClient::unix_socket(settings.unix_socket);
    EXPECT_EQ(peer.ask("GET", "/healthz", {{"Host", "anything"}}).status, 200);
    EXPECT_EQ(server_->port(), 0);
    peer.close();
    // A second one sees that the first lives; a file that is no socket is left alone.
    Server rival(io_, settings, world());
    const auto taken = rival.open();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().kind, store::ErrorKind::locked);
    settings.unix_socket = (dir_ / "data" / "mayfly.db").string();
    Server wrong(io_, settings, world());
    ASSERT_FALSE(wrong.open());
    EXPECT_TRUE(std::filesystem::exists(settings.unix_socket));
    stop();
    EXPECT_FALSE(std::filesystem::exists(dir_ / "s.sock"));
}

TEST_F(Protocol, RefusesAddressesThatItShouldNotListenOn) {
    struct Case {
        const char* listen;
        const char* says;
    };
    for (const Case& c : {
             Case{"0.0.0.0:0", "no access tokens yet"},
             {"[::]:0", "no access tokens yet"},
             {"7070", "host:port"},
             {"127.0.0.1", "host:port"},
             {":7070", "host:port"},
             {"::1:7070", "host:port"},
             {"127.0.0.1:70707", "host:port"},
             {"127.0.0.1:-1", "host:port"},
             {"", "nothing to listen on"},
             {"no-such-host.invalid:0", "not known"},
         }) {
        Settings settings;
        settings.listen = c.listen;
        Server server(io_, settings, world());
        const auto opened = server.open();
        ASSERT_FALSE(opened) << c.listen;
        EXPECT_EQ(opened.error().kind, store::ErrorKind::invalid) << c.listen;
        EXPECT_NE(opened.error().message.find(c.says), std::string::npos)
            << opened.error().message;
    }
    Settings open_to_all;
    open_to_all.listen = "0.0.0.0:0";
    open_to_all.allow_remote = true;
    serve(open_to_all);
    EXPECT_EQ(ask("GET", "/healthz", {{"Host", "10.1.2.3:7070"}}).status, 200);
    EXPECT_EQ(ask("GET", "/healthz", {{"Host", "evil.com"}}).status, 421);
    Settings same;
    same.listen = "0.0.0.0:" + std::to_string(server_->port());
    same.allow_remote = true;
    Server rival(io_, same, world());
    const auto taken = rival.open();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().kind, store::ErrorKind::locked);
}

TEST_F(Protocol, TellsWhyItIsNotReady) {
    serve();
    on_loop([this] { live_.disk_full = true; });
    auto answer = ask("GET", "/readyz");
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(json_of(answer)["reasons"][0]["reason"], "DiskFull");
    EXPECT_EQ(post(R"({"image":"a","command":["a"]})").status, 507);
    on_loop([this] {
        live_.disk_full = false;
        live_.draining = true;
    });
    answer = post(R"({"image":"a","command":["a"]})");
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.header("Retry-After"), "5");
    EXPECT_EQ(ask("GET", "/v1/runs").status, 200);
    on_loop([this] { live_.draining = false; });
    on_loop([this] { store_->stop(); });
    EXPECT_EQ(post(R"({"image":"a","command":["a"]})").status, 503);
    EXPECT_EQ(ask("GET", "/healthz").status, 200);
}

TEST_F(Protocol, StopsWithoutCuttingWhatIsUnderWay) {
    serve();
    const std::string id = submit();
    auto idle = client();
    EXPECT_EQ(idle.ask("GET", "/healthz").status, 200);
    auto waiting = client();
    waiting.send("GET /v1/runs/" + id + "?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(ask("GET", "/healthz").status, 200);  // so the loop has seen the waiter
    stop();
    const auto answer = waiting.read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(json_of(answer)["status"]["phase"], "queued");
    EXPECT_EQ(answer.header("Connection"), "close");
    EXPECT_EQ(idle.read_to_end(), "");
}

TEST_F(Protocol, LeaksNothingWhenClientsVanish) {
    serve();
    const std::string id = submit();
    start_run(id);
    finish_run(id, {.phase = store::Phase::succeeded,
                    .reason = store::Reason::Completed,
                    .files = {{"big", std::string(32 << 20, 'x')}},
                    .stdout_text = "",
                    .stderr_text = "",
                    .result_json = ""});
    const std::string download = "GET /v1/runs/" + id +
                                 "/artifacts/big HTTP/1.1\r\n"
                                 "Host: localhost\r\n\r\n";
    const std::size_t before = open_descriptors();
    for (int i = 0; i < 20; ++i) {
        auto downloading = client();
        downloading.send(download);
        auto uploading = client();
        uploading.send("POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: " +
                       std::string(kMultipart) + "\r\nContent-Length: 900000\r\n\r\n" +
                       part("spec", R"({"image":"a","command":["a"]})") + part("a", "half"));
        auto waiting = client();
        const std::string queued = submit();
        waiting.send("GET /v1/runs/" + queued + "?wait=30s HTTP/1.1\r\nHost: localhost\r\n\r\n");
        downloading.abort();
        uploading.abort();
        waiting.abort();
    }
    EXPECT_EQ(connections_left(), 0U);
    EXPECT_LE(open_descriptors(), before);
    EXPECT_EQ(files_being_written(), 0U);
    EXPECT_EQ(run_folders(), 21U);
}

TEST_F(Protocol, CountsEveryAnswer) {
    serve();
    (void)submit();
    (void)ask("GET", "/nowhere");
    (void)ask("GET", "/v1/runs/01hzy0000000000000000000ab");
    auto broken = client();
    broken.send("nonsense\r\n\r\n");
    (void)broken.read_to_end();
    const std::string text = ask("GET", "/metrics").body;
    const auto has = [&](std::string_view line) { return text.find(line) != std::string::npos; };
    EXPECT_TRUE(has(R"(mayfly_api_requests_total{code="201",method="POST",route="/v1/runs"} 1)"));
    EXPECT_TRUE(has(R"(mayfly_api_requests_total{code="404",method="GET",route="other"} 1)"));
    EXPECT_TRUE(
        has(R"(mayfly_api_requests_total{code="404",method="GET",route="/v1/runs/{id}"} 1)"));
    EXPECT_TRUE(has(R"(mayfly_api_requests_total{code="400",method="other",route="other"} 1)"));
    EXPECT_TRUE(has("mayfly_runs_submitted_total 1")) << text;
}

}  // namespace
}  // namespace mayfly::api
