// mayfly doctor: the way to mayflyd, then what mayflyd says of itself.
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "api/cli/contact.h"
#include "api/cli/exit_code.h"
#include "api/cli/fields.h"
#include "api/cli/session.h"
#include "api/cli/text.h"

namespace mayfly::api::cli {
namespace {

constexpr std::int64_t kClockWarnMs = 2'000;

Check connect_check(const Session& session, const std::expected<HttpAnswer, HttpError>& answer) {
    Check check{"connection", "fail", {}, {}};
    const std::string at = session.address().shown;
    if (!answer) {
        const HttpError::Kind kind = answer.error().kind;
        check.found = answer.error().message;
        check.fix = kind == HttpError::Kind::unreachable || kind == HttpError::Kind::unproven
                        ? contact_advice(session.address(), answer.error().os_error)
                        : fmt::format(
                              "is it mayflyd that listens at {}? Say where it is with "
                              "--url or MAYFLY_URL",
                              at);
        return check;
    }
    if (answer->ok()) return {"connection", "ok", fmt::format("mayflyd answers at {}", at), {}};
    const nlohmann::json body = parse_json(answer->body);
    const std::string type = text_of(body, "type");
    if (type.starts_with("urn:mayfly:")) {
        check.found =
            fmt::format("mayflyd answers {}: {}", answer->status, text_of(body, "detail"));
        check.fix = type.ends_with("misdirected")
                        ? "use an address that it knows, like 127.0.0.1, or start it with "
                          "--allowed-hosts"
                        : "look at mayflyd's log";
        if (answer->status == 404) check.fix = "this mayflyd is older than its client: update it";
        return check;
    }
    check.found = fmt::format("what answers at {} with {} is not mayflyd", at, answer->status);
    check.fix = "say where mayflyd is with --url or MAYFLY_URL";
    return check;
}

Check version_check(const nlohmann::json& doctor) {
    const std::string theirs = text_of(doctor, "version");
    if (theirs == MAYFLY_VERSION)
        return {"version", "ok", fmt::format("client and mayflyd are {}", theirs), {}};
    return {"version", "warn",
            fmt::format("the client is {}, mayflyd is {}", MAYFLY_VERSION, theirs),
            "install the same version of both"};
}

// `before` and `after`: our clock around the question.
Check clock_check(const nlohmann::json& doctor, std::int64_t before, std::int64_t after) {
    const auto theirs = parse_rfc3339(text_of(doctor, "now"));
    if (!theirs) return {"client_clock", "warn", "mayflyd does not tell its time", {}};
    const std::int64_t apart = *theirs - (before + after) / 2;
    const std::int64_t size = apart < 0 ? -apart : apart;
    if (size <= kClockWarnMs + (after - before))
        return {"client_clock",
                "ok",
                fmt::format("mayflyd's clock and ours are {} apart", show_duration(size)),
                {}};
    return {"client_clock", "warn",
            fmt::format("mayflyd's clock is {} {} ours", show_duration(size),
                        apart < 0 ? "behind" : "before"),
            "set the clocks of both hosts by NTP; times shown here are mayflyd's"};
}

std::string json_checks(const std::vector<Check>& checks) {
    nlohmann::json out = nlohmann::json::array();
    for (const Check& check : checks) {
        out.push_back(
            {{"name", check.name},
             {"state", check.state},
             {"found", check.found},
             {"fix", check.fix.empty() ? nlohmann::json(nullptr) : nlohmann::json(check.fix)}});
    }
    return to_line(out);
}

}  // namespace

int doctor_command(Session& session) {
    Wake wake;
    const std::int64_t before = wall_ms();
    HttpRequest request{"GET", "/v1/doctor", {{"Accept", "application/json"}}};
    request.silence_ms = 30'000;
    auto answer = ask_http(session.address(), request, wake);
    const std::int64_t after = wall_ms();
    std::vector<Check> checks = {connect_check(session, answer)};
    nlohmann::json doctor;
    if (answer && answer->ok()) {
        doctor = parse_json(answer->body);
        if (member(doctor, "checks").is_array()) {
            checks.push_back(version_check(doctor));
            checks.push_back(clock_check(doctor, before, after));
        } else {
            checks[0] = {"connection", "fail",
                         fmt::format("what answers at {} is not mayflyd", session.address().shown),
                         "say where mayflyd is with --url or MAYFLY_URL"};
            doctor = nullptr;
        }
    }
    const std::vector<Check> own = checks;
    for (Check& check : checks_of(doctor)) checks.push_back(std::move(check));
    bool healthy = doctor.is_null() || flag_of(doctor, "healthy");
    for (const Check& check : checks) healthy = healthy && check.state != "fail";
    if (session.options().json) {
        if (answer && answer->body.ends_with('\n')) answer->body.pop_back();
        session.out_json(fmt::format("{{\"healthy\":{},\"client\":{},\"daemon\":{}}}", healthy,
                                     json_checks(own), doctor.is_null() ? "null" : answer->body));
    } else {
        session.out(doctor_view(checks, session.look()));
    }
    return healthy ? kExitOk : kExitUnwell;
}

}  // namespace mayfly::api::cli
