#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "metrics/log_line.h"
#include "metrics/repeats.h"

namespace mayfly::metrics {
namespace {

std::string logfmt(std::string_view message, std::vector<LogField> fields) {
    return log_line(LogFormat::logfmt, message, fields);
}

nlohmann::json json(std::string_view message, std::vector<LogField> fields) {
    return nlohmann::json::parse("{" + log_line(LogFormat::json, message, fields) + "}");
}

TEST(LogLine, LogfmtQuotesOnlyWhatNeedsIt) {
    EXPECT_EQ(logfmt("started", {{"run", "01abc"}, {"attempt", 2}, {"ms", 1.5}, {"up", true}}),
              R"(msg="started" run=01abc attempt=2 ms=1.5 up=true)");
    EXPECT_EQ(logfmt("x", {{"why", "a b"}, {"path", "/a=b"}, {"call", "POST /x/{id}"}}),
              R"(msg="x" why="a b" path="/a=b" call="POST /x/{id}")");
}

TEST(LogLine, LeavesOutAnEmptyText) {
    EXPECT_EQ(logfmt("x", {{"reason", ""}, {"n", 0}}), R"(msg="x" n=0)");
    EXPECT_FALSE(json("x", {{"reason", ""}}).contains("reason"));
}

TEST(LogLine, NoValueCanEndTheLineOrMoveACursor) {
    struct Case {
        const char* what;
        std::string value;
    };
    const Case cases[] = {
        {"a newline and a forged line", "x\nlevel=error msg=forged"},
        {"an escape sequence", "\x1b[2J"},
        {"a C1 control in UTF-8",
         "\xc2\x9b"
         "2J"},
        {"DEL",
         "a\x7f"
         "b"},
        {"bytes that are no UTF-8", "\xff\xfe"},
        {"a NUL", std::string("a\0b", 3)},
        {"a right-to-left override", "\xe2\x80\xae"},
        {"quotes and a backslash", R"(a"b\c)"},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.what);
        for (const auto format : {LogFormat::logfmt, LogFormat::json}) {
            const LogField fields[] = {{"error", c.value}};
            const auto line = log_line(format, "x", fields);
            for (const char byte : line) EXPECT_TRUE(byte >= 0x20 && byte < 0x7f) << line;
        }
    }
    EXPECT_EQ(json("x", {{"error", R"(a"b\c)"}})["error"], R"(a"b\c)");
}

TEST(LogLine, CutsALongValueAndSaysSo) {
    const auto shown = json("x", {{"error", std::string(5'000, 'a')}})["error"].get<std::string>();
    EXPECT_EQ(shown, std::string(kLogValueBytesMax, 'a') + "...");
}

TEST(LogLine, JsonKeepsNumbersAndFlags) {
    const auto line = json("x", {{"n", 3}, {"ms", 0.25}, {"up", false}});
    EXPECT_EQ(line, nlohmann::json({{"msg", "x"}, {"n", 3}, {"ms", 0.25}, {"up", false}}));
}

TEST(Repeats, WritesTheFirstTenOfAWindowAndCountsTheOthers) {
    Repeats repeats;
    int written = 0;
    for (int i = 0; i < 100; ++i) written += repeats.admit("engine down", 1'000 + i) ? 1 : 0;
    EXPECT_EQ(written, 10);
    EXPECT_TRUE(repeats.admit("another", 1'100));
    EXPECT_TRUE(repeats.take_held(10'999).empty()) << "the window is not over";
    const auto held = repeats.take_held(11'000);
    ASSERT_EQ(held.size(), 1U);
    EXPECT_EQ(held[0].key, "engine down");
    EXPECT_EQ(held[0].count, 90);
    EXPECT_TRUE(repeats.admit("engine down", 11'001)) << "a new window";
}

TEST(Repeats, SaysNothingOfWhatWasNotHeldBack) {
    Repeats repeats;
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(repeats.admit("a", 0));
    EXPECT_TRUE(repeats.take_held(20'000).empty());
}

TEST(Repeats, RemembersABoundedNumberOfKeysAndThenHoldsNothingBack) {
    Repeats repeats;
    for (std::size_t i = 0; i < Repeats::kKeysMax; ++i) {
        EXPECT_TRUE(repeats.admit(std::to_string(i), 0));
    }
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(repeats.admit("one more", 0));
    EXPECT_TRUE(repeats.take_held(10'000).empty());
    EXPECT_TRUE(repeats.admit("one more", 10'001));
}

}  // namespace
}  // namespace mayfly::metrics
