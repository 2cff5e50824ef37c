#include "api/cli/upload.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>

#include "api/cli/text.h"

namespace mayfly::api::cli {
namespace {

constexpr std::size_t kMaxFiles = 100'000;

std::unexpected<std::string> failed(const std::string& path, std::string_view what) {
    const auto why = std::error_code(errno, std::generic_category()).message();
    return std::unexpected(fmt::format("{}: {}: {}", printable(path), what, why));
}

class Finder {
public:
    explicit Finder(const std::function<void(const std::string&)>& note) : note_(note) {}

    // What the user named himself: a link is followed.
    std::expected<void, std::string> add(const FileWish& wish) {
        struct stat facts{};
        if (::stat(wish.local.c_str(), &facts) != 0) return failed(wish.local, "cannot be sent");
        if (S_ISDIR(facts.st_mode)) return add_folder(wish);
        if (!S_ISREG(facts.st_mode)) {
            return std::unexpected(
                fmt::format("{}: is no regular file and no folder; --stdin takes pipes",
                            printable(wish.local)));
        }
        return add_file(wish, facts);
    }

    std::vector<LocalFile> files;

private:
    std::expected<void, std::string> add_file(const FileWish& wish, const struct stat& facts) {
        if (::access(wish.local.c_str(), R_OK) != 0) return failed(wish.local, "cannot be read");
        if (files.size() == kMaxFiles)
            return std::unexpected(fmt::format("more than {} files are to be sent", kMaxFiles));
        LocalFile file{wish.local, wish.remote, facts.st_mode & 0777U, facts.st_size, {}};
        if (travels_in_spec(wish.remote)) {
            auto content = read_small(wish.local, kMaxInSpecBytes);
            if (!content) return std::unexpected(std::move(content.error()));
            file.content = std::move(*content);
        }
        files.push_back(std::move(file));
        return {};
    }

    std::expected<void, std::string> add_folder(const FileWish& wish) {
        const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(wish.local.c_str()),
                                                         ::closedir);
        if (!folder) return failed(wish.local, "cannot be read");
        std::vector<std::string> names;
        for (const dirent* entry = ::readdir(folder.get()); entry != nullptr;
             entry = ::readdir(folder.get())) {
            const std::string name(entry->d_name);
            if (name != "." && name != "..") names.push_back(name);
        }
        std::ranges::sort(names);
        for (const std::string& name : names) {
            const FileWish inner{wish.local + "/" + name, wish.remote + "/" + name};
            struct stat facts{};
            if (::lstat(inner.local.c_str(), &facts) != 0)
                return failed(inner.local, "cannot be sent");
            std::expected<void, std::string> done;
            if (S_ISDIR(facts.st_mode)) {
                done = add_folder(inner);
            } else if (S_ISREG(facts.st_mode)) {
                done = add_file(inner, facts);
            } else {
                note_(fmt::format("{}: is no regular file; not sent", printable(inner.local)));
            }
            if (!done) return done;
        }
        return {};
    }

    const std::function<void(const std::string&)>& note_;
};

std::expected<OpenFile, std::string> spooled(int from) {
    const char* folder = std::getenv("TMPDIR");
    const std::string place = folder != nullptr && *folder != '\0' ? folder : "/tmp";
    std::string name = place + "/mayfly-stdin-XXXXXX";
    const int fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) return failed(place, "cannot keep standard input there until it is sent (TMPDIR)");
    ::unlink(name.c_str());
    std::string piece(64 << 10, '\0');
    OpenFile out{fd, 0};
    while (true) {
        const ssize_t n = ::read(from, piece.data(), piece.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed("standard input", "cannot be read");
        if (n == 0) return out;
        std::string_view rest(piece.data(), static_cast<std::size_t>(n));
        out.size += n;
        while (!rest.empty()) {
            const ssize_t written = ::write(fd, rest.data(), rest.size());
            if (written < 0) return failed(place, "cannot keep standard input there (TMPDIR)");
            rest.remove_prefix(static_cast<std::size_t>(written));
        }
    }
}

}  // namespace

std::expected<std::vector<LocalFile>, std::string> find_files(
    const std::vector<std::string>& wishes, const std::function<void(const std::string&)>& note) {
    Finder finder(note);
    for (const std::string& text : wishes) {
        auto wish = parse_file_wish(text);
        if (!wish) return std::unexpected(std::move(wish.error()));
        if (auto added = finder.add(*wish); !added) {
            return std::unexpected("--file " + std::move(added.error()));
        }
    }
    return std::move(finder.files);
}

std::expected<OpenFile, std::string> open_stdin(const std::string& from) {
    int fd = STDIN_FILENO;
    if (from != "-") fd = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return failed("--stdin " + from, "cannot be read");
    struct stat facts{};
    if (::fstat(fd, &facts) != 0) return failed("--stdin " + from, "cannot be read");
    if (S_ISDIR(facts.st_mode)) return std::unexpected("--stdin " + from + ": is a folder");
    // Only a whole regular file can be read again from its beginning.
    if (S_ISREG(facts.st_mode) && ::lseek(fd, 0, SEEK_CUR) == 0) {
        return OpenFile{fd, facts.st_size};
    }
    return spooled(fd);
}

std::expected<std::string, std::string> read_small(const std::string& path, std::int64_t limit) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return failed(path, "cannot be read");
    std::string out(static_cast<std::size_t>(limit) + 1, '\0');
    std::size_t used = 0;
    while (used < out.size()) {
        const ssize_t n = ::read(fd, out.data() + used, out.size() - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            auto error = failed(path, "cannot be read");
            ::close(fd);
            return error;
        }
        if (n == 0) break;
        used += static_cast<std::size_t>(n);
    }
    ::close(fd);
    if (std::cmp_greater(used, limit)) {
        return std::unexpected(fmt::format(
            "{}: has more than {} bytes, which is the limit for this", printable(path), limit));
    }
    out.resize(used);
    return out;
}

MultipartBody::MultipartBody(std::string boundary, std::string_view spec,
                             const std::vector<LocalFile>& files, const OpenFile& standard_input,
                             std::function<void(std::int64_t)> told)
    : told_(std::move(told)) {
    add_text(part_head(boundary, "spec", true));
    add_text(std::string(spec));
    if (standard_input.fd >= 0) {
        add_text(part_head(boundary, ".stdin", false));
        segments_.push_back({{}, {}, standard_input.fd, standard_input.size});
        size_ += standard_input.size;
    }
    for (const LocalFile& file : files) {
        if (travels_in_spec(file.remote)) continue;
        add_text(part_head(boundary, file.remote, false));
        segments_.push_back({{}, file.local, -1, file.size});
        size_ += file.size;
    }
    add_text(multipart_end(boundary));
}

MultipartBody::~MultipartBody() { close_file(); }

void MultipartBody::add_text(std::string text) {
    const auto size = std::ssize(text);
    size_ += size;
    segments_.push_back({std::move(text), {}, -1, size});
}

void MultipartBody::close_file() {
    if (open_ >= 0) ::close(open_);
    open_ = -1;
}

void MultipartBody::rewind() {
    close_file();
    at_ = 0;
    offset_ = 0;
}

std::expected<std::size_t, std::string> MultipartBody::read(std::span<char> into) {
    std::size_t filled = 0;
    while (filled < into.size() && at_ < segments_.size()) {
        const Segment& segment = segments_[at_];
        if (offset_ == segment.size) {
            close_file();
            offset_ = 0;
            ++at_;
            continue;
        }
        const auto left = static_cast<std::size_t>(segment.size - offset_);
        auto room = into.subspan(filled);
        room = room.first(std::min(room.size(), left));
        std::size_t got = room.size();
        if (!segment.text.empty()) {
            segment.text.copy(room.data(), room.size(), static_cast<std::size_t>(offset_));
        } else {
            auto read = read_file(segment, room);
            if (!read) return read;
            got = *read;
        }
        filled += got;
        offset_ += static_cast<std::int64_t>(got);
    }
    return filled;
}

std::expected<std::size_t, std::string> MultipartBody::read_file(const Segment& segment,
                                                                 std::span<char> into) {
    const std::string name = segment.fd >= 0 ? "standard input" : segment.local;
    int fd = segment.fd;
    if (fd < 0) {
        if (open_ < 0) open_ = ::open(segment.local.c_str(), O_RDONLY | O_CLOEXEC);
        if (open_ < 0) return failed(name, "cannot be read any more");
        fd = open_;
    }
    ssize_t n = -1;
    do {
        n = ::pread(fd, into.data(), into.size(), offset_);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return failed(name, "cannot be read");
    if (n == 0) {
        return std::unexpected(
            fmt::format("{}: became shorter while it was sent", printable(name)));
    }
    return static_cast<std::size_t>(n);
}

}  // namespace mayfly::api::cli
