#include "controller/healthcheck.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace mayfly::controller {
namespace {

constexpr auto kDeadline = std::chrono::seconds(5);
constexpr std::string_view kScheme = "http://";

int ill(const std::string& url, const std::string& why) {
    fmt::print(stderr, "mayflyd: {}/healthz: {}\n", url, why);
    return 1;
}

// Host without the brackets of an IPv6 address, and port.
std::pair<std::string, std::string> split(const std::string& address) {
    const auto colon = address.rfind(':');
    auto host = address.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    return {std::move(host), address.substr(colon + 1)};
}

int ask(const std::string& url) {
    const auto address = url.substr(kScheme.size());
    const auto [host, port] = split(address);
    boost::asio::ip::tcp::iostream stream;
    stream.expires_after(kDeadline);
    stream.connect(host, port);
    if (!stream) return ill(url, "cannot connect: " + stream.error().message());
    stream << "GET /healthz HTTP/1.1\r\nHost: " << address << "\r\nConnection: close\r\n\r\n"
           << std::flush;
    std::string version;
    std::string code;
    stream >> version >> code;
    if (!stream) return ill(url, "no answer: " + stream.error().message());
    return code == "200" ? 0 : ill(url, "the answer is " + code);
}

}  // namespace

std::string health_url(const std::string& listen) {
    if (listen.find(':') == std::string::npos) return fmt::format("{}127.0.0.1:7070", kScheme);
    const auto [host, port] = split(listen);
    if (host == "0.0.0.0") return fmt::format("{}127.0.0.1:{}", kScheme, port);
    if (host == "::") return fmt::format("{}[::1]:{}", kScheme, port);
    return fmt::format("{}{}", kScheme, listen);
}

int healthcheck(int argc, const char* const* argv) {
    const char* listen = std::getenv("MAYFLY_LISTEN");
    std::string url = health_url(listen == nullptr ? "" : listen);
    CLI::App app{"Asks a running mayflyd whether it is alive.", "mayflyd healthcheck"};
    const auto is_url = [](const std::string& text) {
        const bool good = text.starts_with(kScheme) && text.find(':', kScheme.size()) != text.npos;
        return good ? std::string() : "'" + text + "' is not like http://127.0.0.1:7070";
    };
    app.add_option("--url", url, "the daemon's address")->check(CLI::Validator(is_url, "URL"));
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    return ask(url);
}

}  // namespace mayfly::controller
