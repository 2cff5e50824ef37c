// HTTP/1.1 as the client needs it: one request on a connection of its own, blocking, in pieces, so
// that nothing large is ever in memory. The only file of the client with Beast in it is http.cc.
// One thread; may be called from inside of a Wake (each request has its own connection).
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/cli/address.h"

namespace mayfly::api::cli {

// Who looks after signals and clocks while a request waits for the network.
class Wake {
public:
    virtual ~Wake() = default;
    // Readable when go_on() is to be asked at once; -1 = never.
    [[nodiscard]] virtual int fd() const { return -1; }
    // It is also asked this often.
    [[nodiscard]] virtual int tick_ms() const { return 1'000; }
    // False ends the request with HttpError::Kind::stopped. May take its time.
    [[nodiscard]] virtual bool go_on() { return true; }
};

// A body that can be sent again.
class BodySource {
public:
    virtual ~BodySource() = default;
    [[nodiscard]] virtual std::int64_t size() const = 0;
    // Bytes read, 0 only at the end; or what is wrong with a local file.
    [[nodiscard]] virtual std::expected<std::size_t, std::string> read(std::span<char> into) = 0;
    virtual void rewind() = 0;
    // So many bytes of it are on their way.
    virtual void sent(std::int64_t bytes) = 0;
};

struct HttpError {
    enum class Kind {
        unreachable,  // no connection; nothing was sent
        unproven,     // TLS was not agreed on, or not with the right one; nothing was sent
        lost,         // connected, but there is no whole answer: the request may have been heard
        stopped,      // the Wake said so
        local,        // the body could not be read
    };
    Kind kind = Kind::lost;
    std::string message;
    // unreachable: of connect(2), 0 = the name has no address. unproven: EKEYREJECTED when its
    // certificate is not accepted, EPROTO when it speaks no TLS.
    int os_error = 0;
    bool sent_all = false;  // the whole request had been handed to the kernel
};

struct HttpRequest {
    std::string method = "GET";
    std::string target;  // "/v1/runs?limit=5"; percent-encoded already
    std::vector<std::pair<std::string, std::string>> headers = {};
    BodySource* body = nullptr;
    int silence_ms = 90'000;  // without a byte for so long, it is lost
};

struct HttpAnswer {
    int status = 0;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;  // at most kMaxBodyBytes; empty when a sink took it
    bool cut = false;  // a sink had enough

    [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
    // "" when there is none. `name` in lower case.
    [[nodiscard]] std::string_view header(std::string_view name) const;
};
inline constexpr std::size_t kMaxBodyBytes = 256 << 20;

// Gets the body of a success, piece by piece, as it comes; false = enough.
using HttpSink = std::function<bool(std::string_view)>;
// Sees the head before the body comes.
using HttpOnHead = std::function<void(const HttpAnswer&)>;

[[nodiscard]] std::expected<HttpAnswer, HttpError> ask_http(const Address& address,
                                                            const HttpRequest& request, Wake& wake,
                                                            const HttpSink& sink = {},
                                                            const HttpOnHead& on_head = {});

}  // namespace mayfly::api::cli
