// The stream of a pull: one JSON text a line, for every layer, and the error inside a 200. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "controller/engine/docker/line_splitter.h"
#include "controller/engine/docker/log_demux.h"

namespace mayfly::controller::docker {

inline constexpr std::size_t kPullLineBytesMax = 1 << 20;
inline constexpr std::size_t kPullLayersMax = 1'000;

class PullProgress {
public:
    // `told` gets one sentence for the whole pull whenever it reads differently: "3 of 7 layers,
    // 12.3 of 40.1 MB". Errors: rejected = the engine gave up, in its words; protocol = no JSON.
    std::expected<void, StreamError> feed(std::span<const std::byte> bytes,
                                          const std::function<void(std::string_view)>& told);
    // At the stream's end. cut: in the middle of a line. protocol: a line was too long to be read,
    // and it may have been the error.
    [[nodiscard]] std::expected<void, StreamError> finish() const;

private:
    struct Layer {
        std::int64_t current_bytes = 0;
        std::int64_t total_bytes = 0;
        bool done = false;
    };
    std::expected<void, StreamError> take_line(std::string_view line);
    [[nodiscard]] std::string sentence() const;

    LineSplitter lines_{kPullLineBytesMax};
    std::map<std::string, Layer, std::less<>> layers_;
    std::string last_status_;
    std::string last_told_;
};

}  // namespace mayfly::controller::docker
