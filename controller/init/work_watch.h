// How much /work holds, looked at again and again while the script fills it. There is no quota on
// a plain volume, and statfs tells of the whole disk, so PID 1 walks the tree.
//
// What is counted: allocated blocks, a file with several links once, and at least
// kInodeChargeBytes for every entry, so that empty files are not free. What bounds the bound: a
// script can write on for one interval (kMinIntervalMs to kMaxIntervalMs, longer only for trees so
// large that looking costs more than 5 % of one CPU), the file size limit of the container holds
// each file, and a file that was unlinked while open is not seen (the disk has it back at the
// end).
//
// A look is not atomic: files moved about may be counted twice, so only two looks in a row that
// are over the limit count. Links are never followed. There are no mounts below /work and the
// script cannot make any; what has another st_dev is a btrfs subvolume and counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mayfly::controller {

// Made to be static: zero until open().
class WorkWatch {
public:
    static constexpr std::int64_t kMinIntervalMs = 250;
    static constexpr std::int64_t kMaxIntervalMs = 1'000;
    static constexpr std::int64_t kInodeChargeBytes = 1'024;
    // Nested deeper it is over the limit as well: what cannot be looked at may hold anything.
    static constexpr int kMaxDepth = 128;

    // `work_fd` stays the caller's.
    void open(int work_fd, std::int64_t limit_bytes, std::int64_t now_ms);
    [[nodiscard]] std::int64_t wake_ms() const { return next_ms_; }
    // Looks on for a moment when it is time. True: over the limit, twice in a row.
    [[nodiscard]] bool step(std::int64_t now_ms);
    // One last whole look for the record, given up (the last known measure stays) after `most_ms`.
    void measure_once_more(std::int64_t most_ms);
    [[nodiscard]] std::int64_t bytes() const { return bytes_; }
    // Names and sizes (st_size) of the regular files that the last whole look of
    // measure_once_more saw, a file with several names each time; -1: it was not whole.
    [[nodiscard]] std::int64_t files() const { return files_; }
    [[nodiscard]] std::int64_t file_bytes() const { return file_bytes_; }
    // Looks past what is called `name` at the top.
    void pass_over(const char* name) { passed_over_ = name; }
    [[nodiscard]] bool too_deep() const { return too_deep_; }

private:
    static constexpr std::size_t kNamesBytes = 4'096;
    struct Level {
        int fd;
        int filled;  // of `names`
        int at;
        alignas(8) char names[kNamesBytes];  // raw directory entries
    };

    void begin_look();
    void look_at_one_entry();
    void enter(int parent_fd, const char* name, unsigned mode);
    void end_look();
    [[nodiscard]] bool over() const { return too_deep_ || sum_ > limit_bytes_; }
    [[nodiscard]] bool judge(std::int64_t now_ms);

    int work_fd_ = 0;
    std::int64_t limit_bytes_ = 0;
    std::int64_t next_ms_ = 0;
    std::int64_t interval_ms_ = 0;
    std::int64_t bytes_ = 0;  // of the last whole look
    std::int64_t files_ = 0;
    std::int64_t file_bytes_ = 0;
    const char* passed_over_ = nullptr;

    // The look under way.
    std::int64_t sum_ = 0;
    std::int64_t sum_files_ = 0;
    std::int64_t sum_file_bytes_ = 0;
    std::int64_t cost_us_ = 0;
    bool too_deep_ = false;
    bool was_over_ = false;
    int depth_ = 0;  // 0 = none under way
    Level levels_[kMaxDepth];
};

}  // namespace mayfly::controller
