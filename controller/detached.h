// The completion handler for coroutines that nobody awaits. `detached` would swallow an exception
// in silence (measured); here it is a bug of ours that is logged, and the process stops rather
// than going on half-alive.
#pragma once

#include <spdlog/spdlog.h>

#include <boost/system/system_error.hpp>
#include <cstdlib>
#include <exception>
#include <string>

namespace mayfly::controller {

[[nodiscard]] inline auto log_exceptions(std::string where) {
    return [where = std::move(where)](std::exception_ptr failure) {
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            spdlog::critical("where=\"{}\" msg=\"unexpected exception: {}\"", where, error.what());
        } catch (...) {
            spdlog::critical("where=\"{}\" msg=\"unexpected exception\"", where);
        }
        spdlog::shutdown();
        std::abort();
    };
}

}  // namespace mayfly::controller
