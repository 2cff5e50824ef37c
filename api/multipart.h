// multipart/form-data, pushed in pieces of any size and handed on without being kept. Pure.
// Source: RFC 7578, RFC 2046 §5.1; names as curl, browsers and Python's requests write them.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/problem.h"

namespace mayfly::api {

inline constexpr std::size_t kMaxPartHeaderBytes = 8 << 10;
inline constexpr std::size_t kMaxPreambleBytes = 4 << 10;
inline constexpr std::size_t kMaxBoundaryBytes = 70;

// The boundary of a Content-Type value, nothing when there is no usable one.
[[nodiscard]] std::optional<std::string> multipart_boundary(std::string_view content_type);
// "Text/Plain; charset=x" -> "text/plain".
[[nodiscard]] std::string media_type(std::string_view content_type);

// Who gets the parts. A refusal stops the parser and is what feed() returns.
class PartSink {
public:
    virtual ~PartSink() = default;
    virtual Answer<void> begin_part(const std::string& name) = 0;
    virtual Answer<void> part_bytes(std::span<const std::byte> bytes) = 0;
    virtual Answer<void> end_part() = 0;
};

class MultipartParser {
public:
    MultipartParser(std::string_view boundary, PartSink& sink);

    // `invalid_multipart`, or what the sink refused. After a failure it must not be fed again.
    Answer<void> feed(std::span<const std::byte> bytes);
    // `invalid_multipart` when the closing boundary has not come.
    Answer<void> finish();

private:
    enum class State { preamble, after_boundary, part_header, part_body, epilogue };

    Answer<void> step(bool& progress);
    Answer<void> take_preamble(bool& progress);
    Answer<void> take_after_boundary(bool& progress);
    Answer<void> take_header(bool& progress);
    Answer<void> take_body(bool& progress);
    Answer<void> begin_part(std::string_view header);

    std::string delimiter_;  // CR LF -- boundary
    PartSink& sink_;
    std::string held_;  // not yet understood; bounded by one piece and one part header
    State state_ = State::preamble;
};

}  // namespace mayfly::api
