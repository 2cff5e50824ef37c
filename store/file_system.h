// The few questions about files that the standard library does not answer: what an errno means for
// us, a folder's fsync, and what kind of file system lies below.
#pragma once

#include <filesystem>
#include <string_view>

#include "store/error.h"

namespace mayfly::store {

// "cannot <doing> <path>: <why>"; `full` for ENOSPC and EDQUOT, `io` else.
[[nodiscard]] Error file_error(std::string_view doing, const std::filesystem::path& path,
                               int error_number);

// Makes the names in `folder` durable.
[[nodiscard]] Result<void> sync_folder(const std::filesystem::path& folder);

// The name of a network file system by its statfs magic; empty when it is none.
[[nodiscard]] std::string_view network_file_system(long magic);
// `invalid` with a message for the operator when `folder` is on one: locks and fsync cannot be
// trusted there.
[[nodiscard]] Result<void> require_local(const std::filesystem::path& folder);

}  // namespace mayfly::store
