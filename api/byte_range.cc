#include "api/byte_range.h"

#include <algorithm>

#include "api/query.h"

namespace mayfly::api {
namespace {

std::optional<std::int64_t> digits(std::string_view text) {
    if (text.empty() || text.find_first_not_of("0123456789") != text.npos) return std::nullopt;
    // A position beyond int64 is a position beyond every file.
    return parse_integer(text).value_or(INT64_MAX);
}

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == text.npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

ByteRange parse_range(std::optional<std::string_view> range, std::int64_t size) {
    const ByteRange whole{ByteRange::Kind::whole, 0, size};
    if (!range || !range->starts_with("bytes=")) return whole;
    const std::string_view spec = trimmed(range->substr(6));
    const std::size_t dash = spec.find('-');
    if (dash == spec.npos || spec.find(',') != spec.npos) return whole;
    const auto first = digits(spec.substr(0, dash));
    const auto last = digits(spec.substr(dash + 1));
    const ByteRange unsatisfiable{ByteRange::Kind::unsatisfiable, 0, 0};
    if (dash == 0) {
        if (!last) return whole;
        if (*last == 0 || size == 0) return unsatisfiable;
        const std::int64_t length = std::min(*last, size);
        return {ByteRange::Kind::part, size - length, length};
    }
    const bool open_ended = dash + 1 == spec.size();
    if (!first || (!last && !open_ended)) return whole;
    if (last && *last < *first) return whole;
    if (*first >= size) return unsatisfiable;
    const std::int64_t end = last ? std::min(*last, size - 1) : size - 1;
    return {ByteRange::Kind::part, *first, end - *first + 1};
}

bool if_range_holds(std::optional<std::string_view> if_range, std::string_view etag) {
    return !if_range || trimmed(*if_range) == etag;
}

bool none_match_hits(std::optional<std::string_view> if_none_match, std::string_view etag) {
    if (!if_none_match) return false;
    std::string_view list = *if_none_match;
    if (trimmed(list) == "*") return true;
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        std::string_view tag = trimmed(list.substr(0, comma));
        if (tag.starts_with("W/")) tag.remove_prefix(2);
        if (tag == etag) return true;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

std::string content_disposition(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    const std::string_view name = slash == path.npos ? path : path.substr(slash + 1);
    std::string ascii;
    for (const char c : name) {
        const bool plain = c >= ' ' && c < 0x7F && c != '"' && c != '\\' && c != '%';
        ascii.push_back(plain ? c : '_');
    }
    std::string out = "attachment; filename=\"" + ascii + "\"";
    if (ascii != name) out += "; filename*=UTF-8''" + percent_encode(name);
    return out;
}

}  // namespace mayfly::api
