// A real Docker Engine, spoken to over its HTTP API. Implements the contract of
// controller/engine/engine.h: naked calls, one request each.
//
// The API version is negotiated by probe(), and by the first call when there was no probe yet or
// the engine said that our version does not suit it any more (it was exchanged under us).
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "controller/engine/docker/api_version.h"
#include "controller/engine/docker/endpoint.h"
#include "controller/engine/docker/outcome.h"
#include "controller/engine/docker/transport.h"
#include "controller/engine/engine.h"
#include "store/clock.h"

namespace mayfly::controller::docker {

// How long each kind of call may take. An engine under load is slow and not dead: a deadline that
// is too short turns work that was done into "unknown".
struct CallDeadlines {
    std::int64_t ask_ms = 30'000;  // ping, inspect, list, path stat
    std::int64_t list_ms = 60'000;
    std::int64_t create_ms = 60'000;
    std::int64_t start_ms = 60'000;
    std::int64_t kill_ms = 30'000;  // an engine waits up to about 12 s for a stuck process
    std::int64_t remove_ms = 60'000;
    std::int64_t commit_ms = 300'000;
    // Archives and logs: without a byte moved, and in all.
    std::int64_t stream_idle_ms = 30'000;
    std::int64_t stream_ms = 900'000;
    // A registry may be slow to say anything.
    std::int64_t pull_idle_ms = 120'000;
    std::int64_t pull_ms = 3'600'000;
};

// Told about every request when it ended: "POST /containers/{id}/start", "ok" or the error's kind
// as to_string says it, seconds it took. The events stream is told as well, at its end.
using CallObserver =
    std::function<void(std::string_view call, std::string_view result, double seconds)>;

struct DockerSettings {
    std::string name = "default";
    TransportSettings transport;
    CallDeadlines deadlines;
    CallObserver observer;
};

class DockerEngine final : public Engine {
public:
    // The error names what is wrong with the settings (a certificate that cannot be read). No
    // engine needs to be there yet. `clock` outlives the engine.
    static std::expected<std::unique_ptr<DockerEngine>, std::string> open(
        boost::asio::any_io_executor executor, DockerSettings settings, const store::Clock& clock);

    // Ends every call under way, the events stream too, with Kind::cut, and refuses new ones. Run
    // the io_context on until they have ended, then destroy.
    void close();
    [[nodiscard]] std::int64_t requests() const { return requests_; }
    [[nodiscard]] const Transport& transport() const { return *transport_; }

    [[nodiscard]] const std::string& name() const override { return settings_.name; }
    [[nodiscard]] const std::string& endpoint() const override {
        return settings_.transport.endpoint.text;
    }
    Call<EngineFacts> probe() override;
    Call<ImageFacts> inspect_image(std::string reference) override;
    Call<void> pull_image(std::string reference, PullProgress progress) override;
    Call<std::string> commit_image(std::string container_id, std::string repository,
                                   std::string tag,
                                   std::map<std::string, std::string> labels) override;
    Call<RemoveOutcome> remove_image(std::string id) override;
    Call<std::vector<ImageFacts>> list_images(std::string label) override;
    Call<CreatedContainer> create_container(Sandbox sandbox) override;
    Call<CreatedContainer> create_build_container(
        std::string name, std::string image, std::map<std::string, std::string> labels) override;
    Call<ContainerFacts> inspect_container(std::string id_or_name) override;
    Call<std::vector<ContainerSummary>> list_containers(std::string label) override;
    Call<StartOutcome> start_container(std::string id) override;
    Call<KillOutcome> kill_container(std::string id, std::string signal) override;
    Call<RemoveOutcome> remove_container(std::string id, bool force) override;
    Call<void> put_archive(std::string id, std::string path, ByteSource& source) override;
    Call<void> get_archive(std::string id, std::string path, ByteSink& sink) override;
    Call<PathStat> stat_path(std::string id, std::string path) override;
    Call<void> read_logs(std::string id, LogSink& sink) override;
    Call<void> follow_logs(std::string id, LogSink& sink,
                           std::shared_ptr<HangUp> hang_up) override;
    Call<VolumeFacts> inspect_volume(std::string name) override;
    Call<std::vector<VolumeFacts>> list_volumes(std::string label) override;
    Call<RemoveOutcome> remove_volume(std::string name) override;
    Call<void> events(std::string label, std::function<void()> connected,
                      EventListener listener) override;

private:
    // One request, and how its answer is understood.
    struct Ask {
        std::string call;  // "GET /containers/{id}/json"
        CallKind kind = CallKind::plain;
        Request request;  // its target without the version
        bool versioned = true;
        // The id or name in the target. An empty one would ask for something else.
        std::string subject;
        std::string problem;  // why it cannot be sent; "" = it can
        // What a stream says at its end.
        std::function<std::expected<void, StreamError>()> finish;
    };
    struct Said {
        Answer answer;
        bool already = false;
    };
    struct Negotiated {
        ApiVersion api;
        EngineFacts facts;
    };
    template <class T>
    using Reader = std::expected<T, std::string> (*)(const Said& said);

    DockerEngine(DockerSettings settings, std::unique_ptr<Transport> transport,
                 const store::Clock& clock);
    [[nodiscard]] Ask ask_for(std::string_view call, std::string target, std::string subject,
                              std::int64_t total_ms) const;
    // With a deadline for standing still as well.
    void make_stream(Ask& ask) const;

    Call<Said> send(Ask ask);
    template <class T>
    Call<T> send_and_read(Ask ask, Reader<T> read);
    Call<void> send_only(Ask ask);
    Call<Negotiated> negotiate_version();
    void observe(std::string_view call, std::string_view result, std::int64_t begin_us) const;

    static std::expected<StartOutcome, std::string> read_started(const Said& said);
    static std::expected<KillOutcome, std::string> read_killed(const Said& said);
    static std::expected<RemoveOutcome, std::string> read_removed(const Said& said);
    static std::expected<CreatedContainer, std::string> read_created(const Said& said);
    template <class T, std::expected<T, std::string> (*parse)(std::string_view)>
    static std::expected<T, std::string> read_body(const Said& said) {
        return parse(said.answer.body);
    }

    DockerSettings settings_;
    std::unique_ptr<Transport> transport_;
    const store::Clock& clock_;
    std::optional<ApiVersion> version_;
    std::int64_t requests_ = 0;
};

}  // namespace mayfly::controller::docker
