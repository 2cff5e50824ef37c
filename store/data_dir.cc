#include "store/data_dir.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <utility>

#include "store/clock.h"

namespace mayfly::store {
namespace {

namespace fs = std::filesystem;

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

Result<void> make_folders(Disk& disk, const fs::path& dir) {
    fs::path so_far;
    for (const auto& part : dir) {
        so_far /= part;
        if (part.empty() || so_far == so_far.root_path()) continue;
        if (auto made = disk.make_folder(so_far); !made) {
            return std::unexpected(std::move(made).error());
        }
    }
    for (const auto& name : {fs::path(kSpool), fs::path(kSpool) / kTmp}) {
        if (auto made = disk.make_folder(dir / name); !made) {
            return std::unexpected(std::move(made).error());
        }
    }
    // Folders that were there may be an earlier process's that was killed before it synced their
    // names. What is above need not be ours to open.
    (void)disk.sync_folder(dir.parent_path());
    for (const auto& folder : {dir, dir / kSpool}) {
        if (auto synced = disk.sync_folder(folder); !synced) return synced;
    }
    return {};
}

Result<void> empty_folder(Disk& disk, const fs::path& folder) {
    auto names = disk.list_folder(folder);
    if (!names) return std::unexpected(std::move(names).error());
    for (const auto& name : *names) {
        if (auto removed = disk.remove_folder(folder / name); !removed) return removed;
    }
    return {};
}

}  // namespace

// ------------------------------------------------------------------------------------ SpoolFile

SpoolFile::~SpoolFile() { discard(); }

SpoolFile::SpoolFile(SpoolFile&& other) noexcept
    : disk_(other.disk_), fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {
    other.path_.clear();
}

SpoolFile& SpoolFile::operator=(SpoolFile&& other) noexcept {
    if (this == &other) return *this;
    discard();
    disk_ = other.disk_;
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
    other.path_.clear();
    return *this;
}

void SpoolFile::discard() noexcept {
    if (fd_ < 0) return;
    // If that fails, the next open of the directory removes it.
    (void)disk_->remove_file(path_);
    ::close(std::exchange(fd_, -1));
}

// -------------------------------------------------------------------------------------- DataDir

Result<DataDir> DataDir::open(const fs::path& given, Disk& disk) {
    std::error_code error;
    const auto dir = fs::absolute(given, error).lexically_normal();
    if (error || given.empty()) return fail(ErrorKind::invalid, "data directory: no path");
    if (auto made = make_folders(disk, dir); !made) {
        return std::unexpected(std::move(made).error());
    }
    auto lock = disk.lock_file(dir / kLock);
    if (!lock) return std::unexpected(std::move(lock).error());
    DataDir data_dir(disk, dir, *lock);
    if (auto emptied = empty_folder(disk, dir / kSpool / kTmp); !emptied) {
        return std::unexpected(std::move(emptied).error());
    }
    return data_dir;
}

DataDir::~DataDir() {
    if (lock_fd_ >= 0) ::close(lock_fd_);
}

DataDir::DataDir(DataDir&& other) noexcept
    : disk_(other.disk_),
      dir_(std::move(other.dir_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      files_made_(std::move(other.files_made_)) {}

Result<SpoolFile> DataDir::create_file() const {
    // The folder was emptied at the start and is this process's alone: a count is a name.
    const auto path = dir_ / kSpool / kTmp / std::to_string(files_made_->fetch_add(1));
    auto fd = disk_->create_file(path);
    if (!fd) return std::unexpected(std::move(fd).error());
    return SpoolFile(*disk_, *fd, path);
}

Result<void> DataDir::publish(SpoolFile file, const std::string& run_id,
                              std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) return good;
    if (!file) return fail(ErrorKind::invalid, "spool: no file to publish");
    if (auto synced = disk_->sync_file(file.fd_, file.path_); !synced) return synced;
    const auto folder = dir_ / kSpool / run_id;
    if (auto made = disk_->make_folder(folder); !made) {
        return std::unexpected(std::move(made).error());
    }
    if (auto renamed = disk_->rename_file(file.path_, folder / name); !renamed) return renamed;
    ::close(std::exchange(file.fd_, -1));  // published: no longer to be discarded
    return disk_->sync_folder(folder);
}

Result<int> DataDir::open_file(const std::string& run_id, std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) {
        return std::unexpected(std::move(good).error());
    }
    return disk_->open_file(file_path(run_id, name));
}

fs::path DataDir::file_path(const std::string& run_id, std::string_view name) const {
    return dir_ / kSpool / run_id / name;
}

Result<std::int64_t> DataDir::file_size(const std::string& run_id, std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) {
        return std::unexpected(std::move(good).error());
    }
    return disk_->file_size(file_path(run_id, name));
}

// Not synced: a folder that comes back after a power loss has no record, and goes at the next
// start.
Result<void> DataDir::remove_run(const std::string& run_id) const {
    if (auto good = check_names(run_id, std::nullopt); !good) return good;
    return disk_->remove_folder(dir_ / kSpool / run_id);
}

Result<void> DataDir::remove_file(const std::string& run_id, std::string_view name) const {
    if (auto good = check_names(run_id, name); !good) return good;
    return disk_->remove_file(file_path(run_id, name));
}

Result<std::vector<std::string>> DataDir::run_folders() const {
    auto names = disk_->list_folder(dir_ / kSpool);
    if (!names) return std::unexpected(std::move(names).error());
    std::erase_if(*names, [](const auto& name) { return !is_run_id(name); });
    std::ranges::sort(*names);
    return names;
}

Result<DiskSpace> DataDir::disk_space() const { return disk_->space(dir_); }

}  // namespace mayfly::store
