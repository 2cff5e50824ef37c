#include "tests/sim/vfs.h"

#include <sqlite3.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace mayfly::sim {
namespace {

constexpr int kSectorBytes = 512;
constexpr int kPathMax = 512;

DiskState* mounted = nullptr;

struct File {
    sqlite3_file base;
    std::shared_ptr<DiskState::Table> table;
    LifePtr life;
    bool is_log = false;
};

File& file_of(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }

int close_file(sqlite3_file* file) {
    file_of(file).~File();
    return SQLITE_OK;
}

int read_file(sqlite3_file* file, void* into, int amount, sqlite3_int64 offset) {
    const auto& bytes = file_of(file).table->bytes;
    auto* out = static_cast<char*>(into);
    const auto size = static_cast<sqlite3_int64>(bytes.size());
    const auto got = static_cast<int>(
        std::max<sqlite3_int64>(0, std::min<sqlite3_int64>(amount, size - offset)));
    if (got > 0) std::memcpy(out, bytes.data() + offset, static_cast<std::size_t>(got));
    if (got == amount) return SQLITE_OK;
    std::memset(out + got, 0, static_cast<std::size_t>(amount - got));
    return SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* file, const void* from, int amount, sqlite3_int64 offset) {
    auto& it = file_of(file);
    if (!it.life->alive) return SQLITE_IOERR_WRITE;
    auto& table = *it.table;
    std::string bytes(static_cast<const char*>(from), static_cast<std::size_t>(amount));
    const auto end = static_cast<std::size_t>(offset) + bytes.size();
    if (table.bytes.size() < end) table.bytes.resize(end);
    table.bytes.replace(static_cast<std::size_t>(offset), bytes.size(), bytes);
    table.unsynced.push_back({offset, 0, std::move(bytes)});
    return SQLITE_OK;
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
    auto& it = file_of(file);
    if (!it.life->alive) return SQLITE_IOERR_TRUNCATE;
    it.table->bytes.resize(static_cast<std::size_t>(size));
    it.table->unsynced.push_back({-1, size, {}});
    return SQLITE_OK;
}

int sync_file(sqlite3_file* file, int) {
    auto& it = file_of(file);
    auto& world = mounted->world();
    if (!world.may(it.life, it.is_log ? "commit" : "checkpoint")) return SQLITE_IOERR_FSYNC;
    auto& table = *it.table;
    for (const auto& write : table.unsynced) {
        if (write.offset < 0) {
            table.durable.resize(static_cast<std::size_t>(write.size));
            continue;
        }
        const auto end = static_cast<std::size_t>(write.offset) + write.bytes.size();
        if (table.durable.size() < end) table.durable.resize(end);
        table.durable.replace(static_cast<std::size_t>(write.offset), write.bytes.size(),
                              write.bytes);
    }
    table.unsynced.clear();
    table.name_synced = true;
    world.did(it.life);
    return it.life->alive ? SQLITE_OK : SQLITE_IOERR_FSYNC;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
    *size = static_cast<sqlite3_int64>(file_of(file).table->bytes.size());
    return SQLITE_OK;
}

int no_lock(sqlite3_file*, int) { return SQLITE_OK; }

int check_lock(sqlite3_file*, int* held) {
    *held = 0;
    return SQLITE_OK;
}

int control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sector_size(sqlite3_file*) { return kSectorBytes; }
int characteristics(sqlite3_file*) { return 0; }

const sqlite3_io_methods kMethods = {
    .iVersion = 1,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = sync_file,
    .xFileSize = file_size,
    .xLock = no_lock,
    .xUnlock = no_lock,
    .xCheckReservedLock = check_lock,
    .xFileControl = control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = nullptr,
    .xShmLock = nullptr,
    .xShmBarrier = nullptr,
    .xShmUnmap = nullptr,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

int open_file(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    file->pMethods = nullptr;
    if (mounted == nullptr || name == nullptr) return SQLITE_CANTOPEN;
    auto found = mounted->tables.find(name);
    if (found == mounted->tables.end()) {
        if ((flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
        found = mounted->tables.emplace(name, std::make_shared<DiskState::Table>()).first;
    }
    auto* made = new (file) File();
    made->base.pMethods = &kMethods;
    made->table = found->second;
    made->life = mounted->life;
    made->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
}

int delete_file(sqlite3_vfs*, const char* name, int) {
    if (!mounted->life->alive) return SQLITE_IOERR_DELETE;
    mounted->tables.erase(name);
    return SQLITE_OK;
}

int access_file(sqlite3_vfs*, const char* name, int, int* there) {
    *there = mounted->tables.contains(name) ? 1 : 0;
    return SQLITE_OK;
}

int full_name(sqlite3_vfs*, const char* name, int size, char* out) {
    std::strncpy(out, name, static_cast<std::size_t>(size));
    out[size - 1] = '\0';
    return SQLITE_OK;
}

int randomness(sqlite3_vfs*, int amount, char* out) {
    auto& rng = mounted->world().rng(Stream::nonces);
    for (int i = 0; i < amount; ++i) out[i] = static_cast<char>(rng.next());
    return amount;
}

int no_sleep(sqlite3_vfs*, int microseconds) { return microseconds; }

int current_time(sqlite3_vfs*, double* julian_day) {
    *julian_day = 2'440'587.5 + static_cast<double>(mounted->world().now_ms()) / 86'400'000.0;
    return SQLITE_OK;
}

int last_error(sqlite3_vfs*, int, char*) { return 0; }

sqlite3_vfs vfs = {
    .iVersion = 1,
    .szOsFile = sizeof(File),
    .mxPathname = kPathMax,
    .pNext = nullptr,
    .zName = kVfsName,
    .pAppData = nullptr,
    .xOpen = open_file,
    .xDelete = delete_file,
    .xAccess = access_file,
    .xFullPathname = full_name,
    .xDlOpen = nullptr,
    .xDlError = nullptr,
    .xDlSym = nullptr,
    .xDlClose = nullptr,
    .xRandomness = randomness,
    .xSleep = no_sleep,
    .xCurrentTime = current_time,
    .xGetLastError = last_error,
    .xCurrentTimeInt64 = nullptr,
    .xSetSystemCall = nullptr,
    .xGetSystemCall = nullptr,
    .xNextSystemCall = nullptr,
};

}  // namespace

void mount_vfs(DiskState* disk) {
    static const int registered = sqlite3_vfs_register(&vfs, 0);
    if (registered != SQLITE_OK) std::abort();
    mounted = disk;
}

}  // namespace mayfly::sim
