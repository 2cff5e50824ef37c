#include "api/cli/tls.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace mayfly::api::cli {
namespace {

using Kind = TlsError::Kind;

constexpr std::size_t kPieceBytes = 32 << 10;

bool is_ip(const std::string& host) {
    std::array<unsigned char, 16> parsed{};
    return inet_pton(AF_INET, host.c_str(), parsed.data()) == 1 ||
           inet_pton(AF_INET6, host.c_str(), parsed.data()) == 1;
}

// The first thing that OpenSSL had to say: what comes later follows from it.
std::string first_words(const char* otherwise) {
    const auto error = ERR_peek_error();
    if (error == 0) return otherwise;
    if (ERR_SYSTEM_ERROR(error)) {
        return std::error_code(ERR_GET_REASON(error), std::generic_category()).message();
    }
    const char* words = ERR_reason_error_string(error);
    return words == nullptr ? otherwise : words;
}

}  // namespace

void Tls::Free::operator()(SSL* ssl) const { SSL_free(ssl); }
void Tls::Free::operator()(SSL_CTX* context) const { SSL_CTX_free(context); }

Tls::Tls(PolledSocket& socket) : socket_(socket) {}
Tls::~Tls() = default;

std::expected<void, TlsError> Tls::prepare(const std::string& host, const std::string& ca_file) {
    ERR_clear_error();
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_default_verify_paths(context_.get());
    if (!ca_file.empty() && SSL_CTX_load_verify_file(context_.get(), ca_file.c_str()) != 1) {
        return std::unexpected(
            TlsError{Kind::ca_file, 0,
                     fmt::format("--ca-file {}: cannot be read as PEM certificates: {}", ca_file,
                                 first_words("there is none in it"))});
    }
    ssl_.reset(SSL_new(context_.get()));
    SSL* ssl = ssl_.get();
    SSL_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
    if (is_ip(host)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str());
    } else {
        SSL_set1_host(ssl, host.c_str());
        SSL_set_tlsext_host_name(ssl, host.c_str());
    }
    BIO* in = BIO_new(BIO_s_mem());
    BIO* out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(in, -1);  // empty is "later", not the end
    SSL_set_bio(ssl, in, out);       // takes both
    return {};
}

TlsError Tls::why_not() const {
    const auto verified = SSL_get_verify_result(ssl_.get());
    if (verified != X509_V_OK) {
        return {Kind::untrusted, 0, X509_verify_cert_error_string(verified)};
    }
    return {Kind::no_tls, 0, first_words("no TLS was spoken")};
}

std::expected<void, TlsError> Tls::begin(const std::string& host, const std::string& ca_file) {
    if (auto prepared = prepare(host, ca_file); !prepared) return prepared;
    while (true) {
        ERR_clear_error();
        const int done = SSL_connect(ssl_.get());
        const int state = SSL_get_error(ssl_.get(), done);
        const bool goes_on = done == 1 || state == SSL_ERROR_WANT_READ;
        if (!goes_on) {
            auto error = why_not();
            (void)flush();  // tells the other side why; it need not listen any more
            return std::unexpected(std::move(error));
        }
        if (auto flushed = flush(); !flushed) {
            return std::unexpected(TlsError{Kind::socket, flushed.error(), {}});
        }
        if (done == 1) return {};
        auto filled = fill();
        if (!filled) return std::unexpected(TlsError{Kind::socket, filled.error(), {}});
        if (!*filled) {
            return std::unexpected(
                TlsError{Kind::no_tls, 0, "it closed the connection instead of answering"});
        }
    }
}

std::expected<void, SocketError> Tls::flush() {
    BIO* out = SSL_get_wbio(ssl_.get());
    std::array<char, kPieceBytes> piece;
    while (true) {
        const int n = BIO_read(out, piece.data(), static_cast<int>(piece.size()));
        if (n <= 0) return {};
        const std::string_view bytes(piece.data(), static_cast<std::size_t>(n));
        if (auto sent = socket_.send_all(bytes); !sent) return sent;
    }
}

std::expected<bool, SocketError> Tls::fill() {
    std::array<char, kPieceBytes> piece;
    auto got = socket_.receive(piece);
    if (!got) return std::unexpected(got.error());
    BIO_write(SSL_get_rbio(ssl_.get()), piece.data(), static_cast<int>(*got));  // never short
    return *got > 0;
}

std::expected<void, SocketError> Tls::send_all(std::string_view bytes) {
    while (!bytes.empty()) {
        ERR_clear_error();
        std::size_t taken = 0;
        if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &taken) != 1) {
            return std::unexpected(EPROTO);
        }
        bytes.remove_prefix(taken);
        if (auto flushed = flush(); !flushed) return flushed;
    }
    return {};
}

std::expected<std::size_t, SocketError> Tls::receive(std::span<char> into) {
    while (true) {
        ERR_clear_error();
        std::size_t got = 0;
        if (SSL_read_ex(ssl_.get(), into.data(), into.size(), &got) == 1) return got;
        const int state = SSL_get_error(ssl_.get(), 0);
        // Whether the end came too early is for HTTP to say, which knows its length.
        if (state == SSL_ERROR_ZERO_RETURN) return 0;
        if (state != SSL_ERROR_WANT_READ) return std::unexpected(EPROTO);
        if (auto flushed = flush(); !flushed) return std::unexpected(flushed.error());
        auto filled = fill();
        if (!filled) return std::unexpected(filled.error());
        if (!*filled) return 0;
    }
}

// A session ticket is readable, and is no answer: OpenSSL must have looked at it.
bool Tls::readable_now() {
    char first = 0;
    std::size_t got = 0;
    while (true) {
        ERR_clear_error();
        if (SSL_peek_ex(ssl_.get(), &first, 1, &got) == 1) return true;
        if (SSL_get_error(ssl_.get(), 0) != SSL_ERROR_WANT_READ) return true;  // the end
        if (!socket_.readable_now()) return false;
        auto filled = fill();
        if (!filled || !*filled) return true;
    }
}

}  // namespace mayfly::api::cli
