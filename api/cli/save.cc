#include "api/cli/save.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "api/cli/save_path.h"
#include "api/cli/text.h"

namespace mayfly::api::cli {
namespace {

constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr int kMaxTemporaryNames = 1'000;

std::string reason(int error) {
    if (error == ELOOP || error == ENOTDIR)
        return "there is a link or a file where a folder must be";
    if (error == EISDIR) return "there is a folder of that name";
    return std::error_code(error, std::generic_category()).message();
}

std::unexpected<std::string> failed(std::string_view what, int error) {
    return std::unexpected(fmt::format("{}: {}", what, reason(error)));
}

// The folder `name` below `parent`, made if it is not there; `parent` is closed. -1: see errno.
int step_into(int parent, const std::string& name) {
    int fd = ::openat(parent, name.c_str(), kFolder);
    if (fd < 0 && errno == ENOENT &&
        (::mkdirat(parent, name.c_str(), 0777) == 0 || errno == EEXIST)) {
        fd = ::openat(parent, name.c_str(), kFolder);
    }
    const int saved = errno;
    ::close(parent);
    errno = saved;
    return fd;
}

// The umask can only be read by setting it; we have one thread.
mode_t current_umask() {
    const mode_t mask = ::umask(077);
    ::umask(mask);
    return mask;
}

}  // namespace

SaveFolder::~SaveFolder() {
    if (fd_ >= 0) ::close(fd_);
}

SaveFolder::SaveFolder(SaveFolder&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

std::expected<SaveFolder, std::string> SaveFolder::open(const std::string& path) {
    // The user named it: links on the way to it, and it itself, are his.
    for (std::size_t slash = path.find('/', 1); slash != path.npos;
         slash = path.find('/', slash + 1)) {
        (void)::mkdir(path.substr(0, slash).c_str(), 0777);
    }
    (void)::mkdir(path.c_str(), 0777);
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return failed(fmt::format("cannot save into {}", printable(path)), errno);
    return SaveFolder(fd);
}

SavedFile::SavedFile(int parent, int fd, std::string name, std::string temporary)
    : parent_(parent), fd_(fd), name_(std::move(name)), temporary_(std::move(temporary)) {}

SavedFile::SavedFile(SavedFile&& other) noexcept
    : parent_(std::exchange(other.parent_, -1)),
      fd_(std::exchange(other.fd_, -1)),
      name_(std::move(other.name_)),
      temporary_(std::exchange(other.temporary_, {})),
      sum_(std::move(other.sum_)) {}

SavedFile::~SavedFile() {
    if (fd_ >= 0) ::close(fd_);
    if (parent_ < 0) return;
    if (!temporary_.empty()) ::unlinkat(parent_, temporary_.c_str(), 0);
    ::close(parent_);
}

std::expected<SavedFile, std::string> SavedFile::begin(const SaveFolder& folder,
                                                       std::string_view path) {
    auto parts = split_save_path(path);
    if (!parts) return std::unexpected("is not saved: " + parts.error());
    int parent = ::fcntl(folder.fd_, F_DUPFD_CLOEXEC, 0);
    for (std::size_t i = 0; i + 1 < parts->size() && parent >= 0; ++i) {
        parent = step_into(parent, (*parts)[i]);
    }
    if (parent < 0) return failed("cannot be saved", errno);
    // Not derived from its name: that may be as long as a name can be.
    for (int i = 0; i < kMaxTemporaryNames; ++i) {
        std::string temporary = fmt::format(".mayfly-{}-{}.part", ::getpid(), i);
        const int fd = ::openat(parent, temporary.c_str(),
                                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0) return SavedFile(parent, fd, parts->back(), std::move(temporary));
        if (errno != EEXIST) break;
    }
    const int error = errno;
    ::close(parent);
    return failed("cannot be saved", error);
}

std::expected<void, std::string> SavedFile::write(std::string_view bytes) {
    sum_.update(bytes);
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed("cannot be saved", errno);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

std::expected<void, std::string> SavedFile::restart() {
    (void)sum_.finish();
    if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0)
        return failed("cannot be saved", errno);
    return {};
}

std::expected<void, std::string> SavedFile::commit(const std::string& sha256, std::uint32_t mode) {
    const std::string sum = sum_.finish();
    if (!sha256.empty() && sum != sha256) {
        return std::unexpected(fmt::format(
            "came damaged and is not saved: its SHA-256 is {}, not {}", sum, printable(sha256)));
    }
    if (::fchmod(fd_, mode & 0777U & ~current_umask()) != 0)
        return failed("cannot be saved", errno);
    // Close may be the first to say that the disk is full (NFS, quotas).
    if (::close(std::exchange(fd_, -1)) != 0) return failed("cannot be saved", errno);
    if (::renameat(parent_, temporary_.c_str(), parent_, name_.c_str()) != 0)
        return failed("cannot be saved", errno);
    temporary_.clear();
    return {};
}

}  // namespace mayfly::api::cli
