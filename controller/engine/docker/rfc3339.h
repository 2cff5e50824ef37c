// Go's time.RFC3339Nano, as engines write every timestamp. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mayfly::controller::docker {

// Nanoseconds since 1970-01-01 UTC, with any zone ("Z", "+02:00"). Go's zero time
// ("0001-01-01T00:00:00Z", how engines write "never") is 0; what int64 cannot hold is the nearest
// it can. Nothing = not a timestamp.
[[nodiscard]] std::optional<std::int64_t> parse_rfc3339_ns(std::string_view text);

}  // namespace mayfly::controller::docker
