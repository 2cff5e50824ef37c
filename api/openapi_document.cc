#include "api/openapi_document.h"

#include <cstddef>

// api/openapi_document.S
extern "C" const char mayfly_openapi_begin[];
extern "C" const char mayfly_openapi_end[];

namespace mayfly::api {

std::string_view openapi_document() {
    return {mayfly_openapi_begin,
            static_cast<std::size_t>(mayfly_openapi_end - mayfly_openapi_begin)};
}

}  // namespace mayfly::api
