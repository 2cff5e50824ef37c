// The files of the status page (api/ui), as they were when this program was built. They are part
// of the program: nothing is read from a disk, and they live as long as the process. Pure.
#pragma once

#include <span>
#include <string_view>

namespace mayfly::api {

struct Asset {
    std::string_view name;          // "app.css": one path segment
    std::string_view content_type;  // as it goes into the header
    std::string_view bytes;
    std::string_view etag;  // with its quotes; another one for other bytes
};

inline constexpr std::string_view kPageName = "index.html";

// Sorted by name.
[[nodiscard]] std::span<const Asset> all_assets();
// Nothing when there is no such file. The name is compared as it is: no folders, no decoding.
[[nodiscard]] const Asset* find_asset(std::string_view name);

}  // namespace mayfly::api
