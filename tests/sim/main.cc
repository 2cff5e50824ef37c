// mayfly-sim: simulated histories of a controller and its engine, checked step by step.
#include <fmt/format.h>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tests/sim/planted.h"
#include "tests/sim/probes.h"
#include "tests/sim/revision.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/shrink.h"

namespace mayfly::sim {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

constexpr std::int64_t kShrinkReplays = 400;
constexpr std::size_t kFailuresKept = 20;
constexpr std::uint64_t kTwiceEvery = 50;  // of the seeds, to compare their traces

struct Options {
    std::uint64_t seeds = 1'000;
    std::uint64_t from = 0;
    double for_seconds = 0;
    std::int64_t jobs = 1;
    std::string scenario;
    std::vector<std::string> crashes;
    bool trace = false;
    bool crash_points = false;
    bool pairs = false;
    bool probes = false;
    bool list = false;
    std::string mutant;
};

double seconds_since(steady_clock::time_point began) {
    return std::chrono::duration<double>(steady_clock::now() - began).count();
}

// Forks `workers`, and reads the one line of JSON that each of them leaves.
std::vector<json> fan_out(std::int64_t workers, const std::function<json(std::int64_t)>& work) {
    if (workers <= 1) return {work(0)};
    std::vector<std::pair<pid_t, FILE*>> children;
    for (std::int64_t worker = 0; worker < workers; ++worker) {
        int ends[2];
        if (pipe(ends) != 0) std::abort();
        const auto pid = fork();
        if (pid == 0) {
            close(ends[0]);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            const auto text = work(worker).dump();
            for (std::size_t at = 0; at < text.size();) {
                const auto put = write(ends[1], text.data() + at, text.size() - at);
                if (put <= 0) _exit(1);
                at += static_cast<std::size_t>(put);
            }
            _exit(0);
        }
        close(ends[1]);
        children.emplace_back(pid, fdopen(ends[0], "r"));
    }
    std::vector<json> results;
    for (const auto& [pid, file] : children) {
        std::string text;
        char piece[4096];
        while (const auto got = std::fread(piece, 1, sizeof piece, file)) text.append(piece, got);
        std::fclose(file);
        int status = 0;
        waitpid(pid, &status, 0);
        auto result = json::parse(text, nullptr, false);
        if (status != 0 || result.is_discarded()) {
            result = {{"died", true}};
            fmt::print("a worker died (status {})\n", status);
        }
        results.push_back(std::move(result));
    }
    return results;
}

std::int64_t sum(const std::vector<json>& results, const char* name) {
    std::int64_t total = 0;
    for (const auto& result : results) total += result.value(name, std::int64_t{0});
    return total;
}

// ---- seeds

json play_seeds(const Options& options, std::int64_t worker) {
    const auto began = steady_clock::now();
    auto seeds = std::int64_t{0};
    auto runs = std::int64_t{0};
    auto scripts = std::int64_t{0};
    auto lives = std::int64_t{0};
    auto effects = std::int64_t{0};
    auto lost = std::int64_t{0};
    auto calm_runs = std::int64_t{0};
    std::set<std::string, std::less<>> probes;
    auto failures = json::array();
    const auto step = static_cast<std::uint64_t>(options.jobs);
    for (auto seed = options.from + static_cast<std::uint64_t>(worker);; seed += step) {
        if (options.for_seconds > 0) {
            if (seconds_since(began) > options.for_seconds) break;
        } else if (seed >= options.from + options.seeds) {
            break;
        }
        const auto recipe = recipe_of(seed);
        const auto outcome = play(recipe, options.trace);
        ++seeds;
        runs += outcome.runs;
        scripts += outcome.scripts;
        lives += outcome.lives;
        effects += outcome.effects;
        lost += outcome.lost;
        if (recipe.nothing_may_be_lost) calm_runs += outcome.runs;
        probes.insert(outcome.probes.begin(), outcome.probes.end());
        if (!outcome.good()) {
            if (failures.size() < kFailuresKept) {
                failures.push_back({{"seed", seed},
                                    {"invariant", outcome.invariant},
                                    {"message", outcome.message}});
            }
            if (!options.mutant.empty()) break;
        } else if (seed % kTwiceEvery == 0 && play(recipe).trace_hash != outcome.trace_hash) {
            failures.push_back({{"seed", seed},
                                {"invariant", "determinism"},
                                {"message", "told twice, the history is not the same"}});
        }
        if (worker == 0 && isatty(STDERR_FILENO) && seeds % 100 == 0) {
            fmt::print(stderr, "\r{} seeds, {:.0f} s ", seeds * options.jobs,
                       seconds_since(began));
        }
    }
    return {{"seeds", seeds},     {"runs", runs},     {"scripts", scripts},
            {"lives", lives},     {"lost", lost},     {"calm_runs", calm_runs},
            {"effects", effects}, {"probes", probes}, {"failures", failures}};
}

void explain(std::uint64_t seed) {
    const auto story = shrink(recipe_of(seed), kShrinkReplays);
    fmt::print("\nseed {} at revision {}: {}: {}\n{}", seed, kRevision, story.outcome.invariant,
               story.outcome.message, tell(story));
    fmt::print("see it: mayfly-sim --seeds 1 --from {} --trace   ({} replays to make it short)\n",
               seed, story.replays);
}

int report_probes(const std::set<std::string, std::less<>>& hit) {
    auto missed = 0;
    for (const auto name : kProbes) {
        const bool there = hit.contains(name);
        if (!there) ++missed;
        fmt::print("{:<7} {}\n", there ? "hit" : "MISSED", name);
    }
    fmt::print("{} of {} named branches hit\n",
               std::size(kProbes) - static_cast<std::size_t>(missed), std::size(kProbes));
    return missed == 0 ? 0 : 1;
}

int run_seeds(Options options) {
    if (options.from == 0) {
        options.from =
            static_cast<std::uint64_t>(
                std::chrono::system_clock::now().time_since_epoch().count() / 1'000'000) *
            1'000;
    }
    fmt::print("from seed {}, revision {}\n", options.from, kRevision);
    std::fflush(stdout);
    const auto began = steady_clock::now();
    const auto results =
        fan_out(options.jobs, [&](std::int64_t worker) { return play_seeds(options, worker); });
    const auto took = seconds_since(began);
    std::set<std::string, std::less<>> probes;
    auto failures = json::array();
    auto died = 0;
    for (const auto& result : results) {
        if (result.contains("died")) {
            ++died;
            continue;
        }
        for (const auto& probe : result["probes"]) probes.insert(probe.get<std::string>());
        for (const auto& failure : result["failures"]) failures.push_back(failure);
    }
    fmt::print(
        "{} seeds in {:.1f} s ({:.0f}/s): {} runs, {} scripts ran, {} lives, {} side effects\n"
        "lost {} ({:.3f} % of all runs; of {} runs where only the controller failed: 0 or a "
        "violation)\n"
        "{} violations\n",
        sum(results, "seeds"), took, static_cast<double>(sum(results, "seeds")) / took,
        sum(results, "runs"), sum(results, "scripts"), sum(results, "lives"),
        sum(results, "effects"), sum(results, "lost"),
        100.0 * static_cast<double>(sum(results, "lost")) /
            static_cast<double>(std::max<std::int64_t>(1, sum(results, "runs"))),
        sum(results, "calm_runs"), failures.size());
    for (const auto& failure : failures) {
        fmt::print("seed {}: {}: {}\n", failure["seed"].get<std::uint64_t>(),
                   failure["invariant"].get<std::string>(), failure["message"].get<std::string>());
    }
    if (!failures.empty() && options.mutant.empty())
        explain(failures[0]["seed"].get<std::uint64_t>());
    const auto missed = options.probes ? report_probes(probes) : 0;
    return failures.empty() && died == 0 && missed == 0 ? 0 : 1;
}

// ---- scenarios

int run_crash_points(const Options& options) {
    auto failed = 0;
    fmt::print("{:<42} {:>8} {:>10} {:>13} {:>12} {:>8}\n", "scenario", "effects", "histories",
               "lost: killed", "lost: power", "wrong");
    for (const auto& scenario : scenarios()) {
        if (!options.scenario.empty() && options.scenario != scenario.name) continue;
        for (const bool pairs : {false, true}) {
            if (pairs && (!options.pairs || !scenario.pairs)) continue;
            const auto results = fan_out(options.jobs, [&](std::int64_t worker) -> json {
                const auto sweep = crash_everywhere(scenario, pairs, worker, options.jobs);
                return {{"effects", sweep.effects},
                        {"histories", sweep.histories},
                        {"process", sweep.lost_by_process_crash},
                        {"power", sweep.lost_by_power_loss},
                        {"failures", sweep.failures}};
            });
            std::vector<std::string> failures;
            for (const auto& result : results) {
                if (result.contains("died")) failures.emplace_back("a worker died");
                for (const auto& failure : result.value("failures", json::array())) {
                    failures.push_back(failure.get<std::string>());
                }
            }
            fmt::print("{:<42} {:>8} {:>10} {:>13} {:>12} {:>8}\n",
                       scenario.name + (pairs ? ", pairs" : ""),
                       results[0].value("effects", std::int64_t{0}), sum(results, "histories"),
                       sum(results, "process"), sum(results, "power"), failures.size());
            std::fflush(stdout);
            for (std::size_t i = 0; i < std::min<std::size_t>(3, failures.size()); ++i) {
                fmt::print("    {}\n", failures[i]);
            }
            if (!failures.empty()) ++failed;
        }
    }
    return failed == 0 ? 0 : 1;
}

// "12:after:power"
CrashPoint parse_crash(const std::string& text) {
    CrashPoint point;
    point.effect = std::stoll(text);
    if (text.find(":after") != std::string::npos) point.when = CrashWhen::after;
    if (text.find(":seen") != std::string::npos) point.when = CrashWhen::seen;
    point.power_loss = text.ends_with(":power");
    return point;
}

int run_scenario(const Options& options) {
    for (const auto& scenario : scenarios()) {
        if (scenario.name != options.scenario) continue;
        auto recipe = scenario.recipe;
        for (const auto& crash : options.crashes) recipe.crashes.push_back(parse_crash(crash));
        const auto outcome = play(recipe, options.trace);
        fmt::print("{}{} side effects, {} lives, trace {:016x}\n", outcome.ends, outcome.effects,
                   outcome.lives, outcome.trace_hash);
        if (!outcome.good()) fmt::print("{}: {}\n", outcome.invariant, outcome.message);
        return outcome.good() ? 0 : 1;
    }
    fmt::print(stderr, "mayfly-sim: no scenario \"{}\"; --list names them\n", options.scenario);
    return 2;
}

// A history is played on one thread, and opens dozens of databases: memory that goes back to the
// kernel after each, and SQLite's locks and statistics, were a third of its time.
void be_fast() {
    constexpr int kKeepBytes = 1 << 30, kMmapBytesMax = 1 << 25;
    mallopt(M_TRIM_THRESHOLD, kKeepBytes);
    mallopt(M_MMAP_THRESHOLD, kMmapBytesMax);
    mallopt(M_TOP_PAD, 1 << 26);
    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int run(int argc, char** argv) {
    CLI::App app("Plays simulated histories of mayflyd and an engine, and checks every step");
    Options options;
    app.add_option("--seeds", options.seeds, "how many histories");
    app.add_option("--from", options.from, "the first seed; 0: one of today's");
    app.add_option("--for-seconds", options.for_seconds, "as many seeds as fit into this time");
    app.add_option("--jobs", options.jobs, "worker processes")->check(CLI::Range(1, 64));
    app.add_option("--scenario", options.scenario, "play this one; --list names them");
    app.add_option("--crash", options.crashes, "in the scenario: N:before|after|seen[:power]");
    app.add_flag("--crash-points", options.crash_points,
                 "crash every scenario (or the one named) at every side effect");
    app.add_flag("--pairs", options.pairs, "and the smallest ones at every two of them");
    app.add_flag("--probes", options.probes, "list which rare branches were hit");
    app.add_flag("--trace", options.trace, "say everything that happens");
    app.add_flag("--list", options.list, "name the scenarios");
    app.add_option("--mutant", options.mutant, "plant this fault (mayfly-sim-mutants only)");
    CLI11_PARSE(app, argc, argv);
    spdlog::set_level(options.trace ? spdlog::level::debug : spdlog::level::off);
    planted_name = options.mutant;
    be_fast();
    if (options.list) {
        for (const auto& scenario : scenarios()) fmt::print("{}\n", scenario.name);
        return 0;
    }
    if (options.crash_points) return run_crash_points(options);
    if (!options.scenario.empty()) return run_scenario(options);
    return run_seeds(options);
}

}  // namespace
}  // namespace mayfly::sim

int main(int argc, char** argv) { return mayfly::sim::run(argc, argv); }
