// The bytes of PID 1 (controller/init/init.cc, statically linked), embedded in mayflyd.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace mayfly::controller {

[[nodiscard]] std::span<const std::byte> init_image();
// "amd64", "arm64": as the engine spells architectures.
[[nodiscard]] std::string_view init_arch();

}  // namespace mayfly::controller
