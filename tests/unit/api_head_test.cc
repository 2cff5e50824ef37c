// Request heads: what is taken, and what is refused because two parsers could read it in two ways.
#include <gtest/gtest.h>

#include "api/header_block.h"

namespace mayfly::api {
namespace {

TEST(ApiHead, TakesPlainRequests) {
    for (const std::string head : {
             "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
             "POST /v1/runs HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
             "POST /v1/runs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
             "GET / HTTP/1.0\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Tab:\ta\tb \r\n\r\n",
         }) {
        EXPECT_EQ(head_size(head), head.size()) << head;
        const auto problem = check_head(head, {});
        EXPECT_FALSE(problem) << head << problem->detail;
    }
}

TEST(ApiHead, RefusesWhatIsAmbiguous) {
    struct Case {
        const char* sentence;
        std::string head;
        int status;
    };
    const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (const Case& c : {
             Case{"both framings",
                  post + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
             {"the other order", post + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
              400},
             {"two lengths", post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
             {"a list of lengths", post + "Content-Length: 1, 1\r\n\r\n", 400},
             {"a signed length", post + "Content-Length: +1\r\n\r\n", 400},
             {"a negative length", post + "Content-Length: -1\r\n\r\n", 400},
             {"a hexadecimal length", post + "Content-Length: 0x10\r\n\r\n", 400},
             {"an empty length", post + "Content-Length:\r\n\r\n", 400},
             {"a length that overflows", post + "Content-Length: 99999999999999999999\r\n\r\n",
              413},
             {"gzip, chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
             {"identity", post + "Transfer-Encoding: identity\r\n\r\n", 400},
             {"chunked twice",
              post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
             {"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
             {"a folded line", post + "X: a\r\n b\r\n\r\n", 400},
             {"a blank before the colon", post + "Content-Length : 1\r\n\r\n", 400},
             {"no colon", post + "nonsense\r\n\r\n", 400},
             {"no name", post + ": x\r\n\r\n", 400},
             {"a bare line feed", "GET / HTTP/1.1\nHost: a\n\n", 400},
             {"a bare carriage return", post + "X: a\rb\r\n\r\n", 400},
             {"a NUL", post + std::string("X: a\0b\r\n\r\n", 10), 400},
             {"a control character", post + "X: a\x01\r\n\r\n", 400},
             {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
             {"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
             {"HTTP/0.9", "GET /\r\n\r\n", 400},
             {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", 505},
             {"a blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
             {"a byte that is not ASCII in the target",
              "GET /\xC3\xA9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
             {"a long request line",
              "GET /" + std::string(9'000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
             {"a large head", post + "X: " + std::string(17'000, 'a') + "\r\n\r\n", 431},
         }) {
        const auto problem = check_head(c.head, {});
        ASSERT_TRUE(problem) << c.sentence;
        EXPECT_EQ(kind_of(problem->type).status, c.status)
            << c.sentence << ": " << problem->detail;
    }
}

TEST(ApiHead, CountsFields) {
    std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (int i = 0; i < 99; ++i) head += "X: y\r\n";
    EXPECT_FALSE(check_head(head + "\r\n", {}));
    EXPECT_EQ(kind_of(check_head(head + "X: y\r\n\r\n", {})->type).status, 431);
}

TEST(ApiHead, SeesTheEndOfAHeadInEveryPiece) {
    const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (std::size_t i = 0; i < head.size(); ++i) EXPECT_EQ(head_size(head.substr(0, i)), 0U) << i;
    EXPECT_EQ(head_size(head + "GET"), head.size());
    EXPECT_EQ(head_size("GET / HTTP/1.1\nHost: a\n\n"), 24U);
    EXPECT_EQ(kind_of(oversized_head(std::string(20'000, 'a'), {}).type).status, 414);
    EXPECT_EQ(
        kind_of(oversized_head("GET / HTTP/1.1\r\n" + std::string(20'000, 'a'), {}).type).status,
        431);
}

}  // namespace
}  // namespace mayfly::api
