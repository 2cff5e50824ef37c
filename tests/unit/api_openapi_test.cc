// The document at /v1/openapi.json says what the code says: routes, problems, limits, spellings.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "api/openapi_document.h"
#include "api/problem.h"
#include "api/router.h"
#include "api/settings.h"
#include "api/submission.h"
#include "store/event.h"
#include "store/limits.h"
#include "store/mutation.h"
#include "store/run.h"

namespace mayfly::api {
namespace {

using nlohmann::json;

const json& document() {
    static const json parsed = json::parse(openapi_document());
    return parsed;
}

const json& schema(const std::string& name) {
    return document().at("components").at("schemas").at(name);
}

const json& property(const std::string& name, const std::string& field) {
    return schema(name).at("properties").at(field);
}

const json& parameter(const std::string& name) {
    return document().at("components").at("parameters").at(name).at("schema");
}

template <class Enum>
std::set<std::string> spellings(int first, int last) {
    std::set<std::string> out;
    for (int i = first; i <= last; ++i) {
        out.emplace(store::to_string(static_cast<Enum>(i)));
    }
    return out;
}

std::set<std::string> listed(const json& values) {
    std::set<std::string> out;
    for (const json& value : values) {
        if (value.is_string()) out.insert(value);
    }
    return out;
}

using Names = std::set<std::string>;

TEST(ApiOpenapi, IsOfThisVersion) {
    EXPECT_EQ(document().at("openapi").get<std::string>().substr(0, 4), "3.1.");
    EXPECT_EQ(document().at("info").at("version"), MAYFLY_VERSION);
}

TEST(ApiOpenapi, HasEveryRouteAndNoOther) {
    Names served;
    for (const auto& [method, pattern] : routes()) {
        served.insert(std::string(method) + " " + std::string(pattern));
        if (method == "GET") served.insert("HEAD " + std::string(pattern));
    }
    Names described;
    for (const auto& [path, item] : document().at("paths").items()) {
        for (const auto& [method, operation] : item.items()) {
            std::string name = method;
            for (char& c : name) c = static_cast<char>(c - 'a' + 'A');
            described.insert(name + " " + path);
        }
    }
    EXPECT_EQ(described, served);
}

TEST(ApiOpenapi, HasEveryProblemTypeAndNoOther) {
    Names described = listed(schema("ProblemType").at("enum"));
    std::set<std::string> referred;
    for (const json& entry : schema("Problem").at("oneOf")) referred.insert(entry.at("$ref"));
    EXPECT_EQ(referred.size(), described.size());
    Names made;
    for (std::size_t i = 0; i <= static_cast<std::size_t>(kLastProblemType); ++i) {
        const ProblemKind& kind = kind_of(static_cast<ProblemType>(i));
        const std::string urn = "urn:mayfly:problem:" + std::string(kind.name);
        made.insert(urn);
        std::string title = "Problem";  // "invalid-spec" -> "ProblemInvalidSpec"
        bool upper = true;
        for (const char c : kind.name) {
            if (c != '-') title += upper ? static_cast<char>(c - 'a' + 'A') : c;
            upper = c == '-';
        }
        ASSERT_TRUE(document()["components"]["schemas"].contains(title)) << title;
        EXPECT_TRUE(referred.contains("#/components/schemas/" + title)) << title;
        EXPECT_EQ(property(title, "type").at("const"), urn);
        EXPECT_EQ(property(title, "title").at("const"), kind.title);
        EXPECT_EQ(property(title, "status").at("const"), kind.status);
        const std::string example = "problem-" + std::string(kind.name);
        ASSERT_TRUE(document()["components"]["examples"].contains(example)) << example;
        EXPECT_EQ(document()["components"]["examples"][example]["value"]["type"], urn);
    }
    EXPECT_EQ(described, made);
}

TEST(ApiOpenapi, HasTheLimitsAndDefaultsThatWeAreShippedWith) {
    const store::Policy policy;
    Names names;
    for (const store::LimitRange& range : policy.limits) {
        names.emplace(range.name);
        const json& described = property("LimitsInput", std::string(range.name));
        const double unit = range.name == "cpus" ? 1'000.0 : 1.0;
        const auto equals = [&](const char* key, std::int64_t value) {
            EXPECT_DOUBLE_EQ(described.at(key).get<double>(), static_cast<double>(value) / unit)
                << range.name << " " << key;
        };
        equals("minimum", range.floor);
        equals("default", range.default_value);
        equals("maximum", range.ceiling);
    }
    Names described;
    for (const auto& [name, _] : schema("LimitsInput").at("properties").items()) {
        described.insert(name);
    }
    EXPECT_EQ(described, names);
    EXPECT_EQ(property("SpecInput", "ttl_s").at("default"), policy.ttl_default_s);
    EXPECT_EQ(property("SpecInput", "ttl_s").at("maximum"), policy.ttl_ceiling_s);
    EXPECT_EQ(property("SpecInput", "priority").at("minimum"), policy.priority_min);
    EXPECT_EQ(property("SpecInput", "priority").at("maximum"), policy.priority_max);
    EXPECT_EQ(property("Retry", "max_attempts").at("maximum"), policy.max_attempts_ceiling);
}

TEST(ApiOpenapi, HasTheBoundsOfWhatIsSent) {
    const Settings settings;
    EXPECT_EQ(property("SpecInput", "command").at("maxItems"), kMaxCommandArgs);
    EXPECT_EQ(property("SpecInput", "command").at("items").at("maxLength"), kMaxCommandArgBytes);
    EXPECT_EQ(property("SpecInput", "image").at("maxLength"), kMaxImageBytes);
    EXPECT_EQ(property("SpecInput", "runtime").at("maxLength"), kMaxRuntimeBytes);
    EXPECT_EQ(property("SpecInput", "files").at("maxItems"), settings.max_input_files);
    EXPECT_EQ(schema("Env").at("maxProperties"), kMaxEnvVars);
    EXPECT_EQ(schema("Env").at("propertyNames").at("maxLength"), kMaxEnvNameBytes);
    EXPECT_EQ(schema("Env").at("additionalProperties").at("maxLength"), kMaxEnvValueBytes);
    EXPECT_EQ(schema("Labels").at("maxProperties"), kMaxLabels);
    EXPECT_EQ(schema("Labels").at("propertyNames").at("maxLength"), kMaxLabelKeyBytes);
    EXPECT_EQ(schema("Labels").at("additionalProperties").at("maxLength"), kMaxLabelValueBytes);
    EXPECT_EQ(property("ArtifactList", "skipped").at("maxItems"), store::kMaxSkippedListed);
    EXPECT_EQ(parameter("PageLimit").at("maximum"), settings.max_list);
    EXPECT_EQ(parameter("Tail").at("maximum"), settings.max_tail_lines);
}

TEST(ApiOpenapi, SpellsPhasesReasonsAndStagesAsTheStoreDoes) {
    using store::KillCause;
    using store::Phase;
    using store::Stage;
    constexpr int kPhases = static_cast<int>(store::kPhaseCount);
    EXPECT_EQ(listed(schema("Phase").at("enum")), spellings<Phase>(0, kPhases - 1));
    EXPECT_EQ(listed(schema("TerminalPhase").at("enum")),
              spellings<Phase>(static_cast<int>(Phase::succeeded), kPhases - 1));
    EXPECT_EQ(listed(schema("Reason").at("enum")),
              spellings<store::Reason>(1, static_cast<int>(store::kLastReason)));
    EXPECT_EQ(listed(schema("PendingReason").at("enum")),
              spellings<store::Pending>(1, static_cast<int>(store::kLastPending)));
    EXPECT_EQ(listed(schema("EventType").at("enum")),
              spellings<store::EventType>(0, static_cast<int>(store::kLastEventType)));
    const json& attempt = property("Explanation", "attempt").at("oneOf")[0].at("properties");
    EXPECT_EQ(listed(attempt.at("stage").at("enum")),
              spellings<Stage>(0, static_cast<int>(Stage::collected)));
    EXPECT_EQ(listed(attempt.at("kill_cause").at("enum")),
              spellings<KillCause>(1, static_cast<int>(KillCause::prepare_timeout)));
    Names counted;
    for (const auto& [name, _] : schema("PhaseCounts").at("properties").items()) {
        counted.insert(name);
    }
    EXPECT_EQ(counted, spellings<Phase>(0, kPhases - 1));
}

}  // namespace
}  // namespace mayfly::api
