#include "controller/engine/docker/parse.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "controller/engine/docker/rfc3339.h"

namespace mayfly::controller::docker {
namespace {

using nlohmann::json;

// A container of a 20.10 engine after its end, less what nobody reads.
json sample_container() {
    return json::parse(R"({
      "Id": "52bc8d5d7163", "Created": "2026-11-24T09:44:43.159330147Z", "Name": "/t1",
      "State": {"Status": "exited", "Running": false, "OOMKilled": true, "Dead": false, "Pid": 0,
                "ExitCode": 137, "Error": "words", "StartedAt": "2026-11-24T09:44:43.393514432Z",
                "FinishedAt": "2026-11-24T10:44:43.415351223+01:00"},
      "Image": "sha256:29999ba0",
      "HostConfig": {
        "Binds": null, "NetworkMode": "none", "PortBindings": null,
        "LogConfig": {"Type": "local", "Config": {"max-file": "2", "max-size": "1000000"}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": false,
        "VolumesFrom": null, "CapAdd": null, "CapDrop": ["ALL"], "CgroupnsMode": "private",
        "GroupAdd": null, "IpcMode": "private", "PidMode": "", "Privileged": false,
        "PublishAllPorts": false, "ReadonlyRootfs": true, "SecurityOpt": ["no-new-privileges"],
        "Tmpfs": {"/tmp": "rw,size=1048576"}, "UTSMode": "", "UsernsMode": "",
        "ShmSize": 1048576, "Runtime": "runc", "Init": false, "Memory": 67108864,
        "NanoCpus": 500000000, "Devices": null, "DeviceCgroupRules": null,
        "DeviceRequests": null, "MemorySwap": 67108864, "OomKillDisable": false,
        "PidsLimit": 64, "Ulimits": [{"Name": "nofile", "Hard": 1025, "Soft": 1024}],
        "MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"]},
      "Mounts": [{"Type": "volume", "Name": "v1", "Destination": "/work", "Driver": "local",
                  "Mode": "z", "RW": true, "Propagation": ""}],
      "Config": {"User": "10001:10001", "Tty": false, "OpenStdin": false, "Env": ["A=b"],
                 "Cmd": ["one", "two"], "Healthcheck": {"Test": ["NONE"]},
                 "WorkingDir": "/work", "Entrypoint": ["/.mayfly/init"],
                 "NetworkDisabled": true, "Labels": {"x": "y"}, "StopSignal": "SIGTERM"}})");
}

ContainerFacts parsed(const json& container) {
    auto facts = parse_container(container.dump());
    EXPECT_TRUE(facts.has_value()) << facts.error();
    return facts.value_or(ContainerFacts{});
}

TEST(ParseContainer, ReadsWhatDecidesAnOutcome) {
    const ContainerFacts facts = parsed(sample_container());
    EXPECT_EQ("52bc8d5d7163", facts.id);
    EXPECT_EQ("t1", facts.name);
    EXPECT_EQ("y", facts.labels.at("x"));
    EXPECT_EQ(1'795'513'483'159, facts.created_ms);
    EXPECT_EQ(ContainerState::exited, facts.state);
    EXPECT_EQ(137, facts.exit_code);
    EXPECT_TRUE(facts.oom_killed);
    EXPECT_EQ("words", facts.error);
    EXPECT_EQ(1'795'513'483'393, facts.started_ms);
    EXPECT_EQ(1'795'513'483'415, facts.finished_ms);
    EXPECT_EQ("sha256:29999ba0", facts.image_id);
}

TEST(ParseContainer, ReadsBackEveryLimit) {
    const ContainerFacts facts = parsed(sample_container());
    EXPECT_EQ("10001:10001", facts.user);
    EXPECT_EQ("/work", facts.working_dir);
    EXPECT_EQ(std::vector<std::string>{"/.mayfly/init"}, facts.entrypoint);
    EXPECT_EQ((std::vector<std::string>{"one", "two"}), facts.cmd);
    EXPECT_EQ("SIGTERM", facts.stop_signal);
    EXPECT_TRUE(facts.network_disabled);
    EXPECT_TRUE(facts.healthcheck_off);
    EXPECT_EQ("none", facts.network_mode);
    EXPECT_TRUE(facts.readonly_rootfs);
    EXPECT_EQ("no", facts.restart_policy);
    EXPECT_EQ(std::vector<std::string>{"ALL"}, facts.cap_drop);
    EXPECT_EQ(std::vector<std::string>{"no-new-privileges"}, facts.security_opt);
    EXPECT_EQ(std::vector<std::string>{"/proc/kcore"}, facts.masked_paths);
    EXPECT_EQ(std::vector<std::string>{"/proc/sys"}, facts.readonly_paths);
    EXPECT_EQ(64 << 20, facts.memory_bytes);
    EXPECT_EQ(64 << 20, facts.memory_swap_bytes);
    EXPECT_EQ(500'000'000, facts.nano_cpus);
    EXPECT_EQ(64, facts.pids_limit);
    EXPECT_EQ((std::pair<std::int64_t, std::int64_t>{1'024, 1'025}), facts.ulimits.at("nofile"));
    EXPECT_EQ("private", facts.ipc_mode);
    EXPECT_EQ("private", facts.cgroupns_mode);
    EXPECT_EQ(1 << 20, facts.shm_size_bytes);
    EXPECT_EQ("rw,size=1048576", facts.tmpfs.at("/tmp"));
    EXPECT_EQ("local", facts.log_driver);
    EXPECT_EQ("1000000", facts.log_options.at("max-size"));
    EXPECT_EQ("runc", facts.runtime);
    EXPECT_EQ(0, facts.device_count);
    ASSERT_EQ(1U, facts.mounts.size());
    EXPECT_EQ("volume", facts.mounts[0].type);
    EXPECT_EQ("v1", facts.mounts[0].name);
    EXPECT_EQ("/work", facts.mounts[0].destination);
    EXPECT_TRUE(facts.mounts[0].rw);
}

TEST(ParseContainer, ReadsTheDangerousAnswersToo) {
    struct Case {
        const char* pointer;
        json value;
        std::function<bool(const ContainerFacts&)> seen;
    };
    const Case cases[] = {
        {"/HostConfig/Privileged", true, [](auto& f) { return f.privileged; }},
        {"/HostConfig/PublishAllPorts", true, [](auto& f) { return f.publish_all_ports; }},
        {"/HostConfig/AutoRemove", true, [](auto& f) { return f.auto_remove; }},
        {"/HostConfig/Init", true, [](auto& f) { return f.docker_init; }},
        {"/HostConfig/OomKillDisable", true, [](auto& f) { return f.oom_kill_disable; }},
        {"/HostConfig/OomKillDisable", nullptr, [](auto& f) { return !f.oom_kill_disable; }},
        {"/HostConfig/PidsLimit", nullptr, [](auto& f) { return f.pids_limit == 0; }},
        {"/HostConfig/PidsLimit", -1, [](auto& f) { return f.pids_limit == 0; }},
        {"/HostConfig/MemorySwap", -1, [](auto& f) { return f.memory_swap_bytes == -1; }},
        {"/HostConfig/Binds", {"/:/host"}, [](auto& f) { return f.binds.size() == 1; }},
        {"/HostConfig/VolumesFrom", {"c"}, [](auto& f) { return f.volumes_from.size() == 1; }},
        {"/HostConfig/CapAdd", {"SYS_ADMIN"}, [](auto& f) { return f.cap_add.size() == 1; }},
        {"/HostConfig/GroupAdd", {"0"}, [](auto& f) { return f.group_add.size() == 1; }},
        {"/HostConfig/Devices", json::array({json::object()}),
         [](auto& f) { return f.device_count == 1; }},
        {"/HostConfig/DeviceRequests", json::array({json::object()}),
         [](auto& f) { return f.device_count == 1; }},
        {"/HostConfig/DeviceCgroupRules",
         {"a *:* rwm"},
         [](auto& f) { return f.device_count == 1; }},
        {"/HostConfig/PidMode", "host", [](auto& f) { return f.pid_mode == "host"; }},
        {"/HostConfig/UTSMode", "host", [](auto& f) { return f.uts_mode == "host"; }},
        {"/HostConfig/UsernsMode", "host", [](auto& f) { return f.userns_mode == "host"; }},
        {"/Config/Tty", true, [](auto& f) { return f.tty; }},
        {"/Config/OpenStdin", true, [](auto& f) { return f.open_stdin; }},
        {"/Config/Healthcheck",
         {{"Test", {"CMD", "x"}}},
         [](auto& f) { return !f.healthcheck_off; }},
        {"/Config/Healthcheck", nullptr, [](auto& f) { return f.healthcheck_off; }},
        {"/State/StartedAt", "0001-01-01T00:00:00Z", [](auto& f) { return f.started_ms == 0; }},
        {"/State/Status", "foo", [](auto& f) { return f.state == ContainerState::unknown; }},
        {"/State/Status", "", [](auto& f) { return f.state == ContainerState::unknown; }},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.pointer);
        json container = sample_container();
        container[json::json_pointer(c.pointer)] = c.value;
        EXPECT_TRUE(c.seen(parsed(container))) << c.value;
    }
}

TEST(ParseContainer, KnowsEveryState) {
    for (const auto state :
         {ContainerState::created, ContainerState::running, ContainerState::paused,
          ContainerState::restarting, ContainerState::removing, ContainerState::exited,
          ContainerState::dead}) {
        json container = sample_container();
        container["State"]["Status"] = to_string(state);
        EXPECT_EQ(state, parsed(container).state);
    }
}

TEST(ParseContainer, AMissingFieldThatDecidesIsAnErrorThatNamesIt) {
    for (const char* pointer :
         {"/Id", "/Name", "/Created", "/State", "/State/Status", "/State/ExitCode",
          "/State/OOMKilled", "/State/StartedAt", "/State/FinishedAt", "/Config", "/HostConfig"}) {
        SCOPED_TRACE(pointer);
        json container = sample_container();
        const json::json_pointer at(pointer);
        container[at.parent_pointer()].erase(at.back());
        const auto facts = parse_container(container.dump());
        ASSERT_FALSE(facts.has_value());
        EXPECT_NE(std::string::npos, facts.error().find(at.back())) << facts.error();
    }
}

// Every field of the sample, replaced by something of every other type: an error or a value, never
// a crash, and a limit never becomes larger than what was said.
TEST(ParseContainer, AFieldOfAnotherTypeIsAnErrorThatNamesIt) {
    const json flat = sample_container().flatten();
    int refused = 0;
    for (const auto& [pointer, value] : flat.items()) {
        for (const json& other : {json("text"), json(7), json(1.5), json(true), json::array({1}),
                                  json::object({{"a", 1}}), json(nullptr)}) {
            json container = sample_container();
            container[json::json_pointer(pointer)] = other;
            const auto facts = parse_container(container.dump());
            if (!facts) {
                ++refused;
                EXPECT_TRUE(facts.error().starts_with("container")) << facts.error();
            }
        }
    }
    EXPECT_GT(refused, 150);
    json container = sample_container();
    container["HostConfig"]["Memory"] = "64m";
    EXPECT_EQ(
        "container.HostConfig has a Memory that is not a whole number of 64 bits but: string",
        parse_container(container.dump()).error());
    container["HostConfig"]["Memory"] = 18'446'744'073'709'551'615ULL;
    EXPECT_FALSE(parse_container(container.dump()).has_value());
}

TEST(ParseContainer, EveryCutIsAnError) {
    const std::string whole = sample_container().dump();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        EXPECT_FALSE(parse_container(whole.substr(0, size)).has_value()) << size;
    }
    for (const char* text : {"", "null", "[]", "7", "<html>", "{}", "\xff\xfe"}) {
        EXPECT_FALSE(parse_container(text).has_value()) << text;
    }
    EXPECT_FALSE(parse_container(std::string(100'000, '[')).has_value());
}

TEST(ParseContainerList, ReadsRows) {
    const auto list = parse_container_list(R"json([
      {"Id":"52bc","Names":["/other/alias","/t1"],"Created":1795513483,"Labels":{"x":"y"},
       "State":"exited","Status":"Exited (0)","Mounts":[
         {"Type":"volume","Name":"v1","Destination":"/work","RW":true},
         {"Type":"bind","Source":"/x","Destination":"/y"}]},
      {"Id":"99","Names":null,"Created":1,"Labels":null,"State":"strange","Mounts":null}])json");
    ASSERT_TRUE(list.has_value()) << list.error();
    ASSERT_EQ(2U, list->size());
    EXPECT_EQ("52bc", (*list)[0].id);
    EXPECT_EQ("t1", (*list)[0].name);
    EXPECT_EQ(1'795'513'483'000, (*list)[0].created_ms);
    EXPECT_EQ("y", (*list)[0].labels.at("x"));
    EXPECT_EQ(ContainerState::exited, (*list)[0].state);
    EXPECT_EQ(std::vector<std::string>{"v1"}, (*list)[0].volume_names);
    EXPECT_EQ("", (*list)[1].name);
    EXPECT_EQ(ContainerState::unknown, (*list)[1].state);
    EXPECT_TRUE(parse_container_list("[]")->empty());
}

TEST(ParseContainerList, OneBadRowIsAnErrorAndNotAShorterList) {
    for (const char* text : {"", "null", "{}", "[", R"([{"Id":"a","State":"created"},{}])",
                             R"([{"Id":7,"State":"created"}])", "[null]"}) {
        EXPECT_FALSE(parse_container_list(text).has_value()) << text;
    }
    EXPECT_EQ("containers[1] has no Id",
              parse_container_list(R"([{"Id":"a","State":"created"},{}])").error());
}

TEST(ParseImage, ReadsBothForms) {
    const auto image = parse_image(R"({"Id":"sha256:1","RepoDigests":["a@sha256:2"],
      "Created":"2026-11-24T09:44:18.438198055Z","Architecture":"amd64","Os":"linux",
      "Config":{"Volumes":{"/data":{},"/more":{}},"Labels":{"a":"b"}}})");
    ASSERT_TRUE(image.has_value()) << image.error();
    EXPECT_EQ("sha256:1", image->id);
    EXPECT_EQ(std::vector<std::string>{"a@sha256:2"}, image->repo_digests);
    EXPECT_EQ("amd64", image->arch);
    EXPECT_EQ("linux", image->os);
    EXPECT_EQ((std::vector<std::string>{"/data", "/more"}), image->volumes);
    EXPECT_EQ("b", image->labels.at("a"));
    EXPECT_EQ(1'795'513'458'438, image->created_ms);
    const auto list = parse_image_list(
        R"([{"Id":"sha256:1","Created":1795513458,"Labels":null,"RepoDigests":null}])");
    ASSERT_TRUE(list.has_value()) << list.error();
    EXPECT_EQ(1'795'513'458'000, list->at(0).created_ms);
    EXPECT_FALSE(parse_image(R"({"Id":"sha256:1","Os":"linux"})").has_value());
}

TEST(ParseVolume, ReadsOneAndMany) {
    const char* one = R"({"CreatedAt":"2026-11-24T09:44:43Z","Driver":"local","Labels":{"l":"m"},
      "Mountpoint":"/x","Name":"v1","Options":null,"Scope":"local"})";
    const auto volume = parse_volume(one);
    ASSERT_TRUE(volume.has_value()) << volume.error();
    EXPECT_EQ("v1", volume->name);
    EXPECT_EQ("local", volume->driver);
    EXPECT_EQ("m", volume->labels.at("l"));
    EXPECT_EQ(1'795'513'483'000, volume->created_ms);
    const auto list =
        parse_volume_list(std::string(R"({"Volumes":[)") + one + R"(],"Warnings":null})");
    ASSERT_TRUE(list.has_value()) << list.error();
    EXPECT_EQ("v1", list->at(0).name);
    EXPECT_TRUE(parse_volume_list(R"({"Volumes":null})")->empty());
    for (const char* text : {"{}", "[]", R"({"Volumes":{}})", R"({"Volumes":[{"Name":"a"}]})"}) {
        EXPECT_FALSE(parse_volume_list(text).has_value()) << text;
    }
}

TEST(ParseEvent, ReadsTypeActionAndLabels) {
    const auto event = parse_event(R"({"status":"die","id":"52bc","Type":"container",
      "Action":"die","Actor":{"ID":"52bc","Attributes":{"exitCode":"0","x":"y"}},"time":1})");
    ASSERT_TRUE(event.has_value()) << event.error();
    EXPECT_EQ("container", event->type);
    EXPECT_EQ("die", event->action);
    EXPECT_EQ("52bc", event->id);
    EXPECT_EQ("y", event->attributes.at("x"));
    EXPECT_FALSE(parse_event(R"({"Type":"container","Action":"die"})").has_value());
    EXPECT_FALSE(parse_event("{").has_value());
}

TEST(ParsePathStat, ReadsTheHeader) {
    // {"name":"work","size":4096,"mode":2147484141,"mtime":"2026-11-24T09:44:43.171845163Z",
    //  "linkTarget":""}
    const auto stat = parse_path_stat(
        "eyJuYW1lIjoid29yayIsInNpemUiOjQwOTYsIm1vZGUiOjIxNDc0ODQxNDEsIm10aW1lIjoiMjAyNi0xMS0yNFQw"
        "OTo0NDo0My4xNzE4NDUxNjNaIiwibGlua1RhcmdldCI6IiJ9");
    ASSERT_TRUE(stat.has_value()) << stat.error();
    EXPECT_EQ("work", stat->name);
    EXPECT_EQ(4'096, stat->size);
    EXPECT_EQ(2'147'484'141U, stat->mode);
    EXPECT_EQ(1'795'513'483'171'845'163, stat->mtime_ns);
    EXPECT_EQ("", stat->link_target);
    for (const char* header : {"", "=", "!!!!", "e30=", "eyJ", "eyJuYW1l"}) {
        EXPECT_FALSE(parse_path_stat(header).has_value()) << header;
    }
}

TEST(ParseCreated, NeedsAnId) {
    const auto created = parse_created(R"({"Id":"a","Warnings":["no swap limit"]})");
    ASSERT_TRUE(created.has_value());
    EXPECT_EQ("a", created->id);
    EXPECT_EQ(std::vector<std::string>{"no swap limit"}, created->warnings);
    EXPECT_TRUE(parse_created(R"({"Id":"a","Warnings":null})")->warnings.empty());
    for (const char* text : {"", "{}", R"({"Id":""})", R"({"Id":7})", R"({"Id":"a)"}) {
        EXPECT_FALSE(parse_created(text).has_value()) << text;
        EXPECT_FALSE(parse_id(text).has_value()) << text;
    }
    EXPECT_EQ("sha256:1", *parse_id(R"({"Id":"sha256:1"})"));
}

TEST(ParseVersionAndInfo, MakeTheEnginesFacts) {
    auto version = parse_version(R"({"Components":[{"Name":"Engine","Version":"20.10.24"},
      {"Name":"runc","Version":"1.1.5","Details":{}}],"Version":"20.10.24+dfsg1",
      "ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64",
      "KernelVersion":"6.18"})");
    ASSERT_TRUE(version.has_value()) << version.error();
    EXPECT_EQ("1.12", version->api_oldest);
    const auto facts = parse_info(R"({"ID":"VY3Q:OJS5","CgroupVersion":"1","NCPU":2,
      "MemTotal":25276026880,"Runtimes":{"runc":{"path":"runc"},"runsc":{}},
      "DefaultRuntime":"runc","Warnings":["WARNING: No swap limit support"]})",
                                  version->facts);
    ASSERT_TRUE(facts.has_value()) << facts.error();
    EXPECT_EQ("20.10.24+dfsg1", facts->version);
    EXPECT_EQ("linux", facts->os);
    EXPECT_EQ("amd64", facts->arch);
    EXPECT_EQ("6.18", facts->kernel);
    EXPECT_EQ("1.1.5", facts->runc_version);
    EXPECT_EQ("VY3Q:OJS5", facts->id);
    EXPECT_EQ("1", facts->cgroup_version);
    EXPECT_EQ("runc", facts->default_runtime);
    EXPECT_EQ((std::vector<std::string>{"runc", "runsc"}), facts->runtimes);
    EXPECT_EQ(1U, facts->warnings.size());
    EXPECT_EQ(2, facts->cpus);
    EXPECT_EQ(25'276'026'880, facts->memory_bytes);
    EXPECT_FALSE(parse_version(R"({"Version":"1"})").has_value());
    EXPECT_FALSE(parse_info("{}", {}).has_value());
}

TEST(Rfc3339, ReadsWhatGoWrites) {
    struct Case {
        const char* text;
        std::int64_t ns;
    };
    const Case cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:00.000000001Z", 1},
        {"1970-01-01T00:00:01.5Z", 1'500'000'000},
        {"1970-01-01T02:00:00+02:00", 0},
        {"1969-12-31T20:30:00-03:30", 0},
        {"1969-12-31T23:59:59Z", -1'000'000'000},
        {"2024-02-29T00:00:00Z", 1'709'164'800'000'000'000},
        {"2001-09-09T01:46:40Z", 1'000'000'000'000'000'000},
        {"0001-01-01T00:00:00Z", 0},
        {"9999-12-31T23:59:59Z", INT64_MAX},
        {"1600-01-01T00:00:00Z", INT64_MIN},
    };
    for (const Case& c : cases) {
        EXPECT_EQ(c.ns, parse_rfc3339_ns(c.text)) << c.text;
    }
    for (const char* text :
         {"", "Z", "2026", "2026-11-24", "2026-11-24T09:44:43", "2026-11-24 09:44:43Z",
          "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z",
          "2026-01-01T00:60:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+2:00",
          "2026-01-01T00:00:00+02:00x", "2026-01-01T00:00:00z", "-026-01-01T00:00:00Z"}) {
        EXPECT_FALSE(parse_rfc3339_ns(text).has_value()) << text;
    }
}

}  // namespace
}  // namespace mayfly::controller::docker
