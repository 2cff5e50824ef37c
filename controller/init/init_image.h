// The bytes of PID 1 (controller/init/init.cc, statically linked), embedded in mayflyd. It is
// called as
//
//   /.mayfly/init --run-ms=N --grace-ms=N --log-bytes=N --work-bytes=N [--stdin] -- argv...
//
//   --run-ms      deadline, from its first act by a clock that nobody can set and that goes on
//                 while the host is suspended; then TERM to everything, --grace-ms, KILL
//   --log-bytes   kept of each of stdout and stderr: the first half as it comes, the last half at
//                 the end (or less of it: each tail takes at most an eighth of the container's
//                 memory, which it counts against)
//   --work-bytes  /work may hold this much (allocated blocks, at least 1 KiB an entry); over it,
//                 or nested deeper than 128 folders: TERM, grace, KILL, tripped = "work_bytes".
//                 It is looked at every 50 ms to 1 s, so it can be overshot by what is written in
//                 between; the file size limit bounds each file
//   --stdin       standard input is /work/.mayfly/stdin; else /dev/null
//
// The run ends when the command ends: what it left in the background is killed, and output that
// would have come later is lost. Its own exit code is the command's (128+signal when it died of
// one). Before it ran anything: 86 the claim was taken already (this volume has seen a start), 87
// the claim or the folders are not there, 88 bad flags or not PID 1; 126/127 and an exit record
// with exec_errno when argv[0] cannot be executed. A result.json that is no regular file is left
// as an empty folder of that name beside the exit record.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace mayfly::controller {

[[nodiscard]] std::span<const std::byte> init_image();
// "amd64", "arm64": as the engine spells architectures.
[[nodiscard]] std::string_view init_arch();

}  // namespace mayfly::controller
