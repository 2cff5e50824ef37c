// --help of every command, laid out from the CLI11 tree, no line wider than 80 columns. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace mayfly::api::cli {

[[nodiscard]] std::string help_text(const CLI::App& app);
// Breaks at blanks; lines behind the first begin with `indent` blanks. `at`: columns that are
// taken already on the first line.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t indent, std::size_t at);

}  // namespace mayfly::api::cli
