// One run's follow stream (GET /v1/runs/{id}/logs?follow=1&stream=both), event by event: what is
// to be written where, and what to send to resume. A stream that is cut and resumed, in whatever
// place, gives every byte once: overlaps are dropped, a gap is told. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "api/cli/sse.h"

namespace mayfly::api::cli {

struct Told {
    enum class Kind { nothing, output, status, restart, end };
    Kind kind = Kind::nothing;
    bool is_stderr = false;
    std::string bytes;         // output: what is new
    std::int64_t missing = 0;  // output: bytes before it that nobody sent
    nlohmann::json fields;     // the event's data
};

class Follower {
public:
    // What one event means. Events of unknown names, and data that is no JSON, mean nothing.
    [[nodiscard]] Told take(const SseEvent& event);

    // For the header Last-Event-ID; "" before anything came.
    [[nodiscard]] const std::string& resume_id() const { return resume_id_; }
    // Bytes of stdout and stderr that were given out, of the attempt under way.
    [[nodiscard]] const std::array<std::int64_t, 2>& offsets() const { return offsets_; }

private:
    Told output(nlohmann::json fields, const std::string& id);

    std::array<std::int64_t, 2> offsets_ = {0, 0};
    std::string resume_id_;
    std::int64_t attempt_ = 0;
};

}  // namespace mayfly::api::cli
