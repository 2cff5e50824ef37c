// The engine as one process of the controller reaches it: latency, deadlines, lost answers, late
// effects and the container's lock, over the model that outlives it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <deque>

#include "controller/engine/engine.h"
#include "tests/sim/alarms.h"
#include "tests/sim/docker_model.h"
#include "tests/sim/faults.h"

namespace mayfly::sim {

using controller::Call;

// Told of every call that changes something, before it does; false: it is not to happen.
using Witness = std::function<void(std::string_view call, const std::string& target)>;

class SimEngine final : public controller::Engine {
public:
    SimEngine(World& world, Waits& waits, DockerModel& model, Faults& faults, LifePtr life,
              Witness witness);

    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] const std::string& endpoint() const override { return endpoint_; }
    Call<controller::EngineFacts> probe() override;
    Call<controller::ImageFacts> inspect_image(std::string reference) override;
    Call<void> pull_image(std::string reference, controller::PullProgress progress) override;
    Call<std::string> commit_image(std::string container_id, std::string repository,
                                   std::string tag,
                                   std::map<std::string, std::string> labels) override;
    Call<controller::RemoveOutcome> remove_image(std::string id) override;
    Call<std::vector<controller::ImageFacts>> list_images(std::string label) override;
    Call<controller::CreatedContainer> create_container(Sandbox sandbox) override;
    Call<controller::CreatedContainer> create_build_container(
        std::string name, std::string image, std::map<std::string, std::string> labels) override;
    Call<ContainerFacts> inspect_container(std::string id_or_name) override;
    Call<std::vector<ContainerSummary>> list_containers(std::string label) override;
    Call<controller::StartOutcome> start_container(std::string id) override;
    Call<controller::KillOutcome> kill_container(std::string id, std::string signal) override;
    Call<controller::RemoveOutcome> remove_container(std::string id, bool force) override;
    Call<void> put_archive(std::string id, std::string path,
                           controller::ByteSource& source) override;
    Call<void> get_archive(std::string id, std::string path, controller::ByteSink& sink) override;
    Call<controller::PathStat> stat_path(std::string id, std::string path) override;
    Call<void> read_logs(std::string id, controller::LogSink& sink) override;
    // What there is; histories have no followers.
    Call<void> follow_logs(std::string id, controller::LogSink& sink,
                           std::shared_ptr<controller::HangUp> hang_up) override;
    Call<controller::VolumeFacts> inspect_volume(std::string name) override;
    Call<std::vector<controller::VolumeFacts>> list_volumes(std::string label) override;
    Call<controller::RemoveOutcome> remove_volume(std::string name) override;
    Call<void> events(std::string label, std::function<void()> connected,
                      controller::EventListener listener) override;

    [[nodiscard]] std::int64_t calls() const { return calls_; }
    [[nodiscard]] std::int64_t mutating_calls() const { return mutating_calls_; }

private:
    struct About {
        std::string call;    // "POST /containers/{id}/start"
        std::string target;  // id or name, for the witness and the lock
        bool mutates = false;
        bool locks = false;  // waits for the container's lock
    };
    // One call: `effect` is what the engine does.
    template <class T>
    Call<T> exchange(About about, std::function<Reply<T>(Fault)> effect,
                     std::vector<Fault> special);
    boost::asio::awaitable<bool> wait_for_lock(std::string target, UnixMs deadline_ms);
    [[nodiscard]] EngineError error(EngineError::Kind kind, int status, const About& about,
                                    std::string message) const;

    World& world_;
    Waits& waits_;
    DockerModel& model_;
    Faults& faults_;
    LifePtr life_;
    Witness witness_;
    std::string name_ = "local";
    std::string endpoint_ = "sim://";
    std::int64_t calls_ = 0;
    std::int64_t mutating_calls_ = 0;
};

}  // namespace mayfly::sim
