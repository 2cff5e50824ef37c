// One line of the log, as text. Pure.
//
// A line is a message, which is a constant of the program, and fields. What comes from outside (an
// engine's error, a name) is only ever a field's value, so that a line can be searched by its
// message, and repeats can be told. Values are cut at kLogValueBytesMax and hold no control byte
// and nothing beyond ASCII: a log shown in a terminal cannot be made to move its cursor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace mayfly::metrics {

enum class LogFormat { logfmt, json };

inline constexpr std::size_t kLogValueBytesMax = 1'000;

struct LogField {
    std::string_view key;
    std::variant<std::string_view, std::int64_t, double, bool> value;

    LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
    LogField(std::string_view name, const char* text) : key(name), value(std::string_view(text)) {}
    LogField(std::string_view name, const std::string& text)
        : key(name), value(std::string_view(text)) {}
    LogField(std::string_view name, double number) : key(name), value(number) {}
    LogField(std::string_view name, bool flag) : key(name), value(flag) {}
    template <class Integer>
        requires std::is_integral_v<Integer>
    LogField(std::string_view name, Integer number)
        : key(name), value(static_cast<std::int64_t>(number)) {}
};

// What follows the time and the level: `msg="..." run=01... ms=1.25` or
// `"msg":"...","run":"01...","ms":1.25`. An empty text is left out. Keys are ours and plain.
[[nodiscard]] std::string log_line(LogFormat format, std::string_view message,
                                   std::span<const LogField> fields);

}  // namespace mayfly::metrics
