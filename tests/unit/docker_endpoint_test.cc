#include "controller/engine/docker/endpoint.h"

#include <gtest/gtest.h>

#include "controller/engine/docker/api_version.h"
#include "controller/engine/docker/target.h"

namespace mayfly::controller::docker {
namespace {

using Transport = Endpoint::Transport;

TEST(ParseEndpoint, FollowsDockersConventions) {
    struct Case {
        const char* sentence;
        const char* host;
        const char* verify;
        const char* certificates;
        Transport transport;
        const char* where;  // path or host
        int port;
        bool verify_peer;
        const char* text;
    };
    const Case cases[] = {
        {"nothing said is the local socket", "", "", "", Transport::unix_socket,
         "/var/run/docker.sock", 0, true, "unix:///var/run/docker.sock"},
        {"a socket stays a socket when TLS is asked for", "unix:///run/d.sock", "1", "/certs",
         Transport::unix_socket, "/run/d.sock", 0, true, "unix:///run/d.sock"},
        {"tcp without TLS", "tcp://10.0.0.5:1234", "", "", Transport::tcp, "10.0.0.5", 1'234, true,
         "tcp://10.0.0.5:1234"},
        {"tcp's own port", "tcp://engine", "", "", Transport::tcp, "engine", 2'375, true,
         "tcp://engine:2375"},
        {"TLS with verification", "tcp://engine", "1", "/certs", Transport::tls, "engine", 2'376,
         true, "tcp://engine:2376"},
        {"any text turns verification on, even 0", "tcp://engine", "0", "/certs", Transport::tls,
         "engine", 2'376, true, "tcp://engine:2376"},
        {"certificates without TLS_VERIFY: TLS without verification", "tcp://engine:99", "",
         "/certs", Transport::tls, "engine", 99, false, "tcp://engine:99"},
        {"https by the system's certificates", "https://engine:443", "", "", Transport::tls,
         "engine", 443, true, "https://engine:443"},
        {"http", "http://engine:80/", "", "", Transport::tcp, "engine", 80, true,
         "http://engine:80"},
        {"IPv6", "tcp://[fd00::1]:2375", "", "", Transport::tcp, "fd00::1", 2'375, true,
         "tcp://[fd00::1]:2375"},
        {"IPv6 without a port", "tcp://[::1]", "", "", Transport::tcp, "::1", 2'375, true,
         "tcp://[::1]:2375"},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        const auto endpoint = parse_endpoint(c.host, c.verify, c.certificates);
        ASSERT_TRUE(endpoint.has_value()) << endpoint.error();
        EXPECT_EQ(c.transport, endpoint->transport);
        EXPECT_EQ(c.where,
                  c.transport == Transport::unix_socket ? endpoint->path : endpoint->host);
        EXPECT_EQ(c.port, endpoint->port);
        EXPECT_EQ(c.text, endpoint->text);
        EXPECT_EQ(c.verify_peer, endpoint->verify_peer);
    }
}

TEST(ParseEndpoint, CertificatesAreTheThreeFilesOfTheFolder) {
    const auto endpoint = parse_endpoint("tcp://engine", "1", "/certs");
    ASSERT_TRUE(endpoint.has_value());
    EXPECT_EQ("/certs/ca.pem", endpoint->ca_file);
    EXPECT_EQ("/certs/cert.pem", endpoint->cert_file);
    EXPECT_EQ("/certs/key.pem", endpoint->key_file);
}

TEST(ParseEndpoint, WarnsOfWhatIsNotProtected) {
    EXPECT_NE("", parse_endpoint("tcp://10.0.0.5", "", "")->warning);
    EXPECT_NE("", parse_endpoint("tcp://10.0.0.5", "", "/certs")->warning);
    EXPECT_EQ("", parse_endpoint("tcp://10.0.0.5", "1", "/certs")->warning);
    EXPECT_EQ("", parse_endpoint("tcp://127.0.0.1", "", "")->warning);
    EXPECT_EQ("", parse_endpoint("", "", "")->warning);
}

TEST(ParseEndpoint, RefusesWithWhatToWriteInstead) {
    struct Case {
        const char* sentence;
        const char* host;
        const char* verify;
        const char* certificates;
        const char* advice;
    };
    const std::string long_path = "unix:///" + std::string(120, 'x');
    const Case cases[] = {
        {"ssh", "ssh://me@host", "", "", "ssh -N -L"},
        {"a Windows pipe", "npipe:////./pipe/docker_engine", "", "", "tcp:// with TLS"},
        {"how an engine listens", "fd://", "", "", "use unix://"},
        {"another scheme", "ftp://host", "", "", "unix, tcp, http or https"},
        {"a path alone", "/var/run/docker.sock", "", "", "unix:///var/run/docker.sock"},
        {"a host alone", "10.0.0.5:2375", "", "", "tcp://"},
        {"a relative socket", "unix://docker.sock", "", "", "must be absolute"},
        {"an empty socket", "unix://", "", "", "must be absolute"},
        {"a socket's path that does not fit", long_path.c_str(), "", "", "at most 107 bytes"},
        {"no host", "tcp://", "", "", "a host name or address is missing"},
        {"only a port", "tcp://:2375", "", "", "a host name or address is missing"},
        {"a port that is none", "tcp://h:http", "", "", "1 to 65535"},
        {"port 0", "tcp://h:0", "", "", "1 to 65535"},
        {"port 65536", "tcp://h:65536", "", "", "1 to 65535"},
        {"an empty port", "tcp://h:", "", "", "1 to 65535"},
        {"a path behind the port", "tcp://h:1/v1", "", "", "a path behind the port"},
        {"a user", "tcp://me@h:1", "", "", "a user name does not belong here"},
        {"IPv6 without brackets", "tcp://::1:2375", "", "", "needs brackets"},
        {"a bracket that does not close", "tcp://[::1", "", "", "lacks its"},
        {"words after the bracket", "tcp://[::1]x", "", "", "[ADDRESS]:PORT"},
        {"a host with a line break", "tcp://h\r\nX: y", "", "", "host name or address"},
        {"verification without certificates", "tcp://h", "1", "", "DOCKER_CERT_PATH"},
        {"http with TLS", "http://h", "1", "/certs", "use https:// or tcp://"},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        const auto endpoint = parse_endpoint(c.host, c.verify, c.certificates);
        ASSERT_FALSE(endpoint.has_value());
        EXPECT_NE(std::string::npos, endpoint.error().find(c.advice)) << endpoint.error();
        EXPECT_TRUE(endpoint.error().starts_with("DOCKER_HOST ")) << endpoint.error();
    }
}

TEST(ApiVersion, IsTwoNumbers) {
    EXPECT_EQ((ApiVersion{1, 41}), parse_api_version("1.41"));
    EXPECT_LT((ApiVersion{1, 9}), (ApiVersion{1, 41}));
    for (const char* text : {"", "1", "1.", ".41", "1.41.0", "1.x", "-1.41", "1.-1", " 1.41",
                             "99999999999999999999.1"}) {
        EXPECT_FALSE(parse_api_version(text).has_value()) << text;
    }
}

TEST(Negotiate, TakesTheNewestThatBothKnow) {
    struct Case {
        const char* sentence;
        const char* newest;
        const char* oldest;
        const char* chosen;  // or the beginning of what the error must contain
    };
    const Case cases[] = {
        {"20.10", "1.41", "1.12", "1.41"},
        {"24", "1.43", "1.12", "1.43"},
        {"26.1", "1.45", "1.24", "1.45"},
        {"28", "1.51", "1.24", "1.45"},
        {"29.0", "1.52", "1.44", "1.45"},
        {"an engine that does not say its oldest", "1.44", "", "1.44"},
        {"too old", "1.40", "1.12", "upgrade the engine"},
        {"too new", "1.60", "1.46", "upgrade this program"},
        {"no engine at all", "", "", "is this a Docker Engine?"},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        const auto chosen = negotiate(c.newest, c.oldest);
        const std::string said = chosen ? to_string(*chosen) : chosen.error();
        EXPECT_NE(std::string::npos, said.find(c.chosen)) << said;
        EXPECT_EQ(c.chosen[0] == '1', chosen.has_value());
    }
}

TEST(Target, EncodesWhateverCouldEndAPathSegment) {
    EXPECT_EQ("a-b_c.d~9", encode("a-b_c.d~9"));
    EXPECT_EQ("a%2F..%2Fb%3Fc%23d%20%0D%0A%25%C3%A9", encode("a/../b?c#d \r\n%\xc3\xa9"));
    EXPECT_EQ("host:5000/name@sha256:ab%3F", encode_reference("host:5000/name@sha256:ab?"));
}

TEST(Target, FiltersAreJson) {
    EXPECT_EQ(encode(R"({"label":["io.mayfly.instance=a\"b"]})"),
              label_filter("io.mayfly.instance=a\"b"));
    EXPECT_EQ(encode(R"({"label":["a=b"],"type":["container"]})"), container_event_filter("a=b"));
    EXPECT_EQ(encode("{\"label\":[\"\xef\xbf\xbd\"]}"), label_filter("\xff"));
}

TEST(SplitReference, NeverAsksForEveryTag) {
    struct Case {
        const char* reference;
        const char* name;
        const char* tag;
    };
    const Case cases[] = {
        {"python", "python", "latest"},
        {"python:3.12", "python", "3.12"},
        {"python:", "python", "latest"},
        {"host:5000/a/b", "host:5000/a/b", "latest"},
        {"host:5000/a/b:1", "host:5000/a/b", "1"},
        {"a@sha256:0123", "a", "sha256:0123"},
        {"host:5000/a:1@sha256:0123", "host:5000/a", "sha256:0123"},
        {"", "", "latest"},
    };
    for (const Case& c : cases) {
        const PullReference parts = split_reference(c.reference);
        EXPECT_EQ(c.name, parts.name) << c.reference;
        EXPECT_EQ(c.tag, parts.tag) << c.reference;
    }
}

}  // namespace
}  // namespace mayfly::controller::docker
