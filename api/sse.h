// Server-sent events as text (HTML Living Standard, "Server-sent events"), and the bytes of a log
// as JSON for them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mayfly::api {

// `data` is one line. An empty `id` leaves the receiver's last one as it is.
[[nodiscard]] std::string sse_event(std::string_view name, std::string_view id,
                                    std::string_view data);
// Nothing to say, still here.
inline constexpr std::string_view kSseKeepAlive = ": keep-alive\n\n";

// {"stream":"stdout","offset":0,"text":"..."}; "base64" instead of "text" when the bytes are not
// UTF-8.
[[nodiscard]] std::string log_data(std::string_view stream, std::int64_t offset,
                                   std::string_view bytes);
// How much of `bytes` is there without a UTF-8 sequence at its end that more bytes could complete:
// a piece that was cut in the middle of a character is sent up to there.
[[nodiscard]] std::size_t whole_characters(std::string_view bytes);

// Where a follower of both streams is: "<attempt>:<stdout offset>:<stderr offset>".
struct LogPlace {
    std::int64_t attempt = 0;
    std::int64_t out = 0;
    std::int64_t err = 0;
    bool operator==(const LogPlace&) const = default;
};
[[nodiscard]] std::string to_text(const LogPlace& place);
// False for anything that to_text cannot have made.
[[nodiscard]] bool read_place(std::string_view text, LogPlace& place);

}  // namespace mayfly::api
