// RunSpec as JSON, both ways. The canonical text (sorted keys, no spaces, everything spelled out)
// is what is stored and hashed; but for a webhook's secret it is also the `spec` that the API
// shows. Validation of a *user's* spec is the API's; parse() trusts that the text came from
// to_json and answers `corrupt` when it did not.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "store/error.h"
#include "store/run.h"

namespace mayfly::store {

// With everything in it, secrets too: for the database.
[[nodiscard]] nlohmann::json spec_to_json(const RunSpec& spec);
// For everybody else: of a webhook's secret it says only whether there is one.
[[nodiscard]] nlohmann::json shown_spec_json(const RunSpec& spec);
[[nodiscard]] std::string canonical_spec(const RunSpec& spec);
[[nodiscard]] Result<RunSpec> parse_spec(std::string_view canonical);

}  // namespace mayfly::store
