// What each Mutation does to a record, as a pure function: the rules of mutation.h in code. The
// database applies it and writes the difference; its triggers hold the same rules a second time.
#pragma once

#include "store/error.h"
#include "store/mutation.h"
#include "store/run.h"

namespace mayfly::store {

// The record after `mutation`, with a revision one higher; the same record with the same revision
// when the mutation changes nothing. `conflict` when the record is not where the mutation starts
// from, `invalid` when the mutation itself makes no sense. Of a FinishRun's artifacts only count
// and bytes are in the record.
[[nodiscard]] Result<RunRecord> advance(RunRecord record, const Mutation& mutation);

// The same for what the API asks. Tombstoned: `not_found`.
[[nodiscard]] Result<RunRecord> advance_cancel(RunRecord record, UnixMs now_ms);
[[nodiscard]] Result<RunRecord> advance_delete(RunRecord record, UnixMs now_ms);

}  // namespace mayfly::store
