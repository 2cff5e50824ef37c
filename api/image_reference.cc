// The grammar of image references (distribution's reference format), for a clear message before
// any engine is asked.
#include <algorithm>

#include "api/submission.h"

namespace mayfly::api {
namespace {

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alnum(char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// [a-z0-9]+ joined by one of `.`, `_`, `__` or any number of `-`.
bool is_path_component(std::string_view part) {
    if (part.empty() || !is_lower_alnum(part.front()) || !is_lower_alnum(part.back()))
        return false;
    for (std::size_t i = 0; i < part.size();) {
        if (is_lower_alnum(part[i])) {
            ++i;
            continue;
        }
        const char separator = part[i];
        std::size_t end = i;
        while (end < part.size() && part[end] == separator) ++end;
        const std::size_t length = end - i;
        const bool fits = (separator == '.' && length == 1) || (separator == '_' && length <= 2) ||
                          separator == '-';
        if (!fits) return false;
        i = end;
        if (i < part.size() && !is_lower_alnum(part[i])) return false;
    }
    return true;
}

bool is_host_part(std::string_view host) {
    const std::size_t colon = host.find(':');
    if (colon != host.npos) {
        const std::string_view port = host.substr(colon + 1);
        if (port.empty() || port.size() > 5) return false;
        if (port.find_first_not_of("0123456789") != port.npos) return false;
    }
    const std::string_view name = host.substr(0, colon);
    if (name.empty() || !is_alnum(name.front()) || !is_alnum(name.back())) return false;
    if (name.find("..") != name.npos) return false;
    return std::ranges::all_of(name, [](char c) { return is_alnum(c) || c == '.' || c == '-'; });
}

// The first component is a host when it could not be anything else.
bool looks_like_host(std::string_view part) {
    return part == "localhost" || part.find_first_of(".:") != part.npos ||
           std::ranges::any_of(part, [](char c) { return c >= 'A' && c <= 'Z'; });
}

std::string name_error(std::string_view name) {
    const std::size_t slash = name.find('/');
    if (slash != name.npos && looks_like_host(name.substr(0, slash))) {
        if (!is_host_part(name.substr(0, slash))) {
            return "has a registry host that is not host or host:port";
        }
        name.remove_prefix(slash + 1);
    }
    while (true) {
        const std::size_t end = name.find('/');
        if (!is_path_component(name.substr(0, end))) {
            return "is not an image reference: the parts of a name are lower-case letters and "
                   "digits, joined by `.`, `_` or `-`";
        }
        if (end == name.npos) return {};
        name.remove_prefix(end + 1);
    }
}

}  // namespace

std::string image_error(std::string_view image) {
    if (image.empty()) return "must name an image";
    if (image.size() > kMaxImageBytes) {
        return "must be at most " + std::to_string(kMaxImageBytes) + " bytes long";
    }
    const std::size_t at = image.find('@');
    if (at != image.npos) {
        constexpr std::string_view kAlgorithm = "sha256:";
        std::string_view digest = image.substr(at + 1);
        const bool fits = digest.starts_with(kAlgorithm) &&
                          digest.size() == kAlgorithm.size() + 64 &&
                          std::ranges::all_of(digest.substr(kAlgorithm.size()), is_hex);
        if (!fits) return "has a digest that is not sha256: and 64 lower-case hex digits";
        image = image.substr(0, at);
    }
    const std::size_t colon = image.rfind(':');
    const std::size_t slash = image.rfind('/');
    if (colon != image.npos && (slash == image.npos || colon > slash)) {
        const std::string_view tag = image.substr(colon + 1);
        const bool starts = !tag.empty() && (is_alnum(tag.front()) || tag.front() == '_');
        const bool fits = starts && tag.size() <= 128 && std::ranges::all_of(tag, [](char c) {
                              return is_alnum(c) || c == '_' || c == '.' || c == '-';
                          });
        if (!fits) return "has a tag that is not 1 to 128 letters, digits, `_`, `.` or `-`";
        image = image.substr(0, colon);
    }
    if (image.empty()) return "must name an image";
    return name_error(image);
}

}  // namespace mayfly::api
