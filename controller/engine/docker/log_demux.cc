#include "controller/engine/docker/log_demux.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace mayfly::controller::docker {

std::expected<void, StreamError> LogDemux::begin_frame() {
    const auto at = [this](std::size_t index) {
        return std::to_integer<std::uint32_t>(header_[index]);
    };
    left_ = at(4) << 24 | at(5) << 16 | at(6) << 8 | at(7);
    if (at(0) > 3 || at(1) != 0 || at(2) != 0 || at(3) != 0) {
        return std::unexpected(
            StreamError{EngineError::Kind::protocol,
                        fmt::format("log stream: {:02x}{:02x}{:02x}{:02x} starts no frame", at(0),
                                    at(1), at(2), at(3))});
    }
    if (left_ > kLogFrameBytesMax) {
        return std::unexpected(
            StreamError{EngineError::Kind::protocol,
                        fmt::format("log stream: a frame of {} bytes; at most {} are believed",
                                    left_, kLogFrameBytesMax)});
    }
    type_ = static_cast<Type>(at(0));
    failed_ = failed_ || type_ == Type::engine;
    return {};
}

std::expected<void, StreamError> LogDemux::feed(std::span<const std::byte> bytes, LogSink& sink) {
    while (!bytes.empty()) {
        if (left_ == 0) {
            const std::size_t take = std::min(bytes.size(), header_.size() - header_size_);
            std::ranges::copy(bytes.first(take), header_.begin() + header_size_);
            header_size_ += take;
            bytes = bytes.subspan(take);
            if (header_size_ < header_.size()) {
                return {};
            }
            header_size_ = 0;
            if (auto begun = begin_frame(); !begun) {
                return begun;
            }
            continue;
        }
        const auto piece = bytes.first(std::min<std::size_t>(bytes.size(), left_));
        bytes = bytes.subspan(piece.size());
        left_ -= static_cast<std::uint32_t>(piece.size());
        if (type_ == Type::engine) {
            const std::size_t room = kLogErrorTextMax - engine_error_.size();
            engine_error_.append(reinterpret_cast<const char*>(piece.data()),
                                 std::min(room, piece.size()));
            continue;
        }
        const auto stream = type_ == Type::err ? LogSink::Stream::err : LogSink::Stream::out;
        if (auto written = sink.write(stream, piece); !written) {
            return std::unexpected(
                StreamError{EngineError::Kind::local, std::move(written.error())});
        }
    }
    return {};
}

std::expected<void, StreamError> LogDemux::finish() const {
    if (failed_) {
        return std::unexpected(StreamError{
            EngineError::Kind::server,
            fmt::format("log stream: the engine could not read it on: {}", engine_error_)});
    }
    if (left_ != 0 || header_size_ != 0) {
        return std::unexpected(
            StreamError{EngineError::Kind::cut, "log stream: it ends in the middle of a frame"});
    }
    return {};
}

}  // namespace mayfly::controller::docker
