#include "gtest/gtest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "metrics/families.h"
#include "store/run.h"

namespace mayfly::metrics {
namespace {

// One exposition, read back: "name{labels}" to its value, labels as printed.
std::map<std::string, std::string> parse(const std::string& text) {
    std::map<std::string, std::string> out;
    std::size_t begin = 0;
    while (begin < text.size()) {
        const std::size_t end = text.find('\n', begin);
        const std::string line = text.substr(begin, end - begin);
        begin = end + 1;
        if (line.empty() || line[0] == '#') {
            continue;
        }
        const std::size_t blank = line.rfind(' ');
        out[line.substr(0, blank)] = line.substr(blank + 1);
    }
    return out;
}

class FamiliesTest : public testing::Test {
protected:
    std::string value(const std::string& series) {
        const auto all = parse(families_.expose());
        const auto found = all.find(series);
        return found == all.end() ? "absent" : found->second;
    }
    Families families_{"1.2.3"};
};

TEST_F(FamiliesTest, every_series_is_born_at_zero) {
    const std::set<std::string> not_counts = {"mayfly_build_info{version=\"1.2.3\"}"};
    for (const auto& [series, number] : parse(families_.expose())) {
        if (series.starts_with("mayfly_") && !not_counts.contains(series)) {
            EXPECT_EQ(number, "0") << series;
        }
    }
}

TEST_F(FamiliesTest, the_known_label_values_exist_before_anything_happened) {
    const std::vector<std::string> expected = {
        R"(mayfly_runs_finished_total{phase="lost",reason="KilledExternally"})",
        R"(mayfly_runs_finished_total{phase="succeeded",reason="Completed"})",
        R"(mayfly_runs{phase="harvesting"})",
        R"(mayfly_runs_pending{reason="ImagePull"})",
        R"(mayfly_reconcile_total{result="requeue_after"})",
        R"(mayfly_engine_calls_total{endpoint="POST /containers/{id}/start",result="unknown"})",
        R"(mayfly_engine_call_seconds_count{endpoint="PUT /containers/{id}/archive"})",
        R"(mayfly_api_requests_total{code="201",method="POST",route="/v1/runs"})",
        R"(mayfly_api_request_seconds_count{route="/v1/runs/{id}/logs"})",
        R"(mayfly_sweep_actions_total{action="remove_volume"})",
        R"(mayfly_slots_used{kind="engine_work"})",
        R"(mayfly_orphan_objects{kind="container"})",
        R"(mayfly_webhook_deliveries_total{result="given_up"})",
        "mayfly_webhook_pending",
        "mayfly_store_commit_seconds_count",
        "mayfly_events_absent_on_purpose",
    };
    const auto all = parse(families_.expose());
    for (const std::string& series : expected) {
        EXPECT_EQ(all.contains(series), series != "mayfly_events_absent_on_purpose") << series;
    }
}

TEST_F(FamiliesTest, a_finished_run_counts_once_and_only_with_the_clocks_that_it_has) {
    families_.run_finished("timed_out", "QueueTimeout", {.queue = 3.0, .total = 3.0});
    EXPECT_EQ(value(R"(mayfly_runs_finished_total{phase="timed_out",reason="QueueTimeout"})"),
              "1");
    EXPECT_EQ(value("mayfly_run_queue_seconds_count"), "1");
    EXPECT_EQ(value("mayfly_run_queue_seconds_sum"), "3");
    EXPECT_EQ(value(R"(mayfly_run_queue_seconds_bucket{le="2.5"})"), "0");
    EXPECT_EQ(value(R"(mayfly_run_queue_seconds_bucket{le="5"})"), "1");
    EXPECT_EQ(value("mayfly_run_run_seconds_count"), "0");
    EXPECT_EQ(value("mayfly_run_total_seconds_count"), "1");
}

TEST_F(FamiliesTest, a_clock_that_stepped_back_counts_as_zero_seconds) {
    families_.run_finished("succeeded", "Completed", {.run = -2.0});
    EXPECT_EQ(value("mayfly_run_run_seconds_sum"), "0");
    EXPECT_EQ(value(R"(mayfly_run_run_seconds_bucket{le="0.005"})"), "1");
}

TEST_F(FamiliesTest, values_that_are_not_listed_are_counted_under_other_and_add_no_series) {
    families_.api_request_began();
    families_.api_request("GET", "/first", 200, 0.1);
    const std::size_t before = parse(families_.expose()).size();
    for (int i = 0; i < 50; ++i) {
        const std::string word = "made-up-" + std::to_string(i);
        families_.run_finished(word, word, {});
        families_.engine_call(word, word, 0.1);
        families_.set_runs(word, 1);
        families_.swept(word);
        families_.reconciled(word, 0.1);
        families_.api_request_began();
        families_.api_request("GET", "/" + word, 200, 0.1);
    }
    EXPECT_EQ(parse(families_.expose()).size(), before);
    EXPECT_EQ(value(R"(mayfly_runs_finished_total{phase="other",reason="other"})"), "50");
    EXPECT_EQ(value(R"(mayfly_engine_calls_total{endpoint="other",result="other"})"), "50");
    EXPECT_EQ(value(R"(mayfly_api_requests_total{code="200",method="GET",route="other"})"), "51");
}

TEST_F(FamiliesTest, codes_and_methods_that_are_none_are_counted_under_other) {
    families_.api_request_began();
    families_.api_request("BREW", "/v1/runs", 7, 0.1);
    EXPECT_EQ(value(R"(mayfly_api_requests_total{code="other",method="other",route="/v1/runs"})"),
              "1");
}

TEST_F(FamiliesTest, requests_in_flight_go_up_and_down) {
    families_.api_request_began();
    families_.api_request_began();
    EXPECT_EQ(value("mayfly_api_requests_in_flight"), "2");
    families_.api_request("GET", "/v1/runs", 200, 0.1);
    EXPECT_EQ(value("mayfly_api_requests_in_flight"), "1");
    EXPECT_EQ(value(R"(mayfly_api_requests_total{code="200",method="GET",route="/v1/runs"})"),
              "1");
    EXPECT_EQ(value(R"(mayfly_api_request_seconds_count{route="/v1/runs"})"), "1");
}

TEST_F(FamiliesTest, an_error_is_a_reconcile_error_and_nothing_else_is) {
    families_.reconciled(kReconcileSuccess, 0.1);
    families_.reconciled(kReconcileRequeueAfter, 0.1);
    EXPECT_EQ(value("mayfly_reconcile_errors_total"), "0");
    families_.reconciled(kReconcileError, 0.1);
    EXPECT_EQ(value("mayfly_reconcile_errors_total"), "1");
    EXPECT_EQ(value("mayfly_reconcile_time_seconds_count"), "3");
}

TEST_F(FamiliesTest, what_changes_all_the_time_is_set_when_it_is_asked_for) {
    int asked = 0;
    families_.on_expose([&] { families_.set_queue_depth(++asked); });
    EXPECT_EQ(value("mayfly_workqueue_depth"), "1");
    EXPECT_EQ(value("mayfly_workqueue_depth"), "2");
    families_.on_expose(nullptr);
    EXPECT_EQ(value("mayfly_workqueue_depth"), "2");
}

TEST_F(FamiliesTest, an_engine_that_was_upgraded_leaves_no_second_info_series) {
    families_.set_engine("local", true, "20.10.24", "1.41");
    EXPECT_EQ(value(R"(mayfly_engine_up{engine="local"})"), "1");
    EXPECT_EQ(value(R"(mayfly_engine_info{api_version="1.41",engine="local",version="20.10.24"})"),
              "1");
    families_.set_engine("local", true, "26.1.5", "1.45");
    EXPECT_EQ(value(R"(mayfly_engine_info{api_version="1.41",engine="local",version="20.10.24"})"),
              "absent");
    EXPECT_EQ(value(R"(mayfly_engine_info{api_version="1.45",engine="local",version="26.1.5"})"),
              "1");
    families_.set_engine("local", false, "", "");
    EXPECT_EQ(value(R"(mayfly_engine_up{engine="local"})"), "0");
    EXPECT_EQ(value(R"(mayfly_engine_info{api_version="1.45",engine="local",version="26.1.5"})"),
              "absent");
}

TEST_F(FamiliesTest, label_values_from_the_engine_are_escaped) {
    families_.set_engine("a\"b\\c\nd", true, "1\n2", "3");
    EXPECT_EQ(value(R"(mayfly_engine_up{engine="a\"b\\c\nd"})"), "1");
}

TEST_F(FamiliesTest, gauges_hold_the_last_value) {
    families_.set_slots(kSlotRun, 3, 8);
    families_.set_slots(kSlotRun, 2, 8);
    families_.set_pending("Capacity", 17);
    families_.set_disk(5'000'000'000, 2, 1);
    EXPECT_EQ(value(R"(mayfly_slots_used{kind="run"})"), "2");
    EXPECT_EQ(value(R"(mayfly_slots{kind="run"})"), "8");
    EXPECT_EQ(value(R"(mayfly_runs_pending{reason="Capacity"})"), "17");
    EXPECT_EQ(value("mayfly_disk_free_bytes"), "5000000000");
    EXPECT_EQ(value("mayfly_disk_low_watermark_bytes"), "2");
    EXPECT_EQ(value("mayfly_disk_full_watermark_bytes"), "1");
}

TEST_F(FamiliesTest, counters_never_go_down) {
    families_.harvested(10, 20, 3);
    families_.harvested(-10, -20, -3);
    families_.swept(kSweepRemoveVolume, 4);
    families_.swept(kSweepRemoveVolume, 0);
    EXPECT_EQ(value("mayfly_harvested_output_bytes_total"), "10");
    EXPECT_EQ(value("mayfly_harvested_log_bytes_total"), "20");
    EXPECT_EQ(value("mayfly_harvested_files_total"), "3");
    EXPECT_EQ(value(R"(mayfly_sweep_actions_total{action="remove_volume"})"), "4");
}

TEST_F(FamiliesTest, this_process_is_described) {
    const auto all = parse(families_.expose());
    const auto number = [&](const char* name) {
        return all.contains(name) ? std::stod(all.at(name)) : -1.0;
    };
    EXPECT_GT(number("process_resident_memory_bytes"), 1e6);
    EXPECT_GT(number("process_virtual_memory_bytes"), number("process_resident_memory_bytes"));
    EXPECT_GE(number("process_cpu_seconds_total"), 0);
    EXPECT_GE(number("process_threads"), 1);
    EXPECT_GE(number("process_max_fds"), number("process_open_fds"));
    EXPECT_GT(number("process_start_time_seconds"), 1.6e9);

    long open = 0;
    for (int fd = 0; fd < 1'024; ++fd) {
        open += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
    }
    EXPECT_EQ(value("process_open_fds"), std::to_string(open));
}

TEST_F(FamiliesTest, names_and_types_follow_the_conventions) {
    const std::string text = families_.expose();
    std::string previous;
    std::size_t begin = 0;
    while ((begin = text.find("# TYPE ", begin)) != std::string::npos) {
        const std::string line = text.substr(begin + 7, text.find('\n', begin) - begin - 7);
        const std::string name = line.substr(0, line.find(' '));
        const std::string type = line.substr(line.find(' ') + 1);
        EXPECT_TRUE(name.starts_with("mayfly_") || name.starts_with("process_")) << name;
        EXPECT_EQ(type == "counter", name.ends_with("_total")) << name << " is a " << type;
        EXPECT_LT(previous, name) << "families are in the order of their names";
        EXPECT_NE(text.find("# HELP " + name + " "), std::string::npos) << name;
        previous = name;
        ++begin;
    }
    EXPECT_FALSE(previous.empty());
}

// The store's words are label values here; a new one must not end up under "other".
TEST_F(FamiliesTest, every_phase_reason_and_pending_reason_of_the_store_is_listed) {
    const std::string text = families_.expose();
    for (std::size_t i = 0; i < store::kPhaseCount; ++i) {
        const std::string phase(store::to_string(static_cast<store::Phase>(i)));
        EXPECT_NE(text.find("mayfly_runs{phase=\"" + phase + "\"}"), std::string::npos) << phase;
    }
    for (int i = 1; i <= static_cast<int>(store::kLastReason); ++i) {
        const std::string reason(store::to_string(static_cast<store::Reason>(i)));
        EXPECT_NE(text.find(",reason=\"" + reason + "\"}"), std::string::npos) << reason;
    }
    for (int i = 1; i <= static_cast<int>(store::kLastPending); ++i) {
        const std::string pending(store::to_string(static_cast<store::Pending>(i)));
        EXPECT_NE(text.find("mayfly_runs_pending{reason=\"" + pending + "\"}"), std::string::npos)
            << pending;
    }
}

TEST_F(FamiliesTest, promtool_finds_nothing_to_say) {
    const char* named = std::getenv("PROMTOOL");
    const std::string promtool = named != nullptr ? named : "promtool";
    char path[] = "/tmp/mayfly-metrics-XXXXXX";
    const int fd = ::mkstemp(path);
    ASSERT_GE(fd, 0);
    families_.set_engine("local", true, "20.10.24", "1.41");
    const std::string text = families_.expose();
    ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(fd);
    const std::string command = promtool + " check metrics < " + path + " 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string said;
    char buffer[512];
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
        said += buffer;
    }
    const int status = ::pclose(pipe);
    ::unlink(path);
    EXPECT_EQ(status, 0) << "promtool (package prometheus, or named by PROMTOOL) failed";
    EXPECT_EQ(said, "");
}

TEST_F(FamiliesTest, threads_may_count_side_by_side_while_another_reads) {
    constexpr int kThreads = 4;
    constexpr int kEach = 2'000;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([this, t] {
            for (int i = 0; i < kEach; ++i) {
                families_.engine_call("GET /info", kCallOk, 0.001);
                families_.api_request_began();
                families_.api_request("GET", "/v1/runs", 200 + t, 0.001);
            }
        });
    }
    for (int i = 0; i < 5; ++i) {
        EXPECT_FALSE(families_.expose().empty());
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(value(R"(mayfly_engine_calls_total{endpoint="GET /info",result="ok"})"),
              std::to_string(kThreads * kEach));
    EXPECT_EQ(value(R"(mayfly_api_requests_total{code="202",method="GET",route="/v1/runs"})"),
              std::to_string(kEach));
    EXPECT_EQ(value("mayfly_api_requests_in_flight"), "0");
}

}  // namespace
}  // namespace mayfly::metrics
