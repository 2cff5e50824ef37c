#include "controller/archive/entry_name.h"

#include <array>
#include <utility>

namespace mayfly::controller {
namespace {

constexpr std::string_view kRoot = "output";
constexpr unsigned char kDelete = 0x7f;

struct Utf8Form {
    unsigned char lead_mask;
    unsigned char lead_bits;
    std::size_t length;
    char32_t smallest;  // a smaller code point in this length is an overlong form
};
constexpr std::array<Utf8Form, 4> kForms = {{
    {0x80, 0x00, 1, 0},
    {0xe0, 0xc0, 2, 0x80},
    {0xf0, 0xe0, 3, 0x800},
    {0xf8, 0xf0, 4, 0x10000},
}};

bool is_surrogate(char32_t point) { return point >= 0xd800 && point <= 0xdfff; }
bool is_control(char32_t point) { return point < 0x20 || (point >= kDelete && point < 0xa0); }

// Length of the printable UTF-8 character at the start of `text`; 0 when there is none.
std::size_t printable_length(std::string_view text) {
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    for (const Utf8Form& form : kForms) {
        if ((byte(0) & form.lead_mask) != form.lead_bits) continue;
        if (text.size() < form.length) return 0;
        auto point = static_cast<char32_t>(byte(0) & static_cast<unsigned char>(~form.lead_mask));
        for (std::size_t i = 1; i < form.length; ++i) {
            if ((byte(i) & 0xc0) != 0x80) return 0;
            point = point << 6 | (byte(i) & 0x3f);
        }
        const bool valid = point >= form.smallest && point <= 0x10ffff && !is_surrogate(point);
        return valid && !is_control(point) ? form.length : 0;
    }
    return 0;
}

bool is_printable(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = printable_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

// -1: a component that no artifact may have.
std::int64_t count_components(std::string_view path) {
    std::int64_t count = 0;
    for (;;) {
        const std::size_t slash = path.find('/');
        const std::string_view component = path.substr(0, slash);
        if (component.empty() || component == "." || component == "..") return -1;
        ++count;
        if (slash == std::string_view::npos) return count;
        path.remove_prefix(slash + 1);
    }
}

}  // namespace

EntryName judge_entry_name(std::string_view raw, std::int64_t path_bytes, std::int64_t depth) {
    std::string_view path = raw;
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    if (path == kRoot || path == ".") return {.path = path, .reason = "", .is_root = true};
    // One of the two, once: output/output/x is the file output/x of the folder output/.
    if (path.starts_with("./")) {
        path.remove_prefix(2);
    } else if (path.starts_with(kRoot) && path[kRoot.size()] == '/') {
        path.remove_prefix(kRoot.size() + 1);
    } else {
        return {.path = path, .reason = "bad_name"};
    }
    const std::int64_t components = count_components(path);
    if (components < 0 || !is_printable(path)) return {.path = path, .reason = "bad_name"};
    if (std::cmp_greater(path.size(), path_bytes))
        return {.path = path, .reason = "path_too_long"};
    if (components > depth) return {.path = path, .reason = "too_deep"};
    return {.path = path, .reason = ""};
}

std::string readable_entry_name(std::string_view raw, std::size_t most) {
    static constexpr std::string_view kDigits = "0123456789ABCDEF";
    static constexpr std::string_view kCut = "...";
    std::string readable;
    while (!raw.empty()) {
        const std::size_t length = printable_length(raw);
        std::string piece(raw.substr(0, length));
        if (length == 0) {
            const auto byte = static_cast<unsigned char>(raw[0]);
            piece = {'%', kDigits[byte >> 4], kDigits[byte & 0xf]};
        }
        if (readable.size() + piece.size() + kCut.size() > most) return readable.append(kCut);
        readable += piece;
        raw.remove_prefix(length == 0 ? 1 : length);
    }
    return readable;
}

}  // namespace mayfly::controller
