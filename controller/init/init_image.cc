#include "controller/init/init_image.h"

// controller/init/init_image.S
extern "C" const std::byte mayfly_init_begin[];
extern "C" const std::byte mayfly_init_end[];

namespace mayfly::controller {

std::span<const std::byte> init_image() { return {mayfly_init_begin, mayfly_init_end}; }

std::string_view init_arch() {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__riscv) && __riscv_xlen == 64
    return "riscv64";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
    return "ppc64le";
#elif defined(__s390x__)
    return "s390x";
#else
#error "name this architecture as the engine spells it"
#endif
}

}  // namespace mayfly::controller
