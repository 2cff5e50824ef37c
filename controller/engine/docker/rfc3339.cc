#include "controller/engine/docker/rfc3339.h"

#include <chrono>
#include <limits>

namespace mayfly::controller::docker {
namespace {

constexpr std::int64_t kNsPerS = 1'000'000'000;

// Reads exactly `width` digits.
std::optional<int> digits(std::string_view& text, std::size_t width) {
    if (text.size() < width) {
        return std::nullopt;
    }
    int value = 0;
    for (const char c : text.substr(0, width)) {
        if (c < '0' || c > '9') {
            return std::nullopt;
        }
        value = value * 10 + (c - '0');
    }
    text.remove_prefix(width);
    return value;
}

bool skip(std::string_view& text, char expected) {
    if (text.empty() || text.front() != expected) {
        return false;
    }
    text.remove_prefix(1);
    return true;
}

// ".123" -> 123'000'000. Go writes up to nine digits; what is finer is dropped.
std::optional<std::int64_t> fraction_ns(std::string_view& text) {
    if (!skip(text, '.')) {
        return 0;
    }
    std::int64_t ns = 0;
    std::int64_t unit = kNsPerS;
    std::size_t count = 0;
    while (count < text.size() && text[count] >= '0' && text[count] <= '9') {
        unit /= 10;
        ns += unit * (text[count] - '0');
        ++count;
    }
    if (count == 0) {
        return std::nullopt;
    }
    text.remove_prefix(count);
    return ns;
}

std::optional<std::int64_t> zone_s(std::string_view text) {
    if (text == "Z") {
        return 0;
    }
    const bool west = !text.empty() && text.front() == '-';
    if (!west && (text.empty() || text.front() != '+')) {
        return std::nullopt;
    }
    text.remove_prefix(1);
    const auto hours = digits(text, 2);
    const bool colon = skip(text, ':');
    const auto minutes = digits(text, 2);
    if (!hours || !colon || !minutes || !text.empty() || *hours > 23 || *minutes > 59) {
        return std::nullopt;
    }
    const std::int64_t offset = *hours * 3'600 + *minutes * 60;
    return west ? -offset : offset;
}

}  // namespace

std::optional<std::int64_t> parse_rfc3339_ns(std::string_view text) {
    const auto year = digits(text, 4);
    const bool dash1 = skip(text, '-');
    const auto month = digits(text, 2);
    const bool dash2 = skip(text, '-');
    const auto day = digits(text, 2);
    const bool mark = skip(text, 'T');
    const auto hour = digits(text, 2);
    const bool colon1 = skip(text, ':');
    const auto minute = digits(text, 2);
    const bool colon2 = skip(text, ':');
    const auto second = digits(text, 2);
    const auto fraction = fraction_ns(text);
    const auto offset_s = zone_s(text);
    const bool whole = year && dash1 && month && dash2 && day && mark && hour && colon1 &&
                       minute && colon2 && second && fraction && offset_s;
    if (!whole || *hour > 23 || *minute > 59 || *second > 60) {
        return std::nullopt;
    }
    const std::chrono::year_month_day date{std::chrono::year(*year),
                                           std::chrono::month(static_cast<unsigned>(*month)),
                                           std::chrono::day(static_cast<unsigned>(*day))};
    if (!date.ok()) {
        return std::nullopt;
    }
    if (*year == 1) {
        return 0;
    }
    const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
    const std::int64_t seconds =
        days * 86'400 + *hour * 3'600 + *minute * 60 + *second - *offset_s;
    constexpr std::int64_t kLargestS = std::numeric_limits<std::int64_t>::max() / kNsPerS - 1;
    if (seconds > kLargestS) {
        return std::numeric_limits<std::int64_t>::max();
    }
    if (seconds < -kLargestS) {
        return std::numeric_limits<std::int64_t>::min();
    }
    return seconds * kNsPerS + *fraction;
}

}  // namespace mayfly::controller::docker
