// What clients see of a record.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/codec.h"
#include "api/cursor.h"

namespace mayfly::api {
namespace {

using nlohmann::json;

store::Run finished() {
    store::Run run;
    run.id = "01hzy0000000000000000000ab";
    run.spec.image = "busybox";
    run.spec.command = {"true"};
    run.status.phase = store::Phase::failed;
    run.status.reason = store::Reason::NonZeroExit;
    run.status.attempt = 1;
    run.status.created_ms = 1'740'830'400'123;
    run.status.preparing_ms = run.status.created_ms + 5;
    run.status.running_ms = run.status.created_ms + 105;
    run.status.harvesting_ms = run.status.created_ms + 1'105;
    run.status.finished_ms = run.status.created_ms + 1'115;
    run.status.exit_code = 3;
    run.status.stdout_stream = {10, 8, true};
    run.status.result_json = R"({"a":[1,2]})";
    run.expires_ms = run.status.finished_ms + 1'000;
    run.revision = 7;
    return run;
}

TEST(ApiCodec, WritesTimesInUtc) {
    EXPECT_EQ(rfc3339(0), "1970-01-01T00:00:00.000Z");
    EXPECT_EQ(rfc3339(1'740'830'400'123), "2025-03-01T12:00:00.123Z");
    EXPECT_EQ(http_date(1'740'830'400'123), "Sat, 01 Mar 2025 12:00:00 GMT");
}

TEST(ApiCodec, ShowsAFinishedRun) {
    const json body = json::parse(run_text(finished()));
    const json& status = body["status"];
    EXPECT_EQ(body["id"], "01hzy0000000000000000000ab");
    EXPECT_EQ(body["spec"]["image"], "busybox");
    EXPECT_EQ(status["phase"], "failed");
    EXPECT_EQ(status["reason"], "NonZeroExit");
    EXPECT_EQ(status["message"], nullptr);
    EXPECT_EQ(status["created_at"], "2025-03-01T12:00:00.123Z");
    EXPECT_EQ(status["clocks_ms"],
              (json{{"queue", 5}, {"prepare", 100}, {"run", 1'000}, {"harvest", 10}}));
    EXPECT_EQ(status["exit_code"], 3);
    EXPECT_EQ(status["signal"], nullptr);
    EXPECT_EQ(status["stdout"]["truncated"], true);
    EXPECT_EQ(status["result"]["a"][1], 2);
    EXPECT_EQ(status["cancel_requested_at"], nullptr);
    EXPECT_EQ(status["revision"], 7);
}

TEST(ApiCodec, ClocksThatNeverRanAreNull) {
    store::Run run = finished();
    run.status.preparing_ms = run.status.running_ms = run.status.harvesting_ms = 0;
    EXPECT_EQ(
        json::parse(run_text(run))["status"]["clocks_ms"],
        (json{{"queue", 1'115}, {"prepare", nullptr}, {"run", nullptr}, {"harvest", nullptr}}));
    run.status.finished_ms = 0;
    EXPECT_EQ(json::parse(run_text(run))["status"]["clocks_ms"]["queue"], nullptr);
}

TEST(ApiCodec, AVeryDeepResultIsPassedOnWithoutBeingTakenApart) {
    store::Run run = finished();
    run.status.result_json = std::string(500'000, '[') + std::string(500'000, ']');
    EXPECT_NE(run_text(run).find(run.status.result_json), std::string::npos);
    run.status.result_json.clear();
    EXPECT_EQ(json::parse(run_text(run))["status"]["result"], nullptr);
}

TEST(ApiCodec, BytesThatAreNoUtf8DoNotThrow) {
    store::Run run = finished();
    run.status.message = "\xFF\xFE";
    EXPECT_EQ(json::parse(run_text(run))["status"]["message"], "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(ApiCodec, ListingsEndEarlyRatherThanGrow) {
    const std::vector<store::Run> runs(3, finished());
    const json all = json::parse(runs_text(runs, false, 1 << 20));
    EXPECT_EQ(all["runs"].size(), 3U);
    EXPECT_EQ(all["next_cursor"], nullptr);
    EXPECT_FALSE(all["runs"][0]["status"].contains("result"));
    const json more = json::parse(runs_text(runs, true, 1 << 20));
    EXPECT_EQ(more["next_cursor"], make_cursor(runs[2].id));
    const json cut = json::parse(runs_text(runs, false, 10));
    EXPECT_EQ(cut["runs"].size(), 1U);
    EXPECT_EQ(cut["next_cursor"], make_cursor(runs[0].id));
    EXPECT_EQ(json::parse(runs_text({}, false, 10))["next_cursor"], nullptr);
}

TEST(ApiCodec, ReadinessNamesItsReasons) {
    store::LiveStatus live;
    EXPECT_FALSE(readiness(live, "", false).ready);
    live.recovered = true;
    const Readiness up = readiness(live, "", false);
    EXPECT_TRUE(up.ready);
    EXPECT_EQ(json::parse(up.text)["degraded"][0]["reason"], "EngineDown");
    live.engines.emplace_back();
    live.engines[0].up = true;
    EXPECT_TRUE(json::parse(readiness(live, "", false).text)["degraded"].empty());
    live.disk_full = true;
    const json down = json::parse(readiness(live, "fsync failed", true).text);
    EXPECT_EQ(down["ready"], false);
    EXPECT_EQ(down["reasons"].size(), 3U);
}

TEST(ApiCodec, ShowsTheOperatorsLimits) {
    const json body = json::parse(engines_text({}, {}, {}));
    EXPECT_EQ(body["policy"]["limits"]["cpus"]["default"], 1.0);
    EXPECT_EQ(body["policy"]["limits"]["pids"]["most"], 1'024);
    EXPECT_TRUE(body["engines"].empty());
}

TEST(ApiCodec, ListsArtifactsAndWhatWasSkipped) {
    store::RunStatus status;
    status.skipped = {{"link", "symlink"}};
    status.skipped_count = 1;
    const json body = json::parse(artifacts_text(status, {{"a/b", 512, 3, "ff", 0644}}));
    EXPECT_EQ(body["artifacts"][0],
              (json{{"path", "a/b"}, {"size", 3}, {"sha256", "ff"}, {"mode", "0644"}}));
    EXPECT_EQ(body["skipped"][0]["reason"], "symlink");
}

}  // namespace
}  // namespace mayfly::api
