// mayfly, the command-line client: which command, against which mayflyd.
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "api/cli/exit_code.h"
#include "api/cli/options.h"
#include "api/cli/session.h"

namespace mayfly::api::cli {
namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

int perform(Session& session) {
    switch (session.options().command) {
        case Command::none:
            break;
        case Command::run:
            return run_command(session);
        case Command::ps:
            return ps_command(session);
        case Command::get:
            return get_command(session);
        case Command::logs:
            return logs_command(session);
        case Command::cancel:
            return cancel_command(session);
        case Command::rm:
            return rm_command(session);
        case Command::artifacts_ls:
            return artifacts_ls_command(session);
        case Command::artifacts_get:
            return artifacts_get_command(session);
        case Command::events:
            return events_command(session);
        case Command::explain:
            return explain_command(session);
        case Command::top:
            return top_command(session);
        case Command::doctor:
            return doctor_command(session);
    }
    return kExitUsage;
}

int run_main(int argc, char** argv) {
    CommandLine line;
    const Parsed parsed = line.parse(std::vector<std::string>(argv + 1, argv + argc));
    if (parsed.exit_now) {
        write_all(parsed.to_stderr ? STDERR_FILENO : STDOUT_FILENO, parsed.text);
        return parsed.exit_code;
    }
    const Options& options = line.options();
    std::string url = options.url;
    if (url.empty()) url = environment("MAYFLY_URL");
    if (url.empty()) url = kDefaultUrl;
    const bool colours =
        !options.no_color && environment("NO_COLOR").empty() && environment("TERM") != "dumb";
    auto address = parse_address(url);
    if (!address) {
        Voice(false, colours).error(address.error());
        return kExitUsage;
    }
    address->ca_file = options.ca_file;
    if (address->ca_file.empty()) address->ca_file = environment("MAYFLY_CA_FILE");
    Session session(options, std::move(*address), colours);
    return perform(session);
}

}  // namespace
}  // namespace mayfly::api::cli

int main(int argc, char** argv) { return mayfly::api::cli::run_main(argc, argv); }
