#include "store/tar_writer.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "store/file_system.h"

namespace mayfly::store {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kNameBytes = 100;
constexpr std::size_t kPrefixBytes = 155;
// What twelve bytes of octal with a terminator hold: 8 GiB - 1.
constexpr std::int64_t kOctalSizeMax = 077'777'777'777;
constexpr std::int64_t kOctalIdMax = 07'777'777;
constexpr std::uint32_t kModeMask = 07777;
constexpr char kRegular = '0';
constexpr char kDirectory = '5';
constexpr char kPax = 'x';

// POSIX 1003.1 pax, "ustar Interchange Format".
struct Header {
    char name[kNameBytes];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link_name[100];
    char magic[6];
    char version[2];
    char user_name[32];
    char group_name[32];
    char dev_major[8];
    char dev_minor[8];
    char prefix[kPrefixBytes];
    char pad[12];
};
static_assert(sizeof(Header) == kBlock);

// Zero-padded octal with a closing NUL. What does not fit becomes 0: a PAX record says it then.
template <std::size_t N>
void put_octal(char (&field)[N], std::int64_t value) {
    const bool fits = value >= 0 && (value >> (3 * (N - 1))) == 0;
    auto rest = fits ? static_cast<std::uint64_t>(value) : 0U;
    field[N - 1] = '\0';
    for (std::size_t i = N - 1; i-- > 0; rest >>= 3U) {
        field[i] = static_cast<char>('0' + (rest & 7U));
    }
}

void put_text(char* field, std::string_view text) { std::ranges::copy(text, field); }

struct SplitName {
    std::string_view prefix;
    std::string_view name;
};

// A path in the two fields of ustar, split at a slash. Other than ASCII is left to PAX, which says
// that it is UTF-8.
std::optional<SplitName> split_name(std::string_view path) {
    const bool ascii = std::ranges::none_of(path, [](char c) { return (c & 0x80) != 0; });
    if (!ascii) return std::nullopt;
    if (path.size() <= kNameBytes) return SplitName{.prefix = {}, .name = path};
    if (path.size() > kPrefixBytes + 1 + kNameBytes) return std::nullopt;
    // The first slash that leaves a name that is short enough; the last byte may be a folder's own
    // slash.
    const auto slash = path.find('/', path.size() - kNameBytes - 1);
    // (Not found is larger than any prefix.)
    if (slash > kPrefixBytes || slash == 0 || slash + 1 == path.size()) {
        return std::nullopt;
    }
    return SplitName{.prefix = path.substr(0, slash), .name = path.substr(slash + 1)};
}

// "<length> <key>=<value>\n", where the length counts its own digits.
std::string pax_record(std::string_view key, std::string_view value) {
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length) ++length;
    std::string record = std::to_string(length);
    record += ' ';
    record += key;
    record += '=';
    record += value;
    record += '\n';
    return record;
}

// For a reader that knows no PAX, and for the name of the PAX header itself.
std::string_view fallback_name(std::string_view path) {
    return path.substr(0, std::min(path.size(), kNameBytes));
}

std::int64_t padding_of(std::int64_t size) {
    const auto over = size % static_cast<std::int64_t>(kBlock);
    return over == 0 ? 0 : static_cast<std::int64_t>(kBlock) - over;
}

constexpr std::array<std::byte, 2 * kBlock> kZeros{};

}  // namespace

Result<void> TarWriter::broken(Error error) {
    if (!error_) error_ = std::move(error);
    return std::unexpected(*error_);
}

Result<void> TarWriter::put(std::int64_t at, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto written = ::pwrite(fd_, bytes.data(), bytes.size(), at);
        if (written < 0 && errno == EINTR) continue;
        // A regular file takes at least one byte or says why not.
        if (written <= 0) return broken(file_error("write", "a tar", written < 0 ? errno : EIO));
        at += written;
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

Result<void> TarWriter::append(std::span<const std::byte> bytes) {
    auto done = put(position_, bytes);
    if (done) position_ += static_cast<std::int64_t>(bytes.size());
    return done;
}

Result<void> TarWriter::check_entry(std::string_view path) {
    if (error_) return std::unexpected(*error_);
    if (finished_) return broken({ErrorKind::invalid, "tar: it is finished"});
    if (header_at_ >= 0) return broken({ErrorKind::invalid, "tar: a file is still open"});
    if (path.empty() || path.find('\0') != std::string_view::npos) {
        return broken({ErrorKind::invalid, "tar: an entry's path is empty or holds a NUL"});
    }
    return {};
}

Result<void> TarWriter::write_header(std::int64_t at, const Entry& entry, std::int64_t size) {
    Header header{};
    if (const auto split = split_name(entry.path)) {
        put_text(header.name, split->name);
        put_text(header.prefix, split->prefix);
    } else {
        put_text(header.name, fallback_name(entry.path));
    }
    put_octal(header.mode, entry.mode & kModeMask);
    put_octal(header.uid, entry.owner.uid);
    put_octal(header.gid, entry.owner.gid);
    put_octal(header.size, size);
    put_octal(header.mtime, std::max<std::int64_t>(entry.mtime_s, 0));
    header.type = entry.type;
    put_text(header.magic, std::string_view("ustar\0", 6));
    put_text(header.version, "00");
    put_octal(header.dev_major, 0);
    put_octal(header.dev_minor, 0);

    // Summed over the header with this field as blanks; six digits, NUL, blank.
    std::memset(header.checksum, ' ', sizeof header.checksum);
    std::array<unsigned char, kBlock> raw{};
    std::memcpy(raw.data(), &header, kBlock);
    std::int64_t sum = 0;
    for (auto byte : raw) sum += byte;
    char digits[7];
    put_octal(digits, sum);
    put_text(header.checksum, std::string_view(digits, sizeof digits));
    return put(at, std::as_bytes(std::span(&header, 1)));
}

Result<void> TarWriter::write_pax_if_needed(const Entry& entry, std::int64_t size) {
    std::string records;
    if (!split_name(entry.path)) records += pax_record("path", entry.path);
    if (size > kOctalSizeMax) records += pax_record("size", std::to_string(size));
    if (entry.owner.uid > kOctalIdMax) {
        records += pax_record("uid", std::to_string(entry.owner.uid));
    }
    if (entry.owner.gid > kOctalIdMax) {
        records += pax_record("gid", std::to_string(entry.owner.gid));
    }
    if (records.empty()) return {};

    const auto bytes = static_cast<std::int64_t>(records.size());
    const Entry pax{.path = "PaxHeaders/entry",
                    .type = kPax,
                    .mode = 0644,
                    .owner = {},
                    .mtime_s = entry.mtime_s};
    auto done = write_header(position_, pax, bytes);
    if (!done) return done;
    position_ += static_cast<std::int64_t>(kBlock);
    done = append(std::as_bytes(std::span(records)));
    if (!done) return done;
    return pad(bytes);
}

Result<void> TarWriter::pad(std::int64_t size) {
    return append(std::span(kZeros).first(static_cast<std::size_t>(padding_of(size))));
}

Result<void> TarWriter::add_directory(std::string_view path, std::uint32_t mode, TarOwner owner,
                                      std::int64_t mtime_s) {
    if (auto ready = check_entry(path); !ready) return ready;
    Entry entry{.path = std::string(path),
                .type = kDirectory,
                .mode = mode,
                .owner = owner,
                .mtime_s = mtime_s};
    if (entry.path.back() != '/') entry.path += '/';
    if (auto done = write_pax_if_needed(entry, 0); !done) return done;
    auto done = write_header(position_, entry, 0);
    if (done) position_ += static_cast<std::int64_t>(kBlock);
    return done;
}

Result<void> TarWriter::begin(std::string_view path, std::uint32_t mode, TarOwner owner,
                              std::int64_t mtime_s, std::int64_t size_max,
                              std::int64_t known_size) {
    if (auto ready = check_entry(path); !ready) return ready;
    if (path.back() == '/') {
        return broken({ErrorKind::invalid, "tar: a file's path ends in a slash"});
    }
    entry_ = Entry{.path = std::string(path),
                   .type = kRegular,
                   .mode = mode,
                   .owner = owner,
                   .mtime_s = mtime_s};
    if (auto done = write_pax_if_needed(entry_, known_size); !done) return done;
    header_at_ = position_;
    position_ += static_cast<std::int64_t>(kBlock);
    content_at_ = position_;
    size_max_ = size_max;
    return {};
}

Result<void> TarWriter::begin_file(std::string_view path, std::uint32_t mode, TarOwner owner,
                                   std::int64_t mtime_s) {
    return begin(path, mode, owner, mtime_s, kOctalSizeMax, 0);
}

Result<void> TarWriter::write(std::span<const std::byte> bytes) {
    if (error_) return std::unexpected(*error_);
    if (header_at_ < 0) return broken({ErrorKind::invalid, "tar: no file is open"});
    const auto size = position_ - content_at_ + static_cast<std::int64_t>(bytes.size());
    if (size > size_max_) {
        return broken({ErrorKind::invalid, "tar: " + entry_.path + " is larger than " +
                                               std::to_string(size_max_) + " bytes"});
    }
    hash_.update(bytes);
    return append(bytes);
}

Result<TarWriter::File> TarWriter::end_file() {
    if (error_) return std::unexpected(*error_);
    if (header_at_ < 0) {
        return std::unexpected(broken({ErrorKind::invalid, "tar: no file is open"}).error());
    }
    File file{.offset = content_at_, .size = position_ - content_at_, .sha256 = hash_.finish()};
    if (auto done = pad(file.size); !done) return std::unexpected(std::move(done).error());
    if (auto done = write_header(header_at_, entry_, file.size); !done) {
        return std::unexpected(std::move(done).error());
    }
    header_at_ = -1;
    return file;
}

Result<TarWriter::File> TarWriter::add_file(std::string_view path, std::uint32_t mode,
                                            TarOwner owner, std::int64_t mtime_s,
                                            std::span<const std::byte> bytes) {
    const auto size = static_cast<std::int64_t>(bytes.size());
    auto done = begin(path, mode, owner, mtime_s, size, size);
    if (done) done = write(bytes);
    if (!done) return std::unexpected(std::move(done).error());
    return end_file();
}

Result<std::int64_t> TarWriter::finish() {
    if (error_) return std::unexpected(*error_);
    auto done = Result<void>();
    if (header_at_ >= 0) {
        done = broken({ErrorKind::invalid, "tar: a file is still open"});
    } else if (!finished_) {
        done = append(kZeros);
        finished_ = done.has_value();
    }
    if (!done) return std::unexpected(std::move(done).error());
    return position_;
}

}  // namespace mayfly::store
