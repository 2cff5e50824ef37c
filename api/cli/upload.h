// Local files on their way to mayflyd: found and counted first, then read piece by piece while
// they are sent, as often as it takes. One thread.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "api/cli/http.h"
#include "api/cli/submission_text.h"

namespace mayfly::api::cli {

// The files that --file names; folders with all regular files below them, links not followed.
// `note` hears of what is left out. Fails with a sentence about the first file that is not there.
[[nodiscard]] std::expected<std::vector<LocalFile>, std::string> find_files(
    const std::vector<std::string>& wishes, const std::function<void(const std::string&)>& note);

// A file that is open, and can be read again from its beginning.
struct OpenFile {
    int fd = -1;
    std::int64_t size = 0;
};
// `from`: a path, or "-" for our stdin, which is copied to an unnamed temporary file when it is a
// pipe or a terminal: it may have to be sent twice. Never closed: it lives as long as we do.
[[nodiscard]] std::expected<OpenFile, std::string> open_stdin(const std::string& from);

// A whole small file; fails when it is over `limit` bytes.
[[nodiscard]] std::expected<std::string, std::string> read_small(const std::string& path,
                                                                 std::int64_t limit);

class MultipartBody final : public BodySource {
public:
    // `told` hears how many bytes are on their way.
    MultipartBody(std::string boundary, std::string_view spec, const std::vector<LocalFile>& files,
                  const OpenFile& standard_input, std::function<void(std::int64_t)> told);
    ~MultipartBody() override;

    [[nodiscard]] std::int64_t size() const override { return size_; }
    [[nodiscard]] std::expected<std::size_t, std::string> read(std::span<char> into) override;
    void rewind() override;
    void sent(std::int64_t bytes) override { told_(bytes); }

private:
    struct Segment {
        std::string text;   // or, when empty, a file:
        std::string local;  // its path, "" for `fd`
        int fd = -1;
        std::int64_t size = 0;
    };
    std::expected<std::size_t, std::string> read_file(const Segment& segment,
                                                      std::span<char> into);
    void add_text(std::string text);
    void close_file();

    std::vector<Segment> segments_;
    std::int64_t size_ = 0;
    std::size_t at_ = 0;
    std::int64_t offset_ = 0;  // in the segment
    int open_ = -1;
    std::function<void(std::int64_t)> told_;
};

}  // namespace mayfly::api::cli
