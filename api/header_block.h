// The bytes of a request's head, checked before a parser sees them. What two parsers could read in
// two ways is refused, not mended: that is what request smuggling lives on. Pure. Source: RFC
// 9112.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "api/problem.h"

namespace mayfly::api {

struct HeaderLimits {
    std::size_t max_request_line_bytes = 8 << 10;
    std::size_t max_header_bytes = 16 << 10;  // request line included
    std::size_t max_fields = 100;
};

// How many bytes of `bytes` are a whole head with its empty line, 0 when more must come. Also
// takes bare line feeds as line ends, so that check_head can say what is wrong instead of waiting
// for ever.
[[nodiscard]] std::size_t head_size(std::string_view bytes);
// What is wrong with a head; nothing when it is one that we serve.
[[nodiscard]] std::optional<Problem> check_head(std::string_view head, const HeaderLimits& limits);
// What is wrong with more than `limits` of bytes that hold no whole head.
[[nodiscard]] Problem oversized_head(std::string_view bytes, const HeaderLimits& limits);

}  // namespace mayfly::api
