// Names in an untrusted archive: strings to judge and to show, never paths on our disk. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mayfly::controller {

struct EntryName {
    std::string_view
        path;  // relative to output/, without a slash at the end; a part of what was judged
    std::string_view reason;  // why it cannot be an artifact's; "" = it can
    bool is_root = false;     // output/ itself
};

// `raw` is "output/..." (GET path=/work/output) or "./..." (path=/work/output/.). Reasons:
// "bad_name" (not valid UTF-8, control bytes, absolute, empty or dot components, outside output/),
// "path_too_long", "too_deep".
[[nodiscard]] EntryName judge_entry_name(std::string_view raw, std::int64_t path_bytes,
                                         std::int64_t depth);

// For people: control bytes and what is not valid UTF-8 percent-encoded, cut to `most` bytes with
// "..." at the end.
[[nodiscard]] std::string readable_entry_name(std::string_view raw, std::size_t most);

}  // namespace mayfly::controller
