// Artifacts into a local folder. A script chose their paths, and may have had its hand in what is
// already in the folder: every step is taken from a descriptor of the folder, follows no link, and
// a file appears under its name only when it is whole and verified.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "store/sha256.h"

namespace mayfly::api::cli {

class SaveFolder {
public:
    ~SaveFolder();
    SaveFolder(SaveFolder&& other) noexcept;
    SaveFolder& operator=(SaveFolder&&) = delete;

    // Makes it, and what is above it, when it is not there. A sentence when that fails.
    [[nodiscard]] static std::expected<SaveFolder, std::string> open(const std::string& path);

private:
    friend class SavedFile;
    explicit SaveFolder(int fd) : fd_(fd) {}
    int fd_ = -1;
};

// One file under way. Without commit() nothing of it stays.
class SavedFile {
public:
    // `path` as the run names it. Folders on the way are made; one that is a link, or no folder,
    // is a failure.
    [[nodiscard]] static std::expected<SavedFile, std::string> begin(const SaveFolder& folder,
                                                                     std::string_view path);
    ~SavedFile();
    SavedFile(SavedFile&& other) noexcept;
    SavedFile& operator=(SavedFile&&) = delete;

    [[nodiscard]] std::expected<void, std::string> write(std::string_view bytes);
    // Starts again from nothing.
    [[nodiscard]] std::expected<void, std::string> restart();
    // `sha256` "" = not verified. `mode`: permission bits, under our umask.
    [[nodiscard]] std::expected<void, std::string> commit(const std::string& sha256,
                                                          std::uint32_t mode);

private:
    SavedFile(int parent, int fd, std::string name, std::string temporary);

    int parent_ = -1;
    int fd_ = -1;
    std::string name_;
    std::string temporary_;
    store::Sha256 sum_;
};

}  // namespace mayfly::api::cli
