// The API's JSON as people read it. Everything that comes out is printable: escapes are ours
// alone. Fields that are absent are left away, so that another version's daemon can be shown too.
// Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mayfly::api::cli {

struct Look {
    bool colours = false;
    std::size_t columns = 0;  // of the terminal, 0 = do not cut
    std::int64_t now_ms = 0;  // for ages
};

// ps: a table. `runs` is an array of runs.
[[nodiscard]] std::string runs_view(const nlohmann::json& runs, const Look& look);
// get
[[nodiscard]] std::string run_view(const nlohmann::json& run, const Look& look);
// artifacts ls
[[nodiscard]] std::string artifacts_view(const nlohmann::json& listing, const Look& look);
// events: a line without its line feed.
[[nodiscard]] std::string event_line(const nlohmann::json& event, const Look& look);
[[nodiscard]] std::string explain_view(const nlohmann::json& explanation, const Look& look);
// top: `engines` is GET /v1/engines, `runs` the array of those under way, the newest first.
[[nodiscard]] std::string top_view(const nlohmann::json& engines, const nlohmann::json& runs,
                                   const Look& look);

struct Check {
    std::string name;
    std::string state;  // ok, warn, fail
    std::string found;
    std::string fix;  // "" = nothing to do
};
[[nodiscard]] std::vector<Check> checks_of(const nlohmann::json& doctor);
[[nodiscard]] std::string doctor_view(const std::vector<Check>& checks, const Look& look);

// run: "queued: Capacity: 4 of 4 run slots are taken", of a status event or a run's status.
[[nodiscard]] std::string phase_line(const nlohmann::json& status, const Look& look);
// run, after the end: one line about how it went, then one for each log that is not whole.
[[nodiscard]] std::string ending_text(const nlohmann::json& run, const Look& look);

// An answer that is no success: what was wrong, each field with its limit, and what to do next.
// `run_id`: the one it is about, "" = none.
[[nodiscard]] std::string problem_view(int status, std::string_view body, std::string_view run_id);

}  // namespace mayfly::api::cli
