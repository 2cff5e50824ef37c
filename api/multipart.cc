#include "api/multipart.h"

#include <algorithm>

#include "api/query.h"

namespace mayfly::api {
namespace {

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

std::unexpected<Problem> bad(std::string detail) {
    return refuse(ProblemType::invalid_multipart, std::move(detail));
}

// The value of one `name=value` or `name="value"` parameter behind the first `;`. In quotes, `\"`
// and `\\` stand for their second character (curl); a lone backslash stands for itself (browsers).
std::optional<std::string> parameter(std::string_view header, std::string_view wanted) {
    std::size_t at = header.find(';');
    while (at < header.size()) {
        ++at;
        const std::size_t equals = header.find('=', at);
        if (equals == header.npos) return std::nullopt;
        const std::string name = lower(trimmed(header.substr(at, equals - at)));
        at = header.find_first_not_of(" \t", equals + 1);
        if (at == header.npos) return std::nullopt;
        std::string value;
        if (header[at] == '"') {
            for (++at; at < header.size() && header[at] != '"'; ++at) {
                const bool escapes = header[at] == '\\' && at + 1 < header.size() &&
                                     (header[at + 1] == '"' || header[at + 1] == '\\');
                if (escapes) ++at;
                value.push_back(header[at]);
            }
            if (at == header.size()) return std::nullopt;
            at = header.find(';', at);
        } else {
            const std::size_t end = std::min(header.find(';', at), header.size());
            value = trimmed(header.substr(at, end - at));
            at = end;
        }
        if (name == wanted) return value;
    }
    return std::nullopt;
}

// `name*=UTF-8''r%C3%A9sum%C3%A9.txt` (RFC 8187), which some clients send for names that are not
// ASCII.
std::optional<std::string> part_name(std::string_view disposition) {
    if (const auto extended = parameter(disposition, "name*")) {
        const std::size_t quote = extended->rfind('\'');
        if (!lower(*extended).starts_with("utf-8'") || quote == extended->npos)
            return std::nullopt;
        return percent_decode(std::string_view(*extended).substr(quote + 1));
    }
    return parameter(disposition, "name");
}

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string media_type(std::string_view content_type) {
    return lower(trimmed(content_type.substr(0, content_type.find(';'))));
}

std::optional<std::string> multipart_boundary(std::string_view content_type) {
    auto boundary = parameter(content_type, "boundary");
    if (!boundary || boundary->empty() || boundary->size() > kMaxBoundaryBytes)
        return std::nullopt;
    constexpr std::string_view kMarks = "'()+_,-./:=? ";
    const bool fits = boundary->back() != ' ' && std::ranges::all_of(*boundary, [&](char c) {
                          return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                                 (c >= 'A' && c <= 'Z') || kMarks.find(c) != kMarks.npos;
                      });
    return fits ? boundary : std::nullopt;
}

// The body's first boundary has no line break before it; held_ starts with the one it would have.
MultipartParser::MultipartParser(std::string_view boundary, PartSink& sink)
    : delimiter_("\r\n--" + std::string(boundary)), sink_(sink), held_("\r\n") {}

Answer<void> MultipartParser::feed(std::span<const std::byte> bytes) {
    if (state_ == State::epilogue) return {};
    held_.append(text_of(bytes));
    bool progress = true;
    while (progress) {
        progress = false;
        if (auto done = step(progress); !done) return done;
    }
    return {};
}

Answer<void> MultipartParser::finish() {
    if (state_ == State::epilogue) return {};
    return bad("The body ended before its closing boundary.");
}

Answer<void> MultipartParser::step(bool& progress) {
    switch (state_) {
        case State::preamble:
            return take_preamble(progress);
        case State::after_boundary:
            return take_after_boundary(progress);
        case State::part_header:
            return take_header(progress);
        case State::part_body:
            return take_body(progress);
        case State::epilogue:
            held_.clear();
            return {};
    }
    return {};
}

Answer<void> MultipartParser::take_preamble(bool& progress) {
    const std::size_t at = held_.find(delimiter_);
    if (at != held_.npos) {
        held_.erase(0, at + delimiter_.size());
        state_ = State::after_boundary;
        progress = true;
    } else if (held_.size() > kMaxPreambleBytes) {
        return bad("The body does not start with the boundary that Content-Type names.");
    }
    return {};
}

Answer<void> MultipartParser::take_after_boundary(bool& progress) {
    // Transport padding (RFC 2046): blanks between a boundary and the end of its line.
    const std::size_t content = held_.find_first_not_of(" \t");
    held_.erase(0, std::min(content, held_.size()));
    if (held_.size() < 2) return {};
    if (held_.starts_with("--")) {
        state_ = State::epilogue;
    } else if (held_.starts_with("\r\n")) {
        // The header's end is looked for from this line break on, so that a part without a header
        // is seen as one.
        state_ = State::part_header;
    } else {
        return bad("A boundary is followed by something else than the end of its line.");
    }
    progress = true;
    return {};
}

Answer<void> MultipartParser::take_header(bool& progress) {
    constexpr std::string_view kEnd = "\r\n\r\n";
    const std::size_t end = held_.find(kEnd);
    if (end == held_.npos ? held_.size() > kMaxPartHeaderBytes : end > kMaxPartHeaderBytes) {
        return bad("The header of a part may be at most " + std::to_string(kMaxPartHeaderBytes) +
                   " bytes long.");
    }
    if (end == held_.npos) return {};
    const std::string header = held_.substr(0, end + 2);
    held_.erase(0, end + kEnd.size());
    if (auto begun = begin_part(header); !begun) return begun;
    state_ = State::part_body;
    progress = true;
    return {};
}

Answer<void> MultipartParser::begin_part(std::string_view header) {
    std::string disposition;
    while (!header.empty()) {
        const std::size_t end = std::min(header.find("\r\n"), header.size());
        const std::string_view line = header.substr(0, end);
        header.remove_prefix(std::min(end + 2, header.size()));
        const std::size_t colon = line.find(':');
        if (colon == line.npos) {
            if (line.empty()) continue;
            return bad("A line in the header of a part is not `Name: value`.");
        }
        const std::string name = lower(line.substr(0, colon));
        const std::string_view value = trimmed(line.substr(colon + 1));
        if (name == "content-disposition") disposition = value;
        if (name == "content-transfer-encoding") {
            const std::string encoding = lower(value);
            if (encoding != "binary" && encoding != "8bit" && encoding != "7bit") {
                return bad("A part has a Content-Transfer-Encoding; send the bytes as they are.");
            }
        }
    }
    if (media_type(disposition) != "form-data") {
        return bad("A part has no `Content-Disposition: form-data; name=\"...\"`.");
    }
    const auto name = part_name(disposition);
    if (!name || name->empty()) {
        return bad("A part has no name in its Content-Disposition.");
    }
    return sink_.begin_part(*name);
}

Answer<void> MultipartParser::take_body(bool& progress) {
    const std::size_t at = held_.find(delimiter_);
    std::size_t ready = at;
    if (at == held_.npos) {
        // The end may be the beginning of a delimiter.
        ready = held_.size() - std::min(held_.size(), delimiter_.size() - 1);
        const std::size_t lone = held_.find('\r', ready);
        ready = lone == held_.npos ? held_.size() : lone;
    }
    if (ready > 0) {
        const auto bytes = std::as_bytes(std::span(held_.data(), ready));
        if (auto taken = sink_.part_bytes(bytes); !taken) return taken;
    }
    if (at == held_.npos) {
        held_.erase(0, ready);
        return {};
    }
    held_.erase(0, at + delimiter_.size());
    state_ = State::after_boundary;
    progress = true;
    return sink_.end_part();
}

}  // namespace mayfly::api
