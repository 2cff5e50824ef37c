// The log of the process: one line per decision, structured, to stderr.
//
// Levels: debug = every engine call and look; info = what was decided and recorded; warn = a step
// failed and comes again; error = an operator should know; critical = the process ends. Warnings
// and errors that repeat (same message, same "error" field) are held back after the first ten in
// ten seconds, and counted (repeats.h).
//
// What must never be a field: environment, stdin, output of a script, a webhook's secret.
//
// Thread: every one may log.
#pragma once

#include <initializer_list>
#include <string_view>

#include "metrics/log_line.h"

namespace mayfly::metrics {

enum class LogLevel { trace, debug, info, warn, error, critical };

// Once, at the start; before it, lines go out as logfmt from `info` on. `least` is one of trace,
// debug, info, warn, error, critical.
void open_log(LogFormat format, std::string_view least);
// Says what was held back, and writes everything out.
void flush_log();

using LogFields = std::initializer_list<LogField>;
void log(LogLevel level, std::string_view message, LogFields fields = {});

inline void log_debug(std::string_view message, LogFields fields = {}) {
    log(LogLevel::debug, message, fields);
}
inline void log_info(std::string_view message, LogFields fields = {}) {
    log(LogLevel::info, message, fields);
}
inline void log_warn(std::string_view message, LogFields fields = {}) {
    log(LogLevel::warn, message, fields);
}
inline void log_error(std::string_view message, LogFields fields = {}) {
    log(LogLevel::error, message, fields);
}
inline void log_critical(std::string_view message, LogFields fields = {}) {
    log(LogLevel::critical, message, fields);
}

}  // namespace mayfly::metrics
