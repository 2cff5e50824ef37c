// What plan() would do next for one run, and why, in words. Pure, and of no effect: it asks plan()
// itself, so that what is said is what is done.
#pragma once

#include "controller/plan.h"
#include "store/explanation.h"

namespace mayfly::controller {

// Of the fields of an Explanation: headline, saw, action, why, waits_for and until_ms.
[[nodiscard]] store::Explanation explain(const Observation& observation,
                                         const PlanSettings& settings);

}  // namespace mayfly::controller
