// PID 1's last act: result.json and the exit record, put where one archive GET of /work/output
// finds them. The script is dead by then, but may have left anything in the folder; it shares our
// uid.
#pragma once

#include <cstdint>

namespace mayfly::controller {

struct StreamTally {
    std::int64_t total = 0;
    std::int64_t kept = 0;
    std::int64_t note = 0;
};

// The fields of exit.json: controller/archive/exit_record.h.
struct LastWords {
    int exit_code = 0;
    int signal = 0;
    int exec_errno = 0;
    const char* tripped = "";
    bool term_from_outside = false;
    std::int64_t wall_us = 0;
    std::int64_t cpu_us = 0;
    std::int64_t memory_peak_bytes = 0;
    std::int64_t oom_kills = 0;
    std::int64_t work_bytes = 0;
    std::int64_t output_files = -1;
    std::int64_t output_bytes = -1;
    StreamTally out;
    StreamTally err;
};

// Before the run: a file for the record with its block, and without a name that the script could
// find, so that a disk that the script (or its neighbour) filled cannot cost us the record. -1
// where the filesystem knows no such files; then a common temporary file is made at the end.
[[nodiscard]] int reserve_record(int record_dir_fd);

// Copies a regular file /work/result.json, or as much of it as shows that it is too large. What
// else goes by the name (a link, a FIFO, a folder) becomes an empty folder `result.json`: it was
// there, and it cannot be used.
void save_result(int work_fd, int record_dir_fd);

// False, after a complaint, when the record could not be made durable.
[[nodiscard]] bool write_record(int record_dir_fd, int reserved_fd, const LastWords& words);

}  // namespace mayfly::controller
