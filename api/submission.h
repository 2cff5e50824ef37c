// A user's spec, read: from strict JSON to a store::RunSpec and the inputs that came with it.
// Every offending field is named in one answer, with its limit. Absent limits become the
// operator's defaults here, so that a stored spec has everything spelled out. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/problem.h"
#include "store/limits.h"
#include "store/run.h"

namespace mayfly::api {

inline constexpr std::size_t kMaxCommandArgs = 256;
inline constexpr std::size_t kMaxCommandArgBytes = 64 << 10;
inline constexpr std::size_t kMaxCommandBytes = 128 << 10;
inline constexpr std::size_t kMaxEnvVars = 256;
inline constexpr std::size_t kMaxEnvNameBytes = 256;
inline constexpr std::size_t kMaxEnvValueBytes = 32 << 10;
inline constexpr std::size_t kMaxEnvBytes = 64 << 10;  // names and values together
inline constexpr std::size_t kMaxLabels = 32;
inline constexpr std::size_t kMaxLabelKeyBytes = 64;
inline constexpr std::size_t kMaxLabelValueBytes = 256;
inline constexpr std::size_t kMaxImageBytes = 255;
inline constexpr std::size_t kMaxRuntimeBytes = 64;
inline constexpr std::size_t kMinWebhookSecretBytes = 16;
inline constexpr std::size_t kMaxWebhookSecretBytes = 256;
inline constexpr std::uint32_t kDefaultFileMode = 0644;
inline constexpr std::uint32_t kMaxFileMode = 0777;

struct InputRules {
    std::int64_t max_input_bytes = 0;  // all inputs of a run together
    std::int64_t max_input_files = 0;
    std::int64_t max_stdin_bytes = 0;
    // In multipart an entry of `files` without content is a promise that a part of that name
    // brings it.
    bool parts_follow = false;
    // Why a path cannot be an input, "" when it can: store::input_path_error.
    std::string (*path_error)(std::string_view path) = nullptr;
    // Why a webhook cannot go to this URL, "" when it can. Empty: the operator has switched
    // webhooks off.
    std::function<std::string(std::string_view url)> webhook_url_error;
};

struct SubmittedFile {
    std::string path;
    std::uint32_t mode = kDefaultFileMode;
    std::optional<std::string> content;  // nothing = comes as a part
};

struct Submission {
    store::RunSpec spec;  // without files and stdin: those are known when they are written
    std::vector<SubmittedFile> files;
    std::optional<std::string> stdin_bytes;
};

// `invalid_spec` with all fields; `image_not_allowed` or `runtime_not_allowed` when that is the
// only thing wrong. `invalid_spec` for a document that is not an object.
[[nodiscard]] Answer<Submission> read_submission(nlohmann::json document,
                                                 const store::Policy& policy,
                                                 const InputRules& rules);

// Why `image` is no image reference, "" when it is: [host[:port]/]path[:tag][@sha256:hex].
[[nodiscard]] std::string image_error(std::string_view image);
[[nodiscard]] std::string label_key_error(std::string_view key);
// RFC 4648 with padding; line breaks are skipped. Nothing when it is not base64.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace mayfly::api
