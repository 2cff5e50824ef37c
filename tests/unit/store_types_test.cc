#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "store/limits.h"
#include "store/mutation.h"
#include "store/run.h"
#include "store/sha256.h"
#include "store/spec_json.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

template <class Enum>
void every_name_is_one_value(std::int64_t count, std::optional<Enum> (*parse)(std::string_view)) {
    std::set<std::string> names;
    for (std::int64_t i = 0; i < count; ++i) {
        const auto value = static_cast<Enum>(i);
        const std::string name(to_string(value));
        EXPECT_TRUE(names.insert(name).second) << name << " twice";
        EXPECT_EQ(parse(name), value) << name;
    }
    EXPECT_EQ(parse("no such name"), std::nullopt);
}

TEST(Names, EveryValueHasOneNameThatReadsBack) {
    every_name_is_one_value<Phase>(kPhaseCount, parse_phase);
    every_name_is_one_value<Reason>(static_cast<int>(kLastReason) + 1, parse_reason);
    every_name_is_one_value<Pending>(static_cast<int>(kLastPending) + 1, parse_pending);
    every_name_is_one_value<KillCause>(4, parse_kill_cause);
}

TEST(Names, AreTheStablesOfTheApi) {
    EXPECT_EQ(to_string(Phase::timed_out), "timed_out");
    EXPECT_EQ(to_string(Reason::none), "");
    EXPECT_EQ(to_string(Reason::OutOfMemory), "OutOfMemory");
    EXPECT_EQ(to_string(Reason::InternalError), "InternalError");
    EXPECT_EQ(to_string(Pending::Backoff), "Backoff");
    EXPECT_EQ(to_string(Stage::collected), "collected");
    EXPECT_EQ(to_string(KillCause::prepare_timeout), "prepare_timeout");
}

TEST(SpecJson, IsSpelledAsInTheApi) {
    const auto expected = nlohmann::json::parse(R"({
        "image": "busybox:1.36",
        "command": ["sh", "-c", "echo \"hé\" > output/a\n"],
        "files": [
            {"path": "in/data.csv", "mode": "0644", "size": 12, "sha256": ""},
            {"path": "go.sh", "mode": "0755", "size": 0, "sha256": ""}],
        "stdin": {"size": 7, "sha256": ""},
        "env": {"A": "1", "B": ""},
        "labels": {"team": "blue", "kind": "test"},
        "limits": {"timeout_s": 60, "queue_timeout_s": 3600, "memory_bytes": 268435456,
            "cpus": 1.5, "pids": 128, "work_bytes": 268435456, "tmp_bytes": 67108864,
            "log_bytes": 1048576, "artifact_bytes": 5368709120, "artifact_files": 1000},
        "network": "loopback", "runtime": "runsc", "priority": -5,
        "retry": {"max_attempts": 3, "on": ["lost"]}, "ttl_s": 86400})");
    auto spec = full_spec();
    for (auto& file : spec.files) file.sha256.clear();
    spec.stdin_file->sha256.clear();
    EXPECT_EQ(spec_to_json(spec), expected);
}

TEST(SpecJson, CanonicalTextHasSortedKeysAndNoSpaces) {
    RunSpec spec;
    spec.image = "i";
    spec.limits.cpu_millis = 250;
    EXPECT_EQ(canonical_spec(spec),
              R"({"command":[],"env":{},"files":[],"image":"i","labels":{},"limits":)"
              R"({"artifact_bytes":0,"artifact_files":0,"cpus":0.25,"log_bytes":0,)"
              R"("memory_bytes":0,"pids":0,"queue_timeout_s":0,"timeout_s":0,"tmp_bytes":0,)"
              R"("work_bytes":0},"network":"none","priority":0,"retry":{"max_attempts":1,)"
              R"("on":["lost"]},"runtime":"","stdin":null,"ttl_s":0})");
}

TEST(SpecJson, RoundTripsExactly) {
    auto spec = full_spec();
    auto parsed = parse_spec(canonical_spec(spec));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, spec);
    EXPECT_EQ(parse_spec(canonical_spec(RunSpec{})), RunSpec{});
}

TEST(SpecJson, AWebhookIsPartOfItAndItsSecretIsNeverShown) {
    auto spec = full_spec();
    const auto without = canonical_spec(spec);
    EXPECT_EQ(without.find("webhook"), std::string::npos) << "texts from before keep their hash";
    spec.webhook = Webhook{.url = "https://h/x", .secret = "s3cret-s3cret-s3cret"};
    EXPECT_EQ(parse_spec(canonical_spec(spec)), spec);
    EXPECT_EQ(shown_spec_json(spec)["webhook"],
              nlohmann::json::parse(R"({"url":"https://h/x","on":["finished"],"signed":true})"));
    EXPECT_EQ(shown_spec_json(spec).dump().find("s3cret"), std::string::npos);
    const auto one = canonical_spec(spec);
    spec.webhook->secret.clear();
    spec.webhook->all_events = true;
    EXPECT_EQ(parse_spec(canonical_spec(spec)), spec);
    EXPECT_NE(canonical_spec(spec), one) << "another secret is another body";
    EXPECT_EQ(shown_spec_json(spec)["webhook"],
              nlohmann::json::parse(R"({"url":"https://h/x","on":["all"],"signed":false})"));
    EXPECT_EQ(shown_spec_json(full_spec()), spec_to_json(full_spec()));
}

TEST(SpecJson, EveryCountOfMilliCpusRoundTrips) {
    RunSpec spec;
    for (std::int64_t millis = 0; millis <= 130'000; millis += millis < 4'000 ? 1 : 37) {
        spec.limits.cpu_millis = millis;
        auto parsed = parse_spec(canonical_spec(spec));
        ASSERT_TRUE(parsed);
        ASSERT_EQ(parsed->limits.cpu_millis, millis);
    }
}

TEST(SpecJson, WhatIsNotOursIsCorrupt) {
    const auto good = spec_to_json(full_spec());
    const auto without = [&good](const char* name) {
        auto json = good;
        json.erase(name);
        return json.dump();
    };
    auto more = good;
    more["extra"] = 1;
    auto mode = good;
    mode["files"][0]["mode"] = "0999";
    auto network = good;
    network["network"] = "host";
    auto limit = good;
    limit["limits"]["pids"] = "many";
    auto command = good;
    command["command"] = {1, 2};
    auto on = good;
    on["retry"]["on"] = {"failed"};
    auto webhook = good;
    webhook["webhook"] = {{"url", "https://h/"}, {"secret", ""}, {"on", {"never"}}};
    const std::pair<const char*, std::string> cases[] = {
        {"a webhook on nothing we know", webhook.dump()},
        {"empty text", ""},
        {"cut in the middle", good.dump().substr(0, 100)},
        {"not an object", "[]"},
        {"a member is missing", without("ttl_s")},
        {"a limit is missing", R"({"limits":{}})"},
        {"a member too many", more.dump()},
        {"a mode that is not octal", mode.dump()},
        {"an unknown network", network.dump()},
        {"a limit of another type", limit.dump()},
        {"a command of numbers", command.dump()},
        {"another retry rule", on.dump()},
    };
    for (const auto& [name, text] : cases) {
        auto parsed = parse_spec(text);
        ASSERT_FALSE(parsed) << name;
        EXPECT_EQ(parsed.error().kind, ErrorKind::corrupt) << name;
        EXPECT_NE(parsed.error().message.find("spec"), std::string::npos) << name;
    }
}

TEST(Policy, PatternsOfImages) {
    struct Case {
        const char* name;
        std::vector<std::string> patterns;
        const char* image;
        bool allowed;
    };
    const Case cases[] = {
        {"no pattern allows everything", {}, "anything", true},
        {"an exact name", {"busybox"}, "busybox", true},
        {"is not a prefix", {"busybox"}, "busybox:1", false},
        {"a star matches nothing too", {"busybox*"}, "busybox", true},
        {"a star crosses slashes", {"registry/*:1"}, "registry/a/b:1", true},
        {"the end must match", {"registry/*:1"}, "registry/a:2", false},
        {"several stars", {"*/a*b/*"}, "x/aab/y", true},
        {"backtracks to the last star", {"*ab"}, "aabab", true},
        {"any of several", {"a", "b"}, "b", true},
        {"none of several", {"a", "b"}, "c", false},
        {"an empty image", {"a"}, "", false},
        {"a lone star", {"*"}, "", true},
        {"a dot is a dot", {"a.c"}, "abc", false},
        {"no pattern is slow",
         {"a*a*a*a*a*a*a*a*b"},
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         false},
    };
    for (const auto& c : cases) {
        Policy policy;
        policy.allowed_images = c.patterns;
        EXPECT_EQ(image_allowed(policy, c.image), c.allowed) << c.name;
    }
}

TEST(Policy, EveryDefaultIsWithinItsRange) {
    for (const auto& range : Policy{}.limits) {
        EXPECT_LE(range.floor, range.default_value) << range.name;
        EXPECT_LE(range.default_value, range.ceiling) << range.name;
    }
}

TEST(Sha256, IsTheOneOfFips1804) {
    EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_hex("abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, InPiecesIsTheSameAndFinishStartsOver) {
    Sha256 hash;
    hash.update("a");
    hash.update("");
    hash.update("bc");
    EXPECT_EQ(hash.finish(), sha256_hex("abc"));
    EXPECT_EQ(hash.finish(), sha256_hex(""));
    hash.update("abc");
    Sha256 moved = std::move(hash);
    EXPECT_EQ(moved.finish(), sha256_hex("abc"));
}

TEST(Mutation, EveryKindHasItsNameAndRun) {
    const std::pair<Mutation, const char*> cases[] = {
        {BindAttempt{.run_id = "r", .now_ms = 0, .attempt = {}}, "BindAttempt"},
        {SetPending{.run_id = "r", .now_ms = 0, .pending = {}, .message = {}}, "SetPending"},
        {start_intent("r", 1), "RecordStartIntent"},
        {started("r", 1), "RecordStarted"},
        {RecordKill{.run_id = "r"}, "RecordKill"},
        {RecordInterrupted{.run_id = "r"}, "RecordInterrupted"},
        {exited("r", 1), "RecordExit"},
        {finished("r", 1), "FinishRun"},
        {retried("r", 1), "RetryRun"},
        {collected("r", 1), "MarkCollected"},
    };
    for (const auto& [mutation, name] : cases) {
        EXPECT_EQ(name_of(mutation), name);
        EXPECT_EQ(run_id_of(mutation), "r") << name;
    }
}

}  // namespace
}  // namespace mayfly::store
