// PID 1's last words: /work/output/.mayfly/exit.json, at most 4 KiB. The format is ours on both
// ends: controller/init/init.cc writes it, parse_exit_record reads it. The script shares PID 1's
// uid and could forge one, about itself only; so it is trusted for detail, never against the
// engine's word or our own intents.
//
// {"v":1,"exit_code":0,"signal":0,"exec_errno":0,"tripped":"","term_from_outside":false,
//  "wall_us":12,"cpu_us":9,"memory_peak_bytes":1,"oom_kills":0,"work_bytes":1,
//  "output_files":2,"output_bytes":9,
//  "stdout":{"total":1,"kept":1,"note":0},"stderr":{"total":0,"kept":0,"note":0}}
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace mayfly::controller {

struct ExitRecord {
    std::int64_t exit_code = 0;   // the command's own; 128+signal when it died of one
    std::int64_t signal = 0;      // 0 = it exited
    std::int64_t exec_errno = 0;  // != 0: argv[0] could not be executed
    std::string tripped;  // "", "timeout", "work_bytes": the limit for which PID 1 stopped it
    // Somebody outside the container sent TERM: cancel, or the engine going down.
    bool term_from_outside = false;
    std::int64_t wall_us = 0;
    std::int64_t cpu_us = 0;
    std::int64_t memory_peak_bytes = 0;
    std::int64_t oom_kills = 0;
    std::int64_t work_bytes = 0;  // last measure of /work
    // Names and sizes of the regular files under output/ when the script was dead: what a whole
    // harvest must bring. Nobody syncs a script's files, so a power loss can take them from under
    // this record, which is synced; and an engine skips a file that it cannot read without a word
    // (moby: Tarballer.Do). -1: not counted.
    std::int64_t output_files = -1;
    std::int64_t output_bytes = -1;
    struct Stream {
        std::int64_t total = 0;  // printed by the command
        std::int64_t kept = 0;   // passed on to the engine's log, without the note about the gap
        std::int64_t note = 0;   // PID 1's own lines in it: kept + note are in the engine's log
    };
    Stream out;
    Stream err;
};

inline constexpr std::size_t kExitRecordMaxBytes = 4096;

// An error says which field is missing or not what it must be.
[[nodiscard]] std::expected<ExitRecord, std::string> parse_exit_record(std::string_view json);

}  // namespace mayfly::controller
