#include "api/cursor.h"

#include "store/clock.h"

namespace mayfly::api {
namespace {
constexpr std::string_view kPrefix = "before-";
}

std::string make_cursor(std::string_view last_run_id) {
    return std::string(kPrefix) + std::string(last_run_id);
}

std::optional<std::string> read_cursor(std::string_view cursor) {
    if (!cursor.starts_with(kPrefix)) return std::nullopt;
    std::string id(cursor.substr(kPrefix.size()));
    if (!store::is_run_id(id)) return std::nullopt;
    return id;
}

}  // namespace mayfly::api
