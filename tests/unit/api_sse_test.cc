#include "api/sse.h"

#include <gtest/gtest.h>

namespace mayfly::api {
namespace {

TEST(Sse, AnEventIsItsLines) {
    EXPECT_EQ(sse_event("log", "1:2:3", "{}"), "id: 1:2:3\nevent: log\ndata: {}\n\n");
    EXPECT_EQ(sse_event("end", "", "{}"), "event: end\ndata: {}\n\n");
}

TEST(Sse, BytesAreTextWhenTheyAreUtf8AndBase64ElseAndNeverMoreThanOneLine) {
    const struct {
        const char* sentence;
        std::string bytes;
        const char* json;
    } cases[] = {
        {"plain", "a", R"({"offset":7,"stream":"stdout","text":"a"})"},
        {"a line feed is escaped", "a\nb\r", R"({"offset":7,"stream":"stdout","text":"a\nb\r"})"},
        {"one byte", "\xff", R"({"base64":"/w==","offset":7,"stream":"stdout"})"},
        {"two bytes", "\xff\xfe", R"({"base64":"//4=","offset":7,"stream":"stdout"})"},
        {"three bytes", "\xff\xfe\xfd", R"({"base64":"//79","offset":7,"stream":"stdout"})"},
        {"four bytes", "\xff\xfe\xfd\x01",
         R"({"base64":"//79AQ==","offset":7,"stream":"stdout"})"},
        {"a NUL is text", std::string(1, '\0'),
         "{\"offset\":7,\"stream\":\"stdout\",\"text\":\"\\u0000\"}"},
    };
    for (const auto& c : cases) EXPECT_EQ(log_data("stdout", 7, c.bytes), c.json) << c.sentence;
}

TEST(Sse, ACharacterThatIsCutWaitsForItsEnd) {
    const struct {
        const char* sentence;
        std::string bytes;
        std::size_t whole;
    } cases[] = {
        {"nothing", "", 0},
        {"ASCII", "abc", 3},
        {"a whole character", "a\xe2\x82\xac", 4},
        {"the first byte of three", "a\xe2", 1},
        {"two of three", "a\xe2\x82", 1},
        {"three of four", "\xf0\x9f\x98", 0},
        {"four of four", "\xf0\x9f\x98\x80", 4},
        {"a byte that begins nothing is not waited for", "a\xff", 2},
        {"only middles are not waited for", "\x80\x80\x80\x80", 4},
        {"an end without a beginning", "a\x82", 2},
    };
    for (const auto& c : cases) EXPECT_EQ(whole_characters(c.bytes), c.whole) << c.sentence;
}

TEST(Sse, APlaceReadsBackAndNothingElseDoes) {
    LogPlace place;
    ASSERT_TRUE(read_place("2:30:400", place));
    EXPECT_EQ(place, (LogPlace{2, 30, 400}));
    EXPECT_EQ(to_text(place), "2:30:400");
    for (const char* text : {"", "1", "1:2", "1:2:3:4", "1:2:", ":2:3", "1:-2:3", "a:2:3",
                             "1:2:3 ", "1::3", "99999999999999999999:0:0"}) {
        EXPECT_FALSE(read_place(text, place)) << text;
    }
}

}  // namespace
}  // namespace mayfly::api
