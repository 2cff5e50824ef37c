// Runs blocking work on a pool's thread; the coroutine goes on where it was.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <utility>

namespace mayfly::api {

// `work` may refer to the caller's locals: the caller is suspended until it is done. What it
// throws is thrown here. The pool must be joined before the loop is destroyed.
template <class Work>
boost::asio::awaitable<std::invoke_result_t<Work&>> on_pool(boost::asio::thread_pool& pool,
                                                            Work work) {
    namespace asio = boost::asio;
    std::optional<std::invoke_result_t<Work&>> result;
    std::exception_ptr failure;
    auto initiate = [&](auto handler) {
        auto home = asio::prefer(asio::get_associated_executor(handler),
                                 asio::execution::outstanding_work.tracked);
        asio::post(pool, [&, home = std::move(home), done = std::move(handler)]() mutable {
            try {
                result.emplace(work());
            } catch (...) {
                failure = std::current_exception();
            }
            asio::post(home, std::move(done));
        });
    };
    co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(initiate,
                                                                         asio::use_awaitable);
    if (failure) std::rethrow_exception(failure);
    co_return std::move(*result);
}

}  // namespace mayfly::api
