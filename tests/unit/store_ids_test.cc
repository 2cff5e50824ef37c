#include <gtest/gtest.h>

#include "store/clock.h"

namespace mayfly::store {
namespace {

TEST(RunIds, AreTwentySixCharactersAndSortByTheirTime) {
    SystemRandom random;
    auto earlier = make_run_id(1'700'000'000'000, random);
    auto later = make_run_id(1'700'000'000'001, random);
    EXPECT_TRUE(is_run_id(earlier));
    EXPECT_LT(earlier, later);
    EXPECT_FALSE(is_run_id("../../etc/passwd"));
    EXPECT_FALSE(is_run_id(earlier + "0"));
}

}  // namespace
}  // namespace mayfly::store
