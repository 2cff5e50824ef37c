#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/detached.hpp>

#include "tests/engine/fixture.h"

namespace mayfly::controller::docker {
namespace {

using Kind = EngineError::Kind;

std::string joined(const std::vector<std::string>& sentences) {
    std::string out;
    for (const std::string& sentence : sentences) {
        out += sentence + "\n";
    }
    return out;
}

TEST_F(EngineTest, ProbeSaysWhatTheEngineIs) {
    const EngineFacts facts = must(engine_->probe());
    EXPECT_FALSE(facts.version.empty());
    const auto api = parse_api_version(facts.api_version);
    ASSERT_TRUE(api.has_value()) << facts.api_version;
    EXPECT_GE(*api, kApiOldest);
    EXPECT_LE(*api, kApiNewest);
    EXPECT_EQ("linux", facts.os);
    EXPECT_TRUE(facts.arch == "amd64" || facts.arch == "arm64") << facts.arch;
    EXPECT_FALSE(facts.id.empty());
    EXPECT_FALSE(facts.default_runtime.empty());
    EXPECT_FALSE(facts.runc_version.empty());
    EXPECT_NE(facts.runtimes.end(),
              std::find(facts.runtimes.begin(), facts.runtimes.end(), facts.default_runtime));
    EXPECT_GE(facts.cpus, 1);
    EXPECT_GT(facts.memory_bytes, 64 << 20);
    EXPECT_TRUE(facts.cgroup_version == "1" || facts.cgroup_version == "2");
}

TEST_F(EngineTest, AWholeLifeOfARun) {
    const Sandbox sandbox = new_sandbox(
        {"/bin/sh", "-c",
         "echo to out; echo to err >&2; echo \"$GREETING $HOME $MAYFLY_RUN_ID $MAYFLY_ATTEMPT\"; "
         "id -u; cat in.txt; mkdir output; printf made > output/artifact; exit 7"});
    std::vector<std::string> actions;
    bool connected = false;
    boost::asio::co_spawn(
        io_,
        engine_->events(
            fmt::format("{}={}", kLabelInstance, sandbox.labels.at(std::string(kLabelInstance))),
            [&connected] { connected = true; },
            [&actions](const EngineEvent& event) { actions.push_back(event.action); }),
        boost::asio::detached);
    ASSERT_TRUE(run_until([&] { return connected; }));

    const CreatedContainer created = must(engine_->create_container(sandbox));
    EXPECT_TRUE(created.warnings.empty()) << joined(created.warnings);
    const ContainerFacts fresh = must(engine_->inspect_container(created.id));
    EXPECT_EQ(ContainerState::created, fresh.state);
    EXPECT_EQ(0, fresh.started_ms);
    EXPECT_EQ("", joined(verify_sandbox(sandbox, fresh)));
    EXPECT_TRUE(is_ours(sandbox, fresh.labels));

    TextSource inputs(make_tar({{"in.txt", 0644, "input\n"}}));
    must(engine_->put_archive(created.id, "/work", inputs));
    EXPECT_EQ(StartOutcome::started, must(engine_->start_container(created.id)));
    const ContainerFacts ended = wait_for_end(created.id);
    EXPECT_EQ(7, ended.exit_code);
    EXPECT_FALSE(ended.oom_killed);
    EXPECT_GT(ended.started_ms, 0);
    EXPECT_GT(ended.finished_ms, 0);
    EXPECT_TRUE(run_until([&] { return std::ranges::find(actions, "die") != actions.end(); }))
        << joined(actions);

    TextLogSink logs;
    must(engine_->read_logs(created.id, logs));
    const std::string run_id = sandbox.labels.at(std::string(kLabelRun));
    EXPECT_EQ("to out\ngood \"day\" /tmp " + run_id + " 1\n10001\ninput\n", logs.out);
    EXPECT_EQ("to err\n", logs.err);

    TextSink outputs;
    must(engine_->get_archive(created.id, "/work/output", outputs));
    EXPECT_EQ((std::map<std::string, std::string>{{"output/artifact", "made"}}),
              read_tar(outputs.text));

    EXPECT_EQ(RemoveOutcome::removed, must(engine_->remove_container(created.id, false)));
    EXPECT_EQ(RemoveOutcome::already_gone, must(engine_->remove_container(created.id, false)));
    const auto volume = must(engine_->inspect_volume(sandbox.volume_name));
    EXPECT_EQ(sandbox.labels, volume.labels);
    EXPECT_EQ("local", volume.driver);
    EXPECT_EQ(RemoveOutcome::removed, must(engine_->remove_volume(sandbox.volume_name)));
    EXPECT_EQ(RemoveOutcome::already_gone, must(engine_->remove_volume(sandbox.volume_name)));
    EXPECT_EQ(1, calls_["POST /containers/{id}/start ok"]);
}

TEST_F(EngineTest, BothNetworksAreVerifiedAndOnlyLoopbackKnowsLocalhost) {
    for (const auto network : {store::Network::none, store::Network::loopback}) {
        Sandbox sandbox = new_sandbox(
            {"/bin/sh", "-c", "cat /etc/hosts | grep -c localhost; ls /sys/class/net"});
        sandbox.network = network;
        const auto created = must(engine_->create_container(sandbox));
        EXPECT_EQ("",
                  joined(verify_sandbox(sandbox, must(engine_->inspect_container(created.id)))));
        must(engine_->start_container(created.id));
        wait_for_end(created.id);
        TextLogSink logs;
        must(engine_->read_logs(created.id, logs));
        const bool has_names = network == store::Network::loopback;
        EXPECT_EQ(has_names, !logs.out.starts_with("0\n")) << logs.out;
        EXPECT_TRUE(logs.out.ends_with("\nlo\n")) << logs.out;
    }
}

TEST_F(EngineTest, TheLimitsHoldInside) {
    Sandbox sandbox = new_sandbox(
        {"/bin/sh", "-c",
         "grep -E 'CapBnd|NoNewPrivs|^Seccomp:' /proc/self/status | tr -d '\\t'; ulimit -n; "
         "ulimit -c; "
         "touch /x 2>/dev/null || echo rootfs is read-only; touch /work/x && echo work is "
         "writable; "
         "grep -c ' /tmp tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k,nr_inodes=256 ' "
         "/proc/mounts"});
    const auto created = must(engine_->create_container(sandbox));
    must(engine_->start_container(created.id));
    wait_for_end(created.id);
    TextLogSink logs;
    must(engine_->read_logs(created.id, logs));
    EXPECT_EQ(
        "CapBnd:0000000000000000\nNoNewPrivs:1\nSeccomp:2\n1024\n0\nrootfs is read-only\n"
        "work is writable\n1\n",
        logs.out)
        << logs.err;
}

TEST_F(EngineTest, OutputOfAnyBytesComesBackAsItWas) {
    const Sandbox sandbox =
        new_sandbox({"/bin/sh", "-c",
                     "printf '\\377\\376\\001\\n'; yes | head -20000; head -c 100000 /dev/zero"});
    const auto created = must(engine_->create_container(sandbox));
    must(engine_->start_container(created.id));
    wait_for_end(created.id);
    TextLogSink logs;
    must(engine_->read_logs(created.id, logs));
    std::string expected = "\377\376\001\n";
    for (int line = 0; line < 20'000; ++line) {
        expected += "y\n";
    }
    expected += std::string(100'000, '\0');
    EXPECT_TRUE(expected == logs.out) << logs.out.size();
}

// 20.10's `local` driver keeps every byte of a line of 16 KiB and more but its line break. So a
// log may be shorter than what PID 1 passed on, by one byte for each such line, and is whole.
TEST_F(EngineTest, OfALineThatIsTooLongForTheDriverOnlyTheBreakMayBeMissing) {
    const Sandbox sandbox =
        new_sandbox({"/bin/sh", "-c", "head -c 40000 /dev/zero | tr '\\0' a; printf '\\nb\\n'"});
    const auto created = must(engine_->create_container(sandbox));
    must(engine_->start_container(created.id));
    wait_for_end(created.id);
    TextLogSink logs;
    must(engine_->read_logs(created.id, logs));
    const std::string line(40'000, 'a');
    EXPECT_TRUE(logs.out == line + "\nb\n" || logs.out == line + "b\n") << logs.out.size();
}

// The bound of the log driver is behind PID 1's: the worst that PID 1 lets through must be kept.
TEST_F(EngineTest, NothingThatPidOneLetThroughIsRotatedAway) {
    Sandbox sandbox =
        new_sandbox({"/bin/sh", "-c", "yes '' | head -c 65536; yes '' | head -c 65536 >&2"});
    sandbox.log_max_bytes = 65'536 * 40;  // as for log_bytes = 64 KiB, without the slack
    const auto created = must(engine_->create_container(sandbox));
    must(engine_->start_container(created.id));
    wait_for_end(created.id);
    TextLogSink logs;
    must(engine_->read_logs(created.id, logs));
    EXPECT_EQ(65'536U, logs.out.size());
    EXPECT_EQ(65'536U, logs.err.size());
}

TEST_F(EngineTest, ATakenNameIsAConflictAndTouchesNothing) {
    const Sandbox sandbox = new_sandbox({"/bin/true"});
    const auto created = must(engine_->create_container(sandbox));
    const auto again = run(engine_->create_container(sandbox));
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(Kind::conflict, again.error().kind);
    EXPECT_EQ(409, again.error().http_status);
    EXPECT_EQ("POST /containers/create", again.error().call);
    EXPECT_NE(std::string::npos, again.error().message.find(sandbox.name));
    EXPECT_EQ(created.id, must(engine_->inspect_container(sandbox.name)).id);
}

TEST_F(EngineTest, WhatIsNotThereIsNotFound) {
    Sandbox sandbox = new_sandbox({"/bin/true"});
    sandbox.image_id = "sha256:" + std::string(64, '0');
    TextSink sink;
    TextLogSink logs;
    TextSource source("");
    EXPECT_EQ(Kind::not_found, run(engine_->create_container(sandbox)).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->inspect_container("no-such")).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->start_container("no-such")).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->inspect_image("no-such:1")).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->inspect_volume("no-such")).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->stat_path("no-such", "/work")).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->get_archive("no-such", "/work", sink)).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->put_archive("no-such", "/work", source)).error().kind);
    EXPECT_EQ(Kind::not_found, run(engine_->read_logs("no-such", logs)).error().kind);
    EXPECT_EQ(Kind::not_found,
              run(engine_->commit_image("no-such", "mayfly-test/x", "1", {})).error().kind);
    EXPECT_EQ(KillOutcome::not_running, must(engine_->kill_container("no-such", "KILL")));
    EXPECT_EQ(RemoveOutcome::already_gone, must(engine_->remove_container("no-such", true)));
    EXPECT_EQ(RemoveOutcome::already_gone, must(engine_->remove_image("no-such:1")));
}

TEST_F(EngineTest, AnEmptyIdAsksNothing) {
    const auto before = engine_->requests();
    const auto removed = run(engine_->remove_container("", true));
    ASSERT_FALSE(removed.has_value());
    EXPECT_EQ(Kind::local, removed.error().kind);
    EXPECT_EQ(before, engine_->requests());
}

TEST_F(EngineTest, ANameWithASlashReachesNothingElse) {
    const auto seen = run(engine_->inspect_container("a/../json?all=1"));
    ASSERT_FALSE(seen.has_value());
    EXPECT_NE(200, seen.error().http_status);
}

TEST_F(EngineTest, ARunningContainerIsAlreadyRunningAndIsNotRemovedWithoutForce) {
    const Sandbox sandbox = new_sandbox({"/bin/sleep", "1000"});
    const auto created = must(engine_->create_container(sandbox));
    EXPECT_EQ(KillOutcome::not_running, must(engine_->kill_container(created.id, "KILL")));
    EXPECT_EQ(StartOutcome::started, must(engine_->start_container(created.id)));
    EXPECT_EQ(StartOutcome::already_running, must(engine_->start_container(created.id)));
    EXPECT_EQ(Kind::conflict, run(engine_->remove_container(created.id, false)).error().kind);
    EXPECT_EQ(Kind::conflict, run(engine_->remove_volume(sandbox.volume_name)).error().kind);
    EXPECT_EQ(KillOutcome::sent, must(engine_->kill_container(created.id, "KILL")));
    EXPECT_EQ(137, wait_for_end(created.id).exit_code);
    EXPECT_EQ(RemoveOutcome::removed, must(engine_->remove_container(created.id, true)));
}

TEST_F(EngineTest, ACommandThatIsMissingIsADefiniteErrorAndLeavesTheContainerCreated) {
    Sandbox sandbox = new_sandbox({});
    sandbox.entrypoint = {"/no/such/program"};
    const auto created = must(engine_->create_container(sandbox));
    const auto started = run(engine_->start_container(created.id));
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(Kind::rejected, started.error().kind) << started.error().message;
    EXPECT_FALSE(started.error().is_unknown());
    const ContainerFacts facts = must(engine_->inspect_container(created.id));
    EXPECT_EQ(ContainerState::created, facts.state);
    EXPECT_EQ(127, facts.exit_code);
    EXPECT_FALSE(facts.error.empty());
}

TEST_F(EngineTest, StatPathSeesSizeAndTimeAndTheProbeSeesThemWithoutTheContainer) {
    const Sandbox sandbox = new_sandbox({"/bin/true"});
    const auto created = must(engine_->create_container(sandbox));
    TextSource inputs(make_tar({{"seen", 0640, "12345"}}));
    must(engine_->put_archive(created.id, "/work", inputs));
    const PathStat work = must(engine_->stat_path(created.id, "/work/"));
    EXPECT_EQ(01777U & 0777U, work.mode & 0777U);
    const PathStat before = must(engine_->stat_path(created.id, "/work/seen"));
    EXPECT_EQ("seen", before.name);
    EXPECT_EQ(5, before.size);
    EXPECT_EQ(0640U, before.mode);
    EXPECT_EQ(0, before.mtime_ns);
    must(engine_->remove_container(created.id, false));

    Sandbox probe = sandbox;
    probe.name += "-probe";
    probe.volume_read_only = true;
    containers_.push_back(probe.name);
    const auto looking = must(engine_->create_container(probe));
    EXPECT_EQ("", joined(verify_sandbox(probe, must(engine_->inspect_container(looking.id)))));
    EXPECT_EQ(5, must(engine_->stat_path(looking.id, "/work/seen")).size);
    EXPECT_EQ(Kind::not_found, run(engine_->stat_path(looking.id, "/work/unseen")).error().kind);
    TextSink file;
    must(engine_->get_archive(looking.id, "/work/seen", file));
    EXPECT_EQ("12345", read_tar(file.text)["seen"]);
}

TEST_F(EngineTest, ASinkThatHasEnoughFreesTheContainerAtOnce) {
    const Sandbox sandbox = new_sandbox({"/bin/true"});
    const auto created = must(engine_->create_container(sandbox));
    TextSource inputs(make_tar({{"large", 0644, std::string(8 << 20, 'x')}}));
    must(engine_->put_archive(created.id, "/work", inputs));
    TextSink sink;
    sink.refuse_after = 100'000;
    const auto got = run(engine_->get_archive(created.id, "/work/large", sink));
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(Kind::local, got.error().kind);
    EXPECT_EQ("enough", got.error().message);
    EXPECT_LT(sink.text.size(), 300'000U);
    // An open stream holds the container's lock; this would time out.
    must(engine_->inspect_container(created.id));
    must(engine_->remove_container(created.id, true));
}

TEST_F(EngineTest, ListsHoldOnlyWhatCarriesTheLabel) {
    const Sandbox ours = new_sandbox({"/bin/true"});
    const Sandbox other = new_sandbox({"/bin/true"});
    const auto created = must(engine_->create_container(ours));
    must(engine_->create_container(other));
    const std::string label =
        fmt::format("{}={}", kLabelInstance, ours.labels.at(std::string(kLabelInstance)));
    const auto containers = must(engine_->list_containers(label));
    ASSERT_EQ(1U, containers.size());
    EXPECT_EQ(created.id, containers[0].id);
    EXPECT_EQ(ours.name, containers[0].name);
    EXPECT_EQ(ContainerState::created, containers[0].state);
    EXPECT_EQ(ours.labels.at(std::string(kLabelNonce)),
              containers[0].labels.at(std::string(kLabelNonce)));
    EXPECT_EQ(std::vector<std::string>{ours.volume_name}, containers[0].volume_names);
    EXPECT_GT(containers[0].created_ms, 1'500'000'000'000);
    const auto volumes = must(engine_->list_volumes(label));
    ASSERT_EQ(1U, volumes.size());
    EXPECT_EQ(ours.volume_name, volumes[0].name);
    EXPECT_TRUE(must(engine_->list_containers("io.mayfly.instance=nobody")).empty());
    EXPECT_TRUE(must(engine_->list_volumes("io.mayfly.instance=nobody")).empty());
}

TEST_F(EngineTest, TheCommittedImageCarriesItsOwnLabelsAndNoneOfTheBuildContainers) {
    const std::string id = prepared_image();
    const ImageFacts image = must(engine_->inspect_image(id));
    EXPECT_EQ(id, image.id);
    EXPECT_EQ("linux", image.os);
    EXPECT_EQ("engine-tests", image.labels.at(std::string(kImageLabelInstance)));
    EXPECT_EQ("", image.labels.at(std::string(kLabelInstance)));
    EXPECT_EQ("", image.labels.at(std::string(kLabelRole)));
    EXPECT_TRUE(image.volumes.empty());
    const auto listed =
        must(engine_->list_images(fmt::format("{}=engine-tests", kImageLabelInstance)));
    EXPECT_TRUE(std::ranges::any_of(listed, [&](const ImageFacts& one) { return one.id == id; }));
    // What is made from the image by somebody else is not ours.
    const std::string name = new_name();
    containers_.push_back(name);
    must(engine_->create_build_container(name, id, {}));
    EXPECT_TRUE(
        must(engine_->list_containers(fmt::format("{}=engine-tests", kLabelInstance))).empty());
}

TEST_F(EngineTest, AnImageInUseIsAConflictAndIsRemovedAfterwards) {
    const std::string base = new_name();
    containers_.push_back(base);
    const auto built = must(engine_->create_build_container(base, kBaseImage, {}));
    const std::string image =
        must(engine_->commit_image(built.id, "mayfly-test/passing", "1", {}));
    const std::string user = new_name();
    containers_.push_back(user);
    const auto in_use = must(engine_->create_build_container(user, image, {}));
    EXPECT_EQ(Kind::conflict, run(engine_->remove_image(image)).error().kind);
    must(engine_->remove_container(in_use.id, true));
    EXPECT_EQ(RemoveOutcome::removed, must(engine_->remove_image(image)));
    EXPECT_EQ(RemoveOutcome::already_gone, must(engine_->remove_image(image)));
    must(engine_->inspect_image(kBaseImage));
}

TEST_F(EngineTest, APullThatFailsSaysWhyInTheEnginesWords) {
    const auto pulled = run(engine_->pull_image("127.0.0.1:1/no/such:1", nullptr));
    ASSERT_FALSE(pulled.has_value());
    EXPECT_NE(std::string::npos, pulled.error().message.find("127.0.0.1:1"))
        << pulled.error().message;
}

TEST_F(EngineTest, CallsInARowShareAConnection) {
    must(engine_->probe());
    for (int i = 0; i < 20; ++i) {
        must(engine_->inspect_image(kBaseImage));
    }
    EXPECT_EQ(1, engine_->transport().connects());
    EXPECT_EQ(20, calls_["GET /images/{name}/json ok"]);
}

TEST_F(EngineTest, ClosingEndsTheEventStream) {
    bool connected = false;
    std::optional<Reply<void>> ended;
    boost::asio::co_spawn(
        io_,
        engine_->events(
            "a=b", [&] { connected = true; }, [](const EngineEvent&) {}),
        [&](std::exception_ptr, Reply<void> reply) { ended = std::move(reply); });
    ASSERT_TRUE(run_until([&] { return connected; }));
    engine_->close();
    ASSERT_TRUE(run_until([&] { return ended.has_value(); }));
    ASSERT_FALSE(ended->has_value());
    EXPECT_EQ(Kind::cut, ended->error().kind);
    EXPECT_EQ(Kind::unreachable, run(engine_->list_volumes("a=b")).error().kind);
}

}  // namespace
}  // namespace mayfly::controller::docker
