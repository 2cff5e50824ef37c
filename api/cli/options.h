// The command line of `mayfly`: one CLI11 tree, from which parsing, --help, the completions, the
// manual page and the README's tables all come. Pure: arguments in, options or a text out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace mayfly::api::cli {

enum class Command {
    none,
    run,
    ps,
    get,
    logs,
    cancel,
    rm,
    artifacts_ls,
    artifacts_get,
    events,
    explain,
    top,
    doctor,
};

struct RunOptions {
    std::string image;
    std::vector<std::string> files;  // LOCAL or LOCAL=PATH
    std::string stdin_from;          // a file, "-", or "" for none
    std::vector<std::string> env;
    std::vector<std::string> labels;
    std::vector<std::string> limits;
    std::string network;
    std::string runtime;
    std::optional<std::int64_t> priority;
    std::optional<std::int64_t> attempts;
    std::string ttl;
    std::string webhook;
    std::string webhook_secret_file;
    std::string webhook_on;
    std::string key;
    std::string out;
    bool detach = false;
    bool detach_on_signal = false;
    bool quiet = false;
    std::vector<std::string> command;  // what stood behind `--`, verbatim
};

struct Options {
    Command command = Command::none;
    // for all commands
    std::string url;      // "" = MAYFLY_URL or the default
    std::string ca_file;  // "" = MAYFLY_CA_FILE or none
    bool json = false;
    bool no_color = false;
    std::int64_t contact_s = 120;  // how long a lost mayflyd is tried again

    RunOptions run;
    std::vector<std::string> ids;     // ID or ID...
    std::vector<std::string> labels;  // filters
    // ps
    std::vector<std::string> phases;
    std::optional<std::int64_t> limit;
    bool all = false;
    bool watch = false;
    bool ids_only = false;
    // get, cancel
    std::string wait;
    // logs
    bool follow = false;
    std::string stream;
    std::optional<std::int64_t> tail;
    std::optional<std::int64_t> offset;
    // artifacts get
    std::vector<std::string> paths;
    std::string out;
    bool tar = false;
    // events
    std::vector<std::string> runs;
    std::optional<std::int64_t> since;
    std::optional<std::int64_t> count;
    // top
    std::int64_t every_s = 2;
    bool once = false;
};

struct Parsed {
    bool exit_now = false;  // print `text` and exit with `exit_code`
    int exit_code = 0;
    std::string text;
    bool to_stderr = false;
};

class CommandLine {
public:
    CommandLine();
    ~CommandLine();
    CommandLine(const CommandLine&) = delete;
    CommandLine& operator=(const CommandLine&) = delete;

    // `arguments` without the program's name. What stands behind the first `--` is the command of
    // `run`, byte for byte. Once in the life of an object.
    [[nodiscard]] Parsed parse(std::vector<std::string> arguments);

    [[nodiscard]] const Options& options() const { return options_; }
    [[nodiscard]] const CLI::App& app() const { return *app_; }

private:
    void add_run();
    void add_listings();
    void add_one_run();
    void add_artifacts();
    void add_daemon();
    void add_texts();
    CLI::App* sub(CLI::App& parent, const char* name, const char* what, const char* example,
                  Command command);
    [[nodiscard]] Parsed finish();
    [[nodiscard]] Parsed wrong(std::string_view why) const;
    [[nodiscard]] Parsed unknown(const std::vector<std::string>& left) const;

    Options options_;
    std::unique_ptr<CLI::App> app_;
    std::string shell_;
    bool wants_manual_ = false;
    bool wants_markdown_ = false;
};

}  // namespace mayfly::api::cli
