#include "api/cli/save_path.h"

namespace mayfly::api::cli {

std::expected<std::vector<std::string>, std::string> split_save_path(std::string_view path) {
    constexpr std::size_t kMaxNameBytes = 255;
    constexpr std::size_t kMaxPathBytes = 4'095;
    if (path.empty()) return std::unexpected("it has no name");
    if (path.starts_with('/')) return std::unexpected("it is absolute");
    if (path.find('\0') != path.npos) return std::unexpected("it has a NUL byte");
    if (path.size() > kMaxPathBytes) return std::unexpected("it has more than 4095 bytes");
    std::vector<std::string> parts;
    while (true) {
        const std::size_t slash = path.find('/');
        const std::string_view part = path.substr(0, slash);
        if (part.empty()) return std::unexpected("a part of it has no name");
        if (part == "..") return std::unexpected("it has `..`");
        if (part == ".") return std::unexpected("it has `.` as a part");
        if (part.size() > kMaxNameBytes)
            return std::unexpected("a part of it has more than 255 bytes");
        parts.emplace_back(part);
        if (slash == path.npos) return parts;
        path.remove_prefix(slash + 1);
    }
}

}  // namespace mayfly::api::cli
