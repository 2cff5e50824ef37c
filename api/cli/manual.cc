#include "api/cli/manual.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/cli/exit_code.h"
#include "api/cli/tree.h"

namespace mayfly::api::cli {
namespace {

// A line of text: what roff reads as its own is escaped.
std::string roff(std::string_view text) {
    std::string out;
    bool line_begins = true;
    for (const char c : text) {
        if (line_begins && (c == '.' || c == '\'')) out += "\\&";
        line_begins = c == '\n';
        if (c == '\\') {
            out += "\\e";
        } else if (c == '-') {
            out += "\\-";
        } else if (c == '~') {
            out += "\\(ti";
        } else if (c == '^') {
            out += "\\(ha";
        } else if (c == '`') {
            out += "\\(ga";
        } else {
            out += c;
        }
    }
    return out;
}

std::string names_of(const OptionFacts& option) {
    std::string out;
    for (const std::string& name : option.names) {
        if (!out.empty()) out += ", ";
        out += option.positional ? "\\fI" + roff(name) + "\\fR" : "\\fB" + roff(name) + "\\fR";
    }
    if (!option.value.empty()) out += " \\fI" + roff(option.value) + "\\fR";
    return out;
}

std::string options_of(const CommandFacts& command) {
    std::string out;
    for (const OptionFacts& option : command.options) {
        out += ".TP\n" + names_of(option) + "\n" + roff(option.what);
        if (option.positional && !option.choices.empty()) {
            std::string choices;
            for (const std::string& choice : option.choices) {
                choices += (choices.empty() ? "" : ", ") + choice;
            }
            out += ": " + choices;
        }
        out += "\n";
    }
    return out;
}

// What stands in the footer between "Example:" and the next empty line.
std::string example_of(const CommandFacts& command) {
    constexpr std::string_view kBegin = "Example:\n";
    const std::size_t begin = command.footer.find(kBegin);
    if (begin == command.footer.npos) return {};
    const std::string_view rest = std::string_view(command.footer).substr(begin + kBegin.size());
    return std::string(rest.substr(0, rest.find("\n\n")));
}

}  // namespace

std::string manual_page(const CLI::App& app) {
    const std::vector<CommandFacts> commands = flatten(app);
    std::string out = ".TH MAYFLY 1 \"\" \"mayfly " MAYFLY_VERSION
                      "\" \"User Commands\"\n"
                      ".SH NAME\nmayfly \\- run scripts on a mayflyd\n"
                      ".SH SYNOPSIS\n\\fBmayfly\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR ...\n"
                      ".SH DESCRIPTION\n";
    out += roff(commands[0].what) + "\n";
    out += ".SH OPTIONS\nFor every command:\n" + options_of(commands[0]);
    out += ".SH COMMANDS\n";
    for (const CommandFacts& command : commands) {
        if (command.path.empty()) continue;
        out += ".SS " + roff(usage_of(command)) + "\n" + roff(command.what) + "\n";
        out += options_of(command);
        if (const std::string example = example_of(command); !example.empty()) {
            out += ".PP\nExample:\n.PP\n.nf\n" + roff(example) + "\n.fi\n";
        }
    }
    out += ".SH \"EXIT STATUS\"\n";
    for (const ExitMeaning& entry : exit_meanings()) {
        out += ".TP\n\\fB" + roff(entry.code) + "\\fR\n" + roff(entry.meaning) + "\n";
    }
    out +=
        ".PP\nA script may exit with any of these itself; \\fBrun \\-\\-json\\fR tells them "
        "apart.\n";
    out +=
        ".SH ENVIRONMENT\n.TP\n\\fBMAYFLY_URL\\fR\nwhere mayflyd is, if \\fB\\-\\-url\\fR does "
        "not say\n.TP\n\\fBMAYFLY_CA_FILE\\fR\nPEM certificates to trust, if "
        "\\fB\\-\\-ca\\-file\\fR does not say\n.TP\n\\fBNO_COLOR\\fR\nnot empty: no colours\n"
        ".TP\n\\fBTMPDIR\\fR\nwhere standard input is kept until it is sent, when it is a "
        "pipe\n";
    return out;
}

std::string markdown_tables(const CLI::App& app) {
    std::string out = "| command | what |\n|---|---|\n";
    for (const CommandFacts& command : flatten(app)) {
        if (command.path.empty() || !command.below.empty()) continue;
        // The first sentence says what it is for; the rest is in --help.
        const std::size_t end = command.what.find_first_of(":.;?");
        out += fmt::format("| `mayfly {}` | {} |\n", command.path, command.what.substr(0, end));
    }
    out += "\n| exit code | what |\n|---|---|\n";
    for (const ExitMeaning& entry : exit_meanings()) {
        out += fmt::format("| {} | {} |\n", entry.code, entry.meaning);
    }
    return out;
}

}  // namespace mayfly::api::cli
