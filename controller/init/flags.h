// PID 1's command line; what each flag means is told in controller/init/init_image.h.
#pragma once

#include <cstdint>

namespace mayfly::controller {

struct Flags {
    std::int64_t run_ms = -1;
    std::int64_t grace_ms = -1;
    std::int64_t log_bytes = -1;
    std::int64_t work_bytes = -1;
    bool has_stdin = false;
    const char* work_dir = "/work";  // --work=, for tests
    char* const* argv = nullptr;     // the command's
};

// False after a complaint that names the flag.
[[nodiscard]] bool parse_flags(int argc, char** argv, Flags& flags);

}  // namespace mayfly::controller
