#include "controller/engine/docker/target.h"

#include <nlohmann/json.hpp>

namespace mayfly::controller::docker {
namespace {

bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '.' || c == '_' || c == '~';
}

std::string encode_but(std::string_view text, std::string_view kept) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        if (is_unreserved(c) || kept.find(c) != std::string_view::npos) {
            out += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += kHex[byte >> 4];
        out += kHex[byte & 0xf];
    }
    return out;
}

// Never throws on bytes that are not UTF-8: a filter that matches nothing is the right answer.
std::string encoded(const nlohmann::json& filters) {
    return encode(filters.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

std::string encode(std::string_view text) { return encode_but(text, ""); }

std::string encode_reference(std::string_view reference) { return encode_but(reference, "/:@"); }

std::string label_filter(std::string_view label) {
    nlohmann::json filters;
    filters["label"].push_back(label);
    return encoded(filters);
}

std::string container_event_filter(std::string_view label) {
    nlohmann::json filters;
    filters["label"].push_back(label);
    filters["type"].push_back("container");
    return encoded(filters);
}

PullReference split_reference(std::string_view reference) {
    std::string_view digest;
    if (const std::size_t at = reference.find('@'); at != std::string_view::npos) {
        digest = reference.substr(at + 1);
        reference = reference.substr(0, at);
    }
    std::string_view tag = "latest";
    const std::size_t colon = reference.rfind(':');
    // A colon before the last slash is a registry's port.
    if (colon != std::string_view::npos && reference.find('/', colon) == std::string_view::npos) {
        tag = reference.substr(colon + 1);
        reference = reference.substr(0, colon);
    }
    return {.name = std::string(reference),
            .tag = std::string(!digest.empty() ? digest
                               : tag.empty()   ? "latest"
                                               : tag)};
}

}  // namespace mayfly::controller::docker
