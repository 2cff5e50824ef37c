// What the doctor finds in each set-up, and that whatever is wrong comes with what to do.
#include "api/diagnosis.h"

#include <gtest/gtest.h>

#include <functional>

namespace mayfly::api {
namespace {

store::LiveStatus healthy() {
    store::LiveStatus live;
    live.recovered = true;
    live.run_slots = 4;
    live.disk_free_bytes = 50LL << 30;
    live.disk_low_bytes = 1LL << 30;
    live.disk_full_bytes = 256LL << 20;
    store::EngineStatus engine;
    engine.name = "default";
    engine.endpoint = "unix:///var/run/docker.sock";
    engine.up = true;
    engine.since_ms = 1'740'830'400'123;
    engine.version = "20.10.24";
    engine.api_version = "1.41";
    engine.os_arch = "linux/amd64";
    engine.kernel = "6.1.0";
    engine.cgroup_version = "2";
    engine.storage_driver = "overlay2";
    engine.default_runtime = "runc";
    engine.runtimes = {"runc"};
    engine.security_options = {"name=apparmor", "name=seccomp,profile=default"};
    engine.clock_skew_ms = 12;
    live.engines = {engine};
    return live;
}

struct Case {
    const char* sentence;
    std::function<void(store::LiveStatus&, store::Policy&)> change;
    const char* check;
    Check::State state;
    const char* found;
};

TEST(Diagnosis, AHealthyDaemonHasNothingToMend) {
    const auto live = healthy();
    const store::Policy policy;
    for (const Check& check : diagnose({live, policy, "", 0})) {
        EXPECT_EQ(check.state, Check::State::ok) << check.name << ": " << check.found;
        EXPECT_EQ(check.fix, "") << check.name;
        EXPECT_FALSE(check.found.empty()) << check.name;
    }
}

TEST(Diagnosis, EachThingThatIsWrongIsFoundAndSaysWhatToDo) {
    using State = Check::State;
    const Case cases[] = {
        {"the engine is down",
         [](auto& live, auto&) {
             live.engines[0].up = false;
             live.engines[0].error = "connection refused";
         },
         "engine", State::fail, "connection refused"},
        {"a limit is not enforced",
         [](auto& live, auto&) { live.engines[0].warnings = {"WARNING: No swap limit support"}; },
         "sandbox_limits", State::fail, "No swap limit"},
        {"no seccomp",
         [](auto& live, auto&) { live.engines[0].security_options = {"name=apparmor"}; },
         "security", State::fail, "no seccomp"},
        {"no AppArmor",
         [](auto& live, auto&) { live.engines[0].security_options = {"name=seccomp"}; },
         "security", State::warn, "Neither"},
        {"a runtime is allowed and missing",
         [](auto&, auto& policy) { policy.allowed_runtimes = {"runsc"}; }, "runtimes", State::warn,
         "runsc"},
        {"the clocks differ", [](auto& live, auto&) { live.engines[0].clock_skew_ms = -5'000; },
         "clock", State::warn, "5000 ms behind"},
        {"the clocks differ much",
         [](auto& live, auto&) { live.engines[0].clock_skew_ms = 60'000; }, "clock", State::fail,
         "60000 ms ahead of"},
        {"the disk is low",
         [](auto& live, auto&) {
             live.disk_low = true;
             live.disk_message = "nearly full";
         },
         "disk", State::warn, "nearly full"},
        {"the disk is full", [](auto& live, auto&) { live.disk_full = true; }, "disk", State::fail,
         "are free"},
        {"the sweep is held",
         [](auto& live, auto&) {
             live.sweep_held = true;
             live.sweep_message = "20 of 21";
         },
         "sweep", State::warn, "20 of 21"},
        {"not recovered yet", [](auto& live, auto&) { live.recovered = false; }, "queue",
         State::warn, "first look"},
    };
    for (const Case& c : cases) {
        auto live = healthy();
        store::Policy policy;
        c.change(live, policy);
        bool seen = false;
        for (const Check& check : diagnose({live, policy, "", 0})) {
            if (check.name != c.check) continue;
            seen = true;
            EXPECT_EQ(to_string(check.state), to_string(c.state)) << c.sentence;
            EXPECT_NE(check.found.find(c.found), std::string::npos) << c.sentence << check.found;
            EXPECT_NE(check.fix, "") << c.sentence;
        }
        EXPECT_TRUE(seen) << c.sentence;
    }
}

TEST(Diagnosis, AStoreThatHasFailedIsAFailure) {
    const auto live = healthy();
    const store::Policy policy;
    const auto text = diagnosis_text(diagnose({live, policy, "disk I/O error", 0}), 0);
    EXPECT_NE(text.find("\"healthy\":false"), std::string::npos);
    EXPECT_NE(text.find("disk I/O error"), std::string::npos);
}

}  // namespace
}  // namespace mayfly::api
