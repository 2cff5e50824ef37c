#include "store/disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "store/file_system.h"

namespace mayfly::store {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

std::unexpected<Error> failed(std::string_view doing, const fs::path& path, int error_number) {
    return std::unexpected(file_error(doing, path, error_number));
}

std::unexpected<Error> missing(const fs::path& path) {
    return fail(ErrorKind::not_found, path.string() + " is not there");
}

std::string holder_of(int lock_fd) {
    std::array<char, 32> text{};
    const auto size = ::pread(lock_fd, text.data(), text.size() - 1, 0);
    std::string pid(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return pid.empty() ? "another process" : "process " + pid;
}

class SystemDisk final : public Disk {
public:
    Result<int> create_file(const Path& path) override {
        const int fd =
            ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode);
        if (fd < 0) return failed("create", path, errno);
        return fd;
    }

    Result<int> open_file(const Path& path) override {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) return fd;
        if (errno == ENOENT) return missing(path);
        return failed("open", path, errno);
    }

    Result<void> sync_file(int fd, const Path& path) override {
        if (::fsync(fd) != 0) return failed("fsync", path, errno);
        return {};
    }

    Result<void> sync_folder(const Path& folder) override { return store::sync_folder(folder); }

    Result<void> rename_file(const Path& from, const Path& to) override {
        if (::rename(from.c_str(), to.c_str()) != 0) return failed("rename to", to, errno);
        return {};
    }

    Result<void> remove_file(const Path& path) override {
        if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
        return failed("remove", path, errno);
    }

    Result<void> remove_folder(const Path& folder) override {
        std::error_code error;
        fs::remove_all(folder, error);
        if (error) return failed("remove", folder, error.value());
        return {};
    }

    Result<bool> make_folder(const Path& folder) override {
        if (::mkdir(folder.c_str(), kFolderMode) == 0) {
            auto synced = sync_folder(folder.parent_path());
            if (!synced) {
                ::rmdir(folder.c_str());  // so that the next try syncs again
                return std::unexpected(std::move(synced).error());
            }
            return true;
        }
        const int reason = errno;
        struct stat facts{};
        if (reason != EEXIST || ::stat(folder.c_str(), &facts) != 0) {
            return failed("make the folder", folder, reason);
        }
        if (!S_ISDIR(facts.st_mode)) {
            return fail(ErrorKind::invalid, folder.string() + " is there and is not a folder");
        }
        return false;
    }

    Result<std::vector<std::string>> list_folder(const Path& folder) override {
        std::vector<std::string> names;
        std::error_code error;
        for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
             entry.increment(error)) {
            names.push_back(entry->path().filename().string());
        }
        if (error) return failed("list", folder, error.value());
        return names;
    }

    Result<std::int64_t> file_size(const Path& path) override {
        struct stat facts{};
        if (::lstat(path.c_str(), &facts) == 0) return facts.st_size;
        if (errno == ENOENT) return missing(path);
        return failed("look at", path, errno);
    }

    Result<DiskSpace> space(const Path& folder) override {
        struct statvfs facts{};
        if (::statvfs(folder.c_str(), &facts) != 0) return failed("look at", folder, errno);
        const auto unit = static_cast<std::int64_t>(facts.f_frsize);
        return DiskSpace{.free_bytes = unit * static_cast<std::int64_t>(facts.f_bavail),
                         .total_bytes = unit * static_cast<std::int64_t>(facts.f_blocks)};
    }

    Result<void> require_local(const Path& folder) override {
        return store::require_local(folder);
    }

    Result<int> lock_file(const Path& path) override {
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
        if (fd < 0) return failed("open", path, errno);
        if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
            const int reason = errno;
            auto error = reason == EWOULDBLOCK
                             ? Error{ErrorKind::locked,
                                     path.parent_path().string() + " is in use by " +
                                         holder_of(fd) + ": one mayflyd for each data directory"}
                             : file_error("lock", path, reason);
            ::close(fd);
            return std::unexpected(std::move(error));
        }
        // For people only; the lock itself is the kernel's.
        const auto pid = std::to_string(::getpid()) + "\n";
        if (::ftruncate(fd, 0) != 0 ||
            ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
            const int reason = errno;
            ::close(fd);
            return failed("write", path, reason);
        }
        return fd;
    }
};

}  // namespace

Disk& system_disk() {
    static SystemDisk disk;
    return disk;
}

}  // namespace mayfly::store
