#include "api/cli/fields.h"

#include <nlohmann/json.hpp>

namespace mayfly::api::cli {

using nlohmann::json;

json parse_json(std::string_view text) { return json::parse(text, nullptr, false); }

const json& member(const json& object, std::string_view name) {
    static const json kNothing;
    if (!object.is_object()) return kNothing;
    const auto at = object.find(std::string(name));
    return at == object.end() ? kNothing : *at;
}

std::string text_of(const json& object, std::string_view name) {
    const json& value = member(object, name);
    return value.is_string() ? value.get<std::string>() : std::string();
}

std::optional<std::int64_t> integer_of(const json& object, std::string_view name) {
    const json& value = member(object, name);
    if (value.is_number_integer()) return value.get<std::int64_t>();
    if (value.is_number_float()) return static_cast<std::int64_t>(value.get<double>());
    return std::nullopt;
}

bool flag_of(const json& object, std::string_view name) {
    const json& value = member(object, name);
    return value.is_boolean() && value.get<bool>();
}

std::string to_line(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace mayfly::api::cli
