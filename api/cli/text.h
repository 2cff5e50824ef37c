// Values as people read them on a terminal: escaped, with units, in columns. Whatever comes from
// scripts or other users (labels, file names, messages) goes through `printable` before it is
// shown, so that no name can move a cursor or colour a line. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mayfly::api::cli {

// Control characters, DEL, C1, direction overrides and bytes that are no UTF-8 come out as \n, \t,
// \x1b or \u{202e}; a backslash stays. With `keep_line_feeds`, line feeds stay too.
[[nodiscard]] std::string printable(std::string_view text, bool keep_line_feeds = false);
// A JSON text with the same meaning in which no control or direction character is raw.
[[nodiscard]] std::string printable_json(std::string_view text);

// Columns that a printable text takes.
[[nodiscard]] std::size_t width_of(std::string_view text);
// At most `columns` wide; what was cut ends in "…".
[[nodiscard]] std::string cut(std::string_view text, std::size_t columns);

[[nodiscard]] std::string show_bytes(std::int64_t bytes);  // "0 B", "1.5 KiB", "3 GiB"
[[nodiscard]] std::string show_duration(std::int64_t ms);  // "61 ms", "1.2 s", "3m05s", "2d4h"
[[nodiscard]] std::string counted(std::int64_t n, std::string_view one);  // "1 file", "2 files"
// "sending [#####...............] 1 MiB of 4 MiB, 25%"
[[nodiscard]] std::string progress_bar(std::string_view doing, std::int64_t done,
                                       std::int64_t total);
// "[#####...............]"
[[nodiscard]] std::string bar(std::int64_t used, std::int64_t total);

// "2026-03-01T12:00:00.123Z" to milliseconds since 1970; nothing for anything else.
[[nodiscard]] std::optional<std::int64_t> parse_rfc3339(std::string_view text);

// "10", "10s", "5m", "2h", "7d" to seconds.
[[nodiscard]] std::optional<std::int64_t> parse_seconds(std::string_view text);
// "10", "10k", "64M", "64MiB", "1GB" to bytes; k, M, G and T are powers of 1024.
[[nodiscard]] std::optional<std::int64_t> parse_bytes(std::string_view text);

enum class Colour { none, dim, bold, red, green, yellow, blue };
// `text` in that colour, when `enabled`.
[[nodiscard]] std::string coloured(bool enabled, Colour colour, std::string_view text);
// The colour of a phase's name.
[[nodiscard]] Colour phase_colour(std::string_view phase);

struct Cell {
    std::string text;  // printable already
    Colour colour = Colour::none;
    bool right = false;
};
using Row = std::vector<Cell>;

// Columns two blanks apart, each as wide as its widest cell; lines without blanks at their end,
// each with a line feed. With `columns` > 0 the last column, then the widest ones, are cut so that
// no line is wider. `head` is bold.
[[nodiscard]] std::string layout(const std::vector<std::string>& head,
                                 const std::vector<Row>& rows, std::size_t columns, bool colours);

}  // namespace mayfly::api::cli
