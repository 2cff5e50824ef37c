#include "controller/archive/harvest_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "controller/archive/entry_name.h"
#include "controller/archive/exit_record.h"
#include "store/tar_writer.h"

namespace mayfly::controller {
namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kReadBytes = 128 << 10;
// What TarWriter can hold in one file.
constexpr std::int64_t kFileMaxBytes = (std::int64_t{8} << 30) - 1;
constexpr std::int64_t kEndBlocks = 2;
constexpr std::string_view kOursFolder = ".mayfly";
constexpr std::string_view kRecordPath = ".mayfly/exit.json";
constexpr std::string_view kResultPath = ".mayfly/result.json";

using Failure = std::unexpected<HarvestError>;
using Done = std::expected<void, HarvestError>;
using Kind = HarvestError::Kind;

Failure failure(Kind kind, std::string message) {
    return Failure({.kind = kind, .message = std::move(message), .exit_record_json = {}});
}

Failure own_disk(std::string_view what) {
    const std::error_code error(errno, std::generic_category());
    return failure(Kind::io, std::string(what) + ": " + error.message());
}

Failure over_limit(std::string_view name, std::int64_t limit, std::string_view what) {
    return failure(Kind::over_limit, std::string(name) + ": " + std::string(what) + " more than " +
                                         std::to_string(limit) + ", the limit");
}

Failure from_store(const store::Error& error) { return failure(Kind::io, error.message); }

// Feeds libarchive by plain reads. It gets no way to seek: then what it skips it has read, and a
// tar that is cut short inside something skipped is found to be.
struct Spool {
    int fd = -1;
    std::int64_t at = 0;
    int read_errno = 0;
    std::array<char, kReadBytes> bytes;
};

la_ssize_t read_spool(archive* reader, void* context, const void** bytes) {
    auto& spool = *static_cast<Spool*>(context);
    ssize_t got = 0;
    do {
        got = pread(spool.fd, spool.bytes.data(), spool.bytes.size(), spool.at);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        spool.read_errno = errno;
        archive_set_error(reader, errno, "%s", "cannot read the spooled archive");
        return -1;
    }
    spool.at += got;
    *bytes = spool.bytes.data();
    return got;
}

struct CloseReader {
    void operator()(archive* reader) const { archive_read_free(reader); }
};

// One pass over one archive.
class HarvestPass {
public:
    HarvestPass(int in_fd, int out_fd, const HarvestLimits& limits)
        : in_fd_(in_fd), out_fd_(out_fd), limits_(limits), tar_(out_fd) {}

    std::expected<HarvestIndex, HarvestError> run();

private:
    Done open();
    Done read_whole();
    Done read_entries();
    Done take(archive_entry* entry);
    // Over a limit already: nothing but the exit record is wanted.
    Done take_record_only(archive_entry* entry);
    Done take_ours(archive_entry* entry, std::string_view path);
    Done take_artifact(archive_entry* entry, const std::string& path);
    Done take_hard_link(archive_entry* entry, const std::string& path);
    // Checks the counts before anything of it is written.
    Done make_room(std::int64_t size);
    Done begin_artifact(archive_entry* entry, const std::string& path);
    Done end_artifact(archive_entry* entry, const std::string& path);
    // Hands the content over piece by piece, holes as zeros; `sink` returns Done.
    template <class Sink>
    Done read_content(archive_entry* entry, Sink sink);
    Done drain(archive_entry* entry);
    void count_seen(archive_entry* entry);
    void skip(std::string_view raw_path, std::string_view reason);
    // From the last entry to the end of the file: nothing but zero blocks, two at least.
    Done check_end();
    Failure torn() const;

    const int in_fd_;
    const int out_fd_;
    const HarvestLimits& limits_;
    store::TarWriter tar_;
    Spool spool_;
    std::unique_ptr<archive, CloseReader> reader_;
    HarvestIndex index_;
    bool root_seen_ = false;
    std::int64_t entries_ = 0;
    std::int64_t kept_bytes_ = 0;
    std::unordered_map<std::string, std::size_t> by_path_;  // into index_.artifacts
};

Failure HarvestPass::torn() const {
    if (spool_.read_errno != 0) {
        const std::error_code error(spool_.read_errno, std::generic_category());
        return failure(Kind::io, "cannot read the spooled archive: " + error.message());
    }
    const char* said = archive_error_string(reader_.get());
    return failure(Kind::torn, "the archive is not whole: " +
                                   std::string(said != nullptr ? said : "no reason given"));
}

Done HarvestPass::open() {
    reader_.reset(archive_read_new());
    spool_.fd = in_fd_;
    if (!reader_) return failure(Kind::io, "no memory for reading the archive");
    if (archive_read_support_format_tar(reader_.get()) != ARCHIVE_OK) return torn();
    if (archive_read_open(reader_.get(), &spool_, nullptr, read_spool, nullptr) != ARCHIVE_OK) {
        return torn();
    }
    return {};
}

std::expected<HarvestIndex, HarvestError> HarvestPass::run() {
    if (const Done read = read_whole(); !read) {
        HarvestError error = read.error();
        error.exit_record_json = std::move(index_.exit_record_json);
        return std::unexpected(std::move(error));
    }
    std::ranges::sort(index_.artifacts, {}, &store::Artifact::path);
    return std::move(index_);
}

Done HarvestPass::read_whole() {
    if (const Done opened = open(); !opened) return opened;
    if (const Done read = read_entries(); !read) return read;
    if (const Done ended = check_end(); !ended) return ended;
    const auto size = tar_.finish();
    if (!size) return from_store(size.error());
    index_.output_tar_bytes = *size;
    return {};
}

Done HarvestPass::read_entries() {
    Done over;  // what stands once a limit is exceeded, whatever comes after
    for (;;) {
        archive_entry* entry = nullptr;
        const int got = archive_read_next_header(reader_.get(), &entry);
        if (got == ARCHIVE_EOF) return over;
        // A warning is about something that we do not use or judge ourselves: a name in another
        // alphabet than the locale's, a user id too large. What breaks the structure is no mere
        // warning.
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return over ? torn() : over;
        if (over && ++entries_ > limits_.entries) {
            over = over_limit("entries", limits_.entries, "the archive of output/ has");
        }
        const Done taken = over ? take(entry) : take_record_only(entry);
        if (!taken && taken.error().kind == Kind::over_limit) {
            over = taken;
        } else if (!taken) {
            return over ? taken : over;
        }
        if (const Done drained = drain(entry); !drained) return over ? drained : over;
    }
}

Done HarvestPass::take_record_only(archive_entry* entry) {
    const char* raw = archive_entry_pathname(entry);
    const EntryName name =
        judge_entry_name(raw != nullptr ? raw : "", limits_.path_bytes, limits_.depth);
    if (name.path != kRecordPath) return {};
    return take_ours(entry, name.path);
}

Done HarvestPass::take(archive_entry* entry) {
    const char* raw = archive_entry_pathname(entry);
    const std::string_view raw_path = raw != nullptr ? raw : "";
    const EntryName name = judge_entry_name(raw_path, limits_.path_bytes, limits_.depth);
    if (name.is_root) {
        root_seen_ = root_seen_ || archive_entry_filetype(entry) == AE_IFDIR;
        return {};
    }
    if (name.path == kOursFolder || name.path.starts_with(".mayfly/")) {
        return take_ours(entry, name.path);
    }
    if (archive_entry_filetype(entry) == AE_IFDIR) return {};  // folders are no artifacts
    count_seen(entry);
    if (!name.reason.empty()) {
        skip(raw_path, name.reason);
        return {};
    }
    const std::string path(name.path);
    if (by_path_.contains(path)) {
        skip(raw_path, "duplicate");
        return {};
    }
    if (archive_entry_hardlink(entry) != nullptr) return take_hard_link(entry, path);
    switch (archive_entry_filetype(entry)) {
        case AE_IFREG:
            return take_artifact(entry, path);
        case AE_IFLNK:
            skip(raw_path, "symlink");
            return {};
        case AE_IFCHR:
        case AE_IFBLK:
            skip(raw_path, "device");
            return {};
        case AE_IFIFO:
            skip(raw_path, "fifo");
            return {};
        case AE_IFSOCK:
            skip(raw_path, "socket");
            return {};
        default:
            skip(raw_path, "unknown_type");
            return {};
    }
}

void HarvestPass::count_seen(archive_entry* entry) {
    if (index_.seen_files < 0) return;
    std::int64_t size = archive_entry_size(entry);
    if (const char* raw = archive_entry_hardlink(entry)) {
        const EntryName target = judge_entry_name(raw, limits_.path_bytes, limits_.depth);
        const auto found = by_path_.find(std::string(target.path));
        if (!target.reason.empty() || found == by_path_.end()) {
            index_.seen_files = -1;
            index_.seen_bytes = -1;
            return;
        }
        size = index_.artifacts[found->second].size;
    } else if (archive_entry_filetype(entry) != AE_IFREG) {
        return;
    }
    ++index_.seen_files;
    index_.seen_bytes += size;
}

void HarvestPass::skip(std::string_view raw_path, std::string_view reason) {
    ++index_.skipped_count;
    if (index_.skipped.size() >= store::kMaxSkippedListed) return;
    const auto most = static_cast<std::size_t>(limits_.path_bytes);
    index_.skipped.push_back({readable_entry_name(raw_path, most), std::string(reason)});
}

// The exit record, result.json, and whatever the script put beside them, which concerns nobody.
Done HarvestPass::take_ours(archive_entry* entry, std::string_view path) {
    const bool plain =
        archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == nullptr;
    const bool is_result = path == kResultPath;
    if (is_result && !plain) {
        index_.result_error = "result.json is not a regular file that can be read";
        return {};
    }
    if (!plain || (!is_result && path != kRecordPath)) return {};
    const std::int64_t most =
        is_result ? limits_.result_bytes : static_cast<std::int64_t>(kExitRecordMaxBytes);
    if (archive_entry_size(entry) > most) {
        if (is_result) {
            index_.result_error = "result.json is larger than " + std::to_string(most) + " bytes";
        }
        return {};  // a forged record: there is none
    }
    std::string text;
    const Done read = read_content(entry, [&text](std::string_view piece) -> Done {
        text += piece;
        return {};
    });
    if (!read) return read;
    if (is_result) {
        index_.result_text = std::move(text);
    } else {
        index_.exit_record_json = std::move(text);
    }
    return {};
}

Done HarvestPass::make_room(std::int64_t size) {
    if (std::ssize(index_.artifacts) >= limits_.artifact_files) {
        return over_limit("artifact_files", limits_.artifact_files, "there are files in output/:");
    }
    if (size > kFileMaxBytes) {
        return over_limit("artifact_bytes", kFileMaxBytes, "one file in output/ holds, in bytes,");
    }
    if (size > limits_.artifact_bytes - kept_bytes_) {
        return over_limit("artifact_bytes", limits_.artifact_bytes,
                          "the files in output/ hold, in bytes,");
    }
    return {};
}

Done HarvestPass::begin_artifact(archive_entry* entry, const std::string& path) {
    const std::uint32_t mode = archive_entry_perm(entry) & 0777U;
    const std::int64_t mtime_s = std::max<std::int64_t>(archive_entry_mtime(entry), 0);
    const auto begun = tar_.begin_file(path, mode, {}, mtime_s);
    if (!begun) return from_store(begun.error());
    return {};
}

Done HarvestPass::end_artifact(archive_entry* entry, const std::string& path) {
    auto file = tar_.end_file();
    if (!file) return from_store(file.error());
    kept_bytes_ += file->size;
    by_path_.emplace(path, index_.artifacts.size());
    index_.artifacts.push_back({.path = path,
                                .offset = file->offset,
                                .size = file->size,
                                .sha256 = std::move(file->sha256),
                                .mode = archive_entry_perm(entry) & 0777U});
    return {};
}

Done HarvestPass::take_artifact(archive_entry* entry, const std::string& path) {
    if (const Done room = make_room(archive_entry_size(entry)); !room) return room;
    if (const Done begun = begin_artifact(entry, path); !begun) return begun;
    const Done read = read_content(entry, [this](std::string_view piece) -> Done {
        const auto written = tar_.write(std::as_bytes(std::span(piece)));
        if (!written) return from_store(written.error());
        return {};
    });
    if (!read) return read;
    return end_artifact(entry, path);
}

// A second name of bytes that are already in our tar: every artifact has bytes of its own there,
// so that a download is one range. They count against the limits each time.
Done HarvestPass::take_hard_link(archive_entry* entry, const std::string& path) {
    const EntryName target =
        judge_entry_name(archive_entry_hardlink(entry), limits_.path_bytes, limits_.depth);
    const auto found = by_path_.find(std::string(target.path));
    if (!target.reason.empty() || found == by_path_.end()) {
        skip(archive_entry_pathname(entry), "hardlink");
        return {};
    }
    const store::Artifact first = index_.artifacts[found->second];
    if (const Done room = make_room(first.size); !room) return room;
    if (const Done begun = begin_artifact(entry, path); !begun) return begun;
    std::array<char, kReadBytes> bytes;
    for (std::int64_t done = 0; done < first.size;) {
        const auto room = std::min<std::int64_t>(std::ssize(bytes), first.size - done);
        const ssize_t got =
            pread(out_fd_, bytes.data(), static_cast<std::size_t>(room), first.offset + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return own_disk("cannot read back the harvest");
        if (got == 0) return failure(Kind::io, "the harvest is shorter than what was written");
        const std::span<const char> piece(bytes.data(), static_cast<std::size_t>(got));
        const auto written = tar_.write(std::as_bytes(piece));
        if (!written) return from_store(written.error());
        done += got;
    }
    return end_artifact(entry, path);
}

template <class Sink>
Done HarvestPass::read_content(archive_entry* entry, Sink sink) {
    static constexpr std::array<char, kReadBytes> kZeros{};
    const std::int64_t size = archive_entry_size(entry);
    std::int64_t done = 0;
    for (;;) {
        const void* bytes = nullptr;
        std::size_t count = 0;
        la_int64_t offset = 0;
        const int got = archive_read_data_block(reader_.get(), &bytes, &count, &offset);
        if (got == ARCHIVE_EOF) offset = size;  // a hole at the end
        if (got != ARCHIVE_OK && got != ARCHIVE_EOF) return torn();
        // The limits were checked against the declared size, so nothing may exceed it.
        if (offset < done || offset > size || std::cmp_greater(count, size - offset)) {
            return failure(Kind::torn,
                           "the archive is not whole: an entry's content does not "
                           "fit its declared size");
        }
        while (done < offset) {
            const auto part = std::min<std::int64_t>(std::ssize(kZeros), offset - done);
            const Done put = sink(std::string_view(kZeros.data(), static_cast<std::size_t>(part)));
            if (!put) return put;
            done += part;
        }
        if (got == ARCHIVE_EOF) return {};
        const Done put = sink(std::string_view(static_cast<const char*>(bytes), count));
        if (!put) return put;
        done += static_cast<std::int64_t>(count);
    }
}

// What was not taken is read all the same: only so is a cut in the middle of it seen.
Done HarvestPass::drain(archive_entry* entry) {
    if (archive_entry_filetype(entry) == AE_IFDIR) return {};
    for (;;) {
        const void* bytes = nullptr;
        std::size_t count = 0;
        la_int64_t offset = 0;
        const int got = archive_read_data_block(reader_.get(), &bytes, &count, &offset);
        if (got == ARCHIVE_EOF) return {};
        if (got != ARCHIVE_OK) return torn();
    }
}

Done HarvestPass::check_end() {
    if (!root_seen_) return failure(Kind::torn, "the archive does not hold the folder output/");
    struct stat status{};
    if (fstat(in_fd_, &status) != 0) return own_disk("cannot look at the spooled archive");
    // libarchive is content with a tar that just stops between two entries. Where it looked for a
    // further entry last, there must be the end-of-archive blocks and nothing else.
    std::int64_t at = archive_read_header_position(reader_.get());
    const std::int64_t left = status.st_size - at;
    const auto block = static_cast<std::int64_t>(kBlockBytes);
    if (left < kEndBlocks * block || left % block != 0) {
        return failure(Kind::torn, "the archive is not whole: it stops without its end mark");
    }
    std::array<char, kReadBytes> bytes;
    while (at < status.st_size) {
        const ssize_t got = pread(in_fd_, bytes.data(), bytes.size(), at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return own_disk("cannot read the spooled archive");
        if (got == 0) break;
        const std::string_view piece(bytes.data(), static_cast<std::size_t>(got));
        if (piece.find_first_not_of('\0') != std::string_view::npos) {
            return failure(Kind::torn, "the archive is not whole: something follows its end mark");
        }
        at += got;
    }
    return {};
}

}  // namespace

std::expected<HarvestIndex, HarvestError> read_harvest(int in_fd, int out_fd,
                                                       const HarvestLimits& limits) {
    return std::make_unique<HarvestPass>(in_fd, out_fd, limits)->run();
}

}  // namespace mayfly::controller
