#include "controller/engine/docker/endpoint.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace mayfly::controller::docker {
namespace {

// sockaddr_un holds this much, with its closing zero.
constexpr std::size_t kSocketPathMax = 107;
constexpr std::size_t kHostNameMax = 253;

using Parsed = std::expected<Endpoint, std::string>;

std::unexpected<std::string> refuse(std::string_view host, std::string_view why) {
    return std::unexpected(fmt::format("DOCKER_HOST \"{}\": {}", host, why));
}

bool has_blank_or_control(std::string_view text) {
    for (const char c : text) {
        if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') {
            return true;
        }
    }
    return false;
}

Parsed parse_unix(std::string_view whole, std::string_view path) {
    if (path.empty() || path.front() != '/') {
        return refuse(whole, "the socket's path must be absolute: unix:///var/run/docker.sock");
    }
    if (path.size() > kSocketPathMax || path.find('\0') != std::string_view::npos) {
        return refuse(whole, fmt::format("a socket's path has at most {} bytes", kSocketPathMax));
    }
    Endpoint endpoint;
    endpoint.path = path;
    endpoint.text = fmt::format("unix://{}", path);
    return endpoint;
}

struct HostPort {
    std::string host;
    std::optional<std::uint16_t> port;
};

std::expected<std::uint16_t, std::string> parse_port(std::string_view whole,
                                                     std::string_view text) {
    unsigned value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, ec] = std::from_chars(text.data(), end, value);
    if (text.empty() || ec != std::errc() || stop != end || value == 0 || value > 65'535) {
        return refuse(whole, fmt::format("\"{}\" is no port: 1 to 65535", text));
    }
    return static_cast<std::uint16_t>(value);
}

std::expected<HostPort, std::string> parse_host_port(std::string_view whole,
                                                     std::string_view authority) {
    if (authority.ends_with('/')) {
        authority.remove_suffix(1);
    }
    if (authority.find_first_of("/?#") != std::string_view::npos) {
        return refuse(whole, "a path behind the port is not supported: tcp://HOST:PORT");
    }
    if (authority.find('@') != std::string_view::npos) {
        return refuse(whole, "a user name does not belong here: tcp://HOST:PORT");
    }
    std::string_view host = authority;
    std::string_view port;
    bool has_port = false;
    if (authority.starts_with('[')) {
        const std::size_t close = authority.find(']');
        if (close == std::string_view::npos) {
            return refuse(whole, "the IPv6 address lacks its \"]\"");
        }
        host = authority.substr(1, close - 1);
        const std::string_view rest = authority.substr(close + 1);
        if (!rest.empty() && rest.front() != ':') {
            return refuse(whole, "write tcp://[ADDRESS]:PORT");
        }
        has_port = !rest.empty();
        port = has_port ? rest.substr(1) : rest;
    } else if (const std::size_t colon = authority.rfind(':'); colon != std::string_view::npos) {
        host = authority.substr(0, colon);
        port = authority.substr(colon + 1);
        has_port = true;
        if (host.find(':') != std::string_view::npos) {
            return refuse(whole, "an IPv6 address needs brackets: tcp://[ADDRESS]:PORT");
        }
    }
    if (host.empty() || host.size() > kHostNameMax || has_blank_or_control(host)) {
        return refuse(whole, "a host name or address is missing: tcp://HOST:PORT");
    }
    HostPort out{.host = std::string(host), .port = std::nullopt};
    if (has_port) {
        const auto number = parse_port(whole, port);
        if (!number) {
            return std::unexpected(number.error());
        }
        out.port = *number;
    }
    return out;
}

bool is_loopback(std::string_view host) {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

Parsed parse_network(std::string_view whole, std::string_view scheme, std::string_view authority,
                     std::string_view tls_verify, std::string_view cert_path) {
    const bool asks_tls = !tls_verify.empty() || !cert_path.empty();
    if (scheme == "http" && asks_tls) {
        return refuse(whole,
                      "http:// is not encrypted, but DOCKER_TLS_VERIFY or DOCKER_CERT_PATH asks "
                      "for TLS: use https:// or tcp://, or unset them");
    }
    if (!tls_verify.empty() && cert_path.empty() && scheme != "https") {
        return refuse(whole,
                      "DOCKER_TLS_VERIFY is set: set DOCKER_CERT_PATH to the folder with ca.pem, "
                      "cert.pem and key.pem as well");
    }
    const auto address = parse_host_port(whole, authority);
    if (!address) {
        return std::unexpected(address.error());
    }
    Endpoint endpoint;
    const bool tls = scheme == "https" || asks_tls;
    endpoint.transport = tls ? Endpoint::Transport::tls : Endpoint::Transport::tcp;
    endpoint.host = address->host;
    endpoint.port = address->port.value_or(tls ? kTlsPort : kPlainPort);
    const bool is_v6 = endpoint.host.find(':') != std::string::npos;
    endpoint.text = fmt::format("{}://{}{}{}:{}", scheme, is_v6 ? "[" : "", endpoint.host,
                                is_v6 ? "]" : "", endpoint.port);
    if (!tls && !is_loopback(endpoint.host)) {
        endpoint.warning =
            "the connection to the engine is neither encrypted nor authenticated: anybody on the "
            "way has root on its host";
    }
    if (!cert_path.empty()) {
        endpoint.verify_peer = !tls_verify.empty();
        endpoint.ca_file = fmt::format("{}/ca.pem", cert_path);
        endpoint.cert_file = fmt::format("{}/cert.pem", cert_path);
        endpoint.key_file = fmt::format("{}/key.pem", cert_path);
        if (!endpoint.verify_peer) {
            endpoint.warning =
                "DOCKER_TLS_VERIFY is empty: the engine's certificate is not verified";
        }
    }
    return endpoint;
}

}  // namespace

Parsed parse_endpoint(std::string_view host, std::string_view tls_verify,
                      std::string_view cert_path) {
    if (host.empty()) {
        host = kDefaultHost;
    }
    const std::size_t mark = host.find("://");
    if (mark == std::string_view::npos) {
        return refuse(host, host.starts_with('/')
                                ? "a scheme is missing: unix:///var/run/docker.sock"
                                : "a scheme is missing: unix://, tcp:// or https://");
    }
    const std::string_view scheme = host.substr(0, mark);
    const std::string_view rest = host.substr(mark + 3);
    if (scheme == "unix") {
        return parse_unix(host, rest);
    }
    if (scheme == "tcp" || scheme == "http" || scheme == "https") {
        return parse_network(host, scheme, rest, tls_verify, cert_path);
    }
    if (scheme == "ssh") {
        return refuse(host,
                      "ssh:// is not supported: forward the socket (ssh -N -L "
                      "/run/remote-docker.sock:/var/run/docker.sock HOST) and use "
                      "unix:///run/remote-docker.sock, or tcp:// with TLS");
    }
    if (scheme == "npipe") {
        return refuse(host, "named pipes are Windows': use tcp:// with TLS");
    }
    if (scheme == "fd") {
        return refuse(host, "fd:// is how an engine listens, not how it is reached: use unix://");
    }
    return refuse(host, "the scheme must be unix, tcp, http or https");
}

}  // namespace mayfly::controller::docker
