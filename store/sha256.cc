#include "store/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cstdlib>

namespace mayfly::store {
namespace {

constexpr std::size_t kDigestBytes = 32;

// OpenSSL fails here only when it has no memory or no SHA-256: there is nothing sensible left to
// do.
void must(int ok) {
    if (ok != 1) std::abort();
}

// Fetched once: a fetch for each digest costs more than hashing a small file.
const EVP_MD* algorithm() {
    static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    if (fetched == nullptr) std::abort();
    return fetched;
}

}  // namespace

struct Sha256::Context {
    EVP_MD_CTX* evp = EVP_MD_CTX_new();
    Context() {
        if (evp == nullptr) std::abort();
        start();
    }
    ~Context() { EVP_MD_CTX_free(evp); }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    void start() { must(EVP_DigestInit_ex2(evp, algorithm(), nullptr)); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
    must(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()));
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

std::string Sha256::finish() {
    std::array<unsigned char, kDigestBytes> digest{};
    unsigned int size = 0;
    must(EVP_DigestFinal_ex(context_->evp, digest.data(), &size));
    context_->start();

    constexpr std::string_view kHex = "0123456789abcdef";
    std::string hex;
    hex.reserve(2 * kDigestBytes);
    for (auto byte : digest) {
        hex += kHex[byte >> 4U];
        hex += kHex[byte & 15U];
    }
    return hex;
}

std::string sha256_hex(std::string_view text) {
    Sha256 hash;
    hash.update(text);
    return hash.finish();
}

}  // namespace mayfly::store
