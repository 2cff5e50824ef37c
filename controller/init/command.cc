#include "controller/init/command.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>

namespace mayfly::controller {
namespace {

constexpr int kExecReportFd = 3;
constexpr int kFirstForeignFd = 4;
// Where close_range is refused (an old kernel or seccomp profile): our own descriptors are all
// below this.
constexpr int kMostOwnFds = 1024;

struct Ends {
    int out;
    int err;
    int report;
};

void close_from(int first) {
    if (syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, 0U) == 0) return;
    for (int fd = first; fd < kMostOwnFds; ++fd) close(fd);
}

// When memory runs out, the kernel kills by this score: the script's processes before PID 1, which
// has to tell how it ended. The file belongs to root while a process is undumpable, so the child
// is made dumpable before.
void volunteer_for_the_oom_killer() {
    prctl(PR_SET_DUMPABLE, 1);
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    [[maybe_unused]] const ssize_t written = write(fd, "1000", 4);
    close(fd);
}

void default_signals() {
    struct sigaction action{};
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Moves `fd` to `target`, clear of the close-on-exec flag.
void place(int fd, int target) {
    if (fd == target) {
        fcntl(fd, F_SETFD, 0);
    } else {
        dup2(fd, target);
    }
}

[[noreturn]] void report_failed_exec(const char* name, int error) {
    // ENOENT for a file that is there means that the interpreter of its first line is not.
    const bool no_interpreter =
        error == ENOENT && strchr(name, '/') != nullptr && access(name, F_OK) == 0;
    dprintf(STDERR_FILENO, "mayfly: cannot run '%s': %s%s\n", name, strerrordesc_np(error),
            no_interpreter ? " (the file is there; its interpreter or loader is not)" : "");
    [[maybe_unused]] const ssize_t written = write(kExecReportFd, &error, sizeof error);
    _exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

[[noreturn]] void become(char* const* argv, int work_fd, int stdin_fd, Ends ends) {
    setsid();
    volunteer_for_the_oom_killer();
    const int changed = fchdir(work_fd);
    if (stdin_fd < 0) stdin_fd = open("/dev/null", O_RDONLY);
    // Clear of the low numbers first: an end that happens to be 0, 1 or 2 would be overwritten by
    // the one before it.
    const int in = fcntl(stdin_fd, F_DUPFD, kFirstForeignFd);
    const int out = fcntl(ends.out, F_DUPFD, kFirstForeignFd);
    const int err = fcntl(ends.err, F_DUPFD, kFirstForeignFd);
    const int report = fcntl(ends.report, F_DUPFD, kFirstForeignFd);
    if (in >= 0) {
        place(in, STDIN_FILENO);
    } else {
        close(STDIN_FILENO);
    }
    place(out, STDOUT_FILENO);
    place(err, STDERR_FILENO);
    place(report, kExecReportFd);
    fcntl(kExecReportFd, F_SETFD, FD_CLOEXEC);
    close_from(kFirstForeignFd);
    default_signals();
    if (changed != 0) report_failed_exec("/work", EACCES);
    execvp(argv[0], argv);
    report_failed_exec(argv[0], errno);
}

}  // namespace

Command start_command(char* const* argv, int work_fd, int stdin_fd) {
    Command command;
    int out[2] = {-1, -1};
    int err[2] = {-1, -1};
    int report[2] = {-1, -1};
    for (int* ends : {out, err, report}) {
        if (pipe2(ends, O_CLOEXEC) == 0) continue;
        command.fork_errno = errno;
        return command;
    }
    command.pid = fork();
    if (command.pid == 0) become(argv, work_fd, stdin_fd, {out[1], err[1], report[1]});
    if (command.pid < 0) command.fork_errno = errno;
    close(out[1]);
    close(err[1]);
    close(report[1]);
    // The other ends are descriptions of their own: the script's stay blocking, as every program
    // expects.
    for (const int fd : {out[0], err[0], report[0]}) fcntl(fd, F_SETFL, O_NONBLOCK);
    command.out_fd = out[0];
    command.err_fd = err[0];
    command.exec_fd = report[0];
    return command;
}

int exec_errno_of(const Command& command) {
    int error = 0;
    if (read(command.exec_fd, &error, sizeof error) != sizeof error) return 0;
    return error;
}

}  // namespace mayfly::controller
