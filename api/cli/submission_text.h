// What `mayfly run` sends: its arguments as the API's spec, and the multipart around the files.
// Pure: what is known of local files and of our environment comes in as values.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/cli/options.h"

namespace mayfly::api::cli {

// --file LOCAL[=PATH], taken apart at the last `=`.
struct FileWish {
    std::string local;
    std::string remote;  // below /work
};
[[nodiscard]] std::expected<FileWish, std::string> parse_file_wish(std::string_view text);

// A file that is there.
struct LocalFile {
    std::string local;
    std::string remote;
    std::uint32_t mode = 0;  // permission bits
    std::int64_t size = 0;
    std::string content;  // only for what travels inside of the spec
};
// A part of that name would mean something else, so the file travels inside of the spec.
[[nodiscard]] bool travels_in_spec(std::string_view remote);
inline constexpr std::int64_t kMaxInSpecBytes = 1 << 20;

struct Surroundings {
    std::function<std::optional<std::string>(const std::string&)> variable;  // of our environment
    std::string webhook_secret;
};

// The spec as JSON text, or a sentence about the argument that is wrong. Ranges are checked by
// mayflyd, which knows the operator's.
[[nodiscard]] std::expected<std::string, std::string> make_spec(
    const RunOptions& options, const std::vector<LocalFile>& files, const Surroundings& around);

// ---- multipart/form-data

// Before the bytes of a part; `first`: no line break comes before it.
[[nodiscard]] std::string part_head(std::string_view boundary, std::string_view name, bool first);
[[nodiscard]] std::string multipart_end(std::string_view boundary);

}  // namespace mayfly::api::cli
