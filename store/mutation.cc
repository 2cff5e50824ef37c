#include "store/mutation.h"

namespace mayfly::store {
namespace {

struct NameOf {
    std::string_view operator()(const BindAttempt&) const { return "BindAttempt"; }
    std::string_view operator()(const SetPending&) const { return "SetPending"; }
    std::string_view operator()(const RecordStartIntent&) const { return "RecordStartIntent"; }
    std::string_view operator()(const RecordStarted&) const { return "RecordStarted"; }
    std::string_view operator()(const RecordKill&) const { return "RecordKill"; }
    std::string_view operator()(const RecordInterrupted&) const { return "RecordInterrupted"; }
    std::string_view operator()(const RecordExit&) const { return "RecordExit"; }
    std::string_view operator()(const FinishRun&) const { return "FinishRun"; }
    std::string_view operator()(const RetryRun&) const { return "RetryRun"; }
    std::string_view operator()(const MarkCollected&) const { return "MarkCollected"; }
};

}  // namespace

const std::string& run_id_of(const Mutation& mutation) {
    return std::visit([](const auto& change) -> const std::string& { return change.run_id; },
                      mutation);
}

UnixMs now_ms_of(const Mutation& mutation) {
    return std::visit([](const auto& change) { return change.now_ms; }, mutation);
}

std::string_view name_of(const Mutation& mutation) { return std::visit(NameOf{}, mutation); }

}  // namespace mayfly::store
