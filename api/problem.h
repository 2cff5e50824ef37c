// Every way in which the API can say no, in one table. The `type` is "urn:mayfly:problem:<name>"
// and is stable for ever; `title` and `detail` are for people; `errors` names each offending field
// with its limit. Source: RFC 9457 (application/problem+json). Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace mayfly::api {

enum class ProblemType : std::uint8_t {
    bad_request,
    invalid_json,
    invalid_spec,
    invalid_query,
    invalid_header,
    invalid_multipart,
    attempt_replaced,
    image_not_allowed,
    runtime_not_allowed,
    cross_site,
    not_found,
    method_not_allowed,
    not_finished,
    already_finished,
    still_running,
    idempotency_key_reused,
    body_too_large,
    uri_too_long,
    unsupported_media_type,
    range_not_satisfiable,
    misdirected,
    header_too_large,
    internal,
    damaged,
    overloaded,
    shutting_down,
    store_unavailable,
    http_version,
    disk_full,
    events_gone,
};
inline constexpr ProblemType kLastProblemType = ProblemType::events_gone;

struct ProblemKind {
    std::string_view name;  // "invalid-spec": the end of the type's URN
    int status;             // of HTTP
    std::string_view title;
};
[[nodiscard]] const ProblemKind& kind_of(ProblemType type);

// A number or a short text shown beside a field; monostate = not shown.
using Shown = std::variant<std::monostate, std::int64_t, double, std::string>;

struct FieldError {
    std::string field;    // "limits.memory_bytes", "files[2].path", "wait", "Idempotency-Key"
    std::string message;  // a sentence without the field's name
    Shown limit;
    Shown value;  // never of an environment variable or a file
};

struct Problem {
    ProblemType type = ProblemType::internal;
    std::string detail;
    std::vector<FieldError> errors = {};
    std::vector<std::pair<std::string, std::string>> headers = {};  // Retry-After, Allow
};

template <class T>
using Answer = std::expected<T, Problem>;

[[nodiscard]] inline std::unexpected<Problem> refuse(ProblemType type, std::string detail) {
    return std::unexpected(Problem{type, std::move(detail)});
}

inline constexpr std::size_t kMaxShownBytes = 120;        // of one value
inline constexpr std::size_t kMaxFieldErrorsShown = 100;  // of one answer

// `text` cut to kMaxShownBytes, for showing it back.
[[nodiscard]] std::string shown_text(std::string_view text);
// The body of the answer. Bytes that are not UTF-8 come out as U+FFFD.
[[nodiscard]] std::string to_json_text(const Problem& problem);

}  // namespace mayfly::api
