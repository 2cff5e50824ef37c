// PID 1's own exit codes, before it ran anything (contract: controller/init/init_image.h).
#pragma once

#include <cstdint>

namespace mayfly::controller {

inline constexpr std::int64_t kInitClaimTaken = 86;
inline constexpr std::int64_t kInitBadVolume = 87;
inline constexpr std::int64_t kInitBadFlags = 88;

}  // namespace mayfly::controller
