#include "api/header_block.h"

#include <algorithm>
#include <string>

namespace mayfly::api {
namespace {

Problem bad(std::string detail) { return {ProblemType::bad_request, std::move(detail)}; }

bool is_token(std::string_view text) {
    constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::ranges::all_of(text, [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               kMarks.find(c) != kMarks.npos;
    });
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == text.npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<Problem> check_request_line(std::string_view line, const HeaderLimits& limits,
                                          bool& is_http_1_1) {
    if (line.size() > limits.max_request_line_bytes) {
        return Problem{ProblemType::uri_too_long,
                       "The request line may be at most " +
                           std::to_string(limits.max_request_line_bytes) + " bytes long."};
    }
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == line.npos || first == last) {
        return bad("The request line must be `METHOD target HTTP/1.1`.");
    }
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(line.substr(0, first)) || target.empty()) {
        return bad("The request line must be `METHOD target HTTP/1.1`.");
    }
    const bool plain = std::ranges::all_of(target, [](char c) { return c > ' ' && c < 0x7F; });
    if (!plain) return bad("The request target must be percent-encoded ASCII.");
    is_http_1_1 = version == "HTTP/1.1";
    if (is_http_1_1 || version == "HTTP/1.0") return std::nullopt;
    if (version.starts_with("HTTP/")) {
        return Problem{ProblemType::http_version, "Speak HTTP/1.1 or HTTP/1.0."};
    }
    return bad("The request line must end in HTTP/1.1 or HTTP/1.0.");
}

// The fields whose repetition or form decides where a message ends and who it is for.
struct Framing {
    int hosts = 0;
    int lengths = 0;
    int encodings = 0;

    std::optional<Problem> take(std::string_view name, std::string_view value) {
        const std::string key = lower(name);
        if (key == "host") ++hosts;
        if (key == "content-length") {
            ++lengths;
            if (value.empty() || value.find_first_not_of("0123456789") != value.npos) {
                return bad("Content-Length must be decimal digits.");
            }
            if (value.size() > 18) {
                return Problem{ProblemType::body_too_large,
                               "Content-Length is larger than anything taken here."};
            }
        }
        if (key == "transfer-encoding") {
            ++encodings;
            if (lower(value) != "chunked") {
                return bad("The only Transfer-Encoding that is taken is `chunked`.");
            }
        }
        return std::nullopt;
    }

    [[nodiscard]] std::optional<Problem> verdict(bool is_http_1_1) const {
        if (lengths > 1) return bad("Content-Length comes more than once.");
        if (encodings > 1) return bad("Transfer-Encoding comes more than once.");
        if (lengths + encodings > 1) {
            return bad("Content-Length and Transfer-Encoding exclude each other.");
        }
        if (encodings > 0 && !is_http_1_1) return bad("HTTP/1.0 has no Transfer-Encoding.");
        if (hosts > 1) return bad("Host comes more than once.");
        if (hosts == 0 && is_http_1_1) return bad("HTTP/1.1 needs a Host header.");
        return std::nullopt;
    }
};

std::optional<Problem> check_field(std::string_view line, Framing& framing) {
    if (line.front() == ' ' || line.front() == '\t') {
        return bad("A header field is folded over two lines.");
    }
    const std::size_t colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) {
        return bad("A header line is not `Name: value`.");
    }
    const std::string_view value = trimmed(line.substr(colon + 1));
    const bool plain = std::ranges::none_of(value, [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return (byte < 0x20 && c != '\t') || byte == 0x7F;
    });
    if (!plain) return bad("A header value has a control character in it.");
    return framing.take(line.substr(0, colon), value);
}

}  // namespace

std::size_t head_size(std::string_view bytes) {
    for (std::size_t at = bytes.find('\n'); at != bytes.npos; at = bytes.find('\n', at + 1)) {
        if (bytes.substr(at + 1).starts_with('\n')) return at + 2;
        if (bytes.substr(at + 1).starts_with("\r\n")) return at + 3;
    }
    return 0;
}

Problem oversized_head(std::string_view bytes, const HeaderLimits& limits) {
    if (bytes.substr(0, limits.max_request_line_bytes).find('\n') == bytes.npos) {
        return {ProblemType::uri_too_long, "The request line may be at most " +
                                               std::to_string(limits.max_request_line_bytes) +
                                               " bytes long."};
    }
    return {
        ProblemType::header_too_large,
        "The header may be at most " + std::to_string(limits.max_header_bytes) + " bytes long."};
}

std::optional<Problem> check_head(std::string_view head, const HeaderLimits& limits) {
    if (head.size() > limits.max_header_bytes) return oversized_head(head, limits);
    bool is_http_1_1 = false;
    std::size_t fields = 0;
    Framing framing;
    for (bool first = true; !head.empty(); first = false) {
        const std::size_t end = head.find('\n');
        if (end == head.npos || end == 0 || head[end - 1] != '\r') {
            return bad("A header line ends without CR LF.");
        }
        const std::string_view line = head.substr(0, end - 1);
        head.remove_prefix(end + 1);
        if (line.find_first_of(std::string_view("\r\0", 2)) != line.npos) {
            return bad("A header line has a bare CR or a NUL in it.");
        }
        if (first) {
            if (auto problem = check_request_line(line, limits, is_http_1_1)) return problem;
            continue;
        }
        if (line.empty()) break;
        if (++fields > limits.max_fields) {
            return Problem{
                ProblemType::header_too_large,
                "The header may have at most " + std::to_string(limits.max_fields) + " fields."};
        }
        if (auto problem = check_field(line, framing)) return problem;
    }
    return framing.verdict(is_http_1_1);
}

}  // namespace mayfly::api
