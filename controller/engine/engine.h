// A container engine, as the controller needs it: naked calls, one request each, no retries, no
// policy.
//
// Every reply is one of three (EngineError::is_unknown tells the last two apart):
//   ok             it happened, and this is what was said
//   definite error the engine refused and nothing changed by this call
//   unknown        timeout, cut body, bad JSON, most 5xx: it may have happened, or may yet
//                  happen; look again
//
// Call from the loop's thread. Every call has a deadline of its own. Calls may run side by side.
// Implementations: docker/client.h (a real engine), tests' small worlds.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "controller/engine/byte_stream.h"
#include "controller/engine/engine_error.h"
#include "controller/engine/facts.h"
#include "controller/sandbox.h"

namespace mayfly::controller {

template <class T>
using Reply = std::expected<T, EngineError>;
template <class T>
using Call = boost::asio::awaitable<Reply<T>>;

struct CreatedContainer {
    std::string id;
    std::vector<std::string> warnings;  // any warning means a limit was dropped: do not start
};

enum class StartOutcome { started, already_running };
enum class KillOutcome { sent, not_running };        // 409 / 404 on kill: done
enum class RemoveOutcome { removed, already_gone };  // 404: done

// Told about each step of a pull, for people: "Downloading 12 of 40 MB". May be called often.
using PullProgress = std::function<void(std::string_view text)>;
using EventListener = std::function<void(const EngineEvent& event)>;

class Engine {
public:
    virtual ~Engine() = default;

    [[nodiscard]] virtual const std::string& name() const = 0;
    [[nodiscard]] virtual const std::string& endpoint() const = 0;  // for people; no credentials

    // Ping, negotiate the API version anew, version, info.
    virtual Call<EngineFacts> probe() = 0;

    virtual Call<ImageFacts> inspect_image(std::string reference) = 0;
    // Errors inside a 200 stream are definite (`rejected`). Deadline: no progress for the call's
    // time.
    virtual Call<void> pull_image(std::string reference, PullProgress progress) = 0;
    // The prepared image: a never-started container's file system, tagged and labelled. Returns
    // the new image's id.
    virtual Call<std::string> commit_image(std::string container_id, std::string repository,
                                           std::string tag,
                                           std::map<std::string, std::string> labels) = 0;
    virtual Call<RemoveOutcome> remove_image(std::string id) = 0;              // conflict = in use
    virtual Call<std::vector<ImageFacts>> list_images(std::string label) = 0;  // "key=value"

    // conflict = the name is taken. Creates the volume with it, labelled.
    virtual Call<CreatedContainer> create_container(Sandbox sandbox) = 0;
    // A never-started container of `image` to build on: role "build", writable, no mounts, no
    // network.
    virtual Call<CreatedContainer> create_build_container(
        std::string name, std::string image, std::map<std::string, std::string> labels) = 0;
    virtual Call<ContainerFacts> inspect_container(std::string id_or_name) = 0;
    virtual Call<std::vector<ContainerSummary>> list_containers(
        std::string label) = 0;  // all states
    virtual Call<StartOutcome> start_container(std::string id) = 0;
    virtual Call<KillOutcome> kill_container(std::string id, std::string signal) = 0;
    // With v=1 (anonymous volumes); named volumes stay. conflict = running (without force) or a
    // removal is in progress.
    virtual Call<RemoveOutcome> remove_container(std::string id, bool force) = 0;

    // The tar goes to `path` in the container. `source` must outlive the call.
    virtual Call<void> put_archive(std::string id, std::string path, ByteSource& source) = 0;
    virtual Call<void> get_archive(std::string id, std::string path, ByteSink& sink) = 0;
    virtual Call<PathStat> stat_path(std::string id, std::string path) = 0;
    // follow=0, both streams, whole.
    virtual Call<void> read_logs(std::string id, LogSink& sink) = 0;

    // Both streams from their beginning, and what comes, until the container has ended. Holds no
    // lock of the engine's, and has no deadline: hang up when nobody listens any more.
    virtual Call<void> follow_logs(std::string id, LogSink& sink,
                                   std::shared_ptr<HangUp> hang_up) = 0;

    virtual Call<VolumeFacts> inspect_volume(std::string name) = 0;
    virtual Call<std::vector<VolumeFacts>> list_volumes(std::string label) = 0;
    virtual Call<RemoveOutcome> remove_volume(std::string name) = 0;  // conflict = in use

    // Container events that carry `label`, until the stream ends; always returns an error that
    // says how it ended. `connected` is called once the engine has answered: subscribe first, then
    // list.
    virtual Call<void> events(std::string label, std::function<void()> connected,
                              EventListener listener) = 0;
};

}  // namespace mayfly::controller
