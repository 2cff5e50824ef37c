#include "api/cli/contact.h"

#include <fmt/format.h>

#include <cerrno>

#include "api/cli/text.h"

namespace mayfly::api::cli {
namespace {

constexpr const char* kElsewhere = "say where it is with --url or MAYFLY_URL";

std::string unix_advice(const std::string& path, int os_error) {
    const std::string shown = printable(path);
    switch (os_error) {
        case ENOENT:
        case ENOTDIR:
            return fmt::format(
                "there is no socket {0}: start mayflyd with --unix-socket {0}, or {1}", shown,
                kElsewhere);
        case EACCES:
        case EPERM:
            return fmt::format(
                "you may not use {0}: become a member of its group (ls -l {0}), or "
                "let its folder be searched",
                shown);
        case ECONNREFUSED:
            return fmt::format(
                "nobody listens on {} any more: is mayflyd running? Look at its "
                "log, and start it again",
                shown);
        default:
            return fmt::format("is {} the socket of mayflyd (--unix-socket)? If not, {}", shown,
                               kElsewhere);
    }
}

}  // namespace

std::string contact_advice(const Address& address, int os_error) {
    if (!address.socket_path.empty()) return unix_advice(address.socket_path, os_error);
    switch (os_error) {
        case 0:
            return fmt::format("no such host: look at the spelling, or {}", kElsewhere);
        case EKEYREJECTED:
            return "if its certificate is of an authority of your own, name that one's PEM file "
                   "with --ca-file or MAYFLY_CA_FILE; else look who answers there";
        case EPROTO:
            return "if mayflyd listens there without TLS, say http:// instead of https://";
        case ECONNREFUSED:
            return fmt::format(
                "nothing listens on port {}: start mayflyd (mayflyd --data-dir "
                "DIR), or, if it listens elsewhere (--listen), {}",
                printable(address.port), kElsewhere);
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case ENETUNREACH:
            return fmt::format(
                "the host does not answer: is the address right, and no firewall "
                "between? If it is another one, {}",
                kElsewhere);
        default:
            return fmt::format("is mayflyd running there? If it is elsewhere, {}", kElsewhere);
    }
}

}  // namespace mayfly::api::cli
