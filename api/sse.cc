#include "api/sse.h"

#include <array>
#include <nlohmann/json.hpp>

#include "api/query.h"

namespace mayfly::api {
namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string base64(std::string_view bytes) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
        for (std::size_t i = 0; i < 3; ++i) {
            group = group << 8U | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            out += i <= count ? kBase64[group >> (18U - 6U * i) & 63U] : '=';
        }
    }
    return out;
}

// How long the sequence is that this byte begins; 0 = it begins none.
std::size_t sequence_length(unsigned char byte) {
    if (byte < 0x80) return 1;
    if (byte >= 0xC2 && byte <= 0xDF) return 2;
    if (byte >= 0xE0 && byte <= 0xEF) return 3;
    if (byte >= 0xF0 && byte <= 0xF4) return 4;
    return 0;
}

}  // namespace

std::string sse_event(std::string_view name, std::string_view id, std::string_view data) {
    std::string out;
    out.reserve(name.size() + id.size() + data.size() + 32);
    if (!id.empty()) out.append("id: ").append(id).append("\n");
    out.append("event: ").append(name).append("\ndata: ").append(data).append("\n\n");
    return out;
}

std::string log_data(std::string_view stream, std::int64_t offset, std::string_view bytes) {
    nlohmann::json out = {{"stream", stream}, {"offset", offset}};
    if (is_utf8(bytes)) {
        out["text"] = bytes;
    } else {
        out["base64"] = base64(bytes);
    }
    return out.dump();
}

std::size_t whole_characters(std::string_view bytes) {
    const std::size_t looked_at = std::min<std::size_t>(bytes.size(), 3);
    for (std::size_t back = 1; back <= looked_at; ++back) {
        const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
        if ((byte & 0xC0U) == 0x80U) continue;  // the middle of one: look for its beginning
        return sequence_length(byte) > back ? bytes.size() - back : bytes.size();
    }
    return bytes.size();
}

std::string to_text(const LogPlace& place) {
    return std::to_string(place.attempt) + ":" + std::to_string(place.out) + ":" +
           std::to_string(place.err);
}

bool read_place(std::string_view text, LogPlace& place) {
    std::array<std::int64_t, 3> numbers{};
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const std::size_t colon = std::min(text.find(':'), text.size());
        const auto number = parse_integer(text.substr(0, colon));
        if (!number || *number < 0) return false;
        numbers[i] = *number;
        const bool last = i + 1 == numbers.size();
        if (last != (colon == text.size())) return false;
        if (!last) text.remove_prefix(colon + 1);
    }
    place = {numbers[0], numbers[1], numbers[2]};
    return true;
}

}  // namespace mayfly::api
