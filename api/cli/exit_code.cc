#include "api/cli/exit_code.h"

#include <array>
#include <nlohmann/json.hpp>

#include "api/cli/fields.h"

namespace mayfly::api::cli {

std::span<const ExitMeaning> exit_meanings() {
    static constexpr std::array<ExitMeaning, 12> kMeanings = {{
        {"0", "the script exited with 0 and all it left is stored; other commands: done"},
        {"1", "doctor: something is wrong. run: the script's own code, as all that are not below"},
        {"119", "run, logs -f: you detached; the run goes on"},
        {"120", "run: it timed out (in the queue, in preparation, or running)"},
        {"121", "run: it was cancelled"},
        {"122", "run: it was lost; nobody can know how it ended"},
        {"123", "mayflyd refused the request, or knows nothing of that run"},
        {"124", "mayflyd cannot be reached, or contact was lost for too long"},
        {"125", "wrong usage, or a local file cannot be read or written"},
        {"126",
         "run: it failed for a reason that is not the script's exit code (no such command or "
         "image, a limit, ...)"},
        {"128+N", "run: the script died of signal N; or the client did before it had submitted"},
        {"other", "run: the script's own exit code"},
    }};
    return kMeanings;
}

int exit_code_of(const nlohmann::json& status) {
    const std::string phase = text_of(status, "phase");
    if (phase == "succeeded") return kExitOk;
    if (phase == "timed_out") return kExitTimedOut;
    if (phase == "cancelled") return kExitCancelled;
    if (phase == "lost") return kExitLost;
    if (const auto signal = integer_of(status, "signal"); signal.value_or(0) > 0) {
        return kExitSignalBase + static_cast<int>(*signal & 0x7F);
    }
    const bool own = text_of(status, "reason") == "NonZeroExit";
    const auto code = integer_of(status, "exit_code").value_or(0);
    if (own && code > 0 && code < 256) return static_cast<int>(code);
    return kExitNotScript;
}

}  // namespace mayfly::api::cli
