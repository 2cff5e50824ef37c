// What the API stands on, each owned by somebody else and outliving it.
#pragma once

#include <boost/asio/thread_pool.hpp>

#include "metrics/families.h"
#include "store/clock.h"
#include "store/data_dir.h"
#include "store/explanation.h"
#include "store/live_log.h"
#include "store/live_status.h"
#include "store/store.h"

namespace mayfly::api {

struct World {
    store::Store& store;
    const store::DataDir& data_dir;
    const store::LiveStatus& live;
    store::LiveLogs& live_logs;
    const store::Explainer& explainer;
    store::Clock& clock;
    store::Random& random;
    metrics::Families& families;
    boost::asio::thread_pool& disk_pool;  // joined before the io_context is destroyed
};

}  // namespace mayfly::api
