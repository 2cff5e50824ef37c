// Requests and answers as the endpoints see them: no socket, no parser. The server fills the one
// and writes the other.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/problem.h"

namespace mayfly::api {

// A file descriptor that closes itself.
class OwnedFd {
public:
    OwnedFd() = default;
    explicit OwnedFd(int fd) : fd_(fd) {}
    ~OwnedFd();
    OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    [[nodiscard]] int get() const { return fd_; }

private:
    int fd_ = -1;
};

// The client at the other end of a request, while the request is being answered. On the loop's
// thread.
class Client {
public:
    virtual ~Client() = default;
    // The next bytes of the body into `into` (not empty); 0 = the body is over. A client that
    // asked for `100 Continue` gets it before the first read. A problem when the body is
    // malformed, too slow or cut; the connection is then of no more use.
    virtual boost::asio::awaitable<Answer<std::size_t>> read_body(std::span<std::byte> into) = 0;
    // Whether the client has closed its side. Costs one system call.
    [[nodiscard]] virtual bool gone() = 0;
};

struct Request {
    std::string method;
    std::string path;                                          // percent-encoded
    std::string query;                                         // without `?`
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    std::optional<std::int64_t> content_length;
    bool has_body = false;     // a Content-Length over 0, or chunked
    Client* client = nullptr;  // outlives the request

    // The first value of a header, by its name in lower case.
    [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
    [[nodiscard]] std::size_t header_count(std::string_view name) const;
};

// Coroutines take it by value and share it.
using Asked = std::shared_ptr<const Request>;

// A part of a file that is sent as it is read; never held in memory.
struct FileSlice {
    OwnedFd fd;
    std::int64_t offset = 0;
    std::int64_t length = 0;
};

// One piece of a body that is made while it is sent.
struct BodyPiece {
    enum class End : std::uint8_t {
        none,   // more may come
        whole,  // that was all of it
        cut,    // it ends here although it is not whole: the client must be able to tell
    };
    std::string bytes = {};  // may be empty only at the end
    End end = End::none;
};

// Such a body. next() waits until there is something to say; it must notice by itself that the
// client has left (Client::gone) or that we are stopping. A client that takes too long to read a
// piece is cut off. On the loop's thread.
class BodyStream {
public:
    virtual ~BodyStream() = default;
    virtual boost::asio::awaitable<BodyPiece> next() = 0;
};

struct Response {
    int status = 200;
    std::vector<std::pair<std::string, std::string>> headers = {};
    std::string body = {};
    std::optional<FileSlice> file = {};       // instead of `body`
    std::unique_ptr<BodyStream> stream = {};  // instead of both; sent in chunks

    Response& with(std::string name, std::string value) {
        headers.emplace_back(std::move(name), std::move(value));
        return *this;
    }
};

// The head of a stream of server-sent events.
[[nodiscard]] Response sse_response();
[[nodiscard]] Response json_response(int status, std::string body);
[[nodiscard]] Response problem_response(const Problem& problem);

}  // namespace mayfly::api
