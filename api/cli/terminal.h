// Our own ends: stdout, stderr, the person at the terminal, and the signals that come from there.
// One thread. What is written to stdout goes there at once and unchanged.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mayfly::api::cli {

// All of it, to a file descriptor. A reader that is gone ends the process by SIGPIPE; any other
// failure ends it with kExitUsage and a message.
void write_all(int fd, std::string_view bytes);

[[nodiscard]] bool is_terminal(int fd);
// Of the terminal behind `fd`; 0 when it is none, or does not know its width.
[[nodiscard]] std::size_t columns_of(int fd);
// 24 when it does not know.
[[nodiscard]] std::size_t lines_of(int fd);
[[nodiscard]] std::int64_t wall_ms();    // since 1970
[[nodiscard]] std::int64_t steady_ms();  // monotonic

// What we say on stderr. A line that changes in place on a terminal is cleared before anything
// else is written there; without a terminal such lines are lines.
class Voice {
public:
    // `quiet`: only errors.
    Voice(bool quiet, bool colours);

    void error(std::string_view text);   // "mayfly: ..." always
    void say(std::string_view text);     // "mayfly: ..." unless quiet
    void status(std::string_view text);  // replaces the status before; the same text is told once
    void progress(std::string_view text);  // only on a terminal; replaces the one before
    // Before somebody else writes to the terminal.
    void clear();
    // The script's own bytes, unchanged. What we say next begins on a line of its own.
    void pass_on(bool is_stderr, std::string_view bytes);
    [[nodiscard]] bool on_terminal() const { return terminal_; }
    [[nodiscard]] bool colours() const { return colours_; }

private:
    void begin_line();

    bool quiet_;
    bool terminal_;
    bool colours_;
    bool transient_ = false;  // a line is there that is to be cleared
    bool midline_ = false;    // the script's last line on stderr has no end yet
    std::string status_;
};

// INT and TERM as numbers in a pipe, so that they are handled between two reads of the network.
class Interrupts {
public:
    Interrupts();
    ~Interrupts();
    Interrupts(const Interrupts&) = delete;
    Interrupts& operator=(const Interrupts&) = delete;

    [[nodiscard]] int fd() const { return fd_; }  // readable when one has come
    // The next one, 0 when there is none.
    [[nodiscard]] int take();

private:
    int fd_ = -1;
};

enum class Reply { detach, cancel, go_on };
// Asks the person at the controlling terminal. A signal meanwhile, or the terminal's end, is
// `detach`.
[[nodiscard]] Reply ask_person(Interrupts& interrupts);
[[nodiscard]] bool has_person();

}  // namespace mayfly::api::cli
