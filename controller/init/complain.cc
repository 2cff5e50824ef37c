#include "controller/init/complain.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

namespace mayfly::controller {
namespace {

std::int64_t bytes_so_far = 0;

}  // namespace

std::int64_t complained_bytes() { return bytes_so_far; }

void complain(const char* format, ...) {
    char line[1024] = "mayfly: ";
    constexpr int kPrefix = 8;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line + kPrefix, sizeof line - kPrefix - 1, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    length += kPrefix;
    if (length > static_cast<int>(sizeof line) - 2) length = static_cast<int>(sizeof line) - 2;
    line[length++] = '\n';
    // At most PIPE_BUF bytes: whole or not at all.
    const ssize_t written = write(STDERR_FILENO, line, static_cast<unsigned>(length));
    if (written > 0) bytes_so_far += written;
}

}  // namespace mayfly::controller
