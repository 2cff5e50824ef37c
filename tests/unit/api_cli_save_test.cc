// Artifacts into a folder: whatever their paths are and whatever lies there, nothing lands
// outside.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "api/cli/save.h"
#include "api/cli/save_path.h"
#include "store/sha256.h"

namespace mayfly::api::cli {
namespace {

namespace fs = std::filesystem;

TEST(CliSavePath, RefusesWhatIsNoPlainRelativePath) {
    for (const std::string& path :
         {std::string(), std::string("/etc/passwd"), std::string(".."), std::string("../x"),
          std::string("a/../b"), std::string("a/.."), std::string("."), std::string("./a"),
          std::string("a//b"), std::string("a/"), std::string("a\0b", 3), std::string(256, 'x'),
          "a/" + std::string(256, 'x')}) {
        EXPECT_FALSE(split_save_path(path)) << path;
    }
    EXPECT_EQ(split_save_path("report.md")->size(), 1U);
    EXPECT_EQ(split_save_path("a/b/c..d/...")->size(), 4U);
    EXPECT_EQ(split_save_path("..a\\b\n")->front(), "..a\\b\n");
}

class CliSave : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "/cli-save-XXXXXX";
        root_ = ::mkdtemp(name.data());
        out_ = root_ / "out";
    }
    void TearDown() override { fs::remove_all(root_); }

    std::string save(std::string_view path, std::string_view content, std::uint32_t mode = 0644) {
        auto folder = SaveFolder::open(out_.string());
        if (!folder) return folder.error();
        auto file = SavedFile::begin(*folder, path);
        if (!file) return file.error();
        if (auto written = file->write(content); !written) return written.error();
        auto done = file->commit(store::sha256_hex(content), mode);
        return done ? "" : done.error();
    }
    static std::string content_of(const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    [[nodiscard]] std::size_t entries() const {
        std::size_t count = 0;
        for (const auto& entry : fs::recursive_directory_iterator(root_)) {
            count += !entry.is_directory();
        }
        return count;
    }

    fs::path root_;
    fs::path out_;
};

TEST_F(CliSave, MakesFoldersAndReplacesFiles) {
    EXPECT_EQ(save("a/b/report.md", "one"), "");
    EXPECT_EQ(save("a/b/report.md", "two", 0755), "");
    EXPECT_EQ(content_of(out_ / "a/b/report.md"), "two");
    struct stat facts{};
    ASSERT_EQ(::stat((out_ / "a/b/report.md").c_str(), &facts), 0);
    EXPECT_NE(facts.st_mode & 0100U, 0U);
    EXPECT_EQ(facts.st_mode & 07000U, 0U);
    EXPECT_EQ(entries(), 1U);
}

TEST_F(CliSave, NeverGivesMoreThanPermissionBits) {
    EXPECT_EQ(save("program", "x", 06755), "");
    struct stat facts{};
    ASSERT_EQ(::stat((out_ / "program").c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 07000U, 0U);
}

TEST_F(CliSave, FollowsNoLinkOnTheWay) {
    fs::create_directories(out_);
    fs::create_directories(root_ / "outside");
    fs::create_directory_symlink(root_ / "outside", out_ / "link");
    EXPECT_NE(save("link/evil", "x"), "");
    EXPECT_NE(save("link/deep/evil", "x"), "");
    EXPECT_TRUE(fs::is_empty(root_ / "outside"));
}

TEST_F(CliSave, ReplacesALinkAndNotWhatItPointsTo) {
    fs::create_directories(out_);
    std::ofstream(root_ / "precious") << "mine";
    fs::create_symlink(root_ / "precious", out_ / "report.md");
    EXPECT_EQ(save("report.md", "theirs"), "");
    EXPECT_EQ(content_of(root_ / "precious"), "mine");
    EXPECT_FALSE(fs::is_symlink(out_ / "report.md"));
    EXPECT_EQ(content_of(out_ / "report.md"), "theirs");
}

TEST_F(CliSave, WritesNothingOutsideForAPathThatTries) {
    for (const char* path : {"../evil", "a/../../evil", "/evil", ""}) {
        EXPECT_NE(save(path, "x"), "") << path;
    }
    EXPECT_EQ(entries(), 0U);
}

TEST_F(CliSave, LeavesNothingOfAFileThatCameDamaged) {
    auto folder = SaveFolder::open(out_.string());
    ASSERT_TRUE(folder);
    {
        auto file = SavedFile::begin(*folder, "report.md");
        ASSERT_TRUE(file);
        ASSERT_TRUE(file->write("half"));
        const auto done = file->commit(store::sha256_hex("whole"), 0644);
        ASSERT_FALSE(done);
        EXPECT_NE(done.error().find("damaged"), std::string::npos);
    }
    EXPECT_EQ(entries(), 0U);
}

TEST_F(CliSave, StartsAgainFromNothing) {
    auto folder = SaveFolder::open(out_.string());
    auto file = SavedFile::begin(*folder, "report.md");
    ASSERT_TRUE(file->write("half of it"));
    ASSERT_TRUE(file->restart());
    ASSERT_TRUE(file->write("whole"));
    ASSERT_TRUE(file->commit(store::sha256_hex("whole"), 0644));
    EXPECT_EQ(content_of(out_ / "report.md"), "whole");
}

TEST_F(CliSave, SaysWhatIsInTheWay) {
    ASSERT_EQ(save("name", "x"), "");
    EXPECT_NE(save("name/below", "x").find("where a folder must be"), std::string::npos);
    fs::create_directories(out_ / "folder");
    EXPECT_NE(save("folder", "x"), "");
    EXPECT_EQ(entries(), 1U);
}

}  // namespace
}  // namespace mayfly::api::cli
