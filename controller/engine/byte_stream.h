// Where bytes of a call come from and go to. Synchronous on purpose: the caller of read() or
// write() waits, so a slow disk slows the socket down and nothing piles up in memory. Called on
// the loop's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <utility>

namespace mayfly::controller {

// Bytes to send: read into `buffer`, 0 = end. The total size is known before the first read.
class ByteSource {
public:
    virtual ~ByteSource() = default;
    [[nodiscard]] virtual std::int64_t size() const = 0;
    virtual std::expected<std::size_t, std::string> read(std::span<std::byte> buffer) = 0;
};

// Bytes that arrive. Returning an error closes the connection at once (that frees the engine's
// container lock) and the call ends with Kind::local and that message.
class ByteSink {
public:
    virtual ~ByteSink() = default;
    virtual std::expected<void, std::string> write(std::span<const std::byte> bytes) = 0;
};

// Ends a stream from outside when nobody wants it any more. Shared by who asked for the stream and
// the call: the call then ends with Kind::cut.
class HangUp {
public:
    void close() {
        asked_ = true;
        if (close_) close_();
    }
    [[nodiscard]] bool asked() const { return asked_; }
    // The call's side: how to close, while there is something to be closed; null = nothing is.
    void when_asked(std::function<void()> close) { close_ = std::move(close); }

private:
    bool asked_ = false;
    std::function<void()> close_;
};

// The two log streams, split. Same rule for errors.
class LogSink {
public:
    virtual ~LogSink() = default;
    enum class Stream : std::uint8_t { out, err };
    virtual std::expected<void, std::string> write(Stream stream,
                                                   std::span<const std::byte> bytes) = 0;
};

}  // namespace mayfly::controller
