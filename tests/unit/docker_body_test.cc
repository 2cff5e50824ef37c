#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "controller/engine/docker/create_body.h"

namespace mayfly::controller::docker {
namespace {

using nlohmann::json;

Sandbox sample() {
    Sandbox sandbox;
    sandbox.name = "mayfly-1";
    sandbox.image_id = "sha256:prepared";
    sandbox.labels = {{"io.mayfly.instance", "i"}, {"io.mayfly.run", "r"}};
    sandbox.entrypoint = {"/.mayfly/init", "--"};
    sandbox.cmd = {"sh", "-c", "echo \"hi\""};
    sandbox.env = {{"A", "1=2"}, {"HOME", "/tmp"}};
    sandbox.uid = 10'001;
    sandbox.gid = 10'002;
    sandbox.memory_bytes = 64 << 20;
    sandbox.nano_cpus = 500'000'000;
    sandbox.pids = 64;
    sandbox.ulimits = {{"core", 0}, {"nofile", 1'024}};
    sandbox.tmpfs_options = "rw,size=1,mode=1777";
    sandbox.shm_bytes = 1 << 20;
    sandbox.log_max_bytes = 1'000'000;
    sandbox.volume_name = "mayfly-1-cafe";
    return sandbox;
}

// The whole body, spelled out: a field that goes missing is a limit that is not there.
constexpr const char* kWholeBody = R"({
  "Image": "sha256:prepared", "User": "10001:10002", "WorkingDir": "/work",
  "Entrypoint": ["/.mayfly/init", "--"], "Cmd": ["sh", "-c", "echo \"hi\""],
  "Env": ["A=1=2", "HOME=/tmp"],
  "Labels": {"io.mayfly.instance": "i", "io.mayfly.run": "r"},
  "StopSignal": "SIGTERM", "Healthcheck": {"Test": ["NONE"]},
  "Tty": false, "OpenStdin": false, "StdinOnce": false,
  "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
  "NetworkDisabled": true,
  "HostConfig": {
    "NetworkMode": "none", "Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": 500000000,
    "PidsLimit": 64, "OomKillDisable": false,
    "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "nofile", "Soft": 1024, "Hard": 1024}],
    "Tmpfs": {"/tmp": "rw,size=1,mode=1777"},
    "ReadonlyRootfs": true, "Privileged": false, "PublishAllPorts": false,
    "CapAdd": [], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
    "IpcMode": "private", "CgroupnsMode": "private", "PidMode": "", "UTSMode": "",
    "UsernsMode": "", "ShmSize": 1048576,
    "LogConfig": {"Type": "local", "Config": {"compress": "false", "max-file": "2",
                                              "max-size": "1000000", "mode": "blocking"}},
    "RestartPolicy": {"Name": "no"}, "AutoRemove": false, "Init": false, "Runtime": "",
    "Mounts": [{"Type": "volume", "Source": "mayfly-1-cafe", "Target": "/work",
                "ReadOnly": false,
                "VolumeOptions": {"NoCopy": false, "DriverConfig": {"Name": "local"},
                                  "Labels": {"io.mayfly.instance": "i", "io.mayfly.run": "r"}}}]
  }})";

TEST(CreateBody, IsTheWholeProfile) {
    const Body body = create_body(sample());
    ASSERT_TRUE(body.has_value()) << body.error();
    const json made = json::parse(*body);
    EXPECT_EQ(json::parse(kWholeBody), made) << json::diff(json::parse(kWholeBody), made);
}

TEST(CreateBody, ALoopbackRunDiffersInOneField) {
    Sandbox sandbox = sample();
    sandbox.network = store::Network::loopback;
    json expected = json::parse(kWholeBody);
    expected["NetworkDisabled"] = false;
    EXPECT_EQ(expected, json::parse(*create_body(sandbox)));
}

TEST(CreateBody, AProbeMountsReadOnlyAndCopiesNothing) {
    Sandbox sandbox = sample();
    sandbox.volume_read_only = true;
    json expected = json::parse(kWholeBody);
    expected["HostConfig"]["Mounts"][0]["ReadOnly"] = true;
    expected["HostConfig"]["Mounts"][0]["VolumeOptions"]["NoCopy"] = true;
    EXPECT_EQ(expected, json::parse(*create_body(sandbox)));
}

TEST(CreateBody, ARuntimeIsNamed) {
    Sandbox sandbox = sample();
    sandbox.runtime = "runsc";
    EXPECT_EQ("runsc", json::parse(*create_body(sandbox))["HostConfig"]["Runtime"]);
}

TEST(CreateBody, IsNotMadeOfWhatAnEngineWouldReadAsUnlimited) {
    struct Case {
        const char* named;
        void (*spoil)(Sandbox&);
    };
    const Case cases[] = {
        {"memory_bytes", [](Sandbox& s) { s.memory_bytes = 0; }},
        {"nano_cpus", [](Sandbox& s) { s.nano_cpus = 0; }},
        {"pids", [](Sandbox& s) { s.pids = -1; }},
        {"shm_bytes", [](Sandbox& s) { s.shm_bytes = 0; }},
        {"log_max_bytes", [](Sandbox& s) { s.log_max_bytes = 0; }},
        {"uid", [](Sandbox& s) { s.uid = 0; }},
        {"gid", [](Sandbox& s) { s.gid = 0; }},
    };
    for (const Case& c : cases) {
        Sandbox sandbox = sample();
        c.spoil(sandbox);
        const Body body = create_body(sandbox);
        ASSERT_FALSE(body.has_value()) << c.named;
        EXPECT_NE(std::string::npos, body.error().find(c.named)) << body.error();
    }
}

TEST(CreateBody, WhatIsNotUtf8IsAnErrorAndNotAnotherText) {
    Sandbox sandbox = sample();
    sandbox.env["BAD"] = "\xff";
    const Body body = create_body(sandbox);
    ASSERT_FALSE(body.has_value());
    EXPECT_NE(std::string::npos, body.error().find("not UTF-8"));
}

TEST(BuildBody, IsAloneAndNeverRestarts) {
    const json body = json::parse(*build_body("base:1", {{"a", "b"}}));
    EXPECT_EQ("base:1", body["Image"]);
    EXPECT_EQ(json::parse(R"({"a":"b"})"), body["Labels"]);
    EXPECT_EQ("none", body["HostConfig"]["NetworkMode"]);
    EXPECT_EQ("no", body["HostConfig"]["RestartPolicy"]["Name"]);
    EXPECT_FALSE(body["HostConfig"].contains("Mounts"));
    EXPECT_FALSE(body["Entrypoint"].empty());
}

TEST(CommitBody, BlanksTheLabelsThatAContainerWouldInherit) {
    const json body = json::parse(*commit_body({{"io.mayfly.image.instance", "i"}}));
    EXPECT_EQ(json::parse(R"({"Labels": {"io.mayfly.image.instance": "i", "io.mayfly.instance": "",
        "io.mayfly.run": "", "io.mayfly.attempt": "", "io.mayfly.nonce": "", "io.mayfly.spec": "",
        "io.mayfly.role": ""}})"),
              body);
}

}  // namespace
}  // namespace mayfly::controller::docker
