#include "tests/sim/shrink.h"

#include <algorithm>

namespace mayfly::sim {
namespace {

class Shrinking {
public:
    Shrinking(const Recipe& failing, std::int64_t replays_max)
        : replays_max_(replays_max), story_{failing, play(failing), 1} {
        story_.recipe.allowed_faults = story_.outcome.fired;
    }

    Story run() {
        if (story_.outcome.good()) return story_;
        without_faults();
        for (bool shorter = true; shorter && left();) {
            shorter = without_each(&Recipe::acts);
            shorter = without_each(&Recipe::crashes) || shorter;
        }
        without_faults();
        return story_;
    }

private:
    [[nodiscard]] bool left() const { return story_.replays < replays_max_; }

    bool try_it(const Recipe& shorter) {
        ++story_.replays;
        auto outcome = play(shorter);
        if (outcome.invariant != story_.outcome.invariant) return false;
        story_.recipe = shorter;
        story_.outcome = std::move(outcome);
        return true;
    }

    template <class T>
    bool without_each(std::vector<T> Recipe::* list) {
        bool shorter = false;
        for (auto at = std::ssize(story_.recipe.*list) - 1; at >= 0 && left(); --at) {
            auto recipe = story_.recipe;
            (recipe.*list).erase((recipe.*list).begin() + at);
            shorter = try_it(recipe) || shorter;
        }
        return shorter;
    }

    // In halves first: most of them never mattered.
    void without_faults() {
        for (auto part = std::ssize(*story_.recipe.allowed_faults); part >= 1; part /= 2) {
            auto at = std::int64_t{0};
            while (at < std::ssize(*story_.recipe.allowed_faults) && left()) {
                auto recipe = story_.recipe;
                auto& sites = *recipe.allowed_faults;
                const auto begin = std::next(sites.begin(), at);
                sites.erase(begin, std::next(begin, std::min(part, std::ssize(sites) - at)));
                if (!try_it(recipe)) at += part;
            }
        }
    }

    std::int64_t replays_max_;
    Story story_;
};

}  // namespace

Story shrink(const Recipe& failing, std::int64_t replays_max) {
    return Shrinking(failing, replays_max).run();
}

std::string tell(const Story& story) {
    const auto& recipe = story.recipe;
    auto text = fmt::format("{} slots, {} ahead, {} work slots{}{}{}\n", recipe.max_running,
                            recipe.prepare_ahead, recipe.engine_work_slots,
                            recipe.live_restore ? ", live-restore" : "",
                            recipe.fresh_database ? ", a new database" : "",
                            recipe.image_ready ? "" : ", no prepared image");
    for (const auto& job : recipe.jobs) {
        const bool is_there = std::ranges::any_of(
            recipe.acts, [&job](const Act& act) { return act.job == job.number; });
        if (!is_there) continue;
        text += fmt::format("  job {}: {} timeout_s={} attempts={}:", job.number, job.image,
                            job.timeout_s, job.max_attempts);
        for (const auto& word : argv_of(job.script)) text += " " + word;
        if (job.webhook_failures >= 0) {
            text += fmt::format("; a webhook for {}, {} tries fail",
                                job.tells_all ? "all events" : "its end", job.webhook_failures);
        }
        text += "\n";
    }
    for (const auto& act : recipe.acts) text += "  act: " + to_string(act) + "\n";
    for (const auto& crash : recipe.crashes) {
        const auto& names = story.outcome.effect_names;
        const bool happened = crash.effect <= std::ssize(names);
        text +=
            fmt::format("  {} {} effect {} ({})\n", crash.power_loss ? "power loss" : "kill -9",
                        to_string(crash.when), crash.effect,
                        happened ? names[static_cast<std::size_t>(crash.effect - 1)] : "never");
    }
    for (const auto& site : story.outcome.fired) text += "  fault: " + site + "\n";
    return text;
}

}  // namespace mayfly::sim
