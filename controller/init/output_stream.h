// One of the script's two output streams on its way to the engine's log: counted whole, the first
// half of the budget passed on as it comes, the last half kept in a ring and passed on at the end,
// the middle dropped. A run is never killed for printing, and never waits for an engine that has
// stopped reading:
//
// - while the engine's pipe is full the script waits, as it would for any pipe, at most kStallMs;
// - then the head is over; what comes from now on goes to the ring and the script runs free.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>

namespace mayfly::controller {

// Made to be static: zero until open(), so that its buffer is no part of the program file.
class OutputStream {
public:
    // For the engine's pipe to take a byte, during the run and at the end.
    static constexpr std::int64_t kStallMs = 5'000;

    // `from`: our end of the script's pipe, non-blocking. `to`: the engine's pipe; made
    // non-blocking. Half of `budget_bytes` is head, half tail, but no more tail than
    // `tail_max_bytes`.
    void open(int from, int to, std::int64_t budget_bytes, std::int64_t tail_max_bytes);

    [[nodiscard]] pollfd wanted() const;
    // When step() has something to do although no descriptor moved; INT64_MAX = never.
    [[nodiscard]] std::int64_t wake_ms() const;
    // Moves what can be moved now, a bounded amount.
    void step(std::int64_t now_ms);

    // Everybody who could write is dead: moves what the pipe still holds, then the note about the
    // gap and the tail. Gives up when the engine takes nothing for kStallMs, or at `until_ms`.
    void finish(std::int64_t until_ms);

    [[nodiscard]] std::int64_t total() const { return total_; }
    [[nodiscard]] std::int64_t kept() const { return kept_; }
    [[nodiscard]] std::int64_t note() const { return note_; }

private:
    enum class Moved { some, none };
    static constexpr std::size_t kChunkBytes = 64 << 10;
    static constexpr int kReadsPerStep = 4;

    Moved read_once(std::int64_t now_ms);
    Moved read_to_ring();
    void write_waiting(std::int64_t now_ms);
    void end_head();
    void append_to_ring(const char* bytes, std::size_t count);
    void account_ring(std::size_t count);
    // How much of it the engine took.
    std::size_t write_patiently(const char* bytes, std::size_t count, std::int64_t until_ms);

    int from_ = 0;
    int to_ = 0;
    bool reading_ = false;     // opened, and the script's end may bring more
    bool unwritable_ = false;  // nobody reads the engine's pipe any more
    std::int64_t head_left_ = 0;
    std::int64_t total_ = 0;
    std::int64_t kept_ = 0;
    std::int64_t note_ = 0;
    std::int64_t dropped_ = 0;

    char chunk_[kChunkBytes];
    std::size_t waiting_at_ = 0;  // of the head, in chunk_: read, and not yet taken by the engine
    std::size_t waiting_bytes_ = 0;
    std::int64_t waiting_since_ms_ = 0;

    char* ring_ = nullptr;  // pages come as they are first written
    std::size_t ring_bytes_ = 0;
    std::size_t ring_next_ = 0;
    std::size_t ring_used_ = 0;
};

}  // namespace mayfly::controller
