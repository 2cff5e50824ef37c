// What is sent with POST /containers/create and POST /commit. Pure.
//
// An engine ignores a field that it does not know, silently, so a misspelt limit is no limit: the
// names here are held against a real engine by tests/engine, and every run's container is read
// back by verify_sandbox before it may start.
#pragma once

#include <expected>
#include <map>
#include <string>

#include "controller/sandbox.h"

namespace mayfly::controller::docker {

// JSON text, or which field cannot be said in JSON (it is not UTF-8) or has no meaning (no limit).
using Body = std::expected<std::string, std::string>;

[[nodiscard]] Body create_body(const Sandbox& sandbox);
// A container that is never started: only its file system matters.
[[nodiscard]] Body build_body(const std::string& image,
                              const std::map<std::string, std::string>& labels);
// An engine merges the container's labels into the image it makes of it, and the image's into
// every container made from that. Ours are blanked here, so that nothing made from our image by
// somebody else ever carries our instance.
[[nodiscard]] Body commit_body(const std::map<std::string, std::string>& labels);

}  // namespace mayfly::controller::docker
