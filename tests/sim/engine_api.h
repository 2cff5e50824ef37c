// Docker's Engine API over a DockerModel: requests as values in, answers as values out. It speaks
// the JSON that controller/engine/docker writes and reads, so that an unmodified mayflyd can work
// with the model.
//
// Knows no socket and no time but the world's: whoever calls it has advanced the world to now.
// Calls take effect at once. One thread.
//
// The model's clock starts on a day of its own; what leaves here is on the wall's, by `shift_ms`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/sim/docker_model.h"
#include "tests/sim/world.h"

namespace mayfly::sim {

struct ApiRequest {
    std::string verb;
    std::vector<std::string> path;  // decoded, without the version
    std::map<std::string, std::string> query;
    std::string body;
    bool whole = true;  // false: the caller went away in the middle of the body
};

struct ApiAnswer {
    int status = 200;
    std::string body;
    std::string type = "application/json";
    std::string fields;  // further header lines, each with its end
};

// False when the target cannot be decoded. `request` gets path and query.
[[nodiscard]] bool read_target(std::string_view target, ApiRequest& request);

// Of a list or of the events: every wanted label must be there, "key" or "key=value".
class LabelFilter {
public:
    explicit LabelFilter(const std::map<std::string, std::string>& query);
    [[nodiscard]] bool matches(const std::map<std::string, std::string>& labels) const;

private:
    std::vector<std::string> wanted_;
};

class EngineApi {
public:
    EngineApi(World& world, DockerModel& model, std::int64_t shift_ms);

    ApiAnswer answer(const ApiRequest& request);
    // Each event as the line that a listener reads; the labels are for its filter.
    std::function<void(const std::string& line, const std::map<std::string, std::string>& labels)>
        on_event_line;
    [[nodiscard]] bool anything_runs() const { return !running_.empty(); }

private:
    ApiAnswer about_engine(const ApiRequest& request);
    ApiAnswer about_containers(const ApiRequest& request);
    ApiAnswer about_one(const ApiRequest& request);
    ApiAnswer about_images(const ApiRequest& request);
    ApiAnswer about_volumes(const ApiRequest& request);
    ApiAnswer about_simulation(const ApiRequest& request);
    ApiAnswer create(const ApiRequest& request);
    ApiAnswer list(const ApiRequest& request);
    ApiAnswer inspect(const std::string& id);
    ApiAnswer archive(const ApiRequest& request, const std::string& id);
    ApiAnswer logs(const std::string& id);
    ApiAnswer commit(const ApiRequest& request);
    void hear(const EngineEvent& event);
    [[nodiscard]] UnixMs wall(UnixMs world_ms) const;

    World& world_;
    DockerModel& model_;
    std::int64_t shift_ms_;
    // Containers that run, and the index of their script's execution; -1 = PID 1 ran none.
    std::unordered_map<std::string, std::int64_t> running_;
    // Executions by a hash of run and attempt: what the oracle needs of those that have ended.
    std::unordered_map<std::uint64_t, std::uint8_t> times_;
    std::int64_t executions_ = 0;
    std::int64_t unasked_ = 0;
    std::int64_t requests_ = 0;
    std::size_t most_running_ = 0;
    std::vector<std::string> doubled_;  // "run/attempt", the first few
};

}  // namespace mayfly::sim
