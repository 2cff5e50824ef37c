#include "tests/sim/disk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace mayfly::sim {
namespace {

using store::ErrorKind;
using store::fail;
using store::Result;

constexpr std::int64_t kSectorBytes = 512;

std::string parent_of(const std::string& path) {
    return path.substr(0, std::max<std::size_t>(1, path.find_last_of('/')));
}

std::unexpected<store::Error> missing(const std::string& path) {
    return fail(ErrorKind::not_found, path + " is not there");
}

bool is_under(const std::string& path, const std::string& folder) {
    return path == folder || path.starts_with(folder + "/");
}

// What a sector holds whose write was under way when the power went.
void garble(std::string& bytes, Rng& rng) {
    for (auto& byte : bytes) byte = static_cast<char>(rng.next());
}

}  // namespace

std::string bytes_of(int fd) {
    struct stat facts{};
    if (fstat(fd, &facts) != 0) return {};
    std::string bytes(static_cast<std::size_t>(facts.st_size), '\0');
    const auto got = pread(fd, bytes.data(), bytes.size(), 0);
    bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return bytes;
}

int memory_file(std::string_view bytes) {
    const int fd = memfd_create("sim", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, bytes.data(), bytes.size(), 0) != std::ssize(bytes)) std::abort();
    return fd;
}

DiskState::Inode::~Inode() {
    if (fd >= 0) close(fd);
}

DiskState::DiskState(World& world) : world_(world) {}
DiskState::~DiskState() = default;

std::string DiskState::read(const std::string& path) const {
    const auto found = names.find(path);
    return found == names.end() || !found->second ? std::string() : bytes_of(found->second->fd);
}

// ---- the power goes

void DiskState::power_loss() {
    lose_names();
    lose_contents();
    lose_tables();
}

// Every name that differs between cache and platter comes out one way or the other.
void DiskState::lose_names() {
    auto& rng = world_.rng(Stream::disk);
    std::set<std::string> differing;
    for (const auto& [path, inode] : names) {
        const auto found = durable.find(path);
        if (found == durable.end() || found->second != inode) differing.insert(path);
    }
    for (const auto& [path, inode] : durable) {
        if (!names.contains(path)) differing.insert(path);
    }
    Names after = durable;
    for (const auto& path : differing) {
        const bool keep = !rng.chance(0.5);
        world_.trace("power loss: {} is {}", path, keep ? "as it was seen" : "as it was synced");
        if (!keep) continue;
        const auto found = names.find(path);
        if (found == names.end()) {
            after.erase(path);
        } else {
            after[path] = found->second;
        }
        world_.probe("power loss: an unsynced name was kept");
    }
    // What stands in a folder that is gone is gone.
    for (auto it = after.begin(); it != after.end();) {
        const auto folder = parent_of(it->first);
        it = folder == "/" || after.contains(folder) ? std::next(it) : after.erase(it);
    }
    if (after != names) world_.probe("power loss: an unsynced name was lost");
    names = after;
    durable = std::move(after);
}

void DiskState::lose_contents() {
    auto& rng = world_.rng(Stream::disk);
    std::set<Inode*> seen;
    for (auto& [path, inode] : names) {
        if (!inode || inode->synced || !seen.insert(inode.get()).second) continue;
        auto bytes = bytes_of(inode->fd);
        if (bytes == inode->durable) continue;
        switch (rng.below(4)) {
            case 0:
                bytes = inode->durable;
                break;
            case 1:
                bytes.resize(static_cast<std::size_t>(rng.below(std::ssize(bytes) + 1)));
                break;
            case 2:
                garble(bytes, rng);
                break;
            default:
                break;
        }
        world_.probe("power loss: unsynced bytes");
        auto torn = std::make_shared<Inode>();
        torn->fd = memory_file(bytes);
        torn->durable = bytes;
        torn->synced = true;
        const auto old = inode;
        for (auto& [other, shared] : names) {
            if (shared == old) shared = torn;
        }
        for (auto& [other, shared] : durable) {
            if (shared == old) shared = torn;
        }
    }
}

void DiskState::lose_tables() {
    auto& rng = world_.rng(Stream::disk);
    for (const auto& [from, to] : table_renames) {
        if (!tables.contains(to) || rng.chance(0.5)) continue;
        tables[from] = tables[to];
        tables.erase(to);
    }
    table_renames.clear();
    std::erase_if(
        tables, [&rng](const auto& item) { return !item.second->name_synced && rng.chance(0.5); });
    for (auto& [path, old] : tables) {
        auto table = std::make_shared<Table>();
        table->bytes = old->durable;
        table->name_synced = true;
        for (auto& write : old->unsynced) {
            const auto luck = rng.below(3);
            if (luck == 0) continue;
            if (write.offset < 0) {
                table->bytes.resize(static_cast<std::size_t>(write.size));
                continue;
            }
            const auto end = static_cast<std::size_t>(write.offset) + write.bytes.size();
            if (table->bytes.size() < end) table->bytes.resize(end);
            for (std::int64_t at = 0; at < std::ssize(write.bytes); at += kSectorBytes) {
                auto sector = write.bytes.substr(static_cast<std::size_t>(at), kSectorBytes);
                if (luck == 2 && rng.chance(0.3)) garble(sector, rng);
                if (luck == 2 && rng.chance(0.3)) continue;
                table->bytes.replace(static_cast<std::size_t>(write.offset + at), sector.size(),
                                     sector);
            }
            world_.probe("power loss: an unsynced database write");
        }
        table->durable = table->bytes;
        old = std::move(table);
    }
}

// ---- one process's disk

Result<void> SimDisk::may(std::string_view effect, const Path& path) {
    if (state_.world().may(life_, effect)) return {};
    return fail(ErrorKind::io, "the process is dead: " + path.string());
}

Result<int> SimDisk::create_file(const Path& path) {
    if (!life_->alive) return fail(ErrorKind::io, "dead");
    const auto name = path.string();
    if (name.ends_with(".db")) {
        if (state_.tables.contains(name)) return fail(ErrorKind::io, "it exists");
        state_.tables[name] = std::make_shared<DiskState::Table>();
        return memory_file("");
    }
    if (state_.names.contains(name)) return fail(ErrorKind::io, "cannot create " + name);
    if (!state_.names.contains(parent_of(name))) return missing(parent_of(name));
    auto inode = std::make_shared<DiskState::Inode>();
    inode->fd = memory_file("");
    state_.names[name] = inode;
    return fcntl(inode->fd, F_DUPFD_CLOEXEC, 3);
}

Result<int> SimDisk::open_file(const Path& path) {
    if (!life_->alive) return fail(ErrorKind::io, "dead");
    if (const auto table = state_.tables.find(path.string()); table != state_.tables.end()) {
        return memory_file(std::string_view(table->second->bytes).substr(0, 100));
    }
    const auto found = state_.names.find(path.string());
    if (found == state_.names.end() || !found->second) return missing(path.string());
    return fcntl(found->second->fd, F_DUPFD_CLOEXEC, 3);
}

Result<void> SimDisk::sync_file(int fd, const Path& path) {
    if (auto good = may("fsync file", path); !good) return good;
    const auto found = state_.names.find(path.string());
    if (found == state_.names.end() || !found->second) return missing(path.string());
    found->second->durable = bytes_of(fd);
    found->second->synced = true;
    state_.world().did(life_);
    return {};
}

Result<void> SimDisk::sync_folder(const Path& path) {
    if (auto good = may("fsync folder", path); !good) return good;
    const auto folder = path.string();
    std::erase_if(state_.durable, [&](const auto& item) {
        return parent_of(item.first) == folder && !state_.names.contains(item.first);
    });
    for (const auto& [name, inode] : state_.names) {
        if (parent_of(name) == folder) state_.durable[name] = inode;
    }
    for (auto& [name, table] : state_.tables) {
        if (parent_of(name) == folder) table->name_synced = true;
    }
    std::erase_if(state_.table_renames,
                  [&](const auto& names) { return parent_of(names.second) == folder; });
    state_.world().did(life_);
    return {};
}

Result<void> SimDisk::rename_file(const Path& from, const Path& to) {
    if (auto good = may("rename", to); !good) return good;
    if (const auto table = state_.tables.find(from.string()); table != state_.tables.end()) {
        state_.tables[to.string()] = table->second;
        state_.tables.erase(from.string());
        state_.table_renames.emplace_back(from.string(), to.string());
        state_.world().did(life_);
        return {};
    }
    const auto found = state_.names.find(from.string());
    if (found == state_.names.end()) return missing(from.string());
    if (!state_.names.contains(parent_of(to.string()))) return missing(to.string());
    state_.names[to.string()] = found->second;
    state_.names.erase(from.string());
    state_.world().did(life_);
    return {};
}

Result<void> SimDisk::remove_file(const Path& path) {
    if (!life_->alive) return fail(ErrorKind::io, "dead");
    state_.names.erase(path.string());
    state_.tables.erase(path.string());
    return {};
}

Result<void> SimDisk::remove_folder(const Path& folder) {
    if (auto good = may("remove folder", folder); !good) return good;
    std::erase_if(state_.names,
                  [&](const auto& item) { return is_under(item.first, folder.string()); });
    state_.world().did(life_);
    return {};
}

Result<bool> SimDisk::make_folder(const Path& folder) {
    const auto name = folder.string();
    if (const auto found = state_.names.find(name); found != state_.names.end()) {
        if (!found->second) return false;
        return fail(ErrorKind::invalid, name + " is there and is not a folder");
    }
    if (auto good = may("make folder", folder); !good) return std::unexpected(good.error());
    state_.names[name] = nullptr;
    state_.world().did(life_);
    if (!life_->alive) return fail(ErrorKind::io, "dead");
    if (auto synced = sync_folder(folder.parent_path()); !synced) {
        return std::unexpected(synced.error());
    }
    return true;
}

Result<std::vector<std::string>> SimDisk::list_folder(const Path& folder) {
    if (!state_.names.contains(folder.string())) return missing(folder.string());
    std::vector<std::string> listed;
    for (const auto& [name, inode] : state_.names) {
        if (parent_of(name) == folder.string())
            listed.push_back(name.substr(parent_of(name).size() + 1));
    }
    return listed;
}

Result<std::int64_t> SimDisk::file_size(const Path& path) {
    if (const auto table = state_.tables.find(path.string()); table != state_.tables.end()) {
        return std::ssize(table->second->bytes);
    }
    const auto found = state_.names.find(path.string());
    if (found == state_.names.end() || !found->second) return missing(path.string());
    return std::ssize(bytes_of(found->second->fd));
}

Result<store::DiskSpace> SimDisk::space(const Path&) {
    return store::DiskSpace{.free_bytes = state_.free_bytes, .total_bytes = 200LL << 30};
}

Result<void> SimDisk::require_local(const Path&) { return {}; }

Result<int> SimDisk::lock_file(const Path& path) {
    if (state_.life && state_.life->alive && state_.life != life_) {
        return fail(ErrorKind::locked, path.string() + " is in use");
    }
    return memory_file("");
}

}  // namespace mayfly::sim
