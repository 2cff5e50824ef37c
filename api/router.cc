#include "api/router.h"

#include <array>
#include <optional>
#include <vector>

#include "api/query.h"
#include "store/clock.h"

namespace mayfly::api {
namespace {

struct Route {
    std::string_view method;
    std::string_view pattern;
    Endpoint endpoint;
};

constexpr std::array kRoutes = {
    Route{"GET", "/", Endpoint::welcome},
    Route{"GET", "/healthz", Endpoint::health},
    Route{"GET", "/readyz", Endpoint::ready},
    Route{"GET", "/metrics", Endpoint::metrics},
    Route{"GET", "/v1/openapi.json", Endpoint::openapi},
    Route{"GET", "/v1/runs", Endpoint::list},
    Route{"POST", "/v1/runs", Endpoint::submit},
    Route{"GET", "/v1/runs/{id}", Endpoint::show},
    Route{"DELETE", "/v1/runs/{id}", Endpoint::remove},
    Route{"POST", "/v1/runs/{id}/cancel", Endpoint::cancel},
    Route{"GET", "/v1/runs/{id}/logs", Endpoint::logs},
    Route{"GET", "/v1/runs/{id}/artifacts", Endpoint::artifacts},
    Route{"GET", "/v1/runs/{id}/artifacts/{path}", Endpoint::artifact},
    Route{"GET", "/v1/runs/{id}/artifacts.tar", Endpoint::artifacts_tar},
    Route{"GET", "/v1/runs/{id}/explain", Endpoint::explain},
    Route{"GET", "/v1/events", Endpoint::events},
    Route{"GET", "/v1/engines", Endpoint::engines},
    Route{"GET", "/v1/doctor", Endpoint::doctor},
    Route{"GET", "/ui/{name}", Endpoint::asset},
};

struct Bound {
    std::string_view run_id;
    std::string_view rest;  // what {path} stands for, still encoded
    std::string_view name;  // what {name} stands for; no name of ours needs encoding
};

// {id} and {name} are one segment, {path} is all that is left; each is at least one byte.
std::optional<Bound> match(std::string_view pattern, std::string_view path) {
    Bound bound;
    while (!pattern.empty()) {
        if (pattern.starts_with("{id}")) {
            bound.run_id = path.substr(0, path.find('/'));
            if (bound.run_id.empty()) return std::nullopt;
            path.remove_prefix(bound.run_id.size());
            pattern.remove_prefix(4);
        } else if (pattern == "{name}") {
            if (path.empty() || path.find('/') != path.npos) return std::nullopt;
            bound.name = path;
            return bound;
        } else if (pattern == "{path}") {
            if (path.empty()) return std::nullopt;
            bound.rest = path;
            return bound;
        } else {
            if (path.empty() || path.front() != pattern.front()) return std::nullopt;
            pattern.remove_prefix(1);
            path.remove_prefix(1);
        }
    }
    if (!path.empty()) return std::nullopt;
    return bound;
}

Answer<Match> bind(const Route& route, const Bound& bound) {
    Match found{
        route.endpoint, route.pattern, std::string(bound.run_id), {}, std::string(bound.name)};
    if (!bound.run_id.empty() && !store::is_run_id(found.run_id)) {
        return refuse(ProblemType::not_found, "There is no run of this id.");
    }
    if (!bound.rest.empty()) {
        auto path = percent_decode(bound.rest);
        if (!path || !is_utf8(*path) || path->find('\0') != path->npos) {
            return refuse(ProblemType::not_found,
                          "The artifact's path is not percent-encoded UTF-8.");
        }
        found.artifact_path = std::move(*path);
    }
    return found;
}

bool serves(std::string_view allowed, std::string_view method) {
    return allowed == method || (allowed == "GET" && method == "HEAD");
}

}  // namespace

Answer<Target> split_target(std::string_view target) {
    Target out;
    if (target.starts_with("http://") || target.starts_with("https://")) {
        target.remove_prefix(target.find("//") + 2);
        const std::size_t end = std::min(target.find_first_of("/?"), target.size());
        out.authority = target.substr(0, end);
        target.remove_prefix(end);
        if (out.authority.empty()) {
            return refuse(ProblemType::bad_request, "The request target names no host.");
        }
    } else if (!target.starts_with('/')) {
        return refuse(ProblemType::bad_request,
                      "The request target must be a path that starts with `/`.");
    }
    if (target.find('#') != target.npos) {
        return refuse(ProblemType::bad_request, "The request target has a fragment (`#`) in it.");
    }
    const std::size_t mark = std::min(target.find('?'), target.size());
    out.path = target.substr(0, mark);
    if (out.path.empty()) out.path = "/";
    out.query = target.substr(std::min(mark + 1, target.size()));
    return out;
}

std::vector<std::pair<std::string_view, std::string_view>> routes() {
    std::vector<std::pair<std::string_view, std::string_view>> out;
    for (const Route& route : kRoutes) out.emplace_back(route.method, route.pattern);
    return out;
}

std::string_view template_of(std::string_view path) {
    for (const Route& route : kRoutes) {
        if (match(route.pattern, path)) return route.pattern;
    }
    return "other";
}

Answer<Match> route(std::string_view method, std::string_view path) {
    std::string allow;
    for (const Route& candidate : kRoutes) {
        const auto bound = match(candidate.pattern, path);
        if (!bound) continue;
        if (serves(candidate.method, method)) return bind(candidate, *bound);
        if (!allow.empty()) allow += ", ";
        allow += candidate.method == "GET" ? "GET, HEAD" : candidate.method;
    }
    if (allow.empty()) {
        return refuse(ProblemType::not_found,
                      "There is nothing at this path. GET / lists what there is.");
    }
    Problem problem{ProblemType::method_not_allowed, "Allowed here: " + allow + "."};
    problem.headers.emplace_back("Allow", std::move(allow));
    return std::unexpected(std::move(problem));
}

}  // namespace mayfly::api
