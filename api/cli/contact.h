// Why mayflyd cannot be reached, and what to do about it. Pure.
#pragma once

#include <string>

#include "api/cli/address.h"

namespace mayfly::api::cli {

// `os_error`: an errno of connect(2), 0 when a name could not be resolved.
[[nodiscard]] std::string contact_advice(const Address& address, int os_error);

}  // namespace mayfly::api::cli
