// Who may talk to a service on localhost: any program of this host, and no web page of another
// site. DNS rebinding gives itself away by Host, a cross-site form or fetch by Origin and
// Sec-Fetch-Site. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/problem.h"

namespace mayfly::api {

struct HostRules {
    std::vector<std::string> names;  // lower case, without port; "*" = every name
    bool any_ip_literal = false;  // an address is no name that somebody else's DNS can point at us
};

// "[::1]:80" -> "[::1]", "LocalHost." -> "localhost"; "" when it is no host.
[[nodiscard]] std::string host_name(std::string_view authority);
[[nodiscard]] bool host_allowed(std::string_view authority, const HostRules& rules);

struct SiteHeaders {
    std::string_view method;
    std::string_view host;  // Host, or the authority of an absolute-form target
    std::optional<std::string_view> origin;
    std::optional<std::string_view> sec_fetch_site;
    std::optional<std::string_view> sec_fetch_mode;
};
// `cross_site`, or nothing. Following a link from another site (a navigation with GET) is fine: it
// changes nothing and that site cannot read the answer.
[[nodiscard]] std::optional<Problem> check_site(const SiteHeaders& headers);

}  // namespace mayfly::api
