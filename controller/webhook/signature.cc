#include "controller/webhook/signature.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstdlib>

namespace mayfly::controller::webhook {

std::string sign(std::string_view secret, std::int64_t timestamp_s, std::string_view body) {
    const std::string message = fmt::format("{}.{}", timestamp_s, body);
    std::array<unsigned char, EVP_MAX_MD_SIZE> mac = {};
    unsigned int length = 0;
    const auto* made = HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                            reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                            mac.data(), &length);
    if (made == nullptr) std::abort();  // no memory: there is no answer that would be right
    std::string out = "v1=";
    for (unsigned int i = 0; i < length; ++i) out += fmt::format("{:02x}", mac[i]);
    return out;
}

}  // namespace mayfly::controller::webhook
