// Makes the end of a run durable in the spool: logs, then one archive GET, then the verified tar
// and its index. The commit of the terminal status is not done here: it is the next step of the
// plan, and only after that is anything removed.
//
// A harvest may be repeated: every file is published whole and replaces what an earlier try left.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <expected>
#include <string>

#include "controller/engine/engine.h"
#include "controller/plan.h"
#include "store/data_dir.h"
#include "store/run.h"

namespace mayfly::controller {

// Why there is no HarvestEvidence: the caller tries again later.
struct HarvestFailure {
    enum class Kind {
        engine,              // the engine could not be asked; `engine` says how
        container_vanished,  // look again: there may be a volume to look at
        local,               // our own disk
    } kind = Kind::engine;
    EngineError engine;
    std::string message;
};

class Harvester {
public:
    // Blocking work (tar, hashes, fsync) goes to `pool`; the coroutine resumes on the executor
    // that it was called on.
    Harvester(Engine& engine, const store::DataDir& spool, boost::asio::any_io_executor pool)
        : engine_(engine), spool_(spool), pool_(std::move(pool)) {}

    // `container_id` is the attempt's own, not running, or a probe on its volume (then there are
    // no logs).
    boost::asio::awaitable<std::expected<HarvestEvidence, HarvestFailure>> harvest(
        store::RunRecord record, std::string container_id, bool is_probe);

private:
    struct Logs {
        store::SpoolFile out;
        store::SpoolFile err;
        std::int64_t out_bytes = 0;
        std::int64_t err_bytes = 0;
        bool out_cut = false;  // more came than may be stored
        bool err_cut = false;
    };
    boost::asio::awaitable<std::expected<Logs, HarvestFailure>> fetch_logs(
        store::RunRecord record, std::string container_id, bool is_probe);
    struct Archive {
        store::SpoolFile raw;
        ExitEvidence::Harvest state = ExitEvidence::Harvest::whole;
        std::string message;
    };
    boost::asio::awaitable<std::expected<Archive, HarvestFailure>> fetch_archive(
        store::RunRecord record, std::string container_id);

    Engine& engine_;
    const store::DataDir& spool_;
    boost::asio::any_io_executor pool_;
};

}  // namespace mayfly::controller
