#include "controller/admission.h"

#include <gtest/gtest.h>

namespace mayfly::controller {
namespace {

using Keys = std::vector<std::string>;

Candidate candidate(std::string key, std::int64_t priority, store::UnixMs created_ms,
                    std::string owner = "", std::int64_t memory = 1, std::int64_t cpu = 1) {
    return {std::move(key), std::move(owner), priority, created_ms, memory, cpu};
}

struct Case {
    std::string sentence;
    std::vector<Candidate> prepared;
    Usage usage;
    AdmissionLimits limits;
    store::UnixMs now_ms;
    Keys expected;
};

class AdmitToStart : public testing::TestWithParam<Case> {};

TEST_P(AdmitToStart, Holds) {
    const auto& c = GetParam();
    EXPECT_EQ(admit_to_start(c.prepared, c.usage, c.limits, c.now_ms), c.expected) << c.sentence;
}

const AdmissionLimits kTwo{.max_running = 2, .prepare_ahead = 2, .starvation_ms = 30};
const AdmissionLimits kBudget{.max_running = 9,
                              .prepare_ahead = 0,
                              .memory_bytes = 10,
                              .cpu_millis = 10,
                              .starvation_ms = 30};

INSTANTIATE_TEST_SUITE_P(
    Table, AdmitToStart,
    testing::Values(Case{"the oldest go first when priorities are equal",
                         {candidate("c", 0, 3), candidate("a", 0, 1), candidate("b", 0, 2)},
                         {},
                         kTwo,
                         10,
                         {"a", "b"}},
                    Case{"a higher priority goes before an older run",
                         {candidate("old", 0, 1), candidate("urgent", 5, 9)},
                         {.running = 1},
                         kTwo,
                         10,
                         {"urgent"}},
                    Case{"nothing is admitted when every run slot is taken",
                         {candidate("a", 0, 1)},
                         {.running = 2},
                         kTwo,
                         10,
                         {}},
                    Case{"nothing is admitted when more run than slots (the ceiling was lowered)",
                         {candidate("a", 0, 1)},
                         {.running = 7},
                         kTwo,
                         10,
                         {}},
                    Case{"the owner with less under way goes before an older run of a busy owner",
                         {candidate("busy", 0, 1, "x"), candidate("idle", 0, 9, "y")},
                         {.running = 1, .by_owner = {{"x", 1}}},
                         kTwo,
                         10,
                         {"idle"}},
                    Case{"owners alternate as they are given slots",
                         {candidate("x1", 0, 1, "x"), candidate("x2", 0, 2, "x"),
                          candidate("y1", 0, 3, "y")},
                         {},
                         kTwo,
                         10,
                         {"x1", "y1"}},
                    Case{"a run over the free memory is overtaken by one that fits",
                         {candidate("large", 0, 1, "", 8), candidate("small", 0, 2, "", 2)},
                         {.running = 1, .memory_bytes = 5},
                         kBudget,
                         10,
                         {"small"}},
                    Case{"a run over the free memory that waited long holds back those behind it",
                         {candidate("large", 0, 1, "", 8), candidate("small", 0, 2, "", 2)},
                         {.running = 1, .memory_bytes = 5},
                         kBudget,
                         100,
                         {}},
                    Case{"those before the starving one still go",
                         {candidate("first", 1, 99, "", 2), candidate("large", 0, 1, "", 8),
                          candidate("small", 0, 2, "", 2)},
                         {.running = 1, .memory_bytes = 5},
                         kBudget,
                         100,
                         {"first"}},
                    Case{"the CPU budget counts like memory, with what was just admitted",
                         {candidate("a", 0, 1, "", 1, 6), candidate("b", 0, 2, "", 1, 6)},
                         {},
                         kBudget,
                         10,
                         {"a"}}));

TEST(AdmitToPrepare, FillsRunSlotsAndWhatIsPreparedAhead) {
    std::vector<Candidate> queued;
    for (int i = 0; i < 9; ++i) queued.push_back(candidate("k" + std::to_string(i), 0, i));
    EXPECT_EQ(admit_to_prepare(queued, {.running = 1, .preparing = 1}, kTwo), (Keys{"k0", "k1"}));
    EXPECT_EQ(admit_to_prepare(queued, {.running = 2, .preparing = 2}, kTwo), Keys{});
    EXPECT_EQ(admit_to_prepare(queued, {}, kTwo).size(), 4U);
}

}  // namespace
}  // namespace mayfly::controller
