// From a method and a path to what is asked. Pure; no route touches anything by being matched.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/problem.h"

namespace mayfly::api {

enum class Endpoint : std::uint8_t {
    welcome,
    health,
    ready,
    metrics,
    openapi,
    submit,
    list,
    show,
    remove,
    cancel,
    logs,
    artifacts,
    artifact,
    artifacts_tar,
    engines,
    events,
    explain,
    doctor,
    asset,
};

struct Target {
    std::string path;       // still percent-encoded
    std::string query;      // without the `?`
    std::string authority;  // of an absolute-form target, "" else
};

// A request target in origin-form or absolute-form; nothing else is one that we serve.
[[nodiscard]] Answer<Target> split_target(std::string_view target);

struct Match {
    Endpoint endpoint = Endpoint::welcome;
    std::string_view route_template;  // "/v1/runs/{id}", for metrics
    std::string run_id;               // is_run_id holds when the template has {id}
    std::string artifact_path;        // decoded
    std::string asset_name;           // of the status page; there need be no such file
};

// Every method and template that is served, HEAD left out: for whoever must agree with it.
[[nodiscard]] std::vector<std::pair<std::string_view, std::string_view>> routes();
// The template of a path, or "other": known also when the method is wrong.
[[nodiscard]] std::string_view template_of(std::string_view path);
// `not_found`, or `method_not_allowed` with an Allow header. HEAD is served wherever GET is.
[[nodiscard]] Answer<Match> route(std::string_view method, std::string_view path);

}  // namespace mayfly::api
