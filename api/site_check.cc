#include "api/site_check.h"

#include <algorithm>

namespace mayfly::api {
namespace {

bool is_ip_literal(std::string_view name) {
    if (name.starts_with('[')) return true;
    return name.find('.') != name.npos && name.find_first_not_of("0123456789.") == name.npos;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

}  // namespace

std::string host_name(std::string_view authority) {
    std::string_view name;
    std::string_view rest;
    if (authority.starts_with('[')) {
        const std::size_t end = authority.find(']');
        if (end == authority.npos) return {};
        name = authority.substr(0, end + 1);
        rest = authority.substr(end + 1);
        if (name.find_first_not_of("[]0123456789abcdefABCDEF:.") != name.npos) return {};
    } else {
        const std::size_t colon = std::min(authority.find(':'), authority.size());
        name = authority.substr(0, colon);
        rest = authority.substr(colon);
        if (name.ends_with('.')) name.remove_suffix(1);
    }
    if (!rest.empty() && (rest[0] != ':' || rest.size() > 6 ||
                          rest.find_first_not_of("0123456789", 1) != rest.npos)) {
        return {};
    }
    return lower(name);
}

bool host_allowed(std::string_view authority, const HostRules& rules) {
    const std::string name = host_name(authority);
    if (name.empty()) return false;
    if (rules.any_ip_literal && is_ip_literal(name)) return true;
    return std::ranges::any_of(rules.names, [&](const std::string& allowed) {
        return allowed == "*" || allowed == name;
    });
}

std::optional<Problem> check_site(const SiteHeaders& headers) {
    Problem refused{ProblemType::cross_site,
                    "This request was made by a page of another web site. Mayfly takes "
                    "requests from programs and from its own pages."};
    const bool reads = headers.method == "GET" || headers.method == "HEAD";
    const bool follows_link = reads && headers.sec_fetch_mode == "navigate";
    if (headers.origin) {
        const std::string origin = lower(*headers.origin);
        const std::string host = lower(headers.host);
        if (origin != "http://" + host && origin != "https://" + host) return refused;
    }
    if (headers.sec_fetch_site && !follows_link) {
        const std::string_view site = *headers.sec_fetch_site;
        if (site != "same-origin" && site != "none") return refused;
    }
    return std::nullopt;
}

}  // namespace mayfly::api
