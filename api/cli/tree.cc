#include "api/cli/tree.h"

#include <CLI/CLI.hpp>

namespace mayfly::api::cli {
namespace {

// CLI11 writes a check into the type's name: "TEXT:{none,loopback}".
std::vector<std::string> choices_in(const std::string& type) {
    const std::size_t begin = type.find('{');
    const std::size_t end = type.find('}');
    if (begin == type.npos || end == type.npos) return {};
    std::vector<std::string> out;
    std::string rest = type.substr(begin + 1, end - begin - 1);
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        out.push_back(rest.substr(0, comma));
        rest = comma == rest.npos ? "" : rest.substr(comma + 1);
    }
    return out;
}

OptionFacts facts_of(const CLI::Option& option) {
    OptionFacts facts;
    const std::string type = option.get_type_name();
    facts.what = option.get_description();
    facts.choices = choices_in(type);
    facts.required = option.get_required();
    facts.many = option.get_expected_max() > 1;
    facts.positional = option.get_positional();
    if (facts.positional) {
        facts.names = {option.get_name(true)};
        return facts;
    }
    for (const std::string& name : option.get_snames()) facts.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) facts.names.push_back("--" + name);
    if (option.get_expected_max() == 0) return facts;  // a flag
    facts.value = type.substr(0, type.find(':'));
    if (!facts.choices.empty() && facts.value == "TEXT") {
        facts.value = type.substr(type.find('{') + 1, type.find('}') - type.find('{') - 1);
        for (char& c : facts.value) {
            if (c == ',') c = '|';
        }
    }
    return facts;
}

void walk(const CLI::App& app, const std::string& path, std::vector<CommandFacts>& out) {
    CommandFacts facts{path, app.get_description(), app.get_footer(), {}, {}};
    for (const CLI::Option* option : app.get_options()) {
        if (!option->get_group().empty()) facts.options.push_back(facts_of(*option));
    }
    const auto below = app.get_subcommands([](const CLI::App*) { return true; });
    for (const CLI::App* child : below) facts.below.push_back(child->get_name());
    out.push_back(std::move(facts));
    for (const CLI::App* child : below) {
        std::string name = path;
        if (!name.empty()) name += ' ';
        walk(*child, name + child->get_name(), out);
    }
}

}  // namespace

std::vector<CommandFacts> flatten(const CLI::App& app) {
    std::vector<CommandFacts> out;
    walk(app, "", out);
    return out;
}

std::string usage_of(const CommandFacts& command) {
    std::string out = "mayfly";
    if (!command.path.empty()) out += " " + command.path;
    out += " [OPTION]...";
    for (const OptionFacts& option : command.options) {
        if (!option.positional) continue;
        std::string name = option.names[0];
        if (option.many) name += "...";
        if (name.starts_with("COMMAND")) {
            out += " -- " + name;
        } else {
            out += option.required ? " " + name : " [" + name + "]";
        }
    }
    if (!command.below.empty()) out += " COMMAND";
    return out;
}

}  // namespace mayfly::api::cli
