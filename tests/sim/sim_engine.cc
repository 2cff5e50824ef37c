#include "tests/sim/sim_engine.h"

#include <algorithm>

namespace mayfly::sim {
namespace {

namespace asio = boost::asio;
using namespace controller;  // NOLINT(google-build-using-namespace): this file is one class of it
using Kind = EngineError::Kind;
using Health = DockerModel::Health;

constexpr std::int64_t kDeadlineMs = 10'000;
constexpr std::int64_t kLatencyMaxMs = 12;
constexpr std::int64_t kSlowMaxMs = 8'000;
constexpr std::int64_t kLateMaxMs = 20'000;
constexpr std::int64_t kLockPollMs = 50;
constexpr std::size_t kPieceBytes = 4'096;

}  // namespace

SimEngine::SimEngine(World& world, Waits& waits, DockerModel& model, Faults& faults, LifePtr life,
                     Witness witness)
    : world_(world),
      waits_(waits),
      model_(model),
      faults_(faults),
      life_(std::move(life)),
      witness_(std::move(witness)) {}

EngineError SimEngine::error(Kind kind, int status, const About& about,
                             std::string message) const {
    world_.trace("{} {}: {}", about.call, about.target.substr(0, 80), to_string(kind));
    return {kind, status, about.call, std::move(message)};
}

asio::awaitable<bool> SimEngine::wait_for_lock(std::string target, UnixMs deadline_ms) {
    while (model_.locked_until(target) > world_.now_ms()) {
        world_.probe("engine: a call waited for a container's lock");
        if (world_.now_ms() >= deadline_ms) co_return false;
        co_await let_pass(waits_, kLockPollMs);
    }
    co_return true;
}

template <class T>
Call<T> SimEngine::exchange(About about, std::function<Reply<T>(Fault)> effect,
                            std::vector<Fault> special) {
    ++calls_;
    if (about.mutates) ++mutating_calls_;
    if (!world_.may(life_, about.call)) {
        co_await let_pass(waits_, -1);  // the dead do not come back
    }
    auto& rng = world_.rng(Stream::schedule);
    auto fault = faults_.draw(about.call, special);
    if (fault == Fault::none) {
        fault = faults_.draw(about.call, {Fault::refused, Fault::lost_request, Fault::error_before,
                                          Fault::lost_reply, Fault::late_effect,
                                          Fault::error_after, Fault::unreadable, Fault::slow});
    }
    if (fault == Fault::refused || model_.health() == Health::down) {
        co_await let_pass(waits_, 1);
        co_return std::unexpected(error(Kind::unreachable, 0, about, "connection refused"));
    }
    const auto deadline_ms = world_.now_ms() + kDeadlineMs;
    const auto epoch = model_.epoch();
    if (fault == Fault::lost_request || model_.health() == Health::hung) {
        co_await let_pass(waits_, kDeadlineMs);
        co_return std::unexpected(error(Kind::timeout, 0, about, "no answer"));
    }
    if (fault == Fault::late_effect) {
        const auto late_ms = rng.between(1, kLateMaxMs);
        world_.after(late_ms, [this_model = &model_, &world = world_, effect, about, epoch,
                               witness = witness_] {
            if (this_model->epoch() != epoch) return;
            world.trace("{} {}: takes effect late", about.call, about.target.substr(0, 80));
            if (about.mutates && witness) witness("late " + about.call, about.target);
            (void)effect(Fault::none);
        });
        co_await let_pass(waits_, kDeadlineMs);
        co_return std::unexpected(error(Kind::timeout, 0, about, "no answer"));
    }
    const auto there_ms =
        fault == Fault::slow ? rng.between(100, kSlowMaxMs) : rng.below(kLatencyMaxMs);
    if (there_ms > 0) co_await let_pass(waits_, there_ms);
    if (about.locks && !co_await wait_for_lock(about.target, deadline_ms)) {
        co_return std::unexpected(error(Kind::timeout, 0, about, "no answer"));
    }
    if (model_.epoch() != epoch) {
        co_return std::unexpected(error(Kind::cut, 0, about, "connection reset"));
    }
    if (fault == Fault::error_before) {
        co_return std::unexpected(error(Kind::server, 500, about, "internal error"));
    }
    if (about.mutates && witness_) witness_(about.call, about.target);
    auto reply = effect(fault);
    world_.did(life_);
    co_await let_pass(waits_, rng.below(kLatencyMaxMs));
    if (model_.epoch() != epoch) {
        co_return std::unexpected(error(Kind::cut, 0, about, "connection reset"));
    }
    world_.saw(life_);
    switch (fault) {
        case Fault::lost_reply:
            co_return std::unexpected(error(Kind::cut, 0, about, "connection reset"));
        case Fault::error_after:
            co_return std::unexpected(error(Kind::server, 500, about, "internal error"));
        case Fault::unreadable:
            co_return std::unexpected(error(Kind::protocol, 200, about, "not JSON"));
        default:
            break;
    }
    if (!reply) {
        auto failure = reply.error();
        failure.call = about.call;
        world_.trace("{} {}: {}", about.call, about.target.substr(0, 80), failure.message);
        co_return std::unexpected(std::move(failure));
    }
    world_.trace("{} {}: ok", about.call, about.target.substr(0, 80));
    co_return reply;
}

// ----

Call<EngineFacts> SimEngine::probe() {
    return exchange<EngineFacts>({"GET /_ping", "", false, false},
                                 [](Fault) -> Reply<EngineFacts> {
                                     EngineFacts facts;
                                     facts.version = "0.0";
                                     facts.api_version = "1.41";
                                     facts.os = "linux";
                                     facts.cpus = 8;
                                     facts.memory_bytes = 64LL << 30;
                                     return facts;
                                 },
                                 {});
}

Call<ImageFacts> SimEngine::inspect_image(std::string reference) {
    return exchange<ImageFacts>(
        {"GET /images/{name}/json", reference, false, false},
        [&model = model_, reference](Fault) { return model.inspect_image(reference); }, {});
}

Call<void> SimEngine::pull_image(std::string reference, PullProgress progress) {
    progress("Downloading 1 of 2 MB");
    return exchange<void>({"POST /images/create", reference, false, false},
                          [&model = model_, reference](Fault) { return model.pull(reference); },
                          {});
}

Call<std::string> SimEngine::commit_image(std::string container_id, std::string repository,
                                          std::string tag,
                                          std::map<std::string, std::string> labels) {
    return exchange<std::string>({"POST /commit", container_id, true, true},
                                 [&model = model_, container_id, repository, tag, labels](Fault) {
                                     return model.commit(container_id, repository, tag, labels);
                                 },
                                 {});
}

Call<RemoveOutcome> SimEngine::remove_image(std::string id) {
    return exchange<RemoveOutcome>({"DELETE /images/{id}", id, true, false},
                                   [&model = model_, id](Fault) { return model.remove_image(id); },
                                   {});
}

Call<std::vector<ImageFacts>> SimEngine::list_images(std::string label) {
    return exchange<std::vector<ImageFacts>>(
        {"GET /images/json", "", false, false},
        [&model = model_, label](Fault) { return model.list_images(label); }, {});
}

Call<CreatedContainer> SimEngine::create_container(Sandbox sandbox) {
    const auto name = sandbox.name;
    return exchange<CreatedContainer>(
        {"POST /containers/create", name, true, false},
        [&model = model_, sandbox = std::move(sandbox)](Fault fault) -> Reply<CreatedContainer> {
            auto made = model.create(sandbox, fault == Fault::dropped_limit);
            if (made && fault == Fault::volume_only) {
                model.containers.erase(made->id);
                return std::unexpected(EngineError{Kind::server, 500, "", "half a create"});
            }
            return made;
        },
        {Fault::dropped_limit, Fault::volume_only});
}

Call<CreatedContainer> SimEngine::create_build_container(
    std::string name, std::string image, std::map<std::string, std::string> labels) {
    return exchange<CreatedContainer>({"POST /containers/create (build)", name, true, false},
                                      [&model = model_, name, image, labels](Fault) {
                                          return model.create_build(name, image, labels);
                                      },
                                      {});
}

Call<ContainerFacts> SimEngine::inspect_container(std::string id_or_name) {
    return exchange<ContainerFacts>(
        {"GET /containers/{id}/json", id_or_name, false, true},
        [&model = model_, id_or_name](Fault) { return model.inspect(id_or_name); }, {});
}

Call<std::vector<ContainerSummary>> SimEngine::list_containers(std::string label) {
    const auto age_ms = world_.rng(Stream::schedule).between(1, 3'000);
    return exchange<std::vector<ContainerSummary>>(
        {"GET /containers/json", "", false, false},
        [&model = model_, label, age_ms](Fault fault) {
            return model.list(label, fault == Fault::stale ? age_ms : 0);
        },
        {Fault::stale});
}

Call<StartOutcome> SimEngine::start_container(std::string id) {
    return exchange<StartOutcome>(
        {"POST /containers/{id}/start", id, true, true},
        [&model = model_, id](Fault fault) -> Reply<StartOutcome> {
            if (fault == Fault::start_failed) {
                if (auto* container = model.find(id)) container->error = "no shim";
                return std::unexpected(EngineError{Kind::server, 500, "", "failed to start shim"});
            }
            return model.start(id, true);
        },
        {Fault::start_failed});
}

Call<KillOutcome> SimEngine::kill_container(std::string id, std::string signal) {
    return exchange<KillOutcome>(
        {"POST /containers/{id}/kill", id, true, true},
        [&model = model_, id, signal](Fault) { return model.kill(id, signal, true); }, {});
}

Call<RemoveOutcome> SimEngine::remove_container(std::string id, bool force) {
    const auto slowly_ms = world_.rng(Stream::schedule).between(10, 5'000);
    return exchange<RemoveOutcome>(
        {"DELETE /containers/{id}", id, true, true},
        [&model = model_, id, force, slowly_ms](Fault fault) -> Reply<RemoveOutcome> {
            const bool slow = fault == Fault::slow_removal;
            auto removed = model.remove(id, force, slow ? slowly_ms : 0);
            // It answers when it is done, which is after the caller's patience.
            if (slow && removed) {
                return std::unexpected(EngineError{Kind::timeout, 0, "", "no answer"});
            }
            return removed;
        },
        {Fault::slow_removal});
}

Call<void> SimEngine::put_archive(std::string id, std::string path, ByteSource& source) {
    std::string bytes;
    std::vector<std::byte> piece(kPieceBytes);
    while (true) {
        auto got = source.read(piece);
        if (!got) {
            co_return std::unexpected(error(
                Kind::local, 0, {"PUT /containers/{id}/archive", id, true, true}, got.error()));
        }
        if (*got == 0) break;
        bytes.append(reinterpret_cast<const char*>(piece.data()), *got);
    }
    const auto share = world_.rng(Stream::schedule).below(100);
    const About about{"PUT /containers/{id}/archive", id, true, true};
    auto effect = [&model = model_, id, path, bytes = std::move(bytes),
                   share](Fault fault) -> Reply<void> {
        if (fault != Fault::half_put) return model.put(id, path, bytes, true);
        const auto size = bytes.size() * static_cast<std::size_t>(share) / 100;
        (void)model.put(id, path, std::string_view(bytes).substr(0, size), false);
        return std::unexpected(EngineError{Kind::server, 500, "", "unexpected EOF"});
    };
    std::vector<Fault> special{Fault::half_put};
    co_return co_await exchange<void>(about, std::move(effect), std::move(special));
}

Call<void> SimEngine::get_archive(std::string id, std::string path, ByteSink& sink) {
    const About about{"GET /containers/{id}/archive", id, false, true};
    const auto share = world_.rng(Stream::schedule).below(100);
    const auto cut = std::make_shared<bool>(false);
    auto effect = [&model = model_, id, path, share, cut](Fault fault) {
        model.lock(id, 2 + share / 10);
        auto bytes = model.get(id, path);
        *cut = fault == Fault::cut_body;
        if (bytes && (*cut || fault == Fault::torn_body)) {
            bytes->resize(bytes->size() * static_cast<std::size_t>(share) / 100);
        }
        return bytes;
    };
    std::vector<Fault> special{Fault::torn_body, Fault::cut_body};
    auto got = co_await exchange<std::string>(about, std::move(effect), std::move(special));
    if (!got) co_return std::unexpected(got.error());
    for (std::size_t at = 0; at < got->size(); at += kPieceBytes) {
        const auto piece = std::string_view(*got).substr(at, kPieceBytes);
        if (auto written = sink.write(std::as_bytes(std::span(piece))); !written) {
            co_return std::unexpected(error(Kind::local, 0, about, written.error()));
        }
    }
    if (*cut) co_return std::unexpected(error(Kind::cut, 200, about, "connection reset"));
    co_return Reply<void>{};
}

Call<PathStat> SimEngine::stat_path(std::string id, std::string path) {
    return exchange<PathStat>({"HEAD /containers/{id}/archive", id, false, true},
                              [&model = model_, id, path](Fault) { return model.stat(id, path); },
                              {});
}

Call<void> SimEngine::read_logs(std::string id, LogSink& sink) {
    const About about{"GET /containers/{id}/logs", id, false, true};
    auto effect = [&model = model_, id](Fault) { return model.logs(id); };
    std::vector<Fault> special;
    auto logs = co_await exchange<DockerModel::Logs>(about, std::move(effect), std::move(special));
    if (!logs) co_return std::unexpected(logs.error());
    const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
    auto written = sink.write(LogSink::Stream::err, bytes(logs->err));
    if (written) written = sink.write(LogSink::Stream::out, bytes(logs->out));
    if (!written) co_return std::unexpected(error(Kind::local, 0, about, written.error()));
    co_return Reply<void>{};
}

Call<void> SimEngine::follow_logs(std::string id, LogSink& sink,
                                  std::shared_ptr<controller::HangUp>) {
    return read_logs(std::move(id), sink);
}

Call<VolumeFacts> SimEngine::inspect_volume(std::string name) {
    return exchange<VolumeFacts>(
        {"GET /volumes/{name}", name, false, false},
        [&model = model_, name](Fault) { return model.inspect_volume(name); }, {});
}

Call<std::vector<VolumeFacts>> SimEngine::list_volumes(std::string label) {
    return exchange<std::vector<VolumeFacts>>(
        {"GET /volumes", "", false, false},
        [&model = model_, label](Fault) { return model.list_volumes(label); }, {});
}

Call<RemoveOutcome> SimEngine::remove_volume(std::string name) {
    return exchange<RemoveOutcome>(
        {"DELETE /volumes/{name}", name, true, false},
        [&model = model_, name](Fault) { return model.remove_volume(name); }, {});
}

Call<void> SimEngine::events(std::string label, std::function<void()> connected,
                             EventListener listener) {
    const About about{"GET /events", "", false, false};
    if (model_.health() != Health::up) {
        co_await let_pass(waits_, 1);
        co_return std::unexpected(error(Kind::unreachable, 0, about, "connection refused"));
    }
    const auto epoch = model_.epoch();
    auto alarms = WorldAlarms(waits_);
    const std::shared_ptr<Alarm> alarm = alarms.make();
    const auto arrived = std::make_shared<std::deque<EngineEvent>>();
    model_.on_event = [this, alarm = std::weak_ptr(alarm), arrived,
                       label](const EngineEvent& event) {
        const auto equals = label.find('=');
        const auto found = event.attributes.find(label.substr(0, equals));
        if (found == event.attributes.end() || found->second != label.substr(equals + 1)) return;
        const auto fault =
            faults_.draw("event", {Fault::lost_event, Fault::repeated_event, Fault::late_event});
        if (fault == Fault::lost_event) return;
        const auto late_ms =
            fault == Fault::late_event ? world_.rng(Stream::schedule).between(10, 5'000) : 1;
        const int copies = fault == Fault::repeated_event ? 2 : 1;
        for (int i = 0; i < copies; ++i) {
            world_.after(late_ms + i, [alarm, arrived, event] {
                arrived->push_back(event);
                if (const auto ringer = alarm.lock()) ringer->ring();
            });
        }
    };
    model_.on_epoch = [alarm = std::weak_ptr(alarm)] {
        if (const auto ringer = alarm.lock()) ringer->ring();
    };
    connected();
    while (model_.epoch() == epoch && life_->alive) {
        while (!arrived->empty()) {
            const auto event = arrived->front();
            arrived->pop_front();
            listener(event);
        }
        co_await alarm->wait(-1);
    }
    co_return std::unexpected(error(Kind::cut, 0, about, "the stream ended"));
}

}  // namespace mayfly::sim
