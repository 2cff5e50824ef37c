#include "controller/engine/docker/outcome.h"

#include <gtest/gtest.h>

#include <optional>

namespace mayfly::controller::docker {
namespace {

using Kind = EngineError::Kind;
using Verdict = Judgement::Verdict;

struct Case {
    const char* sentence;
    CallKind call;
    int status;
    Fault fault;
    Verdict verdict;
    std::optional<Kind> kind;  // when failed
};

TEST(Judge, EveryAnswerIsDoneRefusedOrUnknown) {
    const Case cases[] = {
        {"a whole 200", CallKind::plain, 200, Fault::none, Verdict::done, {}},
        {"a whole 201", CallKind::plain, 201, Fault::none, Verdict::done, {}},
        {"start: 204 started", CallKind::start, 204, Fault::none, Verdict::done, {}},
        {"start: 304 runs already", CallKind::start, 304, Fault::none, Verdict::already, {}},
        {"start: 404 refused", CallKind::start, 404, Fault::none, Verdict::failed,
         Kind::not_found},
        {"start: 409 refused", CallKind::start, 409, Fault::none, Verdict::failed, Kind::conflict},
        {"start: 400 refused", CallKind::start, 400, Fault::none, Verdict::failed, Kind::rejected},
        {"start: 500 may have started", CallKind::start, 500, Fault::none, Verdict::failed,
         Kind::server},
        {"304 for anything else makes no sense", CallKind::plain, 304, Fault::none,
         Verdict::failed, Kind::protocol},
        {"kill: 204", CallKind::kill, 204, Fault::none, Verdict::done, {}},
        {"kill: 409 does not run", CallKind::kill, 409, Fault::none, Verdict::already, {}},
        {"kill: 404 does not run", CallKind::kill, 404, Fault::none, Verdict::already, {}},
        {"kill: 500 unknown", CallKind::kill, 500, Fault::none, Verdict::failed, Kind::server},
        {"remove: 204", CallKind::remove, 204, Fault::none, Verdict::done, {}},
        {"remove: 404 is gone", CallKind::remove, 404, Fault::none, Verdict::already, {}},
        {"remove: 409 in use", CallKind::remove, 409, Fault::none, Verdict::failed,
         Kind::conflict},
        {"create: 409 the name is taken", CallKind::plain, 409, Fault::none, Verdict::failed,
         Kind::conflict},
        {"create: 404 no such image", CallKind::plain, 404, Fault::none, Verdict::failed,
         Kind::not_found},
        {"403 of a proxy", CallKind::plain, 403, Fault::none, Verdict::failed, Kind::rejected},
        {"501 of a log driver", CallKind::plain, 501, Fault::none, Verdict::failed, Kind::server},
        {"301 of a router", CallKind::plain, 301, Fault::none, Verdict::failed, Kind::protocol},
        {"101 that nobody asked for", CallKind::plain, 101, Fault::none, Verdict::failed,
         Kind::protocol},
        {"a 2xx that was cut is not done", CallKind::plain, 201, Fault::cut, Verdict::failed,
         Kind::cut},
        {"a 2xx that stalled is not done", CallKind::plain, 200, Fault::timeout, Verdict::failed,
         Kind::timeout},
        {"a 2xx in broken chunks is not done", CallKind::plain, 200, Fault::protocol,
         Verdict::failed, Kind::protocol},
        {"a refusal whose words were cut is a refusal", CallKind::plain, 404, Fault::cut,
         Verdict::failed, Kind::not_found},
        {"gone, although the words were cut",
         CallKind::remove,
         404,
         Fault::cut,
         Verdict::already,
         {}},
        {"a 500 whose words stalled", CallKind::plain, 500, Fault::timeout, Verdict::failed,
         Kind::server},
        {"no answer in time", CallKind::start, 0, Fault::timeout, Verdict::failed, Kind::timeout},
        {"no answer, closed", CallKind::start, 0, Fault::cut, Verdict::failed, Kind::cut},
        {"no HTTP", CallKind::plain, 0, Fault::protocol, Verdict::failed, Kind::protocol},
        {"nothing was sent", CallKind::start, 0, Fault::unreachable, Verdict::failed,
         Kind::unreachable},
        {"our own sink", CallKind::plain, 200, Fault::local, Verdict::failed, Kind::local},
        {"no answer and no reason", CallKind::plain, 0, Fault::none, Verdict::failed,
         Kind::protocol},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.sentence);
        const Judgement judgement = judge(c.call, c.status, c.fault);
        EXPECT_EQ(c.verdict, judgement.verdict);
        if (c.kind) {
            EXPECT_EQ(*c.kind, judgement.kind) << to_string(judgement.kind);
        }
    }
}

// The safety sentence over the whole space: only a whole 2xx is done, and a start that may have
// happened is never a definite error.
TEST(Judge, NothingButAWhole2xxIsDone) {
    for (const auto call : {CallKind::plain, CallKind::start, CallKind::kill, CallKind::remove}) {
        for (int status = 0; status < 600; ++status) {
            for (const auto fault : {Fault::none, Fault::unreachable, Fault::timeout, Fault::cut,
                                     Fault::protocol, Fault::local}) {
                const Judgement judgement = judge(call, status, fault);
                const bool whole_2xx = status / 100 == 2 && fault == Fault::none;
                EXPECT_EQ(whole_2xx, judgement.verdict == Verdict::done) << status;
                EngineError error;
                error.kind = judgement.kind;
                const bool silent = status == 0 || status / 100 == 2 || status >= 500;
                const bool sent = fault != Fault::unreachable && fault != Fault::local;
                if (call == CallKind::start && silent && sent && !whole_2xx) {
                    EXPECT_TRUE(error.is_unknown()) << status << to_string(judgement.kind);
                }
            }
        }
    }
}

TEST(ErrorMessage, IsTheEnginesWordsInWhateverForm) {
    EXPECT_EQ("No such container: x", error_message(R"({"message":"No such container: x"})", 404));
    EXPECT_EQ("client version 1.1 is too old",
              error_message("client version 1.1 is too old\n", 400));
    EXPECT_EQ("<html><body>502 Bad Gateway</body></html>",
              error_message("<html><body>502 Bad Gateway</body></html>\r\n", 502));
    EXPECT_EQ("HTTP 500 without a word", error_message("", 500));
    EXPECT_EQ(R"({"message":7})", error_message(R"({"message":7})", 500));
    EXPECT_EQ(R"({"message":"cut)", error_message(R"({"message":"cut)", 500));
    EXPECT_EQ(R"(a\x0ab)", error_message(R"({"message":"a\nb"})", 500));
}

TEST(PlainText, EscapesControlBytesAndWhatIsNotUtf8) {
    EXPECT_EQ("a\\x1b[31mb\\x00\\x7f", plain_text(std::string_view("a\x1b[31mb\0\x7f", 9)));
    EXPECT_EQ("\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x9f",
              plain_text("\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x9f"));
    EXPECT_EQ("\\xff\\xc3", plain_text("\xff\xc3"));
    EXPECT_EQ("\\xc0\\xaf", plain_text("\xc0\xaf")) << "overlong";
    EXPECT_EQ("\\xed\\xa0\\x80", plain_text("\xed\xa0\x80")) << "a surrogate";
    EXPECT_EQ("\\xf4\\x90\\x80\\x80", plain_text("\xf4\x90\x80\x80")) << "above U+10FFFF";
}

TEST(PlainText, IsAtMostOneKiBAndNotCutInsideACharacter) {
    std::string euros;
    for (int i = 0; i < 1'000; ++i) {
        euros += "\xe2\x82\xac";
    }
    const std::string text = plain_text(euros);
    EXPECT_LE(text.size(), kMessageBytesMax);
    EXPECT_TRUE(text.ends_with("\xe2\x82\xac..."));
}

TEST(VersionRefusal, IsTheOne400ThatAsksForANewNegotiation) {
    EXPECT_TRUE(is_version_refusal(400, "client version 1.45 is too new. Maximum ... 1.41"));
    EXPECT_TRUE(is_version_refusal(400, "client version 1.1 is too old."));
    EXPECT_FALSE(is_version_refusal(404, "client version 1.1 is too old."));
    EXPECT_FALSE(is_version_refusal(400, "bad parameter"));
}

}  // namespace
}  // namespace mayfly::controller::docker
