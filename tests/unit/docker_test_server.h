// An HTTP server that does exactly what a test says, well or badly: on a socket of its own and a
// thread of its own, one connection after the other or side by side.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "controller/engine/docker/endpoint.h"

namespace mayfly::controller::docker {

// The server's end of one connection. Ends with the test's end at the latest.
class ServerConnection {
public:
    explicit ServerConnection(int fd) : fd_(fd) {}
    ~ServerConnection() { close(); }
    ServerConnection(const ServerConnection&) = delete;
    ServerConnection& operator=(const ServerConnection&) = delete;

    // Head and body (by its Content-Length) of the next request; "" when the client has gone.
    std::string read_request() {
        const std::string head = read_head();
        std::size_t size = 0;
        if (const std::size_t at = head.find("Content-Length: "); at != std::string::npos) {
            size = static_cast<std::size_t>(std::stoll(head.substr(at + 16)));
        }
        while (buffer_.size() < size && fill()) {
        }
        const std::string body = buffer_.substr(0, size);
        buffer_.erase(0, size);
        return head + body;
    }
    // Only the head, byte by byte; what follows stays in the socket.
    std::string read_head() {
        std::size_t end = std::string::npos;
        while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
            if (!fill()) {
                return "";
            }
        }
        std::string head = buffer_.substr(0, end + 4);
        buffer_.erase(0, end + 4);
        return head;
    }
    // False = the client has gone.
    bool send(const std::string& bytes) {
        std::size_t sent = 0;
        while (sent < bytes.size()) {
            const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
            if (n <= 0) {
                return false;
            }
            sent += static_cast<std::size_t>(n);
        }
        return true;
    }
    // Waits until the client closes, dropping what it sends.
    void wait_for_close() {
        char bytes[4096];
        while (::recv(fd_, bytes, sizeof(bytes), 0) > 0) {
        }
    }
    // Waits for the client to close, at most `ms`. True = it did.
    bool closes_within(int ms) {
        pollfd poll_fd{.fd = fd_, .events = POLLIN, .revents = 0};
        return ::poll(&poll_fd, 1, ms) > 0;
    }
    void reset() {
        const linger now{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        close();
    }
    void close() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }
    [[nodiscard]] int fd() const { return fd_; }

private:
    bool fill() {
        char bytes[16384];
        const ssize_t n = ::recv(fd_, bytes, sizeof(bytes), 0);
        if (n <= 0) {
            return false;
        }
        buffer_.append(bytes, static_cast<std::size_t>(n));
        return true;
    }

    int fd_;
    std::string buffer_;
};

class TestServer {
public:
    // Called on a thread of its own for each connection, with its number from 0.
    using Behaviour = std::function<void(ServerConnection& connection, int number)>;

    enum class Kind { tcp, unix_socket };
    explicit TestServer(Behaviour behaviour, Kind kind = Kind::tcp)
        : behaviour_(std::move(behaviour)) {
        if (kind == Kind::tcp) {
            listen_tcp();
        } else {
            listen_unix();
        }
        acceptor_ = std::thread([this] { accept_all(); });
    }
    ~TestServer() { stop(); }
    TestServer(const TestServer&) = delete;
    TestServer& operator=(const TestServer&) = delete;

    // Closes every connection and ends every thread.
    void stop() {
        if (stopped_.exchange(true)) {
            return;
        }
        ::shutdown(listener_, SHUT_RDWR);
        acceptor_.join();
        {
            const std::lock_guard lock(mutex_);
            for (const int fd : open_) {
                ::shutdown(fd, SHUT_RDWR);
            }
        }
        for (std::thread& worker : workers_) {
            worker.join();
        }
        ::close(listener_);
        if (!directory_.empty()) {
            ::unlink(endpoint_.path.c_str());
            ::rmdir(directory_.c_str());
        }
    }
    [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
    [[nodiscard]] int connections() const { return connections_; }

private:
    void listen_tcp() {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(0, ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
        EXPECT_EQ(0, ::listen(listener_, 64));
        socklen_t size = sizeof(address);
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        endpoint_ =
            *parse_endpoint("tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port)), "", "");
    }
    void listen_unix() {
        char directory[] = "/tmp/mayfly-test-XXXXXX";
        directory_ = ::mkdtemp(directory);
        const std::string path = directory_ + "/engine.sock";
        listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
        EXPECT_EQ(0, ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
        EXPECT_EQ(0, ::listen(listener_, 64));
        endpoint_ = *parse_endpoint("unix://" + path, "", "");
    }
    void accept_all() {
        for (;;) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) {
                return;
            }
            const int number = connections_++;
            const std::lock_guard lock(mutex_);
            open_.push_back(fd);
            workers_.emplace_back([this, fd, number] {
                // A duplicate stays open until stop(): shutdown() must not hit a number that
                // somebody else got meanwhile.
                ServerConnection connection(::dup(fd));
                behaviour_(connection, number);
                connection.close();
                const std::lock_guard closing(mutex_);
                std::erase(open_, fd);
                ::close(fd);
            });
        }
    }

    Behaviour behaviour_;
    Endpoint endpoint_;
    std::string directory_;
    int listener_ = -1;
    std::atomic<bool> stopped_ = false;
    std::atomic<int> connections_ = 0;
    std::mutex mutex_;
    std::vector<int> open_;
    std::vector<std::thread> workers_;
    std::thread acceptor_;
};

// Runs the loop until `call` has ended; 20 s at most, then the test fails hard.
template <class T>
T run_call(boost::asio::io_context& io, boost::asio::awaitable<T> call) {
    std::optional<T> result;
    std::exception_ptr thrown;
    bool ended = false;
    boost::asio::co_spawn(io, std::move(call), [&](std::exception_ptr error, T value) {
        thrown = error;
        result.emplace(std::move(value));
        ended = true;
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!ended && std::chrono::steady_clock::now() < end) {
        io.restart();
        io.run_one_until(end);
    }
    if (thrown) {
        std::rethrow_exception(thrown);
    }
    if (!result) {
        throw std::runtime_error("the call did not end");
    }
    return std::move(*result);
}

inline std::string http_reply(int status, const std::string& body,
                              const std::string& fields = "") {
    return "HTTP/1.1 " + std::to_string(status) +
           " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields + "\r\n" +
           body;
}

}  // namespace mayfly::controller::docker
