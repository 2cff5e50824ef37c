#include "metrics/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <mutex>

#include "metrics/repeats.h"

namespace mayfly::metrics {
namespace {

struct Log {
    std::mutex mutex;
    LogFormat format = LogFormat::logfmt;
    Repeats repeats;
};

Log& the_log() {
    static Log log;
    return log;
}

std::int64_t steady_ms() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

spdlog::level::level_enum level_of(LogLevel level) {
    return static_cast<spdlog::level::level_enum>(level);
}

void write(LogFormat format, LogLevel level, std::string_view message,
           std::span<const LogField> fields) {
    spdlog::log(level_of(level), "{}", log_line(format, message, fields));
}

// Under the mutex.
void write_held(Log& log, std::int64_t now_ms) {
    for (const auto& held : log.repeats.take_held(now_ms)) {
        const LogField fields[] = {{"like", held.key}, {"held_back", held.count}};
        write(log.format, LogLevel::warn, "more lines like one before", fields);
    }
}

}  // namespace

void open_log(LogFormat format, std::string_view least) {
    auto& log = the_log();
    const std::lock_guard lock(log.mutex);
    log.format = format;
    spdlog::set_default_logger(spdlog::stderr_logger_mt("mayflyd"));
    // The braces of JSON stand here, around what log_line makes.
    const auto* pattern = format == LogFormat::json
                              ? R"({"ts":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})"
                              : "ts=%Y-%m-%dT%H:%M:%S.%eZ level=%l %v";
    spdlog::set_pattern(pattern, spdlog::pattern_time_type::utc);
    const std::string name(least == "warn" ? "warning" : least);
    spdlog::set_level(spdlog::level::from_str(name));
    spdlog::flush_on(spdlog::level::info);
}

void flush_log() {
    auto& log = the_log();
    const std::lock_guard lock(log.mutex);
    write_held(log, std::numeric_limits<std::int64_t>::max());
    spdlog::default_logger_raw()->flush();
}

void log(LogLevel level, std::string_view message, LogFields fields) {
    if (!spdlog::should_log(level_of(level))) return;
    auto& log = the_log();
    const std::span<const LogField> all(fields.begin(), fields.size());
    const std::lock_guard lock(log.mutex);
    const auto now_ms = steady_ms();
    write_held(log, now_ms);
    if (level == LogLevel::warn || level == LogLevel::error) {
        std::string key(message);
        const auto error = std::ranges::find(all, std::string_view("error"), &LogField::key);
        if (error != all.end()) {
            const auto* text = std::get_if<std::string_view>(&error->value);
            if (text != nullptr) key.append(": ").append(text->substr(0, kLogValueBytesMax));
        }
        if (!log.repeats.admit(key, now_ms)) return;
    }
    write(log.format, level, message, all);
}

}  // namespace mayfly::metrics
