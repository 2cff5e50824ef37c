// Time and randomness as arguments. Everything that asks "what time is it?" or "give me a nonce"
// does it through these two interfaces, so that a test or the simulator can own both. Pure files
// never see them: they get values.
#pragma once

#include <cstdint>
#include <string>

namespace mayfly::store {

// Milliseconds since 1970-01-01 UTC. What is persisted and shown; deadlines are absolute in this
// unit.
using UnixMs = std::int64_t;

class Clock {
public:
    virtual ~Clock() = default;
    // Wall time. May jump; used for what is persisted.
    [[nodiscard]] virtual UnixMs now_ms() const = 0;
    // Monotonic, includes suspend (CLOCK_BOOTTIME). Used for durations inside one process.
    [[nodiscard]] virtual std::int64_t steady_us() const = 0;
};

class SystemClock final : public Clock {
public:
    [[nodiscard]] UnixMs now_ms() const override;
    [[nodiscard]] std::int64_t steady_us() const override;
};

class Random {
public:
    virtual ~Random() = default;
    [[nodiscard]] virtual std::uint64_t next_u64() = 0;
};

// getrandom(2). Thread-safe. Aborts when the kernel cannot give randomness: a nonce that repeats
// is worse.
class SystemRandom final : public Random {
public:
    [[nodiscard]] std::uint64_t next_u64() override;
};

// "2025-03-01T12:00:00.123Z" (RFC 3339, UTC, milliseconds); before 1970 is 1970.
[[nodiscard]] std::string rfc3339(UnixMs ms);

// A run id: ULID, 26 characters, lower case Crockford base 32; sorts by creation time.
[[nodiscard]] std::string make_run_id(UnixMs now_ms, Random& random);
// True for exactly the strings that make_run_id can return; everything else is not an id and
// touches nothing.
[[nodiscard]] bool is_run_id(const std::string& text);
// 16 lower-case hex digits, for container and volume names fixed before any engine call.
[[nodiscard]] std::string make_nonce(Random& random);

}  // namespace mayfly::store
