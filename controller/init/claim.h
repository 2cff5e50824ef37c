// The claim on a volume: at most one PID 1 ever runs a command on it, whatever the engine forgot
// in a crash.
//
// /work/.mayfly/claim comes with the inputs: root's, 0622, empty, with a fixed old mtime
// (store/input_tar.h). Whoever writes to it gives it today's mtime and a size; its folder is
// root's, so the run uid can write but can neither remove nor replace it, nor set its times to
// anything but "now". The controller sees the same from outside with one HEAD.
#pragma once

namespace mayfly::controller {

enum class Claim {
    ours,          // taken now, and durable
    taken_before,  // this volume has seen a start, or another PID 1 is taking it at this moment
    unusable,      // missing, not a plain file, or it could not be written; complained about
};

// `work_fd`: the folder /work. The file stays open (and locked) as long as this process lives.
[[nodiscard]] Claim take_claim(int work_fd);

}  // namespace mayfly::controller
