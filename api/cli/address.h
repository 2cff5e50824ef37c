// Where mayflyd is: what --url and MAYFLY_URL say. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace mayfly::api::cli {

inline constexpr std::string_view kDefaultUrl = "http://127.0.0.1:7070";

struct Address {
    std::string socket_path;  // of a unix socket; "" = TCP
    std::string host;         // without the brackets of an IPv6 address
    std::string port;
    bool tls = false;
    std::string ca_file;  // PEM, trusted besides the system's authorities; "" = none
    std::string prefix;   // before every path: "" or "/mayfly"
    std::string shown;    // as it was given, printable

    // For the Host header.
    [[nodiscard]] std::string authority() const;
};

// http://HOST[:PORT][/PREFIX] (port 80 if none), https:// (443), or unix:///PATH; else a sentence
// with the choices.
[[nodiscard]] std::expected<Address, std::string> parse_address(std::string_view url);

}  // namespace mayfly::api::cli
