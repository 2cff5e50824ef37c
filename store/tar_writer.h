// Writes a plain, uncompressed POSIX tar (ustar, PAX headers only where a name or size needs one):
// the format of input.tar and output.tar. We only ever send an engine tars that this class made.
//
// Entry sizes may be unknown in advance (a streamed upload): begin_file leaves room for the
// header, end_file goes back and fills it in. So the target is a regular file, and files are at
// most 8 GiB
// - 1 unless the size was given. Any failure sticks: later calls return it. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "store/error.h"
#include "store/sha256.h"

namespace mayfly::store {

struct TarOwner {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
};

class TarWriter {
public:
    // `fd` is open for writing, empty, and stays the caller's.
    explicit TarWriter(int fd) : fd_(fd) {}

    Result<void> add_directory(std::string_view path, std::uint32_t mode, TarOwner owner,
                               std::int64_t mtime_s);
    Result<void> begin_file(std::string_view path, std::uint32_t mode, TarOwner owner,
                            std::int64_t mtime_s);
    Result<void> write(std::span<const std::byte> bytes);  // of the file begun

    struct File {
        std::int64_t offset = 0;  // of the first content byte in the tar
        std::int64_t size = 0;
        std::string sha256;
    };
    Result<File> end_file();
    Result<File> add_file(std::string_view path, std::uint32_t mode, TarOwner owner,
                          std::int64_t mtime_s, std::span<const std::byte> bytes);

    // Two zero blocks. The caller fsyncs. Returns the size of the archive.
    Result<std::int64_t> finish();
    [[nodiscard]] std::int64_t bytes_written() const { return position_; }

private:
    struct Entry {
        std::string path;
        char type = '0';
        std::uint32_t mode = 0;
        TarOwner owner;
        std::int64_t mtime_s = 0;
    };

    Result<void> broken(Error error);
    Result<void> put(std::int64_t at, std::span<const std::byte> bytes);
    Result<void> append(std::span<const std::byte> bytes);
    Result<void> pad(std::int64_t size);
    Result<void> check_entry(std::string_view path);
    Result<void> begin(std::string_view path, std::uint32_t mode, TarOwner owner,
                       std::int64_t mtime_s, std::int64_t size_max, std::int64_t known_size);
    Result<void> write_header(std::int64_t at, const Entry& entry, std::int64_t size);
    Result<void> write_pax_if_needed(const Entry& entry, std::int64_t size);

    int fd_;
    std::int64_t position_ = 0;
    bool finished_ = false;
    // The file that is open, if header_at_ >= 0.
    std::int64_t header_at_ = -1;
    Entry entry_;
    std::int64_t content_at_ = 0;
    std::int64_t size_max_ = 0;
    Sha256 hash_;
    std::optional<Error> error_;
};

}  // namespace mayfly::store
