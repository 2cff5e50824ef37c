// The completion handler for coroutines that nobody awaits. `detached` would swallow an exception
// in silence (measured); here it is a bug of ours that is logged, and the process stops rather
// than going on half-alive.
#pragma once

#include <boost/system/system_error.hpp>
#include <cstdlib>
#include <exception>
#include <string>

#include "metrics/log.h"

namespace mayfly::controller {

[[nodiscard]] inline auto log_exceptions(std::string where) {
    return [where = std::move(where)](std::exception_ptr failure) {
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            metrics::log_critical("unexpected exception",
                                  {{"where", where}, {"error", error.what()}});
        } catch (...) {
            metrics::log_critical("unexpected exception", {{"where", where}});
        }
        metrics::flush_log();
        std::abort();
    };
}

}  // namespace mayfly::controller
