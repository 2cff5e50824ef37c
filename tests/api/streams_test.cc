// Answers without an end: events, and logs that are followed.
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/api/fixture.h"

namespace mayfly::api {
namespace {

using store::LogStream;

class Streams : public ApiTest {
protected:
    void print(LogStream stream, std::string bytes) {
        on_loop([&] { live_logs_.print(stream, std::move(bytes)); });
    }
    void end_live(std::string error = {}) {
        on_loop([&] { live_logs_.end(std::move(error)); });
    }
    static std::string logs(const std::string& id, const std::string& query) {
        return "/v1/runs/" + id + "/logs?follow=1" + query;
    }
};

// The ids of an event stream's text, in order.
std::vector<std::string> ids_of(const std::string& text) {
    std::vector<std::string> ids;
    for (std::size_t at = 0; (at = text.find("id: ", at)) != std::string::npos;) {
        at += 4;
        ids.push_back(text.substr(at, text.find('\n', at) - at));
    }
    return ids;
}

// ---- events

TEST_F(Streams, EventsBeginWithHelloAndTellWhatHappensFromNowOn) {
    serve();
    submit();
    auto follower = client();
    const auto head = follower.begin("/v1/events");
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.header("Content-Type"), "text/event-stream");
    const std::string hello = follower.read_until("\n\n");
    EXPECT_EQ(hello, "id: 1\nevent: hello\ndata: {\"oldest\":1,\"newest\":1}\n\n");
    const std::string id = submit(R"(,"labels":{"team":"blue"})");
    const std::string first = follower.read_until("\n\n");
    EXPECT_TRUE(first.starts_with("id: 2\nevent: status\ndata: {")) << first;
    const auto data = nlohmann::json::parse(first.substr(first.find("data: ") + 6));
    EXPECT_EQ(data["type"], "created");
    EXPECT_EQ(data["run_id"], id);
    EXPECT_EQ(data["labels"]["team"], "blue");
    start_run(id);
    EXPECT_NE(follower.read_until("\"running\"").find("\"preparing\""), std::string::npos);
}

TEST_F(Streams, AReaderWhoComesAgainMissesNothingAndHearsNothingTwice) {
    serve();
    for (int i = 0; i < 5; ++i) submit();
    for (const bool by_header : {true, false}) {
        auto follower = client();
        const std::string query = by_header ? "" : "?last_event_id=2";
        const test::Headers headers =
            by_header ? test::Headers{{"Last-Event-ID", "2"}} : test::Headers{};
        EXPECT_EQ(follower.begin("/v1/events" + query, headers).status, 200);
        const std::string text = follower.read_until("id: 5\n");
        EXPECT_EQ(ids_of(text), (std::vector<std::string>{"2", "3", "4", "5"})) << by_header;
    }
}

TEST_F(Streams, EventsAreFilteredByRunAndLabelAndGoOnBehindTheRest) {
    serve();
    const std::string blue = submit(R"(,"labels":{"team":"blue"})");
    const std::string red = submit(R"(,"labels":{"team":"red"})");
    const struct {
        const char* sentence;
        std::string query;
        std::string first;  // the id of the first event
    } cases[] = {
        {"by run", "run=" + red, "2"},
        {"by label", "label=team=red", "2"},
        {"by two runs", "run=" + red + "&run=" + blue, "1"},
    };
    for (const auto& c : cases) {
        auto follower = client();
        ASSERT_EQ(follower.begin("/v1/events?last_event_id=0&" + c.query).status, 200);
        follower.read_until("\n\n");
        EXPECT_EQ(ids_of(follower.read_until("\n\n")), std::vector<std::string>{c.first})
            << c.sentence;
    }
    auto follower = client();
    ASSERT_EQ(follower.begin("/v1/events?run=" + red).status, 200);
    follower.read_until("\n\n");
    start_run(blue);
    start_run(red);
    const std::string next = follower.read_until("\n\n");
    EXPECT_NE(next.find(red), std::string::npos) << next;
}

TEST_F(Streams, AnIdThatIsNotKeptIsGoneAndWhatIsNoIdIsSaid) {
    serve();
    submit();
    const struct {
        const char* sentence;
        const char* query;
        int status;
        const char* says;
    } cases[] = {
        {"an id of the future", "?last_event_id=99", 410, "GET /v1/runs"},
        {"no number", "?last_event_id=x", 400, "last_event_id"},
        {"a negative one", "?last_event_id=-1", 400, "last_event_id"},
        {"no run's id", "?run=abc", 400, "is not the id of a run"},
        {"no label", "?label=abc", 400, "key=value"},
        {"an unknown parameter", "?since=1", 400, "since"},
    };
    for (const auto& c : cases) {
        const auto answer = ask("GET", std::string("/v1/events") + c.query);
        EXPECT_EQ(answer.status, c.status) << c.sentence;
        EXPECT_NE(answer.body.find(c.says), std::string::npos) << c.sentence << answer.body;
    }
    const auto header = ask("GET", "/v1/events", {{"Last-Event-ID", "2x"}});
    EXPECT_EQ(header.status, 400);
}

TEST_F(Streams, AStopEndsEveryStreamAtOnce) {
    serve();
    const std::string id = submit();
    start_run(id);
    auto events = client();
    auto both = client();
    auto raw = client();
    ASSERT_EQ(events.begin("/v1/events").status, 200);
    ASSERT_EQ(both.begin(logs(id, "&stream=both")).status, 200);
    ASSERT_EQ(raw.begin(logs(id, "")).status, 200);
    stop(20'000);
    bool whole = false;
    events.read_rest(whole);
    EXPECT_TRUE(whole) << "whoever follows events comes again with his last id";
    both.read_rest(whole);
    EXPECT_TRUE(whole);
    raw.read_rest(whole);
    EXPECT_FALSE(whole) << "a raw log that is not whole must not look as if it were";
}

TEST_F(Streams, MoreFollowersThanAllowedAreToldTheLimitAndAPlaceIsGivenBack) {
    Settings settings;
    settings.max_followers = 2;
    serve(settings);
    auto first = client();
    auto second = client();
    ASSERT_EQ(first.begin("/v1/events").status, 200);
    ASSERT_EQ(second.begin("/v1/events").status, 200);
    const auto refused = ask("GET", "/v1/events");
    EXPECT_EQ(refused.status, 503);
    EXPECT_NE(refused.body.find("--max-followers"), std::string::npos) << refused.body;
    EXPECT_TRUE(refused.has("Retry-After"));
    second.close();
    // It is noticed within a second or so.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    int status = 503;
    while (status == 503 && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the pace, not a wait
        status = client().begin("/v1/events").status;
    }
    EXPECT_EQ(status, 200);
}

// ---- one stream of a log

TEST_F(Streams, AFollowedLogIsTheLiveOneAndThenTheRestOfTheStoredOne) {
    serve();
    const std::string id = submit();
    start_run(id);
    auto follower = client();
    const auto head = follower.begin(logs(id, ""));
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.header("Mayfly-Attempt"), "1");
    print(LogStream::out, "one\n");
    print(LogStream::err, "not this\n");
    EXPECT_EQ(follower.read_until("one\n"), "one\n");
    print(LogStream::out, "two\n");
    EXPECT_EQ(follower.read_until("two\n"), "two\n");
    end_live();
    finish_run(id, {.stdout_text = "one\ntwo\nthree\n", .stderr_text = "not this\n"});
    bool whole = false;
    EXPECT_EQ(follower.read_rest(whole), "three\n");
    EXPECT_TRUE(whole);
}

TEST_F(Streams, AFollowerGoesOnAtAnyOffset) {
    serve();
    const std::string id = submit();
    start_run(id);
    print(LogStream::out, "0123");
    print(LogStream::out, "456789");
    for (const int offset : {0, 1, 3, 4, 7, 10}) {
        auto follower = client();
        const std::string query = "&offset=" + std::to_string(offset);
        ASSERT_EQ(follower.begin(logs(id, query)).status, 200);
        const std::string wanted = std::string("0123456789").substr(static_cast<size_t>(offset));
        if (!wanted.empty()) EXPECT_EQ(follower.read_until("9"), wanted) << offset;
    }
    end_live();
    finish_run(id, {.stdout_text = "0123456789ab"});
    for (const int offset : {0, 5, 11, 12}) {
        for (const char* how : {"&offset=", "&stream=stdout&offset="}) {
            auto follower = client();
            ASSERT_EQ(follower.begin(logs(id, how + std::to_string(offset))).status, 200);
            bool whole = false;
            EXPECT_EQ(follower.read_rest(whole),
                      std::string("0123456789ab").substr(static_cast<size_t>(offset)));
            EXPECT_TRUE(whole);
        }
    }
}

TEST_F(Streams, ALiveLogThatBreaksIsOpenedAgainAndNothingComesTwice) {
    serve();
    const std::string id = submit();
    start_run(id);
    auto follower = client();
    ASSERT_EQ(follower.begin(logs(id, "")).status, 200);
    print(LogStream::out, "a");
    EXPECT_EQ(follower.read_until("a"), "a");
    end_live("the engine went away");
    on_loop([this] { live_logs_.begin_anew(); });
    print(LogStream::out, "b");
    EXPECT_EQ(follower.read_until("b"), "b");
    end_live();
    finish_run(id, {.stdout_text = "ab"});
    bool whole = false;
    EXPECT_EQ(follower.read_rest(whole), "");
    EXPECT_TRUE(whole);
}

TEST_F(Streams, ARunThatWaitsIsFollowedFromItsBeginning) {
    serve();
    const std::string id = submit();
    auto follower = client();
    ASSERT_EQ(follower.begin(logs(id, "")).status, 200);
    print(LogStream::out, "x");
    start_run(id);
    EXPECT_EQ(follower.read_until("x"), "x");
}

TEST_F(Streams, WhatCannotBeFollowedIsSaid) {
    serve();
    const std::string id = submit();
    start_run(id);
    const struct {
        const char* sentence;
        const char* query;
        int status;
        const char* says;
    } cases[] = {
        {"no stream of ours", "follow=1&stream=x", 400, "`both`"},
        {"both without follow", "stream=both", 400, "follow=1"},
        {"a tail of what has no end", "follow=1&tail=3", 400, "goes with neither"},
        {"an offset for both", "follow=1&stream=both&offset=1", 400, "Last-Event-ID"},
        {"a place for one", "follow=1&last_event_id=1:0:0", 400, "stream=both"},
        {"no place", "follow=1&stream=both&last_event_id=1:0", 400, "not the id"},
        {"a negative offset", "follow=1&offset=-1", 400, "offset"},
        {"neither yes nor no", "follow=yes", 400, "must be 0 or 1"},
        {"an unfinished log without follow", "stream=stdout", 409, "follow=1"},
    };
    for (const auto& c : cases) {
        const auto answer = ask("GET", "/v1/runs/" + id + "/logs?" + c.query);
        EXPECT_EQ(answer.status, c.status) << c.sentence << answer.body;
        EXPECT_NE(answer.body.find(c.says), std::string::npos) << c.sentence << answer.body;
    }
    on_loop([this] { live_logs_.refuse = store::Error{store::ErrorKind::full, "64 already"}; });
    const auto full = ask("GET", logs(id, ""));
    EXPECT_EQ(full.status, 503);
    EXPECT_NE(full.body.find("64 already"), std::string::npos);
    end_live();
    finish_run(id, {.stdout_text = "abc"});
    const auto beyond = ask("GET", "/v1/runs/" + id + "/logs?offset=4");
    EXPECT_EQ(beyond.status, 416);
    EXPECT_EQ(ask("GET", "/v1/runs/" + id + "/logs?offset=1").body, "bc");
}

TEST_F(Streams, AReaderWhoDoesNotReadIsCutOffAndGoesOnWhereHeWas) {
    Settings settings;
    settings.write_timeout_ms = 3'000;
    serve(settings);
    const std::string id = submit();
    start_run(id);
    // More than sockets hold, each byte telling where it is.
    std::string all;
    for (std::int64_t i = 0; all.size() < (24U << 20U); ++i) all += std::to_string(i) + "\n";
    for (std::size_t at = 0; at < all.size(); at += 64 << 10) {
        print(LogStream::out, all.substr(at, 64 << 10));
    }
    auto slow = client();
    ASSERT_EQ(slow.begin(logs(id, "")).status, 200);
    EXPECT_EQ(connections_left(), 0U) << "a reader who does not read must not stay for ever";
    bool whole = true;
    const std::string got = slow.read_rest(whole);
    EXPECT_FALSE(whole);
    EXPECT_LT(got.size(), all.size());
    EXPECT_TRUE(all.starts_with(got));
    end_live();
    finish_run(id, {.stdout_text = all});
    auto again = client();
    ASSERT_EQ(again.begin(logs(id, "&offset=" + std::to_string(got.size()))).status, 200);
    const std::string rest = again.read_rest(whole);
    EXPECT_TRUE(whole);
    EXPECT_TRUE(got + rest == all);
}

// ---- both streams

TEST_F(Streams, BothStreamsComeInOrderWithAPlaceToGoOn) {
    serve();
    const std::string id = submit();
    start_run(id);
    auto follower = client();
    ASSERT_EQ(follower.begin(logs(id, "&stream=both")).status, 200);
    EXPECT_NE(follower.read_until("\n\n").find("event: status\ndata: {\"attempt\":1"),
              std::string::npos);
    print(LogStream::out, "hi\n");
    EXPECT_EQ(follower.read_until("\n\n"),
              "id: 1:3:0\nevent: log\n"
              "data: {\"offset\":0,\"stream\":\"stdout\",\"text\":\"hi\\n\"}\n\n");
    print(LogStream::err, "\xff");
    EXPECT_EQ(follower.read_until("\n\n"),
              "id: 1:3:1\nevent: log\n"
              "data: {\"base64\":\"/w==\",\"offset\":0,\"stream\":\"stderr\"}\n\n");
    auto again = client();
    ASSERT_EQ(again.begin(logs(id, "&stream=both"), {{"Last-Event-ID", "1:3:0"}}).status, 200);
    EXPECT_NE(again.read_until("base64").find("id: 1:3:1"), std::string::npos);
    end_live();
    finish_run(id, {.stdout_text = "hi\nbye\n", .stderr_text = "\xff"});
    bool whole = false;
    const std::string rest = follower.read_rest(whole);
    EXPECT_TRUE(whole);
    EXPECT_NE(rest.find("id: 1:7:1\nevent: log"), std::string::npos) << rest;
    EXPECT_NE(rest.find("event: status"), std::string::npos) << rest;
    EXPECT_NE(rest.find("event: end\ndata: {\"exit_code\""), std::string::npos) << rest;
}

TEST_F(Streams, ACharacterThatComesInTwoPiecesIsNotTornApart) {
    serve();
    const std::string id = submit();
    start_run(id);
    auto follower = client();
    ASSERT_EQ(follower.begin(logs(id, "&stream=both")).status, 200);
    follower.read_until("\n\n");
    print(LogStream::out, "a\xe2\x82");
    EXPECT_NE(follower.read_until("\n\n").find("\"text\":\"a\""), std::string::npos);
    print(LogStream::out, "\xac");
    const std::string euro = follower.read_until("\n\n");
    EXPECT_NE(euro.find("\"offset\":1"), std::string::npos) << euro;
    EXPECT_NE(euro.find("\xe2\x82\xac"), std::string::npos) << euro;
}

TEST_F(Streams, ARunThatIsTriedAgainBeginsItsLogAnew) {
    serve();
    const std::string id = submit(R"(,"retry":{"max_attempts":2})");
    start_run(id);
    auto both = client();
    auto raw = client();
    ASSERT_EQ(both.begin(logs(id, "&stream=both")).status, 200);
    ASSERT_EQ(raw.begin(logs(id, "")).status, 200);
    print(LogStream::out, "first");
    both.read_until("first\"}\n\n");
    EXPECT_EQ(raw.read_until("first"), "first");
    retry_run(id);
    EXPECT_NE(both.read_until("event: restart\ndata: {\"attempt\":2}").find("id: 2:0:0"),
              std::string::npos);
    bool whole = true;
    raw.read_rest(whole);
    EXPECT_FALSE(whole) << "the bytes of another attempt must not follow these";
    const auto stale = ask("GET", logs(id, "&attempt=1&offset=5"));
    EXPECT_EQ(stale.status, 409);
    EXPECT_EQ(json_of(stale)["type"], "urn:mayfly:problem:attempt-replaced");
    auto anew = client();
    EXPECT_EQ(anew.begin(logs(id, "&attempt=2&offset=0")).status, 200);
}

}  // namespace
}  // namespace mayfly::api
