// Which of the objects that carry our instance id are garbage. Pure.
//
// An object goes only if it is ours by label, and either its run is known and its attempt is over,
// or no record knows its run, it is older than the grace by the engine's own clock, and the brake
// is off. What a plan still works on is the plan's. The brake: when the sweep of the unknown would
// take more than a few and more than a share of all that is ours, a restored or damaged database
// is likelier than that much garbage: nothing unknown is removed until an operator says so.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "controller/engine/facts.h"
#include "store/run.h"

namespace mayfly::controller {

struct SweepSettings {
    std::string instance_id;
    std::int64_t grace_ms = 600'000;        // for objects of unknown runs
    std::int64_t aside_grace_ms = 120'000;  // for probes and build containers left by a crash
    std::int64_t brake_count = 10;
    std::int64_t brake_percent = 50;
    bool dry_run = false;
};

struct OwnedObject {
    enum class Kind { container, volume } kind = Kind::container;
    std::string id;    // container id, or volume name
    std::string name;  // for logs
    std::map<std::string, std::string> labels;
    store::UnixMs created_ms = 0;
    bool in_use = false;  // a volume that some container mounts
};

// What the records say of one run. No entry: no record knows it.
struct KnownRun {
    std::int64_t attempt = 0;   // its current one
    bool attempt_open = false;  // not yet collected: its objects are the plan's
};

struct SweepPlan {
    struct Item {
        OwnedObject object;
        std::string reason;  // for the log
    };
    std::vector<Item> remove;  // containers first
    std::int64_t orphan_containers =
        0;  // unknown to every record, also those still within the grace
    std::int64_t orphan_volumes = 0;
    bool held = false;
    std::string held_message;
    std::vector<OwnedObject> held_back;  // what would have gone
};

[[nodiscard]] SweepPlan plan_sweep(const std::vector<OwnedObject>& objects,
                                   const std::map<std::string, KnownRun>& known,
                                   const SweepSettings& settings, store::UnixMs now_ms);

}  // namespace mayfly::controller
