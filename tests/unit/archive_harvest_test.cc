// The reader of untrusted archives against archives made by hand, byte by byte, and by libarchive.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "controller/archive/harvest_reader.h"
#include "store/sha256.h"

namespace mayfly::controller {
namespace {

constexpr std::size_t kBlock = 512;
constexpr HarvestLimits kRoomy = {.artifact_bytes = 16 << 20, .artifact_files = 100};

// A file in memory.
class Scratch {
public:
    explicit Scratch(std::string_view content = {}) : fd_(memfd_create("harvest", MFD_CLOEXEC)) {
        EXPECT_EQ(write(fd_, content.data(), content.size()), std::ssize(content));
    }
    ~Scratch() { close(fd_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] std::int64_t size() const { return lseek(fd_, 0, SEEK_END); }
    [[nodiscard]] std::string range(std::int64_t offset, std::int64_t size) const {
        std::string bytes(static_cast<std::size_t>(size), '\0');
        EXPECT_EQ(pread(fd_, bytes.data(), bytes.size(), offset), size);
        return bytes;
    }

private:
    int fd_;
};

// Writes headers that no sane program writes.
class RawTar {
public:
    RawTar& entry(char type, std::string_view name, std::string_view content = {},
                  std::string_view link = {}, std::string_view size_field = {}) {
        std::array<char, kBlock> header{};
        const auto put = [&header](std::size_t at, std::string_view text) {
            std::ranges::copy(text, header.begin() + static_cast<std::ptrdiff_t>(at));
        };
        std::array<char, 16> octal{};
        snprintf(octal.data(), octal.size(), "%011zo", content.size());
        put(0, name.substr(0, 100));
        put(100, "0000644");
        put(108, "0023421");
        put(116, "0023421");
        put(124, size_field.empty() ? std::string_view(octal.data()) : size_field);
        put(136, "00000000144");
        put(148, "        ");
        put(156, {&type, 1});
        put(157, link.substr(0, 100));
        put(257, std::string_view("ustar\00000", 8));
        unsigned sum = 0;
        for (const char byte : header) sum += static_cast<unsigned char>(byte);
        snprintf(octal.data(), octal.size(), "%06o", sum);
        put(148, std::string_view(octal.data(), 7));
        bytes_.append(header.data(), header.size());
        return raw(content);
    }
    RawTar& raw(std::string_view content) {
        bytes_ += content;
        bytes_.resize((bytes_.size() + kBlock - 1) / kBlock * kBlock);
        return *this;
    }
    RawTar& root() { return entry('5', "output/"); }
    RawTar& file(std::string_view name, std::string_view content) {
        return entry('0', name, content);
    }
    RawTar& pax(std::string_view records) { return entry('x', "PaxHeader", records); }
    [[nodiscard]] std::string end() const { return bytes_ + std::string(2 * kBlock, '\0'); }
    [[nodiscard]] const std::string& so_far() const { return bytes_; }

private:
    std::string bytes_;
};

std::string pax_record(const std::string& key, const std::string& value) {
    const std::string rest = " " + key + "=" + value + "\n";
    std::size_t length = rest.size() + 1;
    while (std::to_string(length).size() + rest.size() != length) ++length;
    return std::to_string(length) + rest;
}

struct Harvest {
    std::expected<HarvestIndex, HarvestError> index;
    std::unique_ptr<Scratch> out;

    [[nodiscard]] std::string kept() const {
        std::string list;
        for (const store::Artifact& artifact : index->artifacts) {
            list += artifact.path + "=" + out->range(artifact.offset, artifact.size) + ";";
        }
        return list;
    }
    [[nodiscard]] std::string skipped() const {
        std::string list;
        for (const store::SkippedArtifact& one : index->skipped) {
            list += one.path + ":" + one.reason + ";";
        }
        return list;
    }
};

Harvest harvest(std::string_view tar, const HarvestLimits& limits = kRoomy) {
    const Scratch in(tar);
    auto out = std::make_unique<Scratch>();
    auto index = read_harvest(in.fd(), out->fd(), limits);
    return {std::move(index), std::move(out)};
}

std::string why(const Harvest& result) { return result.index ? "" : result.index.error().message; }

TEST(Harvest, RegularFilesAreKeptWithSizeHashModeAndPlace) {
    const std::string big(70'000, 'b');
    const Harvest result = harvest(RawTar()
                                       .root()
                                       .file("output/z.txt", "last")
                                       .entry('5', "output/sub/")
                                       .file("output/sub/big", big)
                                       .file("output/empty", "")
                                       .end());
    ASSERT_TRUE(result.index) << why(result);
    ASSERT_EQ(result.index->artifacts.size(), 3U);
    EXPECT_EQ(result.kept(), "empty=;sub/big=" + big + ";z.txt=last;");
    EXPECT_EQ(result.index->artifacts[1].sha256, store::sha256_hex(big));
    EXPECT_EQ(result.index->artifacts[1].mode, 0644U);
    EXPECT_EQ(result.index->skipped_count, 0);
    EXPECT_EQ(result.index->output_tar_bytes, result.out->size());
    EXPECT_EQ(result.index->exit_record_json, "");
    EXPECT_FALSE(result.index->result_text);
}

TEST(Harvest, WhatItWritesIsATarThatItReads) {
    const std::string name(180, 'n');
    const std::string once = RawTar()
                                 .root()
                                 .pax(pax_record("path", "output/" + name + "/\xc3\xa4"))
                                 .file("output/short", "one")
                                 .file("output/two", "two")
                                 .end();
    const Harvest result = harvest(once);
    ASSERT_TRUE(result.index) << why(result);
    EXPECT_EQ(result.kept(), name + "/\xc3\xa4=one;two=two;");
    // Its names have no output/ in front and there is no folder; so only its structure is looked
    // at.
    struct Reader {
        void operator()(archive* reader) const { archive_read_free(reader); }
    };
    const std::unique_ptr<archive, Reader> reader(archive_read_new());
    archive_read_support_format_tar(reader.get());
    lseek(result.out->fd(), 0, SEEK_SET);
    ASSERT_EQ(archive_read_open_fd(reader.get(), result.out->fd(), 512), ARCHIVE_OK);
    std::vector<std::string> names;
    archive_entry* entry = nullptr;
    while (archive_read_next_header(reader.get(), &entry) != ARCHIVE_EOF) {
        names.emplace_back(archive_entry_pathname(entry));
        EXPECT_EQ(archive_entry_filetype(entry), unsigned{AE_IFREG});
    }
    EXPECT_EQ(names, (std::vector<std::string>{name + "/\xc3\xa4", "two"}));
}

struct Hostile {
    const char* sentence;
    std::string tar;
    std::string kept;
    std::string skipped;
};

class HostileHarvest : public testing::TestWithParam<Hostile> {};

TEST_P(HostileHarvest, IsKeptOrSkippedWithAReason) {
    const Harvest result = harvest(GetParam().tar);
    ASSERT_TRUE(result.index) << GetParam().sentence << ": " << why(result);
    EXPECT_EQ(result.kept(), GetParam().kept) << GetParam().sentence;
    EXPECT_EQ(result.skipped(), GetParam().skipped) << GetParam().sentence;
    EXPECT_EQ(result.index->skipped_count, std::ssize(result.index->skipped));
}

INSTANTIATE_TEST_SUITE_P(
    Table, HostileHarvest,
    testing::Values(
        Hostile{"nothing was left", RawTar().root().end(), "", ""},
        Hostile{"a link to a secret",
                RawTar().root().entry('2', "output/l", "", "/etc/shadow").end(), "",
                "output/l:symlink;"},
        Hostile{
            "a file through a link",
            RawTar().root().entry('2', "output/d", "", "/etc").file("output/d/passwd", "x").end(),
            "d/passwd=x;", "output/d:symlink;"},
        Hostile{
            "a second name of a file",
            RawTar().root().file("output/a", "same").entry('1', "output/b", "", "output/a").end(),
            "a=same;b=same;", ""},
        Hostile{"a third name by way of the second",
                RawTar()
                    .root()
                    .file("output/a", "same")
                    .entry('1', "output/b", "", "output/a")
                    .entry('1', "output/c", "", "output/b")
                    .end(),
                "a=same;b=same;c=same;", ""},
        Hostile{"a hard link to outside",
                RawTar().root().entry('1', "output/b", "", "/etc/shadow").end(), "",
                "output/b:hardlink;"},
        Hostile{"a hard link to what comes later",
                RawTar().root().entry('1', "output/a", "", "output/b").file("output/b", "x").end(),
                "b=x;", "output/a:hardlink;"},
        Hostile{"a hard link to itself",
                RawTar().root().entry('1', "output/a", "", "output/a").end(), "",
                "output/a:hardlink;"},
        Hostile{"a hard link to a symbolic one",
                RawTar()
                    .root()
                    .entry('2', "output/l", "", "/etc/shadow")
                    .entry('1', "output/b", "", "output/l")
                    .end(),
                "", "output/l:symlink;output/b:hardlink;"},
        Hostile{"a hard link into our folder",
                RawTar()
                    .root()
                    .file("output/.mayfly/x", "x")
                    .entry('1', "output/b", "", "output/.mayfly/x")
                    .end(),
                "", "output/b:hardlink;"},
        Hostile{"devices and a FIFO",
                RawTar()
                    .root()
                    .entry('3', "output/c")
                    .entry('4', "output/b")
                    .entry('6', "output/f")
                    .end(),
                "", "output/c:device;output/b:device;output/f:fifo;"},
        Hostile{"the same name twice",
                RawTar().root().file("output/a", "first").file("output/a", "second").end(),
                "a=first;", "output/a:duplicate;"},
        Hostile{"names that differ by case only",
                RawTar().root().file("output/a", "1").file("output/A", "2").end(), "A=2;a=1;", ""},
        Hostile{"up and away", RawTar().root().file("output/../../etc/cron.d/x", "x").end(), "",
                "output/../../etc/cron.d/x:bad_name;"},
        Hostile{"absolute", RawTar().root().file("/etc/passwd", "x").end(), "",
                "/etc/passwd:bad_name;"},
        Hostile{"a line feed and a lone byte", RawTar().root().file("output/a\n\xff", "x").end(),
                "", "output/a%0A%FF:bad_name;"},
        Hostile{"a lone byte in a PAX name",
                RawTar()
                    .root()
                    .pax(pax_record("path", "output/\xff"))
                    .file("output/x", "x")
                    .file("output/y", "y")
                    .end(),
                "y=y;", "output/%FF:bad_name;"},
        Hostile{"not ASCII in a PAX name",
                RawTar()
                    .root()
                    .pax(pax_record("path", "output/\xe2\x82\xac"))
                    .file("output/x", "x")
                    .end(),
                "\xe2\x82\xac=x;", ""},
        Hostile{"capabilities in a PAX header",
                RawTar()
                    .root()
                    .pax(pax_record("SCHILY.xattr.security.capability",
                                    std::string("\1\0\0\2\xff\xff\xff\xff", 8)))
                    .file("output/x", "x")
                    .end(),
                "x=x;", ""},
        Hostile{"too deep",
                RawTar()
                    .root()
                    .file(
                        "output/" +
                            [] {
                                std::string path;
                                for (int i = 0; i < 40; ++i) path += "d/";
                                return path;
                            }() +
                            "x",
                        "x")
                    .end(),
                "",
                "output/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/"
                "d/d/d/x:too_deep;"},
        Hostile{"our folder is ours",
                RawTar()
                    .root()
                    .entry('5', "output/.mayfly/")
                    .file("output/.mayfly/junk", "x")
                    .file("output/.mayfly/a/b", "x")
                    .file("output/.mayfly2", "theirs")
                    .end(),
                ".mayfly2=theirs;", ""},
        Hostile{"folders with bad names are no loss",
                RawTar().root().entry('5', "output/\xff/").end(), "", ""},
        Hostile{"another type", RawTar().root().entry('7', "output/x", "x").end(), "x=x;", ""},
        Hostile{"a tar inside", RawTar().root().file("output/t", RawTar().root().end()).end(),
                "t=" + RawTar().root().end() + ";", ""},
        Hostile{"more zero blocks than needed",
                RawTar().root().file("output/a", "1").end() + std::string(9 * kBlock, '\0'),
                "a=1;", ""},
        Hostile{"by another way", RawTar().entry('5', "./").file("./a", "1").end(), "a=1;", ""}));

// What PID 1 counts as well: every regular name, kept or not, and none of ours.
TEST(Harvest, CountsEveryRegularNameThatItSees) {
    const Harvest result = harvest(RawTar()
                                       .root()
                                       .file("output/.mayfly/exit.json", "{record}")
                                       .file("output/a", "12345")
                                       .file("output/bad\x01name", "123")
                                       .entry('2', "output/link", "", "a")
                                       .entry('1', "output/twin", "", "output/a")
                                       .end());
    ASSERT_TRUE(result.index) << why(result);
    EXPECT_EQ(result.index->seen_files, 3);
    EXPECT_EQ(result.index->seen_bytes, 13);
}

// -------------------------------------------------------------------------- ours

TEST(Harvest, RecordAndResultComeFromOurFolder) {
    const Harvest result = harvest(RawTar()
                                       .root()
                                       .file("output/.mayfly/exit.json", "{record}")
                                       .file("output/.mayfly/result.json", "{result}")
                                       .file("output/exit.json", "theirs")
                                       .end());
    ASSERT_TRUE(result.index) << why(result);
    EXPECT_EQ(result.index->exit_record_json, "{record}");
    EXPECT_EQ(result.index->result_text, "{result}");
    EXPECT_EQ(result.index->result_error, "");
    EXPECT_EQ(result.kept(), "exit.json=theirs;");
}

TEST(Harvest, AResultThatCannotBeUsedSaysWhy) {
    const std::string_view name = "output/.mayfly/result.json";
    struct Case {
        std::string tar;
        std::string_view says;
    };
    const std::vector<Case> cases = {
        {RawTar().root().file(name, std::string(11, '1')).end(), "larger than 10 bytes"},
        {RawTar().root().entry('5', "output/.mayfly/result.json/").end(), "not a regular file"},
        {RawTar().root().entry('2', name, "", "/etc/passwd").end(), "not a regular file"},
        {RawTar().root().entry('6', name).end(), "not a regular file"},
        {RawTar().root().file("output/a", "1").entry('1', name, "", "output/a").end(),
         "not a regular file"},
    };
    HarvestLimits limits = kRoomy;
    limits.result_bytes = 10;
    for (const Case& expected : cases) {
        const Harvest result = harvest(expected.tar, limits);
        ASSERT_TRUE(result.index) << why(result);
        EXPECT_FALSE(result.index->result_text);
        EXPECT_NE(result.index->result_error.find(expected.says), std::string::npos)
            << result.index->result_error;
    }
}

TEST(Harvest, ARecordThatIsTooLargeOrNoFileIsNone) {
    const std::string_view name = "output/.mayfly/exit.json";
    for (const std::string& tar : {RawTar().root().file(name, std::string(4097, ' ')).end(),
                                   RawTar().root().entry('2', name, "", "x").end()}) {
        const Harvest result = harvest(tar);
        ASSERT_TRUE(result.index) << why(result);
        EXPECT_EQ(result.index->exit_record_json, "");
    }
}

// ------------------------------------------------------------------------- limits

TEST(HarvestLimit, EachIsNamedWithItsValueAndTheRecordIsStillRead) {
    RawTar tar;
    tar.root().file("output/a", "12345").file("output/b", "12345");
    tar.entry('1', "output/c", "", "output/a").file("output/.mayfly/exit.json", "{record}");
    struct Case {
        const char* sentence;
        HarvestLimits limits;
        std::string_view says;
    };
    const std::vector<Case> cases = {
        {"exactly enough", {.artifact_bytes = 15, .artifact_files = 3, .entries = 5}, ""},
        {"a byte too many in a link",
         {.artifact_bytes = 14, .artifact_files = 3},
         "artifact_bytes: the files in output/ hold, in bytes, more than 14, the limit"},
        {"a byte too many", {.artifact_bytes = 9, .artifact_files = 3}, "more than 9,"},
        {"a file too many",
         {.artifact_bytes = 15, .artifact_files = 2},
         "artifact_files: there are files in output/: more than 2, the limit"},
        {"none allowed", {.artifact_bytes = 15, .artifact_files = 0}, "artifact_files"},
        {"an entry too many",
         {.artifact_bytes = 15, .artifact_files = 3, .entries = 4},
         "entries: the archive of output/ has more than 4, the limit"},
    };
    for (const Case& expected : cases) {
        const Harvest result = harvest(tar.end(), expected.limits);
        if (expected.says.empty()) {
            EXPECT_TRUE(result.index) << expected.sentence << ": " << why(result);
            continue;
        }
        ASSERT_FALSE(result.index) << expected.sentence;
        EXPECT_EQ(result.index.error().kind, HarvestError::Kind::over_limit);
        EXPECT_NE(why(result).find(expected.says), std::string::npos) << why(result);
        EXPECT_EQ(result.index.error().exit_record_json, "{record}") << expected.sentence;
        EXPECT_LE(result.out->size(), expected.limits.artifact_bytes + 3 * 512 + 3 * 512);
    }
}

TEST(HarvestLimit, NothingOverItIsWritten) {
    const std::string tar = RawTar().root().file("output/a", std::string(5 << 20, 'x')).end();
    const Harvest result = harvest(tar, {.artifact_bytes = 1 << 20, .artifact_files = 1});
    ASSERT_FALSE(result.index);
    EXPECT_EQ(result.out->size(), 0);
}

TEST(HarvestLimit, TheListOfWhatWasSkippedIsBoundedTheCountIsNot) {
    RawTar tar;
    tar.root();
    for (int i = 0; i < 500; ++i) tar.entry('6', "output/f" + std::to_string(i));
    const Harvest result = harvest(tar.end());
    ASSERT_TRUE(result.index) << why(result);
    EXPECT_EQ(result.index->skipped.size(), store::kMaxSkippedListed);
    EXPECT_EQ(result.index->skipped_count, 500);
}

// A hole is zeros, and counts with its full size before a byte of it is written.
TEST(HarvestLimit, ASparseFileIsExpandedWithinTheLimits) {
    const std::string map = "1\n1048576\n4\n";
    RawTar tar;
    tar.root();
    tar.pax(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
            pax_record("GNU.sparse.name", "output/holes") +
            pax_record("GNU.sparse.realsize", "3145728"));
    std::string content = map;
    content.resize(kBlock);
    tar.file("output/GNUSparseFile.1/holes", content + "data");
    const Harvest result = harvest(tar.end(), {.artifact_bytes = 3145728, .artifact_files = 1});
    ASSERT_TRUE(result.index) << why(result);
    std::string expected(3145728, '\0');
    expected.replace(1048576, 4, "data");
    EXPECT_TRUE(result.kept() == "holes=" + expected + ";");

    const Harvest over = harvest(tar.end(), {.artifact_bytes = 3145727, .artifact_files = 1});
    ASSERT_FALSE(over.index);
    EXPECT_EQ(over.index.error().kind, HarvestError::Kind::over_limit);
    EXPECT_EQ(over.out->size(), 0);
}

// -------------------------------------------------------------------------- whole?

TEST(TornHarvest, IsAnErrorWhereverItWasCut) {
    RawTar tar;
    tar.root().file("output/a", std::string(1500, 'a')).file("output/zeros", std::string(2048, 0));
    tar.entry('2', "output/l", "", "a").entry('1', "output/h", "", "output/a");
    tar.file("output/.mayfly/exit.json", "{}").pax(pax_record("path", "output/long"));
    tar.file("output/x", std::string(600, '\0'));
    const std::string whole = tar.end();
    ASSERT_TRUE(harvest(whole).index);
    std::mt19937 random(20261124);
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < whole.size(); at += kBlock) cuts.push_back(at);
    for (int i = 0; i < 300; ++i) cuts.push_back(random() % whole.size());
    cuts.push_back(whole.size() - 1);
    for (const std::size_t at : cuts) {
        const Harvest result = harvest(whole.substr(0, at));
        ASSERT_FALSE(result.index) << "cut at " << at << " of " << whole.size();
        EXPECT_EQ(result.index.error().kind, HarvestError::Kind::torn) << at;
    }
}

// As archive_write pads it: GNU tar's and libarchive's blocks of 10 KiB.
TEST(TornHarvest, ALibarchiveTarIsWholeAndItsCutsAreNot) {
    struct Writer {
        void operator()(archive* writer) const { archive_write_free(writer); }
    };
    std::string tar(256 << 10, '\0');
    std::size_t used = 0;
    {
        const std::unique_ptr<archive, Writer> writer(archive_write_new());
        archive_write_set_format_pax_restricted(writer.get());
        ASSERT_EQ(archive_write_open_memory(writer.get(), tar.data(), tar.size(), &used),
                  ARCHIVE_OK);
        for (const char* name : {"output", "output/a", "output/b"}) {
            archive_entry* entry = archive_entry_new();
            archive_entry_set_pathname(entry, name);
            const bool folder = std::string_view(name) == "output";
            archive_entry_set_filetype(entry, folder ? AE_IFDIR : AE_IFREG);
            archive_entry_set_perm(entry, 04755);
            archive_entry_set_size(entry, folder ? 0 : 3000);
            ASSERT_EQ(archive_write_header(writer.get(), entry), ARCHIVE_OK);
            const std::string content(3000, std::string_view(name).back());
            if (!folder) archive_write_data(writer.get(), content.data(), content.size());
            archive_entry_free(entry);
        }
        ASSERT_EQ(archive_write_close(writer.get()), ARCHIVE_OK);
    }
    tar.resize(used);
    const Harvest result = harvest(tar);
    ASSERT_TRUE(result.index) << why(result);
    ASSERT_EQ(result.index->artifacts.size(), 2U);
    EXPECT_EQ(result.index->artifacts[0].mode, 0755U);  // no setuid
    const std::size_t content_end = tar.find_last_not_of('\0') + 1;
    for (std::size_t at = 0; at < content_end; at += 97) {
        EXPECT_FALSE(harvest(tar.substr(0, at)).index) << at;
    }
}

TEST(TornHarvest, WhatIsNoArchiveOfOutputIsRefused) {
    const std::string good = RawTar().root().file("output/a", "1").end();
    std::string broken_checksum = good;
    broken_checksum[kBlock + 150] ^= 1;
    struct Case {
        const char* sentence;
        std::string tar;
    };
    const std::vector<Case> cases = {
        {"nothing", ""},
        {"zeros only", std::string(2 * kBlock, '\0')},
        {"text", "no such file or directory"},
        {"a page of text", std::string(4096, 'x')},
        {"no folder output/", RawTar().file("output/a", "1").end()},
        {"a file for the folder", RawTar().file("output", "1").end()},
        {"a link for the folder", RawTar().entry('2', "output", "", "/").end()},
        {"a broken checksum", broken_checksum},
        {"something after the end", good + "x"},
        {"a block after the end", good + std::string(kBlock, 'x')},
        {"another archive after the end", good + good},
        {"one end block", RawTar().root().so_far() + std::string(kBlock, '\0')},
        {"no end block", RawTar().root().file("output/a", "1").so_far()},
        {"a negative size",
         RawTar()
             .root()
             .entry('0', "output/a", "1", "", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
             .end()},
        {"a size beyond everything, said in PAX",
         RawTar().root().pax(pax_record("size", "4000000")).file("output/a", "1").end()},
    };
    for (const Case& bad : cases) {
        const Harvest result = harvest(bad.tar);
        ASSERT_FALSE(result.index) << bad.sentence;
        EXPECT_EQ(result.index.error().kind, HarvestError::Kind::torn) << bad.sentence;
        EXPECT_NE(result.index.error().message, "");
    }
}

// Any byte changed: an answer within the limits, never a crash or a hang.
TEST(TornHarvest, ChangedBytesAreSurvived) {
    RawTar tar;
    tar.root().file("output/a", std::string(700, 'a')).pax(pax_record("path", "output/long"));
    tar.file("output/x", "x").entry('1', "output/h", "", "output/a");
    const std::string whole = tar.end();
    std::mt19937 random(20261124);
    for (int i = 0; i < 5'000; ++i) {
        std::string changed = whole;
        for (int n = 0; n < 1 + i % 4; ++n) {
            changed[random() % whole.size()] = static_cast<char>(random());
        }
        const Harvest result = harvest(changed, {.artifact_bytes = 4'000, .artifact_files = 4});
        EXPECT_LE(result.out->size(), 4'000 + 20 * 512);
    }
}

TEST(Harvest, OurOwnDiskIsNotBlamedOnTheArchive) {
    const Scratch in(RawTar().root().file("output/a", "1").end());
    const int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    const auto result = read_harvest(in.fd(), full, kRoomy);
    close(full);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, HarvestError::Kind::io);

    const Scratch out;
    const auto unread = read_harvest(-1, out.fd(), kRoomy);
    ASSERT_FALSE(unread);
    EXPECT_EQ(unread.error().kind, HarvestError::Kind::io) << unread.error().message;
}

}  // namespace
}  // namespace mayfly::controller
