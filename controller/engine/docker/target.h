// The strings of a request line. Pure.
#pragma once

#include <string>
#include <string_view>

namespace mayfly::controller::docker {

// Percent-encodes everything but RFC 3986's unreserved characters.
[[nodiscard]] std::string encode(std::string_view text);
// The same, but '/', ':' and '@' stay: an image reference inside a path.
[[nodiscard]] std::string encode_reference(std::string_view reference);

// The value of ?filters=, encoded: {"label":["key=value"]}, and {"type":["container"]} for events.
[[nodiscard]] std::string label_filter(std::string_view label);
[[nodiscard]] std::string container_event_filter(std::string_view label);

struct PullReference {
    std::string name;
    std::string tag;  // or a digest, "sha256:..."; never empty
};
// "host:5000/name:tag@sha256:..." taken apart. Without a tag an engine would pull every tag there
// is, so "latest" is filled in; a digest outweighs a tag.
[[nodiscard]] PullReference split_reference(std::string_view reference);

}  // namespace mayfly::controller::docker
