#include "tests/sim/scenarios.h"

namespace mayfly::sim {
namespace {

using store::Phase;
using Kind = Act::Kind;

Script busy() {
    Script script;
    script.duration_ms = 50;
    script.seed = 7;
    script.files = 3;
    script.out_bytes = 120;
    script.err_bytes = 30;
    script.writes_result = true;
    return script;
}

Recipe one_run(Script script) {
    Recipe recipe;
    recipe.seed = 42;
    recipe.max_running = 1;
    recipe.image_ready = true;
    recipe.nothing_may_be_lost = true;
    recipe.stability_ticks = 3;
    Job job;
    job.script = script;
    recipe.jobs.push_back(job);
    recipe.acts.push_back({.kind = Kind::submit, .at_ms = 200, .job = 0});
    return recipe;
}

// A script that ends late enough for somebody to do something while it runs.
Script slow() {
    auto script = busy();
    script.duration_ms = 20'000;
    return script;
}

Act when(Kind kind, Phase phase, std::int64_t job = 0, std::int64_t duration_ms = 300) {
    return {.kind = kind,
            .at_ms = 0,
            .job = job,
            .duration_ms = duration_ms,
            .when_phase = true,
            .phase = phase};
}

Scenario cancelled_when(Phase phase) {
    auto recipe = one_run(slow());
    recipe.jobs[0].timeout_s = 60;
    recipe.acts.push_back(when(Kind::cancel, phase));
    const bool is_small = phase == Phase::preparing;
    return {"cancel when " + std::string(store::to_string(phase)), recipe, is_small};
}

Scenario cancelled_in_the_queue() {
    auto recipe = one_run(slow());
    recipe.prepare_ahead = 0;
    recipe.jobs[0].timeout_s = 60;
    Job second;
    second.number = 1;
    second.script = busy();
    recipe.jobs.push_back(second);
    recipe.acts.push_back({.kind = Kind::submit, .at_ms = 400, .job = 1});
    recipe.acts.push_back(when(Kind::cancel, Phase::queued, 1));
    return {"cancel when queued", recipe};
}

Scenario restarted_when(Kind kind, Phase phase, std::int64_t attempts) {
    auto recipe = one_run(slow());
    recipe.jobs[0].timeout_s = 60;
    recipe.jobs[0].max_attempts = attempts;
    recipe.nothing_may_be_lost = false;
    recipe.acts.push_back(when(kind, phase, 0, 2'000));
    auto name =
        std::string(kind == Kind::engine_kill ? "engine killed when " : "engine stopped when ") +
        std::string(store::to_string(phase));
    if (attempts > 1) name = "retry: " + name;
    return {std::move(name), recipe, false, true};
}

std::vector<Scenario> make_scenarios() {
    std::vector<Scenario> all;
    all.push_back({"success", one_run(busy()), true});
    auto script = busy();
    script.exit_code = 3;
    all.push_back({"failure", one_run(script)});
    script = busy();
    script.exec_errno = 2;
    all.push_back({"command not found", one_run(script)});
    script = busy();
    script.out_of_memory = true;
    all.push_back({"out of memory", one_run(script)});
    auto recipe = one_run(slow());
    recipe.jobs[0].timeout_s = 2;
    all.push_back({"timeout", recipe});
    recipe.jobs[0].script.ignores_term = true;
    all.push_back({"timeout of a script that ignores TERM", recipe});

    all.push_back(cancelled_in_the_queue());
    all.push_back(cancelled_when(Phase::preparing));
    all.push_back(cancelled_when(Phase::running));
    all.push_back(cancelled_when(Phase::harvesting));
    for (const auto kind : {Kind::engine_kill, Kind::engine_stop}) {
        for (const auto phase : {Phase::preparing, Phase::running, Phase::harvesting}) {
            all.push_back(restarted_when(kind, phase, 1));
        }
    }
    all.push_back(restarted_when(Kind::engine_kill, Phase::running, 2));

    recipe = one_run(busy());
    recipe.acts.push_back(when(Kind::remove, Phase::succeeded));
    all.push_back({"delete", recipe});
    recipe = one_run(busy());
    recipe.jobs[0].ttl_s = 5;
    all.push_back({"time to live", recipe});
    recipe = one_run(busy());
    recipe.image_ready = false;
    all.push_back({"prepared image", recipe});
    recipe.jobs[0].image = kImageRemote;
    all.push_back({"pull", recipe});
    recipe = one_run(busy());
    recipe.fresh_database = true;
    recipe.image_ready = false;
    all.push_back({"first start", recipe});
    recipe = one_run(busy());
    recipe.jobs[0].webhook_failures = 1;
    recipe.jobs[0].tells_all = true;
    all.push_back({"webhook for all events, told twice", recipe});
    recipe = one_run(busy());
    recipe.jobs[0].webhook_failures = 2;
    recipe.jobs[0].ttl_s = 5;
    all.push_back({"webhook of a run that has gone", recipe});
    recipe = one_run(busy());
    for (std::int64_t i = 1; i < 4; ++i) {
        Job job;
        job.number = i;
        job.script = busy();
        job.script.seed += i;
        recipe.jobs.push_back(job);
        recipe.acts.push_back({.kind = Kind::submit, .at_ms = 200 + i, .job = i});
    }
    recipe.max_running = 2;
    all.push_back({"four runs, two slots", recipe});
    return all;
}

// What a crash may change about an end: nothing but, where a machine or an engine failed as well,
// that it cannot be known (any more).
bool ends_agree(const std::string& undisturbed, const std::string& now, bool may_be_lost) {
    if (undisturbed == now) return true;
    // Where a script may be cut short, a cancel may come too late for it to matter.
    return may_be_lost && (now.find("lost") != std::string::npos ||
                           undisturbed.find("cancelled") != std::string::npos);
}

class Sweeping {
public:
    Sweeping(const Scenario& scenario, std::int64_t worker, std::int64_t workers)
        : scenario_(scenario), worker_(worker), workers_(workers), quiet_(play(scenario.recipe)) {}

    Sweep single() {
        if (!quiet_.good()) {
            sweep_.failures.push_back(fmt::format("{}, undisturbed: {}: {}", scenario_.name,
                                                  quiet_.invariant, quiet_.message));
            return sweep_;
        }
        sweep_.effects = quiet_.effects_until_rest;
        for (std::int64_t at = 1; at <= quiet_.effects_until_rest; ++at) {
            for (const auto when : {CrashWhen::before, CrashWhen::after, CrashWhen::seen}) {
                const auto& name = quiet_.effect_names[static_cast<std::size_t>(at - 1)];
                if (when == CrashWhen::seen && name.find('/') == std::string::npos) continue;
                for (const bool power : {false, true}) try_at({{at, when, power}});
            }
        }
        return sweep_;
    }

    Sweep pairs() {
        if (!quiet_.good()) return single();
        const auto most = quiet_.effects_until_rest;
        for (std::int64_t first = 1; first <= most; ++first) {
            for (std::int64_t second = first + 1; second <= most + 20; ++second) {
                for (const auto when : {CrashWhen::before, CrashWhen::after}) {
                    for (const auto then : {CrashWhen::before, CrashWhen::after}) {
                        try_at({{first, when, false}, {second, then, false}});
                    }
                }
            }
        }
        return sweep_;
    }

private:
    void try_at(std::vector<CrashPoint> points) {
        if (count_++ % workers_ != worker_) return;
        bool power = false;
        std::string where;
        for (const auto& point : points) {
            power = power || point.power_loss;
            where += fmt::format(" --crash {}:{}{}", point.effect, to_string(point.when),
                                 point.power_loss ? ":power" : "");
        }
        auto recipe = scenario_.recipe;
        recipe.crashes = std::move(points);
        if (power) recipe.nothing_may_be_lost = false;
        const auto outcome = play(recipe);
        ++sweep_.histories;
        (power ? sweep_.lost_by_power_loss : sweep_.lost_by_process_crash) += outcome.lost;
        const auto again =
            fmt::format("mayfly-sim --scenario \"{}\"{} --trace", scenario_.name, where);
        if (!outcome.good()) {
            sweep_.failures.push_back(
                fmt::format("{}: {}\n    {}", outcome.invariant, outcome.message, again));
        } else if (!ends_agree(quiet_.ends, outcome.ends, power || scenario_.may_be_lost)) {
            sweep_.failures.push_back(fmt::format("it ended otherwise: {}    and not: {}    {}",
                                                  outcome.ends, quiet_.ends, again));
        }
    }

    const Scenario& scenario_;
    std::int64_t worker_;
    std::int64_t workers_;
    Outcome quiet_;
    Sweep sweep_;
    std::int64_t count_ = 0;
};

}  // namespace

const std::vector<Scenario>& scenarios() {
    static const auto all = make_scenarios();
    return all;
}

Sweep crash_everywhere(const Scenario& scenario, bool pairs, std::int64_t worker,
                       std::int64_t workers) {
    Sweeping sweeping(scenario, worker, workers);
    return pairs ? sweeping.pairs() : sweeping.single();
}

}  // namespace mayfly::sim
