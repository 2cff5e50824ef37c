// What an unfriendly script does, as one static program that also runs in an empty image:
//
//   attack            every way of getting at PID 1 that needs no privilege; one line per way,
//   "open"
//                     if it worked, else the errno
//   forge-term        claims to be a TERM from outside the container; prints what the kernel said
//   orphans N         N dead grandchildren whose parent goes without having waited for them
//   linger            leaves a daemon behind that ignores TERM and holds our output; ends at once
//   fork-bomb         never ends; prints "ready" when it is well under way
//   files N BYTES     N files of BYTES each in the current folder
//   pattern N         N times the bytes 00 to FF
//   deaf              ignores TERM and prints "ready"; never ends
//   open-unlinked     fills a file without a name; never ends
//   eat BYTES         touches that much memory
//   fds               which descriptors are open, one a line
//   signals           which signals are ignored or blocked, one a line
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

void report(const char* way, bool open) {
    printf("%s: %s\n", way, open ? "open" : strerrordesc_np(errno));
}

int attack() {
    kill(1, SIGKILL);
    kill(1, SIGSTOP);
    kill(1, SIGSEGV);
    report("ptrace", ptrace(PTRACE_ATTACH, 1, nullptr, nullptr) == 0);
    report("ptrace-seize", ptrace(PTRACE_SEIZE, 1, nullptr, nullptr) == 0);
    report("fd/1", open("/proc/1/fd/1", O_WRONLY) >= 0);
    report("fd/2", open("/proc/1/fd/2", O_WRONLY) >= 0);
    report("mem", open("/proc/1/mem", O_RDWR) >= 0);
    report("environ", open("/proc/1/environ", O_RDONLY) >= 0);
    report("oom_score_adj", open("/proc/1/oom_score_adj", O_WRONLY) >= 0);
    char byte = 0;
    iovec here = {&byte, 1};
    iovec there = {reinterpret_cast<void*>(0x400000), 1};
    report("process_vm_readv", process_vm_readv(1, &here, 1, &there, 1, 0) >= 0);
    const long pidfd = syscall(SYS_pidfd_open, 1, 0);
    report("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, 1, 0) >= 0);
    puts("still here");
    return 0;
}

int forge_term() {
    signal(SIGTERM, SIG_IGN);
    siginfo_t info{};
    info.si_signo = SIGTERM;
    info.si_code = SI_USER;
    report("SI_USER", syscall(SYS_rt_sigqueueinfo, 1, SIGTERM, &info) == 0);
    info.si_code = SI_QUEUE;  // allowed; si_pid is ours to choose, and is 0
    report("SI_QUEUE", syscall(SYS_rt_sigqueueinfo, 1, SIGTERM, &info) == 0);
    report("kill", kill(1, SIGTERM) == 0);
    return 0;
}

int orphans(int count) {
    const pid_t parent = fork();
    if (parent == 0) {
        for (int i = 0; i < count; ++i) {
            const pid_t child = fork();
            if (child < 0) _exit(1);
            if (child == 0) _exit(0);
        }
        _exit(0);  // without a wait for any of them
    }
    int status = 0;
    if (waitpid(parent, &status, 0) != parent || status != 0) return 1;
    puts("done");
    return 0;
}

int linger() {
    int ready[2];
    if (pipe(ready) != 0) return 1;
    if (fork() == 0) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        if (fork() != 0) _exit(0);
        close(ready[0]);
        close(ready[1]);
        for (;;) pause();
    }
    close(ready[1]);
    char byte = 0;
    [[maybe_unused]] const ssize_t got = read(ready[0], &byte, 1);  // until the daemon has started
    puts("left one behind");
    return 5;
}

int fork_bomb() {
    signal(SIGTERM, SIG_IGN);
    for (int i = 0; i < 6; ++i) fork();
    if (getppid() == 1) {
        puts("ready");
        fflush(stdout);
    }
    for (;;) {
        const pid_t child = fork();
        if (child == 0) _exit(0);
        if (child > 0) waitpid(child, nullptr, 0);
    }
}

int files(int count, int bytes) {
    static char content[1 << 20];
    for (int i = 0; i < count; ++i) {
        char name[32];
        snprintf(name, sizeof name, "f%d", i);
        const int fd = open(name, O_WRONLY | O_CREAT, 0644);
        if (fd < 0 || write(fd, content, static_cast<size_t>(bytes)) != bytes) return 1;
        close(fd);
    }
    puts("written");
    fflush(stdout);
    for (;;) pause();
}

int pattern(int count) {
    char bytes[256];
    for (int i = 0; i < 256; ++i) bytes[i] = static_cast<char>(i);
    for (int i = 0; i < count; ++i) fwrite(bytes, 1, sizeof bytes, stdout);
    return 0;
}

int deaf() {
    signal(SIGTERM, SIG_IGN);
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}

int open_unlinked() {
    static char content[1 << 20];
    const int fd = open("nameless", O_WRONLY | O_CREAT, 0600);
    unlink("nameless");
    while (write(fd, content, sizeof content) > 0) {
    }
    for (;;) pause();
}

int eat(long bytes) {
    char* pages = static_cast<char*>(malloc(static_cast<size_t>(bytes)));
    if (pages == nullptr) return 1;
    for (long i = 0; i < bytes; i += 4096) static_cast<volatile char*>(pages)[i] = 1;
    puts("eaten");
    return 0;
}

int fds() {
    for (int fd = 0; fd < 1024; ++fd) {
        if (fcntl(fd, F_GETFD) >= 0) printf("%d\n", fd);
    }
    return 0;
}

int signals() {
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, nullptr, &blocked);
    for (int number = 1; number < NSIG; ++number) {
        struct sigaction action{};
        const bool known = sigaction(number, nullptr, &action) == 0;
        if (known && action.sa_handler != SIG_DFL) printf("%d ignored\n", number);
        if (sigismember(&blocked, number) == 1) printf("%d blocked\n", number);
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    const long first = argc > 2 ? atol(argv[2]) : 0;
    const long second = argc > 3 ? atol(argv[3]) : 0;
    const auto is = [what](const char* name) { return strcmp(what, name) == 0; };
    if (is("attack")) return attack();
    if (is("forge-term")) return forge_term();
    if (is("orphans")) return orphans(static_cast<int>(first));
    if (is("linger")) return linger();
    if (is("fork-bomb")) return fork_bomb();
    if (is("files")) return files(static_cast<int>(first), static_cast<int>(second));
    if (is("pattern")) return pattern(static_cast<int>(first));
    if (is("deaf")) return deaf();
    if (is("open-unlinked")) return open_unlinked();
    if (is("eat")) return eat(first);
    if (is("fds")) return fds();
    if (is("signals")) return signals();
    fprintf(stderr, "what?\n");
    return 64;
}
