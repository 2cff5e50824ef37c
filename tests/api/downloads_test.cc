// Logs and artifacts over HTTP.
#include "store/sha256.h"
#include "tests/api/fixture.h"

namespace mayfly::api {
namespace {

using nlohmann::json;

class Downloads : public ApiTest {
protected:
    void SetUp() override {
        serve();
        for (int i = 0; i < 256; ++i) binary_.push_back(static_cast<char>(i));
        for (int i = 0; i < 200'000; ++i) big_ += std::to_string(i) + "\n";
        id_ = submit();
        start_run(id_);
        finish_run(id_, {.phase = store::Phase::succeeded,
                         .reason = store::Reason::Completed,
                         .files = {{"report.csv", "0123456789"},
                                   {"deep/b.bin", binary_},
                                   {"empty", ""},
                                   {"big.txt", big_},
                                   {"q\"u o\\te.txt", "q"},
                                   {"\u00e9t\u00e9 100%.txt", "e"}},
                         .stdout_text = big_,
                         .stderr_text = "one\ntwo\nthree",
                         .result_json = ""});
    }
    test::HttpAnswer get(const std::string& rest, const test::Headers& headers = {},
                         const std::string& method = "GET") const {
        return ask(method, "/v1/runs/" + id_ + rest, headers);
    }
    std::string id_;
    std::string binary_;
    std::string big_;
};

TEST_F(Downloads, ListsArtifacts) {
    const json body = json_of(get("/artifacts"));
    ASSERT_EQ(body["artifacts"].size(), 6U);
    std::map<std::string, json> by_path;
    for (const json& entry : body["artifacts"]) by_path[entry["path"]] = entry;
    EXPECT_EQ(by_path.at("deep/b.bin")["size"], 256);
    EXPECT_EQ(by_path.at("deep/b.bin")["sha256"], store::sha256_hex(binary_));
    EXPECT_EQ(by_path.at("deep/b.bin")["mode"], "0644");
    EXPECT_TRUE(body["skipped"].empty());
}

TEST_F(Downloads, GivesAnArtifactByteForByte) {
    const auto answer = get("/artifacts/deep/b.bin");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, binary_);
    EXPECT_EQ(answer.header("ETag"), "\"" + store::sha256_hex(binary_) + "\"");
    EXPECT_EQ(answer.header("Content-Type"), "application/octet-stream");
    EXPECT_EQ(answer.header("Content-Disposition"), "attachment; filename=\"b.bin\"");
    EXPECT_EQ(answer.header("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(answer.header("Content-Security-Policy"), "sandbox; default-src 'none'");
    EXPECT_EQ(answer.header("Accept-Ranges"), "bytes");
    EXPECT_TRUE(get("/artifacts/big.txt").body == big_);
    EXPECT_EQ(get("/artifacts/empty").body, "");
    EXPECT_EQ(get("/artifacts/empty").header("Content-Length"), "0");
}

TEST_F(Downloads, FindsNamesOfEveryKind) {
    EXPECT_EQ(get("/artifacts/q%22u%20o%5Cte.txt").body, "q");
    EXPECT_EQ(get("/artifacts/q%22u%20o%5Cte.txt").header("Content-Disposition"),
              "attachment; filename=\"q_u o_te.txt\"; filename*=UTF-8''q%22u%20o%5Cte.txt");
    EXPECT_EQ(get("/artifacts/%C3%A9t%C3%A9%20100%25.txt").body, "e");
    EXPECT_EQ(get("/artifacts/deep%2Fb.bin").body, binary_);
    for (const char* missing : {"/artifacts/nothing", "/artifacts/deep", "/artifacts/../input.tar",
                                "/artifacts/%2e%2e", "/artifacts/deep/../report.csv",
                                "/artifacts/%00", "/artifacts/%zz", "/artifacts//report.csv"}) {
        EXPECT_EQ(get(missing).status, 404) << missing;
    }
}

TEST_F(Downloads, GivesRanges) {
    struct Case {
        const char* range;
        int status;
        const char* body;
        const char* content_range;
    };
    for (const Case& c : {
             Case{"bytes=2-4", 206, "234", "bytes 2-4/10"},
             {"bytes=-3", 206, "789", "bytes 7-9/10"},
             {"bytes=8-", 206, "89", "bytes 8-9/10"},
             {"bytes=0-0", 206, "0", "bytes 0-0/10"},
             {"bytes=0-1,4-5", 200, "0123456789", ""},
             {"nonsense", 200, "0123456789", ""},
         }) {
        const auto answer = get("/artifacts/report.csv", {{"Range", c.range}});
        EXPECT_EQ(answer.status, c.status) << c.range;
        EXPECT_EQ(answer.body, c.body) << c.range;
        EXPECT_EQ(answer.header("Content-Range"), c.content_range) << c.range;
    }
    const auto beyond = get("/artifacts/report.csv", {{"Range", "bytes=10-"}});
    EXPECT_EQ(beyond.status, 416);
    EXPECT_EQ(beyond.header("Content-Range"), "bytes */10");
    const std::string etag = get("/artifacts/report.csv").header("ETag");
    EXPECT_EQ(get("/artifacts/report.csv", {{"Range", "bytes=0-1"}, {"If-Range", etag}}).status,
              206);
    EXPECT_EQ(
        get("/artifacts/report.csv", {{"Range", "bytes=0-1"}, {"If-Range", "\"other\""}}).status,
        200);
}

TEST_F(Downloads, SaysNotModified) {
    const std::string etag = get("/artifacts/report.csv").header("ETag");
    auto peer = client();
    const std::string target = "/v1/runs/" + id_ + "/artifacts/report.csv";
    const auto cached = peer.ask("GET", target, {{"If-None-Match", etag}});
    EXPECT_EQ(cached.status, 304);
    EXPECT_EQ(cached.header("ETag"), etag);
    EXPECT_EQ(peer.ask("GET", target, {{"If-None-Match", "\"x\""}}).body, "0123456789");
}

TEST_F(Downloads, AnswersHeadLikeGetWithoutTheBody) {
    auto peer = client();
    const std::string target = "/v1/runs/" + id_ + "/artifacts/big.txt";
    const auto head = peer.ask("HEAD", target);
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.header("Content-Length"), std::to_string(big_.size()));
    EXPECT_EQ(head.body, "");
    EXPECT_TRUE(peer.ask("GET", target).body == big_);
}

TEST_F(Downloads, GivesTheWholeArchive) {
    const auto answer = get("/artifacts.tar");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.header("Content-Type"), "application/x-tar");
    EXPECT_EQ(std::ssize(answer.body), *data_dir_->file_size(id_, store::kOutputTar));
    EXPECT_EQ(answer.header("Content-Disposition"), "attachment; filename=\"" + id_ + ".tar\"");
    const auto piece = get("/artifacts.tar", {{"Range", "bytes=512-521"}});
    EXPECT_EQ(piece.status, 206);
    EXPECT_EQ(piece.body, answer.body.substr(512, 10));
    EXPECT_EQ(get("/artifacts.tar", {{"If-None-Match", answer.header("ETag")}}).status, 304);
}

TEST_F(Downloads, GivesLogsAndTheirTails) {
    EXPECT_TRUE(get("/logs").body == big_);
    EXPECT_TRUE(get("/logs?stream=stdout").body == big_);
    EXPECT_EQ(get("/logs?stream=stderr").body, "one\ntwo\nthree");
    EXPECT_EQ(get("/logs?stream=stdout&tail=2").body, "199998\n199999\n");
    EXPECT_EQ(get("/logs?stream=stderr&tail=1").body, "three");
    EXPECT_EQ(get("/logs?stream=stderr&tail=2").body, "two\nthree");
    EXPECT_EQ(get("/logs?stream=stderr&tail=99").body, "one\ntwo\nthree");
    const std::string tail = get("/logs?tail=50000").body;
    EXPECT_EQ(std::ranges::count(tail, '\n'), 50'000);
    EXPECT_TRUE(big_.ends_with(tail));
    EXPECT_EQ(get("/logs?stream=stderr", {{"Range", "bytes=-5"}}).body, "three");
    EXPECT_EQ(get("/logs?stream=stderr&tail=2", {{"Range", "bytes=0-2"}}).body, "two");
    EXPECT_EQ(get("/logs").header("Content-Type"), "application/octet-stream");
    EXPECT_EQ(get("/logs", {{"Accept", "text/plain"}}).header("Content-Type"),
              "text/plain; charset=utf-8");
    EXPECT_EQ(get("/logs").header("Mayfly-Bytes-Total"), std::to_string(big_.size()));
}

TEST_F(Downloads, RefusesBadLogQueries) {
    for (const char* query : {"?tail=0", "?tail=-1", "?tail=1e3", "?tail=100001", "?stream=both",
                              "?follow=yes", "?tial=5", "?tail=1&tail=2"}) {
        EXPECT_EQ(get(std::string("/logs") + query).status, 400) << query;
    }
}

TEST_F(Downloads, AreNotThereBeforeTheEnd) {
    id_ = submit();
    for (const char* rest : {"/logs", "/artifacts", "/artifacts/a", "/artifacts.tar"}) {
        const auto answer = get(rest);
        EXPECT_EQ(answer.status, 409) << rest;
        EXPECT_EQ(json_of(answer)["type"], "urn:mayfly:problem:not-finished");
        EXPECT_EQ(answer.header("Retry-After"), "1");
    }
}

TEST_F(Downloads, SayWhenAStoredFileIsDamaged) {
    std::filesystem::resize_file(data_dir_->file_path(id_, store::kOutputTar), 1'024);
    const auto answer = get("/artifacts/big.txt");
    EXPECT_EQ(answer.status, 500);
    EXPECT_EQ(json_of(answer)["type"], "urn:mayfly:problem:damaged");
    std::filesystem::remove(data_dir_->file_path(id_, store::kStdoutLog));
    EXPECT_EQ(get("/logs").status, 500);
}

}  // namespace
}  // namespace mayfly::api
