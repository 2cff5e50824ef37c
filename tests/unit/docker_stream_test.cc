#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "controller/engine/docker/line_splitter.h"
#include "controller/engine/docker/log_demux.h"
#include "controller/engine/docker/pull_progress.h"

namespace mayfly::controller::docker {
namespace {

using Kind = EngineError::Kind;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::string frame(unsigned char type, const std::string& content) {
    std::string out(8, '\0');
    out[0] = static_cast<char>(type);
    for (int i = 0; i < 4; ++i) {
        out[static_cast<std::size_t>(7 - i)] = static_cast<char>(content.size() >> (8 * i) & 0xff);
    }
    return out + content;
}

class Kept final : public LogSink {
public:
    std::expected<void, std::string> write(Stream stream,
                                           std::span<const std::byte> bytes) override {
        (stream == Stream::out ? out : err)
            .append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        if (refuses) {
            return std::unexpected("disk full");
        }
        return {};
    }
    std::string out;
    std::string err;
    bool refuses = false;
};

TEST(LogDemux, SplitsTheStreamsWhereverThePiecesEnd) {
    std::string all_bytes;
    for (int i = 0; i < 256; ++i) {
        all_bytes += static_cast<char>(i);
    }
    const std::string stream = frame(1, "one\n") + frame(2, "bad\n") + frame(1, "") +
                               frame(1, all_bytes) + frame(0, "typed") + frame(2, "end");
    for (std::size_t size = 1; size <= stream.size(); ++size) {
        LogDemux demux;
        Kept kept;
        for (std::size_t at = 0; at < stream.size(); at += size) {
            ASSERT_TRUE(
                demux.feed(bytes_of(std::string_view(stream).substr(at, size)), kept).has_value());
        }
        EXPECT_TRUE(demux.finish().has_value());
        EXPECT_EQ("one\n" + all_bytes + "typed", kept.out) << size;
        EXPECT_EQ("bad\nend", kept.err) << size;
    }
}

TEST(LogDemux, EveryCutInsideAFrameIsSeen) {
    const std::string stream = frame(1, "one") + frame(2, "two");
    for (std::size_t size = 0; size < stream.size(); ++size) {
        LogDemux demux;
        Kept kept;
        ASSERT_TRUE(
            demux.feed(bytes_of(std::string_view(stream).substr(0, size)), kept).has_value());
        const bool between = size == 0 || size == frame(1, "one").size();
        const auto finished = demux.finish();
        EXPECT_EQ(between, finished.has_value()) << size;
        if (!finished) {
            EXPECT_EQ(Kind::cut, finished.error().kind);
        }
    }
}

TEST(LogDemux, WhatIsNoFrameIsNotGuessedAt) {
    for (const std::string& bad :
         {std::string("plain text of a terminal"), frame(4, "x"),
          std::string("\1\0\1\0\0\0\0\1x", 9), std::string("\1\0\0\0\xff\xff\xff\xff", 8)}) {
        LogDemux demux;
        Kept kept;
        const auto fed = demux.feed(bytes_of(bad), kept);
        ASSERT_FALSE(fed.has_value());
        EXPECT_EQ(Kind::protocol, fed.error().kind);
        EXPECT_EQ("", kept.out);
    }
}

TEST(LogDemux, ALongFrameGoesThroughUpToTheLimit) {
    LogDemux demux;
    Kept kept;
    const std::string large(kLogFrameBytesMax, 'x');
    EXPECT_TRUE(demux.feed(bytes_of(frame(1, large)), kept).has_value());
    EXPECT_EQ(large.size(), kept.out.size());
    EXPECT_FALSE(demux.feed(bytes_of(frame(1, large + "x")), kept).has_value());
}

TEST(LogDemux, TheEnginesOwnErrorFailsTheWholeAtItsEnd) {
    LogDemux demux;
    Kept kept;
    const std::string stream =
        frame(1, "before") + frame(3, "log file is corrupt") + frame(1, "after");
    EXPECT_TRUE(demux.feed(bytes_of(stream), kept).has_value());
    EXPECT_EQ("beforeafter", kept.out);
    const auto finished = demux.finish();
    ASSERT_FALSE(finished.has_value());
    EXPECT_EQ(Kind::server, finished.error().kind);
    EXPECT_NE(std::string::npos, finished.error().message.find("log file is corrupt"));
}

TEST(LogDemux, TheSinksErrorStops) {
    LogDemux demux;
    Kept kept;
    kept.refuses = true;
    const auto fed = demux.feed(bytes_of(frame(1, "x") + frame(1, "y")), kept);
    ASSERT_FALSE(fed.has_value());
    EXPECT_EQ(Kind::local, fed.error().kind);
    EXPECT_EQ("disk full", fed.error().message);
    EXPECT_EQ("x", kept.out);
}

std::vector<std::string> split(LineSplitter& splitter, std::string_view text, std::size_t size) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size(); at += size) {
        splitter.feed(bytes_of(text.substr(at, size)), [&lines](std::string_view line) {
            lines.emplace_back(line);
            return true;
        });
    }
    return lines;
}

TEST(LineSplitter, FindsLinesWhereverThePiecesEnd) {
    const std::string text = "one\r\n\n\ntwo\nlast";
    for (std::size_t size = 1; size <= text.size(); ++size) {
        LineSplitter splitter(10);
        EXPECT_EQ((std::vector<std::string>{"one", "two"}), split(splitter, text, size)) << size;
        EXPECT_EQ("last", splitter.rest());
    }
}

TEST(LineSplitter, SkipsALineThatIsTooLongAndGoesOn) {
    const std::string text = "12345\n123456\n1234567890123\nok\n";
    for (std::size_t size = 1; size <= text.size(); ++size) {
        LineSplitter splitter(5);
        EXPECT_EQ((std::vector<std::string>{"12345", "ok"}), split(splitter, text, size)) << size;
        EXPECT_EQ(2, splitter.skipped());
    }
}

TEST(LineSplitter, StopsWhenItIsTold) {
    LineSplitter splitter(100);
    int seen = 0;
    splitter.feed(bytes_of("1\n2\n3\n"), [&seen](std::string_view) { return ++seen < 2; });
    EXPECT_EQ(2, seen);
}

std::string line(const nlohmann::json& said) { return said.dump() + "\r\n"; }

std::string layer(const char* id, const char* status, std::int64_t current = 0,
                  std::int64_t total = 0) {
    nlohmann::json said = {
        {"id", id}, {"status", status}, {"progressDetail", nlohmann::json::object()}};
    if (total > 0) {
        said["progressDetail"] = {{"current", current}, {"total", total}};
    }
    return line(said);
}

TEST(PullProgress, IsOneSentenceForAllLayers) {
    PullProgress pull;
    std::vector<std::string> told;
    const std::string stream =
        line({{"status", "Pulling from library/python"}, {"id", "3.12"}}) +
        layer("aa", "Pulling fs layer") + layer("bb", "Already exists") +
        layer("aa", "Downloading", 12'300'000, 40'100'000) +
        layer("aa", "Downloading", 12'310'000, 40'100'000) + layer("aa", "Verifying Checksum") +
        layer("aa", "Extracting", 1, 40'100'000) + layer("aa", "Pull complete") +
        line({{"status", "Digest: sha256:1"}});
    for (const char c : stream) {
        const std::string_view one(&c, 1);
        ASSERT_TRUE(
            pull.feed(bytes_of(one), [&](std::string_view text) { told.emplace_back(text); })
                .has_value());
    }
    EXPECT_TRUE(pull.finish().has_value());
    EXPECT_EQ((std::vector<std::string>{"Pulling from library/python", "0 of 1 layers",
                                        "1 of 2 layers", "1 of 2 layers, 12.3 of 40.1 MB",
                                        "1 of 2 layers, 40.1 of 40.1 MB",
                                        "2 of 2 layers, 40.1 of 40.1 MB"}),
              told);
}

TEST(PullProgress, AnErrorInsideTheStreamIsDefinite) {
    struct Case {
        nlohmann::json said;
        const char* message;
    };
    const Case cases[] = {
        {{{"errorDetail", {{"message", "manifest unknown"}}}, {"error", "manifest unknown"}},
         "manifest unknown"},
        {{{"errorDetail", {{"message", "denied"}}}}, "denied"},
        {{{"error", "a\nb"}}, "a\\x0ab"},
        {{{"error", 7}}, "the engine gave up without saying why"},
    };
    for (const Case& c : cases) {
        PullProgress pull;
        const auto fed = pull.feed(bytes_of(layer("aa", "Waiting") + line(c.said)), nullptr);
        ASSERT_FALSE(fed.has_value()) << c.said;
        EXPECT_EQ(Kind::rejected, fed.error().kind);
        EXPECT_EQ(c.message, fed.error().message);
    }
}

TEST(PullProgress, WhatCannotBeReadIsNotASuccess) {
    PullProgress html;
    EXPECT_EQ(Kind::protocol, html.feed(bytes_of("<html>\n"), nullptr).error().kind);
    PullProgress cut;
    ASSERT_TRUE(cut.feed(bytes_of(R"({"error":"manif)"), nullptr).has_value());
    EXPECT_EQ(Kind::cut, cut.finish().error().kind);
    PullProgress endless;
    const std::string large(kPullLineBytesMax + 1, 'x');
    ASSERT_TRUE(endless.feed(bytes_of(large + "\n"), nullptr).has_value());
    EXPECT_EQ(Kind::protocol, endless.finish().error().kind);
}

TEST(PullProgress, RemembersABoundedNumberOfLayers) {
    PullProgress pull;
    std::string last;
    for (std::size_t i = 0; i < kPullLayersMax + 50; ++i) {
        const std::string id = std::to_string(i);
        ASSERT_TRUE(pull.feed(bytes_of(layer(id.c_str(), "Waiting")),
                              [&](std::string_view text) { last = text; })
                        .has_value());
    }
    EXPECT_EQ(fmt::format("0 of {} layers", kPullLayersMax), last);
}

}  // namespace
}  // namespace mayfly::controller::docker
