#include <gtest/gtest.h>

#include <string>

#include "controller/archive/entry_name.h"

namespace mayfly::controller {
namespace {

struct NameCase {
    const char* sentence;
    std::string raw;
    std::string path;
    std::string reason;
};

class EntryNames : public testing::TestWithParam<NameCase> {};

TEST_P(EntryNames, AreJudged) {
    const NameCase& expected = GetParam();
    const EntryName name = judge_entry_name(expected.raw, 40, 4);
    EXPECT_EQ(name.reason, expected.reason) << expected.sentence;
    EXPECT_FALSE(name.is_root);
    if (expected.reason.empty()) EXPECT_EQ(name.path, expected.path) << expected.sentence;
}

INSTANTIATE_TEST_SUITE_P(
    Table, EntryNames,
    testing::Values(
        NameCase{"a file", "output/a", "a", ""}, NameCase{"by another way", "./a", "a", ""},
        NameCase{"a folder", "output/a/", "a", ""}, NameCase{"nested", "output/a/b", "a/b", ""},
        NameCase{"the prefix goes once", "output/output/a", "output/a", ""},
        NameCase{"the prefix goes once, other way", "./output/a", "output/a", ""},
        NameCase{"blanks and signs", "output/a b?*:\\", "a b?*:\\", ""},
        NameCase{"leading dots", "output/..a/...", "..a/...", ""},
        NameCase{"not ASCII", "output/\xc3\xa4\xe2\x82\xac\xf0\x9f\xa6\x8b",
                 "\xc3\xa4\xe2\x82\xac\xf0\x9f\xa6\x8b", ""},
        NameCase{"just short enough", "output/" + std::string(40, 'x'), std::string(40, 'x'), ""},
        NameCase{"just flat enough", "output/a/b/c/d", "a/b/c/d", ""},
        NameCase{"too long", "output/" + std::string(41, 'x'), "", "path_too_long"},
        NameCase{"too deep", "output/a/b/c/d/e", "", "too_deep"},
        NameCase{"nothing", "", "", "bad_name"},
        NameCase{"absolute", "/etc/passwd", "", "bad_name"},
        NameCase{"absolute inside", "output//etc/passwd", "", "bad_name"},
        NameCase{"up", "output/../x", "", "bad_name"},
        NameCase{"up at the end", "output/a/..", "", "bad_name"},
        NameCase{"up by the other way", "./../x", "", "bad_name"},
        NameCase{"a dot inside", "output/./x", "", "bad_name"},
        NameCase{"another folder", "outputs/x", "", "bad_name"},
        NameCase{"no folder", "x", "", "bad_name"},
        NameCase{"a line feed", "output/a\nb", "", "bad_name"},
        NameCase{"an escape", "output/\x1b[2J", "", "bad_name"},
        NameCase{"a delete", "output/\x7f", "", "bad_name"},
        NameCase{"a C1 control", "output/\xc2\x85", "", "bad_name"},
        NameCase{"a lone byte", "output/\xff", "", "bad_name"},
        NameCase{"a stray continuation", "output/\x80", "", "bad_name"},
        NameCase{"cut", "output/\xe2\x82", "", "bad_name"},
        NameCase{"an overlong slash", "output/\xc0\xaf", "", "bad_name"},
        NameCase{"an overlong form of three", "output/\xe0\x80\xaf", "", "bad_name"},
        NameCase{"a surrogate", "output/\xed\xa0\x80", "", "bad_name"},
        NameCase{"beyond Unicode", "output/\xf4\x90\x80\x80", "", "bad_name"}));

TEST(EntryName, TheRootIsItself) {
    for (const char* raw : {"output", "output/", ".", "./"}) {
        EXPECT_TRUE(judge_entry_name(raw, 40, 4).is_root) << raw;
    }
    for (const char* raw : {"", "/", "output.", "..", "./output"}) {
        EXPECT_FALSE(judge_entry_name(raw, 40, 4).is_root) << raw;
    }
}

TEST(EntryName, TheReadableFormIsPrintableUtf8OfBoundedLength) {
    EXPECT_EQ(readable_entry_name("output/a\n\xff\xc3\xa4%", 100), "output/a%0A%FF\xc3\xa4%");
    EXPECT_EQ(readable_entry_name("", 100), "");
    EXPECT_EQ(readable_entry_name(std::string(50, 'x'), 20), std::string(17, 'x') + "...");
    EXPECT_EQ(readable_entry_name(std::string(50, '\xff'), 20).size(), 18U);
}

}  // namespace
}  // namespace mayfly::controller
