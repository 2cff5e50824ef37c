#include "api/cli/sse.h"

namespace mayfly::api::cli {

bool SseParser::feed(std::string_view bytes, const std::function<void(const SseEvent&)>& take) {
    while (!bytes.empty()) {
        if (after_cr_ && bytes[0] == '\n') bytes.remove_prefix(1);
        after_cr_ = false;
        const std::size_t end = bytes.find_first_of("\r\n");
        held_ += bytes.substr(0, end);
        if (held_.size() + data_.size() > kMaxSseEventBytes) return false;
        if (end == bytes.npos) return true;
        after_cr_ = bytes[end] == '\r';
        bytes.remove_prefix(end + 1);
        std::string whole;
        whole.swap(held_);
        line(whole, take);
    }
    return true;
}

void SseParser::line(std::string_view text, const std::function<void(const SseEvent&)>& take) {
    constexpr std::string_view kBom = "\xEF\xBB\xBF";
    if (!begun_ && text.starts_with(kBom)) text.remove_prefix(kBom.size());
    begun_ = true;
    if (text.empty()) {
        if (has_data_) take({name_.empty() ? "message" : name_, data_, id_});
        name_.clear();
        data_.clear();
        has_data_ = false;
        return;
    }
    if (text[0] == ':') return;  // a comment: a heartbeat
    const std::size_t colon = text.find(':');
    const std::string_view field = text.substr(0, colon);
    std::string_view value = colon == text.npos ? std::string_view() : text.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (field == "event") {
        name_ = value;
    } else if (field == "data") {
        if (has_data_) data_ += '\n';
        data_ += value;
        has_data_ = true;
    } else if (field == "id" && value.find('\0') == value.npos) {
        id_ = value;
    }
}

}  // namespace mayfly::api::cli
