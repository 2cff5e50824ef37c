// JSON as the API takes it: one value, valid UTF-8, no duplicate keys, no NUL in any string,
// bounded depth. A parser that is lenient here turns a typo into a run without its limit. Pure.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "api/problem.h"

namespace mayfly::api {

inline constexpr std::size_t kMaxJsonDepth = 32;

// `invalid_json`; the detail says where and why.
[[nodiscard]] Answer<nlohmann::json> read_strict_json(std::string_view text);

}  // namespace mayfly::api
