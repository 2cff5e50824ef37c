// `mayflyd healthcheck`: asks a running mayflyd whether it is alive. For an image's HEALTHCHECK,
// where there is no shell and no curl.
#pragma once

#include <string>

namespace mayfly::controller {

// argv[0] is "healthcheck". 0 = GET /healthz was answered with 200 within five seconds; 1 = it was
// not, and why is said on stderr; 2 = bad arguments. Without --url the address of MAYFLY_LISTEN is
// asked, else 127.0.0.1:7070.
[[nodiscard]] int healthcheck(int argc, const char* const* argv);

// Where to ask a daemon that was given this --listen: loopback where it listens everywhere. Pure.
[[nodiscard]] std::string health_url(const std::string& listen);

}  // namespace mayfly::controller
