// Where a listing goes on. Opaque to clients; a cursor that we did not make is refused. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mayfly::api {

// "Older than this run": ids sort by creation, so new runs do not shift the pages behind a cursor.
[[nodiscard]] std::string make_cursor(std::string_view last_run_id);
[[nodiscard]] std::optional<std::string> read_cursor(std::string_view cursor);

}  // namespace mayfly::api
