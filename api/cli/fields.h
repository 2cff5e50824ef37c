// Fields of the API's JSON, read without ever throwing: what is absent, null or of another type is
// "not there". A newer or older daemon must not crash its client. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace mayfly::api::cli {

// A JSON text, or a discarded value when it is none. Never throws.
[[nodiscard]] nlohmann::json parse_json(std::string_view text);
// The member, or null.
[[nodiscard]] const nlohmann::json& member(const nlohmann::json& object, std::string_view name);
[[nodiscard]] std::string text_of(const nlohmann::json& object, std::string_view name);
[[nodiscard]] std::optional<std::int64_t> integer_of(const nlohmann::json& object,
                                                     std::string_view name);
[[nodiscard]] bool flag_of(const nlohmann::json& object, std::string_view name);
// On one line; bytes that are no UTF-8 come out as U+FFFD.
[[nodiscard]] std::string to_line(const nlohmann::json& value);

}  // namespace mayfly::api::cli
