// Which version of the Docker Engine API is spoken. Pure.
//
// No single version serves every engine: 20.10 ends at 1.41, 29.0 starts at 1.44. So each
// connection to an engine is negotiated: the newest that both sides know.
#pragma once

#include <compare>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace mayfly::controller::docker {

struct ApiVersion {
    int major = 0;
    int minor = 0;
    auto operator<=>(const ApiVersion&) const = default;
};

// The oldest that has everything a sandbox is verified by (CgroupnsMode): Docker 20.10, 2020.
inline constexpr ApiVersion kApiOldest{1, 41};
// The newest whose replies this code was written against.
inline constexpr ApiVersion kApiNewest{1, 45};

// "1.41"; anything else is nothing.
[[nodiscard]] std::optional<ApiVersion> parse_api_version(std::string_view text);
[[nodiscard]] std::string to_string(ApiVersion version);

// `server_newest`: the ping's Api-Version header. `server_oldest`: MinAPIVersion of /version; ""
// when the engine does not say. The error is for people and says which side must be upgraded.
[[nodiscard]] std::expected<ApiVersion, std::string> negotiate(std::string_view server_newest,
                                                               std::string_view server_oldest);

}  // namespace mayfly::controller::docker
