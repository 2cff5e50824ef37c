// One simulated history: a machine, an engine, clients, everybody who disturbs them, and the
// controller living and dying in the middle. Phases: safety (faults on) -> heal -> liveness
// (everything ends, nothing is left) -> stability (nothing more is done).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/process.h"

namespace mayfly::sim {

// Something that somebody does at a time, or when a run first reaches a phase.
struct Act {
    enum class Kind : std::uint8_t {
        submit,       // job
        cancel,       // job
        remove,       // job, when it is terminal
        crash,        // kill -9; back after duration_ms
        power_loss,   // of the machine, the engine's too
        restart,      // SIGTERM, and a new one
        engine_kill,  // back after duration_ms
        engine_stop,
        engine_hang,
        admin_remove,  // docker rm -f of a container of ours
        admin_kill,
        admin_stop,  // docker stop: TERM
        admin_start,
        admin_prune,
        admin_remove_volume,
        foreign_name,    // somebody takes the name that job's first container will have
        foreign_labels,  // somebody's container has labels like ours, and another instance
        remove_images,   // docker image prune -a
        disk_low,        // for duration_ms
        second_daemon,   // tries to start on the same data directory
        orphan,          // a container and a volume of ours that no record knows (an old backup)
        foreign_mount,   // somebody's container holds a volume of ours, for duration_ms
        admin_run,       // docker start of a container of ours, and docker rm -f after duration_ms
    } kind = Kind::submit;
    std::int64_t at_ms = 0;  // since the beginning; with `when`, after that moment
    std::int64_t job = -1;
    std::int64_t duration_ms = 0;
    // Wait until `job` is there (terminal: when it has ended).
    bool when_phase = false;
    store::Phase phase = store::Phase::queued;
};
inline constexpr std::size_t kActCount = 23;
[[nodiscard]] std::string to_string(const Act& act);

struct Recipe {
    std::uint64_t seed = 1;
    std::vector<Job> jobs;
    std::vector<Act> acts;
    std::vector<CrashPoint> crashes;
    std::int64_t max_running = 2;
    std::int64_t prepare_ahead = 1;
    std::int64_t engine_work_slots = 2;
    bool faults = false;
    bool live_restore = false;
    bool fresh_database = false;
    bool nothing_may_be_lost = false;
    std::int64_t stability_ticks = 10;
    std::optional<std::set<std::string>> allowed_faults;  // nothing: all
    bool image_ready = false;  // an earlier life has prepared the local image
};

struct Outcome {
    std::string invariant;  // "" = all hold
    std::string message;
    std::string ends;
    std::uint64_t trace_hash = 0;
    std::int64_t effects = 0;
    std::int64_t effects_until_rest = 0;  // what a crash can be put at
    std::vector<std::string> effect_names;
    std::int64_t lives = 0;
    std::int64_t runs = 0;
    std::int64_t lost = 0;
    std::int64_t scripts = 0;
    std::int64_t virtual_ms = 0;
    std::set<std::string, std::less<>> probes;
    std::set<std::string> fired;
    std::vector<DockerModel::Image> prepared;

    [[nodiscard]] bool good() const { return invariant.empty(); }
};

// What a seed's history consists of.
[[nodiscard]] Recipe recipe_of(std::uint64_t seed);
[[nodiscard]] Outcome play(const Recipe& recipe, bool trace = false);

}  // namespace mayfly::sim
