#include "api/cli/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "api/cli/address.h"
#include "api/cli/completion.h"
#include "api/cli/exit_code.h"
#include "api/cli/help.h"
#include "api/cli/manual.h"
#include "api/cli/text.h"
#include "api/nearest_name.h"

namespace mayfly::api::cli {
namespace {

constexpr const char* kId = "ID";

// CLI11 takes a value in brackets for a list, and would make two of the file name "[a,b]". Such an
// argument goes in behind this mark, which is taken off when it has become a value.
constexpr char kBracketMark = '\x01';

std::string marked(std::string argument) {
    const bool brackets = argument.starts_with('[') && argument.ends_with(']');
    return brackets ? kBracketMark + std::move(argument) : argument;
}

CLI::Validator unmarked() {
    const auto take_off = [](std::string& value) {
        if (value.starts_with(kBracketMark)) value.erase(0, 1);
        return std::string();
    };
    return CLI::Validator(take_off, "");
}

// One value per flag, so that nothing behind it is swallowed.
template <class T>
CLI::Option* each(CLI::App& app, const char* name, std::vector<T>& into, const char* type,
                  const char* what) {
    return app.add_option(name, into, what)
        ->allow_extra_args(false)
        ->transform(unmarked())
        ->type_name(type);
}

template <class T>
CLI::Option* one(CLI::App& app, const char* name, T& into, const char* type, const char* what) {
    return app.add_option(name, into, what)->transform(unmarked())->type_name(type);
}

CLI::Option* choice(CLI::App& app, const char* name, std::string& into,
                    std::vector<std::string> choices, const char* what) {
    return app.add_option(name, into, what)->check(CLI::IsMember(std::move(choices)));
}

CLI::Option* positionals(CLI::App& app, const char* name, std::vector<std::string>& into,
                         const char* what) {
    return app.add_option(name, into, what)->transform(unmarked())->type_name("");
}

void one_id(CLI::App& app, std::vector<std::string>& into) {
    positionals(app, kId, into, "the run's id; the beginning or the end of one will do")
        ->required()
        ->expected(1)
        ->allow_extra_args(false);
}

void many_ids(CLI::App& app, std::vector<std::string>& into) {
    positionals(app, kId, into, "ids of runs; their beginnings or ends will do")
        ->required()
        ->expected(1, 1'000);
}

constexpr const char* kRootFooter =
    "Example:\n"
    "  mayfly run --image python:3-slim --file main.py --out results \\\n"
    "      -- python3 main.py\n\n"
    "mayfly COMMAND --help explains a command; mayfly man | man -l - is the manual.";

bool is_key(const std::string& key) {
    return key.size() <= 255 &&
           std::ranges::all_of(key, [](char c) { return c > ' ' && c < 0x7F; });
}

const std::vector<std::string>& phases() {
    static const std::vector<std::string> kPhases = {"queued",     "preparing", "running",
                                                     "harvesting", "succeeded", "failed",
                                                     "timed_out",  "cancelled", "lost"};
    return kPhases;
}

}  // namespace

CommandLine::~CommandLine() = default;

CommandLine::CommandLine()
    : app_(std::make_unique<CLI::App>("mayfly: runs scripts on a mayflyd, shows what they do, "
                                      "and brings home what they leave.",
                                      "mayfly")) {
    CLI::App& app = *app_;
    app.set_version_flag("--version", "mayfly " MAYFLY_VERSION, "print the version");
    app.set_help_flag("-h,--help", "print this text");
    app.require_subcommand(0, 1);
    app.fallthrough();
    app.footer(kRootFooter);
    app.formatter_fn(
        [](const CLI::App* of, const std::string&, CLI::AppFormatMode) { return help_text(*of); });
    one(app, "--url", options_.url, "URL",
        "where mayflyd is: http://HOST:PORT, https://HOST or unix:///PATH; else MAYFLY_URL, "
        "else http://127.0.0.1:7070");
    one(app, "--ca-file", options_.ca_file, "FILE",
        "PEM certificates to trust for https, besides the system's; else MAYFLY_CA_FILE");
    app.add_flag("--json", options_.json,
                 "the API's own JSON on stdout; streams as one JSON object a line");
    app.add_flag("--no-color", options_.no_color,
                 "no colours, not even on a terminal; NO_COLOR does the same");
    one(app, "--contact-s", options_.contact_s, "SECONDS",
        "how long a mayflyd that is gone, restarting say, is tried again (default: 120)")
        ->check(CLI::Range(0, 86'400).description(""));
    app.add_flag("--help-markdown", wants_markdown_, "print the tables of the README")->group("");
    add_run();
    add_listings();
    add_one_run();
    add_artifacts();
    add_daemon();
    add_texts();
}

CLI::App* CommandLine::sub(CLI::App& parent, const char* name, const char* what,
                           const char* example, Command command) {
    CLI::App* app = parent.add_subcommand(name, what);
    app->set_help_flag("-h,--help", "print this text");
    std::string footer = "Example:\n  ";
    footer += example;
    if (command != Command::none) {
        footer +=
            "\n\nFor all commands: --url, --ca-file, --json, --no-color, --contact-s:\n  mayfly "
            "--help";
        app->callback([this, command] { options_.command = command; });
    }
    app->footer(footer);
    return app;
}

void CommandLine::add_run() {
    RunOptions& run = options_.run;
    CLI::App& app = *sub(
        *app_, "run",
        "Run a command, live, in a container of its own: send files, show its output live, save "
        "what it leaves under output/, and exit with its exit code. Ctrl-C asks whether to "
        "detach from the run or to cancel it; without a terminal, INT and TERM cancel it.",
        "mayfly run --image python:3-slim --file main.py --file rows.csv=in/rows.csv \\\n"
        "      --limit timeout=30s --limit memory=512M --out results -- python3 main.py",
        Command::run);
    one(app, "-i,--image", run.image, "IMAGE", "the image; without it, the operator's default");
    each(app, "-f,--file", run.files, "LOCAL[=PATH]",
         "send this file, or all files of this folder; PATH is its place under /work (default: "
         "its name). With a `=` in LOCAL, =PATH must be given");
    one(app, "--stdin", run.stdin_from, "FILE", "the script's standard input; - for our own");
    each(app, "-e,--env", run.env, "NAME[=VALUE]",
         "set a variable; without =VALUE, our own of that name");
    each(app, "-l,--label", run.labels, "KEY=VALUE", "label the run, to find it again");
    each(app, "--limit", run.limits, "NAME=VALUE",
         "timeout, queue_timeout (10s, 5m, 2h), memory, work, tmp, log, artifact_bytes (64M), "
         "cpus, pids, artifact_files; or as the API spells them: timeout_s, memory_bytes, ...");
    choice(app, "--network", run.network, {"none", "loopback"},
           "no network, or one on which `localhost` resolves");
    one(app, "--runtime", run.runtime, "NAME", "an OCI runtime that the operator allows");
    one(app, "--priority", run.priority, "N", "higher first");
    one(app, "--retry", run.attempts, "N", "at most N attempts, if one is lost");
    one(app, "--ttl", run.ttl, "TIME", "how long it is kept after its end, like 12h or 7d");
    one(app, "--webhook", run.webhook, "URL", "where mayflyd tells of the run's end");
    one(app, "--webhook-secret-file", run.webhook_secret_file, "FILE",
        "what signs it: 16 to 256 bytes, without the line feed at its end");
    choice(app, "--webhook-on", run.webhook_on, {"finished", "all"},
           "tell of the end only, or of every change");
    one(app, "--key", run.key, "KEY",
        "Idempotency-Key: the same key with the same run is never run twice. Without it, one is "
        "made up, so that a lost answer cannot double a run");
    one(app, "-o,--out", run.out, "DIR", "save its artifacts into this folder");
    app.add_flag("-d,--detach", run.detach, "print the id and do not wait");
    app.add_flag("--detach-on-signal", run.detach_on_signal,
                 "INT and TERM without a terminal leave the run alone");
    app.add_flag("-q,--quiet", run.quiet,
                 "nothing on stderr but what the script writes, and "
                 "errors");
    // Never matched: what is behind `--` is taken before CLI11 sees it. It is here for the texts.
    app.add_option("COMMAND", run.command, "program and arguments, behind --")
        ->type_name("")
        ->expected(0, 1'000);
}

void CommandLine::add_listings() {
    CLI::App& ps =
        *sub(*app_, "ps", "List runs, the newest first.",
             "mayfly ps --phase running,queued --label team=maths --watch", Command::ps);
    each(ps, "-p,--phase", options_.phases, "PHASE[,PHASE]", "only runs in these phases")
        ->delimiter(',')
        ->check(CLI::IsMember(phases()));
    each(ps, "-l,--label", options_.labels, "KEY=VALUE", "only runs with all these labels");
    one(ps, "-n,--limit", options_.limit, "N", "at most N of them (default: 50)")
        ->check(CLI::Range(1, 1'000'000).description(""));
    ps.add_flag("-a,--all", options_.all, "all that there are, page after page");
    ps.add_flag("-w,--watch", options_.watch,
                "stay, and show what changes; without a terminal, a line for each change");
    ps.add_flag("-q,--quiet", options_.ids_only, "ids only");

    CLI::App& events = *sub(*app_, "events", "Show every change of every run, live, until Ctrl-C.",
                            "mayfly events --label team=maths --since 41", Command::events);
    each(events, "--run", options_.runs, kId, "only of these runs");
    each(events, "-l,--label", options_.labels, "KEY=VALUE", "only runs with all these labels");
    one(events, "--since", options_.since, "EVENT", "begin behind the event of this number");
    one(events, "--count", options_.count, "N", "end after N events")
        ->check(CLI::Range(1, 1'000'000'000).description(""));
}

void CommandLine::add_one_run() {
    CLI::App& get = *sub(*app_, "get", "Show one run: what was asked for, and how it went.",
                         "mayfly get 01jd4z --json", Command::get);
    one_id(get, options_.ids);
    one(get, "--wait", options_.wait, "TIME", "until it has ended, at most this long, like 30s");

    CLI::App& logs =
        *sub(*app_, "logs",
             "Show what a run printed: its stdout on ours, its stderr on ours, as raw "
             "bytes. With --json, as events until its end.",
             "mayfly logs -f 01jd4z", Command::logs);
    one_id(logs, options_.ids);
    logs.add_flag("-f,--follow", options_.follow, "while it runs, until its end");
    choice(logs, "--stream", options_.stream, {"stdout", "stderr", "both"},
           "one of them only (default: both)");
    auto* tail = one(logs, "--tail", options_.tail, "LINES", "the last lines of a finished run");
    auto* offset = one(logs, "--offset", options_.offset, "BYTES",
                       "begin at this byte of the kept log; with one --stream");
    tail->check(CLI::Range(1, 1'000'000).description(""))->excludes(offset)->excludes("--follow");
    offset->check(CLI::NonNegativeNumber.description(""));

    CLI::App& cancel = *sub(*app_, "cancel", "Cancel runs: TERM, a grace, KILL.",
                            "mayfly cancel 01jd4z --wait 30s", Command::cancel);
    many_ids(cancel, options_.ids);
    one(cancel, "--wait", options_.wait, "TIME", "until it has ended, at most this long");

    CLI::App& rm = *sub(*app_, "rm", "Delete finished runs, and all that is kept of them.",
                        "mayfly rm 01jd4z 01jd50", Command::rm);
    many_ids(rm, options_.ids);

    CLI::App& explain =
        *sub(*app_, "explain",
             "Tell why a run is where it is: what was seen and decided, what it waits "
             "for, each step with its cause.",
             "mayfly explain 01jd4z", Command::explain);
    one_id(explain, options_.ids);
}

void CommandLine::add_artifacts() {
    CLI::App& artifacts = *sub(*app_, "artifacts", "What a run left under output/.",
                               "mayfly artifacts ls 01jd4z", Command::none);
    artifacts.require_subcommand(1);
    artifacts.fallthrough();
    CLI::App& ls = *sub(artifacts, "ls", "List the files that a run left.",
                        "mayfly artifacts ls 01jd4z", Command::artifacts_ls);
    one_id(ls, options_.ids);
    CLI::App& get = *sub(
        artifacts, "get",
        "Save files that a run left, each verified by its SHA-256. Never writes outside of the "
        "folder, whatever their names are.",
        "mayfly artifacts get 01jd4z report.md --out results", Command::artifacts_get);
    one_id(get, options_.ids);
    positionals(get, "PATH", options_.paths, "only these (default: all)")->expected(0, 100'000);
    one(get, "-o,--out", options_.out, "DIR", "the folder (default: .)");
    get.add_flag("--tar", options_.tar, "all of them as ID.tar in the folder; --out - for stdout");
}

void CommandLine::add_daemon() {
    CLI::App& top = *sub(*app_, "top", "Show slots, queue, engines and runs; live on a terminal.",
                         "mayfly top", Command::top);
    one(top, "--every", options_.every_s, "SECONDS", "how often to look (default: 2)")
        ->check(CLI::Range(1, 3'600).description(""));
    top.add_flag("--once", options_.once, "look once, also on a terminal");
    (void)sub(
        *app_, "doctor",
        "Look for what is wrong, and say how to mend it: the way to mayflyd, its engine, the "
        "limits in force, disk, clock.",
        "mayfly doctor || echo not well", Command::doctor);
}

void CommandLine::add_texts() {
    CLI::App& completion = *sub(*app_, "completion", "Print the completions for a shell.",
                                "source <(mayfly completion bash)", Command::none);
    completion.add_option("SHELL", shell_, "which one")
        ->required()
        ->type_name("")
        ->check(CLI::IsMember(std::vector<std::string>{"bash", "zsh", "fish"}));
    CLI::App& man =
        *sub(*app_, "man", "Print the manual page.", "mayfly man | man -l -", Command::none);
    man.callback([this] { wants_manual_ = true; });
}

Parsed CommandLine::finish() {
    Parsed parsed;
    if (wants_markdown_ || wants_manual_ || !shell_.empty()) {
        parsed.exit_now = true;
        if (wants_manual_) parsed.text = manual_page(*app_);
        if (wants_markdown_) parsed.text = markdown_tables(*app_);
        if (!shell_.empty()) parsed.text = completion_script(*app_, shell_);
    } else if (options_.command == Command::none) {
        parsed = {true, kExitUsage, app_->help(), true};
    } else if (options_.command == Command::run && options_.run.command.empty()) {
        parsed = {true, kExitUsage,
                  "mayfly run: no command; it stands behind --, like: mayfly run -- python3 "
                  "main.py\n",
                  true};
    } else if (!options_.run.key.empty() && !is_key(options_.run.key)) {
        parsed = wrong("--key must be 1 to 255 printable ASCII characters without blanks");
    } else if (options_.offset && (options_.stream.empty() || options_.stream == "both")) {
        parsed = {true, kExitUsage,
                  "mayfly logs: --offset counts bytes of one stream; say which: --stream stdout "
                  "or --stream stderr\n",
                  true};
    }
    return parsed;
}

Parsed CommandLine::wrong(std::string_view why) const {
    const CLI::App* at = app_.get();
    std::string path = "mayfly";
    while (!at->get_subcommands().empty()) {
        at = at->get_subcommands().front();
        path += " " + at->get_name();
    }
    return {true, kExitUsage, fmt::format("mayfly: {}\n  next: {} --help\n", why, path), true};
}

// CLI11 knows what is left over, not what was meant.
Parsed CommandLine::unknown(const std::vector<std::string>& left) const {
    const std::string word = left.empty() ? "" : left.front();
    const CLI::App* at = app_.get();
    std::vector<std::string> known;
    const auto add_flags = [&known](const CLI::App& app) {
        for (const CLI::Option* option : app.get_options()) {
            for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
        }
    };
    add_flags(*at);
    while (!at->get_subcommands().empty()) {
        at = at->get_subcommands().front();
        add_flags(*at);
    }
    const bool is_flag = word.starts_with('-');
    if (!is_flag) {
        known.clear();
        for (const CLI::App* child : at->get_subcommands([](const CLI::App*) { return true; })) {
            known.push_back(child->get_name());
        }
    }
    const std::vector<std::string_view> names(known.begin(), known.end());
    const std::string name = word.substr(0, word.find('='));
    const std::string meant = nearest_name(name, names);
    const bool below = !is_flag && !known.empty();
    return wrong(fmt::format("{} `{}`{}",
                             is_flag ? "there is no option"
                             : below ? "there is no command"
                                     : "this is one argument too many:",
                             printable(name),
                             meant.empty() ? "" : "; did you mean " + meant + "?"));
}

Parsed CommandLine::parse(std::vector<std::string> arguments) {
    const auto split = std::ranges::find(arguments, "--");
    std::vector<std::string> command;
    if (split != arguments.end()) command.assign(split + 1, arguments.end());
    const bool has_command = split != arguments.end();
    arguments.erase(split, arguments.end());
    std::ranges::reverse(arguments);  // as CLI11 wants them
    for (std::string& argument : arguments) argument = marked(std::move(argument));
    try {
        app_->parse(std::move(arguments));
        if (!options_.run.command.empty()) {
            return wrong("the command must stand behind --, like: mayfly run --image busybox -- " +
                         options_.run.command[0]);
        }
        if (has_command && options_.command != Command::run) {
            return wrong("only `mayfly run` takes a command behind --");
        }
    } catch (const CLI::ExtrasError&) {
        return unknown(app_->remaining(true));
    } catch (const CLI::ParseError& error) {
        std::ostringstream out;
        std::ostringstream err;
        if (app_->exit(error, out, err) == 0) return {true, kExitOk, out.str(), false};
        return wrong(error.what());
    }
    options_.run.command = std::move(command);
    return finish();
}

}  // namespace mayfly::api::cli
