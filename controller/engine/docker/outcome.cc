#include "controller/engine/docker/outcome.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace mayfly::controller::docker {
namespace {

using Kind = EngineError::Kind;
using Verdict = Judgement::Verdict;

Judgement failed(Kind kind) { return {Verdict::failed, kind}; }

Kind kind_of(Fault fault) {
    switch (fault) {
        case Fault::unreachable:
            return Kind::unreachable;
        case Fault::timeout:
            return Kind::timeout;
        case Fault::cut:
            return Kind::cut;
        case Fault::local:
            return Kind::local;
        case Fault::protocol:
        case Fault::none:
            break;
    }
    return Kind::protocol;
}

// Length of the UTF-8 sequence at the start of `text`; 0 = it is none. Overlong forms, surrogates
// and what is above U+10FFFF are none.
std::size_t utf8_length(std::string_view text) {
    const auto at = [text](std::size_t i) {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const auto is_tail = [&at](std::size_t i) { return (at(i) & 0xc0U) == 0x80U; };
    const unsigned lead = at(0);
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf && is_tail(1)) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef && is_tail(1) && is_tail(2)) {
        const bool overlong = lead == 0xe0 && at(1) < 0xa0;
        const bool surrogate = lead == 0xed && at(1) > 0x9f;
        return overlong || surrogate ? 0 : 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4 && is_tail(1) && is_tail(2) && is_tail(3)) {
        const bool overlong = lead == 0xf0 && at(1) < 0x90;
        const bool too_high = lead == 0xf4 && at(1) > 0x8f;
        return overlong || too_high ? 0 : 4;
    }
    return 0;
}

}  // namespace

Judgement judge(CallKind call, int http_status, Fault fault) {
    // Our own side failed, or nothing went out: whatever else is known does not matter.
    if (fault == Fault::local || fault == Fault::unreachable) {
        return failed(kind_of(fault));
    }
    const bool is_2xx = http_status >= 200 && http_status < 300;
    if (http_status == 0 || is_2xx) {
        const bool done = is_2xx && fault == Fault::none;
        return done ? Judgement{Verdict::done, Kind::protocol} : failed(kind_of(fault));
    }
    const bool already = (call == CallKind::start && http_status == 304) ||
                         (call == CallKind::kill && (http_status == 404 || http_status == 409)) ||
                         (call == CallKind::remove && http_status == 404);
    if (already) {
        return {Verdict::already, Kind::protocol};
    }
    if (http_status >= 500) {
        return failed(Kind::server);
    }
    if (http_status == 404) {
        return failed(Kind::not_found);
    }
    if (http_status == 409) {
        return failed(Kind::conflict);
    }
    // 1xx and 3xx: nobody asked to continue, to upgrade or to go elsewhere.
    return failed(http_status >= 400 ? Kind::rejected : Kind::protocol);
}

std::string plain_text(std::string_view text) {
    constexpr std::string_view kMore = "...";
    std::string out;
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const auto first = static_cast<unsigned char>(text.front());
        const bool printable = length > 1 || (length == 1 && first >= 0x20 && first != 0x7f);
        const std::string piece =
            printable ? std::string(text.substr(0, length)) : fmt::format("\\x{:02x}", first);
        if (out.size() + piece.size() + kMore.size() > kMessageBytesMax) {
            return out + std::string(kMore);
        }
        out += piece;
        text.remove_prefix(printable ? length : 1);
    }
    return out;
}

std::string error_message(std::string_view body, int http_status) {
    while (!body.empty() && (body.back() == '\n' || body.back() == '\r' || body.back() == ' ')) {
        body.remove_suffix(1);
    }
    if (body.empty()) {
        return fmt::format("HTTP {} without a word", http_status);
    }
    const nlohmann::json said = nlohmann::json::parse(body, nullptr, false);
    if (said.is_object()) {
        const auto found = said.find("message");
        if (found != said.end() && found->is_string()) {
            return plain_text(found->get_ref<const std::string&>());
        }
    }
    return plain_text(body);
}

bool is_version_refusal(int http_status, std::string_view message) {
    return http_status == 400 && message.find("client version") != std::string_view::npos;
}

}  // namespace mayfly::controller::docker
