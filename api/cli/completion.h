// Completions for bash, zsh and fish, made of the CLI11 tree itself, so that they cannot drift
// from it. Ids of runs are completed by asking `mayfly ps -q`. Pure.
#pragma once

#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace mayfly::api::cli {

// `shell` is bash, zsh or fish.
[[nodiscard]] std::string completion_script(const CLI::App& app, std::string_view shell);

}  // namespace mayfly::api::cli
