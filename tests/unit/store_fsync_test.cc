// What reaches the disk, and what happens when it does not. This program's own fsync and fdatasync
// stand before libc's, also for SQLite: while a test listens they are written down, and one of
// them can be made to fail.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "store/data_dir.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

namespace fs = std::filesystem;

struct Syncs {
    std::mutex mutex;
    bool listening = false;
    std::vector<std::string> paths;
    std::size_t fail_at = SIZE_MAX;  // this one, counted from 0, says EIO
};
Syncs syncs;

int sync_by(long number, int fd) {
    {
        const std::lock_guard lock(syncs.mutex);
        if (syncs.listening) {
            std::error_code ignored;
            const auto path = fs::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored);
            syncs.paths.push_back(path.string());
            if (syncs.paths.size() == syncs.fail_at + 1) {
                errno = EIO;
                return -1;
            }
        }
    }
    return static_cast<int>(::syscall(number, fd));
}

class Listen {
public:
    explicit Listen(std::size_t fail_at = SIZE_MAX) {
        const std::lock_guard lock(syncs.mutex);
        syncs.paths.clear();
        syncs.fail_at = fail_at;
        syncs.listening = true;
    }
    ~Listen() { (void)heard(); }
    Listen(const Listen&) = delete;
    Listen& operator=(const Listen&) = delete;
    std::vector<std::string> heard() {
        const std::lock_guard lock(syncs.mutex);
        syncs.listening = false;
        return syncs.paths;
    }
};

SpoolFile some_file(const DataDir& dir) {
    auto file = dir.create_file();
    EXPECT_EQ(::write(file->fd(), "x", 1), 1);
    return *std::move(file);
}

TEST(Fsync, APublishSyncsFileAndFolders) {
    TempFolder folder;
    auto dir = DataDir::open(folder.path());
    const auto id = id_of(1);
    const std::string spool = folder / "spool";
    const std::string run_folder = folder / ("spool/" + id);
    {
        auto file = some_file(*dir);
        const std::string tmp = file.path();
        Listen listen;
        ASSERT_TRUE(dir->publish(std::move(file), id, kInputTar));
        EXPECT_EQ(listen.heard(), (std::vector{tmp, spool, run_folder}));
    }
    auto file = some_file(*dir);
    const std::string tmp = file.path();
    Listen listen;
    ASSERT_TRUE(dir->publish(std::move(file), id, kStdoutLog));
    EXPECT_EQ(listen.heard(), (std::vector{tmp, run_folder})) << "the folder is known by now";
}

TEST(Fsync, APublishWhoseSyncFailsIsNone) {
    for (std::size_t at : {0U, 1U, 2U}) {
        TempFolder folder;
        auto dir = DataDir::open(folder.path());
        auto file = some_file(*dir);
        Listen listen(at);
        EXPECT_EQ(kind_of(dir->publish(std::move(file), id_of(1), kInputTar)), ErrorKind::io)
            << at;
        EXPECT_EQ(listen.heard().size(), at + 1) << "it goes no further";
        EXPECT_TRUE(fs::is_empty(folder / "spool/.tmp")) << at;
        EXPECT_EQ(dir->run_folders()->empty(), at < 2) << at;
    }
}

TEST(Fsync, ADataDirectoryIsDurableWhenItIsOpen) {
    TempFolder folder;
    Listen listen;
    auto dir = DataDir::open(folder / "a/b");
    const auto heard = listen.heard();
    for (const auto& path : {folder.path(), folder / "a", folder / "a/b", folder / "a/b/spool"}) {
        EXPECT_NE(std::ranges::find(heard, path.string()), heard.end()) << path;
    }
}

TEST(Fsync, ANewDatabaseHasADurableName) {
    TempFolder folder;
    Listen listen;
    auto db = open_database(folder / "mayfly.db");
    const auto heard = listen.heard();
    EXPECT_NE(std::ranges::find(heard, folder.path().string()), heard.end());
}

TEST(Fsync, EveryCommitSyncsTheLog) {
    TempFolder folder;
    auto db = open_database(folder / "mayfly.db");
    const std::string wal = folder / "mayfly.db-wal";
    for (std::int64_t n = 1; n <= 10; ++n) {
        Listen listen;
        ASSERT_TRUE(create(*db, new_run(n)));
        const auto heard = listen.heard();
        EXPECT_GE(std::ranges::count(heard, wal), 1) << "commit " << n;
    }
}

TEST(Fsync, ACommitWhoseSyncFailsSaysSo) {
    TempFolder folder;
    auto db = open_database(folder / "mayfly.db");
    ASSERT_TRUE(create(*db, new_run(1)));
    ASSERT_TRUE(db->begin());
    ASSERT_TRUE(db->create_run(new_run(2)));
    Listen listen(0);
    EXPECT_EQ(kind_of(db->commit()), ErrorKind::io);
    EXPECT_EQ(listen.heard().size(), 1U);
    db->rollback();
}

}  // namespace
}  // namespace mayfly::store

extern "C" int fsync(int fd) { return mayfly::store::sync_by(SYS_fsync, fd); }
extern "C" int fdatasync(int fd) { return mayfly::store::sync_by(SYS_fdatasync, fd); }
