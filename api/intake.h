// One submission's inputs on their way into the spool: the spec is read, the bytes are written to
// input.tar as they come and hashed, and at the end the whole is published durably. Nothing of it
// is in memory but the spec.
//
// Blocking, and not thread-safe: one thread at a time, which is a pool's. Until publish() succeeds
// nothing is left of it when it is destroyed.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/multipart.h"
#include "api/problem.h"
#include "api/settings.h"
#include "api/submission.h"
#include "store/data_dir.h"
#include "store/input_tar.h"

namespace mayfly::api {

struct Accepted {
    store::RunSpec spec;
    std::string spec_sha256;
    std::int64_t stored_bytes = 0;
};

// What an error of the store is to a client.
[[nodiscard]] Problem from_store(const store::Error& error);

class Intake final : public PartSink {
public:
    // All outlive it.
    Intake(const store::DataDir& data_dir, const Settings& settings, std::string run_id,
           store::UnixMs now_ms);

    // A JSON body: the spec with all its inputs.
    Answer<void> take_json(std::string_view text);

    // A multipart body: first `spec`, then files by path, and `.stdin`.
    Answer<void> begin_part(const std::string& name) override;
    Answer<void> part_bytes(std::span<const std::byte> bytes) override;
    Answer<void> end_part() override;

    // fsynced and named, when this succeeds; nothing of the run is on disk when it does not.
    Answer<Accepted> publish();

private:
    enum class Part { none, spec, file, standard_input };

    Answer<void> take_spec(std::string_view text, bool parts_follow);
    Answer<void> open_tar();
    Answer<void> add_inline();
    Answer<void> count(std::int64_t bytes);
    Answer<void> begin_file(const std::string& path);
    [[nodiscard]] Problem bad_part(const std::string& name, std::string message) const;

    const store::DataDir& data_dir_;
    const Settings& settings_;
    std::string run_id_;
    store::UnixMs now_ms_;
    std::optional<Submission> submission_;
    std::map<std::string, std::uint32_t>
        promised_;  // files of the spec that parts must bring: mode
    store::SpoolFile file_;
    std::optional<store::InputTarBuilder> tar_;
    Part part_ = Part::none;
    std::string part_name_;
    std::string spec_text_;
    std::int64_t input_bytes_ = 0;
    std::int64_t part_bytes_ = 0;
};

}  // namespace mayfly::api
