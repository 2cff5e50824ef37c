// From arguments to what is sent, judged by the API's own readers.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/cli/submission_text.h"
#include "api/cli/upload.h"
#include "api/multipart.h"

namespace mayfly::api::cli {
namespace {

using nlohmann::json;

Surroundings nothing_around() {
    return {[](const std::string& name) -> std::optional<std::string> {
                if (name == "LANG") return "C";
                return std::nullopt;
            },
            ""};
}

RunOptions with_limits(std::vector<std::string> limits) {
    RunOptions options;
    options.command = {"true"};
    options.limits = std::move(limits);
    return options;
}

TEST(CliSpec, SaysWhatWasAsked) {
    RunOptions options;
    options.image = "busybox";
    options.command = {"sh", "-c", "echo \"$A\" [x,y] --"};
    options.env = {"A=b=c", "EMPTY=", "LANG"};
    options.labels = {"team=maths"};
    options.limits = {"timeout=2m", "memory_bytes=64M", "cpus=0.5", "pids=8", "log=1k"};
    options.network = "loopback";
    options.runtime = "runsc";
    options.priority = -3;
    options.attempts = 2;
    options.ttl = "7d";
    options.webhook = "https://hooks.example/x";
    options.webhook_on = "all";
    Surroundings around = nothing_around();
    around.webhook_secret = "0123456789abcdef";
    const std::vector<LocalFile> files = {{"run.sh", "run.sh", 0750, 3, ""},
                                          {"a.csv", "in/a.csv", 0600, 3, ""},
                                          {"odd", "spec", 0644, 5, "hello"}};
    const auto spec = make_spec(options, files, around);
    ASSERT_TRUE(spec) << spec.error();
    EXPECT_EQ(json::parse(*spec), json::parse(R"({
        "image": "busybox", "command": ["sh", "-c", "echo \"$A\" [x,y] --"],
        "env": {"A": "b=c", "EMPTY": "", "LANG": "C"}, "labels": {"team": "maths"},
        "limits": {"timeout_s": 120, "memory_bytes": 67108864, "cpus": 0.5, "pids": 8,
                   "log_bytes": 1024},
        "files": [{"path": "run.sh", "mode": "0755"},
                  {"path": "spec", "mode": "0644", "content_base64": "aGVsbG8="}],
        "network": "loopback", "runtime": "runsc", "priority": -3, "ttl_s": 604800,
        "retry": {"max_attempts": 2, "on": ["lost"]},
        "webhook": {"url": "https://hooks.example/x", "secret": "0123456789abcdef",
                    "on": ["all"]}})"));
}

TEST(CliSpec, LeavesAwayWhatWasNotAsked) {
    RunOptions options;
    options.command = {"true"};
    EXPECT_EQ(*make_spec(options, {}, nothing_around()), R"({"command":["true"]})");
}

TEST(CliSpec, NamesTheArgumentThatIsWrong) {
    struct Case {
        const char* sentence;
        RunOptions options;
        const char* said;
    };
    RunOptions env;
    env.env = {"MISSING"};
    RunOptions twice;
    twice.labels = {"a=1", "a=2"};
    RunOptions label;
    label.labels = {"a"};
    RunOptions ttl;
    ttl.ttl = "soon";
    RunOptions hook;
    hook.webhook_on = "all";
    RunOptions bytes;
    bytes.command = {"\xff"};
    for (const Case& c :
         {Case{"a limit without value", with_limits({"timeout"}), "NAME=VALUE"},
          Case{"a limit that is not there", with_limits({"memry=1"}), "did you mean"},
          Case{"a limit given twice", with_limits({"timeout=1", "timeout_s=2"}), "twice"},
          Case{"a time that is none", with_limits({"timeout=fast"}), "10s, 5m or 2h"},
          Case{"a size that is none", with_limits({"memory=1.5G"}), "64M"},
          Case{"CPUs that are none", with_limits({"cpus=1e3"}), "cpus=0.5"},
          Case{"a count with a unit", with_limits({"pids=8k"}), "whole number"},
          Case{"a variable that we do not have", env, "MISSING=VALUE"},
          Case{"a label given twice", twice, "twice"},
          Case{"a label without value", label, "KEY=VALUE"}, Case{"a ttl that is none", ttl, "7d"},
          Case{"a webhook's option without one", hook, "--webhook URL"},
          Case{"bytes that JSON cannot hold", bytes, "UTF-8"}}) {
        const auto spec = make_spec(c.options, {}, nothing_around());
        ASSERT_FALSE(spec) << c.sentence;
        EXPECT_NE(spec.error().find(c.said), std::string::npos)
            << c.sentence << ": " << spec.error();
    }
    const std::vector<LocalFile> same = {{"a/x", "x", 0, 0, ""}, {"b/x", "x", 0, 0, ""}};
    EXPECT_NE(make_spec({}, same, nothing_around()).error().find("LOCAL=PATH"), std::string::npos);
}

TEST(CliSpec, TakesFileWishesApart) {
    struct Case {
        const char* text;
        const char* local;
        const char* remote;
    };
    for (const Case& c :
         {Case{"a.csv", "a.csv", "a.csv"}, Case{"../in/a.csv", "../in/a.csv", "a.csv"},
          Case{"in/", "in/", "in"}, Case{"in=inputs/", "in", "inputs"},
          Case{"k=v.txt=kv.txt", "k=v.txt", "kv.txt"}, Case{"/abs/a=b/c", "/abs/a", "b/c"}}) {
        const auto wish = parse_file_wish(c.text);
        ASSERT_TRUE(wish) << c.text;
        EXPECT_EQ(wish->local, c.local);
        EXPECT_EQ(wish->remote, c.remote);
    }
    for (const char* wrong : {"", "=x", "a=", "..", "."}) {
        EXPECT_FALSE(parse_file_wish(wrong)) << wrong;
    }
}

class Parts final : public PartSink {
public:
    Answer<void> begin_part(const std::string& name) override {
        parts.emplace_back(name, "");
        return {};
    }
    Answer<void> part_bytes(std::span<const std::byte> bytes) override {
        parts.back().second.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return {};
    }
    Answer<void> end_part() override { return {}; }
    std::vector<std::pair<std::string, std::string>> parts;
};

class CliUpload : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "/cli-upload-XXXXXX";
        root_ = ::mkdtemp(name.data());
    }
    void TearDown() override { std::filesystem::remove_all(root_); }
    std::string write(const std::string& name, const std::string& content) {
        std::filesystem::create_directories((root_ / name).parent_path());
        std::ofstream(root_ / name, std::ios::binary) << content;
        return (root_ / name).string();
    }
    std::filesystem::path root_;
};

TEST_F(CliUpload, SendsWhatTheApiReads) {
    const std::string hostile = "a\"b\\c d.txt";
    const std::string umlaut =
        "gr\xc3\xbc\xc3\x9f"
        "e/x";
    const std::string large(200'000, 'x');
    std::vector<std::string> notes;
    const auto files = find_files({write("plain.txt", "one") + "=" + hostile,
                                   write("large", large) + "=" + umlaut, write("empty", "")},
                                  [&](const std::string& note) { notes.push_back(note); });
    ASSERT_TRUE(files) << files.error();
    const auto standard_input = open_stdin(write("stdin", "typed"));
    ASSERT_TRUE(standard_input);
    std::int64_t told = 0;
    MultipartBody body("boundary", "{}", *files, *standard_input,
                       [&](std::int64_t bytes) { told = bytes; });
    for (const std::size_t piece : {std::size_t{7}, std::size_t{4'096}}) {  // sent twice
        body.rewind();
        Parts parts;
        MultipartParser parser("boundary", parts);
        std::string buffer(piece, '\0');
        std::int64_t total = 0;
        while (true) {
            const auto got = body.read(buffer);
            ASSERT_TRUE(got) << got.error();
            if (*got == 0) break;
            total += static_cast<std::int64_t>(*got);
            ASSERT_TRUE(parser.feed(std::as_bytes(std::span(buffer).first(*got))));
        }
        ASSERT_TRUE(parser.finish());
        EXPECT_EQ(total, body.size());
        const std::vector<std::pair<std::string, std::string>> wanted = {
            {"spec", "{}"}, {".stdin", "typed"}, {hostile, "one"}, {umlaut, large}, {"empty", ""}};
        EXPECT_EQ(parts.parts, wanted);
    }
}

TEST_F(CliUpload, TakesFoldersWithoutTheirLinks) {
    write("in/b", "2");
    write("in/a/x", "1");
    std::filesystem::create_symlink("/etc/passwd", root_ / "in/link");
    std::vector<std::string> notes;
    const auto files = find_files({(root_ / "in").string() + "=inputs"},
                                  [&](const std::string& note) { notes.push_back(note); });
    ASSERT_TRUE(files);
    ASSERT_EQ(files->size(), 2U);
    EXPECT_EQ((*files)[0].remote, "inputs/a/x");
    EXPECT_EQ((*files)[1].remote, "inputs/b");
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("link"), std::string::npos);
}

TEST_F(CliUpload, SaysWhichFileIsNotThere) {
    const auto files = find_files({(root_ / "gone").string()}, [](const std::string&) {});
    ASSERT_FALSE(files);
    EXPECT_NE(files.error().find("gone"), std::string::npos);
    EXPECT_NE(files.error().find("No such file"), std::string::npos);
}

TEST_F(CliUpload, NoticesAFileThatBecameShorter) {
    const std::string path = write("log", "0123456789");
    const auto files = find_files({path}, [](const std::string&) {});
    MultipartBody body("b", "{}", *files, {}, [](std::int64_t) {});
    write("log", "012");
    std::string buffer(4'096, '\0');
    std::expected<std::size_t, std::string> got = 1U;
    while (got && *got > 0) got = body.read(buffer);
    ASSERT_FALSE(got);
    EXPECT_NE(got.error().find("shorter"), std::string::npos);
}

}  // namespace
}  // namespace mayfly::api::cli
