// A container engine and what runs on it, as Docker really behaves (facts: measured on 20.10 and
// 26.1, and read in moby's source): start is not idempotent, `created` proves nothing, a removal
// has a middle, a crash rolls back to the last checkpoint, and others use the same engine.
//
// Calls take effect at once and say what the engine would answer; latency, lost answers and late
// effects are SimEngine's. PID 1 is modelled too: claim, deadline, TERM, exit record.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controller/engine/engine.h"
#include "tests/sim/script.h"
#include "tests/sim/world.h"

namespace mayfly::sim {

using controller::ContainerFacts;
using controller::ContainerState;
using controller::ContainerSummary;
using controller::EngineError;
using controller::EngineEvent;
using controller::Reply;
using controller::Sandbox;

// One time that a script really ran.
struct Execution {
    std::string run_id;
    std::string attempt;
    std::string container_id;
    UnixMs began_ms = 0;
    UnixMs ended_ms = 0;  // 0 = it runs
    enum class End : std::uint8_t {
        running,
        natural,
        deadline,
        term,
        killed,
        engine,
        power
    } end = End::running;
    std::int64_t exit_code = 0;
    bool asked = false;          // the last start of its container was the controller's
    bool inputs_whole = false;   // what was PUT is what was submitted
    bool sandbox_whole = false;  // every limit was in force
    bool orphan = false;         // the engine has forgotten that it started it
    UnixMs volume_ms = 0;        // when the volume was made that it ran in
};

class DockerModel {
public:
    struct Volume {
        std::string name;
        std::map<std::string, std::string> labels;
        UnixMs created_ms = 0;
        std::string inputs;  // the bytes of the tar that was PUT
        bool put = false;    // as far as the claim at least
        bool claimed = false;
        UnixMs claimed_ms = 0;
        std::map<std::string, std::string> files;  // under output/
        std::string record;                        // exit.json
        std::string result;
        UnixMs written_ms = 0;  // last, for what a power loss takes
    };
    struct Container {
        std::string id;
        std::string name;
        std::map<std::string, std::string> labels;
        Sandbox sandbox;
        bool is_build = false;
        bool layer_put = false;
        bool limit_dropped = false;  // the engine ignored one
        ContainerState state = ContainerState::created;
        UnixMs created_ms = 0;
        UnixMs started_ms = 0;
        UnixMs finished_ms = 0;
        std::int64_t exit_code = 0;
        bool oom_killed = false;
        std::string error;
        UnixMs checkpoint_ms = 0;  // before that the engine's disk does not know of the start
        UnixMs locked_until_ms = 0;
        std::string out_log;
        std::string err_log;
        std::int64_t process = -1;  // index of executions, while it runs
        bool asked = false;         // last started by the controller
    };
    struct Image {
        std::string id;
        std::string os = "linux";
        std::string arch;
        std::vector<std::string> volumes;
        std::map<std::string, std::string> labels;
        UnixMs created_ms = 0;
        std::set<std::string> names;
    };

    explicit DockerModel(World& world);

    // ---- the API. `asked`: by the controller, not by somebody else
    Reply<controller::CreatedContainer> create(const Sandbox& sandbox, bool drop_limit);
    Reply<controller::CreatedContainer> create_build(const std::string& name,
                                                     const std::string& image,
                                                     std::map<std::string, std::string> labels);
    Reply<ContainerFacts> inspect(const std::string& id_or_name);
    Reply<std::vector<ContainerSummary>> list(const std::string& label, std::int64_t age_ms);
    Reply<controller::StartOutcome> start(const std::string& id, bool asked);
    Reply<controller::KillOutcome> kill(const std::string& id, const std::string& signal,
                                        bool asked);
    // `slowly_ms`: it is `removing` for so long.
    Reply<controller::RemoveOutcome> remove(const std::string& id, bool force,
                                            std::int64_t slowly_ms);
    // `part` of the bytes arrive.
    Reply<void> put(const std::string& id, const std::string& path, std::string_view bytes,
                    bool whole);
    Reply<std::string> get(const std::string& id, const std::string& path);
    Reply<controller::PathStat> stat(const std::string& id, const std::string& path);
    struct Logs {
        std::string out;
        std::string err;
    };
    Reply<Logs> logs(const std::string& id);
    Reply<controller::VolumeFacts> inspect_volume(const std::string& name);
    Reply<std::vector<controller::VolumeFacts>> list_volumes(const std::string& label);
    Reply<controller::RemoveOutcome> remove_volume(const std::string& name);
    Reply<controller::ImageFacts> inspect_image(const std::string& reference);
    Reply<void> pull(const std::string& reference);
    Reply<std::string> commit(const std::string& container_id, const std::string& repository,
                              const std::string& tag, std::map<std::string, std::string> labels);
    Reply<controller::RemoveOutcome> remove_image(const std::string& id);
    Reply<std::vector<controller::ImageFacts>> list_images(const std::string& label);

    Container* find(const std::string& id_or_name);
    void lock(const std::string& id, std::int64_t for_ms);
    [[nodiscard]] UnixMs locked_until(const std::string& id_or_name);

    // ---- the engine's own life
    enum class Health : std::uint8_t { up, down, hung };
    [[nodiscard]] Health health() const { return health_; }
    // Grows with every crash, stop and restart: a call that began in another one is cut.
    [[nodiscard]] std::int64_t epoch() const { return epoch_; }
    void hang(bool hung);
    void stop(bool gracefully);  // TERM or kill -9
    void start_engine();
    void power_loss();
    void set_live_restore(bool on) { live_restore_ = on; }

    // ---- others on the same engine
    void prune();
    void add_foreign(const std::string& name, std::map<std::string, std::string> labels);
    void add_foreign_volume(const std::string& name, std::map<std::string, std::string> labels);
    void add_base_image(const std::string& reference, bool local, bool unsupported);

    // ---- for SimEngine and the oracle
    std::function<void(const EngineEvent&)> on_event;
    std::function<void()> on_epoch;
    std::function<void(const Execution&)> on_execution;  // it begins
    std::function<bool(const std::string& run_id, const std::string& bytes)> inputs_match;
    bool ignores_claim = false;  // PID 1 with a planted fault

    std::map<std::string, Container> containers;  // by id
    std::map<std::string, Volume> volumes;
    std::map<std::string, Image> images;  // by id
    std::map<std::string, Image> registry;
    std::vector<Execution> executions;

private:
    struct Snapshot {
        UnixMs at_ms = 0;
        std::vector<ContainerSummary> rows;
    };
    std::string fresh_id();
    void changed();
    [[nodiscard]] std::vector<ContainerSummary> rows() const;
    void emit(const Container& container, std::string action);
    void run_init(Container& container);
    void end_init(Container& container, std::int64_t code);
    void finish(std::int64_t process, Execution::End end, std::int64_t exit_code,
                std::int64_t signal, bool record, std::string_view tripped, bool from_outside);
    void terminate(Container& container);
    void die(Container& container, std::int64_t exit_code, Execution::End end);
    void drop(const std::string& id);
    std::string tar_of(const Volume& volume) const;

    World& world_;
    Health health_ = Health::up;
    std::int64_t epoch_ = 0;
    std::int64_t last_id_ = 0;
    bool live_restore_ = false;
    std::vector<Snapshot> history_;
};

}  // namespace mayfly::sim
