// One run that the controller still has to do something about, in memory.
#pragma once

#include <memory>

#include "controller/plan.h"
#include "store/run.h"

namespace mayfly::controller {

struct Live {
    store::RunRecord record;
    Evidence evidence;
    // Given by admission and not yet used: they count as used.
    bool granted_prepare = false;
    bool granted_start = false;
    bool committing = false;  // a mutation of ours is on its way: its answer comes to the driver,
                              // not to the listener
    store::UnixMs known_since_ms = 0;  // to this process
    std::int64_t failures = 0;         // of steps in a row
    std::string last_error;

    [[nodiscard]] bool has_open_attempt() const {
        return record.attempt && record.attempt->stage < store::Stage::ended;
    }
    // Records arrive from two sides (our own commits, the API's): the newer one stays.
    void adopt(const store::RunRecord& newer) {
        if (newer.run.revision > record.run.revision || record.run.id.empty()) {
            const bool new_attempt =
                newer.attempt &&
                (!record.attempt || newer.attempt->number != record.attempt->number);
            record = newer;
            if (new_attempt) evidence = {};
        }
    }
};

using LivePtr = std::shared_ptr<Live>;

}  // namespace mayfly::controller
