// multipart/form-data in pieces of every size.
#include <gtest/gtest.h>

#include "api/multipart.h"

namespace mayfly::api {
namespace {

class Collector : public PartSink {
public:
    Answer<void> begin_part(const std::string& name) override {
        if (name == "refused") return refuse(ProblemType::invalid_spec, "no");
        parts.emplace_back(name, "");
        ++open;
        return {};
    }
    Answer<void> part_bytes(std::span<const std::byte> bytes) override {
        EXPECT_EQ(open, 1);
        EXPECT_FALSE(bytes.empty());
        parts.back().second.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return {};
    }
    Answer<void> end_part() override {
        --open;
        return {};
    }
    std::vector<std::pair<std::string, std::string>> parts;
    int open = 0;
};

Answer<void> feed_in_pieces(std::string_view body, std::size_t piece, Collector& into) {
    MultipartParser parser("XyZ", into);
    while (!body.empty()) {
        const auto here = body.substr(0, std::min(piece, body.size()));
        body.remove_prefix(here.size());
        if (auto done = parser.feed(std::as_bytes(std::span(here))); !done) return done;
    }
    return parser.finish();
}

std::string part(const std::string& name, const std::string& content) {
    return "--XyZ\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + content +
           "\r\n";
}

TEST(ApiMultipart, GivesTheSameBytesForEveryCut) {
    std::string binary;
    for (int i = 0; i < 256; ++i) binary.push_back(static_cast<char>(i));
    const std::string nearly = "\r\n--XyX\r\n--Xy\r\n\r\r\n-\r\n--";
    const std::string body = part("spec", "{}") + part("a/b", binary) + part("empty", "") +
                             part("near", nearly) + "--XyZ--\r\nepilogue \r\n--XyZ";
    for (std::size_t piece = 1; piece <= body.size(); ++piece) {
        Collector got;
        ASSERT_TRUE(feed_in_pieces(body, piece, got)) << piece;
        ASSERT_EQ(got.parts.size(), 4U) << piece;
        EXPECT_EQ(got.parts[1].second, binary) << piece;
        EXPECT_EQ(got.parts[2].second, "") << piece;
        EXPECT_EQ(got.parts[3].second, nearly) << piece;
        EXPECT_EQ(got.open, 0);
    }
}

TEST(ApiMultipart, ReadsNamesAsClientsWriteThem) {
    struct Case {
        const char* header;
        const char* name;
    };
    for (const Case& c : {
             Case{"form-data; name=\"a\"; filename=\"b\"", "a"},
             {"form-data; filename=\"b; name=c\"; name=\"a\"", "a"},
             {"form-data; name=a", "a"},
             {"Form-Data; NAME=\"a\"", "a"},
             {"form-data; name=\"q\\\"u\\\\o\"", "q\"u\\o"},
             {"form-data; name=\"C:\\dir\"", "C:\\dir"},
             {"form-data; name=\"\xC3\xA9\"", "\u00e9"},
             {"form-data; name*=UTF-8''%C3%A9%20x", "\u00e9 x"},
         }) {
        Collector got;
        const std::string body = std::string("--XyZ\r\ncontent-disposition: ") + c.header +
                                 "\r\nContent-Type: text/plain\r\n\r\nx\r\n--XyZ--";
        ASSERT_TRUE(feed_in_pieces(body, 1'000, got)) << c.header;
        EXPECT_EQ(got.parts[0].first, c.name) << c.header;
    }
}

TEST(ApiMultipart, RefusesWhatIsNoMultipart) {
    struct Case {
        const char* sentence;
        std::string body;
    };
    const std::string good = part("a", "x");
    for (const Case& c : {
             Case{"nothing at all", ""},
             {"no closing boundary", good},
             {"cut in a part", "--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\nx"},
             {"another boundary", "--Other\r\n\r\n--Other--" + std::string(5'000, ' ')},
             {"no Content-Disposition", "--XyZ\r\nContent-Type: a\r\n\r\nx\r\n--XyZ--"},
             {"no header", "--XyZ\r\n\r\nx\r\n--XyZ--"},
             {"no name", "--XyZ\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XyZ--"},
             {"an empty name",
              "--XyZ\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nx\r\n--XyZ--"},
             {"an open quote",
              "--XyZ\r\nContent-Disposition: form-data; name=\"a\r\n\r\nx\r\n--XyZ--"},
             {"a file, not form-data",
              "--XyZ\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--XyZ--"},
             {"an encoding",
              "--XyZ\r\nContent-Disposition: form-data; name=a\r\n"
              "Content-Transfer-Encoding: base64\r\n\r\nx\r\n--XyZ--"},
             {"a line that is no field", "--XyZ\r\nnonsense\r\n\r\nx\r\n--XyZ--"},
             {"a large part header",
              "--XyZ\r\nX: " + std::string(9'000, 'a') + "\r\n\r\nx\r\n--XyZ--"},
             {"an endless part header", "--XyZ\r\nX: " + std::string(9'000, 'a')},
             {"text behind a boundary", "--XyZoops\r\n\r\n"},
         }) {
        for (const std::size_t piece : {1UL, 7UL, 100'000UL}) {
            Collector got;
            const auto done = feed_in_pieces(c.body, piece, got);
            ASSERT_FALSE(done) << c.sentence;
            EXPECT_EQ(done.error().type, ProblemType::invalid_multipart) << c.sentence;
        }
    }
}

TEST(ApiMultipart, PassesOnWhatTheSinkRefuses) {
    Collector got;
    const auto done = feed_in_pieces(part("refused", "x") + "--XyZ--", 10, got);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().type, ProblemType::invalid_spec);
}

TEST(ApiMultipart, FindsTheBoundary) {
    struct Case {
        const char* content_type;
        std::optional<std::string> boundary;
    };
    for (const Case& c : {
             Case{"multipart/form-data; boundary=abc", "abc"},
             {"multipart/form-data; charset=utf-8; Boundary=\"a b:c\"", "a b:c"},
             {"multipart/form-data", {}},
             {"multipart/form-data; boundary=", {}},
             {"multipart/form-data; boundary=\"\"", {}},
             {"multipart/form-data; boundary=\"a\r\"", {}},
             {"multipart/form-data; boundary=\"a \"", {}},
         }) {
        EXPECT_EQ(multipart_boundary(c.content_type), c.boundary) << c.content_type;
    }
    EXPECT_FALSE(multipart_boundary("multipart/form-data; boundary=" + std::string(71, 'a')));
    EXPECT_EQ(media_type(" Application/JSON ; charset=utf-8"), "application/json");
}

}  // namespace
}  // namespace mayfly::api
