// A file as a ByteSource. Owns the descriptor; reads by offset, from the start.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "controller/engine/engine.h"

namespace mayfly::controller {

class FileSource final : public ByteSource {
public:
    explicit FileSource(int fd) : fd_(fd) {
        struct stat status{};
        if (fstat(fd_, &status) == 0) size_ = status.st_size;
    }
    ~FileSource() override { close(fd_); }
    FileSource(const FileSource&) = delete;
    FileSource& operator=(const FileSource&) = delete;

    [[nodiscard]] std::int64_t size() const override { return size_; }
    std::expected<std::size_t, std::string> read(std::span<std::byte> buffer) override {
        const auto count = pread(fd_, buffer.data(), buffer.size(), position_);
        if (count < 0) return std::unexpected(std::string(std::strerror(errno)));
        position_ += count;
        return static_cast<std::size_t>(count);
    }

private:
    int fd_;
    std::int64_t size_ = 0;
    std::int64_t position_ = 0;
};

}  // namespace mayfly::controller
