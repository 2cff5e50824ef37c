// Where a webhook goes, from the URL that a client gave. Pure.
//
// The grammar is narrower than RFC 3986 on purpose: whatever two readers of a URL could take for
// two hosts (a user name, a backslash, "127.1", a percent-encoded or non-ASCII host) is refused
// instead of understood.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace mayfly::controller::webhook {

inline constexpr std::size_t kUrlBytesMax = 2'048;

struct Target {
    bool tls = false;
    std::string host;  // lower case; a name, or an address (an IPv6 one without brackets)
    bool is_address = false;
    std::uint16_t port = 0;
    std::string path;  // path and query as they go into the request line; begins with '/'

    // "https://example.com:8443": what may be logged. A path or a query may hold a token.
    [[nodiscard]] std::string origin() const;
    // The value of the Host header: without the scheme's own port.
    [[nodiscard]] std::string authority() const;
    bool operator==(const Target&) const = default;
};

// The error continues a sentence about the URL: "must begin with https:// or http://".
[[nodiscard]] std::expected<Target, std::string> parse_target(std::string_view url);

}  // namespace mayfly::controller::webhook
