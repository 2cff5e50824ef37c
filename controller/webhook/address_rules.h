// Which addresses a webhook may be sent to. Pure.
//
// mayflyd stands inside the operator's network, and whoever submits a run chooses the URL: without
// these rules a run could make mayflyd speak to what only its host can reach (a metadata service,
// an engine's port, an admin page). So only addresses of the public internet are allowed, and
// beyond them what the operator names. The lists are IANA's registries of special-purpose
// addresses; of IPv6 only 2000::/3 is public at all.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mayfly::controller::webhook {

struct Address {
    bool is_v6 = false;
    std::array<std::uint8_t, 16> bytes = {};  // in the order of the network; IPv4: the first four
    bool operator==(const Address&) const = default;
};

// Four decimal numbers, or an IPv6 address without brackets and zone; nothing else.
[[nodiscard]] std::optional<Address> parse_address(std::string_view text);
[[nodiscard]] std::string to_string(const Address& address);

struct Network {
    Address address;
    int prefix_bits = 0;
};

// "10.0.0.0/8", "fd00::/8"; a lone address is itself alone. The error names the text and says what
// to write.
[[nodiscard]] std::expected<Network, std::string> parse_network(std::string_view text);

// Why nothing is sent there ("127.0.0.1 is a loopback address"), "" when it may be. An IPv6
// address that carries an IPv4 one (mapped, 6to4, NAT64, Teredo, ISATAP) is judged by that one as
// well. `allowed` outweighs the rules.
[[nodiscard]] std::string refusal(const Address& address, const std::vector<Network>& allowed);

}  // namespace mayfly::controller::webhook
