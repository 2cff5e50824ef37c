// The data directory and the spool in it. One daemon per directory: the lock is held from open to
// destruction.
//
//   <dir>/lock            flock, with the pid inside for people
//   <dir>/mayfly.db       see Database
//   <dir>/spool/<run id>/ input.tar  stdout.log  stderr.log  output.tar
//   <dir>/spool/.tmp/     what is being written; emptied when the directory is opened
//
// A file is published by: write under .tmp, fsync, rename, fsync the run's folder. So a name
// without ".tmp" is whole. No path here is ever made from anything a user or a script chose: run
// ids are checked with is_run_id. The blocking calls are for the store's or a pool's thread, but
// small ones are fine on the loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/disk.h"
#include "store/error.h"

namespace mayfly::store {

// A file under .tmp that is removed unless it is published.
class SpoolFile {
public:
    SpoolFile() = default;
    SpoolFile(Disk& disk, int fd, std::filesystem::path path)
        : disk_(&disk), fd_(fd), path_(std::move(path)) {}
    ~SpoolFile();
    SpoolFile(SpoolFile&& other) noexcept;
    SpoolFile& operator=(SpoolFile&& other) noexcept;

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }

private:
    friend class DataDir;
    void discard() noexcept;
    Disk* disk_ = nullptr;
    int fd_ = -1;
    std::filesystem::path path_;
};

class DataDir {
public:
    // Makes what is missing (0700), takes the lock (`locked` if held), empties .tmp. `disk`
    // outlives it.
    [[nodiscard]] static Result<DataDir> open(const std::filesystem::path& dir,
                                              Disk& disk = system_disk());
    ~DataDir();
    DataDir(DataDir&& other) noexcept;
    DataDir& operator=(DataDir&&) = delete;

    [[nodiscard]] std::filesystem::path database_file() const { return dir_ / "mayfly.db"; }
    [[nodiscard]] const std::filesystem::path& path() const { return dir_; }

    // A new, empty file under .tmp, 0600, opened read-write, close-on-exec.
    [[nodiscard]] Result<SpoolFile> create_file() const;
    // fsync, rename to spool/<run_id>/<name>, fsync the folders. `name` is one of the constants
    // below. Replaces.
    [[nodiscard]] Result<void> publish(SpoolFile file, const std::string& run_id,
                                       std::string_view name) const;
    // Opens for reading, close-on-exec. `not_found` if it is not there.
    [[nodiscard]] Result<int> open_file(const std::string& run_id, std::string_view name) const;
    [[nodiscard]] std::filesystem::path file_path(const std::string& run_id,
                                                  std::string_view name) const;
    [[nodiscard]] Result<std::int64_t> file_size(const std::string& run_id,
                                                 std::string_view name) const;
    // Removes the run's folder. Already gone is success.
    [[nodiscard]] Result<void> remove_run(const std::string& run_id) const;
    // Removes one published file. Already gone is success.
    [[nodiscard]] Result<void> remove_file(const std::string& run_id, std::string_view name) const;
    // Run ids that have a folder: for removing those that no record knows (a crash between publish
    // and COMMIT).
    [[nodiscard]] Result<std::vector<std::string>> run_folders() const;
    [[nodiscard]] Result<DiskSpace> disk_space() const;

private:
    DataDir(Disk& disk, std::filesystem::path dir, int lock_fd)
        : disk_(&disk), dir_(std::move(dir)), lock_fd_(lock_fd) {}
    Disk* disk_;
    std::filesystem::path dir_;
    int lock_fd_ = -1;
    std::unique_ptr<std::atomic<std::uint64_t>> files_made_ =
        std::make_unique<std::atomic<std::uint64_t>>(0);
};

inline constexpr std::string_view kInputTar = "input.tar";
inline constexpr std::string_view kStdoutLog = "stdout.log";
inline constexpr std::string_view kStderrLog = "stderr.log";
inline constexpr std::string_view kOutputTar = "output.tar";

}  // namespace mayfly::store
