// The bytes of PID 1 (controller/init/init.cc, statically linked), embedded in mayflyd. It is
// called as
//
//   /.mayfly/init --run-ms=N --grace-ms=N --log-bytes=N --work-bytes=N [--stdin] -- argv...
//
//   --run-ms      deadline by the monotonic clock from its first act; then TERM to everything,
//   --grace-ms, KILL
//   --log-bytes   kept of each of stdout and stderr: the first half as it comes, the last half at
//   the end
//   --work-bytes  /work may hold this much (allocated blocks); over it: TERM, grace, KILL, tripped
//   = "work_bytes"
//   --stdin       standard input is /work/.mayfly/stdin; else /dev/null
//
// Its own exit code is the command's (128+signal when it died of one). Before it ran anything: 86
// the claim was taken already (this volume has seen a start), 87 the claim or the folders are not
// there, 88 bad flags; 126/127 and an exit record with exec_errno when argv[0] cannot be executed.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace mayfly::controller {

[[nodiscard]] std::span<const std::byte> init_image();
// "amd64", "arm64": as the engine spells architectures.
[[nodiscard]] std::string_view init_arch();

}  // namespace mayfly::controller
