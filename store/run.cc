#include "store/run.h"

#include <array>
#include <cstddef>

namespace mayfly::store {
namespace {

// Indexed by the enum's value. The spellings are API and are stored: never change one.
constexpr std::array<std::string_view, kPhaseCount> kPhaseNames = {
    "queued", "preparing", "running",   "harvesting", "succeeded",
    "failed", "timed_out", "cancelled", "lost",
};

constexpr std::array<std::string_view, static_cast<std::size_t>(kLastReason) + 1> kReasonNames = {
    "",
    "Completed",
    "NonZeroExit",
    "Signaled",
    "OutOfMemory",
    "WorkLimit",
    "CommandNotStarted",
    "StartFailed",
    "SandboxUnverified",
    "ArtifactLimit",
    "ImageNotAllowed",
    "ImageUnavailable",
    "ImageUnsupported",
    "NameConflict",
    "QueueTimeout",
    "PrepareTimeout",
    "RunTimeout",
    "CancelRequested",
    "EngineInterrupted",
    "ContainerVanished",
    "VolumeVanished",
    "KilledExternally",
    "InputsMissing",
    "InternalError",
};

constexpr std::array<std::string_view, static_cast<std::size_t>(kLastPending) + 1> kPendingNames =
    {
        "", "Capacity", "EngineDown", "DiskLow", "ImagePull", "Backoff",
};

constexpr std::array<std::string_view, 6> kStageNames = {
    "bound", "start_intent", "started", "exited", "ended", "collected",
};

constexpr std::array<std::string_view, 4> kKillCauseNames = {
    "none",
    "cancel",
    "run_timeout",
    "prepare_timeout",
};

template <class Enum, std::size_t N>
std::string_view name_in(const std::array<std::string_view, N>& names, Enum value) {
    auto index = static_cast<std::size_t>(value);
    return index < N ? names[index] : std::string_view("?");
}

template <class Enum, std::size_t N>
std::optional<Enum> value_in(const std::array<std::string_view, N>& names, std::string_view text) {
    for (std::size_t i = 0; i < N; ++i) {
        if (names[i] == text) return static_cast<Enum>(i);
    }
    return std::nullopt;
}

// A missing name would silently be "".
static_assert(!kReasonNames.back().empty() && !kPendingNames.back().empty());

}  // namespace

std::string_view to_string(Phase phase) { return name_in(kPhaseNames, phase); }
std::string_view to_string(Reason reason) { return name_in(kReasonNames, reason); }
std::string_view to_string(Pending pending) { return name_in(kPendingNames, pending); }
std::string_view to_string(Stage stage) { return name_in(kStageNames, stage); }
std::string_view to_string(KillCause cause) { return name_in(kKillCauseNames, cause); }

std::optional<Phase> parse_phase(std::string_view text) {
    return value_in<Phase>(kPhaseNames, text);
}
std::optional<Reason> parse_reason(std::string_view text) {
    return value_in<Reason>(kReasonNames, text);
}
std::optional<Pending> parse_pending(std::string_view text) {
    return value_in<Pending>(kPendingNames, text);
}
std::optional<KillCause> parse_kill_cause(std::string_view text) {
    return value_in<KillCause>(kKillCauseNames, text);
}

}  // namespace mayfly::store
