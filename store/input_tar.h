// input.tar: exactly the bytes that are PUT at /work before the start. One layout, made here,
// whoever submits.
//
//   .mayfly/            root 0755
//   .mayfly/claim       root 0622, empty, mtime kClaimMtimeS: PID 1's first act is to write a byte
//   to it .mayfly/stdin       root 0644, only when there is stdin output/             root 1777:
//   the script can fill it, and can neither rename nor remove it output/.mayfly/     root 1777:
//   PID 1's last act writes exit.json here <the user's files>  run uid; missing parent folders are
//   added, run uid 0755
//
// /work itself is root 1777 by the prepared image. Because the claim and its folder are root's,
// the run uid can not undo the claim (measured on 20.10 and 26.1; runc, crun, gVisor).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"
#include "store/run.h"
#include "store/tar_writer.h"

namespace mayfly::store {

inline constexpr std::int64_t kClaimMtimeS = 1'000'000'000;
inline constexpr std::size_t kInputPathMaxBytes = 1024;
inline constexpr std::size_t kInputNameMaxBytes = 255;
inline constexpr std::size_t kInputDepthMax = 32;

// Why `path` cannot be an input, as a sentence for the user; empty when it can. Relative, valid
// UTF-8, no control bytes, no empty, "." or ".." component, not under .mayfly/ or output/.mayfly/,
// within the limits above.
[[nodiscard]] std::string input_path_error(std::string_view path);

class InputTarBuilder {
public:
    // `fd`: empty, open for writing; the caller's. `mtime_s` is given to everything but the claim.
    InputTarBuilder(int fd, TarOwner run_owner, std::int64_t mtime_s);

    // The fixed entries. Once, first.
    Result<void> begin();
    // `invalid` for a bad path, a duplicate, or a file where a folder is needed (or the other way
    // round).
    Result<void> begin_file(const std::string& path, std::uint32_t mode);
    Result<void> begin_stdin();
    Result<void> write(std::span<const std::byte> bytes);
    Result<void> end_file();  // of either
    // Two zero blocks; the caller publishes. Returns the size of the tar.
    Result<std::int64_t> finish();

    // What was added, in order: goes into the spec.
    [[nodiscard]] const std::vector<InputFile>& files() const { return files_; }
    [[nodiscard]] const std::optional<InputFile>& stdin_file() const { return stdin_; }
    [[nodiscard]] std::int64_t bytes_written() const { return tar_.bytes_written(); }

private:
    [[nodiscard]] Result<void> check_begun() const;
    [[nodiscard]] Result<void> check_place(const std::string& path) const;
    Result<void> add_parents(const std::string& path);

    TarWriter tar_;
    TarOwner run_owner_;
    std::int64_t mtime_s_;
    std::set<std::string> folders_;
    std::set<std::string> paths_;
    std::vector<InputFile> files_;
    std::optional<InputFile> stdin_;
    std::optional<InputFile> open_;
    bool open_is_stdin_ = false;
};

}  // namespace mayfly::store
