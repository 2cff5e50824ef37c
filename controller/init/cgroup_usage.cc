#include "controller/init/cgroup_usage.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <initializer_list>

namespace mayfly::controller {
namespace {

constexpr std::int64_t kUnknown = -1;

// Digits from `text`; kUnknown when there are none ("max") or too many.
std::int64_t parse_number(const char* text) {
    if (*text < '0' || *text > '9') return kUnknown;
    std::int64_t value = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        if (__builtin_mul_overflow(value, 10, &value)) return kUnknown;
        if (__builtin_add_overflow(value, *text - '0', &value)) return kUnknown;
    }
    return value;
}

// The number after `key` at the beginning of a line, or the first of the file when `key` is "".
std::int64_t read_number(const char* path, const char* key = "") {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kUnknown;
    char text[2048];
    const ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return kUnknown;
    text[got] = '\0';
    const std::size_t key_length = strlen(key);
    for (const char* line = text; line != nullptr; line = strchr(line, '\n')) {
        if (*line == '\n') ++line;
        if (strncmp(line, key, key_length) != 0) continue;
        if (key_length == 0) return parse_number(line);
        if (line[key_length] == ' ') return parse_number(line + key_length + 1);
    }
    return kUnknown;
}

std::int64_t cgroup_cpu_us() {
    const std::int64_t v2 = read_number("/sys/fs/cgroup/cpu.stat", "usage_usec");
    if (v2 != kUnknown) return v2;
    for (const char* path :
         {"/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage"}) {
        const std::int64_t ns = read_number(path);
        if (ns != kUnknown) return ns / 1'000;
    }
    return kUnknown;
}

std::int64_t cgroup_peak_bytes() {
    const std::int64_t v2 = read_number("/sys/fs/cgroup/memory.peak");
    if (v2 != kUnknown) return v2;
    return read_number("/sys/fs/cgroup/memory/memory.max_usage_in_bytes");
}

std::int64_t cgroup_oom_kills() {
    const std::int64_t v2 = read_number("/sys/fs/cgroup/memory.events", "oom_kill");
    if (v2 != kUnknown) return v2;
    return read_number("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill");
}

std::int64_t microseconds(const timeval& time) {
    return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec;
}

}  // namespace

Usage usage_so_far() {
    rusage children{};
    getrusage(RUSAGE_CHILDREN, &children);
    Usage usage = {.cpu_us = cgroup_cpu_us(),
                   .memory_peak_bytes = cgroup_peak_bytes(),
                   .oom_kills = cgroup_oom_kills()};
    if (usage.cpu_us == kUnknown) {
        usage.cpu_us = microseconds(children.ru_utime) + microseconds(children.ru_stime);
    }
    if (usage.memory_peak_bytes == kUnknown) {
        usage.memory_peak_bytes = std::int64_t{children.ru_maxrss} * 1'024;
    }
    if (usage.oom_kills == kUnknown) usage.oom_kills = 0;
    return usage;
}

std::int64_t memory_limit_bytes() {
    std::int64_t limit = read_number("/sys/fs/cgroup/memory.max");
    if (limit == kUnknown) limit = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    return limit == kUnknown ? INT64_MAX : limit;
}

}  // namespace mayfly::controller
