// Where a webhook may go, how it is signed, and what becomes of it after a try.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "controller/webhook/address_rules.h"
#include "controller/webhook/delivery.h"
#include "controller/webhook/signature.h"
#include "controller/webhook/target.h"

namespace mayfly::controller::webhook {
namespace {

// ---------------------------------------------------------------------------------------- targets

TEST(WebhookTarget, ReadsWhatAReceiverIsCalled) {
    struct Case {
        const char* sentence;
        const char* url;
        Target wanted;
    };
    const Case cases[] = {
        {"a name", "https://example.com/hook", {true, "example.com", false, 443, "/hook"}},
        {"no path", "http://example.com", {false, "example.com", false, 80, "/"}},
        {"a query behind the host", "https://h?x=1", {true, "h", false, 443, "/?x=1"}},
        {"a port", "https://a-b.c_d:8443/x?y=/z", {true, "a-b.c_d", false, 8443, "/x?y=/z"}},
        {"its scheme's own port", "http://h:80/", {false, "h", false, 80, "/"}},
        {"capital letters", "HTTPS://EXAMPLE.com/A", {true, "example.com", false, 443, "/A"}},
        {"an address", "http://192.0.2.7:1/", {false, "192.0.2.7", true, 1, "/"}},
        {"an IPv6 address",
         "https://[2001:DB8::7]:65535/",
         {true, "2001:db8::7", true, 65535, "/"}},
        {"a colon and an @ in the path", "https://h/a:b@c", {true, "h", false, 443, "/a:b@c"}},
        {"a number inside a name", "https://1.example/", {true, "1.example", false, 443, "/"}},
    };
    for (const auto& c : cases) {
        const auto target = parse_target(c.url);
        ASSERT_TRUE(target) << c.sentence << ": " << target.error();
        EXPECT_EQ(*target, c.wanted) << c.sentence;
    }
}

TEST(WebhookTarget, RefusesWhatTwoReadersCouldReadInTwoWays) {
    struct Case {
        const char* sentence;
        std::string url;
        const char* says;
    };
    const Case cases[] = {
        {"nothing", "", "https:// or http://"},
        {"no scheme", "example.com/hook", "https:// or http://"},
        {"another scheme", "ftp://example.com/", "https:// or http://"},
        {"a file", "file:///etc/passwd", "https:// or http://"},
        {"no host", "https:///x", "name a host"},
        {"only a port", "https://:80/", "name a host"},
        {"a user name", "https://example.com@10.0.0.1/", "user name"},
        {"a password", "https://u:p@example.com/", "user name"},
        {"a fragment", "https://example.com/#x", "fragment"},
        {"a backslash", "https://example.com\\@10.0.0.1/", "`\\`"},
        {"a blank", "https://example.com/a b", "blanks"},
        {"a line break", "https://example.com/\r\nX-A: b", "blanks"},
        {"a NUL", std::string("https://example.com/\0x", 22), "blanks"},
        {"bytes beyond ASCII", "https://ex\xc3\xa4mple.com/", "ASCII"},
        {"a percent-encoded host", "https://%6c%6f/", "letters, digits"},
        {"an empty label", "https://a..b/", "letters, digits"},
        {"a dot at the end", "https://localhost./", "letters, digits"},
        {"a label that begins with a dash", "https://-a.b/", "letters, digits"},
        {"a label of 64 bytes", "https://" + std::string(64, 'a') + "/", "letters, digits"},
        {"a host of 255 bytes", "https://" + std::string(127, 'a') + "." + std::string(127, 'a'),
         "253"},
        {"port 0", "https://h:0/", "1 to 65535"},
        {"a port too large", "https://h:65536/", "1 to 65535"},
        {"an empty port", "https://h:/", "1 to 65535"},
        {"a port with a sign", "https://h:+80/", "1 to 65535"},
        {"IPv6 without brackets", "https://2001:db8::1/", "brackets"},
        {"a bracket that is not closed", "https://[::1/", "`]`"},
        {"something behind the bracket", "https://[2001:db8::1]x/", "`]`"},
        {"an IPv6 zone", "https://[fe80::1%25eth0]/", "without a zone"},
        {"a name in brackets", "https://[localhost]/", "IPv6"},
        {"IPv4 in brackets", "https://[127.0.0.1]/", "IPv6"},
        {"a short IPv4", "https://127.1/", "four decimal numbers"},
        {"a decimal IPv4", "https://2130706433/", "four decimal numbers"},
        {"a hexadecimal IPv4", "https://0x7f.0x0.0x0.0x1/", "four decimal numbers"},
        {"an octal IPv4", "https://0177.0.0.1/", "four decimal numbers"},
        {"an IPv4 with a number too large", "https://1.2.3.256/", "four decimal numbers"},
        {"2049 bytes", "https://h/" + std::string(2'039, 'a'), "2048"},
    };
    for (const auto& c : cases) {
        const auto target = parse_target(c.url);
        ASSERT_FALSE(target) << c.sentence << ": " << target->origin();
        EXPECT_NE(target.error().find(c.says), std::string::npos)
            << c.sentence << ": " << target.error();
    }
}

TEST(WebhookTarget, TellsItsOriginWithoutPathAndQuery) {
    EXPECT_EQ(parse_target("https://h:443/secret?token=x")->origin(), "https://h");
    EXPECT_EQ(parse_target("http://h:443/")->origin(), "http://h:443");
    EXPECT_EQ(parse_target("https://[2001:db8::1]:1/")->origin(), "https://[2001:db8::1]:1");
    EXPECT_EQ(parse_target("https://[2001:db8::1]/")->authority(), "[2001:db8::1]");
}

// -------------------------------------------------------------------------------------- addresses

std::string refused(const char* address, const std::vector<std::string>& networks = {}) {
    std::vector<Network> allowed;
    for (const auto& text : networks) allowed.push_back(parse_network(text).value());
    return refusal(parse_address(address).value(), allowed);
}

TEST(WebhookAddress, RefusesAllThatIsNotThePublicInternet) {
    struct Case {
        const char* address;
        const char* says;
    };
    const Case cases[] = {
        {"0.0.0.0", "unspecified"},
        {"0.1.2.3", "unspecified"},
        {"10.0.0.0", "private"},
        {"10.255.255.255", "private"},
        {"100.64.0.1", "CGNAT"},
        {"100.127.255.255", "CGNAT"},
        {"127.0.0.1", "loopback"},
        {"127.255.255.254", "loopback"},
        {"169.254.169.254", "link-local"},
        {"172.16.0.1", "private"},
        {"172.31.255.255", "private"},
        {"192.0.0.8", "reserved"},
        {"192.0.2.1", "documentation"},
        {"192.88.99.1", "reserved"},
        {"192.168.1.1", "private"},
        {"198.18.0.1", "benchmarks"},
        {"198.19.255.255", "benchmarks"},
        {"198.51.100.1", "documentation"},
        {"203.0.113.1", "documentation"},
        {"224.0.0.1", "multicast"},
        {"239.255.255.255", "multicast"},
        {"240.0.0.1", "reserved"},
        {"255.255.255.255", "broadcast"},
        {"::", "unspecified"},
        {"::1", "loopback"},
        {"::7f00:1", "reserved"},
        {"100::1", "reserved"},
        {"64:ff9b:1::1", "reserved"},
        {"2001::7f00:1", "0.0.0.0 is"},
        {"2001:2::1", "reserved"},
        {"2001:db8::1", "documentation"},
        {"3fff::1", "documentation"},
        {"4000::1", "reserved"},
        {"5f00::1", "reserved"},
        {"fc00::1", "private"},
        {"fd12:3456::1", "private"},
        {"fe80::1", "link-local"},
        {"febf::1", "link-local"},
        {"fec0::1", "private"},
        {"ff02::1", "multicast"},
        {"::ffff:127.0.0.1", "127.0.0.1 is a loopback"},
        {"::ffff:10.1.2.3", "10.1.2.3 is a private"},
        {"::ffff:169.254.169.254", "169.254.169.254 is a link-local"},
        {"64:ff9b::10.0.0.1", "10.0.0.1 is a private"},
        {"2002:7f00:1::1", "127.0.0.1 is a loopback"},
        {"2002:c0a8:101::1", "192.168.1.1 is a private"},
        {"2001:0:0808:0808::f5ff:fffe", "10.0.0.1 is a private"},
        {"2606:4700::5efe:10.0.0.1", "10.0.0.1 is a private"},
        {"2606:4700::200:5efe:127.0.0.1", "127.0.0.1 is a loopback"},
    };
    for (const auto& c : cases) {
        EXPECT_NE(refused(c.address).find(c.says), std::string::npos)
            << c.address << ": \"" << refused(c.address) << '"';
    }
}

TEST(WebhookAddress, AllowsThePublicInternetUpToItsEdges) {
    for (const char* address : {"1.1.1.1",         "8.8.8.8",
                                "9.255.255.255",   "11.0.0.0",
                                "100.63.255.255",  "100.128.0.0",
                                "126.255.255.255", "128.0.0.0",
                                "169.253.255.255", "169.255.0.0",
                                "172.15.255.255",  "172.32.0.0",
                                "192.0.1.0",       "192.167.255.255",
                                "192.169.0.0",     "198.17.255.255",
                                "198.20.0.0",      "223.255.255.255",
                                "2000::1",         "2001:200::1",
                                "2606:4700::1111", "2a00:1450:4001::1",
                                "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8",
                                "2002:808:808::1", "2001:0:0808:0808::f7f7:f7f7"}) {
        EXPECT_EQ(refused(address), "") << address;
    }
}

TEST(WebhookAddress, IsAllowedByTheOperatorsNetworksAndNoFurther) {
    EXPECT_EQ(refused("127.0.0.1", {"127.0.0.0/8"}), "");
    EXPECT_EQ(refused("10.1.255.255", {"10.1.0.0/16"}), "");
    EXPECT_NE(refused("10.2.0.0", {"10.1.0.0/16"}), "");
    EXPECT_EQ(refused("192.168.1.7", {"192.168.1.7"}), "");
    EXPECT_NE(refused("192.168.1.8", {"192.168.1.7"}), "");
    EXPECT_EQ(refused("fd00:1::9", {"10.0.0.0/8", "fd00:1::/32"}), "");
    EXPECT_NE(refused("::1", {"127.0.0.0/8"}), "");
    EXPECT_EQ(refused("::ffff:127.0.0.1", {"127.0.0.0/8"}), "");
    EXPECT_EQ(refused("64:ff9b::10.0.0.1", {"10.0.0.0/8"}), "");
    EXPECT_EQ(refused("127.0.0.1", {"0.0.0.0/0"}), "");
    EXPECT_NE(refused("::1", {"0.0.0.0/0"}), "");
    EXPECT_EQ(refused("fe80::1", {"::/0"}), "");
}

TEST(WebhookNetwork, NamesWhatIsNotOne) {
    struct Case {
        const char* text;
        const char* says;
    };
    for (const Case& c : {Case{"", "IP address"},
                          {"localhost", "IP address"},
                          {"10.0.0/8", "IP address"},
                          {"10.0.0.0/", "0 to 32"},
                          {"10.0.0.0/33", "0 to 32"},
                          {"10.0.0.0/-1", "0 to 32"},
                          {"10.0.0.0/8x", "0 to 32"},
                          {"fd00::/129", "0 to 128"},
                          {"10.0.0.1/8", "beyond its first 8"},
                          {"fd00::1/64", "beyond its first 64"}}) {
        const auto network = parse_network(c.text);
        ASSERT_FALSE(network) << c.text;
        EXPECT_NE(network.error().find(c.says), std::string::npos) << network.error();
        EXPECT_NE(network.error().find("10.1.0.0/16"), std::string::npos) << "what to write";
    }
}

// ------------------------------------------------------------------------------------- signatures

// Made with: printf '%s' '1700000000.{"id":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
TEST(WebhookSignature, IsTheHmacOfTimestampAndBody) {
    EXPECT_EQ(sign("0123456789abcdef", 1'700'000'000, R"({"id":1})"),
              "v1=4bcaced68dfea90a68df035b89cb7fb26692d899d32a1ccb1b0616cf48e4d1ed");
    EXPECT_NE(sign("0123456789abcdef", 1'700'000'001, R"({"id":1})"),
              sign("0123456789abcdef", 1'700'000'000, R"({"id":1})"));
    EXPECT_NE(sign("0123456789abcdeg", 1'700'000'000, "{}"),
              sign("0123456789abcdef", 1'700'000'000, "{}"));
}

// --------------------------------------------------------------------------------------- verdicts

constexpr store::UnixMs kNow = 1'000'000;
using What = Verdict::What;

Verdict judged(TryResult result, std::int64_t tries = 1) {
    DeliveryPolicy policy;
    policy.tries_max = 5;
    return judge(result, tries, policy, kNow, UINT64_MAX);
}

TEST(WebhookVerdict, FollowsTheStatus) {
    struct Case {
        const char* sentence;
        int status;
        What wanted;
    };
    for (const Case& c : {Case{"200 is delivered", 200, What::delivered},
                          {"202 is delivered", 202, What::delivered},
                          {"299 is delivered", 299, What::delivered},
                          {"a redirect is not followed, and comes again", 302, What::again},
                          {"400 comes again", 400, What::again},
                          {"404 comes again: a deploy", 404, What::again},
                          {"408 comes again", 408, What::again},
                          {"410 wants no more", 410, What::given_up},
                          {"429 comes again", 429, What::again},
                          {"500 comes again", 500, What::again},
                          {"503 comes again", 503, What::again}}) {
        EXPECT_EQ(judged({.status = c.status}).what, c.wanted) << c.sentence;
    }
    EXPECT_EQ(judged({.error = "cannot connect"}).what, What::again);
    EXPECT_EQ(judged({.error = "cannot connect"}).error, "cannot connect");
    EXPECT_NE(judged({.status = 302}).error.find("not followed"), std::string::npos);
    EXPECT_EQ(judged({.status = 204}).error, "");
}

TEST(WebhookVerdict, GivesUpWithTheLastTry) {
    EXPECT_EQ(judged({.status = 500}, 4).what, What::again);
    EXPECT_EQ(judged({.status = 500}, 5).what, What::given_up);
    EXPECT_EQ(judged({.error = "refused", .refused = true}, 5).what, What::given_up);
    EXPECT_EQ(judged({.status = 200}, 5).what, What::delivered);
}

TEST(WebhookVerdict, WaitsLongerEachTimeUpToAnHour) {
    DeliveryPolicy policy;
    policy.tries_max = 100;
    std::int64_t before_ms = 0;
    for (std::int64_t tries = 1; tries <= 20; ++tries) {
        for (const std::uint64_t random : {std::uint64_t{0}, std::uint64_t{12345}, UINT64_MAX}) {
            const auto delay_ms =
                judge({.status = 500}, tries, policy, kNow, random).next_ms - kNow;
            EXPECT_GE(delay_ms, before_ms) << tries;
            EXPECT_GE(delay_ms, 1'000) << tries;
            EXPECT_LE(delay_ms, 3'600'000) << tries;
        }
        before_ms = judge({.status = 500}, tries, policy, kNow, 0).next_ms - kNow;
    }
    EXPECT_EQ(before_ms, 1'800'000);
}

TEST(WebhookVerdict, HeedsARetryAfterWithinABound) {
    EXPECT_EQ(judged({.status = 503, .retry_after_s = 120}).next_ms, kNow + 120'000);
    EXPECT_EQ(judged({.status = 503, .retry_after_s = 1'000'000'000}).next_ms, kNow + 3'600'000);
    EXPECT_GE(judged({.status = 503, .retry_after_s = 0}).next_ms, kNow + 1'000);
    EXPECT_EQ(parse_retry_after("120"), 120);
    EXPECT_EQ(parse_retry_after("0"), 0);
    for (const char* text :
         {"", "-1", "1.5", " 1", "1 ", "99999999999999999999", "Wed, 21 Oct 2015 07:28:00 GMT"}) {
        EXPECT_EQ(parse_retry_after(text), std::nullopt) << text;
    }
}

}  // namespace
}  // namespace mayfly::controller::webhook
