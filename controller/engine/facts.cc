#include "controller/engine/facts.h"

#include "controller/engine/engine_error.h"

namespace mayfly::controller {

std::string_view to_string(ContainerState state) {
    switch (state) {
        case ContainerState::created:
            return "created";
        case ContainerState::running:
            return "running";
        case ContainerState::paused:
            return "paused";
        case ContainerState::restarting:
            return "restarting";
        case ContainerState::removing:
            return "removing";
        case ContainerState::exited:
            return "exited";
        case ContainerState::dead:
            return "dead";
        case ContainerState::unknown:
            break;
    }
    return "unknown";
}

std::string_view to_string(EngineError::Kind kind) {
    switch (kind) {
        case EngineError::Kind::not_found:
            return "not_found";
        case EngineError::Kind::conflict:
            return "conflict";
        case EngineError::Kind::rejected:
            return "rejected";
        case EngineError::Kind::server:
            return "server";
        case EngineError::Kind::unreachable:
            return "unreachable";
        case EngineError::Kind::timeout:
            return "timeout";
        case EngineError::Kind::cut:
            return "cut";
        case EngineError::Kind::protocol:
            return "protocol";
        case EngineError::Kind::local:
            return "local";
    }
    return "unknown";
}

}  // namespace mayfly::controller
