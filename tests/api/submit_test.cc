// POST /v1/runs: what is durable when it is accepted, and what is left when it is not.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "store/sha256.h"
#include "tests/api/fixture.h"

namespace mayfly::api {
namespace {

using nlohmann::json;
using Submit = ApiTest;

constexpr const char* kSmall = R"({"image":"busybox","command":["true"]})";

// The regular files of a run's input.tar that have content, read by libarchive.
std::map<std::string, std::string> inputs_of(const std::filesystem::path& tar) {
    std::map<std::string, std::string> out;
    archive* reader = archive_read_new();
    archive_read_support_format_tar(reader);
    EXPECT_EQ(archive_read_open_filename(reader, tar.c_str(), 64 << 10), ARCHIVE_OK);
    archive_entry* entry = nullptr;
    while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
        std::string content(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
        if (!content.empty()) archive_read_data(reader, content.data(), content.size());
        if (!content.empty()) out[archive_entry_pathname(entry)] = content;
    }
    archive_read_free(reader);
    return out;
}

std::int64_t resident_kib() {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line)) {
        if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
    }
    return 0;
}

TEST_F(Submit, JsonWithInputsIsDurableWhenItIsAccepted) {
    serve();
    const auto answer = post(R"({"image":"busybox","command":["sh","a/main.sh"],
        "files":[{"path":"a/main.sh","content":"echo hi","mode":"0755"},
                 {"path":"data.bin","content_base64":"AAEC/w=="}],
        "stdin":"in","labels":{"team":"x"}})");
    ASSERT_EQ(answer.status, 201) << answer.body;
    const json body = json_of(answer);
    const std::string id = body["id"];
    EXPECT_EQ(answer.header("Location"), "/v1/runs/" + id);
    EXPECT_EQ(body["status"]["phase"], "queued");
    EXPECT_EQ(body["status"]["reason"], nullptr);
    EXPECT_EQ(body["spec"]["files"][0]["path"], "a/main.sh");
    EXPECT_EQ(body["spec"]["files"][0]["sha256"], store::sha256_hex("echo hi"));
    const auto inputs = inputs_of(data_dir_->file_path(id, store::kInputTar));
    EXPECT_EQ(inputs.at("a/main.sh"), "echo hi");
    EXPECT_EQ(inputs.at("data.bin"), std::string("\x00\x01\x02\xFF", 4));
    EXPECT_EQ(inputs.at(".mayfly/stdin"), "in");
    EXPECT_EQ(json_of(ask("GET", "/v1/runs/" + id)), body);
}

TEST_F(Submit, MultipartStreamsFiles) {
    serve();
    std::string binary;
    for (int i = 0; i < 256; ++i) binary.push_back(static_cast<char>(i));
    std::string big(20 << 20, '\0');
    for (std::size_t i = 0; i < big.size(); ++i)
        big[i] = static_cast<char>(i * 2'654'435'761U >> 24U);
    const std::string spec = R"({"image":"busybox","command":["true"],
        "files":[{"path":"run.sh","mode":"0755"},{"path":"inline","content":"x"}]})";
    const std::string head = part("spec", spec) + part("run.sh", "#!/bin/sh") +
                             part("deep/b.bin", binary) + part(".stdin", "from a part");
    const std::string tail = part("big.bin", big) + "--XyZ--\r\n";
    const std::int64_t before_kib = resident_kib();
    const auto answer = ask("POST", "/v1/runs", {{"Content-Type", kMultipart}}, head + tail);
    ASSERT_EQ(answer.status, 201) << answer.body;
    // The test's own copies are counted too: the body, put together twice.
    EXPECT_LT(resident_kib() - before_kib, (2 * 20 + 12) << 10);
    const json body = json_of(answer);
    const auto inputs = inputs_of(data_dir_->file_path(body["id"], store::kInputTar));
    EXPECT_EQ(inputs.at("run.sh"), "#!/bin/sh");
    EXPECT_EQ(inputs.at("deep/b.bin"), binary);
    EXPECT_EQ(inputs.at("inline"), "x");
    EXPECT_EQ(inputs.at(".mayfly/stdin"), "from a part");
    EXPECT_TRUE(inputs.at("big.bin") == big);
    std::map<std::string, std::string> modes;
    for (const json& file : body["spec"]["files"]) modes[file["path"]] = file["mode"];
    EXPECT_EQ(modes.at("run.sh"), "0755");
    EXPECT_EQ(modes.at("big.bin"), "0644");
}

TEST_F(Submit, AnIdempotencyKeyMakesOneRun) {
    serve();
    const auto first = post(kSmall, {{"Idempotency-Key", "k1"}});
    ASSERT_EQ(first.status, 201);
    const auto again = post(kSmall, {{"Idempotency-Key", "k1"}});
    EXPECT_EQ(again.status, 200);
    EXPECT_EQ(json_of(again)["id"], json_of(first)["id"]);
    EXPECT_EQ(again.header("Location"), first.header("Location"));
    // The same said in another way is the same: key order, defaults, order of parts.
    const auto same = post(R"({"command":["true"],"image":"busybox","files":[],"priority":0})",
                           {{"Idempotency-Key", "k1"}});
    EXPECT_EQ(same.status, 200);
    const auto other =
        post(R"({"image":"busybox","command":["false"]})", {{"Idempotency-Key", "k1"}});
    EXPECT_EQ(other.status, 409);
    EXPECT_EQ(json_of(other)["type"], "urn:mayfly:problem:idempotency-key-reused");
    EXPECT_EQ(run_folders(), 1U);
    EXPECT_EQ(stored_runs(), 1U);
}

TEST_F(Submit, OrderOfPartsDoesNotMatterToAKey) {
    serve();
    const std::string spec = part("spec", kSmall);
    const std::string a = part("a", "1");
    const std::string b = part("b", "2");
    const test::Headers headers = {{"Content-Type", kMultipart}, {"Idempotency-Key", "parts"}};
    EXPECT_EQ(ask("POST", "/v1/runs", headers, spec + a + b + "--XyZ--").status, 201);
    EXPECT_EQ(ask("POST", "/v1/runs", headers, spec + b + a + "--XyZ--").status, 200);
    EXPECT_EQ(ask("POST", "/v1/runs", headers, spec + a + "--XyZ--").status, 409);
    EXPECT_EQ(run_folders(), 1U);
}

TEST_F(Submit, OneKeyAtOnceFromManyClientsMakesOneRun) {
    serve();
    std::vector<std::thread> threads;
    std::vector<test::HttpAnswer> answers(32);
    for (auto& answer : answers) {
        threads.emplace_back([&] { answer = post(kSmall, {{"Idempotency-Key", "same"}}); });
    }
    for (auto& thread : threads) thread.join();
    std::set<std::string> ids;
    int created = 0;
    for (const auto& answer : answers) {
        created += answer.status == 201 ? 1 : 0;
        ASSERT_TRUE(answer.status == 200 || answer.status == 201) << answer.body;
        ids.insert(json_of(answer)["id"]);
    }
    EXPECT_EQ(created, 1);
    EXPECT_EQ(ids.size(), 1U);
    EXPECT_EQ(run_folders(), 1U);
    EXPECT_EQ(stored_runs(), 1U);
}

TEST_F(Submit, RefusesBadKeys) {
    serve();
    const std::vector<std::string> keys = {std::string(256, 'k'), "a b", "\xC3\xA9", ""};
    for (const std::string& key : keys) {
        const auto answer = post(kSmall, {{"Idempotency-Key", key}});
        EXPECT_EQ(answer.status, 400) << key;
        EXPECT_EQ(json_of(answer)["errors"][0]["field"], "Idempotency-Key");
    }
    EXPECT_EQ(post(kSmall, {{"Idempotency-Key", "a"}, {"Idempotency-Key", "a"}}).status, 400);
    EXPECT_EQ(stored_runs(), 0U);
}

TEST_F(Submit, NamesTheFieldAndTheLimitAndLeavesNothing) {
    Settings settings;
    settings.policy.allowed_images = {"busybox*"};
    settings.max_input_files = 3;
    serve(settings);
    struct Case {
        const char* sentence;
        std::string body;
        int status;
        const char* type;
        const char* field;
    };
    const std::string spec = R"({"image":"busybox","command":["true"],)";
    for (const Case& c : {
             Case{"nothing", " ", 400, "invalid-json", ""},
             {"no JSON", "hello", 400, "invalid-json", ""},
             {"null", "null", 400, "invalid-spec", ""},
             {"a list", "[]", 400, "invalid-spec", ""},
             {"10000 levels", std::string(10'000, '['), 400, "invalid-json", ""},
             {"a duplicate", R"({"image":"a","image":"b"})", 400, "invalid-json", ""},
             {"a typo in a limit", spec + R"("limits":{"pidLimit":5}})", 400, "invalid-spec",
              "limits.pidLimit"},
             {"too much memory", spec + R"("limits":{"memory_bytes":99999999999}})", 400,
              "invalid-spec", "limits.memory_bytes"},
             {"an image that is not allowed", R"({"image":"alpine","command":["a"]})", 403,
              "image-not-allowed", "image"},
             {"a runtime that is not allowed", spec + R"("runtime":"kata"})", 403,
              "runtime-not-allowed", "runtime"},
             {"a path upwards", spec + R"("files":[{"path":"../a","content":""}]})", 400,
              "invalid-spec", "files[0].path"},
             {"a path into ours", spec + R"("files":[{"path":".mayfly/claim","content":""}]})",
              400, "invalid-spec", "files[0].path"},
             {"a file that is a folder too",
              spec + R"("files":[{"path":"a","content":""},{"path":"a/b","content":""}]})", 400,
              "invalid-spec", "files[1].path"},
             {"one file too many",
              spec + R"("files":[{"path":"a","content":""},{"path":"b","content":""},)" +
                  R"({"path":"c","content":""},{"path":"d","content":""}]})",
              400, "invalid-spec", "files"},
         }) {
        const auto answer = post(c.body);
        EXPECT_EQ(answer.status, c.status) << c.sentence << answer.body;
        const json body = json_of(answer);
        EXPECT_EQ(body["type"], std::string("urn:mayfly:problem:") + c.type) << c.sentence;
        if (*c.field != '\0') EXPECT_EQ(body["errors"][0]["field"], c.field) << c.sentence;
    }
    EXPECT_EQ(json_of(post(spec + R"("limits":{"pidLimit":5}})"))["errors"][0]["message"],
              "is not a field here; did you mean `pids`?");
    EXPECT_EQ(run_folders(), 0U);
    EXPECT_EQ(files_being_written(), 0U);
    EXPECT_EQ(stored_runs(), 0U);
}

TEST_F(Submit, ABodyOfExactlyTheCapIsTakenAndOneByteMoreIsNot) {
    Settings settings;
    settings.max_json_body_bytes = 2'000;
    serve(settings);
    std::string body = kSmall;
    body.resize(2'000, ' ');
    EXPECT_EQ(post(body).status, 201);
    EXPECT_EQ(post(body + " ").status, 413);
    const auto chunked = [&](const std::string& text) {
        char size[16];
        std::snprintf(size, sizeof size, "%zx", text.size());
        return ask("POST", "/v1/runs",
                   {{"Content-Type", "application/json"}, {"Transfer-Encoding", "chunked"}},
                   std::string(size) + "\r\n" + text + "\r\n0\r\n\r\n");
    };
    EXPECT_EQ(chunked(body).status, 201);
    EXPECT_EQ(chunked(body + " ").status, 413);
    EXPECT_EQ(stored_runs(), 2U);
}

TEST_F(Submit, BadMultipartLeavesNothing) {
    Settings settings;
    settings.max_input_bytes = 1 << 20;
    settings.max_input_files = 3;
    settings.max_stdin_bytes = 10;
    serve(settings);
    const std::string spec = part("spec", kSmall);
    const std::string end = "--XyZ--\r\n";
    struct Case {
        const char* sentence;
        std::string body;
        int status;
        const char* says;
    };
    for (const Case& c : {
             Case{"empty", "", 400, "before its closing boundary"},
             {"no spec", end, 400, "no part `spec`"},
             {"spec not first", part("a", "") + spec + end, 400, "must be first"},
             {"spec twice", spec + spec + end, 400, "came twice"},
             {"a bad spec", part("spec", R"({"image":"A"})") + end, 400, "invalid-spec"},
             {"no closing boundary", spec + part("a", "x"), 400, "before its closing boundary"},
             {"the same file twice", spec + part("a", "") + part("a", "") + end, 400, "parts.a"},
             {"a path upwards", spec + part("../a", "") + end, 400, "parts.../a"},
             {"a control byte in a name", spec + part("a\tb", "") + end, 400, "parts.a"},
             {"bytes that are no UTF-8 in a name", spec + part("a\xFF", "") + end, 400, "parts.a"},
             {"a promise not kept",
              part("spec",
                   R"({"image":"busybox","command":["true"],"files":[{"path":"main.py"}]})") +
                  end,
              400, "parts.main.py"},
             {"four files",
              spec + part("a", "") + part("b", "") + part("c", "") + part("d", "") + end, 400,
              "one file too many"},
             {"too many bytes", spec + part("a", std::string((1 << 20) + 1, 'x')) + end, 413,
              "1048576"},
             {"too much stdin", spec + part(".stdin", "12345678901") + end, 413, "\"limit\":10"},
             {"two stdins",
              part("spec", R"({"image":"busybox","command":["true"],"stdin":"a"})") +
                  part(".stdin", "b") + end,
              400, "second stdin"},
             {"inputs larger than /work",
              part("spec",
                   R"({"image":"busybox","command":["a"],"limits":{"work_bytes":1048576}})") +
                  part("a", std::string(600'000, 'x')) + part("b", std::string(448'577, 'x')) +
                  end,
              413, "1048576"},
         }) {
        const auto answer =
            ask("POST", "/v1/runs",
                {{"Content-Type", kMultipart}, {"Content-Length", std::to_string(c.body.size())}},
                c.body);
        EXPECT_EQ(answer.status, c.status) << c.sentence << answer.body;
        EXPECT_NE(answer.body.find(c.says), std::string::npos) << c.sentence << answer.body;
    }
    const auto boundless = ask("POST", "/v1/runs", {{"Content-Type", "multipart/form-data"}}, "x");
    EXPECT_EQ(boundless.status, 400);
    EXPECT_EQ(run_folders(), 0U);
    EXPECT_EQ(files_being_written(), 0U);
    EXPECT_EQ(stored_runs(), 0U);
}

TEST_F(Submit, ACutUploadLeavesNothing) {
    serve();
    const std::string body = part("spec", kSmall) + part("a", std::string(1 << 20, 'x'));
    auto peer = client();
    peer.send("POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: " +
              std::string(kMultipart) + "\r\nContent-Length: 9000000\r\n\r\n" + body);
    peer.shutdown_send();
    (void)peer.read_to_end();
    EXPECT_EQ(connections_left(), 0U);
    EXPECT_EQ(files_being_written(), 0U);
    EXPECT_EQ(run_folders(), 0U);
    EXPECT_EQ(stored_runs(), 0U);
}

TEST_F(Submit, RefusesWhenTheDiskWouldFill) {
    Settings settings;
    settings.min_free_bytes = std::int64_t{1} << 60;
    serve(settings);
    const auto answer = post(kSmall);
    EXPECT_EQ(answer.status, 507);
    EXPECT_TRUE(answer.has("Retry-After"));
    EXPECT_EQ(run_folders(), 0U);
}

TEST_F(Submit, RefusesUnknownQueriesAndBadWaits) {
    serve();
    EXPECT_EQ(post(kSmall, {}, "?wat=30s").status, 400);
    EXPECT_EQ(post(kSmall, {}, "?wait=30").status, 400);
    EXPECT_EQ(post(kSmall, {}, "?wait=61s").status, 400);
    EXPECT_EQ(stored_runs(), 0U);
    const auto answer = post(kSmall, {}, "?wait=50ms");
    EXPECT_EQ(answer.status, 201);
    EXPECT_EQ(json_of(answer)["status"]["phase"], "queued");
}

}  // namespace
}  // namespace mayfly::api
