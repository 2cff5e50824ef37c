// Where an engine is, from the three settings that every Docker client knows. Pure: reads no
// environment and no file.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace mayfly::controller::docker {

inline constexpr std::string_view kDefaultHost = "unix:///var/run/docker.sock";
inline constexpr std::uint16_t kPlainPort = 2375;
inline constexpr std::uint16_t kTlsPort = 2376;

struct Endpoint {
    enum class Transport : std::uint8_t { unix_socket, tcp, tls };
    Transport transport = Transport::unix_socket;
    std::string path;  // unix_socket: absolute
    std::string host;  // tcp, tls: a name or an address, an IPv6 one without brackets
    std::uint16_t port = 0;
    // tls only.
    bool verify_peer = true;
    std::string ca_file;    // "" = the system's certificates
    std::string cert_file;  // "" = no client certificate
    std::string key_file;

    std::string text;     // for people: "tcp://10.0.0.5:2376"
    std::string warning;  // for people: what is not protected about it; "" = nothing
    bool operator==(const Endpoint&) const = default;
};

// DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, with docker's own meaning: a certificate
// path turns TLS on, a non-empty `tls_verify` turns verification of the engine on (and needs the
// path). An empty `host` is the local socket. The error names the setting and what to write.
[[nodiscard]] std::expected<Endpoint, std::string> parse_endpoint(std::string_view host,
                                                                  std::string_view tls_verify,
                                                                  std::string_view cert_path);

}  // namespace mayfly::controller::docker
