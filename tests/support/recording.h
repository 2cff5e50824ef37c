// What one connection of a test said and heard, for tests/contract: with MAYFLY_RECORD=FILE in the
// environment each connection appends one line of JSON to that file when it ends,
//
//   {"test": "Suite.Name", "sent": "<base64>", "received": "<base64>"}
//
// whole bytes in both directions, so that nobody but the reader has to understand them. Without
// it nothing is kept.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace mayfly::test {

class Recording {
public:
    // Nothing when MAYFLY_RECORD is not set.
    static std::unique_ptr<Recording> begin();
    ~Recording();
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

    void sent(std::string_view bytes) { sent_ += bytes; }
    void received(std::string_view bytes) { received_ += bytes; }

private:
    explicit Recording(std::string path);

    std::string path_;
    std::string test_;
    std::string sent_;
    std::string received_;
};

}  // namespace mayfly::test
