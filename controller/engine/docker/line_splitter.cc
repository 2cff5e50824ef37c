#include "controller/engine/docker/line_splitter.h"

#include <utility>

namespace mayfly::controller::docker {

void LineSplitter::feed(std::span<const std::byte> bytes,
                        const std::function<bool(std::string_view line)>& on_line) {
    std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        const std::string_view piece = text.substr(0, end);
        if (!skipping_ && line_.size() + piece.size() > line_bytes_max_) {
            skipping_ = true;
            ++skipped_;
            std::string().swap(line_);
        }
        if (!skipping_) {
            line_ += piece;
        }
        if (end == std::string_view::npos) {
            return;
        }
        text.remove_prefix(end + 1);
        skipping_ = false;
        const std::string line = std::exchange(line_, {});
        std::string_view shown = line;
        if (shown.ends_with('\r')) {
            shown.remove_suffix(1);
        }
        if (!shown.empty() && !on_line(shown)) {
            return;
        }
    }
}

}  // namespace mayfly::controller::docker
