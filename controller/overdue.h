// What an operator should hear of a run: that it is stuck, or that it failed by our fault. Pure,
// and only for metrics: no decision rests on it.
#pragma once

#include <cstdint>

#include "store/run.h"

namespace mayfly::controller {

enum class Stuck : std::uint8_t { no, preparing, running, harvesting, collecting };

// How far past its own deadline a phase must be; well above every backoff.
inline constexpr std::int64_t kStuckAfterDeadlineMs = 60'000;
// A harvest and a removal have no deadline of their own.
inline constexpr std::int64_t kStuckHarvestMs = 600'000;
inline constexpr std::int64_t kStuckCollectMs = 600'000;

[[nodiscard]] Stuck stuck_in(const store::RunRecord& record, store::UnixMs now_ms);

// The engine's, the image's or ours: neither the script nor its client could have done better.
[[nodiscard]] bool is_our_failure(store::Reason reason);

}  // namespace mayfly::controller
