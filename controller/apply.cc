#include "controller/apply.h"

#include <fmt/format.h>

#include <utility>

#include "controller/file_source.h"
#include "metrics/log.h"
#include "store/input_tar.h"

namespace mayfly::controller {
namespace asio = boost::asio;
namespace {

using Kind = StepOutcome::Kind;
using Container = Evidence::Container;
using Start = Evidence::Start;
using Claim = Evidence::Claim;
using E = EngineError::Kind;
using store::Stage;

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

StepOutcome progress() { return {}; }

bool is_untouched(const PathStat& claim) {
    return claim.mtime_ns == store::kClaimMtimeS * kNsPerSecond && claim.size == 0;
}

StepOutcome failed(const EngineError& error) {
    return {error.is_engine_down() ? Kind::engine_down : Kind::retry,
            fmt::format("{}: {} ({})", error.call, error.message, to_string(error.kind))};
}

void forget_container(Evidence& evidence, Container knowledge) {
    evidence.container = knowledge;
    evidence.state = ContainerState::unknown;
    evidence.facts.reset();
    evidence.create_warnings.clear();
    evidence.violations.clear();
    evidence.verified = false;
    evidence.put_is_safe = false;
    evidence.inputs_put = false;
    evidence.rebuild = false;
    evidence.name_taken = false;
    evidence.image_id.clear();
}

bool has_label(const std::map<std::string, std::string>& labels, std::string_view key,
               const std::string& value) {
    const auto found = labels.find(std::string(key));
    return found != labels.end() && found->second == value;
}

const std::string& known_id(const Live& live) {
    return live.evidence.container_id.empty() ? live.record.attempt->container_id
                                              : live.evidence.container_id;
}

}  // namespace

asio::awaitable<StepOutcome> Applier::apply(Action action, LivePtr live) {
    if (std::holds_alternative<EnsureImage>(action)) {
        images_.request(live->record.run.spec.image);
        co_return progress();
    }
    if (std::holds_alternative<CreateContainer>(action)) co_return co_await create(live);
    if (const auto* a = std::get_if<InspectContainer>(&action))
        co_return co_await inspect(a->by_name, live);
    if (std::holds_alternative<ReadClaim>(action)) co_return co_await read_claim(live);
    if (std::holds_alternative<PutInputs>(action)) co_return co_await put_inputs(live);
    if (std::holds_alternative<StartContainer>(action)) co_return co_await start(live);
    if (const auto* a = std::get_if<KillContainer>(&action))
        co_return co_await kill(a->signal, live);
    if (std::holds_alternative<FenceContainer>(action)) co_return co_await fence(live);
    if (std::holds_alternative<ProbeClaim>(action)) co_return co_await probe_claim(live);
    if (const auto* a = std::get_if<Harvest>(&action))
        co_return co_await harvest(a->through_probe, live);
    if (std::holds_alternative<RemoveContainer>(action)) co_return co_await remove_container(live);
    if (std::holds_alternative<RemoveVolume>(action)) co_return co_await remove_volume(live);
    co_return StepOutcome{Kind::retry, "not an engine action"};
}

asio::awaitable<StepOutcome> Applier::create(LivePtr live) {
    const auto& run = live->record.run;
    const auto image_id = images_.prepared_id(run.spec.image);
    if (image_id.empty()) co_return StepOutcome{Kind::retry, "its prepared image was forgotten"};
    auto sandbox = make_sandbox(settings_.sandbox, run, *live->record.attempt, image_id);
    const bool makes_volume = std::exchange(live->evidence.volume_unmade, false);
    auto reply = co_await engine_.create_container(std::move(sandbox));
    auto& ev = live->evidence;
    if (reply) {
        forget_container(ev, Container::present);
        ev.put_is_safe = makes_volume;
        ev.container_id = reply->id;
        ev.state = ContainerState::created;
        ev.create_warnings = reply->warnings;
        ev.image_id = image_id;
        ev.look = false;
        co_return progress();
    }
    ev.start_error = reply.error().message;
    switch (reply.error().kind) {
        case E::conflict:
            ev.name_taken = true;
            co_return progress();
        case E::not_found:
            images_.invalidate(run.spec.image);
            co_return failed(reply.error());
        case E::rejected:
            ev.rejected = reply.error().message;
            co_return progress();
        default:
            co_return failed(reply.error());
    }
}

asio::awaitable<StepOutcome> Applier::inspect(bool by_name, LivePtr live) {
    const auto& attempt = *live->record.attempt;
    const auto id = known_id(*live);
    auto target = by_name || id.empty() ? attempt.container_name : id;
    live->evidence.look = false;  // before the call: what happens during it is looked at again
    auto reply = co_await engine_.inspect_container(std::move(target));
    auto& ev = live->evidence;
    if (reply) {
        fold_inspected(*reply, *live);
        co_return progress();
    }
    if (reply.error().kind == E::not_found) {
        forget_container(ev, Container::absent);
        if (attempt.stage == Stage::ended) ev.container_removed = true;
        co_return progress();
    }
    ev.look = true;
    co_return failed(reply.error());
}

void Applier::fold_inspected(const ContainerFacts& facts, Live& live) const {
    auto& ev = live.evidence;
    const auto& attempt = *live.record.attempt;
    const auto expected_image =
        ev.image_id.empty() ? images_.prepared_id(live.record.run.spec.image) : ev.image_id;
    const auto sandbox = make_sandbox(settings_.sandbox, live.record.run, attempt, expected_image);
    if (!is_ours(sandbox, facts.labels)) {
        // Found by name, and somebody else's: to be left alone for ever.
        forget_container(ev, Container::absent);
        ev.name_conflict = true;
        return;
    }
    // Another container of the same name, made while we did not see: what was done to the one
    // before it says nothing of this one.
    if (facts.id != ev.container_id) forget_container(ev, Container::present);
    ev.container = Container::present;
    ev.container_id = facts.id;
    ev.state = facts.state;
    ev.facts = facts;
    ev.name_taken = false;
    const bool before_start =
        attempt.stage == Stage::bound ||
        (attempt.stage == Stage::start_intent && ev.claim == Claim::untouched);
    if (!before_start) return;
    if (ev.image_id.empty()) ev.rebuild = true;
    ev.violations.clear();
    if (ev.rebuild) return;
    for (const auto& sentence : verify_sandbox(sandbox, facts)) {
        if (!ev.violations.empty()) ev.violations += "; ";
        ev.violations += sentence;
    }
    ev.verified = ev.violations.empty();
}

asio::awaitable<StepOutcome> Applier::read_claim(LivePtr live) {
    auto stat = co_await engine_.stat_path(live->evidence.container_id, std::string(kClaimPath));
    auto& ev = live->evidence;
    if (!stat && stat.error().kind != E::not_found) co_return failed(stat.error());
    // Not there: no inputs ever came, so nothing could run. Or the container is gone, and a PUT
    // to it finds nothing.
    if (!stat || is_untouched(*stat)) {
        ev.put_is_safe = true;
    } else {
        ev.claim = Claim::taken;
    }
    co_return progress();
}

asio::awaitable<StepOutcome> Applier::put_inputs(LivePtr live) {
    auto fd = spool_.open_file(live->record.run.id, store::kInputTar);
    if (!fd) {
        live->evidence.inputs_error =
            fmt::format("its stored inputs cannot be read: {}", fd.error().message);
        co_return progress();
    }
    FileSource source(*fd);
    // Until it has ended, what a run stores is its inputs.
    if (source.size() != live->record.run.stored_bytes) {
        live->evidence.inputs_error =
            fmt::format("its stored inputs have {} bytes, and {} were accepted", source.size(),
                        live->record.run.stored_bytes);
        co_return progress();
    }
    auto reply =
        co_await engine_.put_archive(live->evidence.container_id, std::string(kWorkDir), source);
    auto& ev = live->evidence;
    if (reply) {
        ev.inputs_put = true;
        // The claim is new: what was read before it does not say whether somebody started it.
        ev.facts.reset();
        ev.verified = false;
        co_return progress();
    }
    ev.start_error = reply.error().message;
    if (reply.error().kind == E::local) {
        ev.inputs_error =
            fmt::format("its stored inputs cannot be read: {}", reply.error().message);
        co_return progress();
    }
    if (reply.error().is_unknown()) ev.rebuild = true;
    // Not put again without a look: somebody may start it by hand meanwhile, and what is put then
    // takes away the claim of what ran.
    ev.look = true;
    co_return failed(reply.error());
}

asio::awaitable<StepOutcome> Applier::start(LivePtr live) {
    auto& ev = live->evidence;
    ev.start = Start::unclear;
    auto reply = co_await engine_.start_container(ev.container_id);
    if (reply) {
        ev.start = Start::accepted;
        ev.state = ContainerState::running;
        ev.container = Container::present;
        co_return progress();
    }
    ev.start_error = reply.error().message;
    if (reply.error().kind != E::unreachable) ++ev.start_failures;
    switch (reply.error().kind) {
        case E::unreachable:  // nothing was sent: the intent still stands
            ev.start = Start::armed;
            break;
        case E::not_found:  // it was gone before we asked: nothing ran
            forget_container(ev, Container::absent);
            ev.start = Start::none;
            ev.claim = Claim::untouched;
            co_return progress();
        case E::conflict:
        case E::rejected:
            ev.start = Start::refused;
            ev.look = true;
            co_return progress();
        default:
            ev.start = Start::unclear;
            ev.look = true;
            break;
    }
    co_return failed(reply.error());
}

asio::awaitable<StepOutcome> Applier::kill(std::string signal, LivePtr live) {
    const bool is_kill = signal == "SIGKILL";
    auto reply = co_await engine_.kill_container(known_id(*live), std::move(signal));
    auto& ev = live->evidence;
    if (!reply) co_return failed(reply.error());
    ev.term_sent = true;
    if (is_kill) ev.kill_sent = true;
    if (*reply == KillOutcome::not_running) ev.look = true;
    co_return progress();
}

asio::awaitable<StepOutcome> Applier::fence(LivePtr live) {
    auto reply = co_await engine_.remove_container(known_id(*live), true);
    if (!reply) co_return failed(reply.error());
    forget_container(live->evidence, Container::absent);
    live->evidence.look = false;
    co_return progress();
}

asio::awaitable<Reply<std::string>> Applier::open_probe(LivePtr live) {
    const auto& run = live->record.run;
    const auto& attempt = *live->record.attempt;
    auto volume = co_await engine_.inspect_volume(attempt.volume_name);
    if (!volume) co_return std::unexpected(volume.error());
    if (!has_label(volume->labels, kLabelNonce, attempt.nonce)) {
        co_return std::unexpected(
            EngineError{E::not_found, 0, "GET /volumes/{name}", "the volume is not ours"});
    }
    auto image = images_.prepared_id(run.spec.image);
    if (image.empty()) image = images_.any_prepared_id();
    if (image.empty()) {
        // The container was removed, and then every image that one could be made of. Not given up
        // before nothing was to be had for as long as a preparation may take.
        if (images_.failing_for_ms(run.spec.image) >= settings_.prepare_timeout_ms) {
            co_return std::unexpected(EngineError{
                E::not_found, 0, "POST /containers/create",
                "the container was removed, and no image is left to read its volume with"});
        }
        images_.request(run.spec.image);
        co_return std::unexpected(
            EngineError{E::server, 0, "POST /containers/create", "no prepared image yet"});
    }
    auto probe = make_probe(settings_.sandbox, run, attempt, image);
    const auto name = probe.name;
    auto created = co_await engine_.create_container(std::move(probe));
    if (created) co_return created->id;
    if (created.error().kind == E::not_found) {
        images_.invalidate_prepared(image);
        co_return std::unexpected(
            EngineError{E::server, 404, created.error().call, created.error().message});
    }
    if (created.error().kind != E::conflict) co_return std::unexpected(created.error());
    // One of ours is left from before a crash: use it.
    auto found = co_await engine_.inspect_container(name);
    if (!found) {
        auto error = found.error();
        if (error.kind == E::not_found) error.kind = E::server;  // on its way out: try again
        co_return std::unexpected(error);
    }
    if (!has_label(found->labels, kLabelNonce, attempt.nonce) ||
        !has_label(found->labels, kLabelRole, "probe")) {
        co_return std::unexpected(
            EngineError{E::server, 409, "POST /containers/create",
                        fmt::format("a container named {} exists and is not ours", name)});
    }
    co_return found->id;
}

asio::awaitable<void> Applier::close_probe(std::string container_id) {
    auto removed = co_await engine_.remove_container(container_id, true);
    if (!removed) {
        metrics::log_warn("probe left for the sweep",
                          {{"container", container_id}, {"error", removed.error().message}});
    }
}

asio::awaitable<StepOutcome> Applier::probe_claim(LivePtr live) {
    auto probe = co_await open_probe(live);
    if (!probe) {
        if (probe.error().kind != E::not_found) co_return failed(probe.error());
        live->evidence.claim = Claim::volume_gone;
        live->evidence.claim_error = probe.error().message;
        co_return progress();
    }
    auto stat = co_await engine_.stat_path(*probe, std::string(kClaimPath));
    if (!stat && stat.error().kind == E::not_found) {
        // The path, or the probe itself: one from before a crash may be swept at this moment, and
        // an answer to HEAD has no words. Ids are not used again: what is there now was there.
        auto there = co_await engine_.inspect_container(*probe);
        if (!there) {
            auto error = there.error();
            if (error.kind == E::not_found) error.kind = E::server;  // with another one, then
            co_return failed(error);
        }
    }
    co_await close_probe(*probe);
    if (!stat) {
        if (stat.error().kind != E::not_found) co_return failed(stat.error());
        // The volume is ours and the PUT was whole before the intent: a claim that is not there
        // was never there, which only a volume that was emptied explains.
        live->evidence.claim = Claim::volume_gone;
        live->evidence.claim_error = "the volume was emptied";
        co_return progress();
    }
    const bool untouched = is_untouched(*stat);
    live->evidence.claim = untouched ? Claim::untouched : Claim::taken;
    metrics::log_info("fenced", {{"run", live->record.run.id},
                                 {"attempt", live->record.attempt->number},
                                 {"claim", untouched ? "untouched" : "taken"}});
    co_return progress();
}

asio::awaitable<StepOutcome> Applier::harvest(bool through_probe, LivePtr live) {
    auto container_id = known_id(*live);
    if (through_probe) {
        auto probe = co_await open_probe(live);
        if (!probe) {
            if (probe.error().kind != E::not_found) co_return failed(probe.error());
            HarvestEvidence gone;
            gone.state = ExitEvidence::Harvest::volume_gone;
            gone.message = probe.error().message;
            live->evidence.harvest = std::move(gone);
            co_return progress();
        }
        container_id = *probe;
    }
    auto outcome = co_await harvester_.harvest(live->record, container_id, through_probe);
    if (through_probe) co_await close_probe(container_id);
    auto& ev = live->evidence;
    if (outcome) {
        const bool torn = outcome->state == ExitEvidence::Harvest::torn;
        ev.harvest = std::move(*outcome);
        if (!torn) co_return progress();
        ++ev.torn_harvests;
        co_return StepOutcome{Kind::retry, ev.harvest->message};
    }
    const auto& failure = outcome.error();
    switch (failure.kind) {
        case HarvestFailure::Kind::engine:
            co_return failed(failure.engine);
        case HarvestFailure::Kind::local:
            co_return StepOutcome{Kind::retry, failure.message};
        case HarvestFailure::Kind::container_vanished:
            break;
    }
    // Gone, or its files are: look again, a bounded number of times.
    ev.container = Container::unknown;
    HarvestEvidence torn;
    torn.state = ExitEvidence::Harvest::torn;
    torn.message = failure.message;
    ev.harvest = std::move(torn);
    ++ev.torn_harvests;
    co_return StepOutcome{Kind::retry, failure.message};
}

asio::awaitable<StepOutcome> Applier::remove_container(LivePtr live) {
    auto reply = co_await engine_.remove_container(known_id(*live), true);
    if (!reply) co_return failed(reply.error());
    live->evidence.container_removed = true;
    live->evidence.container = Container::absent;
    co_return progress();
}

asio::awaitable<StepOutcome> Applier::remove_volume(LivePtr live) {
    const auto& attempt = *live->record.attempt;
    auto reply = co_await engine_.remove_volume(attempt.volume_name);
    if (reply) {
        live->evidence.volume_removed = true;
        co_return progress();
    }
    if (reply.error().kind == E::conflict) {
        // A probe of ours may hold it; anybody else's container is not ours to touch.
        const auto probe = make_probe(settings_.sandbox, live->record.run, attempt, "");
        auto found = co_await engine_.inspect_container(probe.name);
        if (found && has_label(found->labels, kLabelNonce, attempt.nonce))
            co_await close_probe(found->id);
        // Or the attempt's own container: a create that was given up took effect after we had
        // looked.
        live->evidence.container = Container::unknown;
        live->evidence.container_removed = false;
        live->evidence.name_taken = true;
    }
    co_return failed(reply.error());
}

}  // namespace mayfly::controller
