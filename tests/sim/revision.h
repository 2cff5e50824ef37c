// From what this program was built: "17b64b7", "17b64b7-dirty" when the work tree had changes, or
// "unknown" where there is no git. With a seed, all that is needed to see a history again.
#pragma once

namespace mayfly::sim {

extern const char* const kRevision;

}  // namespace mayfly::sim
