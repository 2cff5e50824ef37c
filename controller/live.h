// One run that the controller still has to do something about, in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>

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
    std::string last_error;
    // The last engine step, for the line that says what was decided after it.
    std::string_view last_step;
    double last_step_ms = 0;
    // Failed steps since everything that failed has worked, or the run moved on. A look that works
    // says nothing of the removal that failed before it: a run in "look, fail, look, fail" backs
    // off.
    std::int64_t failures = 0;

    [[nodiscard]] bool has_open_attempt() const {
        return record.attempt && record.attempt->stage < store::Stage::ended;
    }
    // `kind` is the Action's index.
    void step_failed(std::size_t kind) {
        ++failures;
        failing_kinds |= std::uint32_t{1} << kind;
    }
    void step_worked(std::size_t kind) {
        failing_kinds &= ~(std::uint32_t{1} << kind);
        if (failing_kinds == 0) failures = 0;
    }
    void moved_on() { failures = failing_kinds = 0; }

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

    std::uint32_t failing_kinds = 0;  // a bit for each kind of step that last failed
};
static_assert(std::variant_size_v<Action> <= 32);

using LivePtr = std::shared_ptr<Live>;

}  // namespace mayfly::controller
