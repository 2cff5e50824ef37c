// How a receiver knows that a delivery is ours and is new. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mayfly::controller::webhook {

// "v1=" and the lower-case hex of HMAC-SHA256(secret, "<timestamp_s>.<body>"). The timestamp is
// inside, so that a delivery that was overheard cannot be sent again later under a new one.
[[nodiscard]] std::string sign(std::string_view secret, std::int64_t timestamp_s,
                               std::string_view body);

}  // namespace mayfly::controller::webhook
