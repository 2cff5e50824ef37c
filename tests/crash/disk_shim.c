// LD_PRELOAD library for an unmodified mayflyd: numbers every side effect of the process, and can
// kill the process at one of them, or let file operations fail.
//
// A side effect is a call that changes something under the data directory (write, fsync, rename,
// unlink, mkdir, truncate, the creation of a file), or a request to the engine that changes
// something there (POST, PUT, DELETE on its unix socket; the first bytes of the request count).
// They share one counter, which starts at 1.
//
//   SHIM_DATA=folder         the data directory, absolute
//   SHIM_ENGINE=path         the engine's unix socket; without it, its requests do not count
//   SHIM_LOG=file            one line for each effect: "N kind call path", and what was done to it
//   CRASH_AT=n               kill -9 ourselves at the n-th effect:
//   CRASH_WHEN=before|after  before it, or after it took effect and before we can know that: right
//                            after the system call; for a request, when its answer comes in
//   DISK_FAULT=enospc|eio    file operations fail with this error:
//   DISK_FAULT_OP=write|fsync|any   of this kind (any: also rename, mkdir, creation, ...)
//   DISK_FAULT_ON=db|spool|any      in this part of the data directory
//   DISK_FAULT_AT=n          from the n-th of these on (they have a count of their own)
//   DISK_FAULT_COUNT=n       so many; default 1; -1: for ever,
//   DISK_FAULT_HEAL=file     until this file exists
//
// Not counted: reads, and what is done through mmap (SQLite has no shared memory in this daemon).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { kFdMax = 4096, kShownMax = 120 };

enum Part { kForeign, kDatabase, kSpool, kEngine };
enum Op { kWrite, kSync, kChange };

struct Descriptor {
    enum Part part;
    long asked;     // engine: number of the request whose answer is awaited, 0 if not counted
    bool awaiting;  // engine: a request was begun, no byte of its answer has come
    char shown[kShownMax];
};

static struct Descriptor descriptors[kFdMax];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long effects;
static long faultable;
static int log_fd = -1;

static char data_dir[PATH_MAX];
static size_t data_dir_size;
static const char* engine_socket;
static long crash_at;
static bool crash_after;
static int fault_error;
static int fault_ops = -1;  // -1: any
static int fault_part = -1;
static long fault_at;
static long fault_count = 1;
static const char* heal_file;

static long number(const char* name, long otherwise) {
    const char* text = getenv(name);
    return text != NULL && *text != '\0' ? strtol(text, NULL, 10) : otherwise;
}

static bool is(const char* name, const char* value) {
    const char* text = getenv(name);
    return text != NULL && strcmp(text, value) == 0;
}

static void die(const char* why) {
    dprintf(2, "crash shim: %s\n", why);
    _exit(99);
}

__attribute__((constructor)) static void begin(void) {
    const char* dir = getenv("SHIM_DATA");
    if (dir == NULL || dir[0] != '/') die("SHIM_DATA must name the data directory, absolutely");
    snprintf(data_dir, sizeof data_dir, "%s", dir);
    data_dir_size = strlen(data_dir);
    engine_socket = getenv("SHIM_ENGINE");
    crash_at = number("CRASH_AT", 0);
    crash_after = is("CRASH_WHEN", "after");
    if (is("DISK_FAULT", "enospc")) fault_error = ENOSPC;
    if (is("DISK_FAULT", "eio")) fault_error = EIO;
    if (is("DISK_FAULT_OP", "write")) fault_ops = kWrite;
    if (is("DISK_FAULT_OP", "fsync")) fault_ops = kSync;
    if (is("DISK_FAULT_ON", "db")) fault_part = kDatabase;
    if (is("DISK_FAULT_ON", "spool")) fault_part = kSpool;
    fault_at = number("DISK_FAULT_AT", 1);
    fault_count = number("DISK_FAULT_COUNT", 1);
    heal_file = getenv("DISK_FAULT_HEAL");
    const char* log = getenv("SHIM_LOG");
    if (log != NULL) {
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                              0600);
        if (log_fd < 0) die("SHIM_LOG cannot be opened");
    }
}

// In one write, so that a line is whole whenever the process dies.
__attribute__((format(printf, 1, 2))) static void tell(const char* format, ...) {
    if (log_fd < 0) return;
    char line[PATH_MAX + 200];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (size > (int)sizeof line - 1) size = (int)sizeof line - 1;
    if (size > 0) syscall(SYS_write, log_fd, line, (size_t)size);
}

static void crash(long n, const char* when) {
    tell("%ld CRASH %s\n", n, when);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void* next(const char* name) {
    void* found = dlsym(RTLD_NEXT, name);
    if (found == NULL) die(name);
    return found;
}

// Looked up once for each function.
#define NEXT(name)                                            \
    static __typeof__(name)* real;                            \
    if (real == NULL) real = (__typeof__(name)*)(next(#name))

static enum Part part_of(const char* path) {
    if (path == NULL || data_dir_size == 0) return kForeign;
    if (strncmp(path, data_dir, data_dir_size) != 0) return kForeign;
    const char* rest = path + data_dir_size;
    if (*rest == '\0') return kDatabase;  // the folder itself: it holds the database's name
    if (*rest != '/') return kForeign;
    return strncmp(rest, "/spool", 6) == 0 ? kSpool : kDatabase;
}

static const char* shown_path(const char* path) {
    return path[data_dir_size] == '/' ? path + data_dir_size + 1 : ".";
}

// `path` seen from the folder `fd`, absolute. False: cannot be told.
static bool absolute(int fd, const char* path, char* out) {
    if (path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    char link[64];
    char folder[PATH_MAX];
    snprintf(link, sizeof link, fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(link, folder, sizeof folder - 1);
    if (size <= 0) return false;
    folder[size] = '\0';
    return snprintf(out, PATH_MAX, "%s/%s", folder, path) < PATH_MAX;
}

static struct Descriptor* descriptor(int fd) {
    return fd >= 0 && fd < kFdMax && descriptors[fd].part != kForeign ? &descriptors[fd] : NULL;
}

// ---- one effect

// Numbers it. The caller does it and calls `after`, unless the result is -1: then it fails with
// errno. Death comes here, if it comes before.
static long before(enum Part part, enum Op op, const char* call, const char* shown) {
    pthread_mutex_lock(&mutex);
    const long n = ++effects;
    tell("%ld %s %s %s\n", n, part == kDatabase ? "db" : part == kSpool ? "spool" : "engine", call,
         shown);
    if (n == crash_at && !crash_after) crash(n, "before");
    bool fails = false;
    if (fault_error != 0 && part != kEngine && (fault_ops < 0 || fault_ops == (int)op) &&
        (fault_part < 0 || fault_part == (int)part)) {
        const long k = ++faultable;
        fails = k >= fault_at && (fault_count < 0 || k < fault_at + fault_count);
        if (fails && heal_file != NULL && access(heal_file, F_OK) == 0) fails = false;
        if (fails) tell("%ld FAULT %s at %ld\n", n, strerror(fault_error), k);
    }
    pthread_mutex_unlock(&mutex);
    if (!fails) return n;
    errno = fault_error;
    return -1;
}

static void after(long n) {
    if (n == crash_at && crash_after) crash(n, "after");
}

// Around a call on `part_and_shown`: numbers it, does it, and returns its result.
#define EFFECT(part, op, call, shown, action)                 \
    do {                                                      \
        const long n = before(part, op, call, shown);         \
        if (n < 0) return -1;                                 \
        __typeof__(action) result = (action);                 \
        const int error = errno;                              \
        after(n);                                             \
        errno = error;                                        \
        return result;                                        \
    } while (0)

// ---- files

static void remember(int fd, const char* path) {
    if (fd < 0 || fd >= kFdMax) return;
    struct Descriptor* it = &descriptors[fd];
    memset(it, 0, sizeof *it);
    it->part = part_of(path);
    if (it->part != kForeign) snprintf(it->shown, sizeof it->shown, "%.119s", shown_path(path));
}

static int open_counted(int folder, const char* path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    const enum Part part = absolute(folder, path, whole) ? part_of(whole) : kForeign;
    long n = 0;
    // Only a creation changes anything.
    if (part != kForeign && (flags & O_CREAT) != 0 && access(whole, F_OK) != 0) {
        n = before(part, kChange, "create", shown_path(whole));
        if (n < 0) return -1;
    }
    const int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    const int error = errno;
    if (fd >= 0) remember(fd, part != kForeign ? whole : NULL);
    if (n > 0) after(n);
    errno = error;
    return fd;
}

#define OPEN(name, parameters, folder)                        \
    int name parameters {                                     \
        mode_t mode = 0;                                      \
        if ((flags & (O_CREAT | O_TMPFILE)) != 0) {           \
            va_list arguments;                                \
            va_start(arguments, flags);                       \
            mode = va_arg(arguments, mode_t);                 \
            va_end(arguments);                                \
        }                                                     \
        return open_counted(folder, path, flags, mode);       \
    }

OPEN(open, (const char* path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char* path, int flags, ...), AT_FDCWD)
OPEN(openat, (int folder, const char* path, int flags, ...), folder)
OPEN(openat64, (int folder, const char* path, int flags, ...), folder)

int close(int fd) {
    if (fd >= 0 && fd < kFdMax) memset(&descriptors[fd], 0, sizeof descriptors[fd]);
    return (int)syscall(SYS_close, fd);
}

#define ON_FILE(op, action)                                                         \
    struct Descriptor* it = descriptor(fd);                                         \
    if (it == NULL || it->part == kEngine) return (action);                         \
    EFFECT(it->part, op, __func__, it->shown, action)

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
    NEXT(pwrite);
    ON_FILE(kWrite, real(fd, data, size, at));
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
    NEXT(pwrite64);
    ON_FILE(kWrite, real(fd, data, size, at));
}

ssize_t pwritev(int fd, const struct iovec* pieces, int count, off_t at) {
    NEXT(pwritev);
    ON_FILE(kWrite, real(fd, pieces, count, at));
}

int ftruncate(int fd, off_t size) {
    NEXT(ftruncate);
    ON_FILE(kWrite, real(fd, size));
}

int ftruncate64(int fd, off64_t size) {
    NEXT(ftruncate64);
    ON_FILE(kWrite, real(fd, size));
}

int posix_fallocate(int fd, off_t at, off_t size) {
    NEXT(posix_fallocate);
    ON_FILE(kWrite, real(fd, at, size));
}

int fsync(int fd) {
    NEXT(fsync);
    ON_FILE(kSync, real(fd));
}

int fdatasync(int fd) {
    NEXT(fdatasync);
    ON_FILE(kSync, real(fd));
}

#define ON_PATH(folder, path, action)                                               \
    char whole[PATH_MAX];                                                           \
    const enum Part part = absolute(folder, path, whole) ? part_of(whole) : kForeign; \
    if (part == kForeign) return (action);                                          \
    EFFECT(part, kChange, __func__, shown_path(whole), action)

int rename(const char* from, const char* to) {
    NEXT(rename);
    ON_PATH(AT_FDCWD, to, real(from, to));
}

int renameat(int from_folder, const char* from, int folder, const char* to) {
    NEXT(renameat);
    ON_PATH(folder, to, real(from_folder, from, folder, to));
}

int unlink(const char* path) {
    NEXT(unlink);
    ON_PATH(AT_FDCWD, path, real(path));
}

int unlinkat(int folder, const char* path, int flags) {
    NEXT(unlinkat);
    ON_PATH(folder, path, real(folder, path, flags));
}

int rmdir(const char* path) {
    NEXT(rmdir);
    ON_PATH(AT_FDCWD, path, real(path));
}

int mkdir(const char* path, mode_t mode) {
    NEXT(mkdir);
    if (access(path, F_OK) == 0) return real(path, mode);  // EEXIST changes nothing
    ON_PATH(AT_FDCWD, path, real(path, mode));
}

// ---- the engine

int connect(int fd, const struct sockaddr* address, socklen_t size) {
    NEXT(connect);
    const struct sockaddr_un* at = (const struct sockaddr_un*)address;
    if (fd >= 0 && fd < kFdMax) {
        memset(&descriptors[fd], 0, sizeof descriptors[fd]);
        if (engine_socket != NULL && address->sa_family == AF_UNIX &&
            strcmp(at->sun_path, engine_socket) == 0) {
            descriptors[fd].part = kEngine;
        }
    }
    return real(fd, address, size);
}

static bool begins(const char* text, size_t size, const char* word) {
    const size_t length = strlen(word);
    return size >= length && memcmp(text, word, length) == 0;
}

// The first bytes that go out after an answer, or at all, are a request's head.
static void sending(struct Descriptor* it, const void* data, size_t size) {
    if (it->awaiting) return;
    it->awaiting = true;
    it->asked = 0;
    const char* text = data;
    if (!begins(text, size, "POST ") && !begins(text, size, "PUT ") &&
        !begins(text, size, "DELETE ")) {
        return;
    }
    size_t shown = 0;
    while (shown < size && shown < kShownMax - 1 && text[shown] != '\r') ++shown;
    memcpy(it->shown, text, shown);
    it->shown[shown] = '\0';
    it->asked = before(kEngine, kChange, "request", it->shown);
}

// Bytes of the answer, or its end: the engine has done it, and we would learn that now.
static void received(struct Descriptor* it, ssize_t size) {
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const int error = errno;
    if (it->awaiting && it->asked > 0) after(it->asked);
    it->awaiting = false;
    it->asked = 0;
    errno = error;
}

#define OUT(data, size, action)                                               \
    struct Descriptor* it = descriptor(fd);                                   \
    if (it != NULL && it->part == kEngine) sending(it, data, size);           \
    return (action)

#define IN(action)                                                            \
    struct Descriptor* it = descriptor(fd);                                   \
    const ssize_t got = (action);                                             \
    if (it != NULL && it->part == kEngine) received(it, got);                 \
    return got

ssize_t send(int fd, const void* data, size_t size, int flags) {
    NEXT(send);
    OUT(data, size, real(fd, data, size, flags));
}

ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
    NEXT(sendmsg);
    OUT(message->msg_iov[0].iov_base, message->msg_iov[0].iov_len, real(fd, message, flags));
}

ssize_t recv(int fd, void* data, size_t size, int flags) {
    NEXT(recv);
    IN(real(fd, data, size, flags));
}

ssize_t recvmsg(int fd, struct msghdr* message, int flags) {
    NEXT(recvmsg);
    IN(real(fd, message, flags));
}

ssize_t read(int fd, void* data, size_t size) {
    NEXT(read);
    IN(real(fd, data, size));
}

ssize_t readv(int fd, const struct iovec* pieces, int count) {
    NEXT(readv);
    IN(real(fd, pieces, count));
}

// Files and sockets both.
ssize_t write(int fd, const void* data, size_t size) {
    NEXT(write);
    struct Descriptor* it = descriptor(fd);
    if (it != NULL && it->part == kEngine) sending(it, data, size);
    if (it == NULL || it->part == kEngine) return real(fd, data, size);
    EFFECT(it->part, kWrite, "write", it->shown, real(fd, data, size));
}

ssize_t writev(int fd, const struct iovec* pieces, int count) {
    NEXT(writev);
    struct Descriptor* it = descriptor(fd);
    if (it != NULL && it->part == kEngine) sending(it, pieces[0].iov_base, pieces[0].iov_len);
    if (it == NULL || it->part == kEngine) return real(fd, pieces, count);
    EFFECT(it->part, kWrite, "writev", it->shown, real(fd, pieces, count));
}
