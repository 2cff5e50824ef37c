// Lines out of pieces, in bounded memory: for streams of one JSON text a line. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace mayfly::controller::docker {

class LineSplitter {
public:
    // Longer lines are skipped whole and counted.
    explicit LineSplitter(std::size_t line_bytes_max) : line_bytes_max_(line_bytes_max) {}

    // Calls `on_line` for each line that is whole now and not blank, without its end; returning
    // false stops, and what is left of `bytes` is dropped.
    void feed(std::span<const std::byte> bytes,
              const std::function<bool(std::string_view line)>& on_line);
    // Bytes of a line that has no end (yet).
    [[nodiscard]] std::string_view rest() const { return line_; }
    [[nodiscard]] std::int64_t skipped() const { return skipped_; }

private:
    std::size_t line_bytes_max_;
    std::string line_;
    bool skipping_ = false;
    std::int64_t skipped_ = 0;
};

}  // namespace mayfly::controller::docker
