#include "api/cli/help.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "api/cli/exit_code.h"
#include "api/cli/text.h"
#include "api/cli/tree.h"

namespace mayfly::api::cli {
namespace {

constexpr std::size_t kColumns = 80;
constexpr std::size_t kTextAt = 26;

std::string path_of(const CLI::App& app) {
    if (app.get_parent() == nullptr) return {};
    const std::string above = path_of(*app.get_parent());
    return above.empty() ? app.get_name() : above + " " + app.get_name();
}

const CLI::App& root_of(const CLI::App& app) {
    return app.get_parent() == nullptr ? app : root_of(*app.get_parent());
}

// "  name    what it is"; the text begins on a line of its own when the name is long.
std::string entry(const std::string& name, std::string_view what, std::size_t text_at) {
    std::string out = "  " + name;
    if (out.size() + 2 > text_at) {
        out += "\n" + std::string(text_at, ' ');
    } else {
        out.append(text_at - out.size(), ' ');
    }
    return out + wrapped(what, text_at, text_at) + "\n";
}

std::string option_names(const OptionFacts& option) {
    std::string out;
    for (const std::string& name : option.names) {
        if (!out.empty()) out += ", ";
        out += name;
    }
    // In one column with those that have a short name.
    if (out.starts_with("--")) out.insert(0, "    ");
    if (!option.value.empty()) out += " " + option.value;
    if (option.positional && option.many) out += "...";
    return out;
}

std::string options_of(const CommandFacts& command) {
    std::string out;
    for (const OptionFacts& option : command.options) {
        std::string what = option.what;
        if (!option.positional && option.many) what += " (may come more than once)";
        if (option.positional && !option.choices.empty()) {
            what += ": ";
            for (const std::string& choice : option.choices) {
                what += (&choice == &option.choices.front() ? "" : ", ") + choice;
            }
        }
        out += entry(option_names(option), what, kTextAt);
    }
    return out;
}

// What a list of commands says of one.
std::string_view first_sentence(std::string_view what) {
    return what.substr(0, what.find_first_of(":.;?"));
}

}  // namespace

std::string wrapped(std::string_view text, std::size_t indent, std::size_t at) {
    std::string out;
    bool first = true;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        const std::string_view word = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (!first && at + 1 + width_of(word) > kColumns - 1) {
            out += "\n" + std::string(indent, ' ');
            at = indent;
        } else if (!first) {
            out += ' ';
            ++at;
        }
        out += word;
        at += width_of(word);
        first = false;
    }
    return out;
}

std::string help_text(const CLI::App& app) {
    const std::vector<CommandFacts> all = flatten(root_of(app));
    const std::string path = path_of(app);
    const auto at = std::ranges::find(all, path, &CommandFacts::path);
    if (at == all.end()) return {};
    std::string out = wrapped(at->what, 0, 0) + "\n\nUsage: " + usage_of(*at) + "\n";
    if (!at->below.empty()) {
        out += "\nCommands:\n";
        for (const CommandFacts& command : all) {
            const bool below = command.path.starts_with(path) && command.path != path &&
                               !command.path.empty() && command.below.empty();
            if (below) out += entry(command.path, first_sentence(command.what), 18);
        }
    }
    out += "\nOptions:\n" + options_of(*at);
    if (path.empty()) {
        out += "\nExit codes:\n";
        for (const ExitMeaning& code : exit_meanings()) {
            out += entry(std::string(code.code), code.meaning, 9);
        }
    }
    return out + "\n" + at->footer + "\n";
}

}  // namespace mayfly::api::cli
