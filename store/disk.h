// Names, folders and durability, as the data directory needs them. An interface, because what a
// power loss leaves behind is something to be tested: the simulator's twin loses or tears what was
// not synced.
//
// Contents are not in it: a file is a descriptor of this process, read and written with the
// system's own calls. A name is durable after the fsync of its folder, bytes after the fsync of
// the file; until then a crash of the machine may keep or lose either.
//
// Blocking, thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "store/error.h"

namespace mayfly::store {

struct DiskSpace {
    std::int64_t free_bytes = 0;  // for us (f_bavail)
    std::int64_t total_bytes = 0;
};

class Disk {
public:
    using Path = std::filesystem::path;
    virtual ~Disk() = default;

    // A new file, 0600, read-write, close-on-exec. An error if the name is taken.
    virtual Result<int> create_file(const Path& path) = 0;
    // For reading, close-on-exec. `not_found` if there is none; a symbolic link is an error.
    virtual Result<int> open_file(const Path& path) = 0;
    // Makes what was written to `fd` durable. `path` is for the message.
    virtual Result<void> sync_file(int fd, const Path& path) = 0;
    // Makes the names in `folder` durable.
    virtual Result<void> sync_folder(const Path& folder) = 0;
    // Replaces what is there.
    virtual Result<void> rename_file(const Path& from, const Path& to) = 0;
    // Already gone is success.
    virtual Result<void> remove_file(const Path& path) = 0;
    // With everything in it. Already gone is success.
    virtual Result<void> remove_folder(const Path& folder) = 0;
    // 0700. True: it was made, and its name is durable. `invalid` if it is there and no folder.
    virtual Result<bool> make_folder(const Path& folder) = 0;
    // The names in `folder`, in no order.
    virtual Result<std::vector<std::string>> list_folder(const Path& folder) = 0;
    // `not_found` if there is none.
    virtual Result<std::int64_t> file_size(const Path& path) = 0;
    virtual Result<DiskSpace> space(const Path& folder) = 0;
    // `invalid`, with a message for the operator, when locks and fsync cannot be trusted there.
    virtual Result<void> require_local(const Path& folder) = 0;
    // Holds `path` for this process alone until the descriptor is closed; `locked` names the
    // holder. Writes the pid into it, for people.
    virtual Result<int> lock_file(const Path& path) = 0;
};

// The machine's.
[[nodiscard]] Disk& system_disk();

}  // namespace mayfly::store
