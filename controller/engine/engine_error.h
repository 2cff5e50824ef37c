// How a call to an engine can fail, as a value. Pure: no Asio, no JSON, no Docker.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mayfly::controller {

struct EngineError {
    enum class Kind : std::uint8_t {
        // definite
        not_found,  // 404
        conflict,   // 409
        rejected,   // any other 4xx: the request itself is wrong for this engine
        // unknown, except where the call's comment says otherwise
        server,       // 5xx
        unreachable,  // nothing was sent. Definite for the call, and the engine is down
        timeout,      // our deadline passed
        cut,          // the connection ended before the reply did
        protocol,     // a reply that we cannot read
        local,        // our own side failed (source or sink); the message says what
    };
    Kind kind = Kind::unreachable;
    int http_status = 0;  // 0 = there was no status line
    std::string call;     // "POST /containers/{id}/start"
    std::string message;  // the engine's words, control bytes escaped, at most 1 KiB

    [[nodiscard]] bool is_unknown() const {
        return kind == Kind::server || kind == Kind::timeout || kind == Kind::cut ||
               kind == Kind::protocol;
    }
    // The engine itself is not there: back off as a whole, fail no run.
    [[nodiscard]] bool is_engine_down() const {
        return kind == Kind::unreachable || kind == Kind::timeout || kind == Kind::cut;
    }
};
inline constexpr EngineError::Kind kLastErrorKind = EngineError::Kind::local;
[[nodiscard]] std::string_view to_string(EngineError::Kind kind);

}  // namespace mayfly::controller
