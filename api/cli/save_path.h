// Where an artifact may be saved: a script chose its path, so it is taken apart and judged before
// any of it reaches a file system. Pure.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace mayfly::api::cli {

// The folders and the name, each a plain file name; else why this path is not saved: it is
// absolute, has `..`, `.`, an empty part, a NUL, or a part that no file system takes.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> split_save_path(
    std::string_view path);

}  // namespace mayfly::api::cli
