#include "api/cli/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace mayfly::api::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr int kConnectMs = 10'000;

std::unexpected<SocketError> failed(SocketError error) { return std::unexpected(error); }

}  // namespace

std::expected<void, SocketError> PolledSocket::connect(int family, const sockaddr* address,
                                                       socklen_t size) {
    close();
    fd_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0) return failed(errno);
    notice_a_dead_host();
    if (::connect(fd_, address, size) == 0) return {};
    if (errno != EINPROGRESS) return failed(errno);
    if (auto waited = wait(POLLOUT, kConnectMs); !waited) return waited;
    int error = 0;
    socklen_t length = sizeof error;
    if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return failed(errno);
    if (error != 0) return failed(error);
    return {};
}

std::expected<void, SocketError> PolledSocket::wait(short events, int deadline_ms) {
    auto end = Clock::now() + Milliseconds(deadline_ms);
    while (true) {
        const auto left = std::chrono::duration_cast<Milliseconds>(end - Clock::now()).count();
        if (left <= 0) return failed(ETIMEDOUT);
        pollfd fds[2] = {{fd_, events, 0}, {wake_.fd(), POLLIN, 0}};
        const int timeout = std::min(static_cast<int>(left), std::max(1, wake_.tick_ms()));
        const int ready = ::poll(fds, 2, timeout);
        if (ready < 0 && errno != EINTR) return failed(errno);
        if (ready > 0 && fds[0].revents != 0 && fds[1].revents == 0) return {};
        const auto asked = Clock::now();
        if (!wake_.go_on()) return failed(kStopped);
        end += Clock::now() - asked;  // a person who thinks is no silence of the network
        if (ready > 0 && fds[0].revents != 0) return {};
    }
}

bool PolledSocket::readable_now() const {
    pollfd fds = {fd_, POLLIN, 0};
    return ::poll(&fds, 1, 0) > 0;
}

std::expected<void, SocketError> PolledSocket::send_all(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(n));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return failed(errno);
        if (auto waited = wait(POLLOUT, silence_ms_); !waited) return waited;
    }
    return {};
}

std::expected<std::size_t, SocketError> PolledSocket::receive(std::span<char> into) {
    while (true) {
        const ssize_t n = ::recv(fd_, into.data(), into.size(), 0);
        if (n >= 0) return static_cast<std::size_t>(n);
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return failed(errno);
        if (auto waited = wait(POLLIN, silence_ms_); !waited) return failed(waited.error());
    }
}

// For streams that may be silent for long; refused by a unix socket, which needs it not.
void PolledSocket::notice_a_dead_host() const {
    const int on = 1;
    const int seconds = 30;
    (void)::setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)::setsockopt(fd_, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    (void)::setsockopt(fd_, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
}

void PolledSocket::close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

}  // namespace mayfly::api::cli
