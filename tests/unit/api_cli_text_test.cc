// What people read: escapes, units, columns, addresses.
#include <gtest/gtest.h>

#include <cerrno>

#include "api/cli/address.h"
#include "api/cli/contact.h"
#include "api/cli/text.h"

namespace mayfly::api::cli {
namespace {

TEST(CliText, EscapesWhatWouldSteerATerminal) {
    struct Case {
        const char* sentence;
        std::string_view text;
        const char* shown;
    };
    for (const Case& c :
         {Case{"plain text stays", "a b\\n", "a b\\n"},
          Case{"letters of all the world stay", "Grüße 漢字", "Grüße 漢字"},
          Case{"an escape sequence", "\x1b[31mred", "\\x1b[31mred"},
          Case{"line ends and tabs", "a\r\n\tb", "a\\r\\n\\tb"},
          Case{"a NUL", std::string_view("a\0b", 3), "a\\x00b"}, Case{"DEL", "\x7f", "\\x7f"},
          Case{"C1, which some terminals obey",
               "\xc2\x9b"
               "2J",
               "\\u{009b}2J"},
          Case{"an override of the direction",
               "\xe2\x80\xae"
               "gpj",
               "\\u{202e}gpj"},
          Case{"bytes that are no UTF-8", "\xff\xc3", "\\xff\\xc3"},
          Case{"an overlong slash", "\xc0\xaf", "\\xc0\\xaf"}}) {
        EXPECT_EQ(printable(c.text), c.shown) << c.sentence;
    }
    EXPECT_EQ(printable("a\nb\x1b", true), "a\nb\\x1b");
}

TEST(CliText, JsonForATerminalMeansTheSame) {
    EXPECT_EQ(printable_json("{\"a\": \"x\"}\n"), "{\"a\": \"x\"}\n");
    EXPECT_EQ(printable_json("\"\xc2\x9b\x7f\xe2\x80\xae\""), "\"\\u009b\\u007f\\u202e\"");
    EXPECT_EQ(printable_json("\"\xf3\xa0\x81\x81\""), "\"\\udb40\\udc41\"");
}

TEST(CliText, CutsByColumnsNotByBytes) {
    EXPECT_EQ(width_of("äöü"), 3U);
    EXPECT_EQ(width_of("漢字"), 4U);
    EXPECT_EQ(cut("abcdef", 6), "abcdef");
    EXPECT_EQ(cut("abcdef", 4), "abc…");
    EXPECT_EQ(cut("漢字漢字", 5), "漢字…");
    EXPECT_EQ(cut("漢字漢字", 4), "漢…");
    EXPECT_EQ(cut("abc", 0), "");
}

TEST(CliText, ShowsUnits) {
    EXPECT_EQ(show_bytes(0), "0 B");
    EXPECT_EQ(show_bytes(1'023), "1023 B");
    EXPECT_EQ(show_bytes(1'536), "1.5 KiB");
    EXPECT_EQ(show_bytes(64 << 20), "64 MiB");
    EXPECT_EQ(show_duration(61), "61 ms");
    EXPECT_EQ(show_duration(-5), "0 ms");
    EXPECT_EQ(show_duration(1'250), "1.2 s");
    EXPECT_EQ(show_duration(185'000), "3m05s");
    EXPECT_EQ(show_duration(7'260'000), "2h01m");
    EXPECT_EQ(show_duration(2 * 86'400'000LL + 4 * 3'600'000LL), "2d04h");
    EXPECT_EQ(counted(1, "file"), "1 file");
    EXPECT_EQ(counted(0, "file"), "0 files");
    EXPECT_EQ(progress_bar("sending", 1 << 20, 4 << 20),
              "sending [#####...............] 1 MiB of 4 MiB, 25%");
    EXPECT_EQ(progress_bar("sending", 0, 0), "sending [....................] 0 B of 0 B, 100%");
}

TEST(CliText, ReadsUnits) {
    EXPECT_EQ(parse_seconds("10"), 10);
    EXPECT_EQ(parse_seconds("10s"), 10);
    EXPECT_EQ(parse_seconds("5m"), 300);
    EXPECT_EQ(parse_seconds("7d"), 604'800);
    EXPECT_EQ(parse_bytes("64M"), 64LL << 20);
    EXPECT_EQ(parse_bytes("1GiB"), 1LL << 30);
    EXPECT_EQ(parse_bytes("512"), 512);
    for (const char* wrong : {"", "s", "-1s", "1.5m", "10 s", "1y", "99999999999999999999"}) {
        EXPECT_FALSE(parse_seconds(wrong)) << wrong;
        EXPECT_FALSE(parse_bytes(wrong)) << wrong;
    }
    EXPECT_FALSE(parse_bytes("9223372036854775807T"));
}

TEST(CliText, ReadsTimes) {
    EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00.000Z"), 0);
    EXPECT_EQ(parse_rfc3339("2026-03-01T12:00:00.123Z"), 1'772'366'400'123);
    for (const char* wrong : {"", "2026-03-01", "2026-02-30T12:00:00.123Z",
                              "2026-03-01T24:00:00.123Z", "2026-03-01T12:00:00.123+"}) {
        EXPECT_FALSE(parse_rfc3339(wrong)) << wrong;
    }
}

TEST(CliText, LaysOutColumnsWithoutBlanksAtTheEnd) {
    const std::vector<Row> rows = {{{"a"}, {"1", Colour::none, true}, {"x"}},
                                   {{"bbb"}, {"22", Colour::none, true}, {""}}};
    EXPECT_EQ(layout({"ID", "N", "WHAT"}, rows, 0, false),
              "ID    N  WHAT\n"
              "a     1  x\n"
              "bbb  22\n");
}

TEST(CliText, CutsTheLastColumnsFirstAndTheNameNever) {
    const std::vector<Row> rows = {
        {{"01hzy0000000000000000000ab"}, {"short"}, {"a long command"}}};
    EXPECT_EQ(layout({}, rows, 45, false), "01hzy0000000000000000000ab  short  a long co…\n");
    EXPECT_EQ(layout({}, rows, 20, false), "01hzy0000000000000000000ab  short  a long …\n");
}

TEST(CliText, ColoursOnlyWhenAsked) {
    EXPECT_EQ(layout({"A"}, {{{"x", Colour::red}}}, 0, false).find('\x1b'), std::string::npos);
    EXPECT_EQ(layout({}, {{{"x", Colour::red}, {"y"}}}, 0, true), "\x1b[31mx\x1b[0m  y\n");
}

TEST(CliAddress, ReadsWhatOneCanWrite) {
    struct Case {
        const char* url;
        const char* host;
        const char* port;
        const char* prefix;
        const char* authority;
        bool tls = false;
    };
    for (const Case& c :
         {Case{"http://127.0.0.1:7070", "127.0.0.1", "7070", "", "127.0.0.1:7070"},
          Case{"http://runs.example/", "runs.example", "80", "", "runs.example"},
          Case{"http://[::1]:7070/mayfly/", "::1", "7070", "/mayfly", "[::1]:7070"},
          Case{"http://[::1]", "::1", "80", "", "[::1]"},
          Case{"https://runs.example/m", "runs.example", "443", "/m", "runs.example", true},
          Case{"https://h:80", "h", "80", "", "h:80", true},
          Case{"http://h:443", "h", "443", "", "h:443"}}) {
        const auto address = parse_address(c.url);
        ASSERT_TRUE(address) << c.url << ": " << address.error();
        EXPECT_EQ(address->host, c.host) << c.url;
        EXPECT_EQ(address->port, c.port) << c.url;
        EXPECT_EQ(address->prefix, c.prefix) << c.url;
        EXPECT_EQ(address->authority(), c.authority) << c.url;
        EXPECT_EQ(address->tls, c.tls) << c.url;
    }
    EXPECT_EQ(parse_address("unix:///run/mayfly.sock")->socket_path, "/run/mayfly.sock");
}

TEST(CliAddress, SaysWhatIsWrongAndWhatWouldBeRight) {
    for (const std::string& url :
         {std::string("127.0.0.1:7070"), std::string("ftp://h"), std::string("https://"),
          std::string("http://"), std::string("http://h:0"), std::string("http://h:70000"),
          std::string("http://h:x"), std::string("http://u@h"), std::string("http://a:b:c"),
          std::string("http://[::1"), std::string("http://[::1]x"),
          std::string("unix://run/m.sock"), std::string("http://h\r\n"),
          "unix:///" + std::string(200, 'a')}) {
        const auto address = parse_address(url);
        ASSERT_FALSE(address) << url;
        EXPECT_NE(address.error().find("unix:///run/mayfly.sock"), std::string::npos) << url;
        EXPECT_EQ(address.error().find('\n'), std::string::npos) << url;
    }
}

TEST(CliAddress, KnowsTheFixForEachWayNotToGetThere) {
    const auto tcp = *parse_address("http://127.0.0.1:7071");
    const auto unix_socket = *parse_address("unix:///run/m.sock");
    EXPECT_NE(contact_advice(tcp, ECONNREFUSED).find("port 7071"), std::string::npos);
    EXPECT_NE(contact_advice(tcp, 0).find("no such host"), std::string::npos);
    EXPECT_NE(contact_advice(tcp, ETIMEDOUT).find("firewall"), std::string::npos);
    EXPECT_NE(contact_advice(tcp, EKEYREJECTED).find("--ca-file"), std::string::npos);
    EXPECT_NE(contact_advice(tcp, EPROTO).find("say http://"), std::string::npos);
    EXPECT_NE(contact_advice(unix_socket, ENOENT).find("--unix-socket /run/m.sock"),
              std::string::npos);
    EXPECT_NE(contact_advice(unix_socket, EACCES).find("group"), std::string::npos);
    EXPECT_NE(contact_advice(unix_socket, ECONNREFUSED).find("nobody listens"), std::string::npos);
}

}  // namespace
}  // namespace mayfly::api::cli
