#include "controller/healthcheck.h"

#include <gtest/gtest.h>

namespace mayfly::controller {
namespace {

TEST(Healthcheck, AsksWhereTheDaemonListens) {
    struct Case {
        const char* listen;
        const char* url;
    };
    const Case cases[] = {
        {"", "http://127.0.0.1:7070"},
        {"127.0.0.1:7071", "http://127.0.0.1:7071"},
        {"0.0.0.0:8080", "http://127.0.0.1:8080"},
        {"192.0.2.7:7070", "http://192.0.2.7:7070"},
        {"localhost:7070", "http://localhost:7070"},
        {"[::]:7070", "http://[::1]:7070"},
        {"[::1]:7072", "http://[::1]:7072"},
    };
    for (const auto& c : cases) EXPECT_EQ(health_url(c.listen), c.url) << c.listen;
}

TEST(Healthcheck, SaysByItsCodeThatNobodyAnswersOrThatItWasAskedWrongly) {
    const char* nobody[] = {"healthcheck", "--url", "http://127.0.0.1:1"};
    EXPECT_EQ(healthcheck(3, nobody), 1);
    const char* wrong[] = {"healthcheck", "--url", "unix:///run/mayfly.sock"};
    EXPECT_EQ(healthcheck(3, wrong), 2);
}

}  // namespace
}  // namespace mayfly::controller
