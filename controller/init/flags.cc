#include "controller/init/flags.h"

#include <string.h>

#include "controller/init/complain.h"

namespace mayfly::controller {
namespace {

// A year of milliseconds, a terabyte and more: sums of two never overflow.
constexpr std::int64_t kMaxValue = std::int64_t{1} << 50;

bool parse_value(const char* flag, const char* text, std::int64_t smallest, std::int64_t& into) {
    std::int64_t value = 0;
    const char* at = text;
    for (; *at >= '0' && *at <= '9' && value <= kMaxValue; ++at) value = value * 10 + (*at - '0');
    if (at == text || *at != '\0' || value < smallest || value > kMaxValue) {
        complain("%s: '%s' is not a whole number from %lld to %lld", flag, text,
                 static_cast<long long>(smallest), static_cast<long long>(kMaxValue));
        return false;
    }
    into = value;
    return true;
}

struct Number {
    const char* flag;
    std::int64_t Flags::* field;
    std::int64_t smallest;
};

constexpr Number kNumbers[] = {
    {"--run-ms", &Flags::run_ms, 1},
    {"--grace-ms", &Flags::grace_ms, 0},
    {"--log-bytes", &Flags::log_bytes, 0},
    {"--work-bytes", &Flags::work_bytes, 1},
};

// The text behind "<flag>="; null when `argument` is another flag.
const char* value_of(const char* argument, const char* flag) {
    const std::size_t length = strlen(flag);
    if (strncmp(argument, flag, length) != 0 || argument[length] != '=') return nullptr;
    return argument + length + 1;
}

bool parse_flag(const char* argument, Flags& flags) {
    if (strcmp(argument, "--stdin") == 0) {
        flags.has_stdin = true;
        return true;
    }
    if (const char* value = value_of(argument, "--work")) {
        flags.work_dir = value;
        return true;
    }
    for (const Number& number : kNumbers) {
        if (const char* value = value_of(argument, number.flag)) {
            return parse_value(number.flag, value, number.smallest, flags.*number.field);
        }
    }
    complain("unknown flag '%s'", argument);
    return false;
}

}  // namespace

bool parse_flags(int argc, char** argv, Flags& flags) {
    int at = 1;
    for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
        if (!parse_flag(argv[at], flags)) return false;
    }
    for (const Number& number : kNumbers) {
        if (flags.*number.field >= 0) continue;
        complain("%s is missing", number.flag);
        return false;
    }
    if (at + 1 >= argc) {
        complain("no command after --");
        return false;
    }
    flags.argv = argv + at + 1;
    return true;
}

}  // namespace mayfly::controller
