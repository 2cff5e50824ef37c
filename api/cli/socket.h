// A connection that waits with poll(2), and lets the Wake look meanwhile. Blocking, one thread.
#pragma once

#include <sys/socket.h>

#include <expected>
#include <span>
#include <string_view>

#include "api/cli/http.h"

namespace mayfly::api::cli {

// What ends a wait: an errno (ETIMEDOUT: nothing came for so long), or kStopped, by the Wake.
using SocketError = int;
inline constexpr SocketError kStopped = -1;

class PolledSocket {
public:
    PolledSocket(Wake& wake, int silence_ms) : wake_(wake), silence_ms_(silence_ms) {}
    ~PolledSocket() { close(); }
    PolledSocket(const PolledSocket&) = delete;
    PolledSocket& operator=(const PolledSocket&) = delete;

    // May be called again, for another address.
    [[nodiscard]] std::expected<void, SocketError> connect(int family, const sockaddr* address,
                                                           socklen_t size);
    [[nodiscard]] std::expected<void, SocketError> send_all(std::string_view bytes);
    // 0 = the other side has closed.
    [[nodiscard]] std::expected<std::size_t, SocketError> receive(std::span<char> into);
    // receive() would not wait.
    [[nodiscard]] bool readable_now() const;

private:
    [[nodiscard]] std::expected<void, SocketError> wait(short events, int deadline_ms);
    void notice_a_dead_host() const;
    void close();

    Wake& wake_;
    int silence_ms_;
    int fd_ = -1;
};

}  // namespace mayfly::api::cli
