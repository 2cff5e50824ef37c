// "did you mean `pids`?": which known name a wrong one was probably meant to be. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace mayfly::api {

// The nearest of `known`, or "" when none is near. Case and punctuation count for nothing.
[[nodiscard]] std::string nearest_name(std::string_view wrong,
                                       std::span<const std::string_view> known);
// "; did you mean `pids`?" or "".
[[nodiscard]] std::string did_you_mean(std::string_view wrong,
                                       std::span<const std::string_view> known);

}  // namespace mayfly::api
