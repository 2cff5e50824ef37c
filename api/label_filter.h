// `label=key=value`, which may come several times. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "api/query.h"

namespace mayfly::api {

inline constexpr std::size_t kLabelFiltersMax = 16;

// Adds what the query asks for to `labels`; complains to the query of what is none.
void read_labels(Query& query, std::vector<std::pair<std::string, std::string>>& labels);

}  // namespace mayfly::api
