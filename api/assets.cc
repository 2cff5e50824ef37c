#include "api/assets.h"

#include <algorithm>

namespace mayfly::api {

const Asset* find_asset(std::string_view name) {
    const std::span<const Asset> assets = all_assets();
    const auto found = std::ranges::lower_bound(assets, name, {}, &Asset::name);
    return found != assets.end() && found->name == name ? &*found : nullptr;
}

}  // namespace mayfly::api
