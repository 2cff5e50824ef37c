#include "controller/init/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/init/complain.h"
#include "store/input_tar.h"

namespace mayfly::controller {
namespace {

constexpr const char* kClaimName = ".mayfly/claim";

[[nodiscard]] bool untouched(const struct stat& status) {
    return status.st_size == 0 && status.st_mtim.tv_sec == store::kClaimMtimeS;
}

Claim unusable(const char* what) {
    complain("cannot take the claim %s: %s: %s", kClaimName, what, strerrordesc_np(errno));
    return Claim::unusable;
}

}  // namespace

Claim take_claim(int work_fd) {
    const int fd = openat(work_fd, kClaimName, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return unusable("open");
    // Two containers on one volume at the same moment: the lock makes look-and-write one step. A
    // filesystem without locks still has the look.
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return Claim::taken_before;
    struct stat status{};
    if (fstat(fd, &status) != 0) return unusable("stat");
    if (!S_ISREG(status.st_mode)) {
        complain("the claim %s is not a regular file", kClaimName);
        return Claim::unusable;
    }
    if (!untouched(status)) return Claim::taken_before;

    ssize_t written = 0;
    do {
        written = write(fd, "1", 1);
    } while (written < 0 && errno == EINTR);
    if (written != 1) return unusable("write");
    // Before anything runs: after a power cut the volume must still say that it was started.
    if (fsync(fd) != 0) return unusable("fsync");
    if (fstat(fd, &status) != 0) return unusable("stat");
    if (status.st_mtim.tv_sec == store::kClaimMtimeS) {
        complain("the claim's mtime did not change: a clock that stands at %lld cannot be used",
                 static_cast<long long>(store::kClaimMtimeS));
        return Claim::unusable;
    }
    return Claim::ours;
}

}  // namespace mayfly::controller
