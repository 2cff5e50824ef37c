#include "api/cli/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/cli/tree.h"

namespace mayfly::api::cli {
namespace {

using Words = std::vector<std::string>;

std::string joined(const Words& words, std::string_view between = " ") {
    std::string out;
    for (const std::string& word : words) {
        if (!out.empty()) out += between;
        out += word;
    }
    return out;
}

// "artifacts get" -> "artifacts_get"; the root is "root".
std::string word_of(const std::string& path) {
    if (path.empty()) return "root";
    std::string out = path;
    std::ranges::replace(out, ' ', '_');
    return out;
}

// In single quotes, for any of the three shells.
std::string quoted(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'') {
            out += "'\\''";
        } else {
            out += c;
        }
    }
    return out + "'";
}

enum class Fill { words, files, folders, ids, nothing };

Fill fill_of(const OptionFacts& option) {
    if (!option.choices.empty()) return Fill::words;
    const std::string_view kind = option.positional ? option.names[0] : option.value;
    if (kind == "ID") return Fill::ids;
    if (kind == "FILE" || kind.starts_with("LOCAL")) return Fill::files;
    if (kind == "DIR") return Fill::folders;
    return Fill::nothing;
}

// What completes the positionals of a command.
Fill positional_fill(const CommandFacts& command, Words& choices) {
    for (const OptionFacts& option : command.options) {
        if (!option.positional) continue;
        choices = option.choices;
        return fill_of(option);
    }
    return Fill::nothing;
}

Words all_flags(const CommandFacts& command, const CommandFacts& root) {
    Words out;
    for (const CommandFacts* from : {&command, &root}) {
        for (const OptionFacts& option : from->options) {
            if (option.positional) continue;
            for (const std::string& name : option.names) {
                if (std::ranges::find(out, name) == out.end()) out.push_back(name);
            }
        }
        if (&command == &root) break;
    }
    return out;
}

std::string bash_fill(Fill fill, const Words& choices) {
    switch (fill) {
        case Fill::words:
            return fmt::format("COMPREPLY=($(compgen -W {} -- \"$cur\"))",
                               quoted(joined(choices)));
        case Fill::files:
            return "compopt -o default; COMPREPLY=()";
        case Fill::folders:
            return "compopt -o dirnames; COMPREPLY=()";
        case Fill::ids:
            return "COMPREPLY=($(compgen -W \"$(mayfly ps -q --limit 50 2>/dev/null)\" -- "
                   "\"$cur\"))";
        case Fill::nothing:
            break;
    }
    return "COMPREPLY=()";
}

// The value of the option before the cursor, by command.
std::string bash_values(const std::vector<CommandFacts>& commands) {
    std::string out;
    for (const CommandFacts& command : commands) {
        for (const OptionFacts& option : command.options) {
            if (option.positional || option.value.empty()) continue;
            for (const std::string& name : option.names) {
                const std::string of = command.path.empty() ? "*" : word_of(command.path);
                out += fmt::format("    {}:{}) {}; return ;;\n", of, name,
                                   bash_fill(fill_of(option), option.choices));
            }
        }
    }
    return out;
}

std::string bash(const std::vector<CommandFacts>& commands) {
    std::string steps;
    std::string words;
    for (const CommandFacts& command : commands) {
        for (const std::string& name : command.below) {
            const std::string path = command.path.empty() ? name : command.path + " " + name;
            steps +=
                fmt::format("      {}:{}) at={} ;;\n", word_of(command.path), name, word_of(path));
        }
        Words choices;
        const Fill fill = positional_fill(command, choices);
        const std::string other = command.below.empty() ? bash_fill(fill, choices)
                                                        : bash_fill(Fill::words, command.below);
        words += fmt::format(
            "    {})\n"
            "      if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W {} -- \"$cur\"))\n"
            "      else {}; fi ;;\n",
            word_of(command.path), quoted(joined(all_flags(command, commands[0]))), other);
    }
    return "# bash completion for mayfly; made by `mayfly completion bash`\n"
           "_mayfly() {\n"
           "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at=root i\n"
           "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "    if [[ ${COMP_WORDS[i]} == -- ]]; then compopt -o default; COMPREPLY=(); return; "
           "fi\n"
           "    case $at:${COMP_WORDS[i]} in\n" +
           steps +
           "    esac\n"
           "  done\n"
           "  case $at:$prev in\n" +
           bash_values({commands.begin() + 1, commands.end()}) + bash_values({commands[0]}) +
           "  esac\n"
           "  case $at in\n" +
           words +
           "  esac\n"
           "}\n"
           "complete -F _mayfly mayfly\n";
}

std::string zsh_fill(Fill fill, const Words& choices) {
    switch (fill) {
        case Fill::words:
            return "(" + joined(choices) + ")";
        case Fill::files:
            return "_files";
        case Fill::folders:
            return "_files -/";
        case Fill::ids:
            return "_mayfly_ids";
        case Fill::nothing:
            break;
    }
    return " ";
}

// Text inside of a zsh specification: brackets and colons mean something there.
std::string zsh_text(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

void zsh_options(const CommandFacts& command, std::string& out) {
    for (const OptionFacts& option : command.options) {
        if (option.positional) continue;
        for (const std::string& name : option.names) {
            std::string spec = option.many ? "*" : "";
            spec += name + "[" + zsh_text(option.what) + "]";
            if (!option.value.empty()) {
                spec +=
                    ":" + zsh_text(option.value) + ":" + zsh_fill(fill_of(option), option.choices);
            }
            out += " \\\n        " + quoted(spec);
        }
    }
}

std::string zsh(const std::vector<CommandFacts>& commands) {
    std::string out =
        "#compdef mayfly\n"
        "# zsh completion for mayfly; made by `mayfly completion zsh`\n"
        "_mayfly_ids() {\n"
        "  local -a ids\n"
        "  ids=(${(f)\"$(mayfly ps -q --limit 50 2>/dev/null)\"})\n"
        "  compadd -a ids\n"
        "}\n";
    for (const CommandFacts& command : commands) {
        out += fmt::format("_mayfly_{}() {{\n", word_of(command.path));
        if (!command.below.empty()) out += "  local line state\n";
        out += "  _arguments -C";
        zsh_options(command, out);
        if (!command.path.empty()) zsh_options(commands[0], out);
        if (command.below.empty()) {
            Words choices;
            const Fill fill = positional_fill(command, choices);
            out += " \\\n        " + quoted("*:: :" + zsh_fill(fill, choices)) + "\n}\n";
            continue;
        }
        out += " \\\n        " + quoted("1:command:(" + joined(command.below) + ")") +
               " \\\n        '*::arguments:->below'\n"
               "  if [[ $state == below ]]; then\n"
               "    case $line[1] in\n";
        for (const std::string& name : command.below) {
            const std::string path = command.path.empty() ? name : command.path + " " + name;
            out += fmt::format("      {}) _mayfly_{} ;;\n", name, word_of(path));
        }
        out += "    esac\n  fi\n}\n";
    }
    return out +
           "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _mayfly_root \"$@\"\n"
           "else compdef _mayfly_root mayfly; fi\n";
}

std::string fish_fill(Fill fill, const Words& choices) {
    switch (fill) {
        case Fill::words:
            return " -xa " + quoted(joined(choices));
        case Fill::files:
            return " -rF";
        case Fill::folders:
            return " -xa '(__fish_complete_directories)'";
        case Fill::ids:
            return " -xa '(mayfly ps -q --limit 50 2>/dev/null)'";
        case Fill::nothing:
            break;
    }
    return " -x";
}

// When a command is the one that is typed.
std::string fish_when(const CommandFacts& command) {
    if (command.path.empty()) return "__fish_use_subcommand";
    std::string out;
    std::string rest = command.path;
    while (!rest.empty()) {
        const std::size_t blank = rest.find(' ');
        if (!out.empty()) out += "; and ";
        out += "__fish_seen_subcommand_from " + rest.substr(0, blank);
        rest = blank == rest.npos ? "" : rest.substr(blank + 1);
    }
    if (!command.below.empty()) {
        out += "; and not __fish_seen_subcommand_from " + joined(command.below);
    }
    return out;
}

std::string fish_option(const OptionFacts& option, const std::string& when) {
    std::string out = "complete -c mayfly";
    if (!when.empty()) out += " -n " + quoted(when);
    for (const std::string& name : option.names) {
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    if (!option.value.empty()) out += fish_fill(fill_of(option), option.choices);
    return out + " -d " + quoted(option.what) + "\n";
}

std::string fish(const std::vector<CommandFacts>& commands) {
    std::string out =
        "# fish completion for mayfly; made by `mayfly completion fish`\n"
        "complete -c mayfly -f\n";
    for (const CommandFacts& command : commands) {
        const std::string when = fish_when(command);
        for (const OptionFacts& option : command.options) {
            if (!option.positional) out += fish_option(option, command.path.empty() ? "" : when);
        }
        for (const std::string& name : command.below) {
            const std::string path = command.path.empty() ? name : command.path + " " + name;
            const auto child = std::ranges::find(commands, path, &CommandFacts::path);
            out += fmt::format("complete -c mayfly -n {} -a {} -d {}\n", quoted(when), name,
                               quoted(child->what));
        }
        Words choices;
        const Fill fill = positional_fill(command, choices);
        if (command.below.empty() && fill != Fill::nothing) {
            out += fmt::format("complete -c mayfly -n {}{}\n", quoted(when),
                               fish_fill(fill, choices));
        }
    }
    return out;
}

}  // namespace

std::string completion_script(const CLI::App& app, std::string_view shell) {
    const std::vector<CommandFacts> commands = flatten(app);
    if (shell == "zsh") return zsh(commands);
    if (shell == "fish") return fish(commands);
    return bash(commands);
}

}  // namespace mayfly::api::cli
