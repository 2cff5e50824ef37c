// Does the one thing that a plan named, and folds what was learned into the run's Evidence. No
// decision is taken here but how to read a reply; commits are the loop's.
//
// Each action is safe to repeat after a crash at any point, or plan() would not have asked for it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "controller/engine/engine.h"
#include "controller/harvest.h"
#include "controller/images.h"
#include "controller/live.h"
#include "controller/plan.h"
#include "store/data_dir.h"

namespace mayfly::controller {

struct StepOutcome {
    enum class Kind {
        progress,     // something was learned: plan again now
        retry,        // nothing was learned: again after a backoff
        engine_down,  // the engine does not answer: when it is back
    } kind = Kind::progress;
    std::string error;
};

class Applier {
public:
    Applier(Engine& engine, ImageCache& images, Harvester& harvester, const store::DataDir& spool,
            const PlanSettings& settings)
        : engine_(engine),
          images_(images),
          harvester_(harvester),
          spool_(spool),
          settings_(settings) {}

    // `action` is none of Wait, Forget, Commit.
    boost::asio::awaitable<StepOutcome> apply(Action action, LivePtr live);

private:
    boost::asio::awaitable<StepOutcome> create(LivePtr live);
    boost::asio::awaitable<StepOutcome> inspect(bool by_name, LivePtr live);
    boost::asio::awaitable<StepOutcome> read_claim(LivePtr live);
    boost::asio::awaitable<StepOutcome> put_inputs(LivePtr live);
    boost::asio::awaitable<StepOutcome> start(LivePtr live);
    boost::asio::awaitable<StepOutcome> kill(std::string signal, LivePtr live);
    boost::asio::awaitable<StepOutcome> fence(LivePtr live);
    boost::asio::awaitable<StepOutcome> probe_claim(LivePtr live);
    boost::asio::awaitable<StepOutcome> harvest(bool through_probe, LivePtr live);
    boost::asio::awaitable<StepOutcome> remove_container(LivePtr live);
    boost::asio::awaitable<StepOutcome> remove_volume(LivePtr live);

    // A never-started container on the attempt's volume. The volume is looked at first: a create
    // would make a new, empty one. Error kind not_found = there is no such volume (or it is not
    // ours).
    boost::asio::awaitable<Reply<std::string>> open_probe(LivePtr live);
    boost::asio::awaitable<void> close_probe(std::string container_id);
    void fold_inspected(const ContainerFacts& facts, Live& live) const;

    Engine& engine_;
    ImageCache& images_;
    Harvester& harvester_;
    const store::DataDir& spool_;
    const PlanSettings& settings_;
};

}  // namespace mayfly::controller
