#include "api/cli/address.h"

#include <fmt/format.h>

#include "api/cli/text.h"
#include "api/query.h"

namespace mayfly::api::cli {
namespace {

constexpr std::string_view kHttp = "http://";
constexpr std::string_view kHttps = "https://";
constexpr std::string_view kUnix = "unix://";
constexpr std::size_t kMaxSocketPathBytes = 107;  // sun_path, with its NUL

std::unexpected<std::string> bad(std::string_view url, std::string_view why) {
    return std::unexpected(
        fmt::format("the address '{}' {}; it must be like http://127.0.0.1:7070 or "
                    "https://mayfly.example or unix:///run/mayfly.sock",
                    printable(url), why));
}

std::string_view default_port(bool tls) { return tls ? "443" : "80"; }

}  // namespace

std::string Address::authority() const {
    if (!socket_path.empty()) return "localhost";
    const bool v6 = host.find(':') != host.npos;
    const std::string name = v6 ? "[" + host + "]" : host;
    return port == default_port(tls) ? name : name + ":" + port;
}

std::expected<Address, std::string> parse_address(std::string_view url) {
    Address out;
    out.shown = printable(url);
    if (url.starts_with(kUnix)) {
        out.socket_path = url.substr(kUnix.size());
        if (!out.socket_path.starts_with('/'))
            return bad(url, "needs an absolute path, with three slashes");
        if (out.socket_path.size() > kMaxSocketPathBytes)
            return bad(url, "has a path of more than 107 bytes, which no unix socket can have");
        return out;
    }
    out.tls = url.starts_with(kHttps);
    if (!out.tls && !url.starts_with(kHttp)) return bad(url, "has no scheme that is known");
    std::string_view rest = url.substr(out.tls ? kHttps.size() : kHttp.size());
    if (const std::size_t slash = rest.find('/'); slash != rest.npos) {
        out.prefix = rest.substr(slash);
        rest = rest.substr(0, slash);
        while (out.prefix.ends_with('/')) out.prefix.pop_back();
    }
    for (const char c : url) {
        if (c <= ' ' || c == 0x7F || c == '@' || c == '?' || c == '#')
            return bad(url, "has a character that cannot be there");
    }
    std::size_t colon = rest.rfind(':');
    if (rest.starts_with('[')) {
        const std::size_t end = rest.find(']');
        if (end == rest.npos) return bad(url, "has no end of its IPv6 address");
        out.host = rest.substr(1, end - 1);
        colon = end + 1 < rest.size() ? end + 1 : rest.npos;
        if (colon != rest.npos && rest[colon] != ':') return bad(url, "has no port after `]`");
    } else {
        out.host = rest.substr(0, colon);
    }
    if (out.host.empty() || (!rest.starts_with('[') && out.host.find(':') != out.host.npos))
        return bad(url, "names no host");
    out.port = colon == rest.npos ? default_port(out.tls) : rest.substr(colon + 1);
    const auto port = parse_integer(out.port);
    if (!port || *port < 1 || *port > 65'535) return bad(url, "has no port from 1 to 65535");
    return out;
}

}  // namespace mayfly::api::cli
