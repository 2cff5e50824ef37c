// Why a run is where it is, and whether the daemon is well.
#include "tests/api/fixture.h"

namespace mayfly::api {
namespace {

class Explain : public ApiTest {};

TEST_F(Explain, AWaitingRunIsToldWithItsPlaceAndWhatItWaitsFor) {
    live_.run_slots = 4;
    live_.run_slots_used = 4;
    live_.queued = 12;
    serve();
    const std::string id = submit();
    on_loop([&] {
        explainer_.known[id] = {.headline = "Waiting for a free place",
                                .saw = {{"engine", "up"}},
                                .action = "Wait",
                                .why = "others are before it",
                                .waits_for = "a free run slot",
                                .until_ms = 1'740'830'400'123,
                                .place = 3};
    });
    const auto answer = ask("GET", "/v1/runs/" + id + "/explain");
    ASSERT_EQ(answer.status, 200) << answer.body;
    const auto told = json_of(answer);
    EXPECT_EQ(told["headline"],
              "Waiting for a free place: 4 of 4 run slots are taken, and it is number 3 in line");
    EXPECT_EQ(told["admission"]["place"], 3);
    EXPECT_EQ(told["admission"]["queued"], 12);
    EXPECT_EQ(told["until"], "2025-03-01T12:00:00.123Z");
    EXPECT_EQ(told["saw"][0]["is"], "up");
    EXPECT_EQ(told["decided"]["action"], "Wait");
    EXPECT_TRUE(told["failures"].is_null());
    ASSERT_EQ(told["history"].size(), 1U);
    EXPECT_EQ(told["history"][0]["cause"], "The submission was recorded.");
    EXPECT_TRUE(told["deadlines"]["queue"].is_string());
    EXPECT_TRUE(told["attempt"].is_null());
}

TEST_F(Explain, StepsThatFailAreToldWithTheNextTry) {
    serve();
    const std::string id = submit();
    on_loop([&] {
        explainer_.known[id] = {.headline = "Creating its container",
                                .action = "CreateContainer",
                                .why = "there is none yet",
                                .failures = 2,
                                .last_error = "no space left",
                                .next_try_ms = 1'740'830'400'123};
    });
    const auto told = json_of(ask("GET", "/v1/runs/" + id + "/explain"));
    EXPECT_EQ(told["headline"], "Creating its container, which has failed before: no space left");
    EXPECT_EQ(told["failures"]["count"], 2);
    EXPECT_EQ(told["failures"]["next_try_at"], "2025-03-01T12:00:00.123Z");
}

TEST_F(Explain, AFinishedRunHasItsWholeHistoryAndNothingLeftToDecide) {
    serve();
    const std::string id = submit();
    start_run(id);
    finish_run(id, {});
    const auto told = json_of(ask("GET", "/v1/runs/" + id + "/explain"));
    EXPECT_TRUE(told["decided"].is_null());
    EXPECT_EQ(told["phase"], "succeeded");
    EXPECT_TRUE(std::string(told["headline"]).starts_with("Ended: succeeded"));
    std::vector<std::string> types;
    for (const auto& entry : told["history"]) {
        types.push_back(entry["type"]);
        EXPECT_FALSE(std::string(entry["cause"]).empty());
    }
    EXPECT_EQ(types, (std::vector<std::string>{"created", "preparing", "running", "harvesting",
                                               "finished"}));
    EXPECT_EQ(told["attempt"]["number"], 1);
}

TEST_F(Explain, WhatIsNotThereIsNotExplained) {
    serve();
    const std::string id = submit();
    EXPECT_EQ(ask("GET", "/v1/runs/" + std::string(26, '0') + "/explain").status, 404);
    EXPECT_EQ(ask("GET", "/v1/runs/" + id + "/explain?x=1").status, 400);
    EXPECT_EQ(ask("POST", "/v1/runs/" + id + "/explain").status, 405);
}

TEST_F(Explain, TheDoctorSaysWhatIsWrongAndWhatToDo) {
    serve();
    const auto sick = json_of(ask("GET", "/v1/doctor"));
    EXPECT_EQ(sick["healthy"], false);
    EXPECT_EQ(sick["checks"][0]["name"], "engine");
    EXPECT_EQ(sick["checks"][0]["state"], "fail");
    EXPECT_TRUE(sick["checks"][0]["fix"].is_string());
}

TEST_F(Explain, TheEnginesAnswerCountsTheRunsOfEachPhase) {
    serve();
    submit();
    const std::string id = submit();
    start_run(id);
    const auto answer = json_of(ask("GET", "/v1/engines"));
    EXPECT_EQ(answer["runs"]["queued"], 1);
    EXPECT_EQ(answer["runs"]["running"], 1);
    EXPECT_EQ(answer["runs"]["lost"], 0);
    EXPECT_TRUE(answer["disk"].contains("free_bytes"));
}

}  // namespace
}  // namespace mayfly::api
