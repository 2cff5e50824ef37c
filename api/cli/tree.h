// The CLI11 tree, flattened: each command with its options, for what is generated from it. Pure.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mayfly::api::cli {

struct OptionFacts {
    std::vector<std::string> names;  // "-f", "--file"; one name without dashes for a positional
    std::string value;               // "FILE", "" for a flag
    std::string what;
    std::vector<std::string> choices;  // the values that there are, empty = any
    bool positional = false;
    bool required = false;
    bool many = false;
};

struct CommandFacts {
    std::string path;  // "artifacts get"; "" for the root
    std::string what;
    std::string footer;
    std::vector<OptionFacts> options;  // positionals too
    std::vector<std::string> below;    // names of its subcommands
};

// The root first, then every command in the order in which they were added.
[[nodiscard]] std::vector<CommandFacts> flatten(const CLI::App& app);
// "mayfly run [options] -- COMMAND..."
[[nodiscard]] std::string usage_of(const CommandFacts& command);

}  // namespace mayfly::api::cli
