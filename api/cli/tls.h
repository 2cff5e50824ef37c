// TLS over a PolledSocket. OpenSSL reads and writes memory only, so that waiting stays the
// socket's.
//
// The other side must prove that it is `host`, by a certificate that an authority of the system
// vouches for (SSL_CERT_FILE and SSL_CERT_DIR name others), or one in the caller's file. TLS 1.2
// or newer.
#pragma once

#include <openssl/types.h>

#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "api/cli/socket.h"

namespace mayfly::api::cli {

// How beginning it failed.
struct TlsError {
    enum class Kind {
        socket,     // `error` is the socket's
        untrusted,  // it speaks TLS, and is not proven to be `host`
        no_tls,     // it does not speak TLS, or none that we do
        ca_file,    // `ca_file` cannot be read as certificates
    };
    Kind kind = Kind::socket;
    SocketError error = 0;
    std::string words;
};

class Tls {
public:
    // `socket` is connected, and must outlive it.
    explicit Tls(PolledSocket& socket);
    ~Tls();
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;

    // `host` is a name or an IP address; `ca_file` PEM, "" = none. Before anything else.
    [[nodiscard]] std::expected<void, TlsError> begin(const std::string& host,
                                                      const std::string& ca_file);
    // As those of the socket. EPROTO: what came is no TLS.
    [[nodiscard]] std::expected<void, SocketError> send_all(std::string_view bytes);
    [[nodiscard]] std::expected<std::size_t, SocketError> receive(std::span<char> into);
    // There is something of the other side's own: not a word of the protocol alone.
    [[nodiscard]] bool readable_now();

private:
    struct Free {
        void operator()(SSL* ssl) const;
        void operator()(SSL_CTX* context) const;
    };
    [[nodiscard]] std::expected<void, TlsError> prepare(const std::string& host,
                                                        const std::string& ca_file);
    // What OpenSSL has written goes out; what has come goes in. False: the other side has closed.
    [[nodiscard]] std::expected<void, SocketError> flush();
    [[nodiscard]] std::expected<bool, SocketError> fill();
    [[nodiscard]] TlsError why_not() const;

    PolledSocket& socket_;
    std::unique_ptr<SSL_CTX, Free> context_;
    std::unique_ptr<SSL, Free> ssl_;
};

}  // namespace mayfly::api::cli
