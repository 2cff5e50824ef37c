#include "api/nearest_name.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace mayfly::api {
namespace {

constexpr std::size_t kMaxComparedBytes = 64;
constexpr std::size_t kTooFar = 1'000;

std::string plain(std::string_view name) {
    std::string out;
    for (const char c : name) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte) != 0) out.push_back(static_cast<char>(std::tolower(byte)));
    }
    return out;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row[b.size()];
}

// Small is near. A shared beginning of three letters ("pid" of "pidLimit" and "pids") is near
// enough.
std::size_t distance(const std::string& wrong, const std::string& known) {
    const std::size_t edits = edit_distance(wrong, known);
    if (edits <= std::max<std::size_t>(1, std::min(wrong.size(), known.size()) / 3)) return edits;
    const auto [end, _] = std::ranges::mismatch(wrong, known);
    const auto shared = static_cast<std::size_t>(end - wrong.begin());
    if (shared >= 3 && shared + 1 >= known.size()) return 100 - shared;
    if (shared >= 4) return 200 - shared;
    return kTooFar;
}

}  // namespace

std::string nearest_name(std::string_view wrong, std::span<const std::string_view> known) {
    if (wrong.empty() || wrong.size() > kMaxComparedBytes) return {};
    const std::string wanted = plain(wrong);
    std::size_t best = kTooFar;
    std::string_view found;
    for (const std::string_view name : known) {
        const std::size_t here = distance(wanted, plain(name));
        if (here < best) {
            best = here;
            found = name;
        }
    }
    return std::string(found);
}

std::string did_you_mean(std::string_view wrong, std::span<const std::string_view> known) {
    const std::string near = nearest_name(wrong, known);
    return near.empty() ? std::string() : "; did you mean `" + near + "`?";
}

}  // namespace mayfly::api
