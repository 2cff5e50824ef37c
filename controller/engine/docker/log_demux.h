// The engine's log stream taken apart, however it was cut into pieces on the way. Pure.
//
// A frame is: type (0 stdin, 1 stdout, 2 stderr, 3 the engine's own error), three zero bytes, a
// big-endian u32 length, the bytes. Memory is eight bytes whatever the length says.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "controller/engine/byte_stream.h"
#include "controller/engine/engine_error.h"

namespace mayfly::controller::docker {

struct StreamError {
    EngineError::Kind kind = EngineError::Kind::protocol;
    std::string message;
};

// Engines write frames of at most 16 KiB and a header; one that says more than this is not a
// frame.
inline constexpr std::uint32_t kLogFrameBytesMax = 1 << 20;
// Of a type 3 frame: this much of its text is kept for the message.
inline constexpr std::size_t kLogErrorTextMax = 1'024;

class LogDemux {
public:
    // protocol: not a frame (a container with a terminal sends none). local: the sink's error.
    std::expected<void, StreamError> feed(std::span<const std::byte> bytes, LogSink& sink);
    // At the stream's end. cut: in the middle of a frame. server: the engine's own error (type 3):
    // what came before it may not be everything.
    [[nodiscard]] std::expected<void, StreamError> finish() const;

private:
    enum class Type : std::uint8_t { in = 0, out = 1, err = 2, engine = 3 };
    std::expected<void, StreamError> begin_frame();

    std::array<std::byte, 8> header_{};
    std::size_t header_size_ = 0;
    Type type_ = Type::out;
    std::uint32_t left_ = 0;
    std::string engine_error_;
    bool failed_ = false;
};

}  // namespace mayfly::controller::docker
