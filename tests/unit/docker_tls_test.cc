#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "controller/engine/docker/transport.h"
#include "tests/unit/docker_test_server.h"

namespace mayfly::controller::docker {
namespace {

// A folder with an authority, an engine's certificate for the name "localhost" and a client's,
// made with openssl when the tests begin; and the same again by an authority that nobody trusts.
class Certificates {
public:
    Certificates() {
        char directory[] = "/tmp/mayfly-tls-XXXXXX";
        folder_ = ::mkdtemp(directory);
        std::ofstream(folder_ + "/san") << "subjectAltName=DNS:localhost\n";
        make("good");
        make("evil");
    }
    ~Certificates() { std::filesystem::remove_all(folder_); }
    Certificates(const Certificates&) = delete;
    Certificates& operator=(const Certificates&) = delete;
    // <who>/ca.pem, cert.pem, key.pem, server.pem, server-key.pem
    [[nodiscard]] std::string of(const std::string& who) const { return folder_ + "/" + who; }

private:
    static void run(const std::string& command) {
        EXPECT_EQ(0, std::system((command + " >/dev/null 2>&1").c_str())) << command;
    }
    void make(const std::string& who) {
        std::filesystem::create_directory(of(who));
        const std::string key = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes ";
        const std::string in = of(who) + "/";
        run(key + "-x509 -days 2 -subj /CN=authority -keyout " + in + "ca-key.pem -out " + in +
            "ca.pem");
        run(key + "-subj /CN=engine -keyout " + in + "server-key.pem -out " + in + "server.csr");
        run(key + "-subj /CN=client -keyout " + in + "key.pem -out " + in + "client.csr");
        const std::string sign = "openssl x509 -req -days 2 -CAcreateserial -CA " + in +
                                 "ca.pem -CAkey " + in + "ca-key.pem ";
        run(sign + "-extfile " + folder_ + "/san -in " + in + "server.csr -out " + in +
            "server.pem");
        run(sign + "-in " + in + "client.csr -out " + in + "cert.pem");
    }
    std::string folder_;
};

const Certificates& certificates() {
    static const Certificates made;
    return made;
}

// Serves one reply after the other to whoever shows a certificate of the good authority.
class TlsEngine {
public:
    explicit TlsEngine(const std::string& identity)
        : context_(SSL_CTX_new(TLS_server_method())),
          server_([this](ServerConnection& connection, int) { serve(connection); }) {
        const std::string folder = certificates().of(identity) + "/";
        SSL_CTX_use_certificate_chain_file(context_, (folder + "server.pem").c_str());
        SSL_CTX_use_PrivateKey_file(context_, (folder + "server-key.pem").c_str(),
                                    SSL_FILETYPE_PEM);
        SSL_CTX_load_verify_locations(context_, (certificates().of("good") + "/ca.pem").c_str(),
                                      nullptr);
        SSL_CTX_set_verify(context_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }
    ~TlsEngine() {
        server_.stop();
        SSL_CTX_free(context_);
    }
    TlsEngine(const TlsEngine&) = delete;
    TlsEngine& operator=(const TlsEngine&) = delete;

    [[nodiscard]] std::string host(const std::string& name) const {
        return "tcp://" + name + ":" + std::to_string(server_.endpoint().port);
    }
    [[nodiscard]] int connections() const { return server_.connections(); }
    std::atomic<int> requests = 0;
    std::atomic<bool> cuts = false;  // ends the TCP connection in the body, without TLS' goodbye

private:
    void serve(ServerConnection& connection) {
        SSL* tls = SSL_new(context_);
        SSL_set_fd(tls, connection.fd());
        if (SSL_accept(tls) == 1) {
            std::string got;
            char bytes[4096];
            int n = 0;
            while ((n = SSL_read(tls, bytes, sizeof(bytes))) > 0) {
                got.append(bytes, static_cast<std::size_t>(n));
                if (!got.ends_with("\r\n\r\n")) {
                    continue;
                }
                got.clear();
                ++requests;
                std::string reply = http_reply(200, "hello");
                if (cuts) {
                    reply = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhel";
                }
                SSL_write(tls, reply.data(), static_cast<int>(reply.size()));
                if (cuts) {
                    break;
                }
            }
        }
        ERR_clear_error();
        SSL_free(tls);
    }

    SSL_CTX* context_;
    TestServer server_;
};

class TlsTest : public ::testing::Test {
protected:
    Answer ask(const Endpoint& endpoint, int times = 1) {
        TransportSettings settings;
        settings.endpoint = endpoint;
        auto transport = Transport::open(io_.get_executor(), settings, clock_);
        if (!transport) {
            Answer refused;
            refused.fault = Fault::local;
            refused.fault_message = transport.error();
            return refused;
        }
        Answer answer;
        for (int i = 0; i < times; ++i) {
            Request request;
            request.verb = "GET";
            request.target = "/";
            request.total_ms = 15'000;
            answer = run_call(io_, (*transport)->exchange(std::move(request)));
        }
        return answer;
    }

    boost::asio::io_context io_;
    store::SystemClock clock_;
};

TEST_F(TlsTest, BothSidesAreVerifiedAndTheConnectionIsShared) {
    TlsEngine engine("good");
    const auto endpoint = parse_endpoint(engine.host("localhost"), "1", certificates().of("good"));
    const Answer answer = ask(*endpoint, 5);
    EXPECT_EQ(Fault::none, answer.fault) << answer.fault_message;
    EXPECT_EQ("hello", answer.body);
    EXPECT_EQ(5, engine.requests);
    EXPECT_EQ(1, engine.connections());
}

TEST_F(TlsTest, AnEngineOfAnotherAuthorityIsNotSpokenTo) {
    TlsEngine engine("evil");
    const auto endpoint = parse_endpoint(engine.host("localhost"), "1", certificates().of("good"));
    const Answer answer = ask(*endpoint);
    EXPECT_EQ(Fault::unreachable, answer.fault);
    EXPECT_NE(std::string::npos, answer.fault_message.find("the engine's certificate"))
        << answer.fault_message;
    EXPECT_EQ(0, engine.requests);
}

TEST_F(TlsTest, ACertificateForAnotherNameIsNotSpokenTo) {
    TlsEngine engine("good");
    const auto endpoint = parse_endpoint(engine.host("127.0.0.1"), "1", certificates().of("good"));
    const Answer answer = ask(*endpoint);
    EXPECT_EQ(Fault::unreachable, answer.fault) << answer.body;
    EXPECT_EQ(0, engine.requests);
}

TEST_F(TlsTest, WithoutVerificationAnyCertificateDoes) {
    TlsEngine engine("evil");
    const auto endpoint = parse_endpoint(engine.host("127.0.0.1"), "", certificates().of("good"));
    const Answer answer = ask(*endpoint);
    EXPECT_EQ("hello", answer.body) << answer.fault_message;
}

TEST_F(TlsTest, AClientThatTheEngineDoesNotKnowIsRefused) {
    TlsEngine engine("good");
    auto endpoint = parse_endpoint(engine.host("localhost"), "1", certificates().of("good"));
    endpoint->cert_file = certificates().of("evil") + "/cert.pem";
    endpoint->key_file = certificates().of("evil") + "/key.pem";
    const Answer answer = ask(*endpoint);
    EXPECT_NE(Fault::none, answer.fault);
    EXPECT_EQ(0, answer.status);
    EXPECT_EQ(0, engine.requests);
}

TEST_F(TlsTest, AnEngineThatSpeaksNoTlsIsUnreachable) {
    TestServer plain([](ServerConnection& connection, int) {
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    const auto endpoint =
        parse_endpoint("tcp://localhost:" + std::to_string(plain.endpoint().port), "1",
                       certificates().of("good"));
    const Answer answer = ask(*endpoint);
    EXPECT_EQ(Fault::unreachable, answer.fault);
    EXPECT_NE(std::string::npos, answer.fault_message.find("TLS handshake"))
        << answer.fault_message;
}

TEST_F(TlsTest, AnEndWithoutGoodbyeIsACutEvenWhereTheEndIsTheLength) {
    TlsEngine engine("good");
    engine.cuts = true;
    const auto endpoint = parse_endpoint(engine.host("localhost"), "1", certificates().of("good"));
    const Answer answer = ask(*endpoint);
    EXPECT_EQ(Fault::cut, answer.fault) << answer.body;
}

TEST_F(TlsTest, AFileThatIsMissingIsNamed) {
    const auto endpoint = parse_endpoint("tcp://localhost", "1", "/nowhere");
    const Answer answer = ask(*endpoint);
    EXPECT_EQ(Fault::local, answer.fault);
    EXPECT_NE(std::string::npos, answer.fault_message.find("/nowhere/ca.pem"))
        << answer.fault_message;
    auto keyless = parse_endpoint("tcp://localhost", "1", certificates().of("good"));
    keyless->key_file = "/nowhere/key.pem";
    EXPECT_NE(std::string::npos, ask(*keyless).fault_message.find("/nowhere/key.pem"));
}

}  // namespace
}  // namespace mayfly::controller::docker
