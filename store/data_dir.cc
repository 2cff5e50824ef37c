#include "store/data_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "store/clock.h"
#include "store/file_system.h"

namespace mayfly::store {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr std::string_view kSpool = "spool";
constexpr std::string_view kTmp = ".tmp";
constexpr std::string_view kLock = "lock";

bool is_spool_name(std::string_view name) {
    constexpr std::array kNames = {kInputTar, kStdoutLog, kStderrLog, kOutputTar};
    return std::ranges::find(kNames, name) != kNames.end();
}

Result<void> check_names(const std::string& run_id, std::optional<std::string_view> name) {
    if (!is_run_id(run_id)) return fail(ErrorKind::invalid, "spool: not a run id");
    if (name && !is_spool_name(*name)) return fail(ErrorKind::invalid, "spool: no such file name");
    return {};
}

// True: it was made. Its name is durable then.
Result<bool> make_folder(const fs::path& folder) {
    if (::mkdir(folder.c_str(), kFolderMode) == 0) {
        auto synced = sync_folder(folder.parent_path());
        if (!synced) {
            ::rmdir(folder.c_str());  // so that the next try syncs again
            return std::unexpected(std::move(synced).error());
        }
        return true;
    }
    const int failed = errno;
    struct stat facts{};
    if (failed != EEXIST || ::stat(folder.c_str(), &facts) != 0) {
        return std::unexpected(file_error("make the folder", folder, failed));
    }
    if (!S_ISDIR(facts.st_mode)) {
        return fail(ErrorKind::invalid, folder.string() + " is there and is not a folder");
    }
    return false;
}

Result<void> make_folders(const fs::path& dir) {
    fs::path so_far;
    for (const auto& part : dir) {
        so_far /= part;
        if (part.empty() || so_far == so_far.root_path()) continue;
        if (auto made = make_folder(so_far); !made) {
            return std::unexpected(std::move(made).error());
        }
    }
    for (const auto& name : {fs::path(kSpool), fs::path(kSpool) / kTmp}) {
        if (auto made = make_folder(dir / name); !made) {
            return std::unexpected(std::move(made).error());
        }
    }
    return {};
}

std::string holder_of(int lock_fd) {
    std::array<char, 32> text{};
    const auto size = ::pread(lock_fd, text.data(), text.size() - 1, 0);
    std::string pid(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return pid.empty() ? "another process" : "process " + pid;
}

Result<int> take_lock(const fs::path& dir) {
    const auto file = dir / kLock;
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
    if (fd < 0) return std::unexpected(file_error("open", file, errno));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        const int failed = errno;
        auto error =
            failed == EWOULDBLOCK
                ? Error{ErrorKind::locked, dir.string() + " is in use by " + holder_of(fd) +
                                               ": one mayflyd for each data directory"}
                : file_error("lock", file, failed);
        ::close(fd);
        return std::unexpected(std::move(error));
    }
    // For people only; the lock itself is the kernel's.
    const auto pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd, 0) != 0 ||
        ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
        const int failed = errno;
        ::close(fd);
        return std::unexpected(file_error("write", file, failed));
    }
    return fd;
}

Result<void> empty_folder(const fs::path& folder) {
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
        fs::remove_all(entry->path(), error);
        if (error) break;
    }
    if (error) return std::unexpected(file_error("empty", folder, error.value()));
    return {};
}

}  // namespace

// ------------------------------------------------------------------------------------ SpoolFile

SpoolFile::~SpoolFile() { discard(); }

SpoolFile::SpoolFile(SpoolFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {
    other.path_.clear();
}

SpoolFile& SpoolFile::operator=(SpoolFile&& other) noexcept {
    if (this == &other) return *this;
    discard();
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
    other.path_.clear();
    return *this;
}

void SpoolFile::discard() noexcept {
    if (fd_ < 0) return;
    ::unlink(path_.c_str());  // if that fails, the next open of the directory removes it
    ::close(std::exchange(fd_, -1));
}

// -------------------------------------------------------------------------------------- DataDir

Result<DataDir> DataDir::open(const fs::path& given) {
    std::error_code error;
    const auto dir = fs::absolute(given, error).lexically_normal();
    if (error || given.empty()) return fail(ErrorKind::invalid, "data directory: no path");
    if (auto made = make_folders(dir); !made) return std::unexpected(std::move(made).error());
    auto lock = take_lock(dir);
    if (!lock) return std::unexpected(std::move(lock).error());
    DataDir data_dir(dir, *lock);
    if (auto emptied = empty_folder(dir / kSpool / kTmp); !emptied) {
        return std::unexpected(std::move(emptied).error());
    }
    return data_dir;
}

DataDir::~DataDir() {
    if (lock_fd_ >= 0) ::close(lock_fd_);
}

DataDir::DataDir(DataDir&& other) noexcept
    : dir_(std::move(other.dir_)), lock_fd_(std::exchange(other.lock_fd_, -1)) {}

Result<SpoolFile> DataDir::create_file() const {
    // The folder was emptied at the start and is this process's alone: a count is a name.
    static std::atomic<std::uint64_t> count{0};
    const auto path = dir_ / kSpool / kTmp / std::to_string(count.fetch_add(1));
    const int fd =
        ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode);
    if (fd < 0) return std::unexpected(file_error("create", path, errno));
    return SpoolFile(fd, path);
}

Result<void> DataDir::publish(SpoolFile file, const std::string& run_id,
                              std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) return good;
    if (!file) return fail(ErrorKind::invalid, "spool: no file to publish");
    if (::fsync(file.fd_) != 0) return std::unexpected(file_error("fsync", file.path_, errno));
    const auto folder = dir_ / kSpool / run_id;
    if (auto made = make_folder(folder); !made) return std::unexpected(std::move(made).error());
    const auto target = folder / name;
    if (::rename(file.path_.c_str(), target.c_str()) != 0) {
        return std::unexpected(file_error("rename to", target, errno));
    }
    ::close(std::exchange(file.fd_, -1));  // published: no longer to be discarded
    return sync_folder(folder);
}

Result<int> DataDir::open_file(const std::string& run_id, std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) {
        return std::unexpected(std::move(good).error());
    }
    const auto path = file_path(run_id, name);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) return fd;
    if (errno == ENOENT) return fail(ErrorKind::not_found, path.string() + " is not there");
    return std::unexpected(file_error("open", path, errno));
}

fs::path DataDir::file_path(const std::string& run_id, std::string_view name) const {
    return dir_ / kSpool / run_id / name;
}

Result<std::int64_t> DataDir::file_size(const std::string& run_id, std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) {
        return std::unexpected(std::move(good).error());
    }
    const auto path = file_path(run_id, name);
    struct stat facts{};
    if (::lstat(path.c_str(), &facts) == 0) return facts.st_size;
    if (errno == ENOENT) return fail(ErrorKind::not_found, path.string() + " is not there");
    return std::unexpected(file_error("look at", path, errno));
}

// Not synced: a folder that comes back after a power loss has no record, and goes at the next
// start.
Result<void> DataDir::remove_run(const std::string& run_id) const {
    if (auto good = check_names(run_id, std::nullopt); !good) return good;
    const auto folder = dir_ / kSpool / run_id;
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) return std::unexpected(file_error("remove", folder, error.value()));
    return {};
}

Result<void> DataDir::remove_file(const std::string& run_id, std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) return good;
    const auto path = file_path(run_id, name);
    if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
    return std::unexpected(file_error("remove", path, errno));
}

Result<std::vector<std::string>> DataDir::run_folders() const {
    const auto spool = dir_ / kSpool;
    std::vector<std::string> run_ids;
    std::error_code error;
    for (fs::directory_iterator entry(spool, error), end; !error && entry != end;
         entry.increment(error)) {
        auto name = entry->path().filename().string();
        if (is_run_id(name)) run_ids.push_back(std::move(name));
    }
    if (error) return std::unexpected(file_error("list", spool, error.value()));
    std::ranges::sort(run_ids);
    return run_ids;
}

Result<DiskSpace> DataDir::disk_space() const {
    struct statvfs facts{};
    if (::statvfs(dir_.c_str(), &facts) != 0) {
        return std::unexpected(file_error("look at", dir_, errno));
    }
    const auto unit = static_cast<std::int64_t>(facts.f_frsize);
    return DiskSpace{.free_bytes = unit * static_cast<std::int64_t>(facts.f_bavail),
                     .total_bytes = unit * static_cast<std::int64_t>(facts.f_blocks)};
}

}  // namespace mayfly::store
