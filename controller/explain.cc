#include "controller/explain.h"

#include <fmt/format.h>

#include <algorithm>

namespace mayfly::controller {
namespace {

using store::Explanation;
using store::KillCause;
using store::Pending;
using store::Phase;
using store::Stage;

std::string_view container_seen(const Evidence& evidence) {
    switch (evidence.container) {
        case Evidence::Container::unknown:
            return "not looked at since the controller started, or since the engine came back";
        case Evidence::Container::absent:
            return "not there";
        case Evidence::Container::present:
            break;
    }
    return to_string(evidence.state);
}

std::string image_seen(const ImageEvidence& image) {
    switch (image.state) {
        case ImageEvidence::State::unknown:
            return "not looked at yet";
        case ImageEvidence::State::working:
            return image.message.empty() ? "being made ready" : image.message;
        case ImageEvidence::State::ready:
            return "ready";
        case ImageEvidence::State::failed:
            return image.message;
    }
    return "";
}

std::string_view start_seen(const Evidence& evidence) {
    switch (evidence.start) {
        case Evidence::Start::none:
            return "not asked for by this process";
        case Evidence::Start::armed:
            return "recorded, about to be asked for";
        case Evidence::Start::accepted:
            return "the engine said yes";
        case Evidence::Start::refused:
            return "the engine refused it";
        case Evidence::Start::unclear:
            return "asked for, and the answer was lost: it may have started";
    }
    return "";
}

std::string_view claim_seen(const Evidence& evidence) {
    switch (evidence.claim) {
        case Evidence::Claim::untouched:
            return "untouched: nothing has run";
        case Evidence::Claim::taken:
            return "taken: it has run";
        case Evidence::Claim::volume_gone:
            return "cannot be read: the volume is gone";
        case Evidence::Claim::unknown:
            break;
    }
    return "";
}

std::vector<Explanation::Seen> everything_seen(const Observation& o) {
    std::vector<Explanation::Seen> saw;
    const auto add = [&saw](std::string_view what, std::string_view is) {
        if (!is.empty()) saw.push_back({std::string(what), std::string(is)});
    };
    const Evidence& ev = o.evidence;
    const auto& attempt = o.record.attempt;
    add("engine", o.engine_up ? "up" : o.engine_error);
    if (o.record.run.cancel_requested_ms != 0) add("cancel", "requested");
    if (!attempt || attempt->stage == Stage::collected) return saw;
    if (attempt->stage <= Stage::start_intent) add("image", image_seen(o.image));
    add("container", container_seen(ev));
    if (ev.look) add("container's state", "something may have changed: it is looked at again");
    if (attempt->stage <= Stage::start_intent) {
        add("sandbox", ev.verified ? "every limit was read back" : ev.violations);
        add("inputs", ev.inputs_put ? "in the container" : ev.inputs_error);
    }
    if (attempt->stage == Stage::start_intent) {
        add("start", start_seen(ev));
        add("last start error", ev.start_error);
        add("claim", claim_seen(ev));
    }
    if (attempt->kill_cause != KillCause::none) {
        add("stop", fmt::format("{}: {}", to_string(attempt->kill_cause),
                                ev.kill_sent   ? "KILL was sent"
                                : ev.term_sent ? "TERM was sent"
                                               : "nothing was sent yet"));
    }
    if (attempt->engine_interrupted) add("engine while it ran", "went away or restarted");
    if (ev.torn_harvests > 0) {
        add("harvest", fmt::format("{} tries brought an incomplete archive", ev.torn_harvests));
    }
    return saw;
}

struct Words {
    std::string headline;
    std::string why;
    std::string waits_for;
};

// A run that waits, by where it stands.
Words waiting(const Observation& o) {
    const auto& status = o.record.run.status;
    const auto& attempt = o.record.attempt;
    if (status.phase == Phase::queued) {
        if (attempt && o.grants.prepare == false && o.engine_up && status.attempt > 0) {
            return {"Waiting to be tried again",
                    "the attempt before was lost, and a retry waits a little longer each time",
                    "the end of the pause, and a free place"};
        }
        if (!o.engine_up) {
            return {"Waiting for the engine", "nothing can be prepared while it does not answer",
                    "the engine"};
        }
        if (o.grants.pending == Pending::DiskLow) {
            return {"Waiting for disk space: " + o.grants.pending_message,
                    "nothing is admitted while the data directory's disk is low",
                    "space on the data directory's disk"};
        }
        return {"Waiting for a free place", "others are before it, or hold what it needs",
                "a free run slot"};
    }
    if (!o.engine_up) {
        return {"Waiting for the engine", "what the container does cannot be seen", "the engine"};
    }
    switch (status.phase) {
        case Phase::preparing:
            if (attempt && attempt->stage == Stage::bound && is_prepared(o.record, o.evidence)) {
                return {"Ready to start, waiting for a run slot",
                        "it was prepared ahead, and all run slots are taken", "a free run slot"};
            }
            if (o.image.state == ImageEvidence::State::working) {
                return {"Waiting for its image: " + o.image.message,
                        "the image is pulled, or made ready, once for all runs that use it",
                        "the image"};
            }
            return {"Being made ready", "the step before is not over", "the engine's answer"};
        case Phase::running:
            if (attempt && attempt->kill_cause != KillCause::none) {
                return {"Being stopped",
                        "TERM was sent; KILL follows when it does not end by itself",
                        "the end of its container"};
            }
            return {"Running", "its container runs, and its time is not over",
                    "the end of the script"};
        default:
            return {"Being brought to its end", "the step before is not over",
                    "the engine's answer"};
    }
}

Words committing(const store::Mutation& mutation) {
    struct {
        Words operator()(const store::BindAttempt&) const {
            return {"About to be prepared", "admission gave it a place", ""};
        }
        Words operator()(const store::SetPending& set) const {
            return {set.message.empty() ? "Waiting" : "Waiting: " + set.message,
                    "the reason why it waits is recorded", "what is said there"};
        }
        Words operator()(const store::RecordStartIntent&) const {
            return {"About to start", "it has a run slot; the intent is recorded before the start",
                    ""};
        }
        Words operator()(const store::RecordStarted&) const {
            return {"Started", "the engine said that it started, or was seen to have", ""};
        }
        Words operator()(const store::RecordKill& kill) const {
            return {"About to be stopped",
                    fmt::format("the cause ({}) is recorded before a signal is sent",
                                to_string(kill.cause)),
                    ""};
        }
        Words operator()(const store::RecordInterrupted&) const {
            return {"Interrupted", "the engine was seen to go away while it ran", ""};
        }
        Words operator()(const store::RecordExit&) const {
            return {"Ended, about to be harvested", "its container has ended, or is gone", ""};
        }
        Words operator()(const store::FinishRun& end) const {
            return {fmt::format("About to be {}", to_string(end.phase)),
                    end.message.empty() ? std::string(to_string(end.reason)) : end.message, ""};
        }
        Words operator()(const store::RetryRun& retry) const {
            return {"About to be tried again", "it was lost: " + retry.message, ""};
        }
        Words operator()(const store::MarkCollected&) const {
            return {"About to be done with",
                    "its container and its volume are seen to be gone from the engine", ""};
        }
    } const words;
    return std::visit(words, mutation);
}

struct WordsFor {
    const Observation& o;

    Words operator()(const Wait&) const { return waiting(o); }
    Words operator()(const Forget&) const {
        return {"Nothing is left to do", "it has ended and nothing of it is on the engine", ""};
    }
    Words operator()(const Commit& commit) const { return committing(commit.mutation); }
    Words operator()(const EnsureImage&) const {
        return {"Making its image ready", "the image is not known to be ready", ""};
    }
    Words operator()(const CreateContainer&) const {
        return {"Creating its container", "there is none yet", ""};
    }
    Words operator()(const InspectContainer&) const {
        return {"Looking at its container",
                "nothing is concluded from what was not seen: it is looked at first", ""};
    }
    Words operator()(const ReadClaim&) const {
        return {"Looking whether anything has run in its volume",
                "its container is not the first one there", ""};
    }
    Words operator()(const PutInputs&) const {
        return {"Sending its inputs", "its container is there, and nothing has run in it", ""};
    }
    Words operator()(const StartContainer&) const {
        return {"Starting it", "everything is ready and the intent is recorded", ""};
    }
    Words operator()(const KillContainer& kill) const {
        return {"Stopping it", fmt::format("the cause is recorded; {} is sent", kill.signal), ""};
    }
    Words operator()(const FenceContainer&) const {
        return {"Removing a container that may have started",
                "after a lost answer it is never started again before it is known whether "
                "anything ran",
                ""};
    }
    Words operator()(const ProbeClaim&) const {
        return {"Finding out whether it has run",
                "its container is gone; the claim in its volume tells", ""};
    }
    Words operator()(const Harvest& harvest) const {
        return {"Harvesting exit, logs and artifacts",
                harvest.through_probe
                    ? "its container is gone; what it left is read from its volume"
                    : "its container has ended",
                ""};
    }
    Words operator()(const RemoveContainer&) const {
        return {"Removing its container", "its outcome is durable", ""};
    }
    Words operator()(const RemoveVolume&) const {
        return {"Removing its volume", "its outcome is durable and its container is gone", ""};
    }
};

}  // namespace

Explanation explain(const Observation& observation, const PlanSettings& settings) {
    const Action action = plan(observation, settings);
    Words words = std::visit(WordsFor{observation}, action);
    Explanation out;
    out.headline = std::move(words.headline);
    out.saw = everything_seen(observation);
    const auto* commit = std::get_if<Commit>(&action);
    out.action = commit == nullptr ? name_of(action) : store::name_of(commit->mutation);
    out.why = std::move(words.why);
    out.waits_for = std::move(words.waits_for);
    if (const auto* wait = std::get_if<Wait>(&action)) out.until_ms = wait->wake_ms;
    return out;
}

}  // namespace mayfly::controller
