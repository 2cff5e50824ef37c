#include "api/cli/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <limits>

#include "api/query.h"

namespace mayfly::api::cli {
namespace {

// The length of the UTF-8 sequence at `at`, 0 when there is none.
std::size_t sequence_at(std::string_view text, std::size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (at + size > text.size() || !is_utf8(text.substr(at, size))) return 0;
    return size;
}

char32_t decode(std::string_view sequence) {
    const auto lead = static_cast<unsigned char>(sequence[0]);
    if (sequence.size() == 1) return lead;
    char32_t code = lead & (0xFFU >> (sequence.size() + 1));
    for (const char c : sequence.substr(1)) {
        code = code << 6U | (static_cast<unsigned char>(c) & 0x3FU);
    }
    return code;
}

// What would move the cursor, end the line, or turn the direction of what follows.
bool steers(char32_t code) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x200B && code <= 0x200F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
           code == 0xFEFF || (code >= 0xFFF9 && code <= 0xFFFB) || code == 0x061C ||
           (code >= 0xE0000 && code <= 0xE007F);
}

bool is_combining(char32_t code) {
    return (code >= 0x0300 && code <= 0x036F) || (code >= 0x1AB0 && code <= 0x1AFF) ||
           (code >= 0x1DC0 && code <= 0x1DFF) || (code >= 0x20D0 && code <= 0x20FF) ||
           (code >= 0xFE00 && code <= 0xFE0F) || (code >= 0xFE20 && code <= 0xFE2F);
}

bool is_wide(char32_t code) {
    return (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
           (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
           (code >= 0xFE30 && code <= 0xFE6F) || (code >= 0xFF00 && code <= 0xFF60) ||
           (code >= 0xFFE0 && code <= 0xFFE6) || (code >= 0x1F300 && code <= 0x1F64F) ||
           (code >= 0x1F900 && code <= 0x1F9FF) || (code >= 0x20000 && code <= 0x3FFFD);
}

std::size_t code_width(char32_t code) { return is_combining(code) ? 0 : is_wide(code) ? 2 : 1; }

void escape(std::string& out, char32_t code) {
    if (code == '\n') {
        out += "\\n";
    } else if (code == '\t') {
        out += "\\t";
    } else if (code == '\r') {
        out += "\\r";
    } else if (code < 0x80) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned>(code));
    } else {
        out += fmt::format("\\u{{{:04x}}}", static_cast<unsigned>(code));
    }
}

struct Unit {
    std::string_view name;
    std::int64_t size;
};

std::optional<std::int64_t> scaled(std::string_view digits, std::int64_t unit) {
    if (digits.empty() || digits.find_first_not_of("0123456789") != digits.npos) return {};
    const auto number = parse_integer(digits);
    if (!number || *number > std::numeric_limits<std::int64_t>::max() / unit) return {};
    return *number * unit;
}

template <std::size_t N>
std::optional<std::int64_t> with_unit(std::string_view text, const std::array<Unit, N>& units) {
    const std::size_t end = text.find_first_not_of("0123456789");
    if (end == text.npos) return scaled(text, 1);
    for (const Unit& unit : units) {
        if (text.substr(end) == unit.name) return scaled(text.substr(0, end), unit.size);
    }
    return std::nullopt;
}

std::string two_parts(std::int64_t large, char large_unit, std::int64_t small, char small_unit) {
    return fmt::format("{}{}{:02}{}", large, large_unit, small, small_unit);
}

std::vector<std::size_t> column_widths(const std::vector<std::string>& head,
                                       const std::vector<Row>& rows, std::size_t columns) {
    std::vector<std::size_t> widths;
    const auto fold = [&](std::size_t column, std::string_view text) {
        if (widths.size() <= column) widths.resize(column + 1, 0);
        widths[column] = std::max(widths[column], width_of(text));
    };
    for (std::size_t i = 0; i < head.size(); ++i) fold(i, head[i]);
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) fold(i, row[i].text);
    }
    if (columns == 0 || widths.empty()) return widths;
    constexpr std::size_t kLeast = 8;
    const auto total = [&] {
        std::size_t sum = 2 * (widths.size() - 1);
        for (const std::size_t width : widths) sum += width;
        return sum;
    };
    const auto shrink = [&](std::size_t column) {
        const std::size_t over = total() > columns ? total() - columns : 0;
        const std::size_t room = widths[column] > kLeast ? widths[column] - kLeast : 0;
        widths[column] -= std::min(over, room);
    };
    shrink(widths.size() - 1);
    // The first column is a name that one copies: never cut.
    for (std::size_t i = widths.size(); i-- > 1;) shrink(i);
    return widths;
}

}  // namespace

std::string printable(std::string_view text, bool keep_line_feeds) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = sequence_at(text, at);
        if (size == 0) {
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at]));
            ++at;
            continue;
        }
        const std::string_view sequence = text.substr(at, size);
        const char32_t code = decode(sequence);
        if (steers(code) && !(keep_line_feeds && code == '\n')) {
            escape(out, code);
        } else {
            out += sequence;
        }
        at += size;
    }
    return out;
}

std::string printable_json(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = std::max<std::size_t>(1, sequence_at(text, at));
        const std::string_view sequence = text.substr(at, size);
        const char32_t code = decode(sequence);
        const bool blank = code == '\n' || code == '\t' || code == '\r';
        if (size == 1 && static_cast<unsigned char>(text[at]) >= 0x80) {
            out += "\\ufffd";
        } else if (!steers(code) || blank) {
            out += sequence;
        } else if (code < 0x10000) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(code));
        } else {
            const auto rest = static_cast<unsigned>(code) - 0x10000U;
            out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800U + (rest >> 10U),
                               0xDC00U + (rest & 0x3FFU));
        }
        at += size;
    }
    return out;
}

std::size_t width_of(std::string_view text) {
    std::size_t width = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = std::max<std::size_t>(1, sequence_at(text, at));
        width += code_width(decode(text.substr(at, size)));
        at += size;
    }
    return width;
}

std::string cut(std::string_view text, std::size_t columns) {
    if (width_of(text) <= columns) return std::string(text);
    if (columns == 0) return {};
    std::string out;
    std::size_t width = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = std::max<std::size_t>(1, sequence_at(text, at));
        const std::string_view sequence = text.substr(at, size);
        width += code_width(decode(sequence));
        if (width > columns - 1) break;
        out += sequence;
        at += size;
    }
    return out + "…";
}

std::string show_bytes(std::int64_t bytes) {
    constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    if (unit == 0) return fmt::format("{} B", bytes);
    // Nothing after the point where it is zero: "64 MiB", but "1.5 MiB".
    const std::string number = fmt::format("{:.1f}", value);
    const std::string_view shown = number.ends_with(".0")
                                       ? std::string_view(number).substr(0, number.size() - 2)
                                       : std::string_view(number);
    return fmt::format("{} {}", shown, kUnits[unit]);
}

std::string show_duration(std::int64_t ms) {
    ms = std::max<std::int64_t>(0, ms);
    if (ms < 1'000) return fmt::format("{} ms", ms);
    if (ms < 60'000) return fmt::format("{}.{} s", ms / 1'000, ms % 1'000 / 100);
    const std::int64_t seconds = ms / 1'000;
    if (seconds < 3'600) return two_parts(seconds / 60, 'm', seconds % 60, 's');
    if (seconds < 86'400) return two_parts(seconds / 3'600, 'h', seconds % 3'600 / 60, 'm');
    return two_parts(seconds / 86'400, 'd', seconds % 86'400 / 3'600, 'h');
}

std::string counted(std::int64_t n, std::string_view one) {
    return fmt::format("{} {}{}", n, one, n == 1 ? "" : "s");
}

std::string bar(std::int64_t used, std::int64_t total) {
    constexpr std::int64_t kWidth = 20;
    const double share =
        total > 0 ? std::clamp(static_cast<double>(used) / static_cast<double>(total), 0.0, 1.0)
                  : 0;
    const auto full = static_cast<std::size_t>(share * kWidth);
    return "[" + std::string(full, '#') + std::string(kWidth - full, '.') + "]";
}

std::string progress_bar(std::string_view doing, std::int64_t done, std::int64_t total) {
    const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
    const auto percent = static_cast<int>(std::clamp(share, 0.0, 1.0) * 100);
    return fmt::format("{} {} {} of {}, {}%", doing, bar(done, total), show_bytes(done),
                       show_bytes(total), percent);
}

std::optional<std::int64_t> parse_rfc3339(std::string_view text) {
    constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd.dddZ";
    if (text.size() != kShape.size()) return std::nullopt;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool digit = text[i] >= '0' && text[i] <= '9';
        if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return std::nullopt;
    }
    const auto number = [&](std::size_t at, std::size_t size) {
        int value = 0;
        std::from_chars(text.data() + at, text.data() + at + size, value);
        return value;
    };
    const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                          std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                          std::chrono::day(static_cast<unsigned>(number(8, 2)))};
    if (!day.ok() || number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 60) return {};
    const std::int64_t days = std::chrono::sys_days(day).time_since_epoch().count();
    return ((days * 24 + number(11, 2)) * 60 + number(14, 2)) * 60'000 +
           number(17, 2) * std::int64_t{1'000} + number(20, 3);
}

std::optional<std::int64_t> parse_seconds(std::string_view text) {
    constexpr std::array<Unit, 4> kUnits = {{{"s", 1}, {"m", 60}, {"h", 3'600}, {"d", 86'400}}};
    return with_unit(text, kUnits);
}

std::optional<std::int64_t> parse_bytes(std::string_view text) {
    constexpr std::int64_t kK = 1'024;
    constexpr std::array<Unit, 16> kUnits = {{{"k", kK},
                                              {"K", kK},
                                              {"KB", kK},
                                              {"kB", kK},
                                              {"KiB", kK},
                                              {"M", kK * kK},
                                              {"MB", kK * kK},
                                              {"MiB", kK * kK},
                                              {"m", kK * kK},
                                              {"G", kK * kK * kK},
                                              {"GB", kK * kK * kK},
                                              {"GiB", kK * kK * kK},
                                              {"g", kK * kK * kK},
                                              {"T", kK * kK * kK * kK},
                                              {"TiB", kK * kK * kK * kK},
                                              {"B", 1}}};
    return with_unit(text, kUnits);
}

std::string coloured(bool enabled, Colour colour, std::string_view text) {
    if (!enabled || colour == Colour::none) return std::string(text);
    constexpr std::array<int, 7> kCodes = {0, 2, 1, 31, 32, 33, 34};
    return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<std::size_t>(colour)], text);
}

Colour phase_colour(std::string_view phase) {
    if (phase == "succeeded") return Colour::green;
    if (phase == "running" || phase == "harvesting") return Colour::blue;
    if (phase == "queued" || phase == "preparing") return Colour::none;
    if (phase == "cancelled") return Colour::yellow;
    return Colour::red;
}

std::string layout(const std::vector<std::string>& head, const std::vector<Row>& rows,
                   std::size_t columns, bool colours) {
    const std::vector<std::size_t> widths = column_widths(head, rows, columns);
    std::string out;
    const auto put = [&](const Row& row) {
        std::string line;
        std::size_t owed = 0;  // blanks that are only written if something comes behind them
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string text = cut(row[i].text, widths[i]);
            const std::size_t pad = widths[i] - width_of(text);
            if (row[i].right) owed += pad;
            if (!text.empty()) {
                line.append(owed, ' ');
                line += coloured(colours, row[i].colour, text);
                owed = 0;
            }
            owed += (row[i].right ? 0 : pad) + 2;
        }
        out += line + "\n";
    };
    if (!head.empty()) {
        Row titles;
        for (std::size_t i = 0; i < head.size(); ++i) {
            const bool right = !rows.empty() && i < rows[0].size() && rows[0][i].right;
            titles.push_back({head[i], Colour::bold, right});
        }
        put(titles);
    }
    for (const Row& row : rows) put(row);
    return out;
}

}  // namespace mayfly::api::cli
