// Reads the tar that came from an untrusted container and writes the verified one. Nothing is
// extracted: an entry's name becomes a string in a row, never a path on our disk.
//
// Input: what GET /archive?path=/work/output sent, spooled whole (entries are "output/...").
// Output: a tar of our own making with the regular files only ("<path relative to output/>"), and
// its index. Links, devices, FIFOs, names that are not valid UTF-8 or hold control bytes, ".." or
// absolute names, and duplicates are skipped with a reason; a hard link to an earlier regular file
// of the same tar is resolved by copying its bytes. `output/.mayfly/` is ours: the exit record and
// result.json are taken from there and are no artifacts.
//
// The input is complete only when the parser reached the end-of-archive blocks after a whole last
// entry: a torn archive comes with HTTP 200 (measured) and is an error here, never a shorter
// result.
//
// Blocking; for the pool's thread. No state.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "store/run.h"

namespace mayfly::controller {

struct HarvestLimits {
    std::int64_t artifact_bytes = 0;  // over all kept files
    std::int64_t artifact_files = 0;
    std::int64_t path_bytes = 1024;
    std::int64_t depth = 32;
    std::int64_t entries = 200'000;       // of any kind
    std::int64_t result_bytes = 1 << 20;  // result.json
};

struct HarvestIndex {
    std::vector<store::Artifact> artifacts;       // sorted by path
    std::vector<store::SkippedArtifact> skipped;  // at most store::kMaxSkippedListed
    std::int64_t skipped_count = 0;
    std::string exit_record_json;            // "" = there was none
    std::optional<std::string> result_text;  // raw bytes of result.json, not yet judged
    std::string result_error;  // why there is no result_text although the file was there
    std::int64_t output_tar_bytes = 0;
    // Regular files in the archive besides ours, kept or not, by name: what PID 1 counted too.
    // -1: it has a link whose size is not known here.
    std::int64_t seen_files = 0;
    std::int64_t seen_bytes = 0;
};

struct HarvestError {
    enum class Kind {
        torn,        // the archive is not whole or not a tar: fetch it again
        over_limit,  // artifact_bytes, artifact_files or entries; the message names the limit and
                     // the value
        io,          // our own disk
    };
    Kind kind = Kind::torn;
    std::string message;
    // Also after an error, if it was read: who went over a limit still has an exit code. The
    // reader goes on to look for it after over_limit, without writing anything more.
    std::string exit_record_json;
};

// `in_fd`: the spooled tar, positioned anywhere (read from 0). `out_fd`: empty, open for read and
// write; written but not fsynced. Neither is closed.
[[nodiscard]] std::expected<HarvestIndex, HarvestError> read_harvest(int in_fd, int out_fd,
                                                                     const HarvestLimits& limits);

}  // namespace mayfly::controller
