#include "tests/unit/init_box.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "controller/init/init_image.h"
#include "store/input_tar.h"

namespace mayfly::controller {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kRunUid = 10001;
constexpr int kHangMs = 60'000;  // a test that takes longer hangs

void must(bool ok, const std::string& what) {
    if (!ok) throw std::system_error(errno, std::generic_category(), what);
}

void make_folder(const fs::path& path, mode_t mode) {
    must(mkdir(path.c_str(), 0700) == 0, path);
    must(chmod(path.c_str(), mode) == 0, path);
}

void make_file(const fs::path& path, mode_t mode, std::string_view content) {
    std::ofstream(path, std::ios::binary) << content;
    must(chmod(path.c_str(), mode) == 0, path);
}

void lay_out(const fs::path& work) {
    must(chmod(work.c_str(), 01777) == 0, work);
    make_folder(work / ".mayfly", 0755);
    make_folder(work / "output", 01777);
    make_folder(work / "output/.mayfly", 01777);
    make_file(work / ".mayfly/claim", 0622, "");
    const timespec old = {.tv_sec = store::kClaimMtimeS, .tv_nsec = 0};
    const std::array<timespec, 2> times = {old, old};
    must(utimensat(AT_FDCWD, (work / ".mayfly/claim").c_str(), times.data(), 0) == 0, "claim");
}

[[noreturn]] void give_up(const char* what) {
    dprintf(STDERR_FILENO, "init box: %s: %s\n", what, strerror(errno));
    _exit(99);
}

// After clone: PID 1 of the new namespace, still root.
[[noreturn]] void become_init(const char* program, char* const* argv, int out, int err) {
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) give_up("private mounts");
    if (mount("proc", "/proc", "proc", 0, nullptr) != 0) give_up("mount /proc");
    if (setgroups(0, nullptr) != 0 || setresgid(kRunUid, kRunUid, kRunUid) != 0 ||
        setresuid(kRunUid, kRunUid, kRunUid) != 0) {
        give_up("setuid");
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0) give_up("dup2");
    const std::array<char*, 3> environment = {const_cast<char*>("PATH=/usr/bin:/bin"),
                                              const_cast<char*>("HOME=/tmp"), nullptr};
    execve(program, argv, environment.data());
    give_up(program);
}

std::optional<std::string> read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
}

}  // namespace

InitBox::InitBox() {
    std::string name = ::testing::TempDir() + "init-box-XXXXXX";
    must(mkdtemp(name.data()) != nullptr, name);
    root_ = name;
    must(chmod(root_.c_str(), 0755) == 0, root_);
    work_ = root_ / "work";
    init_ = root_ / "init";
    hostile_ = root_ / "hostile";
    make_folder(work_, 0755);
    lay_out(work_);
    const std::span<const std::byte> image = init_image();
    make_file(init_, 0555, {reinterpret_cast<const char*>(image.data()), image.size()});
    fs::copy_file(MAYFLY_INIT_HOSTILE, hostile_);
    must(chmod(hostile_.c_str(), 0555) == 0, hostile_);
}

InitBox::~InitBox() {
    if (pid_ > 0 && !wait_status_) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    stop_reading();
    if (mounted_) umount2(work_.c_str(), MNT_DETACH);
    std::error_code ignored;
    fs::remove_all(root_, ignored);
}

void InitBox::give_stdin(const std::string& content) {
    make_file(work_ / ".mayfly/stdin", 0644, content);
    has_stdin_ = true;
}

void InitBox::mount_small_disk(std::int64_t bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    must(mount("none", work_.c_str(), "tmpfs", 0, size.c_str()) == 0, "tmpfs");
    mounted_ = true;
    lay_out(work_);
}

std::vector<std::string> InitBox::script(const std::string& text) const {
    return {"/bin/sh", "-c", text};
}

std::vector<std::string> InitBox::hostile(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), hostile_);
    return arguments;
}

InitBox::Outcome InitBox::run_script(const std::string& text, InitLimits limits) {
    return run(script(text), limits);
}

InitBox::Outcome InitBox::run_hostile(std::vector<std::string> arguments, InitLimits limits) {
    return run(hostile(std::move(arguments)), limits);
}

InitBox::Outcome InitBox::run(std::vector<std::string> argv, InitLimits limits) {
    start(std::move(argv), limits);
    return finish();
}

InitBox::Outcome InitBox::run_with(std::vector<std::string> flags_and_argv) {
    spawn(flags_and_argv);
    return finish();
}

void InitBox::start(std::vector<std::string> argv, InitLimits limits) {
    std::vector<std::string> arguments = {
        "--run-ms=" + std::to_string(limits.run_ms),
        "--grace-ms=" + std::to_string(limits.grace_ms),
        "--log-bytes=" + std::to_string(limits.log_bytes),
        "--work-bytes=" + std::to_string(limits.work_bytes),
        "--work=" + work_.string(),
    };
    if (has_stdin_) arguments.emplace_back("--stdin");
    arguments.emplace_back("--");
    arguments.insert(arguments.end(), argv.begin(), argv.end());
    spawn(arguments);
}

void InitBox::spawn(const std::vector<std::string>& arguments) {
    std::vector<char*> argv = {const_cast<char*>("init")};
    for (const std::string& argument : arguments)
        argv.push_back(const_cast<char*>(argument.data()));
    argv.push_back(nullptr);
    std::array<int, 2> out{};
    std::array<int, 2> err{};
    must(pipe2(out.data(), O_CLOEXEC) == 0 && pipe2(err.data(), O_CLOEXEC) == 0, "pipe");
    outcome_ = {};
    wait_status_.reset();
    const long cloned =
        syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr, nullptr, 0);
    if (cloned == 0) become_init(init_.c_str(), argv.data(), out[1], err[1]);
    must(cloned > 0, "a new pid namespace (the tests of PID 1 need root)");
    pid_ = static_cast<pid_t>(cloned);
    close(out[1]);
    close(err[1]);
    out_fd_ = out[0];
    err_fd_ = err[0];
}

void InitBox::read_available(int timeout_ms) {
    std::array<pollfd, 2> slots = {{{.fd = out_fd_, .events = POLLIN, .revents = 0},
                                    {.fd = err_fd_, .events = POLLIN, .revents = 0}}};
    if (poll(slots.data(), slots.size(), timeout_ms) == 0) {
        kill(pid_, SIGKILL);
        throw std::runtime_error("PID 1 hangs");
    }
    const std::array<std::pair<int*, std::string*>, 2> streams = {
        {{&out_fd_, &outcome_.out}, {&err_fd_, &outcome_.err}}};
    for (std::size_t i = 0; i < streams.size(); ++i) {
        if (slots[i].revents == 0) continue;
        std::array<char, 65536> bytes{};
        const ssize_t got = read(slots[i].fd, bytes.data(), bytes.size());
        if (got > 0) {
            streams[i].second->append(bytes.data(), static_cast<std::size_t>(got));
        } else {
            close(*streams[i].first);
            *streams[i].first = -1;
        }
    }
}

void InitBox::wait_for_output(const std::string& text) {
    while (outcome_.out.find(text) == std::string::npos) {
        if (out_fd_ < 0) throw std::runtime_error("the output ended without: " + text);
        read_available(kHangMs);
    }
}

void InitBox::send(int signal) const { must(kill(pid_, signal) == 0, "kill"); }

void InitBox::wait_for_end_without_reading() {
    int status = 0;
    must(waitpid(pid_, &status, 0) == pid_, "waitpid");
    wait_status_ = status;
}

void InitBox::stop_reading() {
    for (int* fd : {&out_fd_, &err_fd_}) {
        if (*fd >= 0) close(*fd);
        *fd = -1;
    }
}

InitBox::Outcome InitBox::finish() {
    while (out_fd_ >= 0 || err_fd_ >= 0) read_available(kHangMs);
    if (!wait_status_) wait_for_end_without_reading();
    const int status = *wait_status_;
    outcome_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    const std::optional<std::string> text = read_file(record_dir() / "exit.json");
    if (!text) {
        outcome_.record_error = "there is no exit.json";
        return outcome_;
    }
    const auto record = parse_exit_record(*text);
    if (record) {
        outcome_.record = *record;
    } else {
        outcome_.record_error = record.error() + ": " + *text;
    }
    return outcome_;
}

}  // namespace mayfly::controller
