#include "metrics/log_line.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace mayfly::metrics {
namespace {

// As a JSON string, which logfmt readers take too.
std::string quoted(std::string_view text) {
    const bool cut = text.size() > kLogValueBytesMax;
    std::string shown(text.substr(0, kLogValueBytesMax));
    if (cut) shown += "...";
    using Handler = nlohmann::json::error_handler_t;
    auto out = nlohmann::json(std::move(shown)).dump(-1, ' ', true, Handler::replace);
    for (auto at = out.find('\x7f'); at != std::string::npos; at = out.find('\x7f', at)) {
        out.replace(at, 1, "\\u007f");
    }
    return out;
}

bool is_bare(std::string_view text) {
    return text.size() <= kLogValueBytesMax && text.find_first_of(" =\"\\") == text.npos &&
           text.find_first_not_of(
               "!#$%&'()*+,-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`"
               "abcdefghijklmnopqrstuvwxyz{|}~") == text.npos;
}

struct Printer {
    LogFormat format;

    std::string operator()(std::string_view text) const {
        if (format == LogFormat::logfmt && is_bare(text)) return std::string(text);
        return quoted(text);
    }
    std::string operator()(std::int64_t number) const { return fmt::to_string(number); }
    std::string operator()(double number) const { return fmt::format("{:.6g}", number); }
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
};

}  // namespace

std::string log_line(LogFormat format, std::string_view message,
                     std::span<const LogField> fields) {
    const bool json = format == LogFormat::json;
    std::string line = (json ? "\"msg\":" : "msg=") + quoted(message);
    for (const auto& field : fields) {
        if (const auto* text = std::get_if<std::string_view>(&field.value); text && text->empty())
            continue;
        const auto value = std::visit(Printer{format}, field.value);
        line += json ? fmt::format(",\"{}\":{}", field.key, value)
                     : fmt::format(" {}={}", field.key, value);
    }
    return line;
}

}  // namespace mayfly::metrics
