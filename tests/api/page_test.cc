// The status page: who gets it, with which headers, and when it need not be sent again.
#include "api/assets.h"
#include "tests/api/fixture.h"

namespace mayfly::api {
namespace {

using Page = ApiTest;

constexpr const char* kBrowser =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

TEST_F(Page, TheRootIsWhatTheClientAsksFor) {
    serve();
    struct Case {
        const char* sentence;
        test::Headers headers;
        const char* type;
    };
    for (const Case& c : {
             Case{"a browser", {{"Accept", kBrowser}}, "text/html; charset=utf-8"},
             {"html after something else",
              {{"Accept", "text/plain, text/html"}},
              "text/html; charset=utf-8"},
             {"a program", {{"Accept", "application/json"}}, "application/json"},
             {"a program that would take html at last",
              {{"Accept", "application/json, text/html;q=0.1"}},
              "application/json"},
             {"curl", {{"Accept", "*/*"}}, "text/plain; charset=utf-8"},
             {"nobody in particular", {}, "text/plain; charset=utf-8"},
         }) {
        const auto answer = ask("GET", "/", c.headers);
        EXPECT_EQ(answer.status, 200) << c.sentence;
        EXPECT_EQ(answer.header("Content-Type"), c.type) << c.sentence;
        EXPECT_EQ(answer.header("Vary"), "Accept") << c.sentence;
    }
    EXPECT_EQ(ask("GET", "/", {{"Accept", kBrowser}}).body, find_asset(kPageName)->bytes);
    EXPECT_EQ(ask("GET", "/?page=2", {{"Accept", kBrowser}}).status, 400);
}

TEST_F(Page, ServesEveryFileWithItsTypeAndTheSamePolicy) {
    serve();
    for (const Asset& asset : all_assets()) {
        const auto answer = ask("GET", "/ui/" + std::string(asset.name));
        EXPECT_EQ(answer.status, 200) << asset.name;
        EXPECT_EQ(answer.body, asset.bytes) << asset.name;
        EXPECT_EQ(answer.header("Content-Type"), asset.content_type) << asset.name;
        EXPECT_EQ(answer.header("Content-Security-Policy"), kPolicy) << asset.name;
        EXPECT_EQ(answer.header("Referrer-Policy"), "no-referrer") << asset.name;
        EXPECT_EQ(answer.header("X-Content-Type-Options"), "nosniff") << asset.name;
        EXPECT_EQ(answer.header("Cache-Control"), "no-cache") << asset.name;
    }
    const auto page = ask("GET", "/", {{"Accept", kBrowser}});
    EXPECT_EQ(page.header("Content-Security-Policy"), kPolicy);
    EXPECT_EQ(page.header("Referrer-Policy"), "no-referrer");
    EXPECT_EQ(page.header("Cache-Control"), "no-cache");
    auto peer = client();
    const auto head = peer.ask("GET", "/ui/app.css");
    peer.send("HEAD /ui/app.css HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const auto only_head = peer.read(true);
    EXPECT_EQ(only_head.status, 200);
    EXPECT_EQ(only_head.header("ETag"), head.header("ETag"));
    EXPECT_EQ(only_head.header("Content-Length"), std::to_string(head.body.size()));
}

TEST_F(Page, WhatTheBrowserHasIsNotSentAgain) {
    serve();
    struct Case {
        const char* sentence;
        const char* target;
        std::string (*tags)(const std::string& etag);
        int status;
    };
    const auto itself = [](const std::string& etag) { return etag; };
    for (const Case& c : {
             Case{"the page", "/", itself, 304},
             {"a file", "/ui/app.js", itself, 304},
             {"a weak tag, after a proxy packed it", "/ui/app.js",
              [](const std::string& etag) { return "W/" + etag; }, 304},
             {"one of several", "/ui/app.css",
              [](const std::string& etag) { return "\"old\", " + etag; }, 304},
             {"an older version", "/ui/app.css",
              [](const std::string&) { return std::string("\"old\""); }, 200},
         }) {
        const std::string etag = ask("GET", c.target, {{"Accept", kBrowser}}).header("ETag");
        ASSERT_FALSE(etag.empty()) << c.sentence;
        const auto again =
            ask("GET", c.target, {{"Accept", kBrowser}, {"If-None-Match", c.tags(etag)}});
        EXPECT_EQ(again.status, c.status) << c.sentence;
        EXPECT_EQ(again.body.empty(), c.status == 304) << c.sentence;
        EXPECT_EQ(again.header("ETag"), etag) << c.sentence;
        EXPECT_EQ(again.header("Content-Security-Policy"), kPolicy) << c.sentence;
    }
}

TEST_F(Page, RefusesWhatIsNoFileOfThePage) {
    serve();
    struct Case {
        const char* method;
        const char* target;
        int status;
        const char* type;
    };
    for (const Case& c : {
             Case{"GET", "/ui/nothing.js", 404, "not-found"},
             {"GET", "/ui/embed.cmake", 404, "not-found"},
             {"GET", "/ui/%69ndex.html", 404, "not-found"},
             {"GET", "/ui/..%2f..%2fmayfly.db", 404, "not-found"},
             {"GET", "/ui/a/b.js", 404, "not-found"},
             {"GET", "/ui/", 404, "not-found"},
             {"GET", "/favicon.ico", 404, "not-found"},
             {"POST", "/ui/app.js", 405, "method-not-allowed"},
             {"GET", "/ui/app.js?v=1", 400, "invalid-query"},
         }) {
        const auto answer = ask(c.method, c.target);
        EXPECT_EQ(answer.status, c.status) << c.target << answer.body;
        EXPECT_EQ(json_of(answer)["type"], std::string("urn:mayfly:problem:") + c.type)
            << c.target;
    }
}

TEST_F(Page, APageOfAnotherSiteMayLinkToItAndNoMore) {
    serve();
    struct Case {
        const char* sentence;
        const char* target;
        test::Headers headers;
        int status;
    };
    for (const Case& c : {
             Case{"a link is followed",
                  "/",
                  {{"Accept", kBrowser},
                   {"Sec-Fetch-Site", "cross-site"},
                   {"Sec-Fetch-Mode", "navigate"}},
                  200},
             {"the page's own files",
              "/ui/app.js",
              {{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Mode", "cors"}},
              200},
             {"a script tag elsewhere",
              "/ui/app.js",
              {{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Mode", "no-cors"}},
              403},
             {"another name for this address",
              "/",
              {{"Accept", kBrowser}, {"Host", "evil.com"}},
              421},
         }) {
        EXPECT_EQ(ask("GET", c.target, c.headers).status, c.status) << c.sentence;
    }
}

}  // namespace
}  // namespace mayfly::api
