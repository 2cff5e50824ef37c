// What the API shows: records as JSON text. Absent values are null; times are RFC 3339 in UTC with
// milliseconds. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/event.h"
#include "store/explanation.h"
#include "store/limits.h"
#include "store/live_status.h"
#include "store/run.h"
#include "store/webhook.h"

namespace mayfly::api {

// "2025-03-01T12:00:00.123Z".
using store::rfc3339;
// "Sat, 01 Mar 2025 12:00:00 GMT", for the Date header.
[[nodiscard]] std::string http_date(store::UnixMs ms);

// {"id","spec","status"}. The script's result is spliced in as the text that it wrote; with_result
// = false leaves the field away, for listings.
[[nodiscard]] std::string run_text(const store::Run& run, bool with_result = true);
// {"runs":[...],"next_cursor":...}; stops early, with a cursor, when the text would be over
// max_bytes. `more` says that the store has runs behind the last one.
[[nodiscard]] std::string runs_text(const std::vector<store::Run>& runs, bool more,
                                    std::size_t max_bytes);
[[nodiscard]] std::string artifacts_text(const store::RunStatus& status,
                                         const std::vector<store::Artifact>& artifacts);
[[nodiscard]] std::string engines_text(const store::LiveStatus& live, const store::Policy& policy,
                                       const store::PhaseNumbers& runs);
// What a follower is told of the run: at each change, and when its log is whole.
[[nodiscard]] std::string log_status_text(const store::Run& run);
[[nodiscard]] std::string log_end_text(const store::Run& run);

// What GET /v1/runs/{id}/explain is made of.
struct Explained {
    const store::RunRecord& record;
    const std::optional<store::Explanation>& now;  // nothing: nothing is left to do
    const std::vector<store::Event>& history;
    const store::LiveStatus& live;
    const std::optional<store::WebhookProgress>&
        webhook;  // nothing: there was nothing to tell yet
};
[[nodiscard]] std::string explanation_text(const Explained& explained);

struct Readiness {
    bool ready = false;
    std::string text;  // {"ready","reasons":[{reason,message}],"degraded":[...]}
};
// `store_failure`: why the store has stopped, "" when it has not.
[[nodiscard]] Readiness readiness(const store::LiveStatus& live, std::string_view store_failure,
                                  bool stopping);

// What a newcomer sees at `/`. `address` is "http://127.0.0.1:7070".
[[nodiscard]] std::string welcome_text(std::string_view address);
[[nodiscard]] std::string welcome_json();

}  // namespace mayfly::api
