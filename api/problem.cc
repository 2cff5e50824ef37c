#include "api/problem.h"

#include <array>
#include <nlohmann/json.hpp>

namespace mayfly::api {
namespace {

using nlohmann::json;

constexpr std::array<ProblemKind, static_cast<std::size_t>(kLastProblemType) + 1> kKinds = {{
    {"bad-request", 400, "The request cannot be read"},
    {"invalid-json", 400, "The body is not acceptable JSON"},
    {"invalid-spec", 400, "The run's spec is not valid"},
    {"invalid-query", 400, "The query is not valid"},
    {"invalid-header", 400, "A header is not valid"},
    {"invalid-multipart", 400, "The multipart body is not valid"},
    {"attempt-replaced", 409, "Another attempt of the run has begun"},
    {"image-not-allowed", 403, "The operator does not allow this image"},
    {"runtime-not-allowed", 403, "The operator does not allow this runtime"},
    {"cross-site", 403, "Requests from other web sites are refused"},
    {"not-found", 404, "There is no such thing"},
    {"method-not-allowed", 405, "This method is not allowed here"},
    {"not-finished", 409, "The run has not finished"},
    {"already-finished", 409, "The run has already finished"},
    {"still-running", 409, "The run is still under way"},
    {"idempotency-key-reused", 409, "The Idempotency-Key was used for another submission"},
    {"body-too-large", 413, "The body is too large"},
    {"uri-too-long", 414, "The request line is too long"},
    {"unsupported-media-type", 415, "The body is of a type that is not accepted here"},
    {"range-not-satisfiable", 416, "The range lies outside"},
    {"misdirected", 421, "This host name is not ours"},
    {"header-too-large", 431, "The header is too large"},
    {"internal", 500, "Something went wrong in here"},
    {"damaged", 500, "A stored file is not what was written"},
    {"overloaded", 503, "Too many at once"},
    {"shutting-down", 503, "The service is stopping"},
    {"store-unavailable", 503, "The store has stopped accepting work"},
    {"http-version", 505, "This version of HTTP is not spoken here"},
    {"disk-full", 507, "There is not enough disk space"},
    {"events-gone", 410, "Events after this id are not kept any more"},
}};

void put_shown(json& into, const char* name, const Shown& shown) {
    if (const auto* number = std::get_if<std::int64_t>(&shown)) into[name] = *number;
    if (const auto* decimal = std::get_if<double>(&shown)) into[name] = *decimal;
    if (const auto* text = std::get_if<std::string>(&shown)) into[name] = *text;
}

}  // namespace

const ProblemKind& kind_of(ProblemType type) { return kKinds[static_cast<std::size_t>(type)]; }

std::string shown_text(std::string_view text) {
    if (text.size() <= kMaxShownBytes) return std::string(text);
    std::size_t end = kMaxShownBytes;
    // Not in the middle of a UTF-8 sequence.
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return std::string(text.substr(0, end)) + "...";
}

std::string to_json_text(const Problem& problem) {
    const ProblemKind& kind = kind_of(problem.type);
    json body = {{"type", "urn:mayfly:problem:" + std::string(kind.name)},
                 {"title", kind.title},
                 {"status", kind.status},
                 {"detail", problem.detail}};
    if (!problem.errors.empty()) {
        json errors = json::array();
        for (const FieldError& error : problem.errors) {
            if (errors.size() == kMaxFieldErrorsShown) break;
            json entry = {{"field", error.field}, {"message", error.message}};
            put_shown(entry, "limit", error.limit);
            put_shown(entry, "value", error.value);
            errors.push_back(std::move(entry));
        }
        body["errors"] = std::move(errors);
        if (problem.errors.size() > kMaxFieldErrorsShown) {
            body["errors_omitted"] = problem.errors.size() - kMaxFieldErrorsShown;
        }
    }
    return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace mayfly::api
