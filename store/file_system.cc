#include "store/file_system.h"

#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace mayfly::store {
namespace {

// From linux/magic.h and the kernel's sources; the packaged header lacks some.
constexpr std::pair<unsigned long, std::string_view> kNetworkFileSystems[] = {
    {0x6969, "NFS"},     {0x517B, "SMB"},      {0xFF534D42, "CIFS"}, {0xFE534D42, "SMB2"},
    {0x5346414F, "AFS"}, {0x73757245, "Coda"}, {0x00C36400, "Ceph"},
};

}  // namespace

Error file_error(std::string_view doing, const std::filesystem::path& path, int error_number) {
    const bool full = error_number == ENOSPC || error_number == EDQUOT;
    return Error{full ? ErrorKind::full : ErrorKind::io,
                 "cannot " + std::string(doing) + " " + path.string() + ": " +
                     std::generic_category().message(error_number)};
}

Result<void> sync_folder(const std::filesystem::path& folder) {
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return std::unexpected(file_error("open", folder, errno));
    const int failed = ::fsync(fd) == 0 ? 0 : errno;
    ::close(fd);
    if (failed != 0) return std::unexpected(file_error("fsync", folder, failed));
    return {};
}

std::string_view network_file_system(long magic) {
    // f_type is sign-extended on some machines.
    const auto bits = static_cast<unsigned long>(magic) & 0xFFFFFFFFUL;
    for (const auto& [known, name] : kNetworkFileSystems) {
        if (known == bits) return name;
    }
    return {};
}

Result<void> require_local(const std::filesystem::path& folder) {
    struct statfs facts{};
    if (::statfs(folder.c_str(), &facts) != 0) {
        return std::unexpected(file_error("look at", folder, errno));
    }
    const auto name = network_file_system(facts.f_type);
    if (name.empty()) return {};
    return fail(ErrorKind::invalid, folder.string() + " is on " + std::string(name) +
                                        ": the database needs a local disk, because locks and "
                                        "fsync over a network do not hold what they promise");
}

}  // namespace mayfly::store
