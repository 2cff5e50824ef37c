// The status page's files inside the program: all there, and only what its policy allows.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>
#include <string>

#include "api/assets.h"

namespace mayfly::api {
namespace {

TEST(ApiAssets, FindsEachFileByItsExactName) {
    for (const Asset& asset : all_assets()) EXPECT_EQ(find_asset(asset.name), &asset);
    ASSERT_NE(find_asset(kPageName), nullptr);
    for (const char* name : {"", "index", "index.htm", "index.html ", "INDEX.HTML", "./index.html",
                             "../mayfly.db", "zzz", "embed.cmake"}) {
        EXPECT_EQ(find_asset(name), nullptr) << name;
    }
    EXPECT_TRUE(std::ranges::is_sorted(all_assets(), {}, &Asset::name));
}

TEST(ApiAssets, HoldsTheBytesAsTheyWereWritten) {
    const std::string_view page = find_asset(kPageName)->bytes;
    EXPECT_TRUE(page.starts_with("<!DOCTYPE html>\n")) << page.substr(0, 40);
    EXPECT_TRUE(page.ends_with("</html>\n"));
    for (const Asset& asset : all_assets()) {
        EXPECT_TRUE(asset.bytes.ends_with("\n")) << asset.name;
        EXPECT_EQ(asset.bytes.find('\0'), asset.bytes.npos) << asset.name;
    }
}

TEST(ApiAssets, EachKindHasItsTypeAndEachFileItsTag) {
    struct Case {
        const char* ending;
        const char* type;
    };
    std::set<std::string_view> tags;
    for (const Asset& asset : all_assets()) {
        bool known = false;
        for (const Case& c : {Case{".html", "text/html; charset=utf-8"},
                              {".css", "text/css; charset=utf-8"},
                              {".js", "text/javascript; charset=utf-8"},
                              {".svg", "image/svg+xml"}}) {
            if (!asset.name.ends_with(c.ending)) continue;
            known = true;
            EXPECT_EQ(asset.content_type, c.type) << asset.name;
        }
        EXPECT_TRUE(known) << asset.name;
        EXPECT_TRUE(std::regex_match(std::string(asset.etag), std::regex("\"[0-9a-f]{32}\"")));
        EXPECT_TRUE(tags.insert(asset.etag).second) << asset.name;
    }
}

// What the page names must be in the program, or it is a page that half works.
TEST(ApiAssets, EveryFileThatIsNamedIsThere) {
    struct Case {
        const char* sentence;
        const char* ending;
        const char* pattern;
    };
    for (const Case& c : {
             Case{"the page's files", ".html", "(?:href|src)=\"ui/([^\"]+)\""},
             {"the modules' imports", ".js", "from \"\\./([^\"]+)\""},
         }) {
        int named = 0;
        for (const Asset& asset : all_assets()) {
            if (!asset.name.ends_with(c.ending)) continue;
            const std::string text(asset.bytes);
            const std::regex pattern(c.pattern);
            for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end;
                 ++at) {
                ++named;
                EXPECT_NE(find_asset((*at)[1].str()), nullptr) << c.sentence << ": " << at->str();
            }
        }
        EXPECT_GT(named, 0) << c.sentence;
    }
}

TEST(ApiAssets, NothingIsInlineAndNothingComesFromElsewhere) {
    struct Case {
        const char* sentence;
        const char* ending;
        const char* pattern;
    };
    for (const Case& c : {
             Case{"a script in the page", ".html", "<script(?![^>]*\\ssrc=)"},
             {"a style in the page", ".html", "<style|\\sstyle="},
             {"a handler in the page", ".html", "\\son[a-z]+="},
             {"another origin", ".html", "(?:href|src)=\"(?:[a-z]+:)?//"},
             {"another origin in a style", ".css", "url\\(|@import"},
             {"text taken for markup", ".js",
              "innerHTML|outerHTML|insertAdjacentHTML|document\\.write|DOMParser|\\beval\\("},
             {"a style set as an attribute", ".js", "setAttribute\\(\"style\""},
         }) {
        for (const Asset& asset : all_assets()) {
            if (!asset.name.ends_with(c.ending)) continue;
            const std::string text(asset.bytes);
            EXPECT_FALSE(std::regex_search(text, std::regex(c.pattern)))
                << c.sentence << ", in " << asset.name;
        }
    }
}

}  // namespace
}  // namespace mayfly::api
