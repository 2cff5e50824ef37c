#include "api/cli/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "api/cli/exit_code.h"
#include "api/cli/text.h"

namespace mayfly::api::cli {
namespace {

constexpr const char* kTerminal = "/dev/tty";
constexpr std::string_view kEraseLine = "\r\x1b[K";

int signal_pipe = -1;

extern "C" void on_signal(int number) {
    const int saved = errno;
    const auto byte = static_cast<char>(number);
    (void)!::write(signal_pipe, &byte, 1);
    errno = saved;
}

winsize size_of(int fd) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
    return size;
}

void handle(int number, void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(number, &action, nullptr);
}

}  // namespace

void write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(n));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN) {
            pollfd wait = {fd, POLLOUT, 0};
            ::poll(&wait, 1, 1'000);
            continue;
        }
        if (fd == STDERR_FILENO) return;  // there is nobody left to tell
        const auto why = std::error_code(errno, std::generic_category()).message();
        fmt::print(stderr, "mayfly: cannot write the output: {}\n", why);
        std::_Exit(kExitUsage);
    }
}

bool is_terminal(int fd) { return ::isatty(fd) == 1; }
std::size_t columns_of(int fd) { return is_terminal(fd) ? size_of(fd).ws_col : 0; }
std::size_t lines_of(int fd) {
    constexpr std::size_t kUnknown = 24;  // a serial line, say, does not know its size
    const std::size_t lines = is_terminal(fd) ? size_of(fd).ws_row : 0;
    return lines > 0 ? lines : kUnknown;
}

std::int64_t wall_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::int64_t steady_ms() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

Voice::Voice(bool quiet, bool colours)
    : quiet_(quiet), terminal_(is_terminal(STDERR_FILENO)), colours_(colours && terminal_) {}

void Voice::clear() {
    if (transient_) write_all(STDERR_FILENO, kEraseLine);
    transient_ = false;
}

void Voice::pass_on(bool is_stderr, std::string_view bytes) {
    if (bytes.empty()) return;
    clear();
    write_all(is_stderr ? STDERR_FILENO : STDOUT_FILENO, bytes);
    // On a terminal both end up on one screen.
    if (is_stderr || (terminal_ && is_terminal(STDOUT_FILENO))) midline_ = bytes.back() != '\n';
}

void Voice::begin_line() {
    clear();
    if (midline_) write_all(STDERR_FILENO, "\n");
    midline_ = false;
}

void Voice::error(std::string_view text) {
    begin_line();
    std::string line = coloured(colours_, Colour::red, "mayfly:") + " ";
    line += text;
    if (!line.ends_with('\n')) line += '\n';
    write_all(STDERR_FILENO, line);
}

void Voice::say(std::string_view text) {
    if (quiet_) return;
    begin_line();
    std::string line = coloured(colours_, Colour::dim, "mayfly:") + " ";
    line += text;
    if (!line.ends_with('\n')) line += '\n';
    write_all(STDERR_FILENO, line);
}

void Voice::status(std::string_view text) {
    if (quiet_ || text == status_) return;
    status_ = text;
    if (terminal_) {
        progress(text);
    } else {
        say(text);
    }
}

void Voice::progress(std::string_view text) {
    if (quiet_ || !terminal_) return;
    if (!transient_) begin_line();
    const std::size_t columns = columns_of(STDERR_FILENO);
    std::string line(kEraseLine);
    line += coloured(colours_, Colour::dim, "mayfly:") + " ";
    // Colours have no width that `cut` would know of; a coloured text is short.
    line += text.find('\x1b') == text.npos && columns > 10 ? cut(text, columns - 9)
                                                           : std::string(text);
    write_all(STDERR_FILENO, line);
    transient_ = true;
}

Interrupts::Interrupts() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
    fd_ = ends[0];
    signal_pipe = ends[1];
    handle(SIGINT, on_signal);
    handle(SIGTERM, on_signal);
}

Interrupts::~Interrupts() {
    if (fd_ < 0) return;
    handle(SIGINT, SIG_DFL);
    handle(SIGTERM, SIG_DFL);
    ::close(fd_);
    ::close(signal_pipe);
    signal_pipe = -1;
}

int Interrupts::take() {
    char number = 0;
    return fd_ >= 0 && ::read(fd_, &number, 1) == 1 ? number : 0;
}

bool has_person() {
    if (!is_terminal(STDERR_FILENO)) return false;
    const int fd = ::open(kTerminal, O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return false;
    const bool ours = ::tcgetpgrp(fd) == ::getpgrp();
    ::close(fd);
    return ours;
}

Reply ask_person(Interrupts& interrupts) {
    const int fd = ::open(kTerminal, O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return Reply::detach;
    ::tcflush(fd, TCIFLUSH);  // what was typed before was no answer to this
    write_all(fd, "\r\nmayfly: detach (d), cancel (c) or go on (Enter)? ");
    auto reply = Reply::detach;
    while (true) {
        pollfd fds[2] = {{fd, POLLIN, 0}, {interrupts.fd(), POLLIN, 0}};
        if (::poll(fds, 2, -1) < 0 && errno == EINTR) continue;
        if (fds[1].revents != 0) {
            (void)interrupts.take();
            write_all(fd, "\r\n");
            break;
        }
        char line[256];
        const ssize_t n = ::read(fd, line, sizeof line);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) break;
        if (line[0] == '\n' || line[0] == 'd' || line[0] == 'D' || line[0] == 'c' ||
            line[0] == 'C') {
            if (line[0] == '\n') reply = Reply::go_on;
            if (line[0] == 'c' || line[0] == 'C') reply = Reply::cancel;
            break;
        }
        write_all(fd, "mayfly: d, c or Enter? ");
    }
    ::close(fd);
    return reply;
}

}  // namespace mayfly::api::cli
