#include "store/webhook.h"

#include <algorithm>

namespace mayfly::store {

std::string_view to_string(DeliveryState state) {
    switch (state) {
        case DeliveryState::pending:
            return "pending";
        case DeliveryState::delivered:
            return "delivered";
        case DeliveryState::given_up:
            return "given_up";
    }
    return "";
}

std::string origin_of(std::string_view url) {
    const auto host = std::min(url.find("://"), url.size());
    const auto end = std::min(url.find_first_of("/?", std::min(host + 3, url.size())), url.size());
    std::string origin(url.substr(0, end));
    for (char& c : origin) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return origin;
}

}  // namespace mayfly::store
