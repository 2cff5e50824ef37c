// Tars of our making, read back by libarchive, which is not ours.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <clocale>
#include <string>
#include <vector>

#include "store/input_tar.h"
#include "store/tar_writer.h"
#include "tests/unit/store_fixtures.h"

namespace mayfly::store {
namespace {

class TarFile {
public:
    TarFile() : fd_(::open((folder_ / "t").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {}
    ~TarFile() { ::close(fd_); }
    TarFile(const TarFile&) = delete;
    TarFile& operator=(const TarFile&) = delete;
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] std::int64_t size() const {
        struct stat facts{};
        ::fstat(fd_, &facts);
        return facts.st_size;
    }
    [[nodiscard]] std::string bytes(std::int64_t offset, std::int64_t size) const {
        std::string text(static_cast<std::size_t>(size), '\0');
        EXPECT_EQ(::pread(fd_, text.data(), text.size(), offset), size);
        return text;
    }

private:
    TempFolder folder_;
    int fd_;
};

struct Entry {
    std::string path;
    bool folder = false;
    std::uint32_t mode = 0;
    std::int64_t uid = 0;
    std::int64_t gid = 0;
    std::int64_t mtime_s = 0;
    std::string content;
    bool operator==(const Entry&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Entry& e) {
    return out << e.path << " " << std::oct << e.mode << std::dec << " " << e.uid << ":" << e.gid
               << " " << e.mtime_s << " " << e.content.size() << " bytes";
}

std::vector<Entry> read_back(int fd) {
    // libarchive turns names that came by PAX into the locale's bytes.
    std::setlocale(LC_CTYPE, "C.UTF-8");
    ::lseek(fd, 0, SEEK_SET);
    auto* reader = archive_read_new();
    archive_read_support_format_tar(reader);
    EXPECT_EQ(archive_read_open_fd(reader, fd, 4096), ARCHIVE_OK) << archive_error_string(reader);
    std::vector<Entry> entries;
    archive_entry* entry = nullptr;
    int status = ARCHIVE_OK;
    while ((status = archive_read_next_header(reader, &entry)) == ARCHIVE_OK) {
        Entry found;
        found.path = archive_entry_pathname(entry);
        found.folder = archive_entry_filetype(entry) == AE_IFDIR;
        found.mode = archive_entry_perm(entry);
        found.uid = archive_entry_uid(entry);
        found.gid = archive_entry_gid(entry);
        found.mtime_s = archive_entry_mtime(entry);
        char part[1000];
        for (la_ssize_t size = 0; (size = archive_read_data(reader, part, sizeof part)) > 0;) {
            found.content.append(part, static_cast<std::size_t>(size));
        }
        entries.push_back(std::move(found));
    }
    EXPECT_EQ(status, ARCHIVE_EOF) << archive_error_string(reader);
    archive_read_free(reader);
    return entries;
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

// A path of exactly `size` bytes with names of at most `name_size`.
std::string path_of(std::size_t size, std::size_t name_size) {
    std::string path;
    while (path.size() < size) {
        path += path.size() % (name_size + 1) == name_size && path.size() + 1 < size ? '/' : 'n';
    }
    return path;
}

TEST(Tar, EveryLengthOfANameReadsBack) {
    for (std::size_t name_size : {20, 99, 100, 101, 155, 255}) {
        TarFile file;
        TarWriter tar(file.fd());
        std::vector<Entry> expected;
        for (std::size_t size = 1; size <= 1024; ++size) {
            const auto path = path_of(size, name_size);
            const auto content = std::to_string(size);
            auto added = tar.add_file(path, 0640, {.uid = 10001, .gid = 7}, 1'700'000'000,
                                      bytes_of(content));
            ASSERT_TRUE(added) << added.error().message;
            EXPECT_EQ(file.bytes(added->offset, added->size), content);
            expected.push_back({path, false, 0640, 10001, 7, 1'700'000'000, content});
            ASSERT_TRUE(tar.add_directory(path + "d", 0755, {}, 1));
            expected.push_back({path + "d/", true, 0755, 0, 0, 1, ""});
        }
        ASSERT_EQ(*tar.finish(), file.size());
        const auto found = read_back(file.fd());
        ASSERT_EQ(found.size(), expected.size()) << name_size;
        for (std::size_t i = 0; i < found.size(); ++i) {
            ASSERT_EQ(found[i], expected[i]) << "names of " << name_size << ", entry " << i;
        }
    }
}

TEST(Tar, NamesThatAreNotAsciiReadBack) {
    TarFile file;
    TarWriter tar(file.fd());
    std::vector<std::string> names = {"h\u00e9", "\u65e5\u672c/\u8a9e", "\U0001F41D.txt", "a\nb",
                                      "a=b c",   "back\\slash"};
    std::string long_name;
    while (long_name.size() < 1000) long_name += long_name.size() % 90 == 80 ? "/" : "\u00fc";
    names.push_back(long_name);
    for (const auto& name : names) ASSERT_TRUE(tar.add_file(name, 0644, {}, 0, bytes_of("x")));
    ASSERT_TRUE(tar.finish());
    const auto found = read_back(file.fd());
    ASSERT_EQ(found.size(), names.size());
    for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(found[i].path, names[i]);
}

TEST(Tar, PaxIsOnlyWhereItIsNeeded) {
    const std::pair<std::string, std::int64_t> cases[] = {
        {"a", 512},
        {path_of(100, 20), 512},
        {path_of(155, 51) + "/" + std::string(99, 'n'), 512},
        {path_of(101, 200), 3 * 512},
        {path_of(257, 99), 3 * 512},
        {"\u00e9", 3 * 512},
    };
    for (const auto& [path, bytes] : cases) {
        TarFile file;
        TarWriter tar(file.fd());
        ASSERT_TRUE(tar.add_file(path, 0644, {}, 0, {}));
        EXPECT_EQ(tar.bytes_written(), bytes) << path.size() << " bytes: " << path;
    }
}

TEST(Tar, TheHeaderIsUstarToTheByte) {
    TarFile file;
    TarWriter tar(file.fd());
    ASSERT_TRUE(tar.add_file("hello", 0755, {.uid = 10001, .gid = 10002}, 1'000'000'000,
                             bytes_of("hi\n")));
    ASSERT_EQ(*tar.finish(), 4 * 512);
    std::string expected(512, '\0');
    const auto put = [&expected](std::size_t at, std::string_view text) {
        expected.replace(at, text.size(), text);
    };
    using std::literals::operator""sv;
    put(0, "hello");
    put(100, "0000755\0"sv);
    put(108, "0023421\0"sv);
    put(116, "0023422\0"sv);
    put(124, "00000000003\0"sv);
    put(136, "07346545000\0"sv);
    put(156, "0");
    put(257, "ustar\0"sv);
    put(263, "00");
    put(329, "0000000\0"sv);
    put(337, "0000000\0"sv);
    put(148, "        ");
    int sum = 0;
    for (char c : expected) sum += static_cast<unsigned char>(c);
    char digits[8];
    std::snprintf(digits, sizeof digits, "%06o", static_cast<unsigned>(sum));
    put(148, std::string(digits, 6) + '\0' + ' ');
    EXPECT_EQ(file.bytes(0, 512), expected);
    EXPECT_EQ(file.bytes(512, 512), "hi\n" + std::string(509, '\0'));
    EXPECT_EQ(file.bytes(1024, 1024), std::string(1024, '\0'));
}

TEST(Tar, LargeOwnersGoByPax) {
    TarFile file;
    TarWriter tar(file.fd());
    ASSERT_TRUE(tar.add_file("a", 0644, {.uid = 4'000'000'000, .gid = 3'000'000}, 0, {}));
    ASSERT_TRUE(tar.finish());
    const auto found = read_back(file.fd());
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].uid, 4'000'000'000);
    EXPECT_EQ(found[0].gid, 3'000'000);
}

TEST(Tar, AFileOfUnknownSizeIsFilledInAfterwards) {
    for (std::size_t size : {0U, 1U, 511U, 512U, 513U, 100'000U}) {
        TarFile file;
        TarWriter tar(file.fd());
        const std::string content(size, 'c');
        ASSERT_TRUE(tar.begin_file("streamed", 0600, {}, 5));
        for (std::size_t at = 0; at < size; at += 777) {
            ASSERT_TRUE(tar.write(bytes_of(content.substr(at, 777))));
        }
        auto done = tar.end_file();
        ASSERT_TRUE(done);
        EXPECT_EQ(done->size, static_cast<std::int64_t>(size));
        EXPECT_EQ(done->sha256, sha256_hex(content));
        ASSERT_TRUE(tar.add_file("next", 0600, {}, 5, bytes_of("n")));
        ASSERT_TRUE(tar.finish());
        EXPECT_EQ(read_back(file.fd()),
                  (std::vector<Entry>{{"streamed", false, 0600, 0, 0, 5, content},
                                      {"next", false, 0600, 0, 0, 5, "n"}}));
    }
}

TEST(Tar, MisuseIsInvalidAndSticks) {
    const std::pair<const char*, Result<void> (*)(TarWriter&)> cases[] = {
        {"an empty path", [](TarWriter& t) { return t.add_directory("", 0755, {}, 0); }},
        {"a NUL in a path",
         [](TarWriter& t) { return t.begin_file(std::string_view("a\0b", 3), 0644, {}, 0); }},
        {"a file that ends in a slash", [](TarWriter& t) { return t.begin_file("a/", 0, {}, 0); }},
        {"bytes of no file", [](TarWriter& t) { return t.write(bytes_of("x")); }},
        {"a file within a file",
         [](TarWriter& t) {
             EXPECT_TRUE(t.begin_file("a", 0644, {}, 0));
             return t.begin_file("b", 0644, {}, 0);
         }},
    };
    for (const auto& [name, misuse] : cases) {
        TarFile file;
        TarWriter tar(file.fd());
        EXPECT_EQ(kind_of(misuse(tar)), ErrorKind::invalid) << name;
        EXPECT_EQ(kind_of(tar.finish()), ErrorKind::invalid) << name;
        EXPECT_EQ(kind_of(tar.add_file("ok", 0644, {}, 0, {})), ErrorKind::invalid) << name;
    }
}

TEST(Tar, AWriteThatFailsSticks) {
    const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
    ASSERT_GE(full, 0);
    TarWriter tar(full);
    ASSERT_TRUE(tar.begin_file("a", 0644, {}, 0));
    EXPECT_EQ(kind_of(tar.write(bytes_of("x"))), ErrorKind::full);
    EXPECT_EQ(kind_of(tar.end_file()), ErrorKind::full);
    EXPECT_EQ(kind_of(tar.finish()), ErrorKind::full);
    ::close(full);
}

// ------------------------------------------------------------------------------------ input paths

TEST(InputPath, WhatIsAPathAndWhatIsNot) {
    const auto deep = [](std::size_t names) {
        std::string path = "a";
        for (std::size_t i = 1; i < names; ++i) path += "/a";
        return path;
    };
    const std::string good[] = {
        "a",
        "in/data.csv",
        ".hidden",
        "...",
        "a b",
        "h\u00e9/\u65e5",
        ".mayflyer",
        "output/report",
        "a/.mayfly/b",
        "output/.mayflyx",
        "-rf",
        "output",
        deep(32),
        std::string(255, 'n'),
        path_of(1024, 200),
        "\U0010FFFF",
    };
    for (const auto& path : good) EXPECT_EQ(input_path_error(path), "") << path;

    const std::pair<std::string, const char*> bad[] = {
        {"", "empty"},
        {"/etc/passwd", "absolute"},
        {"a//b", "empty name"},
        {"a/", "empty name"},
        {"..", "\"..\""},
        {"a/../b", "\"..\""},
        {"./a", "\".\""},
        {"a/.", "\".\""},
        {"a\nb", "control"},
        {std::string("a\0b", 3), "control"},
        {"a\x7f", "control"},
        {"\xff", "UTF-8"},
        {"\xc0\xaf", "UTF-8"},
        {"\xe0\x80\xaf", "UTF-8"},
        {"\xed\xa0\x80", "UTF-8"},
        {"\xf4\x90\x80\x80", "UTF-8"},
        {"\xe6\x97", "UTF-8"},
        {"\x80", "UTF-8"},
        {".mayfly", ".mayfly/"},
        {".mayfly/claim", ".mayfly/"},
        {"output/.mayfly", "output/.mayfly/"},
        {"output/.mayfly/exit.json", "output/.mayfly/"},
        {std::string(256, 'n'), "255"},
        {path_of(1025, 200), "1024"},
        {deep(33), "32"},
    };
    for (const auto& [path, word] : bad) {
        const auto error = input_path_error(path);
        EXPECT_EQ(error.substr(0, 9), "the path ") << path;
        EXPECT_NE(error.find(word), std::string::npos) << path << ": " << error;
    }
}

// -------------------------------------------------------------------------------------- input.tar

constexpr TarOwner kRunOwner{.uid = 10001, .gid = 10001};
constexpr std::int64_t kTime = 1'700'000'000;

TEST(InputTar, HasTheLayoutThatTheSandboxNeeds) {
    TarFile file;
    InputTarBuilder builder(file.fd(), kRunOwner, kTime);
    ASSERT_TRUE(builder.begin());
    ASSERT_TRUE(builder.begin_file("in/deep/data.csv", 0640));
    ASSERT_TRUE(builder.write(bytes_of("1,2\n")));
    ASSERT_TRUE(builder.write(bytes_of("3,4\n")));
    ASSERT_TRUE(builder.end_file());
    ASSERT_TRUE(builder.begin_stdin());
    ASSERT_TRUE(builder.write(bytes_of("typed")));
    ASSERT_TRUE(builder.end_file());
    ASSERT_TRUE(builder.begin_file("in/go.sh", 0755));
    ASSERT_TRUE(builder.end_file());
    ASSERT_TRUE(builder.begin_file("output/seed", 0644));
    ASSERT_TRUE(builder.end_file());
    auto size = builder.finish();
    ASSERT_TRUE(size);
    EXPECT_EQ(*size, file.size());

    const std::vector<Entry> expected = {
        {".mayfly/", true, 0755, 0, 0, kTime, ""},
        {".mayfly/claim", false, 0622, 0, 0, kClaimMtimeS, ""},
        {"output/", true, 01777, 0, 0, kTime, ""},
        {"output/.mayfly/", true, 01777, 0, 0, kTime, ""},
        {"in/", true, 0755, 10001, 10001, kTime, ""},
        {"in/deep/", true, 0755, 10001, 10001, kTime, ""},
        {"in/deep/data.csv", false, 0640, 10001, 10001, kTime, "1,2\n3,4\n"},
        {".mayfly/stdin", false, 0644, 0, 0, kTime, "typed"},
        {"in/go.sh", false, 0755, 10001, 10001, kTime, ""},
        {"output/seed", false, 0644, 10001, 10001, kTime, ""},
    };
    EXPECT_EQ(read_back(file.fd()), expected);

    const std::vector<InputFile> files = {
        {.path = "in/deep/data.csv", .mode = 0640, .size = 8, .sha256 = sha256_hex("1,2\n3,4\n")},
        {.path = "in/go.sh", .mode = 0755, .size = 0, .sha256 = sha256_hex("")},
        {.path = "output/seed", .mode = 0644, .size = 0, .sha256 = sha256_hex("")},
    };
    EXPECT_EQ(builder.files(), files);
    EXPECT_EQ(builder.stdin_file(),
              (InputFile{.path = "", .mode = 0, .size = 5, .sha256 = sha256_hex("typed")}));
}

TEST(InputTar, WhatDoesNotFitTogetherIsInvalidAndLeavesTheTarWhole) {
    struct Case {
        const char* name;
        const char* path;
        std::uint32_t mode;
        const char* word;
    };
    const Case cases[] = {
        {"a file twice", "in/a", 0644, "twice"},
        {"a file where a folder is", "in", 0644, "folder"},
        {"a file where our folder is", "output", 0644, "folder"},
        {"a folder where a file is", "in/a/b", 0644, "\"in/a\" as a folder"},
        {"a bad path", "../a", 0644, "\"..\""},
        {"ours", ".mayfly/claim", 0644, "Mayfly's"},
        {"a setuid bit", "b", 04755, "0777"},
        {"not text", "\xff", 0644, "UTF-8"},
    };
    TarFile file;
    InputTarBuilder builder(file.fd(), kRunOwner, kTime);
    EXPECT_EQ(kind_of(builder.begin_file("early", 0644)), ErrorKind::invalid);
    ASSERT_TRUE(builder.begin());
    EXPECT_EQ(kind_of(builder.begin()), ErrorKind::invalid);
    ASSERT_TRUE(builder.begin_file("in/a", 0644));
    EXPECT_EQ(kind_of(builder.begin_file("in/b", 0644)), ErrorKind::invalid);
    EXPECT_EQ(kind_of(builder.finish()), ErrorKind::invalid);
    ASSERT_TRUE(builder.end_file());
    const auto size = builder.bytes_written();
    for (const auto& c : cases) {
        auto refused = builder.begin_file(c.path, c.mode);
        ASSERT_FALSE(refused) << c.name;
        EXPECT_EQ(refused.error().kind, ErrorKind::invalid) << c.name;
        EXPECT_NE(refused.error().message.find(c.word), std::string::npos)
            << c.name << ": " << refused.error().message;
        EXPECT_EQ(builder.bytes_written(), size) << c.name;
    }
    ASSERT_TRUE(builder.begin_stdin());
    ASSERT_TRUE(builder.end_file());
    EXPECT_EQ(kind_of(builder.begin_stdin()), ErrorKind::invalid);
    ASSERT_TRUE(builder.finish());
    EXPECT_EQ(read_back(file.fd()).size(), 7U);
}

}  // namespace
}  // namespace mayfly::store
