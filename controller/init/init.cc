// PID 1 of every run. What it does and its flags: controller/init/init_image.h; what it leaves:
// archive/exit_record.h.
//
// A small static program that works in any image, also an empty one, as an unprivileged uid on a
// read-only root. One thread, one loop; it allocates nothing but the tails of the two output
// streams.
//
// The script shares PID 1's uid, so what keeps PID 1 safe is the kernel's special treatment of a
// namespace's init (signals from inside reach it only as far as it asks for them; KILL and STOP
// never do) and PR_SET_DUMPABLE 0. The run ends when the command ends: what it left behind in the
// background is killed, and what that would have printed later is lost.
//
// Built without exceptions, RTTI and the C++ runtime.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

#include "controller/init/boot_clock.h"
#include "controller/init/cgroup_usage.h"
#include "controller/init/claim.h"
#include "controller/init/command.h"
#include "controller/init/complain.h"
#include "controller/init/flags.h"
#include "controller/init/last_words.h"
#include "controller/init/output_stream.h"
#include "controller/init/work_watch.h"

namespace mayfly::controller {
namespace {

constexpr int kExitClaimTaken = 86;
constexpr int kExitNoClaim = 87;
constexpr int kExitBadFlags = 88;
constexpr int kExitNotStarted = 126;
constexpr int kSignalBase = 128;

// Between two KILLs to everything: a process may have been born in between.
constexpr std::int64_t kKillAgainMs = 100;
// For the engine to take the rest of the output, in all.
constexpr std::int64_t kFinishMs = 60'000;
constexpr std::int64_t kLastMeasureMs = 200;
// For what was killed to be gone; longer only what hangs in the kernel, which must not cost us the
// record.
constexpr std::int64_t kReapMs = 5'000;
// A timer of poll stands still while the host is suspended; the deadline does not.
constexpr std::int64_t kLongestSleepMs = 1'000;
// Each tail may take this part of the container's memory, whatever --log-bytes says: it counts
// against the run.
constexpr std::int64_t kTailMemoryShare = 8;

// What people and engines send to a container. KILL and STOP nobody can handle.
constexpr int kForwarded[] = {SIGTERM, SIGINT,  SIGHUP,   SIGQUIT,
                              SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

// Zero pages until they are used.
OutputStream out_stream;
OutputStream err_stream;
WorkWatch work_watch;
WorkWatch output_look;  // once, at the end

struct Folders {
    int work = -1;
    int output = -1;
    int record = -1;
    int input = -1;  // -1: /dev/null
};

class Init {
public:
    Init(const Flags& flags, const Folders& folders) : flags_(flags), folders_(folders) {}

    // The run, from claim to record. Returns PID 1's own exit code.
    int run();

private:
    void start_watching();
    void loop();
    void check_limits(std::int64_t now_ms);
    void trip(const char* limit, std::int64_t now_ms);
    void take_signals();
    void take_signal(const signalfd_siginfo& info);
    void reap();
    void kill_everything();
    void end_everything();
    [[nodiscard]] std::int64_t sleep_ms(std::int64_t now_ms) const;
    [[nodiscard]] LastWords last_words(std::int64_t ended_us) const;

    const Flags& flags_;
    const Folders folders_;
    Command command_;
    int signals_fd_ = -1;
    bool ended_ = false;  // the command
    int wait_status_ = 0;
    std::int64_t begun_us_ = 0;
    std::int64_t deadline_ms_ = 0;
    std::int64_t kill_ms_ = INT64_MAX;  // when TERM has had its time
    const char* tripped_ = "";
    bool term_from_outside_ = false;
    Usage before_;
};

int Init::run() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all,
                nullptr);  // nothing gets lost before the loop; the child clears it
    const int reserved_fd = reserve_record(folders_.record);
    work_watch.open(folders_.work, flags_.work_bytes, boot_ms());
    output_look.open(folders_.output, 0, 0);
    output_look.pass_over(".mayfly");
    before_ = usage_so_far();
    begun_us_ = boot_us();
    deadline_ms_ = begun_us_ / 1'000 + flags_.run_ms;
    command_ = start_command(flags_.argv, folders_.work, folders_.input);
    if (command_.pid < 0) {
        complain("cannot start a process: %s", strerrordesc_np(command_.fork_errno));
    } else {
        start_watching();
        loop();
    }
    const std::int64_t ended_us = boot_us();
    end_everything();
    const std::int64_t until_ms = boot_ms() + kFinishMs;
    out_stream.finish(until_ms);
    err_stream.finish(until_ms);
    work_watch.measure_once_more(kLastMeasureMs);
    output_look.measure_once_more(kLastMeasureMs);
    save_result(folders_.work, folders_.record);
    const LastWords words = last_words(ended_us);
    // Without a record the exit code alone is no success (the reader's rule); there is nothing
    // else left to do.
    [[maybe_unused]] const bool recorded = write_record(folders_.record, reserved_fd, words);
    return words.exit_code;
}

void Init::start_watching() {
    const std::int64_t tail_max_bytes = memory_limit_bytes() / kTailMemoryShare;
    out_stream.open(command_.out_fd, STDOUT_FILENO, flags_.log_bytes, tail_max_bytes);
    err_stream.open(command_.err_fd, STDERR_FILENO, flags_.log_bytes, tail_max_bytes);
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    for (const int signal : kForwarded) sigaddset(&wanted, signal);
    signals_fd_ = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
}

void Init::loop() {
    while (!ended_) {
        pollfd slots[] = {out_stream.wanted(),
                          err_stream.wanted(),
                          {.fd = signals_fd_, .events = POLLIN, .revents = 0}};
        poll(slots, 3, static_cast<int>(sleep_ms(boot_ms())));
        const std::int64_t now_ms = boot_ms();
        take_signals();
        reap();
        out_stream.step(now_ms);
        err_stream.step(now_ms);
        if (!ended_) check_limits(now_ms);
    }
}

std::int64_t Init::sleep_ms(std::int64_t now_ms) const {
    std::int64_t wake_ms = now_ms + kLongestSleepMs;
    const bool stopping = kill_ms_ != INT64_MAX;
    for (const std::int64_t candidate_ms :
         {stopping ? kill_ms_ : deadline_ms_, stopping ? INT64_MAX : work_watch.wake_ms(),
          out_stream.wake_ms(), err_stream.wake_ms()}) {
        if (candidate_ms < wake_ms) wake_ms = candidate_ms;
    }
    return wake_ms > now_ms ? wake_ms - now_ms : 0;
}

void Init::check_limits(std::int64_t now_ms) {
    if (now_ms >= kill_ms_) {
        kill_everything();
        kill_ms_ = now_ms + kKillAgainMs;
    }
    if (*tripped_ != '\0') return;
    if (now_ms >= deadline_ms_) {
        trip("timeout", now_ms);
    } else if (kill_ms_ == INT64_MAX && work_watch.step(now_ms)) {
        if (work_watch.too_deep()) {
            complain("/work is nested deeper than %d folders, or cannot be looked at",
                     WorkWatch::kMaxDepth);
        }
        trip("work_bytes", now_ms);
    }
}

void Init::trip(const char* limit, std::int64_t now_ms) {
    tripped_ = limit;
    kill(-1, SIGTERM);
    kill(-1, SIGCONT);  // who stands still could not act on it
    const std::int64_t kill_ms = now_ms + flags_.grace_ms;
    if (kill_ms < kill_ms_) kill_ms_ = kill_ms;
}

void Init::take_signals() {
    constexpr int kMostAtOnce = 16;
    for (int i = 0; i < kMostAtOnce; ++i) {
        signalfd_siginfo info;
        if (read(signals_fd_, &info, sizeof info) != sizeof info) return;
        if (info.ssi_signo != SIGCHLD) take_signal(info);
    }
}

// A sender outside the container has no number in its pid namespace: 0. The script can send any
// signal to PID 1, and with rt_sigqueueinfo even claim to be number 0, but not as SI_USER: the
// kernel keeps that code for kill() itself.
void Init::take_signal(const signalfd_siginfo& info) {
    const int signal = static_cast<int>(info.ssi_signo);
    const bool from_outside = info.ssi_pid == 0 && info.ssi_code == SI_USER;
    if (kill(-command_.pid, signal) != 0) kill(command_.pid, signal);  // before its setsid
    if (signal != SIGTERM || !from_outside) return;
    term_from_outside_ = true;
    kill(-command_.pid, SIGCONT);
    const std::int64_t kill_ms = boot_ms() + flags_.grace_ms;
    if (kill_ms < kill_ms_) kill_ms_ = kill_ms;
}

// Ours and every orphan's: whose parent died becomes a child of PID 1.
void Init::reap() {
    for (;;) {
        int status = 0;
        const pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) return;
        if (pid != command_.pid) continue;
        ended_ = true;
        wait_status_ = status;
    }
}

// As PID 1 of a namespace, -1 is everybody in it but us. main() made sure that we are.
void Init::kill_everything() { kill(-1, SIGKILL); }

void Init::end_everything() {
    const std::int64_t until_ms = boot_ms() + kReapMs;
    for (;;) {
        kill_everything();
        int status = 0;
        while (waitpid(-1, &status, WNOHANG) > 0) {
        }
        if (waitpid(-1, &status, WNOHANG) < 0) return;  // ECHILD: alone
        if (boot_ms() >= until_ms) return;
        pollfd slot = {.fd = signals_fd_, .events = POLLIN, .revents = 0};
        poll(&slot, 1, static_cast<int>(kKillAgainMs));
        take_signals();
    }
}

std::int64_t grown(std::int64_t after, std::int64_t before) {
    return after > before ? after - before : 0;
}

LastWords Init::last_words(std::int64_t ended_us) const {
    LastWords words;
    if (command_.pid < 0) {
        words.exec_errno = command_.fork_errno;
        words.exit_code = kExitNotStarted;
    } else {
        words.exec_errno = exec_errno_of(command_);
        words.signal = WIFSIGNALED(wait_status_) ? WTERMSIG(wait_status_) : 0;
        words.exit_code =
            words.signal != 0 ? kSignalBase + words.signal : WEXITSTATUS(wait_status_);
    }
    const Usage after = usage_so_far();
    words.tripped = tripped_;
    words.term_from_outside = term_from_outside_;
    words.wall_us = ended_us - begun_us_;
    words.cpu_us = grown(after.cpu_us, before_.cpu_us);
    words.memory_peak_bytes = after.memory_peak_bytes;
    words.oom_kills = grown(after.oom_kills, before_.oom_kills);
    words.work_bytes = work_watch.bytes();
    words.output_files = output_look.files();
    words.output_bytes = output_look.file_bytes();
    words.out = {out_stream.total(), out_stream.kept(), out_stream.note()};
    words.err = {err_stream.total(), err_stream.kept(), err_stream.note() + complained_bytes()};
    return words;
}

int open_folder(int at_fd, const char* path) {
    const int fd = openat(at_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) complain("cannot open the folder %s: %s", path, strerrordesc_np(errno));
    return fd;
}

bool open_folders(const Flags& flags, Folders& folders) {
    folders.work = open_folder(AT_FDCWD, flags.work_dir);
    if (folders.work < 0) return false;
    folders.output = open_folder(folders.work, "output");
    if (folders.output < 0) return false;
    folders.record = open_folder(folders.work, "output/.mayfly");
    if (folders.record < 0) return false;
    if (!flags.has_stdin) return true;
    folders.input = openat(folders.work, ".mayfly/stdin", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (folders.input >= 0) return true;
    complain("cannot open .mayfly/stdin: %s", strerrordesc_np(errno));
    return false;
}

int guarded_main(int argc, char** argv) {
    // It kills every process that it can see. Anywhere but as PID 1 of a container that is the
    // whole machine.
    if (getpid() != 1) {
        complain("this program is PID 1 of a run's container and does nothing anywhere else");
        return kExitBadFlags;
    }
    // The script has our uid. Undumpable, we are root's to look at: no ptrace, no /proc/1/fd or
    // mem (the engine's ends of our output are there), no pidfd_getfd, no oom_score_adj.
    prctl(PR_SET_DUMPABLE, 0);
    Flags flags;
    if (!parse_flags(argc, argv, flags)) return kExitBadFlags;
    Folders folders;
    if (!open_folders(flags, folders)) return kExitNoClaim;
    switch (take_claim(folders.work)) {
        case Claim::taken_before:
            complain("this volume has seen a start; the command was not run again");
            return kExitClaimTaken;
        case Claim::unusable:
            return kExitNoClaim;
        case Claim::ours:
            break;
    }
    return Init(flags, folders).run();
}

}  // namespace
}  // namespace mayfly::controller

int main(int argc, char** argv) { return mayfly::controller::guarded_main(argc, argv); }
