#include "controller/engine/docker/client.h"

#include <fmt/format.h>

#include <utility>

#include "controller/engine/docker/create_body.h"
#include "controller/engine/docker/line_splitter.h"
#include "controller/engine/docker/parse.h"
#include "controller/engine/docker/pull_progress.h"
#include "controller/engine/docker/target.h"

namespace mayfly::controller::docker {
namespace {

using Kind = EngineError::Kind;

constexpr std::size_t kListBytesMax = 64 << 20;
// An event's labels are the container's; a longer line is of no container of ours and is skipped.
constexpr std::size_t kEventLineBytesMax = 1 << 20;

std::expected<void, StreamError> into_sink(ByteSink& sink, std::span<const std::byte> bytes) {
    if (auto written = sink.write(bytes); !written) {
        return std::unexpected(StreamError{Kind::local, std::move(written.error())});
    }
    return {};
}

EngineError error_of(Kind kind, int status, std::string_view call, std::string_view message) {
    return {.kind = kind,
            .http_status = status,
            .call = std::string(call),
            .message = plain_text(message)};
}

// What an answer that is not "done" says.
EngineError error_of(const Answer& answer, Kind kind, std::string_view call) {
    const bool status_speaks = answer.status >= 300;
    return error_of(
        kind, answer.status, call,
        status_speaks ? error_message(answer.body, answer.status) : answer.fault_message);
}

}  // namespace

DockerEngine::DockerEngine(DockerSettings settings, std::unique_ptr<Transport> transport,
                           const store::Clock& clock)
    : settings_(std::move(settings)), transport_(std::move(transport)), clock_(clock) {}

std::expected<std::unique_ptr<DockerEngine>, std::string> DockerEngine::open(
    boost::asio::any_io_executor executor, DockerSettings settings, const store::Clock& clock) {
    auto transport = Transport::open(std::move(executor), settings.transport, clock);
    if (!transport) {
        return std::unexpected(std::move(transport.error()));
    }
    return std::unique_ptr<DockerEngine>(
        new DockerEngine(std::move(settings), std::move(*transport), clock));
}

void DockerEngine::close() { transport_->close(); }

// ---- one call, in general

void DockerEngine::observe(std::string_view call, std::string_view result,
                           std::int64_t begin_us) const {
    if (settings_.observer) {
        const auto took_us = static_cast<double>(clock_.steady_us() - begin_us);
        settings_.observer(call, result, took_us / 1e6);
    }
}

DockerEngine::Ask DockerEngine::ask_for(std::string_view call, std::string target,
                                        std::string subject, std::int64_t total_ms) const {
    Ask ask;
    ask.call = call;
    ask.subject = std::move(subject);
    if (ask.subject.empty()) {
        ask.problem = "no id or name was given";
    }
    ask.request.verb = std::string(call.substr(0, call.find(' ')));
    ask.request.target = std::move(target);
    ask.request.total_ms = total_ms;
    return ask;
}

void DockerEngine::make_stream(Ask& ask) const {
    ask.request.total_ms = settings_.deadlines.stream_ms;
    ask.request.idle_ms = settings_.deadlines.stream_idle_ms;
}

Call<DockerEngine::Said> DockerEngine::send(Ask ask) {
    if (!ask.problem.empty()) {
        co_return std::unexpected(error_of(Kind::local, 0, ask.call, ask.problem));
    }
    if (ask.versioned) {
        if (!version_) {
            auto negotiated = co_await negotiate_version();
            if (!negotiated) {
                // Of this call nothing was sent, whatever became of the question about versions.
                EngineError error = std::move(negotiated.error());
                error.message = plain_text(fmt::format("{}: {}", error.call, error.message));
                error.call = ask.call;
                error.kind = Kind::unreachable;
                co_return std::unexpected(std::move(error));
            }
        }
        ask.request.target = fmt::format("/v{}{}", to_string(*version_), ask.request.target);
    }
    ++requests_;
    Said said;
    said.answer = co_await transport_->exchange(std::move(ask.request));
    const Answer& answer = said.answer;
    if (answer.stream_error) {
        co_return std::unexpected(error_of(answer.stream_error->kind, answer.status, ask.call,
                                           answer.stream_error->message));
    }
    const Judgement judgement = judge(ask.kind, answer.status, answer.fault);
    if (judgement.verdict == Judgement::Verdict::failed) {
        EngineError error = error_of(answer, judgement.kind, ask.call);
        if (is_version_refusal(answer.status, error.message)) {
            version_.reset();
        }
        co_return std::unexpected(std::move(error));
    }
    said.already = judgement.verdict == Judgement::Verdict::already;
    if (ask.finish) {
        if (auto finished = ask.finish(); !finished) {
            co_return std::unexpected(error_of(finished.error().kind, answer.status, ask.call,
                                               finished.error().message));
        }
    }
    co_return said;
}

template <class T>
Call<T> DockerEngine::send_and_read(Ask ask, Reader<T> read) {
    const std::int64_t begin_us = clock_.steady_us();
    const std::string call = ask.call;
    auto said = co_await send(std::move(ask));
    if (!said) {
        observe(call, controller::to_string(said.error().kind), begin_us);
        co_return std::unexpected(std::move(said.error()));
    }
    auto value = read(*said);
    if (!value) {
        observe(call, controller::to_string(Kind::protocol), begin_us);
        co_return std::unexpected(
            error_of(Kind::protocol, said->answer.status, call, value.error()));
    }
    observe(call, "ok", begin_us);
    co_return std::move(*value);
}

Call<void> DockerEngine::send_only(Ask ask) {
    const Reader<bool> nothing_to_read = [](const Said&) -> std::expected<bool, std::string> {
        return true;
    };
    auto done = co_await send_and_read<bool>(std::move(ask), nothing_to_read);
    if (!done) {
        co_return std::unexpected(std::move(done.error()));
    }
    co_return Reply<void>();
}

std::expected<StartOutcome, std::string> DockerEngine::read_started(const Said& said) {
    return said.already ? StartOutcome::already_running : StartOutcome::started;
}

std::expected<KillOutcome, std::string> DockerEngine::read_killed(const Said& said) {
    return said.already ? KillOutcome::not_running : KillOutcome::sent;
}

std::expected<RemoveOutcome, std::string> DockerEngine::read_removed(const Said& said) {
    return said.already ? RemoveOutcome::already_gone : RemoveOutcome::removed;
}

std::expected<CreatedContainer, std::string> DockerEngine::read_created(const Said& said) {
    auto created = parse_created(said.answer.body);
    if (!created) {
        return std::unexpected(std::move(created.error()));
    }
    return CreatedContainer{.id = std::move(created->id),
                            .warnings = std::move(created->warnings)};
}

// ---- the engine

Call<DockerEngine::Negotiated> DockerEngine::negotiate_version() {
    Ask ping = ask_for("GET /_ping", "/_ping", "engine", settings_.deadlines.ask_ms);
    ping.versioned = false;
    const Reader<std::string> read_newest = [](const Said& said) {
        return std::expected<std::string, std::string>(said.answer.api_version);
    };
    const auto newest = co_await send_and_read<std::string>(std::move(ping), read_newest);
    if (!newest) {
        co_return std::unexpected(newest.error());
    }
    Ask ask = ask_for("GET /version", "/version", "engine", settings_.deadlines.ask_ms);
    ask.versioned = false;
    const Reader<VersionFacts> read_version = &read_body<VersionFacts, &parse_version>;
    auto said = co_await send_and_read<VersionFacts>(std::move(ask), read_version);
    if (!said) {
        co_return std::unexpected(said.error());
    }
    const auto chosen = negotiate(*newest, said->api_oldest);
    if (!chosen) {
        version_.reset();
        co_return std::unexpected(error_of(Kind::rejected, 0, "GET /_ping", chosen.error()));
    }
    version_ = *chosen;
    said->facts.api_version = to_string(*chosen);
    co_return Negotiated{.api = *chosen, .facts = std::move(said->facts)};
}

Call<EngineFacts> DockerEngine::probe() {
    auto negotiated = co_await negotiate_version();
    if (!negotiated) {
        co_return std::unexpected(std::move(negotiated.error()));
    }
    Ask ask = ask_for("GET /info", "/info", "engine", settings_.deadlines.ask_ms);
    const Reader<std::string> read_text = [](const Said& said) {
        return std::expected<std::string, std::string>(said.answer.body);
    };
    const auto body = co_await send_and_read<std::string>(std::move(ask), read_text);
    if (!body) {
        co_return std::unexpected(body.error());
    }
    auto facts = parse_info(*body, std::move(negotiated->facts));
    if (!facts) {
        co_return std::unexpected(error_of(Kind::protocol, 200, "GET /info", facts.error()));
    }
    if (const std::string& warning = settings_.transport.endpoint.warning; !warning.empty()) {
        facts->warnings.push_back(warning);
    }
    co_return std::move(*facts);
}

Call<void> DockerEngine::events(std::string label, std::function<void()> connected,
                                EventListener listener) {
    Ask ask = ask_for("GET /events",
                      fmt::format("/events?filters={}", container_event_filter(label)), label, 0);
    ask.request.on_accepted = std::move(connected);
    LineSplitter lines(kEventLineBytesMax);
    ask.request.on_bytes =
        [&lines, &listener](std::span<const std::byte> bytes) -> std::expected<void, StreamError> {
        std::expected<void, StreamError> taken;
        lines.feed(bytes, [&taken, &listener](std::string_view line) {
            const auto event = parse_event(line);
            if (!event) {
                taken = std::unexpected(StreamError{Kind::protocol, event.error()});
                return false;
            }
            listener(*event);
            return true;
        });
        return taken;
    };
    // An end is never a success: whoever listens must look for himself and come again.
    ask.finish = []() -> std::expected<void, StreamError> {
        return std::unexpected(StreamError{Kind::cut, "the engine ended the stream"});
    };
    auto ended = co_await send_only(std::move(ask));
    co_return ended;
}

// ---- the images

Call<ImageFacts> DockerEngine::inspect_image(std::string reference) {
    Ask ask = ask_for("GET /images/{name}/json",
                      fmt::format("/images/{}/json", encode_reference(reference)), reference,
                      settings_.deadlines.ask_ms);
    const Reader<ImageFacts> read = &read_body<ImageFacts, &parse_image>;
    return send_and_read<ImageFacts>(std::move(ask), read);
}

Call<void> DockerEngine::pull_image(std::string reference, controller::PullProgress progress) {
    const PullReference parts = split_reference(reference);
    Ask ask = ask_for(
        "POST /images/create",
        fmt::format("/images/create?fromImage={}&tag={}", encode(parts.name), encode(parts.tag)),
        parts.name, settings_.deadlines.pull_ms);
    ask.request.idle_ms = settings_.deadlines.pull_idle_ms;
    PullProgress stream;
    ask.request.on_bytes = [&stream, &progress](std::span<const std::byte> bytes) {
        return stream.feed(bytes, progress);
    };
    ask.finish = [&stream] { return stream.finish(); };
    auto pulled = co_await send_only(std::move(ask));
    co_return pulled;
}

Call<std::string> DockerEngine::commit_image(std::string container_id, std::string repository,
                                             std::string tag,
                                             std::map<std::string, std::string> labels) {
    Ask ask = ask_for("POST /commit",
                      fmt::format("/commit?container={}&repo={}&tag={}&pause=0",
                                  encode(container_id), encode(repository), encode(tag)),
                      container_id, settings_.deadlines.commit_ms);
    if (auto body = commit_body(labels); body) {
        ask.request.body = std::move(*body);
    } else {
        ask.problem = std::move(body.error());
    }
    const Reader<std::string> read = &read_body<std::string, &parse_id>;
    return send_and_read<std::string>(std::move(ask), read);
}

Call<RemoveOutcome> DockerEngine::remove_image(std::string id) {
    // noprune: without it the engine would also delete an untagged base that is not ours.
    Ask ask =
        ask_for("DELETE /images/{name}", fmt::format("/images/{}?noprune=1", encode_reference(id)),
                id, settings_.deadlines.remove_ms);
    ask.kind = CallKind::remove;
    return send_and_read<RemoveOutcome>(std::move(ask), &read_removed);
}

Call<std::vector<ImageFacts>> DockerEngine::list_images(std::string label) {
    Ask ask =
        ask_for("GET /images/json", fmt::format("/images/json?filters={}", label_filter(label)),
                label, settings_.deadlines.list_ms);
    ask.request.reply_bytes_max = kListBytesMax;
    const Reader<std::vector<ImageFacts>> read =
        &read_body<std::vector<ImageFacts>, &parse_image_list>;
    return send_and_read<std::vector<ImageFacts>>(std::move(ask), read);
}

// ---- the containers

Call<CreatedContainer> DockerEngine::create_container(Sandbox sandbox) {
    Ask ask = ask_for("POST /containers/create",
                      fmt::format("/containers/create?name={}", encode(sandbox.name)),
                      sandbox.name, settings_.deadlines.create_ms);
    if (auto body = create_body(sandbox); body) {
        ask.request.body = std::move(*body);
    } else {
        ask.problem = std::move(body.error());
    }
    return send_and_read<CreatedContainer>(std::move(ask), &read_created);
}

Call<CreatedContainer> DockerEngine::create_build_container(
    std::string name, std::string image, std::map<std::string, std::string> labels) {
    Ask ask =
        ask_for("POST /containers/create", fmt::format("/containers/create?name={}", encode(name)),
                name, settings_.deadlines.create_ms);
    if (auto body = build_body(image, labels); body) {
        ask.request.body = std::move(*body);
    } else {
        ask.problem = std::move(body.error());
    }
    return send_and_read<CreatedContainer>(std::move(ask), &read_created);
}

Call<ContainerFacts> DockerEngine::inspect_container(std::string id_or_name) {
    Ask ask = ask_for("GET /containers/{id}/json",
                      fmt::format("/containers/{}/json", encode(id_or_name)), id_or_name,
                      settings_.deadlines.ask_ms);
    const Reader<ContainerFacts> read = &read_body<ContainerFacts, &parse_container>;
    return send_and_read<ContainerFacts>(std::move(ask), read);
}

Call<std::vector<ContainerSummary>> DockerEngine::list_containers(std::string label) {
    Ask ask = ask_for("GET /containers/json",
                      fmt::format("/containers/json?all=1&filters={}", label_filter(label)), label,
                      settings_.deadlines.list_ms);
    ask.request.reply_bytes_max = kListBytesMax;
    const Reader<std::vector<ContainerSummary>> read =
        &read_body<std::vector<ContainerSummary>, &parse_container_list>;
    return send_and_read<std::vector<ContainerSummary>>(std::move(ask), read);
}

Call<StartOutcome> DockerEngine::start_container(std::string id) {
    Ask ask =
        ask_for("POST /containers/{id}/start", fmt::format("/containers/{}/start", encode(id)), id,
                settings_.deadlines.start_ms);
    ask.kind = CallKind::start;
    return send_and_read<StartOutcome>(std::move(ask), &read_started);
}

Call<KillOutcome> DockerEngine::kill_container(std::string id, std::string signal) {
    Ask ask = ask_for("POST /containers/{id}/kill",
                      fmt::format("/containers/{}/kill?signal={}", encode(id), encode(signal)), id,
                      settings_.deadlines.kill_ms);
    ask.kind = CallKind::kill;
    return send_and_read<KillOutcome>(std::move(ask), &read_killed);
}

Call<RemoveOutcome> DockerEngine::remove_container(std::string id, bool force) {
    Ask ask = ask_for("DELETE /containers/{id}",
                      fmt::format("/containers/{}?v=1&force={}", encode(id), force ? 1 : 0), id,
                      settings_.deadlines.remove_ms);
    ask.kind = CallKind::remove;
    return send_and_read<RemoveOutcome>(std::move(ask), &read_removed);
}

// ---- into and out of them

Call<void> DockerEngine::put_archive(std::string id, std::string path, ByteSource& source) {
    Ask ask =
        ask_for("PUT /containers/{id}/archive",
                fmt::format("/containers/{}/archive?path={}", encode(id), encode(path)), id, 0);
    make_stream(ask);
    ask.request.source = &source;
    return send_only(std::move(ask));
}

Call<void> DockerEngine::get_archive(std::string id, std::string path, ByteSink& sink) {
    Ask ask =
        ask_for("GET /containers/{id}/archive",
                fmt::format("/containers/{}/archive?path={}", encode(id), encode(path)), id, 0);
    make_stream(ask);
    ask.request.on_bytes = [&sink](std::span<const std::byte> bytes) {
        return into_sink(sink, bytes);
    };
    return send_only(std::move(ask));
}

Call<PathStat> DockerEngine::stat_path(std::string id, std::string path) {
    Ask ask = ask_for("HEAD /containers/{id}/archive",
                      fmt::format("/containers/{}/archive?path={}", encode(id), encode(path)), id,
                      settings_.deadlines.ask_ms);
    const Reader<PathStat> read = [](const Said& said) {
        return parse_path_stat(said.answer.path_stat);
    };
    return send_and_read<PathStat>(std::move(ask), read);
}

Call<void> DockerEngine::read_logs(std::string id, LogSink& sink) {
    Ask ask =
        ask_for("GET /containers/{id}/logs",
                fmt::format("/containers/{}/logs?stdout=1&stderr=1&follow=0", encode(id)), id, 0);
    make_stream(ask);
    LogDemux demux;
    ask.request.on_bytes = [&demux, &sink](std::span<const std::byte> bytes) {
        return demux.feed(bytes, sink);
    };
    ask.finish = [&demux] { return demux.finish(); };
    auto whole = co_await send_only(std::move(ask));
    co_return whole;
}

Call<void> DockerEngine::follow_logs(std::string id, LogSink& sink,
                                     std::shared_ptr<HangUp> hang_up) {
    const std::int64_t begin_us = clock_.steady_us();
    Ask ask =
        ask_for("GET /containers/{id}/logs?follow",
                fmt::format("/containers/{}/logs?stdout=1&stderr=1&follow=1", encode(id)), id, 0);
    const std::string call = ask.call;
    LogDemux demux;
    ask.request.on_bytes = [&demux, &sink](std::span<const std::byte> bytes) {
        return demux.feed(bytes, sink);
    };
    ask.finish = [&demux] { return demux.finish(); };
    ask.request.hang_up = hang_up;
    auto said = co_await send(std::move(ask));
    // An end that we wanted is no failure of the engine's.
    std::string_view result = "ok";
    if (!said && !hang_up->asked()) result = controller::to_string(said.error().kind);
    observe(call, result, begin_us);
    if (!said) co_return std::unexpected(std::move(said.error()));
    co_return Reply<void>();
}

// ---- the volumes

Call<VolumeFacts> DockerEngine::inspect_volume(std::string name) {
    Ask ask = ask_for("GET /volumes/{name}", fmt::format("/volumes/{}", encode(name)), name,
                      settings_.deadlines.ask_ms);
    const Reader<VolumeFacts> read = &read_body<VolumeFacts, &parse_volume>;
    return send_and_read<VolumeFacts>(std::move(ask), read);
}

Call<std::vector<VolumeFacts>> DockerEngine::list_volumes(std::string label) {
    Ask ask = ask_for("GET /volumes", fmt::format("/volumes?filters={}", label_filter(label)),
                      label, settings_.deadlines.list_ms);
    ask.request.reply_bytes_max = kListBytesMax;
    const Reader<std::vector<VolumeFacts>> read =
        &read_body<std::vector<VolumeFacts>, &parse_volume_list>;
    return send_and_read<std::vector<VolumeFacts>>(std::move(ask), read);
}

Call<RemoveOutcome> DockerEngine::remove_volume(std::string name) {
    Ask ask = ask_for("DELETE /volumes/{name}", fmt::format("/volumes/{}", encode(name)), name,
                      settings_.deadlines.remove_ms);
    ask.kind = CallKind::remove;
    return send_and_read<RemoveOutcome>(std::move(ask), &read_removed);
}

}  // namespace mayfly::controller::docker
