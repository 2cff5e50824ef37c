#include "controller/sandbox.h"
#include "tests/support/asked_facts.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace mayfly::controller {
namespace {

store::Run sample_run() {
    store::Run run;
    run.id = "01hzy0000000000000000000aa";
    run.spec_sha256 = "5bec";
    run.spec.command = {"python3", "main.py", "--name", "a b"};
    run.spec.env = {{"LANG", "C.UTF-8"}, {"HOME", "/root"}, {"MAYFLY_RUN_ID", "forged"}};
    run.spec.labels = {{"team", "blue"}};
    run.spec.limits = {.timeout_s = 60,
                       .queue_timeout_s = 3'600,
                       .memory_bytes = 256 << 20,
                       .cpu_millis = 1'500,
                       .pids = 128,
                       .work_bytes = 100 << 20,
                       .tmp_bytes = 64 << 20,
                       .log_bytes = 1 << 20,
                       .artifact_bytes = 50 << 20,
                       .artifact_files = 100};
    return run;
}

store::Attempt sample_attempt() {
    store::Attempt attempt;
    attempt.number = 2;
    attempt.container_name = "mayfly-01hzy-2";
    attempt.volume_name = "mayfly-01hzy-2-cafe";
    attempt.nonce = "cafe";
    return attempt;
}

Sandbox sample_sandbox() {
    const SandboxSettings settings{.instance_id = "instance-1"};
    return make_sandbox(settings, sample_run(), sample_attempt(), "sha256:prepared");
}

ContainerFacts facts_of(const Sandbox& sandbox) {
    auto facts = facts_as_asked(sandbox);
    facts.id = "abc";
    facts.labels["io.mayfly.image.base"] = "inherited from the image";
    return facts;
}

TEST(MakeSandbox, SaysTheWholeProfile) {
    const Sandbox sandbox = sample_sandbox();
    EXPECT_EQ("mayfly-01hzy-2", sandbox.name);
    EXPECT_EQ("sha256:prepared", sandbox.image_id);
    EXPECT_EQ((std::map<std::string, std::string>{{"io.mayfly.instance", "instance-1"},
                                                  {"io.mayfly.run", "01hzy0000000000000000000aa"},
                                                  {"io.mayfly.attempt", "2"},
                                                  {"io.mayfly.nonce", "cafe"},
                                                  {"io.mayfly.spec", "5bec"},
                                                  {"io.mayfly.role", "run"}}),
              sandbox.labels);
    EXPECT_EQ((std::vector<std::string>{"/.mayfly/init", "--run-ms=60000", "--grace-ms=2000",
                                        "--log-bytes=1048576", "--work-bytes=104857600", "--"}),
              sandbox.entrypoint);
    EXPECT_EQ(sample_run().spec.command, sandbox.cmd);
    EXPECT_EQ(10'001U, sandbox.uid);
    EXPECT_EQ(10'001U, sandbox.gid);
    EXPECT_EQ(256 << 20, sandbox.memory_bytes);
    EXPECT_EQ(1'500'000'000, sandbox.nano_cpus);
    EXPECT_EQ(128, sandbox.pids);
    EXPECT_EQ("rw,size=67108864,nr_inodes=16384,noexec,nosuid,nodev,mode=1777",
              sandbox.tmpfs_options);
    EXPECT_EQ(1 << 20, sandbox.shm_bytes);
    EXPECT_EQ(41 << 20, sandbox.log_max_bytes);
    EXPECT_EQ("mayfly-01hzy-2-cafe", sandbox.volume_name);
    EXPECT_FALSE(sandbox.volume_read_only);
}

TEST(MakeSandbox, TheUsersEnvironmentCannotSayWhatIsOurs) {
    const Sandbox sandbox = sample_sandbox();
    EXPECT_EQ((std::map<std::string, std::string>{{"LANG", "C.UTF-8"},
                                                  {"HOME", "/tmp"},
                                                  {"MAYFLY_RUN_ID", "01hzy0000000000000000000aa"},
                                                  {"MAYFLY_ATTEMPT", "2"}}),
              sandbox.env);
}

TEST(MakeSandbox, TheUsersLabelsStayOffTheEngine) {
    EXPECT_FALSE(sample_sandbox().labels.contains("team"));
}

TEST(MakeSandbox, StandardInputIsAFlagForPidOne) {
    store::Run run = sample_run();
    run.spec.stdin_file = store::InputFile{};
    const Sandbox sandbox = make_sandbox({}, run, sample_attempt(), "sha256:prepared");
    ASSERT_GE(sandbox.entrypoint.size(), 2U);
    EXPECT_EQ("--stdin", sandbox.entrypoint[sandbox.entrypoint.size() - 2]);
    EXPECT_EQ("--", sandbox.entrypoint.back());
}

TEST(MakeSandbox, UlimitsFollowTheLimits) {
    struct Case {
        const char* sentence;
        std::function<void(store::RunLimits&)> change;
        const char* ulimit;
        std::int64_t expected;
    };
    const Case cases[] = {
        {"core dumps are off", [](auto&) {}, "core", 0},
        {"open files are few", [](auto&) {}, "nofile", 1'024},
        {"locked memory is small", [](auto&) {}, "memlock", 64 << 10},
        {"a file may fill /work", [](auto& l) { l.work_bytes = 1LL << 30; }, "fsize", 1LL << 30},
        {"a file may be as large as the artifacts together",
         [](auto& l) { l.artifact_bytes = 3LL << 30; }, "fsize", 3LL << 30},
        {"a file may fill /tmp", [](auto& l) { l.tmp_bytes = 1LL << 30; }, "fsize", 1LL << 30},
        {"1.5 CPUs count as two", [](auto&) {}, "cpu", 60 * 2 + 60},
        {"a hundredth of a CPU counts as one", [](auto& l) { l.cpu_millis = 10; }, "cpu", 120},
        {"exactly two CPUs count as two", [](auto& l) { l.cpu_millis = 2'000; }, "cpu", 180},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        store::Run run = sample_run();
        c.change(run.spec.limits);
        const Sandbox sandbox = make_sandbox({}, run, sample_attempt(), "sha256:prepared");
        ASSERT_TRUE(sandbox.ulimits.contains(c.ulimit));
        EXPECT_EQ(c.expected, sandbox.ulimits.at(c.ulimit));
    }
}

TEST(MakeSandbox, InodesOfTmpHaveAFloorAndACeiling) {
    store::Run run = sample_run();
    run.spec.limits.tmp_bytes = 64 << 10;
    EXPECT_NE(std::string::npos,
              make_sandbox({}, run, sample_attempt(), "").tmpfs_options.find(",nr_inodes=64,"));
    run.spec.limits.tmp_bytes = 1LL << 30;
    EXPECT_NE(std::string::npos,
              make_sandbox({}, run, sample_attempt(), "").tmpfs_options.find(",nr_inodes=65536,"));
}

TEST(MakeSandbox, TheLogDriversBoundIsCapped) {
    store::Run run = sample_run();
    run.spec.limits.log_bytes = 64 << 20;
    EXPECT_EQ(512 << 20, make_sandbox({}, run, sample_attempt(), "").log_max_bytes);
}

TEST(MakeProbe, LooksAtTheSameVolumeAndCanDoNothing) {
    const SandboxSettings settings{.instance_id = "instance-1"};
    const Sandbox probe = make_probe(settings, sample_run(), sample_attempt(), "sha256:prepared");
    EXPECT_EQ("mayfly-01hzy-2-probe", probe.name);
    EXPECT_EQ("probe", probe.labels.at("io.mayfly.role"));
    EXPECT_EQ("mayfly-01hzy-2-cafe", probe.volume_name);
    EXPECT_TRUE(probe.volume_read_only);
    EXPECT_EQ(std::vector<std::string>{"/.mayfly/init"}, probe.entrypoint);
    EXPECT_TRUE(probe.cmd.empty());
    EXPECT_TRUE(probe.env.empty());
    EXPECT_EQ(std::vector<std::string>(), verify_sandbox(probe, facts_of(probe)));
}

TEST(VerifySandbox, IsSilentWhenEverythingIsInForce) {
    const Sandbox sandbox = sample_sandbox();
    EXPECT_EQ(std::vector<std::string>(), verify_sandbox(sandbox, facts_of(sandbox)));
}

TEST(VerifySandbox, AcceptsTheOtherSpellingsOfEngines) {
    const Sandbox sandbox = sample_sandbox();
    const std::function<void(ContainerFacts&)> spellings[] = {
        [](auto& f) { f.security_opt = {"no-new-privileges:true"}; },
        [](auto& f) { f.security_opt = {"no-new-privileges=true"}; },
        [](auto& f) { f.restart_policy = ""; },
        [](auto& f) { f.ulimits["nproc"] = {100, 100}; },
        [](auto& f) { f.log_options["tag"] = "x"; },
        [](auto& f) { f.mounts.push_back({"tmpfs", "", "/tmp", true}); },
    };
    for (const auto& spell : spellings) {
        ContainerFacts facts = facts_of(sandbox);
        spell(facts);
        EXPECT_EQ(std::vector<std::string>(), verify_sandbox(sandbox, facts));
    }
}

struct Deviation {
    const char* field;  // how the one sentence begins
    std::function<void(ContainerFacts&)> plant;
};

const std::vector<Deviation>& deviations() {
    using F = ContainerFacts;
    static const std::vector<Deviation> all = {
        {"name: ", [](F& f) { f.name = "other"; }},
        {"label io.mayfly.nonce: ", [](F& f) { f.labels["io.mayfly.nonce"] = "beef"; }},
        {"label io.mayfly.instance: ", [](F& f) { f.labels.erase("io.mayfly.instance"); }},
        {"image: ", [](F& f) { f.image_id = "sha256:other"; }},
        {"user: ", [](F& f) { f.user = "0:0"; }},
        {"user: ", [](F& f) { f.user = ""; }},
        {"working_dir: ", [](F& f) { f.working_dir = "/proc/self/fd/8"; }},
        {"entrypoint: ", [](F& f) { f.entrypoint = {"/bin/sh"}; }},
        {"cmd: ", [](F& f) { f.cmd.emplace_back("more"); }},
        {"stop_signal: ", [](F& f) { f.stop_signal = "SIGKILL"; }},
        {"tty: ", [](F& f) { f.tty = true; }},
        {"open_stdin: ", [](F& f) { f.open_stdin = true; }},
        {"healthcheck_off: ", [](F& f) { f.healthcheck_off = false; }},
        {"docker_init: ", [](F& f) { f.docker_init = true; }},
        {"auto_remove: ", [](F& f) { f.auto_remove = true; }},
        {"restart_policy: ", [](F& f) { f.restart_policy = "always"; }},
        {"network_disabled: ", [](F& f) { f.network_disabled = false; }},
        {"network_mode: ", [](F& f) { f.network_mode = "bridge"; }},
        {"network_mode: ", [](F& f) { f.network_mode = ""; }},
        {"publish_all_ports: ", [](F& f) { f.publish_all_ports = true; }},
        {"readonly_rootfs: ", [](F& f) { f.readonly_rootfs = false; }},
        {"privileged: ", [](F& f) { f.privileged = true; }},
        {"cap_add: ", [](F& f) { f.cap_add = {"SYS_ADMIN"}; }},
        {"cap_drop: ", [](F& f) { f.cap_drop.clear(); }},
        {"cap_drop: ", [](F& f) { f.cap_drop = {"NET_RAW"}; }},
        {"security_opt: ", [](F& f) { f.security_opt.clear(); }},
        {"security_opt: ", [](F& f) { f.security_opt = {"no-new-privileges:false"}; }},
        {"security_opt: ", [](F& f) { f.security_opt.emplace_back("seccomp=unconfined"); }},
        {"masked_paths: ", [](F& f) { f.masked_paths.clear(); }},
        {"readonly_paths: ", [](F& f) { f.readonly_paths.clear(); }},
        {"device_count: ", [](F& f) { f.device_count = 1; }},
        {"group_add: ", [](F& f) { f.group_add = {"0"}; }},
        {"memory_bytes: ", [](F& f) { f.memory_bytes = 0; }},
        {"memory_swap_bytes: ", [](F& f) { f.memory_swap_bytes = -1; }},
        {"memory_swap_bytes: ", [](F& f) { f.memory_swap_bytes *= 2; }},
        {"nano_cpus: ", [](F& f) { f.nano_cpus = 0; }},
        {"pids_limit: ", [](F& f) { f.pids_limit = 0; }},
        {"oom_kill_disable: ", [](F& f) { f.oom_kill_disable = true; }},
        {"ulimits fsize: ", [](F& f) { f.ulimits.erase("fsize"); }},
        {"ulimits nofile: ", [](F& f) { f.ulimits["nofile"] = {1'024, 1 << 20}; }},
        {"ulimits core: ", [](F& f) { f.ulimits["core"] = {-1, -1}; }},
        {"ipc_mode: ", [](F& f) { f.ipc_mode = "host"; }},
        {"ipc_mode: ", [](F& f) { f.ipc_mode = "shareable"; }},
        {"pid_mode: ", [](F& f) { f.pid_mode = "host"; }},
        {"uts_mode: ", [](F& f) { f.uts_mode = "host"; }},
        {"userns_mode: ", [](F& f) { f.userns_mode = "host"; }},
        {"cgroupns_mode: ", [](F& f) { f.cgroupns_mode = "host"; }},
        {"shm_size_bytes: ", [](F& f) { f.shm_size_bytes = 64 << 20; }},
        {"tmpfs: ", [](F& f) { f.tmpfs.clear(); }},
        {"tmpfs: ", [](F& f) { f.tmpfs["/tmp"] = ""; }},
        {"tmpfs: ", [](F& f) { f.tmpfs["/run"] = "size=1"; }},
        {"log_driver: ", [](F& f) { f.log_driver = "json-file"; }},
        {"log_options max-size: ", [](F& f) { f.log_options.erase("max-size"); }},
        {"log_options mode: ", [](F& f) { f.log_options["mode"] = "non-blocking"; }},
        {"binds: ", [](F& f) { f.binds = {"/:/host"}; }},
        {"volumes_from: ", [](F& f) { f.volumes_from = {"other"}; }},
        {"mounts: ", [](F& f) { f.mounts.clear(); }},
        {"mounts: ", [](F& f) { f.mounts[0].name = "other"; }},
        {"mounts: ", [](F& f) { f.mounts[0].destination = "/elsewhere"; }},
        {"mounts: ", [](F& f) { f.mounts[0].type = "bind"; }},
        {"mounts: ", [](F& f) { f.mounts[0].rw = false; }},
        {"mounts: ",
         [](F& f) {  // an anonymous volume, as an image's VOLUME line makes it
             f.mounts.push_back(
                 {.type = "volume", .name = "0f3c", .destination = "/data", .rw = true});
         }},
    };
    return all;
}

TEST(VerifySandbox, EveryDeviationIsExactlyOneSentenceThatNamesIt) {
    const Sandbox sandbox = sample_sandbox();
    for (const Deviation& deviation : deviations()) {
        SCOPED_TRACE(deviation.field);
        ContainerFacts facts = facts_of(sandbox);
        deviation.plant(facts);
        const std::vector<std::string> sentences = verify_sandbox(sandbox, facts);
        ASSERT_EQ(1U, sentences.size());
        EXPECT_TRUE(sentences[0].starts_with(deviation.field)) << sentences[0];
        EXPECT_NE(std::string::npos, sentences[0].find("asked for ")) << sentences[0];
        EXPECT_NE(std::string::npos, sentences[0].find("in force is ")) << sentences[0];
    }
}

TEST(VerifySandbox, TheRuntimeIsHeldToOnlyWhenOneWasAskedFor) {
    Sandbox sandbox = sample_sandbox();
    sandbox.runtime = "runsc";
    const auto sentences = verify_sandbox(sandbox, facts_of(sandbox));
    ASSERT_EQ(1U, sentences.size());
    EXPECT_EQ("runtime: asked for \"runsc\", in force is \"runc\"", sentences[0]);
}

TEST(VerifySandbox, ALoopbackRunWantsTheNetworkNotDisabled) {
    Sandbox sandbox = sample_sandbox();
    sandbox.network = store::Network::loopback;
    ContainerFacts facts = facts_of(sandbox);
    EXPECT_EQ(std::vector<std::string>(), verify_sandbox(sandbox, facts));
    facts.network_disabled = true;
    EXPECT_EQ(1U, verify_sandbox(sandbox, facts).size());
}

TEST(VerifySandbox, AProbeMustNotBeAbleToWrite) {
    const Sandbox probe = make_probe({}, sample_run(), sample_attempt(), "sha256:prepared");
    ContainerFacts facts = facts_of(probe);
    facts.mounts[0].rw = true;
    const auto sentences = verify_sandbox(probe, facts);
    ASSERT_EQ(1U, sentences.size());
    EXPECT_TRUE(sentences[0].starts_with("mounts: ")) << sentences[0];
}

TEST(VerifySandbox, AnEmptyInspectFailsEverywhere) {
    EXPECT_GT(verify_sandbox(sample_sandbox(), ContainerFacts{}).size(), 25U);
}

TEST(IsOurs, OnlyWhenEveryLabelIsTheAttemptsOwn) {
    const Sandbox sandbox = sample_sandbox();
    std::map<std::string, std::string> labels = sandbox.labels;
    labels["more"] = "does not matter";
    EXPECT_TRUE(is_ours(sandbox, labels));
    for (const auto& [key, value] : sandbox.labels) {
        SCOPED_TRACE(key);
        auto without = labels;
        without.erase(key);
        EXPECT_FALSE(is_ours(sandbox, without));
        auto other = labels;
        other[key] = value + "x";
        EXPECT_FALSE(is_ours(sandbox, other));
    }
    EXPECT_FALSE(is_ours(Sandbox{}, labels)) << "nothing asked for is nobody's";
}

}  // namespace
}  // namespace mayfly::controller
