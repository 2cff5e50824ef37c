// PID 1, for real: see init_box.h for where it runs, init_hostile.cc for what runs against it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "controller/init/init_image.h"
#include "store/input_tar.h"
#include "tests/unit/init_box.h"

namespace mayfly::controller {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using testing::ExitedWithCode;

std::int64_t ms_since(Clock::time_point begun) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun).count();
}

std::string file_text(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

bool claim_changed(const InitBox& box) {
    struct stat status{};
    stat((box.work() / ".mayfly/claim").c_str(), &status);
    return status.st_mtim.tv_sec != store::kClaimMtimeS;
}

// ------------------------------------------------------------------------- exits

struct ExitCase {
    const char* sentence;
    const char* script;
    int exit_code;
    int signal;
};

class InitExit : public testing::TestWithParam<ExitCase> {};

TEST_P(InitExit, CodeAndSignalAreTheCommandsOwn) {
    const ExitCase& expected = GetParam();
    InitBox box;
    const InitBox::Outcome outcome = box.run_script(expected.script);
    EXPECT_EQ(outcome.exit_code, expected.exit_code) << expected.sentence << outcome.err;
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->exit_code, expected.exit_code);
    EXPECT_EQ(outcome.record->signal, expected.signal);
    EXPECT_EQ(outcome.record->exec_errno, 0);
    EXPECT_EQ(outcome.record->tripped, "");
    EXPECT_FALSE(outcome.record->term_from_outside);
    EXPECT_GE(outcome.record->wall_us, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Table, InitExit,
    testing::Values(ExitCase{"success", "exit 0", 0, 0}, ExitCase{"failure", "exit 1", 1, 0},
                    ExitCase{"usage error", "exit 2", 2, 0},
                    ExitCase{"what docker run itself uses", "exit 125", 125, 0},
                    ExitCase{"like a failed exec", "exit 126", 126, 0},
                    ExitCase{"like a missing command", "exit 127", 127, 0},
                    ExitCase{"like KILL, but of its own will", "exit 137", 137, 0},
                    ExitCase{"like TERM, but of its own will", "exit 143", 143, 0},
                    ExitCase{"the largest", "exit 255", 255, 0},
                    ExitCase{"a code is eight bits", "exec /usr/bin/env sh -c 'exit 256'", 0, 0},
                    ExitCase{"like a taken claim", "exit 86", 86, 0},
                    ExitCase{"killed itself", "kill -KILL $$", 137, 9},
                    ExitCase{"terminated itself", "kill -TERM $$", 143, 15},
                    ExitCase{"crashed", "kill -SEGV $$", 139, 11}));

struct ExecCase {
    const char* sentence;
    const char* name;     // relative to /work
    const char* content;  // null: no such file; "/": a folder
    int mode;
    int exit_code;
    int exec_errno;
    const char* says;
};

class InitExec : public testing::TestWithParam<ExecCase> {};

TEST_P(InitExec, WhatCannotBeRunIsSaidClearly) {
    const ExecCase& expected = GetParam();
    InitBox box;
    const fs::path path = box.work() / expected.name;
    if (expected.content != nullptr && std::string(expected.content) == "/") {
        fs::create_directory(path);
    } else if (expected.content != nullptr) {
        std::ofstream(path) << expected.content;
        chmod(path.c_str(), static_cast<mode_t>(expected.mode));
    }
    const InitBox::Outcome outcome = box.run({std::string("./") + expected.name});
    EXPECT_EQ(outcome.exit_code, expected.exit_code) << expected.sentence;
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->exec_errno, expected.exec_errno);
    EXPECT_EQ(outcome.err, expected.says);
    EXPECT_EQ(outcome.record->err.total, static_cast<std::int64_t>(outcome.err.size()));
}

INSTANTIATE_TEST_SUITE_P(
    Table, InitExec,
    testing::Values(
        ExecCase{"missing", "none", nullptr, 0, 127, ENOENT,
                 "mayfly: cannot run './none': No such file or directory\n"},
        ExecCase{"not executable", "plain", "#!/bin/sh\n", 0644, 126, EACCES,
                 "mayfly: cannot run './plain': Permission denied\n"},
        ExecCase{"a folder", "folder", "/", 0, 126, EACCES,
                 "mayfly: cannot run './folder': Permission denied\n"},
        ExecCase{"no interpreter", "lost", "#!/no/such/shell\n", 0755, 127, ENOENT,
                 "mayfly: cannot run './lost': No such file or directory (the file is there; its "
                 "interpreter or loader is not)\n"},
        ExecCase{"no shebang is a shell script", "bare", "echo bare >&2; exit 3\n", 0755, 3, 0,
                 "bare\n"}));

TEST(InitExecPath, ANameWithoutSlashIsFoundAlongPath) {
    InitBox box;
    const InitBox::Outcome outcome = box.run({"sh", "-c", "pwd"});
    EXPECT_EQ(outcome.out, box.work().string() + "\n");
    EXPECT_EQ(outcome.exit_code, 0);
}

TEST(InitExecPath, AMissingNameIs127) {
    InitBox box;
    const InitBox::Outcome outcome = box.run({"no-such-program", "x"});
    EXPECT_EQ(outcome.exit_code, 127);
    EXPECT_EQ(outcome.err, "mayfly: cannot run 'no-such-program': No such file or directory\n");
}

// ------------------------------------------------------------------- claim, flags

TEST(InitClaim, AVolumeRunsOnce) {
    InitBox box;
    const std::string script = "echo ran >> output/times";
    EXPECT_EQ(box.run_script(script).exit_code, 0);
    EXPECT_TRUE(claim_changed(box));
    const InitBox::Outcome second = box.run_script(script);
    EXPECT_EQ(second.exit_code, 86);
    EXPECT_EQ(second.err, "mayfly: this volume has seen a start; the command was not run again\n");
    EXPECT_EQ(file_text(box.work() / "output/times"), "ran\n");
}

TEST(InitClaim, AScriptCannotUndoIt) {
    InitBox box;
    const InitBox::Outcome first = box.run_script(
        "rm -rf .mayfly; mv .mayfly gone; mv .mayfly/claim gone; ln -sf /etc/passwd .mayfly/claim;"
        "chmod 0777 .mayfly .mayfly/claim; : > .mayfly/claim; touch -d @1000000000 .mayfly/claim;"
        "mkdir .mayfly/other; mv output elsewhere; rmdir output/.mayfly; exit 4");
    EXPECT_EQ(first.exit_code, 4);
    ASSERT_TRUE(first.record) << first.record_error;
    EXPECT_TRUE(claim_changed(box));
    EXPECT_EQ(box.run_script("exit 0").exit_code, 86);
}

TEST(InitClaim, ATouchOfTheContentAloneIsATakenClaim) {
    InitBox box;
    const fs::path claim = box.work() / ".mayfly/claim";
    std::ofstream(claim) << "1";
    const timespec old = {.tv_sec = store::kClaimMtimeS, .tv_nsec = 0};
    const timespec times[] = {old, old};
    ASSERT_EQ(utimensat(AT_FDCWD, claim.c_str(), times, 0), 0);
    EXPECT_EQ(box.run_script("exit 0").exit_code, 86);
}

TEST(InitClaim, WithoutTheLayoutNothingRuns) {
    for (const char* missing : {".mayfly/claim", "output/.mayfly"}) {
        InitBox box;
        fs::remove_all(box.work() / missing);
        const InitBox::Outcome outcome = box.run_script("echo ran");
        EXPECT_EQ(outcome.exit_code, 87) << missing;
        EXPECT_EQ(outcome.out, "");
        EXPECT_NE(outcome.err.find(missing), std::string::npos) << outcome.err;
    }
}

TEST(InitClaim, ALinkIsNoClaim) {
    InitBox box;
    const fs::path claim = box.work() / ".mayfly/claim";
    fs::rename(claim, box.work() / "real");
    fs::create_symlink(box.work() / "real", claim);
    EXPECT_EQ(box.run_script("exit 0").exit_code, 87);
}

TEST(InitFlags, WhatIsWrongIsNamed) {
    struct Case {
        std::vector<std::string> arguments;
        const char* says;
    };
    const std::vector<std::string> good = {"--run-ms=1", "--grace-ms=1", "--log-bytes=1",
                                           "--work-bytes=1"};
    const auto with = [&good](std::vector<std::string> more) {
        std::vector<std::string> all = good;
        all.insert(all.end(), more.begin(), more.end());
        return all;
    };
    const std::vector<Case> cases = {
        {{}, "--run-ms is missing"},
        {{"--run-ms=1", "--", "x"}, "--grace-ms is missing"},
        {with({}), "no command after --"},
        {with({"--"}), "no command after --"},
        {with({"--log-bytes=-1", "--", "x"}), "--log-bytes: '-1' is not a whole number"},
        {with({"--work-bytes=1x", "--", "x"}), "--work-bytes: '1x' is not a whole number"},
        {with({"--run-ms=0", "--", "x"}), "--run-ms: '0' is not a whole number from 1"},
        {with({"--run-ms=99999999999999999999999", "--", "x"}), "is not a whole number"},
        {with({"--speed=9", "--", "x"}), "unknown flag '--speed=9'"},
    };
    for (const Case& expected : cases) {
        InitBox box;
        const InitBox::Outcome outcome = box.run_with(expected.arguments);
        EXPECT_EQ(outcome.exit_code, 88) << expected.says;
        EXPECT_NE(outcome.err.find(expected.says), std::string::npos) << outcome.err;
        EXPECT_FALSE(claim_changed(box));
    }
}

// It would kill every process that it can see.
TEST(InitSafety, ItRefusesToBeAnythingButPid1) {
    const std::string path = testing::TempDir() + "init-not-pid-1";
    const std::span<const std::byte> image = init_image();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(image.data()),
               static_cast<std::streamsize>(image.size()));
    ASSERT_EQ(chmod(path.c_str(), 0755), 0);
    EXPECT_EXIT(execl(path.c_str(), "init", "--run-ms=1", nullptr), ExitedWithCode(88), "PID 1");
    fs::remove(path);
}

TEST(InitSafety, ItIsSmall) { EXPECT_LT(init_image().size(), std::size_t{1} << 20); }

// --------------------------------------------------------------------- the child

TEST(InitChild, StandardInputIsTheFile) {
    InitBox box;
    std::string bytes;
    for (int i = 0; i < 300'000; ++i) bytes += static_cast<char>(i * 7);
    box.give_stdin(bytes);
    EXPECT_EQ(box.run({"/bin/cat"}).out, bytes);
}

TEST(InitChild, WithoutStdinItReadsNothing) {
    InitBox box;
    EXPECT_EQ(box.run_script("cat; readlink /proc/self/fd/0").out, "/dev/null\n");
}

TEST(InitChild, ItStartsClean) {
    InitBox fds;
    EXPECT_EQ(fds.run_hostile({"fds"}).out, "0\n1\n2\n");
    InitBox signals;
    EXPECT_EQ(signals.run_hostile({"signals"}).out, "");
    InitBox score;
    EXPECT_EQ(score.run_script("cat /proc/self/oom_score_adj").out, "1000\n");
    InitBox group;
    EXPECT_EQ(group.run_script("ps -o pgid=,sid= -p $$ | tr -s ' '").out, " 2 2\n");
}

TEST(InitChild, DevStdoutCanBeOpened) {
    InitBox box;
    EXPECT_EQ(box.run_script("echo a > /dev/stdout; echo b > /dev/stderr").out, "a\n");
}

// -------------------------------------------------------------------------- output

TEST(InitOutput, BytesArriveAsTheyWerePrinted) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_hostile({"pattern", "1000"});
    std::string expected;
    for (int i = 0; i < 256'000; ++i) expected += static_cast<char>(i % 256);
    EXPECT_TRUE(outcome.out == expected);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->out.total, 256'000);
    EXPECT_EQ(outcome.record->out.kept, 256'000);
    EXPECT_EQ(outcome.record->out.note, 0);
    EXPECT_EQ(outcome.record->err.total, 0);
}

struct CapCase {
    const char* sentence;
    std::int64_t printed;
    std::int64_t budget;
};

class InitOutputCap : public testing::TestWithParam<CapCase> {};

// Head and tail of both streams, whatever lies between; the counts tell how much that was.
TEST_P(InitOutputCap, HeadAndTailAreKept) {
    const auto [sentence, printed, budget] = GetParam();
    InitBox box;
    const std::string count = std::to_string(printed);
    const InitBox::Outcome outcome = box.run_script(
        "seq 1000000 | head -c " + count + "; seq 500000 1500000 | head -c " + count + " >&2",
        {.log_bytes = budget});
    ASSERT_EQ(outcome.exit_code, 0) << sentence;
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    const auto check = [&](const std::string& got, const ExitRecord::Stream& stream, int first) {
        std::string all;
        for (int i = first; std::ssize(all) < printed; ++i) all += std::to_string(i) + "\n";
        all.resize(static_cast<std::size_t>(printed));
        const std::int64_t head = budget - budget / 2;
        std::string expected = all;
        std::string note;
        if (printed > budget) {
            note = "\n[mayfly: " + std::to_string(printed - budget) + " bytes not kept]\n";
            expected = all.substr(0, static_cast<std::size_t>(head)) + note +
                       all.substr(static_cast<std::size_t>(printed - budget / 2));
        }
        EXPECT_TRUE(got == expected) << sentence << ": " << got.size() << " bytes";
        EXPECT_EQ(stream.total, printed);
        EXPECT_EQ(stream.kept, std::min(printed, budget));
        EXPECT_EQ(stream.note, std::ssize(note));
    };
    check(outcome.out, outcome.record->out, 1);
    check(outcome.err, outcome.record->err, 500'000);
}

INSTANTIATE_TEST_SUITE_P(
    Table, InitOutputCap,
    testing::Values(CapCase{"well under", 1'000, 10'000}, CapCase{"exactly all", 10'000, 10'000},
                    CapCase{"one byte over", 10'001, 10'000},
                    CapCase{"the tail goes round several times", 3'000'000, 100'000},
                    CapCase{"larger than every buffer", 3'000'000, 1'000'000},
                    CapCase{"an odd budget", 5'000, 1'001}, CapCase{"a budget of one", 5'000, 1},
                    CapCase{"nothing is kept", 5'000, 0}));

TEST(InitOutput, PrintingForEverEndsAtTheDeadlineAndNoSooner) {
    InitBox box;
    const auto begun = Clock::now();
    const InitBox::Outcome outcome =
        box.run({"/usr/bin/yes"}, {.run_ms = 700, .log_bytes = 100'000});
    EXPECT_GE(ms_since(begun), 700);
    EXPECT_EQ(outcome.exit_code, 143);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "timeout");
    EXPECT_EQ(outcome.record->out.kept, 100'000);
    EXPECT_GT(outcome.record->out.total, 1'000'000);
    EXPECT_EQ(std::ssize(outcome.out), outcome.record->out.kept + outcome.record->out.note);
}

TEST(InitOutput, AConsumerThatDoesNotReadHoldsNeitherDeadlineNorRecord) {
    InitBox box;
    box.start({"/usr/bin/yes"}, {.run_ms = 500});
    const auto begun = Clock::now();
    box.wait_for_end_without_reading();
    EXPECT_LT(ms_since(begun), 20'000);
    const InitBox::Outcome outcome = box.finish();
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "timeout");
    EXPECT_EQ(std::ssize(outcome.out), outcome.record->out.kept + outcome.record->out.note);
    EXPECT_EQ(outcome.record->exit_code, 143);
}

TEST(InitOutput, AConsumerThatIsGoneDoesNotStopTheScript) {
    InitBox box;
    box.start(box.script("sleep 0.2; seq 100000; seq 100000 >&2; exit 6"), {});
    box.stop_reading();
    const InitBox::Outcome outcome = box.finish();
    EXPECT_EQ(outcome.exit_code, 6);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->out.total, 588'895);
    EXPECT_EQ(outcome.record->out.kept, 0);
}

// --------------------------------------------------------------------- ends, signals

TEST(InitStop, WhoIgnoresTermIsKilledAfterTheGrace) {
    InitBox box;
    const auto begun = Clock::now();
    const InitBox::Outcome outcome = box.run_hostile({"deaf"}, {.run_ms = 300, .grace_ms = 400});
    EXPECT_GE(ms_since(begun), 700);
    EXPECT_LT(ms_since(begun), 5'000);
    EXPECT_EQ(outcome.exit_code, 137);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->signal, SIGKILL);
    EXPECT_EQ(outcome.record->tripped, "timeout");
    EXPECT_FALSE(outcome.record->term_from_outside);
}

TEST(InitStop, TheGraceIsEnoughToSaySomething) {
    InitBox box;
    const InitBox::Outcome outcome =
        box.run_script("trap 'echo sorry; exit 9' TERM; while :; do sleep 0.05; done",
                       {.run_ms = 300, .grace_ms = 5'000});
    EXPECT_EQ(outcome.exit_code, 9);
    EXPECT_EQ(outcome.out, "sorry\n");
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "timeout");
}

TEST(InitStop, AStoppedScriptIsStoppedForGood) {
    InitBox box;
    const InitBox::Outcome outcome =
        box.run_script("kill -STOP $$", {.run_ms = 300, .grace_ms = 60'000});
    EXPECT_EQ(outcome.exit_code, 143);
}

TEST(InitSignals, TermFromOutsideIsForwardedAndRecorded) {
    InitBox box;
    box.start(box.script("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"), {});
    box.wait_for_output("ready\n");
    box.send(SIGTERM);
    const InitBox::Outcome outcome = box.finish();
    EXPECT_EQ(outcome.exit_code, 0);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_TRUE(outcome.record->term_from_outside);
    EXPECT_EQ(outcome.record->tripped, "");
}

TEST(InitSignals, TermFromOutsideKillsTheDeafAfterTheGrace) {
    InitBox box;
    box.start(box.hostile({"deaf"}), {});
    box.wait_for_output("ready\n");
    box.send(SIGTERM);
    const InitBox::Outcome outcome = box.finish();
    EXPECT_EQ(outcome.exit_code, 137);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_TRUE(outcome.record->term_from_outside);
}

TEST(InitSignals, OthersAreForwardedAndEndNothingByThemselves) {
    InitBox box;
    box.start(box.script("trap 'echo usr1' USR1; trap 'echo hup; exit 3' HUP; echo ready;"
                         "while :; do sleep 0.02; done"),
              {});
    box.wait_for_output("ready\n");
    box.send(SIGUSR1);
    box.wait_for_output("usr1\n");
    box.send(SIGHUP);
    const InitBox::Outcome outcome = box.finish();
    EXPECT_EQ(outcome.exit_code, 3);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_FALSE(outcome.record->term_from_outside);
}

TEST(InitSignals, TermFromInsideIsNotFromOutside) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_hostile({"forge-term"});
    EXPECT_EQ(outcome.out, "SI_USER: Operation not permitted\nSI_QUEUE: open\nkill: open\n");
    EXPECT_EQ(outcome.exit_code, 0);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_FALSE(outcome.record->term_from_outside);
}

TEST(InitSafety, TheScriptCannotGetAtPid1) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_hostile({"attack"});
    EXPECT_EQ(outcome.out.find(": open"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("still here\n"), std::string::npos);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_TRUE(outcome.record) << outcome.record_error;
}

// ------------------------------------------------------------------------- processes

TEST(InitProcesses, ADaemonDoesNotOutliveTheRun) {
    InitBox box;
    const auto begun = Clock::now();
    const InitBox::Outcome outcome = box.run_hostile({"linger"});
    EXPECT_LT(ms_since(begun), 5'000);
    EXPECT_EQ(outcome.exit_code, 5);
    EXPECT_EQ(outcome.out, "left one behind\n");
    EXPECT_TRUE(outcome.record) << outcome.record_error;
}

TEST(InitProcesses, ABackgroundChildThatHoldsTheOutputDoesNotHoldTheRun) {
    InitBox box;
    const auto begun = Clock::now();
    const InitBox::Outcome outcome = box.run_script("sleep 1000 & echo main; exit 2");
    EXPECT_LT(ms_since(begun), 5'000);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "main\n");
}

TEST(InitProcesses, AForkBombIsKilledWhole) {
    InitBox box;
    const auto begun = Clock::now();
    const InitBox::Outcome outcome = box.run_hostile({"fork-bomb"}, {.run_ms = 700});
    EXPECT_LT(ms_since(begun), 20'000);
    EXPECT_EQ(outcome.exit_code, 137);
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "timeout");
}

TEST(InitProcesses, ThousandsOfOrphansAreReaped) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_script(
        box.hostile({})[0] +
        " orphans 3000; while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done;"
        "echo none left");
    EXPECT_EQ(outcome.out, "done\nnone left\n");
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_TRUE(outcome.record) << outcome.record_error;
}

// ------------------------------------------------------------------------------ work

TEST(InitWork, OneBigFileTrips) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_script(
        "dd if=/dev/zero of=big bs=1M count=20 2>/dev/null; sleep 1000", {.work_bytes = 8 << 20});
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "work_bytes");
    EXPECT_EQ(outcome.exit_code, 143);
    EXPECT_GE(outcome.record->work_bytes, 20 << 20);
    EXPECT_LT(outcome.record->wall_us, 15'000'000);
}

TEST(InitWork, ManySmallFilesTrip) {
    InitBox box;
    const InitBox::Outcome outcome =
        box.run_hostile({"files", "20000", "100"}, {.work_bytes = 40 << 20});
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "work_bytes");
    EXPECT_GT(outcome.record->work_bytes, 40 << 20);
}

TEST(InitWork, EmptyFilesAreNotFree) {
    InitBox box;
    const InitBox::Outcome outcome =
        box.run_hostile({"files", "20000", "0"}, {.work_bytes = 10 << 20});
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "work_bytes");
}

TEST(InitWork, AFolderThatMayNotBeReadHidesNothing) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_script(
        "mkdir h; dd if=/dev/zero of=h/big bs=1M count=20 2>/dev/null; chmod 0 h; sleep 1000",
        {.work_bytes = 8 << 20});
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "work_bytes");
}

TEST(InitWork, DepthHidesNothing) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_script(
        "for i in $(seq 200); do mkdir d && cd d; done; sleep 1000", {.work_bytes = 8 << 20});
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "work_bytes");
    EXPECT_NE(outcome.err.find("nested deeper than 128 folders"), std::string::npos);
    EXPECT_EQ(std::ssize(outcome.err), outcome.record->err.kept + outcome.record->err.note);
}

TEST(InitWork, LinksCountOnceAndAreNotFollowed) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_script(
        "dd if=/dev/zero of=big bs=1M count=5 2>/dev/null; for i in 1 2 3 4; do ln big l$i; done;"
        "ln -s / everything; ln -s . round; sleep 1.2",
        {.work_bytes = 8 << 20});
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->tripped, "");
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_GE(outcome.record->work_bytes, 5 << 20);
    EXPECT_LT(outcome.record->work_bytes, 6 << 20);
}

// ----------------------------------------------------------------------- last words

TEST(InitLastWords, CountTheFilesOfTheScriptAndNoneOfOurs) {
    InitBox box;
    const InitBox::Outcome outcome = box.run_script(
        "printf 12345 > output/a; mkdir output/sub; printf 123 > output/sub/b; "
        "ln output/a output/twin; ln -s a output/link; mkfifo output/pipe; printf 1 > elsewhere; "
        "printf 1 > output/.mayfly/beside; printf {} > result.json");
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->output_files, 3);
    EXPECT_EQ(outcome.record->output_bytes, 13);
}

struct Obstacle {
    const char* sentence;
    const char* script;
};

class InitObstacle : public testing::TestWithParam<Obstacle> {};

TEST_P(InitObstacle, TheRecordIsWrittenAllTheSame) {
    InitBox box;
    std::ofstream(box.work() / "victim") << "untouched";
    const InitBox::Outcome outcome =
        box.run_script(std::string("cd output/.mayfly; ") + GetParam().script + "; exit 7");
    EXPECT_EQ(outcome.exit_code, 7);
    ASSERT_TRUE(outcome.record) << GetParam().sentence << ": " << outcome.record_error;
    EXPECT_EQ(outcome.record->exit_code, 7);
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(box.record_dir() / "exit.json")));
    EXPECT_EQ(file_text(box.work() / "victim"), "untouched");
}

INSTANTIATE_TEST_SUITE_P(
    Table, InitObstacle,
    testing::Values(
        Obstacle{"a forged record", "echo '{\"v\":1,\"exit_code\":0}' > exit.json"},
        Obstacle{"a link to another file", "ln -s ../../victim exit.json"},
        Obstacle{"a link to nowhere", "ln -s nowhere exit.json"},
        Obstacle{"a FIFO", "mkfifo exit.json"},
        Obstacle{"a full folder that may not be read", "mkdir -p exit.json/a; chmod 0 exit.json"},
        Obstacle{"an empty folder", "mkdir exit.json"},
        Obstacle{"a hard link to another file", "ln ../../victim exit.json"},
        Obstacle{"a file that may not be written", "echo x > exit.json; chmod 0 exit.json"}));

TEST(InitLastWords, AFullDiskCostsNeitherRecordNorResult) {
    InitBox box;
    box.mount_small_disk(256 << 10);
    const InitBox::Outcome outcome = box.run_script(
        "head -c 60000 /dev/zero | tr '\\0' 1 > result.json;"
        "cat /dev/zero > fill 2>/dev/null; echo x > one-more 2>/dev/null; exit 3");
    EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_EQ(outcome.record->exit_code, 3);
    EXPECT_EQ(file_text(box.record_dir() / "result.json"), std::string(60'000, '1'));
}

TEST(InitResult, ItIsCopied) {
    InitBox box;
    box.run_script("echo '{\"a\":1}' > result.json");
    EXPECT_EQ(file_text(box.record_dir() / "result.json"), "{\"a\":1}\n");
}

TEST(InitResult, OneThatMayNotBeReadIsReadAllTheSame) {
    InitBox box;
    box.run_script("echo 1 > result.json; chmod 0 result.json");
    EXPECT_EQ(file_text(box.record_dir() / "result.json"), "1\n");
}

TEST(InitResult, OfAnOversizeOneOnlyTooMuchIsCopied) {
    InitBox box;
    box.run_script("truncate -s 3G result.json");
    EXPECT_EQ(fs::file_size(box.record_dir() / "result.json"), (1U << 20) + 1);
}

TEST(InitResult, WithoutOneAPlantedOneIsRemoved) {
    InitBox box;
    box.run_script("echo forged > output/.mayfly/result.json");
    EXPECT_FALSE(fs::exists(box.record_dir() / "result.json"));
}

TEST(InitResult, WhatIsNoFileBecomesAFolderThatSaysSo) {
    for (const char* script : {"ln -s /etc/passwd result.json", "mkfifo result.json",
                               "mkdir -p result.json/x", "ln -s nowhere result.json",
                               "mkfifo result.json; mkdir -p output/.mayfly/result.json/x"}) {
        InitBox box;
        const InitBox::Outcome outcome = box.run_script(script);
        EXPECT_TRUE(outcome.record) << outcome.record_error;
        EXPECT_TRUE(fs::is_directory(box.record_dir() / "result.json")) << script;
        EXPECT_TRUE(fs::is_empty(box.record_dir() / "result.json")) << script;
    }
}

TEST(InitLastWords, WhatItUsedIsCounted) {
    InitBox box;
    const InitBox::Outcome outcome =
        box.run_script("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
    ASSERT_TRUE(outcome.record) << outcome.record_error;
    EXPECT_GT(outcome.record->cpu_us, 10'000);
    EXPECT_GT(outcome.record->wall_us, 10'000);
    EXPECT_GT(outcome.record->memory_peak_bytes, 100'000);
    EXPECT_EQ(outcome.record->oom_kills, 0);
}

}  // namespace
}  // namespace mayfly::controller
