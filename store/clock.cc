#include "store/clock.h"

#include <sys/random.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>

namespace mayfly::store {
namespace {

constexpr std::string_view kCrockford = "0123456789abcdefghjkmnpqrstvwxyz";
constexpr std::size_t kRunIdSize = 26;
constexpr std::size_t kRunIdTimeSize = 10;

std::int64_t read_clock_ns(clockid_t id) {
    timespec ts{};
    if (clock_gettime(id, &ts) != 0) std::abort();
    return static_cast<std::int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

}  // namespace

UnixMs SystemClock::now_ms() const { return read_clock_ns(CLOCK_REALTIME) / 1'000'000; }
std::int64_t SystemClock::steady_us() const { return read_clock_ns(CLOCK_BOOTTIME) / 1'000; }

std::uint64_t SystemRandom::next_u64() {
    std::uint64_t value = 0;
    if (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) std::abort();
    return value;
}

std::string rfc3339(UnixMs ms) {
    const UnixMs shown = ms >= 0 ? ms : 0;
    const std::time_t seconds = shown / 1'000;
    std::tm at{};
    gmtime_r(&seconds, &at);
    char text[64];
    std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", at.tm_year + 1900,
                  at.tm_mon + 1, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec,
                  static_cast<int>(shown % 1'000));
    return text;
}

std::string make_run_id(UnixMs now_ms, Random& random) {
    std::string id(kRunIdSize, '0');
    auto time = static_cast<std::uint64_t>(now_ms);
    for (std::size_t i = kRunIdTimeSize; i-- > 0; time >>= 5U) id[i] = kCrockford[time & 31U];
    for (std::size_t i = kRunIdTimeSize; i < kRunIdSize;) {
        auto bits = random.next_u64();
        for (int n = 0; n < 8 && i < kRunIdSize; ++n, ++i, bits >>= 5U)
            id[i] = kCrockford[bits & 31U];
    }
    return id;
}

bool is_run_id(const std::string& text) {
    return text.size() == kRunIdSize && text.find_first_not_of(kCrockford) == std::string::npos;
}

std::string make_nonce(Random& random) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx",
                  static_cast<unsigned long long>(random.next_u64()));
    return text;
}

}  // namespace mayfly::store
