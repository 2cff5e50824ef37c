// The user's command as a child of PID 1.
#pragma once

#include <sys/types.h>

namespace mayfly::controller {

struct Command {
    pid_t pid = -1;  // also its session and process group; -1: fork failed, `fork_errno` says why
    int fork_errno = 0;
    int out_fd = -1;  // our ends of its standard output and error, non-blocking
    int err_fd = -1;
    int exec_fd = -1;  // carries the errno of a failed exec; ends empty when exec worked
};

// Starts argv[0], found along PATH, with cwd `work_fd` and standard input `stdin_fd` (-1 =
// /dev/null). It gets a session of its own, default signal dispositions, no other descriptors, and
// is the kernel's first choice when memory runs out. What is no executable format is tried as a
// /bin/sh script, like a shell does. When exec fails the child says so on its standard error and
// exits 127 (not found) or 126.
[[nodiscard]] Command start_command(char* const* argv, int work_fd, int stdin_fd);

// The errno with which exec failed; 0 when it worked. Call after the child ended.
[[nodiscard]] int exec_errno_of(const Command& command);

}  // namespace mayfly::controller
