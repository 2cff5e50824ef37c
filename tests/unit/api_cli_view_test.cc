// The API's JSON as tables and sentences: nothing that a script chose steers the terminal.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/cli/fields.h"
#include "api/cli/view.h"

namespace mayfly::api::cli {
namespace {

constexpr const char* kRun = R"({"id":"01hzy0000000000000000000ab",
  "spec":{"image":"busybox","command":["sh","-c","echo \u001b[2J"],
          "labels":{"team":"\u202emaths"},"limits":{"timeout_s":60,"memory_bytes":268435456}},
  "status":{"phase":"failed","reason":"NonZeroExit","message":"exited with 3\u0007",
            "exit_code":3,"created_at":"2026-03-01T12:00:00.000Z",
            "finished_at":"2026-03-01T12:00:02.000Z",
            "clocks_ms":{"queue":2,"prepare":140,"run":61,"harvest":95},
            "stdout":{"bytes_total":3000000,"bytes_kept":262144,"truncated":true},
            "stderr":{"bytes_total":5,"bytes_kept":5,"truncated":false},
            "artifact_count":2,"artifact_bytes":2048,"skipped_count":1}})";

constexpr Look kPlain{false, 0, 1'772'366'465'000};  // 12:01:05

void expect_no_controls(const std::string& text) {
    for (const char c : text) {
        EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 || c == '\n') << text;
    }
    EXPECT_EQ(text.find("\xe2\x80\xae"), std::string::npos) << text;
}

TEST(CliView, ListsRuns) {
    const auto runs = nlohmann::json::array({parse_json(kRun)});
    const std::string text = runs_view(runs, kPlain);
    expect_no_controls(text);
    EXPECT_EQ(text,
              "ID                          PHASE     AGE    RAN  WHY          IMAGE    LABELS    "
              "          COMMAND\n"
              "01hzy0000000000000000000ab  failed  1m05s  61 ms  exit code 3  busybox  "
              "team=\\u{202e}maths  sh -c 'echo \\x1b[2J'\n");
    EXPECT_EQ(runs_view(nlohmann::json::array(), kPlain), "No runs.\n");
}

TEST(CliView, ShowsARunAndItsEnd) {
    const auto run = parse_json(kRun);
    const std::string text = run_view(run, kPlain);
    expect_no_controls(text);
    for (const char* wanted :
         {"NonZeroExit: exited with 3\\x07", "timeout_s 1m00s", "memory_bytes 256 MiB",
          "2.9 MiB printed, 256 KiB kept", "queue 2 ms, prepare 140 ms, run 61 ms, harvest 95 ms",
          "2 files, 2 KiB"}) {
        EXPECT_NE(text.find(wanted), std::string::npos) << wanted << "\n" << text;
    }
    const std::string end = ending_text(run, kPlain);
    EXPECT_TRUE(end.starts_with("failed: exit code 3: exited with 3\\x07 (queue 2 ms")) << end;
    EXPECT_NE(end.find("stdout: 2.9 MiB printed"), std::string::npos);
}

TEST(CliView, ShowsWhatItIsGivenAndNothingWorse) {
    for (const char* odd : {"null", "[]", "{}", "7", R"({"status":[]})",
                            R"({"artifacts":[1,{"path":7}],"checks":{"a":1},"history":7})",
                            R"({"engines":[[]],"slots":{"run":[]},"runs":{"queued":"x"}})"}) {
        const auto value = parse_json(odd);
        (void)run_view(value, kPlain);
        (void)artifacts_view(value, kPlain);
        (void)event_line(value, kPlain);
        (void)explain_view(value, kPlain);
        (void)top_view(value, nlohmann::json(), kPlain);
        (void)phase_line(value, kPlain);
        (void)ending_text(value, kPlain);
        (void)checks_of(value);
        EXPECT_FALSE(problem_view(500, odd, "").empty());
    }
}

TEST(CliView, ListsArtifactsWithHostileNames) {
    const std::string text =
        artifacts_view(parse_json(R"({"artifacts":[{"path":"a\nb\u001b[31m","size":2048,"sha256":
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","mode":"0644"}],
          "skipped":[{"path":"li\u0007nk","reason":"a link"}],"skipped_count":4})"),
                       kPlain);
    expect_no_controls(text);
    EXPECT_EQ(text,
              " SIZE  MODE  SHA256         PATH\n"
              "2 KiB  0644  e3b0c44298fc…  a\\nb\\x1b[31m\n"
              "skipped: li\\x07nk: a link\n"
              "skipped: 3 more\n");
}

TEST(CliView, TellsEventsInALine) {
    const std::string line = event_line(parse_json(R"({"id":42,"at":"2026-03-01T12:00:00.123Z",
        "type":"pending","run_id":"01hzy0000000000000000000ab","labels":{"a":"b"},
        "phase":"queued","pending_reason":"Capacity","pending_message":"4 of 4\u001b"})"),
                                        kPlain);
    EXPECT_EQ(line,
              "12:00:00.123  01hzy0000000000000000000ab  queued  pending  Capacity: 4 of 4\\x1b  "
              "a=b");
}

TEST(CliView, Explains) {
    const std::string text = explain_view(parse_json(R"({"run_id":"01hzy","phase":"queued",
      "headline":"Waiting for a run slot: 4 of 4 are taken",
      "saw":[{"what":"engine","is":"up"}],"decided":{"action":"Wait","why":"no slot is free"},
      "waits_for":"a run slot","until":"2026-03-01T13:00:00.000Z",
      "admission":{"place":3,"queued":12,"run_slots_used":4,"run_slots":4},
      "failures":null,"deadlines":{"queue":"2026-03-01T13:00:00.000Z","prepare":null},
      "history":[{"event_id":1,"at":"2026-03-01T12:00:00.000Z","type":"created",
                  "phase":"queued","attempt":0,"cause":"The submission was recorded."}]})"),
                                          kPlain);
    for (const char* wanted : {"01hzy is queued\n", "Waiting for a run slot", "engine  up",
                               "Wait: no slot is free", "place 3 of 12; 4 of 4 run slots",
                               "13:00:00.000, in 58m55s", "The submission was recorded."}) {
        EXPECT_NE(text.find(wanted), std::string::npos) << wanted << "\n" << text;
    }
}

TEST(CliView, ShowsTop) {
    const std::string text = top_view(parse_json(R"({"engines":[{"name":"default","up":false,
      "error":"connection refused"}],"slots":{"run":{"total":4,"used":1},
      "engine_work":{"total":4,"used":0}},"queued":2,"runs":{"queued":2,"running":1},
      "disk":{"free_bytes":1073741824,"low_bytes":1048576,"full_bytes":1024}})"),
                                      nlohmann::json::array(), kPlain);
    for (const char* wanted : {"DOWN", "connection refused", "[#####...............]",
                               "1 of 4 taken", "2 queued  1 running", "1 GiB free"}) {
        EXPECT_NE(text.find(wanted), std::string::npos) << wanted << "\n" << text;
    }
}

TEST(CliView, DoctorSaysTheFix) {
    const std::string text = doctor_view({{"engine", "fail", "refused\x1b", "start it"},
                                          {"clock", "warn", "off", ""},
                                          {"disk", "ok", "1 GiB free", ""}},
                                         kPlain);
    EXPECT_EQ(text,
              "fail  engine  refused\\x1b\n"
              "              fix: start it\n"
              "warn  clock   off\n"
              "ok    disk    1 GiB free\n"
              "\n1 thing is wrong, 1 warning.\n");
    EXPECT_NE(doctor_view({{"a", "ok", "", ""}}, kPlain).find("All is well."), std::string::npos);
}

TEST(CliView, ShowsProblemsForPeople) {
    EXPECT_EQ(problem_view(400, R"({"type":"urn:mayfly:problem:invalid-spec","title":"t",
        "status":400,"detail":"2 fields are wrong; see `errors`.","errors":[
        {"field":"limits.memory_bytes","message":"must be a whole number from 1 to 2","limit":2,
         "value":3},{"field":"env.\u001b","message":"is bad","value":"\u0007"}],
        "errors_omitted":7})",
                           ""),
              "2 fields are wrong; see `errors`.\n"
              "  limits.memory_bytes: must be a whole number from 1 to 2 (limit: 2, given: 3)\n"
              "  env.\\x1b: is bad (given: \\x07)\n"
              "  and 7 more\n"
              "  next: mayfly run --help explains the arguments; mayfly top --json shows the "
              "operator's limits (policy)\n");
    const std::string still = problem_view(
        409, R"({"type":"urn:mayfly:problem:still-running","detail":"No."})", "01hzy");
    EXPECT_NE(still.find("mayfly cancel 01hzy"), std::string::npos) << still;
    const std::string foreign = problem_view(502, "<html>\x1b[31mBad Gateway</html>", "");
    EXPECT_NE(foreign.find("not one of mayfly"), std::string::npos);
    expect_no_controls(foreign);
}

}  // namespace
}  // namespace mayfly::api::cli
