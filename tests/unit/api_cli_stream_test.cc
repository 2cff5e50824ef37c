// Server-sent events in pieces, and what a follower makes of them.
#include <gtest/gtest.h>

#include "api/cli/fields.h"
#include "api/cli/follow.h"
#include "api/cli/sse.h"

namespace mayfly::api::cli {
namespace {

std::vector<SseEvent> read(std::string_view bytes, std::size_t piece) {
    SseParser parser;
    std::vector<SseEvent> out;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        EXPECT_TRUE(parser.feed(bytes.substr(at, piece),
                                [&](const SseEvent& event) { out.push_back(event); }));
    }
    return out;
}

TEST(CliSse, ReadsTheSameWhereverTheNetworkCuts) {
    const std::string_view bytes =
        "\xEF\xBB\xBF: keep-alive\n\n"
        "event: log\r\nid: 1:5:0\r\ndata: {\"a\":1}\r\n\r\n"
        "data: two\rdata: lines\r\r"
        "event:tight\ndata:x\nretry: 10\nunknown: y\n\n"
        "event: nothing\n\n"
        "id: 7\ndata\n\n"
        "id: a\0b\ndata: unfinished";
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        const auto events = read(bytes, piece);
        ASSERT_EQ(events.size(), 4U) << piece;
        EXPECT_EQ(events[0].name, "log");
        EXPECT_EQ(events[0].id, "1:5:0");
        EXPECT_EQ(events[0].data, "{\"a\":1}");
        EXPECT_EQ(events[1].name, "message");
        EXPECT_EQ(events[1].data, "two\nlines");
        EXPECT_EQ(events[1].id, "1:5:0");
        EXPECT_EQ(events[2].name, "tight");
        EXPECT_EQ(events[2].data, "x");
        EXPECT_EQ(events[3].data, "");
        EXPECT_EQ(events[3].id, "7");
    }
}

TEST(CliSse, RefusesAnEventWithoutEnd) {
    SseParser parser;
    const std::string piece(1 << 20, 'x');
    bool fits = parser.feed("data: ", [](const SseEvent&) {});
    std::size_t fed = 0;
    while (fits && fed < 2 * kMaxSseEventBytes) {
        fits = parser.feed(piece, [](const SseEvent&) {});
        fed += piece.size();
    }
    EXPECT_FALSE(fits);
    EXPECT_LE(fed, kMaxSseEventBytes + piece.size());
}

SseEvent log_event(const std::string& stream, std::int64_t offset, const std::string& text,
                   const std::string& id) {
    return {"log",
            R"({"stream":")" + stream + R"(","offset":)" + std::to_string(offset) +
                R"(,"text":")" + text + R"("})",
            id};
}

TEST(CliFollow, GivesEveryByteOnceWhateverIsSentAgain) {
    struct Case {
        const char* sentence;
        std::int64_t offset;
        const char* text;
        const char* wanted;
        std::int64_t missing;
    };
    for (const Case& c : {Case{"what follows is new", 5, "world", "world", 0},
                          Case{"all of it came before", 0, "hello", "", 0},
                          Case{"a part of it came before", 3, "loworld", "world", 0},
                          Case{"something is missing", 8, "ld", "ld", 3}}) {
        Follower follower;
        EXPECT_EQ(follower.take(log_event("stdout", 0, "hello", "1:5:0")).bytes, "hello");
        EXPECT_EQ(follower.resume_id(), "1:5:0");
        const Told told = follower.take(log_event("stdout", c.offset, c.text, "1:9:0"));
        EXPECT_EQ(told.bytes, c.wanted) << c.sentence;
        EXPECT_EQ(told.missing, c.missing) << c.sentence;
        EXPECT_EQ(follower.resume_id(), "1:9:0");
    }
}

TEST(CliFollow, CountsStreamsApartAndReadsBase64) {
    Follower follower;
    EXPECT_EQ(follower.take(log_event("stdout", 0, "out", "1:3:0")).bytes, "out");
    const Told told =
        follower.take({"log", R"({"stream":"stderr","offset":0,"base64":"/wD+"})", "1:3:3"});
    EXPECT_TRUE(told.is_stderr);
    EXPECT_EQ(told.bytes, std::string("\xff\x00\xfe", 3));
    EXPECT_EQ(follower.offsets()[0], 3);
    EXPECT_EQ(follower.offsets()[1], 3);
}

TEST(CliFollow, BeginsAgainWithANewAttempt) {
    Follower follower;
    (void)follower.take(log_event("stdout", 0, "first", "1:5:0"));
    const Told told = follower.take({"restart", R"({"attempt":2})", "1:5:0"});
    EXPECT_EQ(told.kind, Told::Kind::restart);
    EXPECT_EQ(follower.resume_id(), "2:0:0");
    EXPECT_EQ(follower.take(log_event("stdout", 0, "second", "2:6:0")).bytes, "second");
    EXPECT_EQ(follower.resume_id(), "2:6:0");
}

TEST(CliFollow, TellsStatusAndEndAndIgnoresWhatItDoesNotKnow) {
    Follower follower;
    EXPECT_EQ(follower.take({"status", R"({"phase":"running"})", ""}).kind, Told::Kind::status);
    EXPECT_EQ(follower.take({"end", R"({"phase":"failed"})", ""}).kind, Told::Kind::end);
    EXPECT_EQ(follower.take({"novelty", R"({"x":1})", ""}).kind, Told::Kind::nothing);
    EXPECT_EQ(follower.take({"log", "no json", "9:9:9"}).kind, Told::Kind::nothing);
    EXPECT_EQ(follower.take({"log", R"({"stream":7,"offset":"x"})", ""}).bytes, "");
    EXPECT_EQ(follower.resume_id(), "");
}

}  // namespace
}  // namespace mayfly::api::cli
