// A machine's disk: what the platters hold and what only the page cache does. A process crash
// loses nothing of it; a power loss keeps, drops or tears everything that was not synced, each by
// a coin of its own.
//
// Spool files are anonymous memory files, so that the product's own read, write and pread work on
// them. The database's files are kept write by write, through a SQLite VFS ("sim"), after the
// model of SQLite's own crash tests (src/test6.c).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "store/disk.h"
#include "tests/sim/world.h"

namespace mayfly::sim {

inline constexpr const char* kVfsName = "sim";

class DiskState {
public:
    explicit DiskState(World& world);
    ~DiskState();
    DiskState(const DiskState&) = delete;
    DiskState& operator=(const DiskState&) = delete;

    // ---- the spool
    struct Inode {
        int fd = -1;
        std::string durable;
        bool synced = false;  // nothing was lost if it were now
        ~Inode();
    };
    using InodePtr = std::shared_ptr<Inode>;
    using Names = std::map<std::string, InodePtr>;  // null: a folder

    Names names;    // as a process sees them
    Names durable;  // after the next power loss, unless luck has it otherwise

    [[nodiscard]] std::string read(const std::string& path) const;
    [[nodiscard]] bool exists(const std::string& path) const { return names.contains(path); }

    // ---- the database's files
    struct Write {
        std::int64_t offset = 0;  // negative: a truncation to `size`
        std::int64_t size = 0;
        std::string bytes;
    };
    struct Table {
        std::string bytes;
        std::string durable;
        std::vector<Write> unsynced;
        bool name_synced = false;
    };
    std::map<std::string, std::shared_ptr<Table>> tables;
    // Since the folder was last synced: a power loss may take each back.
    std::vector<std::pair<std::string, std::string>> table_renames;

    // The life whose SQLite connection uses the VFS now.
    LifePtr life;
    World& world() { return world_; }

    void power_loss();
    std::int64_t free_bytes = 100LL << 30;

private:
    void lose_names();
    void lose_contents();
    void lose_tables();
    World& world_;
};

// The disk as one process has it.
class SimDisk final : public store::Disk {
public:
    SimDisk(DiskState& state, LifePtr life) : state_(state), life_(std::move(life)) {}

    store::Result<int> create_file(const Path& path) override;
    store::Result<int> open_file(const Path& path) override;
    store::Result<void> sync_file(int fd, const Path& path) override;
    store::Result<void> sync_folder(const Path& folder) override;
    store::Result<void> rename_file(const Path& from, const Path& to) override;
    store::Result<void> remove_file(const Path& path) override;
    store::Result<void> remove_folder(const Path& folder) override;
    store::Result<bool> make_folder(const Path& folder) override;
    store::Result<std::vector<std::string>> list_folder(const Path& folder) override;
    store::Result<std::int64_t> file_size(const Path& path) override;
    store::Result<store::DiskSpace> space(const Path& folder) override;
    store::Result<void> require_local(const Path& folder) override;
    store::Result<int> lock_file(const Path& path) override;

private:
    [[nodiscard]] store::Result<void> may(std::string_view effect, const Path& path);
    DiskState& state_;
    LifePtr life_;
};

// The content of an anonymous memory file, and one made of bytes.
[[nodiscard]] std::string bytes_of(int fd);
[[nodiscard]] int memory_file(std::string_view bytes);

}  // namespace mayfly::sim
