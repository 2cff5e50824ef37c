#include "tests/support/recording.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <cstdlib>
#include <fstream>
#include <mutex>

namespace mayfly::test {
namespace {

std::string base64(std::string_view bytes) {
    std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
    const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                       reinterpret_cast<const unsigned char*>(bytes.data()),
                                       static_cast<int>(bytes.size()));
    out.resize(static_cast<std::size_t>(length));
    return out;
}

}  // namespace

std::unique_ptr<Recording> Recording::begin() {
    const char* path = std::getenv("MAYFLY_RECORD");
    if (path == nullptr || *path == '\0') return nullptr;
    return std::unique_ptr<Recording>(new Recording(path));
}

Recording::Recording(std::string path) : path_(std::move(path)) {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    if (test != nullptr) test_ = std::string(test->test_suite_name()) + "." + test->name();
}

Recording::~Recording() {
    static std::mutex one_line_at_a_time;
    const std::scoped_lock lock(one_line_at_a_time);
    std::ofstream file(path_, std::ios::app);
    file << R"({"test":")" << test_ << R"(","sent":")" << base64(sent_) << R"(","received":")"
         << base64(received_) << "\"}\n";
    if (!file.flush()) ADD_FAILURE() << "cannot record to " << path_;
}

}  // namespace mayfly::test
