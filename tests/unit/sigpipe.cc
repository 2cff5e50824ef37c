// The daemon ignores SIGPIPE; what is tested here relies on that. A handler instead of SIG_IGN: a
// program that a test starts does not inherit it.
#include <gtest/gtest.h>

#include <csignal>

namespace {

class NoSigpipe final : public testing::Environment {
public:
    void SetUp() override {
        std::signal(SIGPIPE, [](int) {});
    }
};

[[maybe_unused]] const auto* const kNoSigpipe = testing::AddGlobalTestEnvironment(new NoSigpipe);

}  // namespace
