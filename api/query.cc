#include "api/query.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "api/nearest_name.h"

namespace mayfly::api {
namespace {

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

struct Unit {
    std::string_view suffix;
    std::int64_t ms;
};
// "ms" before "m" and "s": the longer suffix is looked for first.
constexpr std::array<Unit, 4> kUnits = {
    {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}}};

// The length of the UTF-8 sequence at the start of `text`, 0 when there is none.
std::size_t utf8_sequence(std::string_view text) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = at(0);
    if (lead < 0x80) return 1;
    std::size_t length = 0;
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
    }
    if (length == 0 || text.size() < length) return 0;
    if (at(1) < low || at(1) > high) return 0;
    for (std::size_t i = 2; i < length; ++i) {
        if ((at(i) & 0xC0U) != 0x80U) return 0;
    }
    return length;
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = utf8_sequence(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus_is_space) {
            out.push_back(' ');
        } else if (text[i] != '%') {
            out.push_back(text[i]);
        } else {
            if (i + 2 >= text.size()) return std::nullopt;
            const int high = hex_value(text[i + 1]);
            const int low = hex_value(text[i + 2]);
            if (high < 0 || low < 0) return std::nullopt;
            out.push_back(static_cast<char>(high * 16 + low));
            i += 2;
        }
    }
    return out;
}

std::string percent_encode(std::string_view text) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                           (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            out.push_back(c);
        } else {
            out.push_back('%');
            out.push_back(kHex[byte >> 4U]);
            out.push_back(kHex[byte & 15U]);
        }
    }
    return out;
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::int64_t> parse_duration_ms(std::string_view text) {
    for (const Unit& unit : kUnits) {
        if (!text.ends_with(unit.suffix)) continue;
        const std::string_view digits = text.substr(0, text.size() - unit.suffix.size());
        if (digits.empty() || digits.find_first_not_of("0123456789") != digits.npos) return {};
        const auto number = parse_integer(digits);
        if (!number || *number > std::numeric_limits<std::int64_t>::max() / unit.ms) return {};
        return *number * unit.ms;
    }
    return std::nullopt;
}

Query::Query(std::string_view raw, std::vector<std::string_view> known) {
    while (!raw.empty()) {
        const std::size_t end = std::min(raw.find('&'), raw.size());
        const std::string_view part = raw.substr(0, end);
        raw.remove_prefix(std::min(end + 1, raw.size()));
        if (part.empty()) continue;
        const std::size_t equals = std::min(part.find('='), part.size());
        auto name = percent_decode(part.substr(0, equals), true);
        auto value = percent_decode(part.substr(std::min(equals + 1, part.size())), true);
        if (!name || !value || !is_utf8(*name) || !is_utf8(*value)) {
            complain({shown_text(part), "is not percent-encoded UTF-8", {}, {}});
            continue;
        }
        if (name->find('\0') != name->npos || value->find('\0') != value->npos) {
            complain({shown_text(*name), "has a NUL byte in it", {}, {}});
            continue;
        }
        if (std::ranges::find(known, *name) == known.end()) {
            complain({shown_text(*name),
                      "is not a parameter here" + did_you_mean(*name, known),
                      {},
                      {}});
            continue;
        }
        pairs_.emplace_back(std::move(*name), std::move(*value));
    }
}

std::optional<std::string> Query::one(std::string_view name) {
    std::optional<std::string> found;
    for (const auto& [key, value] : pairs_) {
        if (key != name) continue;
        if (found) {
            complain({std::string(name), "comes more than once", std::int64_t{1}, {}});
            break;
        }
        found = value;
    }
    return found;
}

std::vector<std::string> Query::all(std::string_view name) const {
    std::vector<std::string> values;
    for (const auto& [key, value] : pairs_) {
        if (key == name) values.push_back(value);
    }
    return values;
}

std::optional<std::int64_t> Query::integer(std::string_view name, std::int64_t least,
                                           std::int64_t most) {
    const auto text = one(name);
    if (!text) return std::nullopt;
    const auto value = parse_integer(*text);
    if (value && *value >= least && *value <= most) return value;
    complain(
        {std::string(name),
         "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most),
         value && *value < least ? least : most, shown_text(*text)});
    return std::nullopt;
}

std::int64_t Query::wait_ms(std::int64_t max_wait_s) {
    const auto text = one("wait");
    if (!text) return 0;
    const auto value = parse_duration_ms(*text);
    if (!value) {
        complain({"wait",
                  "must be a duration with its unit, like 30s, 500ms or 1m",
                  {},
                  shown_text(*text)});
        return 0;
    }
    if (*value > max_wait_s * 1'000) {
        const std::string limit = std::to_string(max_wait_s) + "s";
        complain({"wait", "must be at most " + limit + "; ask again after it", limit,
                  shown_text(*text)});
        return 0;
    }
    return *value;
}

Problem Query::problem() const {
    std::string detail = "The query has ";
    detail += errors_.size() == 1 ? "a mistake: `" + errors_[0].field + "` " + errors_[0].message
                                  : std::to_string(errors_.size()) + " mistakes; see `errors`";
    return {ProblemType::invalid_query, detail + ".", errors_};
}

}  // namespace mayfly::api
