#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "controller/archive/exit_record.h"

namespace mayfly::controller {
namespace {

constexpr std::string_view kGood =
    R"({"v":1,"exit_code":137,"signal":9,"exec_errno":0,"tripped":"timeout",)"
    R"("term_from_outside":true,"wall_us":12,"cpu_us":9,"memory_peak_bytes":4096,"oom_kills":2,)"
    R"("work_bytes":77,"stdout":{"total":5,"kept":3,"note":30},)"
    R"("stderr":{"total":0,"kept":0,"note":0}})";

TEST(ExitRecord, EveryFieldIsRead) {
    const auto record = parse_exit_record(kGood);
    ASSERT_TRUE(record) << record.error();
    EXPECT_EQ(record->exit_code, 137);
    EXPECT_EQ(record->signal, 9);
    EXPECT_EQ(record->exec_errno, 0);
    EXPECT_EQ(record->tripped, "timeout");
    EXPECT_TRUE(record->term_from_outside);
    EXPECT_EQ(record->wall_us, 12);
    EXPECT_EQ(record->cpu_us, 9);
    EXPECT_EQ(record->memory_peak_bytes, 4096);
    EXPECT_EQ(record->oom_kills, 2);
    EXPECT_EQ(record->work_bytes, 77);
    EXPECT_EQ(record->out.total, 5);
    EXPECT_EQ(record->out.kept, 3);
    EXPECT_EQ(record->out.note, 30);
    EXPECT_EQ(record->err.total, 0);
}

// A container that an older version started has a record without them.
TEST(ExitRecord, WhatWasNotCountedMayBeMissing) {
    EXPECT_EQ(parse_exit_record(kGood)->output_files, -1);
    std::string text(kGood);
    text.insert(text.size() - 1, R"(,"output_files":-1,"output_bytes":-1)");
    EXPECT_EQ(parse_exit_record(text)->output_bytes, -1);
    text = kGood;
    text.insert(text.size() - 1, R"(,"output_files":3,"output_bytes":99)");
    const auto record = parse_exit_record(text);
    ASSERT_TRUE(record) << record.error();
    EXPECT_EQ(record->output_files, 3);
    EXPECT_EQ(record->output_bytes, 99);
    text.replace(text.find(":99"), 3, ":-2");
    EXPECT_FALSE(parse_exit_record(text));
}

struct BadRecord {
    const char* sentence;
    const char* from;  // replaced in the good one
    const char* to;
    const char* says;
};

class BadExitRecord : public testing::TestWithParam<BadRecord> {};

TEST_P(BadExitRecord, IsRefusedByName) {
    const BadRecord& bad = GetParam();
    std::string text(kGood);
    const std::size_t at = text.find(bad.from);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, std::string_view(bad.from).size(), bad.to);
    const auto record = parse_exit_record(text);
    ASSERT_FALSE(record) << bad.sentence;
    EXPECT_NE(record.error().find(bad.says), std::string::npos) << record.error();
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadExitRecord,
    testing::Values(
        BadRecord{"another version", "\"v\":1", "\"v\":2", "v is not 1"},
        BadRecord{"a field is missing", "\"signal\":9,", "", "signal is missing"},
        BadRecord{"a field nobody knows", "\"v\":1", "\"v\":1,\"w\":1", "besides the known"},
        BadRecord{"negative", "\"cpu_us\":9", "\"cpu_us\":-9", "cpu_us is not a whole number"},
        BadRecord{"not whole", "\"cpu_us\":9", "\"cpu_us\":9.0", "cpu_us is not a whole number"},
        BadRecord{"a text", "\"cpu_us\":9", "\"cpu_us\":\"9\"", "cpu_us is not a whole number"},
        BadRecord{"over 64 bits", "\"cpu_us\":9", "\"cpu_us\":9223372036854775808",
                  "cpu_us is not a whole number"},
        BadRecord{"no exit code", "\"exit_code\":137", "\"exit_code\":256", "exit_code is not"},
        BadRecord{"signal and code disagree", "\"signal\":9", "\"signal\":15",
                  "exit_code is not 128 + signal"},
        BadRecord{"no signal", "\"signal\":9", "\"signal\":65", "signal is not a whole number"},
        BadRecord{"no limit of ours", "\"timeout\"", "\"luck\"", "tripped is none of"},
        BadRecord{"a number for a word", "\"timeout\"", "1", "tripped is none of"},
        BadRecord{"a number for a truth", "true", "1", "term_from_outside is not true or false"},
        BadRecord{"more kept than printed", "\"kept\":3", "\"kept\":6", "stdout.kept is more"},
        BadRecord{"part of a stream missing", "\"kept\":3,", "", "stdout.kept is missing"},
        BadRecord{"more in a stream", "\"kept\":3", "\"kept\":3,\"x\":1", "stdout. has fields"},
        BadRecord{"no stream", "{\"total\":0,\"kept\":0,\"note\":0}", "[]",
                  "stderr is not an object"},
        BadRecord{"cut short", "}}", "}", "not a JSON object"},
        BadRecord{"an array", "{\"v\":1", "[{\"v\":1", "not a JSON object"},
        BadRecord{"no UTF-8", "\"timeout\"", "\"\xff\"", "not a JSON object"}));

TEST(ExitRecord, ALargeOneIsRefusedUnread) {
    const auto record = parse_exit_record(std::string(kGood) + std::string(4096, ' '));
    ASSERT_FALSE(record);
    EXPECT_NE(record.error().find("more than 4096"), std::string::npos) << record.error();
}

TEST(ExitRecord, NothingAtAllIsRefused) {
    EXPECT_FALSE(parse_exit_record(""));
    EXPECT_FALSE(parse_exit_record("null"));
}

// Whatever a script puts there: an answer, never a crash.
TEST(ExitRecord, EveryCutOfAGoodOneIsRefused) {
    for (std::size_t length = 0; length < kGood.size(); ++length) {
        EXPECT_FALSE(parse_exit_record(kGood.substr(0, length))) << length;
    }
}

}  // namespace
}  // namespace mayfly::controller
