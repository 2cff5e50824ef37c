// The command line, and all that is generated from it.
#include <gtest/gtest.h>

#include <sstream>

#include <nlohmann/json.hpp>
#include "api/cli/completion.h"
#include "api/cli/exit_code.h"
#include "api/cli/fields.h"
#include "api/cli/help.h"
#include "api/cli/manual.h"
#include "api/cli/options.h"
#include "api/cli/text.h"
#include "api/cli/tree.h"

namespace mayfly::api::cli {
namespace {

TEST(CliCommandLine, TakesTheCommandVerbatim) {
    CommandLine line;
    const Parsed parsed =
        line.parse({"run", "-i", "busybox", "-f", "a", "-f", "b=c", "--env", "X=[1,2]",
                    "--priority", "-5", "--", "sh", "-c", "[a,b]", "--", "--help"});
    ASSERT_FALSE(parsed.exit_now) << parsed.text;
    const RunOptions& run = line.options().run;
    EXPECT_EQ(line.options().command, Command::run);
    EXPECT_EQ(run.command, (std::vector<std::string>{"sh", "-c", "[a,b]", "--", "--help"}));
    EXPECT_EQ(run.files, (std::vector<std::string>{"a", "b=c"}));
    EXPECT_EQ(run.env, (std::vector<std::string>{"X=[1,2]"}));
    EXPECT_EQ(run.priority, -5);
}

TEST(CliCommandLine, LeavesBracketsInPathsAlone) {
    CommandLine line;
    const Parsed parsed =
        line.parse({"artifacts", "get", "01abc", "[x,y]", "plain", "--out", "[d]"});
    ASSERT_FALSE(parsed.exit_now) << parsed.text;
    EXPECT_EQ(line.options().command, Command::artifacts_get);
    EXPECT_EQ(line.options().ids, (std::vector<std::string>{"01abc"}));
    EXPECT_EQ(line.options().paths, (std::vector<std::string>{"[x,y]", "plain"}));
    EXPECT_EQ(line.options().out, "[d]");
}

TEST(CliCommandLine, TakesOptionsForAllCommandsBeforeAndBehind) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"--json", "--url", "http://h", "ps", "-p", "queued,lost"},
          std::vector<std::string>{"ps", "-p", "queued", "-p", "lost", "--json", "--url",
                                   "http://h"}}) {
        CommandLine line;
        const Parsed parsed = line.parse(arguments);
        ASSERT_FALSE(parsed.exit_now) << parsed.text;
        EXPECT_TRUE(line.options().json);
        EXPECT_EQ(line.options().url, "http://h");
        EXPECT_EQ(line.options().phases, (std::vector<std::string>{"queued", "lost"}));
    }
    CommandLine deep;
    EXPECT_FALSE(deep.parse({"artifacts", "ls", "01abc", "--json"}).exit_now);
    EXPECT_TRUE(deep.options().json);
}

TEST(CliCommandLine, SaysWhatIsWrongAndWhatToDo) {
    struct Case {
        std::vector<std::string> arguments;
        const char* said;
    };
    for (const Case& c :
         {Case{{}, "Usage: mayfly"}, Case{{"rum"}, "did you mean run?"},
          Case{{"run", "--imag", "x", "--", "y"}, "did you mean --image?"},
          Case{{"run", "--image", "x"}, "stands behind --"},
          Case{{"run", "--image", "x", "echo"}, "must stand behind --"},
          Case{{"ps", "--", "x"}, "only `mayfly run`"},
          Case{{"ps", "-p", "runing"}, "runing not in"}, Case{{"get"}, "ID is required"},
          Case{{"get", "a", "b"}, "one argument too many"}, Case{{"top", "--every", "0"}, "0"},
          Case{{"logs", "x", "--tail", "1", "-f"}, "excludes --"},
          Case{{"logs", "x", "--offset", "5"}, "--stream stdout"}}) {
        CommandLine line;
        const Parsed parsed = line.parse(c.arguments);
        EXPECT_TRUE(parsed.exit_now);
        EXPECT_TRUE(parsed.to_stderr);
        EXPECT_EQ(parsed.exit_code, kExitUsage);
        EXPECT_NE(parsed.text.find(c.said), std::string::npos) << c.said << "\n" << parsed.text;
    }
}

TEST(CliCommandLine, HelpOfEveryCommandHasAnExampleAndFitsATerminal) {
    CommandLine tree;
    for (const CommandFacts& command : flatten(tree.app())) {
        std::vector<std::string> arguments;
        std::istringstream words(command.path);
        for (std::string word; words >> word;) arguments.push_back(word);
        arguments.emplace_back("--help");
        CommandLine line;
        const Parsed parsed = line.parse(arguments);
        EXPECT_TRUE(parsed.exit_now);
        EXPECT_FALSE(parsed.to_stderr);
        EXPECT_EQ(parsed.exit_code, 0);
        EXPECT_NE(parsed.text.find("Usage: mayfly"), std::string::npos) << command.path;
        EXPECT_NE(parsed.text.find("\nExample:\n  "), std::string::npos)
            << command.path << parsed.text;
        std::istringstream lines(parsed.text);
        for (std::string text; std::getline(lines, text);) {
            EXPECT_LE(width_of(text), 80U) << command.path << ": " << text;
            EXPECT_FALSE(text.ends_with(' ')) << command.path << ": " << text;
        }
        for (const OptionFacts& option : command.options) {
            EXPECT_FALSE(option.what.empty()) << command.path << " " << option.names[0];
            for (const std::string& name : option.names) {
                EXPECT_NE(parsed.text.find(name), std::string::npos) << command.path << name;
            }
        }
    }
}

TEST(CliCommandLine, CompletionsAndManualKnowEveryCommandAndOption) {
    CommandLine line;
    const std::string manual = manual_page(line.app());
    const std::string tables = markdown_tables(line.app());
    for (const char* shell : {"bash", "zsh", "fish"}) {
        const std::string script = completion_script(line.app(), shell);
        for (const CommandFacts& command : flatten(line.app())) {
            for (const OptionFacts& option : command.options) {
                if (option.positional) continue;
                for (const std::string& name : option.names) {
                    const bool fish = shell == std::string_view("fish");
                    const std::string bare = name.substr(name.starts_with("--") ? 2 : 1);
                    const std::string wanted = !fish                    ? name
                                               : name.starts_with("--") ? "-l " + bare
                                                                        : "-s " + bare;
                    EXPECT_NE(script.find(wanted), std::string::npos)
                        << shell << " " << command.path << " " << name;
                }
                for (const std::string& choice : option.choices) {
                    EXPECT_NE(script.find(choice), std::string::npos) << shell << " " << choice;
                }
            }
            for (const std::string& name : command.below) {
                EXPECT_NE(script.find(name), std::string::npos) << shell << " " << name;
            }
        }
    }
    for (const CommandFacts& command : flatten(line.app())) {
        if (command.path.empty() || !command.below.empty()) continue;
        EXPECT_NE(manual.find(".SS mayfly " + command.path), std::string::npos) << command.path;
        EXPECT_NE(tables.find("`mayfly " + command.path + "`"), std::string::npos);
    }
    for (const ExitMeaning& code : exit_meanings()) {
        EXPECT_NE(tables.find("| " + std::string(code.code) + " |"), std::string::npos);
    }
}

TEST(CliCommandLine, TextsAreAskedForByName) {
    CommandLine man;
    const Parsed page = man.parse({"man"});
    EXPECT_TRUE(page.exit_now);
    EXPECT_TRUE(page.text.starts_with(".TH MAYFLY 1"));
    CommandLine completion;
    EXPECT_TRUE(completion.parse({"completion", "zsh"}).text.starts_with("#compdef mayfly"));
    CommandLine version;
    EXPECT_EQ(version.parse({"--version"}).text, "mayfly " MAYFLY_VERSION "\n");
}

TEST(CliHelp, WrapsAtBlanks) {
    EXPECT_EQ(wrapped("", 4, 4), "");
    EXPECT_EQ(wrapped("a b", 4, 4), "a b");
    const std::string text = wrapped(std::string(70, 'x') + " " + std::string(10, 'y'), 2, 0);
    EXPECT_EQ(text, std::string(70, 'x') + "\n  " + std::string(10, 'y'));
}

TEST(CliExitCode, IsTheScriptsOwnWhereTheScriptHasOne) {
    struct Case {
        const char* sentence;
        const char* status;
        int code;
    };
    for (const Case& c :
         {Case{"success", R"({"phase":"succeeded","exit_code":0})", 0},
          Case{"its own code", R"({"phase":"failed","reason":"NonZeroExit","exit_code":3})", 3},
          Case{"its own 125", R"({"phase":"failed","reason":"NonZeroExit","exit_code":125})", 125},
          Case{"a signal", R"({"phase":"failed","reason":"Signaled","signal":11})", 139},
          Case{"memory", R"({"phase":"failed","reason":"OutOfMemory","signal":9})", 137},
          Case{"no such command", R"({"phase":"failed","reason":"CommandNotStarted",
               "exit_code":127})",
               126},
          Case{"exit 0 but too many artifacts",
               R"({"phase":"failed","reason":"ArtifactLimit","exit_code":0})", 126},
          Case{"timed out", R"({"phase":"timed_out","signal":15})", 120},
          Case{"cancelled", R"({"phase":"cancelled","exit_code":143})", 121},
          Case{"lost", R"({"phase":"lost"})", 122}, Case{"nonsense", R"([])", 126}}) {
        EXPECT_EQ(exit_code_of(parse_json(c.status)), c.code) << c.sentence;
    }
}

}  // namespace
}  // namespace mayfly::api::cli
