// The description of this API, api/openapi/openapi.json, embedded byte for byte: OpenAPI 3.1,
// UTF-8. Written by hand. tests/contract and tests/unit/api_openapi_test.cc hold it to the code.
// Pure.
#pragma once

#include <string_view>

namespace mayfly::api {

[[nodiscard]] std::string_view openapi_document();

}  // namespace mayfly::api
