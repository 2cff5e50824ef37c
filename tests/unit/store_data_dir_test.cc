#include "store/data_dir.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

namespace fs = std::filesystem;

const std::string kId = id_of(1);

SpoolFile file_with(const DataDir& dir, std::string_view content) {
    auto file = dir.create_file();
    EXPECT_TRUE(file);
    EXPECT_EQ(::write(file->fd(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
    return *std::move(file);
}

std::string content_of(const DataDir& dir, const std::string& run_id, std::string_view name) {
    auto fd = dir.open_file(run_id, name);
    if (!fd) return "error: " + fd.error().message;
    char text[64];
    const auto size = ::read(*fd, text, sizeof text);
    ::close(*fd);
    return {text, static_cast<std::size_t>(size)};
}

TEST(DataDirTest, MakesWhatIsMissingForItsOwnerOnly) {
    TempFolder folder;
    auto dir = DataDir::open(folder / "a/b/c/");
    ASSERT_TRUE(dir) << dir.error().message;
    for (const auto* name : {"a", "a/b", "a/b/c", "a/b/c/spool", "a/b/c/spool/.tmp"}) {
        EXPECT_EQ(fs::status(folder / name).permissions(), fs::perms(0700)) << name;
    }
    EXPECT_EQ(dir->database_file(), folder / "a/b/c/mayfly.db");
}

TEST(DataDirTest, IsHeldByOneAtATime) {
    TempFolder folder;
    {
        auto first = DataDir::open(folder / "d");
        ASSERT_TRUE(first);
        auto second = DataDir::open(folder / "d");
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().kind, ErrorKind::locked);
        EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid())),
                  std::string::npos)
            << second.error().message;
        const DataDir moved = *std::move(first);
        EXPECT_FALSE(DataDir::open(folder / "d")) << "the lock moves along";
    }
    EXPECT_TRUE(DataDir::open(folder / "d"));
}

TEST(DataDirTest, AFileInItsPlaceIsSaid) {
    TempFolder folder;
    std::ofstream(folder / "d") << "a file";
    auto dir = DataDir::open(folder / "d");
    ASSERT_FALSE(dir);
    EXPECT_EQ(dir.error().kind, ErrorKind::invalid);
    EXPECT_NE(dir.error().message.find((folder / "d").string()), std::string::npos);
    EXPECT_FALSE(DataDir::open(""));
}

TEST(DataDirTest, WhatIsPublishedSurvivesAndWhatIsNotGoes) {
    TempFolder folder;
    {
        auto dir = DataDir::open(folder / "d");
        auto file = file_with(*dir, "whole");
        ASSERT_TRUE(dir->publish(std::move(file), kId, kStdoutLog));
        auto open = file_with(*dir, "half");
        // As a crash leaves it.
        std::ofstream(folder / "d/spool/.tmp/left") << "over";
        fs::create_directories(folder / "d/spool/.tmp/folder/in it");
    }
    auto dir = DataDir::open(folder / "d");
    ASSERT_TRUE(dir);
    EXPECT_EQ(content_of(*dir, kId, kStdoutLog), "whole");
    EXPECT_TRUE(fs::is_empty(folder / "d/spool/.tmp"));
}

TEST(DataDirTest, AFileIsThereOnlyOncePublished) {
    TempFolder folder;
    auto dir = DataDir::open(folder / "d");
    fs::path path;
    {
        auto file = file_with(*dir, "x");
        path = file.path();
        EXPECT_TRUE(fs::exists(path));
        EXPECT_EQ(fs::status(path).permissions(), fs::perms(0600));
        EXPECT_NE(::fcntl(file.fd(), F_GETFD) & FD_CLOEXEC, 0);
        EXPECT_EQ(kind_of(dir->open_file(kId, kInputTar)), ErrorKind::not_found);
        EXPECT_EQ(kind_of(dir->file_size(kId, kInputTar)), ErrorKind::not_found);
        SpoolFile moved = std::move(file);
        file = std::move(moved);
        EXPECT_TRUE(file);
    }
    EXPECT_FALSE(fs::exists(path)) << "dropped without publishing";
}

TEST(DataDirTest, APublishReplaces) {
    TempFolder folder;
    auto dir = DataDir::open(folder / "d");
    ASSERT_TRUE(dir->publish(file_with(*dir, "first"), kId, kOutputTar));
    ASSERT_TRUE(dir->publish(file_with(*dir, "second one"), kId, kOutputTar));
    EXPECT_EQ(content_of(*dir, kId, kOutputTar), "second one");
    EXPECT_EQ(*dir->file_size(kId, kOutputTar), 10);
    EXPECT_EQ(dir->file_path(kId, kOutputTar), folder / "d/spool" / kId / "output.tar");
    EXPECT_TRUE(fs::is_empty(folder / "d/spool/.tmp"));
}

TEST(DataDirTest, NoPathIsMadeOfWhatIsNoIdOrName) {
    TempFolder folder;
    auto dir = DataDir::open(folder / "d");
    const std::pair<std::string, std::string_view> cases[] = {
        {"..", kInputTar},
        {"", kInputTar},
        {"../" + kId, kInputTar},
        {kId + "/", kInputTar},
        {kId, "../../mayfly.db"},
        {kId, "lock"},
        {kId, ""},
    };
    for (const auto& [run_id, name] : cases) {
        EXPECT_EQ(kind_of(dir->publish(file_with(*dir, "x"), run_id, name)), ErrorKind::invalid);
        EXPECT_EQ(kind_of(dir->open_file(run_id, name)), ErrorKind::invalid);
        EXPECT_EQ(kind_of(dir->file_size(run_id, name)), ErrorKind::invalid);
        EXPECT_EQ(kind_of(dir->remove_file(run_id, name)), ErrorKind::invalid);
    }
    EXPECT_EQ(kind_of(dir->remove_run("..")), ErrorKind::invalid);
    EXPECT_TRUE(fs::exists(folder / "d/lock"));
    EXPECT_EQ(kind_of(dir->publish(SpoolFile(), kId, kInputTar)), ErrorKind::invalid);
}

TEST(DataDirTest, RunFoldersAreThoseOfRuns) {
    TempFolder folder;
    auto dir = DataDir::open(folder / "d");
    for (std::int64_t n : {3, 1, 2}) {
        ASSERT_TRUE(dir->publish(file_with(*dir, "x"), id_of(n), kInputTar));
    }
    fs::create_directory(folder / "d/spool/lost+found");
    EXPECT_EQ(*dir->run_folders(), (std::vector{id_of(1), id_of(2), id_of(3)}));
    ASSERT_TRUE(dir->remove_run(id_of(2)));
    ASSERT_TRUE(dir->remove_run(id_of(2))) << "already gone is success";
    EXPECT_EQ(*dir->run_folders(), (std::vector{id_of(1), id_of(3)}));
    ASSERT_TRUE(dir->remove_file(id_of(1), kInputTar));
    ASSERT_TRUE(dir->remove_file(id_of(1), kInputTar));
    EXPECT_EQ(kind_of(dir->open_file(id_of(1), kInputTar)), ErrorKind::not_found);
}

TEST(DataDirTest, ALinkInTheSpoolIsNotFollowed) {
    TempFolder folder;
    auto dir = DataDir::open(folder / "d");
    ASSERT_TRUE(dir->publish(file_with(*dir, "x"), kId, kInputTar));
    std::ofstream(folder / "secret") << "secret";
    fs::create_symlink(folder / "secret", folder / "d/spool" / kId / "stdout.log");
    EXPECT_EQ(kind_of(dir->open_file(kId, kStdoutLog)), ErrorKind::io);
    ASSERT_TRUE(dir->remove_run(kId));
    EXPECT_TRUE(fs::exists(folder / "secret"));
}

TEST(DataDirTest, DiskSpaceIsThatOfItsFileSystem) {
    TempFolder folder;
    auto dir = DataDir::open(folder / "d");
    auto space = dir->disk_space();
    ASSERT_TRUE(space);
    EXPECT_GT(space->total_bytes, 0);
    EXPECT_LE(space->free_bytes, space->total_bytes);
}

}  // namespace
}  // namespace mayfly::store
