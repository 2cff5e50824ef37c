// Knows what must be true (the invariants of ARCHITECTURE.md, I1 to I24) and looks at everything:
// each committed record and event, each call to the engine, each script that begins, each webhook
// that is sent, each database after a crash.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "store/database.h"
#include "tests/sim/disk.h"
#include "tests/sim/docker_model.h"
#include "tests/sim/job.h"
#include "tests/sim/receivers.h"

namespace mayfly::sim {

struct OracleSettings {
    std::int64_t max_running = 1;
    std::int64_t orphan_grace_ms = 60'000;
    // Nothing but the controller's own crashes disturbs this history: nothing may be lost.
    bool nothing_may_be_lost = false;
    // No call to the engine goes wrong, or takes effect after it was given up.
    bool calls_are_whole = false;
};

class Oracle {
public:
    Oracle(World& world, DiskState& disk, DockerModel& model, const Receivers& receivers,
           OracleSettings settings);

    // Somebody else touched what belongs to this run; "": perhaps to every run.
    void disturbed(const std::string& run_id) { disturbed_.insert(run_id); }
    void power_was_lost() { ++power_losses_; }
    [[nodiscard]] const std::string& instance() const { return instance_; }

    void expect(const Job& job) { jobs_[job.number] = &job; }
    void set_instance(std::string id) { instance_ = std::move(id); }

    // The client heard that its run is accepted.
    void accepted(const Job& job);
    // A process committed it, and knows.
    void committed(const store::RunRecord& record);
    // The controller is about to do this to the engine.
    void touches(std::string_view call, const std::string& target);
    // Somebody was told of this event, the first one behind those that were read before.
    void heard(const store::Event& event);
    [[nodiscard]] store::EventFilter unread_events() const;
    // A script begins.
    void begins(const Execution& execution);
    // A process has just opened the database, or the history is over.
    void opened(store::Database& database);
    // Everything must be quiet now.
    void at_rest();

    [[nodiscard]] bool inputs_match(const std::string& run_id, const std::string& bytes) const;
    [[nodiscard]] bool all_settled() const;
    // Every event that a receiver is to be told of was told, or given up.
    [[nodiscard]] bool all_told() const { return first_untold() == nullptr; }
    [[nodiscard]] const std::map<std::string, store::RunRecord>& records() const {
        return records_;
    }
    [[nodiscard]] std::int64_t lost() const { return lost_; }
    // How every job ended, for comparison with another history.
    [[nodiscard]] std::string ends() const;
    void note_inputs(const std::string& run_id, std::string sha256) {
        inputs_[run_id] = std::move(sha256);
    }

private:
    void check_owned(std::string_view call, const std::string& target);
    void check_container_removal(const DockerModel::Container& container);
    void check_volume_removal(const DockerModel::Volume& volume);
    void check_step(const store::RunRecord& before, const store::RunRecord& after);
    void check_end(const store::RunRecord& record);
    void check_events(store::Database& database, const std::vector<store::Run>& runs);
    void check_story(const store::Event* before, const store::Event& event);
    [[nodiscard]] bool is_to_be_told(const store::Event& event) const;
    [[nodiscard]] const store::Event* first_untold() const;
    void check_kept(store::Database& database, const store::Run& run);
    // Something besides the controller happened to it: its end may be unknowable.
    [[nodiscard]] bool has_excuse(const std::string& run_id) const;
    [[nodiscard]] const Job* job_of(const std::string& run_id) const;
    [[nodiscard]] const Execution* last_execution(const store::RunRecord& record) const;

    World& world_;
    DiskState& disk_;
    DockerModel& model_;
    const Receivers& receivers_;
    OracleSettings settings_;
    std::string instance_;
    std::map<std::int64_t, const Job*> jobs_;
    std::map<std::string, std::int64_t> job_by_key_;
    std::map<std::string, store::RunRecord> records_;  // newest that a process has heard of
    std::map<std::string, std::string> inputs_;        // run -> sha256 of its tar
    std::vector<store::Event> events_;  // that somebody has read; the first one is 1
    std::map<std::string, store::Event> last_events_;  // by run
    std::set<std::string> accepted_;
    std::set<std::string> removed_;  // purged, by wish or by age
    std::set<std::string> disturbed_;
    std::int64_t power_losses_ = 0;
    std::int64_t lost_ = 0;
};

}  // namespace mayfly::sim
