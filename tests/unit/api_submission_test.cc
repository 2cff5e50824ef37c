// From a user's JSON to a run's spec: what becomes of good ones, and what is said about bad ones.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/strict_json.h"
#include "api/submission.h"

namespace mayfly::api {
namespace {

std::string path_error(std::string_view path) {
    return path.empty() || path.front() == '/' ? "must be relative" : "";
}

InputRules rules() {
    InputRules out;
    out.max_input_bytes = 1'000;
    out.max_input_files = 4;
    out.max_stdin_bytes = 100;
    out.path_error = path_error;
    out.webhook_url_error = [](std::string_view url) {
        return std::string(url.starts_with("https://") ? "" : "must begin with https://");
    };
    return out;
}

Answer<Submission> read(std::string_view text, const store::Policy& policy = {},
                        InputRules input_rules = rules()) {
    auto document = read_strict_json(text);
    if (!document) return std::unexpected(document.error());
    return read_submission(std::move(*document), policy, input_rules);
}

// A spec that is fine but for what is added to it.
std::string with(const std::string& fields) {
    return R"({"image":"busybox","command":["true"])" + (fields.empty() ? "" : "," + fields) + "}";
}

std::map<std::string, FieldError> errors_of(const Answer<Submission>& answer) {
    std::map<std::string, FieldError> out;
    if (answer) return out;
    for (const FieldError& error : answer.error().errors) out[error.field] = error;
    return out;
}

TEST(ApiJson, RefusesWhatIsNotOneCleanDocument) {
    struct Case {
        const char* sentence;
        std::string text;
        const char* says;
    };
    for (const Case& c : {
             Case{"nothing", "", "empty"},
             {"blanks", " \n", "empty"},
             {"a cut document", "{\"a\":", "not JSON"},
             {"two documents", "{} {}", "not JSON"},
             {"a comment", "{} // x", "not JSON"},
             {"a trailing comma", "[1,]", "not JSON"},
             {"single quotes", "{'a':1}", "not JSON"},
             {"NaN", "[NaN]", "not JSON"},
             {"a number beyond double", "[1e999]", "not JSON"},
             {"a leading zero", "[01]", "not JSON"},
             {"a duplicate key", R"({"a":1,"b":{"c":1,"c":2}})", "`c` twice"},
             {"a duplicate key in escapes", R"({"a":1,"\u0061":2})", "`a` twice"},
             {"a NUL in a string", R"(["a\u0000b"])", "NUL"},
             {"a NUL in a key", R"({"a\u0000b":1})", "NUL"},
             {"invalid UTF-8", "[\"\xFF\"]", "not JSON"},
             {"a lone surrogate", R"(["\ud800"])", "not JSON"},
             {"a swapped pair", R"(["\udc00\ud800"])", "not JSON"},
             {"33 levels", std::string(33, '[') + std::string(33, ']'), "deeper than 32"},
             {"10000 levels", std::string(10'000, '['), "deeper than 32"},
         }) {
        const auto document = read_strict_json(c.text);
        ASSERT_FALSE(document) << c.sentence;
        EXPECT_EQ(document.error().type, ProblemType::invalid_json) << c.sentence;
        EXPECT_NE(document.error().detail.find(c.says), std::string::npos)
            << c.sentence << ": " << document.error().detail;
    }
    EXPECT_TRUE(read_strict_json(std::string(32, '[') + std::string(32, ']')));
    EXPECT_EQ(*read_strict_json(R"([{"a":[1,2,{"b":null}]},-1,"x",true,1.5])"),
              nlohmann::json::parse(R"([{"a":[1,2,{"b":null}]},-1,"x",true,1.5])"));
}

TEST(ApiSubmission, FillsInTheOperatorsDefaults) {
    const auto got = read(with(""));
    ASSERT_TRUE(got);
    const store::Policy policy;
    for (const auto& range : policy.limits) {
        EXPECT_EQ(got->spec.limits.*range.field, range.default_value) << range.name;
    }
    EXPECT_EQ(got->spec.ttl_s, policy.ttl_default_s);
    EXPECT_EQ(got->spec.max_attempts, 1);
    EXPECT_EQ(got->spec.network, store::Network::none);
}

TEST(ApiSubmission, ReadsEveryField) {
    store::Policy policy;
    policy.allowed_runtimes = {"runsc"};
    const auto got = read(R"({"image":"ghcr.io/a/b:1.2","command":["sh","-c","x"],
        "files":[{"path":"a","content":"hi","mode":"0755"},{"path":"b","content_base64":"AAH/"},
                 {"path":"c","content":"","mode":420}],
        "stdin_base64":"aGk=","env":{"A":"1","LD_PRELOAD":""},"labels":{"team/x":"y z"},
        "limits":{"cpus":0.25,"timeout_s":5,"artifact_files":0},"network":"loopback",
        "runtime":"runsc","priority":-3,"retry":{"max_attempts":2,"on":["lost"]},"ttl_s":0})",
                          policy);
    ASSERT_TRUE(got) << got.error().detail;
    EXPECT_EQ(got->spec.image, "ghcr.io/a/b:1.2");
    EXPECT_EQ(got->spec.command, (std::vector<std::string>{"sh", "-c", "x"}));
    ASSERT_EQ(got->files.size(), 3U);
    EXPECT_EQ(got->files[0].mode, 0755U);
    EXPECT_EQ(got->files[1].content, std::string("\x00\x01\xFF", 3));
    EXPECT_EQ(got->files[1].mode, 0644U);
    EXPECT_EQ(got->files[2].mode, 0644U);
    EXPECT_EQ(got->stdin_bytes, "hi");
    EXPECT_EQ(got->spec.env.at("A"), "1");
    EXPECT_EQ(got->spec.labels.at("team/x"), "y z");
    EXPECT_EQ(got->spec.limits.cpu_millis, 250);
    EXPECT_EQ(got->spec.limits.timeout_s, 5);
    EXPECT_EQ(got->spec.network, store::Network::loopback);
    EXPECT_EQ(got->spec.runtime, "runsc");
    EXPECT_EQ(got->spec.priority, -3);
    EXPECT_EQ(got->spec.max_attempts, 2);
    EXPECT_EQ(got->spec.ttl_s, 0);
}

TEST(ApiSubmission, NamesTheFieldOfEveryMistake) {
    struct Case {
        const char* sentence;
        std::string text;
        const char* field;
        const char* says;
    };
    const std::string x40k(40'000, 'x');
    std::string many_vars = R"("env":{)";
    for (int i = 0; i < 257; ++i)
        many_vars += (i ? ",\"V" : "\"V") + std::to_string(i) + "\":\"\"";
    many_vars += "}";
    std::string many_args = R"({"image":"a","command":["a")";
    for (int i = 0; i < 256; ++i) many_args += ",\"\"";
    many_args += "]}";
    for (const Case& c : {
             Case{"no image", R"({"command":["a"]})", "image", "is missing"},
             {"an image of null", R"({"image":null,"command":["a"]})", "image", "not null"},
             {"an upward image", R"({"image":"../x","command":["a"]})", "image", "registry host"},
             {"an upper-case image", R"({"image":"Busybox","command":["a"]})", "image",
              "lower-case"},
             {"a bad tag", R"({"image":"a:b!","command":["a"]})", "image", "tag"},
             {"a bad digest", R"({"image":"a@sha256:12","command":["a"]})", "image", "digest"},
             {"a 4 KiB image", R"({"command":["a"],"image":")" + std::string(4096, 'a') + "\"}",
              "image", "255"},
             {"no command", R"({"image":"a"})", "command", "is missing"},
             {"a command line", R"({"image":"a","command":"ls -l"})", "command", "array"},
             {"an empty command", R"({"image":"a","command":[]})", "command", "at least one"},
             {"an empty program", R"({"image":"a","command":[""]})", "command[0]", "program"},
             {"a number in the command", R"({"image":"a","command":["a",1]})", "command[1]",
              "not a number"},
             {"257 arguments", many_args, "command", "too many entries"},
             {"an argument over 64 KiB",
              R"({"image":"a","command":[")" + std::string(65'537, 'x') + "\"]}", "command[0]",
              "too many bytes"},
             {"128 KiB of arguments",
              R"({"image":"a","command":[")" + x40k + "\",\"" + x40k + "\",\"" + x40k + "\",\"" +
                  x40k + "\"]}",
              "command", "all its entries"},
             {"a typo", with(R"("comand":1)"), "comand", "did you mean `command`"},
             {"a typo in limits", with(R"("limits":{"pidLimit":1})"), "limits.pidLimit",
              "did you mean `pids`"},
             {"timeout 0", with(R"("limits":{"timeout_s":0})"), "limits.timeout_s", "from 1 to"},
             {"timeout -1", with(R"("limits":{"timeout_s":-1})"), "limits.timeout_s", "from 1 to"},
             {"timeout 1e308", with(R"("limits":{"timeout_s":1e308})"), "limits.timeout_s",
              "fraction or exponent"},
             {"timeout \"5\"", with(R"("limits":{"timeout_s":"5"})"), "limits.timeout_s",
              "not a string"},
             {"timeout 5.0", with(R"("limits":{"timeout_s":5.0})"), "limits.timeout_s",
              "whole number"},
             {"timeout 2^63", with(R"("limits":{"timeout_s":9223372036854775808})"),
              "limits.timeout_s", "from 1 to"},
             {"timeout 2^64", with(R"("limits":{"timeout_s":18446744073709551616})"),
              "limits.timeout_s", "whole number"},
             {"timeout true", with(R"("limits":{"timeout_s":true})"), "limits.timeout_s",
              "not a boolean"},
             {"one byte of memory", with(R"("limits":{"memory_bytes":1})"), "limits.memory_bytes",
              "16777216"},
             {"no pids", with(R"("limits":{"pids":0})"), "limits.pids", "from 4"},
             {"no CPU", with(R"("limits":{"cpus":0})"), "limits.cpus", "from 0.01"},
             {"a billion CPUs", with(R"("limits":{"cpus":1e9})"), "limits.cpus", "to 4"},
             {"CPUs as text", with(R"("limits":{"cpus":"1"})"), "limits.cpus", "not a string"},
             {"limits as a list", with(R"("limits":[])"), "limits", "must be an object"},
             {"an env name with =", with(R"("env":{"A=B":""})"), "env.A=B", "letters"},
             {"an empty env name", with(R"("env":{"":""})"), "env.", "letters"},
             {"a reserved env name", with(R"("env":{"MAYFLY_RUN_ID":"x"})"), "env.MAYFLY_RUN_ID",
              "reserved"},
             {"HOME", with(R"("env":{"HOME":"/"})"), "env.HOME", "reserved"},
             {"an env value over 32 KiB", with(R"("env":{"A":")" + x40k + "\"}"), "env.A",
              "too many bytes"},
             {"64 KiB of env",
              with(R"("env":{"A":")" + std::string(30'000, 'x') + R"(","B":")" +
                   std::string(30'000, 'x') + R"(","C":")" + std::string(30'000, 'x') + "\"}"),
              "env", "all its names"},
             {"257 variables", with(many_vars), "env", "too many variables"},
             {"a number in env", with(R"("env":{"A":1})"), "env.A", "must be a string"},
             {"a label key in capitals", with(R"("labels":{"Team":"x"})"), "labels.Team", "a-z"},
             {"a long label", with(R"("labels":{"a":")" + std::string(257, 'x') + "\"}"),
              "labels.a", "too many bytes"},
             {"an absolute path", with(R"("files":[{"path":"/a","content":""}])"), "files[0].path",
              "relative"},
             {"no content", with(R"("files":[{"path":"a"}])"), "files[0]", "content_base64"},
             {"both contents", with(R"("files":[{"path":"a","content":"","content_base64":""}])"),
              "files[0].content_base64", "beside"},
             {"bad base64", with(R"("files":[{"path":"a","content_base64":"a"}])"),
              "files[0].content_base64", "base64"},
             {"the same path twice",
              with(R"("files":[{"path":"a","content":""},{"path":"a","content":""}])"),
              "files[1].path", "files[0]"},
             {"too many files",
              with(
                  R"("files":[{"path":"a"},{"path":"b"},{"path":"c"},{"path":"d"},{"path":"e"}])"),
              "files", "too many entries"},
             {"a setuid mode", with(R"("files":[{"path":"a","content":"","mode":"4755"}])"),
              "files[0].mode", "0777"},
             {"a mode in decimal", with(R"("files":[{"path":"a","content":"","mode":755}])"),
              "files[0].mode", "octal"},
             {"a file's typo", with(R"("files":[{"path":"a","content":"","contents":""}])"),
              "files[0].contents", "did you mean `content`"},
             {"inputs over the cap",
              with(R"("files":[{"path":"a","content":")" + std::string(1'001, 'x') + "\"}]"),
              "files", "all inputs"},
             {"stdin over the cap", with(R"("stdin":")" + std::string(101, 'x') + "\""), "stdin",
              "too many bytes"},
             {"a host network", with(R"("network":"host")"), "network", "`none` or `loopback`"},
             {"a priority beyond", with(R"("priority":101)"), "priority", "from -100 to 100"},
             {"retry on failure", with(R"("retry":{"max_attempts":2,"on":["failed"]})"),
              "retry.on", "lost"},
             {"six attempts", with(R"("retry":{"max_attempts":6})"), "retry.max_attempts",
              "from 1 to 5"},
             {"kept for ever", with(R"("ttl_s":99999999999)"), "ttl_s", "2592000"},
             {"a runtime that is a path", with(R"("runtime":"/bin/sh")"), "runtime", "letters"},
         }) {
        const auto got = read(c.text);
        ASSERT_FALSE(got) << c.sentence;
        EXPECT_EQ(got.error().type, ProblemType::invalid_spec) << c.sentence;
        const auto errors = errors_of(got);
        ASSERT_TRUE(errors.contains(c.field)) << c.sentence << ": " << to_json_text(got.error());
        EXPECT_EQ(errors.size(), 1U) << c.sentence << ": " << to_json_text(got.error());
        EXPECT_NE(errors.at(c.field).message.find(c.says), std::string::npos)
            << c.sentence << ": " << errors.at(c.field).message;
    }
}

TEST(ApiSubmission, NamesAllMistakesAtOnce) {
    const auto errors = errors_of(read(
        R"({"img":"a","command":[],"limits":{"pids":1,"cpus":9},"env":{"1":"x"},"ttl_s":-1})"));
    for (const char* field :
         {"img", "image", "command", "limits.pids", "limits.cpus", "env.1", "ttl_s"}) {
        EXPECT_TRUE(errors.contains(field)) << field;
    }
    EXPECT_EQ(std::get<std::int64_t>(errors.at("limits.pids").limit), 4);
    EXPECT_EQ(std::get<std::int64_t>(errors.at("limits.pids").value), 1);
}

TEST(ApiSubmission, RefusesDocumentsThatAreNoObject) {
    for (const char* text : {"null", "[]", "\"x\"", "5", "true"}) {
        const auto got = read(text);
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().type, ProblemType::invalid_spec) << text;
    }
}

TEST(ApiSubmission, NeverShowsAnEnvValue) {
    const auto got = read(with(R"("env":{"TOKEN=":"hunter2","A":5})"));
    ASSERT_FALSE(got);
    EXPECT_EQ(to_json_text(got.error()).find("hunter2"), std::string::npos);
}

TEST(ApiSubmission, HoldsToTheOperatorsRules) {
    store::Policy policy;
    policy.allowed_images = {"registry.lan/*"};
    const auto image = read(with(""), policy);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().type, ProblemType::image_not_allowed);
    EXPECT_NE(image.error().errors[0].message.find("registry.lan/*"), std::string::npos);
    const auto runtime = read(with(R"("runtime":"kata")"));
    ASSERT_FALSE(runtime);
    EXPECT_EQ(runtime.error().type, ProblemType::runtime_not_allowed);
    policy.allowed_images = {};
    policy.default_image = "busybox";
    EXPECT_EQ(read(R"({"command":["a"]})", policy)->spec.image, "busybox");
}

TEST(ApiSubmission, InMultipartAFileWithoutContentIsAPromise) {
    InputRules multipart = rules();
    multipart.parts_follow = true;
    const auto got = read(with(R"("files":[{"path":"a","mode":"0755"}])"), {}, multipart);
    ASSERT_TRUE(got);
    EXPECT_FALSE(got->files[0].content);
    EXPECT_EQ(got->files[0].mode, 0755U);
}

TEST(ApiSubmission, InputsMustFitIntoWork) {
    InputRules wide = rules();
    wide.max_input_bytes = 10 << 20;
    const auto got =
        read(with(R"("limits":{"work_bytes":1048576},"files":[{"path":"a","content":")" +
                  std::string((1 << 20) + 1, 'x') + "\"}]"),
             {}, wide);
    EXPECT_TRUE(errors_of(got).contains("limits.work_bytes"));
}

TEST(ApiSubmission, KnowsImageReferences) {
    const std::string hex(64, 'a');
    const std::vector<std::string> good_ones = {"busybox",
                                                "busybox:1.36",
                                                "library/busybox",
                                                "localhost/a",
                                                "localhost:5000/a/b:x",
                                                "x/a.b-c_d__e",
                                                "a---b",
                                                "Registry.LAN:5000/x:Y_1.2",
                                                "registry.lan:5000/x@sha256:" + hex};
    for (const std::string& good : good_ones) EXPECT_EQ(image_error(good), "") << good;
    const std::vector<std::string> bad_ones = {"",
                                               ":",
                                               "a:",
                                               "a@",
                                               "@sha256:" + hex,
                                               "a//b",
                                               "/a",
                                               "a/",
                                               "-a",
                                               "a-",
                                               "a..b",
                                               "a___b",
                                               "a b",
                                               "a\nb",
                                               "a@sha512:" + hex,
                                               "a:b:c",
                                               "a@sha256:" + hex + "0",
                                               "http://x/y",
                                               "a/../b",
                                               "ghcr.io/Own/x",
                                               "\u00e9"};
    for (const std::string& bad : bad_ones) EXPECT_NE(image_error(bad), "") << bad;
}

TEST(ApiSubmission, DecodesBase64Strictly) {
    EXPECT_EQ(base64_decode(""), "");
    EXPECT_EQ(base64_decode("aGk="), "hi");
    EXPECT_EQ(base64_decode("aG\r\nk="), "hi");
    EXPECT_EQ(base64_decode("aGkh"), "hi!");
    EXPECT_EQ(base64_decode("aA=="), "h");
    for (const char* bad : {"a", "aGk", "aGk=a", "a===", "====", "aG k=", "aG-_", "=aGk"}) {
        EXPECT_FALSE(base64_decode(bad)) << bad;
    }
}

TEST(ApiSubmission, TakesAWebhook) {
    const auto plain = read(with(R"("webhook":{"url":"https://h/x"})"));
    ASSERT_TRUE(plain) << plain.error().detail;
    EXPECT_EQ(plain->spec.webhook, (store::Webhook{.url = "https://h/x"}));
    const auto full =
        read(with(R"("webhook":{"url":"https://h/x","secret":"0123456789 abcdef","on":["all"]})"));
    ASSERT_TRUE(full) << full.error().detail;
    EXPECT_EQ(
        full->spec.webhook,
        (store::Webhook{.url = "https://h/x", .secret = "0123456789 abcdef", .all_events = true}));
    EXPECT_EQ(read(with(R"("webhook":{"url":"https://h","on":["finished"]})"))->spec.webhook,
              (store::Webhook{.url = "https://h"}));
    EXPECT_EQ(read(with(""))->spec.webhook, std::nullopt);
}

TEST(ApiSubmission, SaysWhatIsWrongWithAWebhookButNeverItsSecret) {
    struct Case {
        const char* sentence;
        std::string fields;
        const char* field;
        const char* says;
    };
    const std::string long_secret(257, 'S');
    for (const Case& c : {
             Case{"no object", R"("webhook":"https://h")", "webhook", "an object"},
             {"no URL", R"("webhook":{})", "webhook.url", "is missing"},
             {"a URL that is no string", R"("webhook":{"url":1})", "webhook.url", "a string"},
             {"a URL that is refused", R"("webhook":{"url":"ftp://h"})", "webhook.url",
              "https://"},
             {"an unknown field", R"("webhook":{"url":"https://h","events":["all"]})",
              "webhook.events", "not a field"},
             {"a short secret", R"("webhook":{"url":"https://h","secret":"SSSSSSSSSSSSSSS"})",
              "webhook.secret", "16 to 256"},
             {"a long secret", R"("webhook":{"url":"https://h","secret":")" + long_secret + "\"}",
              "webhook.secret", "16 to 256"},
             {"a secret with a line break",
              R"("webhook":{"url":"https://h","secret":"SSSSSSSSSSSSSSSS\n"})", "webhook.secret",
              "printable"},
             {"a secret beyond ASCII",
              R"("webhook":{"url":"https://h","secret":"SSSSSSSSSSSSSSSS\u00e4"})",
              "webhook.secret", "printable"},
             {"a secret that is no string", R"("webhook":{"url":"https://h","secret":["SSSS"]})",
              "webhook.secret", "a string"},
             {"`on` as a string", R"("webhook":{"url":"https://h","on":"all"})", "webhook.on",
              "[\"finished\"]"},
             {"`on` with something else", R"("webhook":{"url":"https://h","on":["failed"]})",
              "webhook.on", "[\"all\"]"},
         }) {
        const auto answer = read(with(c.fields));
        ASSERT_FALSE(answer) << c.sentence;
        const auto errors = errors_of(answer);
        ASSERT_TRUE(errors.contains(c.field)) << c.sentence << ": " << answer.error().detail;
        EXPECT_NE(errors.at(c.field).message.find(c.says), std::string::npos)
            << c.sentence << ": " << errors.at(c.field).message;
        EXPECT_EQ(to_json_text(answer.error()).find("SSSS"), std::string::npos) << c.sentence;
    }
}

TEST(ApiSubmission, RefusesAWebhookWhereThereAreNone) {
    InputRules off = rules();
    off.webhook_url_error = nullptr;
    const auto answer = read(with(R"("webhook":{"url":"https://h"})"), {}, off);
    ASSERT_FALSE(answer);
    EXPECT_NE(errors_of(answer).at("webhook").message.find("switched webhooks off"),
              std::string::npos);
}

}  // namespace
}  // namespace mayfly::api
