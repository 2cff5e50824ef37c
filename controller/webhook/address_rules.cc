#include "controller/webhook/address_rules.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <span>

namespace mayfly::controller::webhook {
namespace {

struct Block {
    std::string_view network;
    std::string_view what;
};

constexpr std::array kV4Blocks = {
    Block{"0.0.0.0/8", "an unspecified address"},
    Block{"10.0.0.0/8", "a private address"},
    Block{"100.64.0.0/10", "an address inside a provider's network (CGNAT)"},
    Block{"127.0.0.0/8", "a loopback address"},
    Block{"169.254.0.0/16", "a link-local address"},
    Block{"172.16.0.0/12", "a private address"},
    Block{"192.0.0.0/24", "a reserved address"},
    Block{"192.0.2.0/24", "an address for documentation"},
    Block{"192.88.99.0/24", "a reserved address"},
    Block{"192.168.0.0/16", "a private address"},
    Block{"198.18.0.0/15", "an address for benchmarks"},
    Block{"198.51.100.0/24", "an address for documentation"},
    Block{"203.0.113.0/24", "an address for documentation"},
    Block{"224.0.0.0/4", "a multicast address"},
    Block{"255.255.255.255/32", "the broadcast address"},
    Block{"240.0.0.0/4", "a reserved address"},
};

// The first that holds the address names it.
constexpr std::array kV6Blocks = {
    Block{"::/128", "the unspecified address"},
    Block{"::1/128", "the loopback address"},
    Block{"fc00::/7", "a private address"},
    Block{"fe80::/10", "a link-local address"},
    Block{"fec0::/10", "a private address"},
    Block{"ff00::/8", "a multicast address"},
    Block{"2001:db8::/32", "an address for documentation"},
    Block{"3fff::/20", "an address for documentation"},
};
constexpr std::string_view kPublicV6 = "2000::/3";
constexpr std::string_view kProtocolsV6 = "2001::/23";  // IETF's own, Teredo's among them

constexpr std::string_view kMapped = "::ffff:0:0/96";
constexpr std::string_view kNat64 = "64:ff9b::/96";
constexpr std::string_view kSixToFour = "2002::/16";
constexpr std::string_view kTeredo = "2001::/32";

constexpr int kV4Bits = 32;
constexpr int kV6Bits = 128;

bool holds(const Network& network, const Address& address) {
    if (network.address.is_v6 != address.is_v6) return false;
    int bits = network.prefix_bits;
    for (std::size_t i = 0; bits > 0; ++i, bits -= 8) {
        const auto mask = static_cast<std::uint8_t>(bits >= 8 ? 0xff : 0xff << (8 - bits));
        if ((network.address.bytes[i] & mask) != (address.bytes[i] & mask)) return false;
    }
    return true;
}

bool holds(std::string_view network, const Address& address) {
    return holds(parse_network(network).value(), address);
}

Address v4_at(const Address& address, std::size_t at, std::uint8_t flip = 0) {
    Address out;
    for (std::size_t i = 0; i < 4; ++i) {
        out.bytes[i] = static_cast<std::uint8_t>(address.bytes[at + i] ^ flip);
    }
    return out;
}

// The IPv4 addresses that packets to this one may end at.
std::vector<Address> embedded(const Address& address) {
    std::vector<Address> out;
    if (holds(kMapped, address) || holds(kNat64, address)) out.push_back(v4_at(address, 12));
    if (holds(kSixToFour, address)) out.push_back(v4_at(address, 2));
    if (holds(kTeredo, address)) {
        out.push_back(v4_at(address, 4));         // its server
        out.push_back(v4_at(address, 12, 0xff));  // its client, with every bit turned over
    }
    const auto& b = address.bytes;
    const bool isatap = (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe;
    if (isatap) out.push_back(v4_at(address, 12));
    return out;
}

std::string_view what_is(const Address& address) {
    const std::span<const Block> blocks =
        address.is_v6 ? std::span<const Block>(kV6Blocks) : std::span<const Block>(kV4Blocks);
    for (const auto& block : blocks) {
        if (holds(block.network, address)) return block.what;
    }
    if (!address.is_v6) return "";
    if (holds(kMapped, address) || holds(kNat64, address) || holds(kTeredo, address)) return "";
    if (!holds(kPublicV6, address) || holds(kProtocolsV6, address)) return "a reserved address";
    return "";
}

}  // namespace

std::optional<Address> parse_address(std::string_view text) {
    const std::string terminated(text);
    if (terminated.find('\0') != std::string::npos) return std::nullopt;
    Address address;
    address.is_v6 = text.find(':') != std::string_view::npos;
    const int family = address.is_v6 ? AF_INET6 : AF_INET;
    if (::inet_pton(family, terminated.c_str(), address.bytes.data()) != 1) return std::nullopt;
    return address;
}

std::string to_string(const Address& address) {
    std::array<char, INET6_ADDRSTRLEN> text = {};
    const int family = address.is_v6 ? AF_INET6 : AF_INET;
    ::inet_ntop(family, address.bytes.data(), text.data(), text.size());
    return text.data();
}

std::expected<Network, std::string> parse_network(std::string_view text) {
    const auto wanted = [text](std::string_view why) {
        return std::unexpected(
            fmt::format("\"{}\" is no network: {}; write 10.1.0.0/16 or fd00:1::/32", text, why));
    };
    const auto slash = std::min(text.find('/'), text.size());
    const auto address = parse_address(text.substr(0, slash));
    if (!address) return wanted("it does not begin with an IP address");
    Network network{.address = *address, .prefix_bits = address->is_v6 ? kV6Bits : kV4Bits};
    if (slash == text.size()) return network;
    const auto digits = text.substr(slash + 1);
    int bits = -1;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, bits);
    if (error != std::errc() || stop != end || bits < 0 || bits > network.prefix_bits) {
        return wanted(
            fmt::format("behind the / comes a number from 0 to {}", network.prefix_bits));
    }
    network.prefix_bits = bits;
    for (int bit = bits; bit < (address->is_v6 ? kV6Bits : kV4Bits); ++bit) {
        const auto byte = address->bytes[static_cast<std::size_t>(bit / 8)];
        if ((byte & (0x80 >> (bit % 8))) != 0) {
            return wanted(fmt::format("it has bits set beyond its first {}", bits));
        }
    }
    return network;
}

std::string refusal(const Address& address, const std::vector<Network>& allowed) {
    const auto allows = [&address](const Network& network) { return holds(network, address); };
    if (std::ranges::any_of(allowed, allows)) return "";
    if (const auto what = what_is(address); !what.empty()) {
        return fmt::format("{} is {}", to_string(address), what);
    }
    if (!address.is_v6) return "";
    for (const auto& inner : embedded(address)) {
        if (const auto why = refusal(inner, allowed); !why.empty()) {
            return fmt::format("{} carries an IPv4 address, and {}", to_string(address), why);
        }
    }
    return "";
}

}  // namespace mayfly::controller::webhook
