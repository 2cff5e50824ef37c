#include "controller/engine/docker/pull_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "controller/engine/docker/outcome.h"

namespace mayfly::controller::docker {
namespace {

using nlohmann::json;

constexpr double kMB = 1e6;

std::string text_at(const json& at, const char* key) {
    const auto found = at.find(key);
    return found != at.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t number_at(const json& at, const char* key) {
    const auto found = at.find(key);
    return found != at.end() && found->is_number_integer()
               ? std::max<std::int64_t>(found->get<std::int64_t>(), 0)
               : 0;
}

}  // namespace

std::expected<void, StreamError> PullProgress::take_line(std::string_view line) {
    const json said = json::parse(line, nullptr, false);
    if (!said.is_object()) {
        return std::unexpected(StreamError{EngineError::Kind::protocol,
                                           "pull: a line of the stream is no JSON object"});
    }
    if (said.contains("error") || said.contains("errorDetail")) {
        std::string why = text_at(said, "error");
        if (const auto detail = said.find("errorDetail");
            why.empty() && detail != said.end() && detail->is_object()) {
            why = text_at(*detail, "message");
        }
        return std::unexpected(
            StreamError{EngineError::Kind::rejected,
                        plain_text(why.empty() ? "the engine gave up without saying why" : why)});
    }
    const std::string status = text_at(said, "status");
    const std::string id = text_at(said, "id");
    const auto detail = said.find("progressDetail");
    // Layers alone have a progressDetail (an empty one at first); "Pulling from ..." has an id,
    // too.
    if (id.empty() || detail == said.end() || !detail->is_object()) {
        last_status_ = plain_text(status);
        return {};
    }
    auto found = layers_.find(id);
    if (found == layers_.end()) {
        if (layers_.size() >= kPullLayersMax) {
            return {};
        }
        found = layers_.emplace(id, Layer{}).first;
    }
    Layer& layer = found->second;
    if (status == "Downloading") {
        layer.current_bytes = number_at(*detail, "current");
        layer.total_bytes = std::max(number_at(*detail, "total"), layer.current_bytes);
    } else if (status == "Download complete" || status == "Extracting") {
        layer.current_bytes = layer.total_bytes;
    } else if (status == "Pull complete" || status == "Already exists") {
        layer.current_bytes = layer.total_bytes;
        layer.done = true;
    }
    return {};
}

std::string PullProgress::sentence() const {
    if (layers_.empty()) {
        return last_status_;
    }
    std::int64_t done = 0;
    double current = 0;
    double total = 0;
    for (const auto& [id, layer] : layers_) {
        done += layer.done ? 1 : 0;
        current += static_cast<double>(layer.current_bytes);
        total += static_cast<double>(layer.total_bytes);
    }
    std::string text = fmt::format("{} of {} layers", done, layers_.size());
    if (total > 0) {
        text += fmt::format(", {:.1f} of {:.1f} MB", current / kMB, total / kMB);
    }
    return text;
}

std::expected<void, StreamError> PullProgress::feed(
    std::span<const std::byte> bytes, const std::function<void(std::string_view)>& told) {
    std::expected<void, StreamError> taken;
    lines_.feed(bytes, [this, &taken, &told](std::string_view line) {
        taken = take_line(line);
        if (taken.has_value() && told) {
            std::string now = sentence();
            if (now != last_told_) {
                last_told_ = std::move(now);
                told(last_told_);
            }
        }
        return taken.has_value();
    });
    return taken;
}

std::expected<void, StreamError> PullProgress::finish() const {
    if (lines_.skipped() > 0) {
        return std::unexpected(StreamError{
            EngineError::Kind::protocol,
            fmt::format("pull: a line of the stream is longer than {} bytes", kPullLineBytesMax)});
    }
    if (!lines_.rest().empty()) {
        return std::unexpected(
            StreamError{EngineError::Kind::cut, "pull: the stream ends in the middle of a line"});
    }
    return {};
}

}  // namespace mayfly::controller::docker
