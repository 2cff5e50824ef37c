#include "api/cli/follow.h"

#include <algorithm>
#include <utility>

#include "api/cli/fields.h"
#include "api/query.h"
#include "api/submission.h"

namespace mayfly::api::cli {

Told Follower::take(const SseEvent& event) {
    Told told;
    nlohmann::json fields = parse_json(event.data);
    if (!fields.is_object()) return told;
    if (event.name == "log") return output(std::move(fields), event.id);
    if (event.name == "status") told.kind = Told::Kind::status;
    if (event.name == "end") told.kind = Told::Kind::end;
    if (event.name == "restart") {
        told.kind = Told::Kind::restart;
        offsets_ = {0, 0};
        attempt_ = integer_of(fields, "attempt").value_or(attempt_ + 1);
        // Resuming goes on in the new attempt, whose first byte has not come yet.
        resume_id_ = std::to_string(attempt_) + ":0:0";
    }
    told.fields = std::move(fields);
    return told;
}

Told Follower::output(nlohmann::json fields, const std::string& id) {
    Told told;
    told.kind = Told::Kind::output;
    told.is_stderr = text_of(fields, "stream") == "stderr";
    std::string bytes = text_of(fields, "text");
    if (bytes.empty()) bytes = base64_decode(text_of(fields, "base64")).value_or("");
    std::int64_t& offset = offsets_[told.is_stderr ? 1 : 0];
    const std::int64_t begins = integer_of(fields, "offset").value_or(offset);
    const std::int64_t known = std::clamp<std::int64_t>(offset - begins, 0, std::ssize(bytes));
    told.missing = std::max<std::int64_t>(0, begins - offset);
    offset = std::max(offset, begins + std::ssize(bytes));
    told.bytes = bytes.substr(static_cast<std::size_t>(known));
    if (!id.empty()) resume_id_ = id;
    const auto attempt = parse_integer(std::string_view(id).substr(0, id.find(':')));
    if (attempt) attempt_ = *attempt;
    told.fields = std::move(fields);
    return told;
}

}  // namespace mayfly::api::cli
