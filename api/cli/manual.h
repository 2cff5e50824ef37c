// The manual page (roff, for man(7)) and the README's tables, made of the CLI11 tree. Pure.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace mayfly::api::cli {

[[nodiscard]] std::string manual_page(const CLI::App& app);
// What stands between the README's cli:begin and cli:end.
[[nodiscard]] std::string markdown_tables(const CLI::App& app);

}  // namespace mayfly::api::cli
