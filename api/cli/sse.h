// Server-sent events, read from bytes in pieces of any size. Pure.
// Source: HTML Standard, 9.2.6 "Interpreting an event stream".
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace mayfly::api::cli {

inline constexpr std::size_t kMaxSseEventBytes = 16 << 20;

struct SseEvent {
    std::string name;  // "message" when the stream named none
    std::string data;
    std::string id;  // the last one seen in the stream, maybe of an earlier event
};

class SseParser {
public:
    // Calls `take` for every event that is whole. False when an event is larger than
    // kMaxSseEventBytes: the stream is none of ours.
    [[nodiscard]] bool feed(std::string_view bytes,
                            const std::function<void(const SseEvent&)>& take);

private:
    void line(std::string_view text, const std::function<void(const SseEvent&)>& take);

    std::string held_;  // the line under way
    bool after_cr_ = false;
    bool begun_ = false;
    std::string name_;
    std::string data_;
    bool has_data_ = false;
    std::string id_;
};

}  // namespace mayfly::api::cli
