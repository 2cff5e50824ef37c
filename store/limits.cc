#include "store/limits.h"

#include <algorithm>

namespace mayfly::store {
namespace {

// Iterative, with one point to fall back to: linear in practice, and no pattern makes it
// exponential.
bool matches(std::string_view pattern, std::string_view text) {
    std::size_t p = 0;
    std::size_t t = 0;
    auto star = std::string_view::npos;
    std::size_t resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace

bool image_allowed(const Policy& policy, std::string_view image) {
    if (policy.allowed_images.empty()) return true;
    return std::ranges::any_of(policy.allowed_images, [image](const std::string& pattern) {
        return matches(pattern, image);
    });
}

}  // namespace mayfly::store
