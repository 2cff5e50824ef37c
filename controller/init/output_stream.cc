#include "controller/init/output_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "controller/init/boot_clock.h"

namespace mayfly::controller {
namespace {

template <class T>
T smaller(T a, T b) {
    return a < b ? a : b;
}

ssize_t read_some(int fd, char* into, std::size_t room) {
    ssize_t got = 0;
    do {
        got = read(fd, into, room);
    } while (got < 0 && errno == EINTR);
    return got;
}

}  // namespace

void OutputStream::open(int from, int to, std::int64_t budget_bytes, std::int64_t tail_max_bytes) {
    from_ = from;
    to_ = to;
    reading_ = true;
    head_left_ = budget_bytes - budget_bytes / 2;
    fcntl(to, F_SETFL, fcntl(to, F_GETFL) | O_NONBLOCK);
    const auto tail = static_cast<std::size_t>(smaller(budget_bytes / 2, tail_max_bytes));
    if (tail == 0) return;
    void* pages = mmap(nullptr, tail, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return;  // no tail then; the note will tell
    ring_ = static_cast<char*>(pages);
    ring_bytes_ = tail;
}

pollfd OutputStream::wanted() const {
    if (waiting_bytes_ > 0) return {.fd = to_, .events = POLLOUT, .revents = 0};
    return {.fd = reading_ ? from_ : -1, .events = POLLIN, .revents = 0};
}

std::int64_t OutputStream::wake_ms() const {
    return waiting_bytes_ > 0 ? waiting_since_ms_ + kStallMs : INT64_MAX;
}

void OutputStream::step(std::int64_t now_ms) {
    if (waiting_bytes_ > 0) {
        write_waiting(now_ms);
        if (waiting_bytes_ > 0) {
            if (now_ms - waiting_since_ms_ < kStallMs) return;
            end_head();
        }
    }
    for (int i = 0; i < kReadsPerStep && waiting_bytes_ == 0; ++i) {
        if (read_once(now_ms) == Moved::none) break;
    }
}

OutputStream::Moved OutputStream::read_once(std::int64_t now_ms) {
    if (!reading_) return Moved::none;
    if (head_left_ == 0) return read_to_ring();
    const auto room = smaller(kChunkBytes, static_cast<std::size_t>(head_left_));
    const ssize_t got = read_some(from_, chunk_, room);
    if (got <= 0) {
        reading_ = got < 0 && errno == EAGAIN;
        return Moved::none;
    }
    total_ += got;
    head_left_ -= got;
    waiting_at_ = 0;
    waiting_bytes_ = static_cast<std::size_t>(got);
    waiting_since_ms_ = now_ms;
    write_waiting(now_ms);
    return Moved::some;
}

// Straight into place: a script that prints without end costs one copy, not two.
OutputStream::Moved OutputStream::read_to_ring() {
    char* into = ring_bytes_ > 0 ? ring_ + ring_next_ : chunk_;
    const std::size_t room =
        ring_bytes_ > 0 ? smaller(kChunkBytes, ring_bytes_ - ring_next_) : kChunkBytes;
    const ssize_t got = read_some(from_, into, room);
    if (got <= 0) {
        reading_ = got < 0 && errno == EAGAIN;
        return Moved::none;
    }
    total_ += got;
    account_ring(static_cast<std::size_t>(got));
    return Moved::some;
}

void OutputStream::account_ring(std::size_t count) {
    if (ring_bytes_ == 0) {
        dropped_ += static_cast<std::int64_t>(count);
        return;
    }
    ring_next_ = (ring_next_ + count) % ring_bytes_;
    ring_used_ += count;
    if (ring_used_ <= ring_bytes_) return;
    dropped_ += static_cast<std::int64_t>(ring_used_ - ring_bytes_);
    ring_used_ = ring_bytes_;
}

void OutputStream::append_to_ring(const char* bytes, std::size_t count) {
    while (count > 0) {
        std::size_t part = count;
        if (ring_bytes_ > 0) {
            part = smaller(count, ring_bytes_ - ring_next_);
            memcpy(ring_ + ring_next_, bytes, part);
        }
        account_ring(part);
        bytes += part;
        count -= part;
    }
}

void OutputStream::write_waiting(std::int64_t now_ms) {
    while (waiting_bytes_ > 0) {
        const ssize_t put = write(to_, chunk_ + waiting_at_, waiting_bytes_);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) return;
        if (put < 0) {
            unwritable_ = true;
            end_head();
            return;
        }
        kept_ += put;
        waiting_at_ += static_cast<std::size_t>(put);
        waiting_bytes_ -= static_cast<std::size_t>(put);
        waiting_since_ms_ = now_ms;
    }
}

// The head stays an unbroken beginning: what the engine would not take is the first of the tail.
void OutputStream::end_head() {
    head_left_ = 0;
    append_to_ring(chunk_ + waiting_at_, waiting_bytes_);
    waiting_bytes_ = 0;
}

void OutputStream::finish(std::int64_t until_ms) {
    for (;;) {
        const std::int64_t now_ms = boot_ms();
        if (waiting_bytes_ > 0) {
            pollfd slot = wanted();
            poll(&slot, 1, static_cast<int>(kStallMs / 10));
            const std::int64_t kept_before = kept_;
            step(boot_ms());
            const bool gave_up = waiting_bytes_ == 0 && kept_ == kept_before;
            if (gave_up || boot_ms() >= until_ms) {
                end_head();
                while (read_once(now_ms) == Moved::some) {  // only to be counted
                }
                return;
            }
        } else if (read_once(now_ms) == Moved::none) {
            break;
        }
    }
    if (unwritable_) return;
    if (dropped_ > 0) {
        char note[64];
        const int length = snprintf(note, sizeof note, "\n[mayfly: %lld bytes not kept]\n",
                                    static_cast<long long>(dropped_));
        const auto whole = static_cast<std::size_t>(length);
        const std::size_t put = write_patiently(note, whole, until_ms);
        note_ = static_cast<std::int64_t>(put);
        if (put < whole) return;
    }
    const std::size_t oldest = ring_used_ < ring_bytes_ ? 0 : ring_next_;
    const std::size_t first = smaller(ring_used_, ring_bytes_ - oldest);
    const std::size_t put = write_patiently(ring_ + oldest, first, until_ms);
    kept_ += static_cast<std::int64_t>(put);
    if (put < first) return;
    kept_ += static_cast<std::int64_t>(write_patiently(ring_, ring_used_ - first, until_ms));
}

std::size_t OutputStream::write_patiently(const char* bytes, std::size_t count,
                                          std::int64_t until_ms) {
    std::size_t done = 0;
    while (done < count) {
        const ssize_t put = write(to_, bytes + done, count - done);
        if (put > 0) {
            done += static_cast<std::size_t>(put);
            continue;
        }
        if (put < 0 && errno == EINTR) continue;
        if (put == 0 || errno != EAGAIN) break;
        const std::int64_t patience_ms = smaller(kStallMs, until_ms - boot_ms());
        if (patience_ms <= 0) break;
        pollfd slot = {.fd = to_, .events = POLLOUT, .revents = 0};
        if (poll(&slot, 1, static_cast<int>(patience_ms)) == 0) break;
    }
    return done;
}

}  // namespace mayfly::controller
