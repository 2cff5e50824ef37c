// Range, If-Range, If-None-Match and Content-Disposition. Pure. Source: RFC 9110 §§13-14, RFC
// 6266, RFC 8187.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mayfly::api {

struct ByteRange {
    enum class Kind : std::uint8_t { whole, part, unsatisfiable };
    Kind kind = Kind::whole;
    std::int64_t first = 0;
    std::int64_t length = 0;
};

// One range of a thing of `size` bytes. What is absent, malformed or several ranges means the
// whole.
[[nodiscard]] ByteRange parse_range(std::optional<std::string_view> range, std::int64_t size);
// Whether a Range still applies. `etag` is with its quotes; a date never matches, because we send
// none.
[[nodiscard]] bool if_range_holds(std::optional<std::string_view> if_range, std::string_view etag);
// Whether the client has it already (weak comparison; `*` matches).
[[nodiscard]] bool none_match_hits(std::optional<std::string_view> if_none_match,
                                   std::string_view etag);
// "attachment; filename=\"...\"; filename*=UTF-8''..." for the last component of a path.
[[nodiscard]] std::string content_disposition(std::string_view path);

}  // namespace mayfly::api
