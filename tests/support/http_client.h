// A small blocking HTTP/1.1 client on a raw socket, for tests: it sends exactly the bytes it is
// told to, and reads one answer at a time. No cleverness: a test must be able to misbehave with
// it. What it says and hears can be recorded; see recording.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/recording.h"

namespace mayfly::test {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpAnswer {
    int status = 0;  // 0: the connection ended before a whole answer
    Headers headers;
    std::string body;

    [[nodiscard]] std::string header(std::string_view name) const;  // "" when absent; any case
    [[nodiscard]] bool has(std::string_view name) const;
};

class HttpClient {
public:
    static HttpClient tcp(std::uint16_t port);
    static HttpClient unix_socket(const std::string& path);
    ~HttpClient();
    HttpClient(HttpClient&& other) noexcept;
    HttpClient& operator=(HttpClient&&) = delete;

    [[nodiscard]] bool connected() const { return fd_ >= 0; }
    // False when the peer has closed.
    bool send(std::string_view bytes) const;
    // The next answer on this connection. `head_only`: it answers a HEAD. Interim answers (1xx)
    // are returned too.
    HttpAnswer read(bool head_only = false);
    // Sends and reads. Host and, with a body, Content-Length are added unless they are given.
    HttpAnswer ask(const std::string& method, const std::string& target,
                   const Headers& headers = {}, std::string_view body = {});
    // Sends a GET whose answer has no end in sight, and reads its head only. What comes after is
    // read with read_until and read_rest.
    HttpAnswer begin(const std::string& target, const Headers& headers = {});
    // The body of such an answer, without its chunks' frames, up to and with the first `needle`;
    // what there is when the body ends before.
    std::string read_until(std::string_view needle);
    // All that is left of it. `whole`: the last chunk came, so it was not cut off.
    std::string read_rest(bool& whole);
    // Blocks until the peer closes, and returns what came before.
    std::string read_to_end();
    // Closes without goodbye (RST).
    void abort();
    void close();
    void shutdown_send() const;

private:
    explicit HttpClient(int fd) : fd_(fd), recording_(Recording::begin()) {}
    bool fill();
    bool fill_body();

    int fd_ = -1;
    std::string buffer_;
    std::string body_;  // of the answer that begin() began, decoded and not yet returned
    bool last_chunk_ = false;
    std::unique_ptr<Recording> recording_;
};

}  // namespace mayfly::test
