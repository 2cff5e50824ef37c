#include "controller/engine/docker/api_version.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace mayfly::controller::docker {
namespace {

constexpr std::size_t kVersionTextMax = 16;

std::optional<int> whole_number(std::string_view text) {
    int value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, ec] = std::from_chars(text.data(), end, value);
    if (text.empty() || ec != std::errc() || stop != end || value < 0) {
        return std::nullopt;
    }
    return value;
}

}  // namespace

std::optional<ApiVersion> parse_api_version(std::string_view text) {
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos || text.size() > kVersionTextMax) {
        return std::nullopt;
    }
    const auto major = whole_number(text.substr(0, dot));
    const auto minor = whole_number(text.substr(dot + 1));
    if (!major || !minor) {
        return std::nullopt;
    }
    return ApiVersion{*major, *minor};
}

std::string to_string(ApiVersion version) {
    return fmt::format("{}.{}", version.major, version.minor);
}

std::expected<ApiVersion, std::string> negotiate(std::string_view server_newest,
                                                 std::string_view server_oldest) {
    const auto newest = parse_api_version(server_newest);
    if (!newest) {
        return std::unexpected(
            "the answer to /_ping has no Api-Version header: is this a Docker Engine?");
    }
    const auto oldest = parse_api_version(server_oldest);
    const ApiVersion chosen = std::min(*newest, kApiNewest);
    if (chosen < kApiOldest) {
        return std::unexpected(
            fmt::format("the engine speaks API {} at most and {} is needed: upgrade the engine to "
                        "Docker 20.10 "
                        "or newer",
                        to_string(*newest), to_string(kApiOldest)));
    }
    if (oldest && chosen < *oldest) {
        return std::unexpected(
            fmt::format("the engine speaks API {} at least and this program {} at most: upgrade "
                        "this program",
                        to_string(*oldest), to_string(kApiNewest)));
    }
    return chosen;
}

}  // namespace mayfly::controller::docker
