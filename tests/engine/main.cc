#include <gtest/gtest.h>

#include <iostream>

#include "tests/engine/fixture.h"

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    if (!::testing::GTEST_FLAG(list_tests) &&
        mayfly::controller::docker::test_engine() == nullptr) {
        std::cerr << "Neither MAYFLY_TEST_ENGINE nor DOCKER_HOST is set: these tests need a "
                     "Docker Engine of their own, "
                     "e.g. MAYFLY_TEST_ENGINE=unix:///run/test-docker.sock, with the image "
                     "mayfly-test/busybox:1\n";
        return 2;
    }
    return RUN_ALL_TESTS();
}
