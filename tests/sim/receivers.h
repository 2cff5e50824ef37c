// Where webhooks go: receivers outside of the machine, which outlive every process, and the sender
// of one process, which reaches nothing else.
#pragma once

#include <map>
#include <set>
#include <string>

#include "controller/webhook/sender.h"
#include "tests/sim/alarms.h"
#include "tests/sim/job.h"
#include "tests/sim/world.h"

namespace mayfly::sim {

class Receivers {
public:
    // Each job tells of itself to a path of its own; all jobs share two receivers.
    static std::string url_of(const Job& job);
    static std::string secret_of(const Job& job);
    // After so many tries that failed a delivery is given up.
    static constexpr std::int64_t kTriesMax = 6;

    struct Told {
        std::string url;
        std::string body;
        std::int64_t number = 0;  // of the newest try
        std::int64_t failed = 0;  // tries
        std::int64_t life = 0;    // of the process that made the newest try
        bool over = false;        // taken, refused for ever, or the last try has failed
    };

    explicit Receivers(World& world) : world_(world) {}
    void expect(const Job& job) { jobs_[url_of(job)] = &job; }

    // How a try goes: what its sender hears, and how long after it was sent.
    struct Answer {
        controller::webhook::TryResult result;
        std::int64_t after_ms = 0;
    };
    Answer take(const controller::webhook::Post& post, const Life& life);

    // By event.
    [[nodiscard]] const std::map<std::int64_t, Told>& told() const { return told_; }
    [[nodiscard]] std::int64_t posts() const { return posts_; }

private:
    void check(const controller::webhook::Post& post, const Told& told, const Life& life,
               const Job& job);

    World& world_;
    std::map<std::string, const Job*> jobs_;
    std::map<std::int64_t, Told> told_;
    std::int64_t posts_ = 0;
};

class SimSender final : public controller::webhook::Sender {
public:
    SimSender(World& world, Waits& waits, Receivers& receivers, LifePtr life);
    boost::asio::awaitable<controller::webhook::TryResult> send(
        controller::webhook::Post post) override;
    void close() override {}

private:
    World& world_;
    Waits& waits_;
    Receivers& receivers_;
    LifePtr life_;
    std::set<std::string> under_way_;  // origins
};

}  // namespace mayfly::sim
