// A container without an engine: PID 1 as the real program in a pid namespace of its own, as the
// run uid, without privileges, on a folder laid out as input.tar lays out /work. Needs root.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "controller/archive/exit_record.h"

namespace mayfly::controller {

struct InitLimits {
    std::int64_t run_ms = 30'000;
    std::int64_t grace_ms = 200;
    std::int64_t log_bytes = 1 << 20;
    std::int64_t work_bytes = 64 << 20;
};

class InitBox {
public:
    struct Outcome {
        int exit_code = -1;  // PID 1's own; -N when it was killed by signal N
        std::string out;
        std::string err;
        std::optional<ExitRecord> record;
        std::string record_error;  // why there is no record
    };

    InitBox();
    ~InitBox();
    InitBox(const InitBox&) = delete;
    InitBox& operator=(const InitBox&) = delete;

    void give_stdin(const std::string& content);
    // From here on /work is a filesystem of this size.
    void mount_small_disk(std::int64_t bytes);

    // A command for /bin/sh, or for the hostile program.
    Outcome run_script(const std::string& script, InitLimits limits = {});
    Outcome run_hostile(std::vector<std::string> arguments, InitLimits limits = {});
    Outcome run(std::vector<std::string> argv, InitLimits limits = {});
    // The flags as they are, then whatever; no layout is implied.
    Outcome run_with(std::vector<std::string> flags_and_argv);

    // In steps, for signals and for a consumer that does not read.
    void start(std::vector<std::string> argv, InitLimits limits);
    [[nodiscard]] std::vector<std::string> script(const std::string& text) const;
    [[nodiscard]] std::vector<std::string> hostile(std::vector<std::string> arguments) const;
    void wait_for_output(const std::string& text);  // on standard output
    void send(int signal) const;                    // from outside
    void wait_for_end_without_reading();
    void stop_reading();  // closes our ends
    Outcome finish();

    [[nodiscard]] const std::filesystem::path& work() const { return work_; }
    [[nodiscard]] std::filesystem::path record_dir() const { return work_ / "output/.mayfly"; }

private:
    void spawn(const std::vector<std::string>& arguments);
    void read_available(int timeout_ms);

    std::filesystem::path root_;
    std::filesystem::path work_;
    std::filesystem::path init_;
    std::filesystem::path hostile_;
    bool has_stdin_ = false;
    bool mounted_ = false;
    pid_t pid_ = -1;
    std::optional<int> wait_status_;
    int out_fd_ = -1;
    int err_fd_ = -1;
    Outcome outcome_;
};

}  // namespace mayfly::controller
