// The engine's JSON as values. Pure.
//
// The error names the field: it is missing, or not of its type. A field that decides something
// (a state, an exit code, an id) must be there; one that verify_sandbox reads back may be missing,
// and then reads as "not in force". Unknown fields are ignored, an unknown state is
// ContainerState::unknown. No input crashes or is believed half.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "controller/engine/facts.h"

namespace mayfly::controller::docker {

template <class T>
using Parsed = std::expected<T, std::string>;

[[nodiscard]] Parsed<ContainerFacts> parse_container(std::string_view body);
[[nodiscard]] Parsed<std::vector<ContainerSummary>> parse_container_list(std::string_view body);
[[nodiscard]] Parsed<ImageFacts> parse_image(std::string_view body);
[[nodiscard]] Parsed<std::vector<ImageFacts>> parse_image_list(std::string_view body);
[[nodiscard]] Parsed<VolumeFacts> parse_volume(std::string_view body);
[[nodiscard]] Parsed<std::vector<VolumeFacts>> parse_volume_list(std::string_view body);
// One line of GET /events.
[[nodiscard]] Parsed<EngineEvent> parse_event(std::string_view line);
// The header X-Docker-Container-Path-Stat: base64 of JSON.
[[nodiscard]] Parsed<PathStat> parse_path_stat(std::string_view header);

struct Created {
    std::string id;
    std::vector<std::string> warnings;
};
[[nodiscard]] Parsed<Created> parse_created(std::string_view body);
// POST /commit.
[[nodiscard]] Parsed<std::string> parse_id(std::string_view body);

// GET /version: version, os, arch, kernel, runc_version, and MinAPIVersion.
struct VersionFacts {
    EngineFacts facts;
    std::string api_oldest;
};
[[nodiscard]] Parsed<VersionFacts> parse_version(std::string_view body);
// GET /info, added to what /version said.
[[nodiscard]] Parsed<EngineFacts> parse_info(std::string_view body, EngineFacts facts);

}  // namespace mayfly::controller::docker
