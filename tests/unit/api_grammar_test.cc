// The small grammars of the API: queries, durations, ranges, routes, hosts, cursors, problem
// texts.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/byte_range.h"
#include "api/cursor.h"
#include "api/nearest_name.h"
#include "api/problem.h"
#include "api/query.h"
#include "api/router.h"
#include "api/site_check.h"

namespace mayfly::api {
namespace {

constexpr std::string_view kId = "01hzy0000000000000000000ab";

TEST(ApiQuery, ReadsDurationsWithTheirUnit) {
    struct Case {
        const char* text;
        std::optional<std::int64_t> ms;
    };
    for (const Case& c : {Case{"30s", 30'000},
                          {"500ms", 500},
                          {"2m", 120'000},
                          {"1h", 3'600'000},
                          {"0s", 0},
                          {"30", {}},
                          {"s", {}},
                          {"", {}},
                          {"-1s", {}},
                          {"+1s", {}},
                          {"1.5s", {}},
                          {"1e3s", {}},
                          {" 1s", {}},
                          {"99999999999999999999s", {}},
                          {"9223372036854775807m", {}},
                          {"1d", {}}}) {
        EXPECT_EQ(parse_duration_ms(c.text), c.ms) << c.text;
    }
}

TEST(ApiQuery, NamesEveryMistakeInOneAnswer) {
    Query query("limt=5&wait=soon&limit=0&phase=%zz&a=%00&cursor=1&cursor=2",
                {"wait", "limit", "phase", "cursor", "a"});
    EXPECT_EQ(query.integer("limit", 1, 200), std::nullopt);
    EXPECT_EQ(query.wait_ms(60), 0);
    (void)query.one("cursor");
    const Problem problem = query.problem();
    std::map<std::string, std::string> errors;
    for (const auto& error : problem.errors) errors[error.field] = error.message;
    EXPECT_EQ(errors.at("limt"), "is not a parameter here; did you mean `limit`?");
    EXPECT_EQ(errors.at("limit"), "must be a whole number from 1 to 200");
    EXPECT_NE(errors.at("wait").find("30s"), std::string::npos);
    EXPECT_NE(errors.at("phase=%zz").find("percent-encoded"), std::string::npos);
    EXPECT_NE(errors.at("a").find("NUL"), std::string::npos);
    EXPECT_EQ(errors.at("cursor"), "comes more than once");
}

TEST(ApiQuery, RefusesAWaitOverTheLimitByName) {
    Query query("wait=61s", {"wait"});
    EXPECT_EQ(query.wait_ms(60), 0);
    ASSERT_FALSE(query.ok());
    EXPECT_EQ(std::get<std::string>(query.problem().errors[0].limit), "60s");
    Query most("wait=60s", {"wait"});
    EXPECT_EQ(most.wait_ms(60), 60'000);
    EXPECT_TRUE(most.ok());
}

TEST(ApiQuery, DecodesPlusAndPercentAndRepeatedNames) {
    Query query("label=a%3Db+c&label=x%3D%C3%A9&&label=y", {"label"});
    EXPECT_TRUE(query.ok());
    EXPECT_EQ(query.all("label"), (std::vector<std::string>{"a=b c", "x=\u00e9", "y"}));
}

TEST(ApiQuery, KnowsUtf8FromOtherBytes) {
    for (const char* good : {"", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"}) {
        EXPECT_TRUE(is_utf8(good)) << good;
    }
    for (const char* bad : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\xC3",
                            "a\x80", "\xE0\x80\x80"}) {
        EXPECT_FALSE(is_utf8(bad));
    }
}

TEST(ApiRange, FollowsRfc9110) {
    using Kind = ByteRange::Kind;
    struct Case {
        const char* sentence;
        std::optional<std::string_view> header;
        std::int64_t size;
        Kind kind;
        std::int64_t first;
        std::int64_t length;
    };
    for (const Case& c : {
             Case{"no header is the whole", {}, 10, Kind::whole, 0, 10},
             {"first and last", "bytes=2-4", 10, Kind::part, 2, 3},
             {"open end", "bytes=2-", 10, Kind::part, 2, 8},
             {"suffix", "bytes=-3", 10, Kind::part, 7, 3},
             {"suffix longer than the file", "bytes=-30", 10, Kind::part, 0, 10},
             {"last beyond the end is cut", "bytes=8-99", 10, Kind::part, 8, 2},
             {"the last byte", "bytes=9-9", 10, Kind::part, 9, 1},
             {"first at the end", "bytes=10-", 10, Kind::unsatisfiable, 0, 0},
             {"first beyond int64", "bytes=99999999999999999999-", 10, Kind::unsatisfiable, 0, 0},
             {"last beyond int64", "bytes=1-99999999999999999999", 10, Kind::part, 1, 9},
             {"empty suffix", "bytes=-0", 10, Kind::unsatisfiable, 0, 0},
             {"anything of an empty file", "bytes=0-", 0, Kind::unsatisfiable, 0, 0},
             {"several ranges are the whole", "bytes=0-1,3-4", 10, Kind::whole, 0, 10},
             {"another unit is the whole", "lines=0-1", 10, Kind::whole, 0, 10},
             {"backwards is the whole", "bytes=4-2", 10, Kind::whole, 0, 10},
             {"nothing is the whole", "bytes=-", 10, Kind::whole, 0, 10},
             {"signs are the whole", "bytes=+1-2", 10, Kind::whole, 0, 10},
             {"letters are the whole", "bytes=a-b", 10, Kind::whole, 0, 10},
         }) {
        const ByteRange range = parse_range(c.header, c.size);
        EXPECT_EQ(range.kind, c.kind) << c.sentence;
        EXPECT_EQ(range.first, c.first) << c.sentence;
        EXPECT_EQ(range.length, c.length) << c.sentence;
    }
}

TEST(ApiRange, ComparesTags) {
    EXPECT_TRUE(if_range_holds({}, "\"a\""));
    EXPECT_TRUE(if_range_holds("\"a\"", "\"a\""));
    EXPECT_FALSE(if_range_holds("W/\"a\"", "\"a\""));
    EXPECT_FALSE(if_range_holds("Sat, 01 Mar 2025 12:00:00 GMT", "\"a\""));
    EXPECT_FALSE(none_match_hits({}, "\"a\""));
    EXPECT_TRUE(none_match_hits("*", "\"a\""));
    EXPECT_TRUE(none_match_hits("\"b\", W/\"a\"", "\"a\""));
    EXPECT_FALSE(none_match_hits("\"b\",\"c\"", "\"a\""));
    EXPECT_FALSE(none_match_hits("a", "\"a\""));
}

TEST(ApiRange, NamesDownloadsSafely) {
    EXPECT_EQ(content_disposition("a/report.csv"), "attachment; filename=\"report.csv\"");
    EXPECT_EQ(content_disposition("a\"b\\c.txt"),
              "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt");
    EXPECT_EQ(content_disposition("\u00e9.txt"),
              "attachment; filename=\"__.txt\"; filename*=UTF-8''%C3%A9.txt");
    EXPECT_EQ(content_disposition("a\r\nX: y"),
              "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y");
}

TEST(ApiRouter, FindsEveryEndpoint) {
    const std::string run = "/v1/runs/" + std::string(kId);
    struct Case {
        const char* method;
        std::string path;
        Endpoint endpoint;
        const char* route_template;
    };
    for (const Case& c : {
             Case{"GET", "/", Endpoint::welcome, "/"},
             {"HEAD", "/healthz", Endpoint::health, "/healthz"},
             {"GET", "/readyz", Endpoint::ready, "/readyz"},
             {"GET", "/metrics", Endpoint::metrics, "/metrics"},
             {"GET", "/v1/runs", Endpoint::list, "/v1/runs"},
             {"POST", "/v1/runs", Endpoint::submit, "/v1/runs"},
             {"GET", run, Endpoint::show, "/v1/runs/{id}"},
             {"HEAD", run, Endpoint::show, "/v1/runs/{id}"},
             {"DELETE", run, Endpoint::remove, "/v1/runs/{id}"},
             {"POST", run + "/cancel", Endpoint::cancel, "/v1/runs/{id}/cancel"},
             {"GET", run + "/logs", Endpoint::logs, "/v1/runs/{id}/logs"},
             {"GET", run + "/artifacts", Endpoint::artifacts, "/v1/runs/{id}/artifacts"},
             {"GET", run + "/artifacts.tar", Endpoint::artifacts_tar,
              "/v1/runs/{id}/artifacts.tar"},
             {"GET", run + "/artifacts/a/b%20c", Endpoint::artifact,
              "/v1/runs/{id}/artifacts/{path}"},
             {"GET", "/v1/engines", Endpoint::engines, "/v1/engines"},
             {"GET", "/ui/app.css", Endpoint::asset, "/ui/{name}"},
             {"HEAD", "/ui/nothing.js", Endpoint::asset, "/ui/{name}"},
         }) {
        const auto match = route(c.method, c.path);
        ASSERT_TRUE(match) << c.path;
        EXPECT_EQ(match->endpoint, c.endpoint) << c.path;
        EXPECT_EQ(match->route_template, c.route_template) << c.path;
    }
    EXPECT_EQ(route("GET", run + "/artifacts/a/b%20c%2Fd")->artifact_path, "a/b c/d");
    EXPECT_EQ(route("GET", "/ui/app.css")->asset_name, "app.css");
}

TEST(ApiRouter, TellsWhatIsMissingFromWhatIsForbidden) {
    struct Case {
        const char* method;
        std::string path;
        int status;
        const char* allow;
    };
    const std::string run = "/v1/runs/" + std::string(kId);
    for (const Case& c : {
             Case{"PUT", "/v1/runs", 405, "GET, HEAD, POST"},
             {"POST", run, 405, "GET, HEAD, DELETE"},
             {"GET", run + "/cancel", 405, "POST"},
             {"HEAD", run + "/cancel", 405, "POST"},
             {"BREW", "/healthz", 405, "GET, HEAD"},
             {"GET", "/v1", 404, ""},
             {"GET", "/v1/runs/", 404, ""},
             {"GET", run + "/", 404, ""},
             {"GET", run + "/artifacts/", 404, ""},
             {"GET", "/v1/runs/../../etc/passwd", 404, ""},
             {"GET", "/v1/runs/%2e%2e%2f", 404, ""},
             {"GET", "/v1/runs/%00", 404, ""},
             {"GET", "/v1/runs/" + std::string(10'000, 'a'), 404, ""},
             {"GET", "/v1/runs/01HZY0000000000000000000AB", 404, ""},
             {"GET", "/v1/runs/not-an-id/logs", 404, ""},
             {"GET", run + "/artifacts/%zz", 404, ""},
             {"GET", run + "/artifacts/a%00b", 404, ""},
             {"GET", "/V1/runs", 404, ""},
             {"GET", "/ui", 404, ""},
             {"GET", "/ui/", 404, ""},
             {"GET", "/ui/a/b", 404, ""},
             {"GET", "/ui/../mayfly.db", 404, ""},
             {"POST", "/ui/app.css", 405, "GET, HEAD"},
         }) {
        const auto match = route(c.method, c.path);
        ASSERT_FALSE(match) << c.path;
        EXPECT_EQ(kind_of(match.error().type).status, c.status) << c.path;
        std::string allow;
        for (const auto& [name, value] : match.error().headers) allow = value;
        EXPECT_EQ(allow, c.allow) << c.path;
    }
}

TEST(ApiRouter, SplitsTargets) {
    EXPECT_EQ(split_target("/a/b?c=d?e")->path, "/a/b");
    EXPECT_EQ(split_target("/a/b?c=d?e")->query, "c=d?e");
    EXPECT_EQ(split_target("http://host:1/x?y")->authority, "host:1");
    EXPECT_EQ(split_target("http://host")->path, "/");
    for (const char* bad : {"*", "host:443", "ftp://x/", "http:///x", "/a#b", ""}) {
        EXPECT_FALSE(split_target(bad)) << bad;
    }
}

TEST(ApiSite, KnowsItsOwnHosts) {
    const HostRules rules{{"localhost", "127.0.0.1", "[::1]", "mayfly.lan"}, false};
    for (const char* good : {"localhost", "LOCALHOST:7070", "localhost.", "127.0.0.1:1", "[::1]",
                             "[::1]:7070", "mayfly.lan:80"}) {
        EXPECT_TRUE(host_allowed(good, rules)) << good;
    }
    for (const char* bad :
         {"", "evil.com", "localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.1",
          "localhost:80:80", "localhost:x", "[::1", "[::1]x", "[::2]", "user@localhost"}) {
        EXPECT_FALSE(host_allowed(bad, rules)) << bad;
    }
    const HostRules open{{"localhost"}, true};
    EXPECT_TRUE(host_allowed("10.0.0.1:7070", open));
    EXPECT_FALSE(host_allowed("evil.com", open));
}

TEST(ApiSite, RefusesPagesOfOtherSites) {
    struct Case {
        const char* sentence;
        SiteHeaders headers;
        bool refused;
    };
    for (const Case& c : {
             Case{"a program", {"POST", "localhost:1", {}, {}, {}}, false},
             {"our own page",
              {"POST", "localhost:1", "http://localhost:1", "same-origin", "cors"},
              false},
             {"typed into the address bar", {"GET", "localhost:1", {}, "none", "navigate"}, false},
             {"a link on another page",
              {"GET", "localhost:1", {}, "cross-site", "navigate"},
              false},
             {"a form of another page",
              {"POST", "localhost:1", "http://evil.com", "cross-site", "navigate"},
              true},
             {"a sandboxed frame", {"POST", "localhost:1", "null", {}, {}}, true},
             {"another port of this host",
              {"POST", "localhost:1", "http://localhost:2", {}, {}},
              true},
             {"same site, other origin", {"POST", "localhost:1", {}, "same-site", "cors"}, true},
             {"an image on another page",
              {"GET", "localhost:1", {}, "cross-site", "no-cors"},
              true},
         }) {
        EXPECT_EQ(check_site(c.headers).has_value(), c.refused) << c.sentence;
    }
}

TEST(ApiNames, SuggestsTheNearestKnownName) {
    const std::vector<std::string_view> limits = {"timeout_s", "memory_bytes", "cpus", "pids",
                                                  "work_bytes"};
    EXPECT_EQ(nearest_name("pidLimit", limits), "pids");
    EXPECT_EQ(nearest_name("pid", limits), "pids");
    EXPECT_EQ(nearest_name("timeout", limits), "timeout_s");
    EXPECT_EQ(nearest_name("MemoryBytes", limits), "memory_bytes");
    EXPECT_EQ(nearest_name("memory", limits), "memory_bytes");
    EXPECT_EQ(nearest_name("cpu", limits), "cpus");
    EXPECT_EQ(nearest_name("gpu_model", limits), "");
    EXPECT_EQ(nearest_name(std::string(5'000, 'p'), limits), "");
}

TEST(ApiCursor, TakesOnlyItsOwn) {
    EXPECT_EQ(read_cursor(make_cursor(kId)), std::string(kId));
    for (const char* bad : {"", "before-", "' OR 1=1--", "before-01HZY0000000000000000000AB",
                            "01hzy0000000000000000000ab"}) {
        EXPECT_FALSE(read_cursor(bad)) << bad;
    }
}

TEST(ApiProblem, SpeaksRfc9457WithFields) {
    Problem problem{ProblemType::invalid_spec, "two fields"};
    problem.errors.push_back(
        {"limits.pids", "must be less", std::int64_t{1024}, std::int64_t{9999}});
    problem.errors.push_back({"image", "bad \xFF byte", {}, std::string("x")});
    const auto body = nlohmann::json::parse(to_json_text(problem));
    EXPECT_EQ(body["type"], "urn:mayfly:problem:invalid-spec");
    EXPECT_EQ(body["status"], 400);
    EXPECT_EQ(body["errors"][0]["limit"], 1024);
    EXPECT_EQ(body["errors"][0]["value"], 9999);
    EXPECT_FALSE(body["errors"][1].contains("limit"));
    EXPECT_EQ(body["errors"][1]["message"], "bad \xEF\xBF\xBD byte");
}

TEST(ApiProblem, EveryTypeHasItsOwnName) {
    std::set<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(kLastProblemType); ++i) {
        const ProblemKind& kind = kind_of(static_cast<ProblemType>(i));
        EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
        EXPECT_GE(kind.status, 400);
        EXPECT_FALSE(kind.title.empty());
    }
}

}  // namespace
}  // namespace mayfly::api
