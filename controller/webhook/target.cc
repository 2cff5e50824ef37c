#include "controller/webhook/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "controller/webhook/address_rules.h"

namespace mayfly::controller::webhook {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;
constexpr std::size_t kHostBytesMax = 253;
constexpr std::size_t kLabelBytesMax = 63;

std::unexpected<std::string> refuse(std::string why) { return std::unexpected(std::move(why)); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_name_byte(char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_'; }

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

// As browsers do: a host whose last label is a number is an address, or nothing.
bool ends_in_number(std::string_view host) {
    const auto last = host.substr(host.rfind('.') + 1);
    return (!last.empty() && std::ranges::all_of(last, is_digit)) || last.starts_with("0x");
}

std::string name_error(std::string_view host) {
    if (host.size() > kHostBytesMax) {
        return fmt::format("must have a host of at most {} bytes", kHostBytesMax);
    }
    for (std::size_t begin = 0; begin <= host.size();) {
        const auto end = std::min(host.find('.', begin), host.size());
        const auto label = host.substr(begin, end - begin);
        if (label.empty() || label.size() > kLabelBytesMax || label.front() == '-' ||
            label.back() == '-' || !std::ranges::all_of(label, is_name_byte)) {
            return "must have a host of letters, digits, `-`, `_` and single dots (an "
                   "international name in its xn-- form), or an IP address";
        }
        begin = end + 1;
    }
    return "";
}

struct HostPort {
    std::string host;
    std::string_view port;
    bool has_port = false;
    bool in_brackets = false;
};

std::expected<HostPort, std::string> split(std::string_view authority) {
    HostPort out;
    std::string_view rest;
    if (authority.starts_with('[')) {
        const auto close = authority.find(']');
        if (close == std::string_view::npos) return refuse("has a `[` without its `]`");
        out.host = lower(authority.substr(1, close - 1));
        out.in_brackets = true;
        rest = authority.substr(close + 1);
        if (!rest.empty() && rest.front() != ':') {
            return refuse("must have `:` and a port, or nothing, behind the `]`");
        }
    } else {
        const auto colon = std::min(authority.find(':'), authority.size());
        out.host = lower(authority.substr(0, colon));
        rest = authority.substr(colon);
        if (rest.find(':', 1) != std::string_view::npos) {
            return refuse("must have an IPv6 address in brackets: https://[2001:db8::1]:8443/");
        }
    }
    out.has_port = !rest.empty();
    if (out.has_port) out.port = rest.substr(1);
    return out;
}

std::expected<std::uint16_t, std::string> read_port(std::string_view text) {
    std::uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, port);
    if (error != std::errc() || stop != end || port == 0) {
        return refuse("must have a port from 1 to 65535");
    }
    return port;
}

std::expected<void, std::string> read_authority(std::string_view authority, Target& target) {
    if (authority.find('@') != std::string_view::npos) {
        return refuse("must not hold a user name or password (an `@` before the path)");
    }
    auto parts = split(authority);
    if (!parts) return refuse(parts.error());
    if (parts->host.empty()) return refuse("must name a host");
    target.port = target.tls ? kHttpsPort : kHttpPort;
    if (parts->has_port) {
        const auto port = read_port(parts->port);
        if (!port) return refuse(port.error());
        target.port = *port;
    }
    const auto address = parse_address(parts->host);
    if (parts->in_brackets || ends_in_number(parts->host)) {
        if (!address || address->is_v6 != parts->in_brackets) {
            return refuse(parts->in_brackets
                              ? "must have an IPv6 address, without a zone, in its brackets"
                              : "must spell an IPv4 address as four decimal numbers: 192.0.2.1");
        }
        target.is_address = true;
    } else if (auto error = name_error(parts->host); !error.empty()) {
        return refuse(std::move(error));
    }
    target.host = std::move(parts->host);
    return {};
}

}  // namespace

std::string Target::authority() const {
    const bool in_brackets = host.find(':') != std::string::npos;
    std::string out = in_brackets ? "[" + host + "]" : host;
    if (port != (tls ? kHttpsPort : kHttpPort)) out += ":" + std::to_string(port);
    return out;
}

std::string Target::origin() const { return (tls ? "https://" : "http://") + authority(); }

std::expected<Target, std::string> parse_target(std::string_view url) {
    if (url.size() > kUrlBytesMax) {
        return refuse(fmt::format("must have at most {} bytes", kUrlBytesMax));
    }
    const bool plain = std::ranges::all_of(url, [](char c) { return c > ' ' && c < '\x7f'; });
    if (!plain) {
        return refuse("must be ASCII without blanks and control characters: percent-encode them");
    }
    if (url.find_first_of("\\#") != std::string_view::npos) {
        return refuse("must hold neither a `\\` nor a fragment (`#`)");
    }
    const auto mark = url.find("://");
    const auto scheme = lower(url.substr(0, std::min(mark, url.size())));
    if (mark == std::string_view::npos || (scheme != "https" && scheme != "http")) {
        return refuse("must begin with https:// or http://");
    }
    const auto rest = url.substr(mark + 3);
    const auto end = std::min(rest.find_first_of("/?"), rest.size());
    Target target;
    target.tls = scheme == "https";
    if (auto read = read_authority(rest.substr(0, end), target); !read) {
        return refuse(read.error());
    }
    const auto path = rest.substr(end);
    target.path = path.starts_with('/') ? std::string(path) : "/" + std::string(path);
    return target;
}

}  // namespace mayfly::controller::webhook
