#include "api/label_filter.h"

#include <iterator>

#include "api/submission.h"
#include "store/run.h"

namespace mayfly::api {

void read_labels(Query& query, std::vector<std::pair<std::string, std::string>>& labels) {
    for (const std::string& label : query.all("label")) {
        const std::size_t equals = label.find('=');
        if (equals == label.npos) {
            query.complain({"label", "must be key=value", {}, shown_text(label)});
            continue;
        }
        std::string key = label.substr(0, equals);
        if (const std::string error = label_key_error(key); !error.empty()) {
            query.complain({"label", error, {}, shown_text(label)});
            continue;
        }
        labels.emplace_back(std::move(key), label.substr(equals + 1));
    }
    if (labels.size() > kLabelFiltersMax) {
        query.complain({"label", "comes too often", static_cast<std::int64_t>(kLabelFiltersMax),
                        std::ssize(labels)});
    }
}

}  // namespace mayfly::api
