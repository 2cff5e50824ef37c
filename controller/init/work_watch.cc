#include "controller/init/work_watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/init/boot_clock.h"

namespace mayfly::controller {
namespace {

// One share of looking in twenty of resting: at most 5 % of one CPU.
constexpr std::int64_t kRestPerCost = 20;
constexpr std::int64_t kSliceUs = 2'000;
constexpr std::int64_t kMinRestMs = 10;
// Close to the limit, or growing so fast that the next look would come too late.
constexpr std::int64_t kHurryMs = 50;
constexpr int kEntriesPerClock = 64;
constexpr std::int64_t kBlockBytes = 512;
constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

std::int64_t cpu_us() { return clock_us(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace

void WorkWatch::open(int work_fd, std::int64_t limit_bytes, std::int64_t now_ms) {
    work_fd_ = work_fd;
    limit_bytes_ = limit_bytes;
    files_ = -1;
    file_bytes_ = -1;
    interval_ms_ = kMinIntervalMs;
    next_ms_ = now_ms + interval_ms_;
}

bool WorkWatch::step(std::int64_t now_ms) {
    if (now_ms < next_ms_) return false;
    const std::int64_t begun_us = cpu_us();
    std::int64_t slice_us = 0;
    if (depth_ == 0) begin_look();
    for (int entries = 1; depth_ > 0 && !over(); ++entries) {
        look_at_one_entry();
        if (entries % kEntriesPerClock != 0) continue;
        slice_us = cpu_us() - begun_us;
        if (slice_us > kSliceUs) break;
    }
    slice_us = cpu_us() - begun_us;
    cost_us_ += slice_us;
    if (depth_ > 0 && !over()) {  // goes on where it stopped
        const std::int64_t rest_ms = slice_us * kRestPerCost / 1'000;
        next_ms_ = now_ms + (rest_ms > kMinRestMs ? rest_ms : kMinRestMs);
        return false;
    }
    return judge(now_ms);
}

bool WorkWatch::judge(std::int64_t now_ms) {
    end_look();
    const std::int64_t grown = sum_ - bytes_;
    bytes_ = sum_;
    if (over()) {
        if (was_over_) return true;
        was_over_ = true;
        next_ms_ = now_ms;
        return false;
    }
    was_over_ = false;
    interval_ms_ = grown == 0 ? interval_ms_ * 2 : kMinIntervalMs;
    if (interval_ms_ > kMaxIntervalMs) interval_ms_ = kMaxIntervalMs;
    if (grown > 0 && sum_ + grown > limit_bytes_) interval_ms_ = kHurryMs;
    const std::int64_t rest_ms = cost_us_ * kRestPerCost / 1'000;
    next_ms_ = now_ms + (rest_ms > interval_ms_ ? rest_ms : interval_ms_);
    if (interval_ms_ < kMinIntervalMs) interval_ms_ = kMinIntervalMs;
    return false;
}

void WorkWatch::measure_once_more(std::int64_t most_ms) {
    const std::int64_t until_ms = boot_ms() + most_ms;
    end_look();
    begin_look();
    for (int entries = 1; depth_ > 0; ++entries) {
        look_at_one_entry();
        if (entries % kEntriesPerClock == 0 && boot_ms() >= until_ms) break;
    }
    const bool whole = depth_ == 0;
    end_look();
    if (whole || sum_ > bytes_) bytes_ = sum_;
    files_ = whole && !too_deep_ ? sum_files_ : -1;
    file_bytes_ = whole && !too_deep_ ? sum_file_bytes_ : -1;
}

void WorkWatch::begin_look() {
    sum_ = 0;
    sum_files_ = 0;
    sum_file_bytes_ = 0;
    cost_us_ = 0;
    too_deep_ = false;
    enter(work_fd_, ".", 0);
}

void WorkWatch::end_look() {
    while (depth_ > 0) close(levels_[--depth_].fd);
}

void WorkWatch::look_at_one_entry() {
    Level& level = levels_[depth_ - 1];
    if (level.at >= level.filled) {
        level.at = 0;
        level.filled = static_cast<int>(getdents64(level.fd, level.names, kNamesBytes));
        if (level.filled <= 0) {
            close(level.fd);
            --depth_;
            return;
        }
    }
    // The kernel aligns its records to 8 bytes.
    const auto* entry = reinterpret_cast<const dirent64*>(level.names + level.at);
    level.at += entry->d_reclen;
    const char* name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return;
    if (depth_ == 1 && passed_over_ != nullptr && strcmp(name, passed_over_) == 0) return;
    struct stat status{};
    if (fstatat(level.fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return;  // gone meanwhile
    std::int64_t held = status.st_blocks * kBlockBytes;
    if (held < kInodeChargeBytes) held = kInodeChargeBytes;
    const bool folder = S_ISDIR(status.st_mode);
    if (!folder && status.st_nlink > 1) held /= static_cast<std::int64_t>(status.st_nlink);
    sum_ += held;
    if (S_ISREG(status.st_mode)) {
        ++sum_files_;
        sum_file_bytes_ += status.st_size;
    }
    if (folder) enter(level.fd, name, status.st_mode);
}

void WorkWatch::enter(int parent_fd, const char* name, unsigned mode) {
    if (depth_ == kMaxDepth) {
        too_deep_ = true;
        return;
    }
    int fd = openat(parent_fd, name, kFolder);
    if (fd < 0 && errno == EACCES) {
        // A folder that its owner may not read would be a place to hide bytes in. The owner is us.
        fchmodat(parent_fd, name, (mode & 07777) | 0500, 0);
        fd = openat(parent_fd, name, kFolder);
    }
    if (fd < 0) {
        // The script shares our uid and could take our descriptors away (prlimit); then nothing
        // can be seen.
        if (errno == EMFILE) too_deep_ = true;
        return;
    }
    Level& level = levels_[depth_++];
    level.fd = fd;
    level.filled = 0;
    level.at = 0;
}

}  // namespace mayfly::controller
