// Reading, waiting, listing, cancelling and deleting runs.
#include "tests/api/fixture.h"

namespace mayfly::api {
namespace {

using nlohmann::json;
using Runs = ApiTest;

TEST_F(Runs, AWaitEndsWhenTheRunDoes) {
    serve();
    const std::string id = submit();
    start_run(id);
    auto waiting = client();
    waiting.send("GET /v1/runs/" + id + "?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(json_of(ask("GET", "/v1/runs/" + id))["status"]["phase"], "running");
    finish_run(id, {.phase = store::Phase::succeeded,
                    .reason = store::Reason::Completed,
                    .files = {{"a", "1"}},
                    .stdout_text = "hi\n",
                    .stderr_text = "",
                    .result_json = R"({"score": 7})"});
    const auto answer = waiting.read();
    ASSERT_EQ(answer.status, 200);
    const json status = json_of(answer)["status"];
    EXPECT_EQ(status["phase"], "succeeded");
    EXPECT_EQ(status["reason"], "Completed");
    EXPECT_EQ(status["exit_code"], 0);
    EXPECT_EQ(status["result"]["score"], 7);
    EXPECT_EQ(status["artifact_count"], 1);
    EXPECT_EQ(status["stdout"]["bytes_total"], 3);
    EXPECT_NE(status["finished_at"], nullptr);
    EXPECT_NE(status["expires_at"], nullptr);
    EXPECT_EQ(json_of(ask("GET", "/v1/runs/" + id + "?wait=60s"))["status"], status);
}

TEST_F(Runs, ASubmissionCanWaitForItsEnd) {
    serve();
    auto waiting = client();
    const std::string body = R"({"image":"busybox","command":["true"],"labels":{"k":"v"}})";
    waiting.send(
        "POST /v1/runs?wait=60s HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body);
    json runs = json::array();
    while (runs.empty()) runs = json_of(ask("GET", "/v1/runs?label=k=v"))["runs"];
    const std::string id = runs[0]["id"];
    start_run(id);
    finish_run(id, {});
    const auto answer = waiting.read();
    EXPECT_EQ(answer.status, 201);
    EXPECT_EQ(json_of(answer)["status"]["phase"], "succeeded");
}

TEST_F(Runs, AWaitIsOverAfterItsTime) {
    serve();
    const std::string id = submit();
    const auto began = std::chrono::steady_clock::now();
    const auto answer = ask("GET", "/v1/runs/" + id + "?wait=100ms");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(json_of(answer)["status"]["phase"], "queued");
    // A wait ends on a whole millisecond, which may be the one that had begun when it was asked
    // for.
    EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(99));
}

TEST_F(Runs, CancelIsRememberedAndSaidOnce) {
    serve();
    const std::string id = submit();
    const auto first = ask("POST", "/v1/runs/" + id + "/cancel");
    EXPECT_EQ(first.status, 202);
    const json when = json_of(first)["status"]["cancel_requested_at"];
    EXPECT_NE(when, nullptr);
    const auto second = ask("POST", "/v1/runs/" + id + "/cancel", {}, "{}");
    EXPECT_EQ(second.status, 202);
    EXPECT_EQ(json_of(second)["status"]["cancel_requested_at"], when);
    start_run(id);
    finish_run(id, {.phase = store::Phase::cancelled,
                    .reason = store::Reason::CancelRequested,
                    .files = {},
                    .stdout_text = "",
                    .stderr_text = "",
                    .result_json = ""});
    const auto late = ask("POST", "/v1/runs/" + id + "/cancel");
    EXPECT_EQ(late.status, 409);
    EXPECT_EQ(json_of(late)["type"], "urn:mayfly:problem:already-finished");
    EXPECT_EQ(ask("POST", "/v1/runs/01hzy0000000000000000000ab/cancel").status, 404);
    EXPECT_EQ(ask("GET", "/v1/runs/" + id + "/cancel").status, 405);
}

TEST_F(Runs, DeleteNeedsAnEndAndHappensOnce) {
    serve();
    const std::string id = submit();
    const auto early = ask("DELETE", "/v1/runs/" + id);
    EXPECT_EQ(early.status, 409);
    EXPECT_EQ(json_of(early)["type"], "urn:mayfly:problem:still-running");
    EXPECT_NE(json_of(early)["detail"].get<std::string>().find("cancel it first"),
              std::string::npos);
    start_run(id);
    finish_run(id, {});
    EXPECT_EQ(ask("DELETE", "/v1/runs/" + id).status, 202);
    EXPECT_EQ(ask("DELETE", "/v1/runs/" + id).status, 404);
    for (const char* rest : {"", "/logs", "/artifacts", "/artifacts/a", "/artifacts.tar"}) {
        EXPECT_EQ(ask("GET", "/v1/runs/" + id + rest).status, 404) << rest;
    }
    EXPECT_EQ(ask("POST", "/v1/runs/" + id + "/cancel").status, 404);
    EXPECT_TRUE(json_of(ask("GET", "/v1/runs"))["runs"].empty());
}

TEST_F(Runs, ListingsFilter) {
    serve();
    const std::string a = submit(R"(,"labels":{"team":"red","n":"1"})");
    const std::string b = submit(R"(,"labels":{"team":"red","n":"2"})");
    const std::string c = submit(R"(,"labels":{"team":"blue"})");
    start_run(b);
    start_run(c);
    finish_run(c, {});
    const auto ids = [&](const std::string& query) {
        std::vector<std::string> out;
        const auto answer = ask("GET", "/v1/runs" + query);
        EXPECT_EQ(answer.status, 200) << answer.body;
        for (const json& run : json_of(answer)["runs"]) out.push_back(run["id"]);
        std::ranges::sort(out);
        return out;
    };
    const auto sorted = [](std::vector<std::string> list) {
        std::ranges::sort(list);
        return list;
    };
    EXPECT_EQ(ids(""), sorted({a, b, c}));
    EXPECT_EQ(ids("?phase=queued"), sorted({a}));
    EXPECT_EQ(ids("?phase=running,succeeded"), sorted({b, c}));
    EXPECT_EQ(ids("?phase=running&phase=queued"), sorted({a, b}));
    EXPECT_EQ(ids("?label=team=red"), sorted({a, b}));
    EXPECT_EQ(ids("?label=team=red&label=n=2"), sorted({b}));
    EXPECT_EQ(ids("?label=team%3Dred&phase=queued"), sorted({a}));
    EXPECT_EQ(ids("?label=team=green"), sorted({}));
    EXPECT_EQ(ids("?label=team=%27%20OR%201=1--"), sorted({}));
}

TEST_F(Runs, PagesStayWhereTheyAreWhenNewRunsCome) {
    serve();
    std::vector<std::string> made;
    for (int i = 0; i < 7; ++i) made.push_back(submit());
    std::vector<std::string> seen;
    std::string cursor;
    for (int page = 0; page < 10; ++page) {
        const std::string query = cursor.empty() ? "" : "&cursor=" + cursor;
        const json body = json_of(ask("GET", "/v1/runs?limit=3" + query));
        for (const json& run : body["runs"]) seen.push_back(run["id"]);
        (void)submit();  // newer than every page behind the cursor
        if (body["next_cursor"].is_null()) break;
        cursor = body["next_cursor"];
    }
    std::ranges::sort(made);
    std::ranges::sort(seen);
    EXPECT_EQ(seen, made);
}

}  // namespace
}  // namespace mayfly::api
