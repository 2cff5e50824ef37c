#include "api/diagnosis.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "store/clock.h"

namespace mayfly::api {
namespace {

using State = Check::State;

// The engine's clock against ours: a run's times come from both.
constexpr std::int64_t kSkewWarnMs = 2'000;
constexpr std::int64_t kSkewFailMs = 30'000;

std::string join(const std::vector<std::string>& texts) {
    std::string out;
    for (const std::string& text : texts) {
        if (!out.empty()) out += "; ";
        out += text;
    }
    return out;
}

bool any_contains(const std::vector<std::string>& texts, std::string_view part) {
    return std::ranges::any_of(
        texts, [part](const std::string& text) { return text.find(part) != text.npos; });
}

std::string gib(std::int64_t bytes) {
    const std::int64_t tenths = bytes * 10 / (1LL << 30);
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " GiB";
}

Check engine_check(const store::EngineStatus& engine) {
    if (engine.up) {
        return {"engine", State::ok,
                "It answers at " + engine.endpoint + ", since " + store::rfc3339(engine.since_ms) +
                    ".",
                ""};
    }
    return {"engine", State::fail, engine.error,
            "Start the engine (systemctl status docker), or set --docker-host to where it "
            "listens. mayflyd's user must be allowed to use the socket (its group). Runs wait "
            "meanwhile, nothing is lost."};
}

Check version_check(const store::EngineStatus& engine) {
    if (engine.version.empty()) {
        return {"engine_version", State::warn, "The engine has not answered yet.", ""};
    }
    return {"engine_version", State::ok,
            "Version " + engine.version + " on " + engine.os_arch + ", kernel " + engine.kernel +
                "; API " + engine.api_version + ".",
            ""};
}

// An engine that cannot enforce one of them says so in its warnings; a run is not started then.
Check limits_check(const store::EngineStatus& engine) {
    std::vector<std::string> missing;
    for (const std::string& warning : engine.warnings) {
        const bool of_a_limit =
            warning.find("limit") != warning.npos || warning.find("cpu cfs") != warning.npos ||
            warning.find("cpu shares") != warning.npos || warning.find("cgroup") != warning.npos;
        if (of_a_limit) missing.push_back(warning);
    }
    if (missing.empty()) {
        return {"sandbox_limits", State::ok,
                "The engine says nothing against memory, swap, CPU and pids limits; each is read "
                "back before every start.",
                ""};
    }
    return {"sandbox_limits", State::fail, "The engine says: " + join(missing),
            "A run whose limits the engine drops is not started (SandboxUnverified). Enable the "
            "cgroup controllers: on Debian, `cgroup_enable=memory swapaccount=1` on the kernel's "
            "command line, or boot with cgroup v2; then restart the engine."};
}

Check cgroups_check(const store::EngineStatus& engine) {
    if (engine.cgroup_version.empty()) {
        return {"cgroups", State::warn, "The engine does not say which cgroup version it uses.",
                ""};
    }
    return {"cgroups", State::ok,
            "Version " + engine.cgroup_version + "; storage driver " + engine.storage_driver + ".",
            ""};
}

Check security_check(const store::EngineStatus& engine) {
    const auto& options = engine.security_options;
    if (options.empty()) {
        return {"security", State::warn, "The engine does not say what confines its containers.",
                ""};
    }
    if (!any_contains(options, "seccomp")) {
        return {"security", State::fail, "The engine has no seccomp: " + join(options),
                "Use a kernel and an engine with seccomp; without it a script can try every "
                "system call."};
    }
    if (!any_contains(options, "apparmor") && !any_contains(options, "selinux")) {
        return {"security", State::warn, "Neither AppArmor nor SELinux is on: " + join(options),
                "Install apparmor and restart the engine, for a second wall around every script."};
    }
    return {"security", State::ok, join(options) + ".", ""};
}

Check runtimes_check(const store::EngineStatus& engine, const store::Policy& policy) {
    std::vector<std::string> missing;
    for (const std::string& runtime : policy.allowed_runtimes) {
        if (std::ranges::find(engine.runtimes, runtime) == engine.runtimes.end()) {
            missing.push_back(runtime);
        }
    }
    if (missing.empty() || engine.version.empty()) {
        return {"runtimes", State::ok,
                "The engine has " + join(engine.runtimes) + "; default " + engine.default_runtime +
                    ".",
                ""};
    }
    return {"runtimes", State::warn, "Allowed, but not on the engine: " + join(missing),
            "Install the runtime and name it in the engine's daemon.json, or take it out of "
            "--allowed-runtimes."};
}

Check clock_check(const store::EngineStatus& engine) {
    if (!engine.clock_skew_ms) {
        return {"clock", State::warn, "The engine's clock is not known yet.", ""};
    }
    const std::int64_t skew_ms = *engine.clock_skew_ms;
    const std::string found = "The engine's clock is " + std::to_string(std::abs(skew_ms)) +
                              " ms " + (skew_ms < 0 ? "behind" : "ahead of") +
                              " mayflyd's (at most, with the answer's way).";
    const std::string fix = "Run NTP (chrony, systemd-timesyncd) on both hosts.";
    if (std::abs(skew_ms) >= kSkewFailMs) return {"clock", State::fail, found, fix};
    if (std::abs(skew_ms) >= kSkewWarnMs) return {"clock", State::warn, found, fix};
    return {"clock", State::ok, found, ""};
}

Check disk_check(const store::LiveStatus& live) {
    const std::string found = gib(live.disk_free_bytes) +
                              " are free where the runs are kept; admission is held below " +
                              gib(live.disk_low_bytes) + ", submissions are refused below " +
                              gib(live.disk_full_bytes) + ".";
    const std::string fix =
        "Free space on the data directory's disk, delete runs (mayfly rm), or "
        "shorten their ttl_s.";
    if (live.disk_full) return {"disk", State::fail, found + " " + live.disk_message, fix};
    if (live.disk_low) return {"disk", State::warn, found + " " + live.disk_message, fix};
    if (live.disk_free_bytes == 0) {
        return {"disk", State::warn, "The disk has not been looked at yet.", ""};
    }
    return {"disk", State::ok, found, ""};
}

Check queue_check(const store::LiveStatus& live) {
    const std::string found = std::to_string(live.queued) + " queued, " +
                              std::to_string(live.run_slots_used) + " of " +
                              std::to_string(live.run_slots) + " run slots used.";
    if (!live.recovered) {
        return {"queue", State::warn, found + " The first look at the engine is not done.",
                "Wait for the engine: nothing is decided before what is there was seen."};
    }
    if (live.draining) {
        return {"queue", State::warn, found + " The daemon is stopping.",
                "Nothing is lost: runs go on and are adopted at the next start."};
    }
    return {"queue", State::ok, found, ""};
}

}  // namespace

std::string_view to_string(State state) {
    switch (state) {
        case State::ok:
            return "ok";
        case State::warn:
            return "warn";
        case State::fail:
            break;
    }
    return "fail";
}

std::vector<Check> diagnose(const Patient& patient) {
    const store::LiveStatus& live = patient.live;
    std::vector<Check> checks;
    if (live.engines.empty()) {
        checks.push_back({"engine", State::fail, "No engine is known yet.",
                          "Wait a moment after the start; then look at the daemon's log."});
    }
    for (const store::EngineStatus& engine : live.engines) {
        checks.push_back(engine_check(engine));
        checks.push_back(version_check(engine));
        checks.push_back(limits_check(engine));
        checks.push_back(cgroups_check(engine));
        checks.push_back(security_check(engine));
        checks.push_back(runtimes_check(engine, patient.policy));
        checks.push_back(clock_check(engine));
    }
    checks.push_back(disk_check(live));
    if (patient.store_failure.empty()) {
        checks.push_back({"store", State::ok, "It takes and gives.", ""});
    } else {
        checks.push_back({"store", State::fail, std::string(patient.store_failure),
                          "Look at the disk and the daemon's log, then restart mayflyd: it "
                          "recovers what was committed."});
    }
    checks.push_back(queue_check(live));
    if (live.sweep_held) {
        checks.push_back({"sweep", State::warn, live.sweep_message,
                          "The sweep would remove more than a few of our objects at once and "
                          "waits for you: see SweepHeld in the operator's guide."});
    } else {
        checks.push_back({"sweep", State::ok, "Nothing holds it.", ""});
    }
    return checks;
}

std::string diagnosis_text(const std::vector<Check>& checks, store::UnixMs now_ms) {
    nlohmann::json list = nlohmann::json::array();
    for (const Check& check : checks) {
        nlohmann::json fix = nullptr;
        if (!check.fix.empty()) fix = check.fix;
        list.push_back({{"name", check.name},
                        {"state", to_string(check.state)},
                        {"found", check.found},
                        {"fix", std::move(fix)}});
    }
    const bool healthy =
        std::ranges::all_of(checks, [](const Check& check) { return check.state != State::fail; });
    const nlohmann::json out = {{"healthy", healthy},
                                {"version", MAYFLY_VERSION},
                                {"now", store::rfc3339(now_ms)},
                                {"checks", std::move(list)}};
    return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace mayfly::api
