// The one place that says what an answer (or its absence) means. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "controller/engine/engine_error.h"

namespace mayfly::controller::docker {

// What became of the exchange as such, before anybody looked at the status.
enum class Fault : std::uint8_t {
    none,         // a whole reply
    unreachable,  // nothing was sent: no connection, or it took not one byte
    timeout,
    cut,
    protocol,
    local,
};

// Calls for which "already so" is an answer, and not an error.
enum class CallKind : std::uint8_t {
    plain,
    start,   // 304: it runs
    kill,    // 404, 409: it does not run
    remove,  // 404: it is gone
};

struct Judgement {
    enum class Verdict : std::uint8_t {
        done,
        already,  // done before, or by somebody else
        failed,   // `kind` says how; EngineError::is_unknown tells refused from unknown
    };
    Verdict verdict = Verdict::failed;
    EngineError::Kind kind = EngineError::Kind::protocol;
    bool operator==(const Judgement&) const = default;
};

// `http_status`: 0 when no whole reply head arrived. A status of 300 and up speaks for itself even
// when its body was cut: the body is only words. Anything else than a whole 2xx is not done.
[[nodiscard]] Judgement judge(CallKind call, int http_status, Fault fault);

inline constexpr std::size_t kMessageBytesMax = 1'024;
// For logs, rows and pages: control bytes and bytes that are not UTF-8 become \xNN, at most
// kMessageBytesMax bytes.
[[nodiscard]] std::string plain_text(std::string_view text);
// An error body, {"message": "..."} or whatever a proxy wrote instead, as plain text.
[[nodiscard]] std::string error_message(std::string_view body, int http_status);
// 400 "client version 1.45 is too new": the engine was exchanged under us.
[[nodiscard]] bool is_version_refusal(int http_status, std::string_view message);

}  // namespace mayfly::controller::docker
