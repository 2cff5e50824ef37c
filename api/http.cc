#include "api/http.h"

#include <unistd.h>

#include <algorithm>

namespace mayfly::api {

OwnedFd::~OwnedFd() {
    if (fd_ >= 0) ::close(fd_);
}

std::optional<std::string_view> Request::header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (key == name) return value;
    }
    return std::nullopt;
}

std::size_t Request::header_count(std::string_view name) const {
    return static_cast<std::size_t>(
        std::ranges::count(headers, name, &std::pair<std::string, std::string>::first));
}

Response sse_response() {
    Response response;
    response.with("Content-Type", "text/event-stream")
        .with("Cache-Control", "no-store")
        .with("X-Accel-Buffering", "no");  // nginx would keep them until its buffer is full
    return response;
}

Response json_response(int status, std::string body) {
    Response response;
    response.status = status;
    response.with("Content-Type", "application/json").with("Cache-Control", "no-store");
    body += '\n';
    response.body = std::move(body);
    return response;
}

Response problem_response(const Problem& problem) {
    Response response;
    response.status = kind_of(problem.type).status;
    response.with("Content-Type", "application/problem+json").with("Cache-Control", "no-store");
    for (const auto& [name, value] : problem.headers) response.with(name, value);
    response.body = to_json_text(problem) + '\n';
    return response;
}

}  // namespace mayfly::api
