#include "controller/overdue.h"

namespace mayfly::controller {

using store::Phase;
using store::Reason;

Stuck stuck_in(const store::RunRecord& record, store::UnixMs now_ms) {
    const auto& status = record.run.status;
    const auto over = [now_ms](store::UnixMs since_ms, std::int64_t by_ms) {
        return since_ms != 0 && now_ms - since_ms > by_ms;
    };
    switch (status.phase) {
        case Phase::queued:
            return Stuck::no;
        case Phase::preparing:
            // A run that is prepared waits for a slot, on the queue's clock.
            return record.attempt && status.pending != store::Pending::Capacity &&
                           over(record.attempt->prepare_deadline_ms, kStuckAfterDeadlineMs)
                       ? Stuck::preparing
                       : Stuck::no;
        case Phase::running:
            return record.attempt && over(record.attempt->run_deadline_ms, kStuckAfterDeadlineMs)
                       ? Stuck::running
                       : Stuck::no;
        case Phase::harvesting:
            return over(status.harvesting_ms, kStuckHarvestMs) ? Stuck::harvesting : Stuck::no;
        default:
            return !record.run.collected && over(status.finished_ms, kStuckCollectMs)
                       ? Stuck::collecting
                       : Stuck::no;
    }
}

bool is_our_failure(Reason reason) {
    switch (reason) {
        case Reason::StartFailed:
        case Reason::SandboxUnverified:
        case Reason::ImageUnavailable:
        case Reason::NameConflict:
        case Reason::PrepareTimeout:
        case Reason::EngineInterrupted:
        case Reason::InputsMissing:
        case Reason::InternalError:
            return true;
        default:
            return false;
    }
}

}  // namespace mayfly::controller
