#include "store/input_tar.h"

#include <algorithm>
#include <utility>

namespace mayfly::store {
namespace {

constexpr TarOwner kRoot{.uid = 0, .gid = 0};
constexpr std::uint32_t kModeMax = 0777;
constexpr std::string_view kOursDir = ".mayfly";
constexpr std::string_view kOutputDir = "output";
constexpr std::string_view kOutputOursDir = "output/.mayfly";
constexpr std::string_view kStdinName = ".mayfly/stdin";
constexpr std::string_view kClaimName = ".mayfly/claim";

// Bytes of the UTF-8 character at the start of `text`; 0 when there is none. Shortest forms only,
// no surrogates.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const auto lead = byte(0);
    if (lead < 0x80) return 1;
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    const auto second = byte(1);
    const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
    const bool outside = (lead == 0xED && second > 0x9F) || (lead == 0xF4 && second > 0x8F);
    return overlong || outside ? 0 : length;
}

std::string text_error(std::string_view path) {
    for (std::size_t i = 0; i < path.size();) {
        const auto byte = static_cast<unsigned char>(path[i]);
        if (byte < 0x20 || byte == 0x7F) return "holds a control character";
        const auto length = utf8_length(path.substr(i));
        if (length == 0) return "is not valid UTF-8";
        i += length;
    }
    return {};
}

std::string component_error(std::string_view path) {
    std::size_t depth = 0;
    for (std::size_t start = 0; start <= path.size();) {
        const auto end = std::min(path.find('/', start), path.size());
        const auto name = path.substr(start, end - start);
        if (name.empty()) return "has an empty name between slashes, or ends in a slash";
        if (name == "." || name == "..") return "has a \"" + std::string(name) + "\" in it";
        if (name.size() > kInputNameMaxBytes) {
            return "has a name of " + std::to_string(name.size()) + " bytes; at most " +
                   std::to_string(kInputNameMaxBytes) + " are allowed";
        }
        if (++depth > kInputDepthMax) {
            return "is more than " + std::to_string(kInputDepthMax) + " names deep";
        }
        start = end + 1;
    }
    return {};
}

bool is_at_or_under(std::string_view path, std::string_view folder) {
    return path.starts_with(folder) &&
           (path.size() == folder.size() || path[folder.size()] == '/');
}

// What follows "the path" in the sentence.
std::string fault_of(std::string_view path) {
    if (path.empty()) return "is empty";
    if (path.size() > kInputPathMaxBytes) {
        return "has " + std::to_string(path.size()) + " bytes; at most " +
               std::to_string(kInputPathMaxBytes) + " are allowed";
    }
    if (auto why = text_error(path); !why.empty()) return why;
    if (path.front() == '/') return "is absolute; it must be relative to /work";
    if (auto why = component_error(path); !why.empty()) return why;
    for (auto ours : {kOursDir, kOutputOursDir}) {
        if (is_at_or_under(path, ours))
            return "is under " + std::string(ours) + "/, which is Mayfly's";
    }
    return {};
}

// The path is quoted only where it can be shown.
std::unexpected<Error> invalid(std::string_view path, const std::string& why) {
    const bool shown =
        !path.empty() && path.size() <= kInputPathMaxBytes && text_error(path).empty();
    const std::string quoted = shown ? " \"" + std::string(path) + "\"" : "";
    return fail(ErrorKind::invalid, "files: the path" + quoted + " " + why);
}

}  // namespace

std::string input_path_error(std::string_view path) {
    const auto fault = fault_of(path);
    return fault.empty() ? fault : "the path " + fault;
}

InputTarBuilder::InputTarBuilder(int fd, TarOwner run_owner, std::int64_t mtime_s)
    : tar_(fd), run_owner_(run_owner), mtime_s_(mtime_s) {}

Result<void> InputTarBuilder::begin() {
    if (!folders_.empty()) return fail(ErrorKind::invalid, "input.tar: begun twice");
    auto done = tar_.add_directory(kOursDir, 0755, kRoot, mtime_s_);
    if (!done) return done;
    auto claim = tar_.add_file(kClaimName, 0622, kRoot, kClaimMtimeS, {});
    if (!claim) return std::unexpected(std::move(claim).error());
    done = tar_.add_directory(kOutputDir, 01777, kRoot, mtime_s_);
    if (!done) return done;
    done = tar_.add_directory(kOutputOursDir, 01777, kRoot, mtime_s_);
    if (!done) return done;
    for (auto folder : {kOursDir, kOutputDir, kOutputOursDir}) folders_.emplace(folder);
    return {};
}

Result<void> InputTarBuilder::check_place(const std::string& path) const {
    if (paths_.contains(path)) return invalid(path, "is given twice");
    if (folders_.contains(path)) return invalid(path, "is a folder: another file is in it");
    for (auto slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        const auto parent = path.substr(0, slash);
        if (paths_.contains(parent)) {
            return invalid(path, "needs \"" + parent + "\" as a folder, but that is a file");
        }
    }
    return {};
}

Result<void> InputTarBuilder::check_begun() const {
    if (folders_.empty()) return fail(ErrorKind::invalid, "input.tar: not begun");
    if (open_) return fail(ErrorKind::invalid, "input.tar: a file is still open");
    return {};
}

Result<void> InputTarBuilder::add_parents(const std::string& path) {
    for (auto slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        auto parent = path.substr(0, slash);
        if (folders_.contains(parent)) continue;
        if (auto done = tar_.add_directory(parent, 0755, run_owner_, mtime_s_); !done) return done;
        folders_.insert(std::move(parent));
    }
    return {};
}

Result<void> InputTarBuilder::begin_file(const std::string& path, std::uint32_t mode) {
    if (auto ready = check_begun(); !ready) return ready;
    if (auto why = fault_of(path); !why.empty()) return invalid(path, why);
    if (mode > kModeMax)
        return invalid(path, "has a mode with more than the permission bits 0777");
    if (auto free = check_place(path); !free) return free;
    if (auto done = add_parents(path); !done) return done;
    if (auto done = tar_.begin_file(path, mode, run_owner_, mtime_s_); !done) return done;
    paths_.insert(path);
    open_ = InputFile{.path = path, .mode = mode, .size = 0, .sha256 = {}};
    open_is_stdin_ = false;
    return {};
}

Result<void> InputTarBuilder::begin_stdin() {
    if (auto ready = check_begun(); !ready) return ready;
    if (stdin_) return fail(ErrorKind::invalid, "stdin: given twice");
    if (auto done = tar_.begin_file(kStdinName, 0644, kRoot, mtime_s_); !done) return done;
    open_ = InputFile{};
    open_is_stdin_ = true;
    return {};
}

Result<void> InputTarBuilder::write(std::span<const std::byte> bytes) { return tar_.write(bytes); }

Result<void> InputTarBuilder::end_file() {
    auto file = tar_.end_file();
    if (!file) return std::unexpected(std::move(file).error());
    open_->size = file->size;
    open_->sha256 = std::move(file->sha256);
    if (open_is_stdin_) {
        stdin_ = std::move(open_);
    } else {
        files_.push_back(*std::move(open_));
    }
    open_.reset();
    return {};
}

Result<std::int64_t> InputTarBuilder::finish() {
    if (auto ready = check_begun(); !ready) return std::unexpected(std::move(ready).error());
    return tar_.finish();
}

}  // namespace mayfly::store
