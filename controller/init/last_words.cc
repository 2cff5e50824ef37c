#include "controller/init/last_words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/init/boot_clock.h"
#include "controller/init/complain.h"

namespace mayfly::controller {
namespace {

constexpr const char* kRecordName = "exit.json";
constexpr const char* kResultName = "result.json";
constexpr std::size_t kRecordMaxBytes = 4'096;  // kExitRecordMaxBytes of the reader
// One byte more than a reader takes (1 MiB): too large is seen, and never copied whole.
constexpr std::int64_t kResultCopyMaxBytes = (1 << 20) + 1;

struct Name {
    char text[32];
};

Name fresh_name() {
    std::uint64_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number) {
        number = static_cast<std::uint64_t>(boot_us());
    }
    Name name{};
    const auto digits = static_cast<unsigned long long>(number);
    snprintf(name.text, sizeof name.text, ".init-%016llx", digits);
    return name;
}

// A folder full of things cannot be removed in one step, but it can be renamed.
void clear_away(int dir_fd, const char* name) {
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT) return;
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0) return;
    renameat(dir_fd, name, dir_fd, fresh_name().text);
}

bool put_in_place(int dir_fd, const char* from, const char* name) {
    if (renameat(dir_fd, from, dir_fd, name) == 0) return true;
    clear_away(dir_fd, name);
    return renameat(dir_fd, from, dir_fd, name) == 0;
}

bool write_all(int fd, const char* bytes, std::size_t count) {
    while (count > 0) {
        const ssize_t put = write(fd, bytes, count);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        bytes += put;
        count -= static_cast<std::size_t>(put);
    }
    return true;
}

int create_file(int dir_fd, const Name& name) {
    return openat(dir_fd, name.text, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
}

bool copy_some(int from, int to, std::int64_t most) {
    static char chunk[64 << 10];
    while (most > 0) {
        const auto room = static_cast<std::size_t>(most) < sizeof chunk
                              ? static_cast<std::size_t>(most)
                              : sizeof chunk;
        const ssize_t got = read(from, chunk, room);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return false;
        if (got == 0) return true;
        if (!write_all(to, chunk, static_cast<std::size_t>(got))) return false;
        most -= got;
    }
    return true;
}

// Opens what the script left as result.json if it is a regular file; -1 otherwise.
int open_result(int work_fd, unsigned mode) {
    constexpr int kHow = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    if (!S_ISREG(mode)) return -1;
    int fd = openat(work_fd, kResultName, kHow);
    if (fd < 0 && errno == EACCES) {
        fchmodat(work_fd, kResultName, (mode & 07777) | 0400, 0);
        fd = openat(work_fd, kResultName, kHow);
    }
    return fd;
}

// Gives the reserved file a name; false where it has none to get.
bool name_reserved(int dir_fd, int reserved_fd, const Name& name) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", reserved_fd);
    return linkat(AT_FDCWD, path, dir_fd, name.text, AT_SYMLINK_FOLLOW) == 0 ||
           linkat(reserved_fd, "", dir_fd, name.text, AT_EMPTY_PATH) == 0;
}

int render(const LastWords& words, char* into, std::size_t room) {
    const auto number = [](std::int64_t value) { return static_cast<long long>(value); };
    return snprintf(
        into, room,
        "{\"v\":1,\"exit_code\":%d,\"signal\":%d,\"exec_errno\":%d,\"tripped\":\"%s\","
        "\"term_from_outside\":%s,\"wall_us\":%lld,\"cpu_us\":%lld,\"memory_peak_bytes\":%lld,"
        "\"oom_kills\":%lld,\"work_bytes\":%lld,"
        "\"output_files\":%lld,\"output_bytes\":%lld,"
        "\"stdout\":{\"total\":%lld,\"kept\":%lld,\"note\":%lld},"
        "\"stderr\":{\"total\":%lld,\"kept\":%lld,\"note\":%lld}}\n",
        words.exit_code, words.signal, words.exec_errno, words.tripped,
        words.term_from_outside ? "true" : "false", number(words.wall_us), number(words.cpu_us),
        number(words.memory_peak_bytes), number(words.oom_kills), number(words.work_bytes),
        number(words.output_files), number(words.output_bytes), number(words.out.total),
        number(words.out.kept), number(words.out.note), number(words.err.total),
        number(words.err.kept), number(words.err.note));
}

bool write_and_sync(int fd, const char* text, std::size_t length) {
    return write_all(fd, text, length) && ftruncate(fd, static_cast<off_t>(length)) == 0 &&
           fsync(fd) == 0;
}

}  // namespace

int reserve_record(int record_dir_fd) {
    const int fd = openat(record_dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) return -1;
    // Nothing is lost where it is refused: the file is there all the same.
    [[maybe_unused]] const int reserved =
        fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(kRecordMaxBytes));
    return fd;
}

void save_result(int work_fd, int record_dir_fd) {
    clear_away(record_dir_fd, kResultName);  // ours alone; the script's goes to /work/result.json
    struct stat status{};
    if (fstatat(work_fd, kResultName, &status, AT_SYMLINK_NOFOLLOW) != 0) return;
    const int from = open_result(work_fd, status.st_mode);
    if (from < 0) {
        mkdirat(record_dir_fd, kResultName, 0755);
        return;
    }
    const Name name = fresh_name();
    const int to = create_file(record_dir_fd, name);
    bool copied = to >= 0 && copy_some(from, to, kResultCopyMaxBytes) && fsync(to) == 0;
    if (to >= 0) close(to);
    close(from);
    copied = copied && put_in_place(record_dir_fd, name.text, kResultName);
    if (copied) return;
    // No room for a copy: the file itself will do, nobody is left to miss it.
    unlinkat(record_dir_fd, name.text, 0);
    if (renameat(work_fd, kResultName, record_dir_fd, kResultName) == 0) return;
    complain("cannot save %s: %s", kResultName, strerrordesc_np(errno));
    mkdirat(record_dir_fd, kResultName, 0755);
}

bool write_record(int record_dir_fd, int reserved_fd, const LastWords& words) {
    char text[kRecordMaxBytes];
    const int rendered = render(words, text, sizeof text);
    const auto length = static_cast<std::size_t>(rendered);
    const Name name = fresh_name();
    bool written = reserved_fd >= 0 && write_and_sync(reserved_fd, text, length) &&
                   name_reserved(record_dir_fd, reserved_fd, name);
    if (!written) {
        const int fd = create_file(record_dir_fd, name);
        written = fd >= 0 && write_and_sync(fd, text, length);
    }
    if (written && put_in_place(record_dir_fd, name.text, kRecordName) &&
        fsync(record_dir_fd) == 0) {
        return true;
    }
    complain("cannot record the exit: %s", strerrordesc_np(errno));
    unlinkat(record_dir_fd, name.text, 0);
    return false;
}

}  // namespace mayfly::controller
