#include "api/intake.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/strict_json.h"
#include "store/sha256.h"
#include "store/spec_json.h"

namespace mayfly::api {
namespace {

constexpr std::string_view kSpecPart = "spec";
constexpr std::string_view kStdinPart = ".stdin";

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

Answer<void> checked(const store::Result<void>& result) {
    if (result) return {};
    return std::unexpected(from_store(result.error()));
}

}  // namespace

Problem from_store(const store::Error& error) {
    using store::ErrorKind;
    switch (error.kind) {
        case ErrorKind::not_found:
            return {ProblemType::not_found, "There is no run of this id."};
        case ErrorKind::key_reused:
            return {
                ProblemType::idempotency_key_reused,
                "This Idempotency-Key came before with another spec or other inputs. Use a new "
                "key for a new run, or send the same submission."};
        case ErrorKind::full: {
            Problem problem{ProblemType::disk_full, "The disk is full: " + error.message};
            problem.headers.emplace_back("Retry-After", "30");
            return problem;
        }
        case ErrorKind::invalid:
            return {ProblemType::invalid_spec, error.message};
        case ErrorKind::conflict:
            return {ProblemType::not_finished, error.message};
        case ErrorKind::corrupt:
            return {ProblemType::damaged, error.message};
        case ErrorKind::io:
        case ErrorKind::too_new:
        case ErrorKind::locked:
        case ErrorKind::closed:
            break;
    }
    Problem problem{ProblemType::store_unavailable, error.message};
    problem.headers.emplace_back("Retry-After", "5");
    return problem;
}

Intake::Intake(const store::DataDir& data_dir, const Settings& settings, std::string run_id,
               store::UnixMs now_ms)
    : data_dir_(data_dir), settings_(settings), run_id_(std::move(run_id)), now_ms_(now_ms) {}

Problem Intake::bad_part(const std::string& name, std::string message) const {
    Problem problem{ProblemType::invalid_multipart,
                    "The part `" + shown_text(name) + "` " + message + "."};
    problem.errors.push_back({"parts." + shown_text(name), std::move(message), {}, {}});
    return problem;
}

Answer<void> Intake::take_json(std::string_view text) { return take_spec(text, false); }

Answer<void> Intake::take_spec(std::string_view text, bool parts_follow) {
    auto document = read_strict_json(text);
    if (!document) return std::unexpected(std::move(document.error()));
    InputRules rules;
    rules.max_input_bytes = settings_.max_input_bytes;
    rules.max_input_files = settings_.max_input_files;
    rules.max_stdin_bytes = settings_.max_stdin_bytes;
    rules.parts_follow = parts_follow;
    rules.path_error = store::input_path_error;
    rules.webhook_url_error = settings_.webhook_url_error;
    auto read = read_submission(std::move(*document), settings_.policy, rules);
    if (!read) return std::unexpected(std::move(read.error()));
    submission_ = std::move(*read);
    if (auto opened = open_tar(); !opened) return opened;
    return add_inline();
}

Answer<void> Intake::open_tar() {
    auto file = data_dir_.create_file();
    if (!file) return std::unexpected(from_store(file.error()));
    file_ = std::move(*file);
    tar_.emplace(file_.fd(), store::TarOwner{settings_.run_uid, settings_.run_gid},
                 now_ms_ / 1'000);
    return checked(tar_->begin());
}

Answer<void> Intake::add_inline() {
    for (std::size_t i = 0; i < submission_->files.size(); ++i) {
        SubmittedFile& file = submission_->files[i];
        if (!file.content) {
            promised_.emplace(file.path, file.mode);
            continue;
        }
        if (auto counted = count(std::ssize(*file.content)); !counted) return counted;
        auto done = tar_->begin_file(file.path, file.mode);
        if (!done && done.error().kind == store::ErrorKind::invalid) {
            Problem problem{ProblemType::invalid_spec, done.error().message};
            problem.errors.push_back({"files[" + std::to_string(i) + "].path",
                                      done.error().message,
                                      {},
                                      shown_text(file.path)});
            return std::unexpected(std::move(problem));
        }
        if (done) done = tar_->write(bytes_of(*file.content));
        if (done) done = tar_->end_file();
        if (!done) return std::unexpected(from_store(done.error()));
        file.content.reset();
    }
    if (!submission_->stdin_bytes) return {};
    if (auto counted = count(std::ssize(*submission_->stdin_bytes)); !counted) return counted;
    auto done = tar_->begin_stdin();
    if (done) done = tar_->write(bytes_of(*submission_->stdin_bytes));
    if (done) done = tar_->end_file();
    submission_->stdin_bytes.reset();
    return checked(done);
}

Answer<void> Intake::count(std::int64_t bytes) {
    input_bytes_ += bytes;
    const std::int64_t work_bytes = submission_->spec.limits.work_bytes;
    if (input_bytes_ > settings_.max_input_bytes) {
        Problem problem{ProblemType::body_too_large,
                        "The inputs of a run may be at most " +
                            std::to_string(settings_.max_input_bytes) + " bytes together."};
        problem.errors.push_back(
            {"files", "has too many bytes in all inputs", settings_.max_input_bytes, {}});
        return std::unexpected(std::move(problem));
    }
    if (input_bytes_ > work_bytes) {
        Problem problem{ProblemType::invalid_spec,
                        "`limits.work_bytes` is smaller than the inputs alone."};
        problem.errors.push_back(
            {"limits.work_bytes", "is smaller than the inputs alone", work_bytes, {}});
        return std::unexpected(std::move(problem));
    }
    return {};
}

Answer<void> Intake::begin_part(const std::string& name) {
    part_name_ = name;
    part_bytes_ = 0;
    if (!submission_) {
        if (name != kSpecPart) {
            return std::unexpected(
                bad_part(name, "came before the part `spec`, which must be first"));
        }
        part_ = Part::spec;
        return {};
    }
    if (name == kSpecPart) {
        return std::unexpected(bad_part(
            name, "came twice; to send a file of that name, put it into `files` of the spec"));
    }
    if (name == kStdinPart) {
        part_ = Part::standard_input;
        if (tar_->stdin_file()) return std::unexpected(bad_part(name, "is a second stdin"));
        return checked(tar_->begin_stdin());
    }
    part_ = Part::file;
    return begin_file(name);
}

Answer<void> Intake::begin_file(const std::string& path) {
    if (std::ssize(tar_->files()) >= settings_.max_input_files) {
        Problem problem = bad_part(path, "is one file too many");
        problem.errors[0].limit = settings_.max_input_files;
        return std::unexpected(std::move(problem));
    }
    std::uint32_t mode = kDefaultFileMode;
    if (const auto at = promised_.find(path); at != promised_.end()) {
        mode = at->second;
        promised_.erase(at);
    }
    const auto begun = tar_->begin_file(path, mode);
    if (begun) return {};
    if (begun.error().kind == store::ErrorKind::invalid) {
        return std::unexpected(bad_part(path, begun.error().message));
    }
    return std::unexpected(from_store(begun.error()));
}

Answer<void> Intake::part_bytes(std::span<const std::byte> bytes) {
    const auto size = std::ssize(bytes);
    part_bytes_ += size;
    if (part_ == Part::spec) {
        if (part_bytes_ > settings_.max_json_body_bytes) {
            Problem problem = bad_part(part_name_, "has too many bytes");
            problem.type = ProblemType::body_too_large;
            problem.errors[0].limit = settings_.max_json_body_bytes;
            return std::unexpected(std::move(problem));
        }
        spec_text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return {};
    }
    if (part_ == Part::standard_input && part_bytes_ > settings_.max_stdin_bytes) {
        Problem problem = bad_part(part_name_, "has too many bytes");
        problem.type = ProblemType::body_too_large;
        problem.errors[0].limit = settings_.max_stdin_bytes;
        return std::unexpected(std::move(problem));
    }
    if (auto counted = count(size); !counted) return counted;
    return checked(tar_->write(bytes));
}

Answer<void> Intake::end_part() {
    const Part ended = std::exchange(part_, Part::none);
    if (ended != Part::spec) return checked(tar_->end_file());
    const std::string text = std::exchange(spec_text_, {});
    return take_spec(text, true);
}

Answer<Accepted> Intake::publish() {
    if (!submission_) {
        return refuse(ProblemType::invalid_multipart, "The body has no part `spec`.");
    }
    if (!promised_.empty()) {
        Problem problem{ProblemType::invalid_multipart,
                        "The spec lists files that neither have content nor came as a part."};
        for (const auto& [path, _] : promised_) {
            problem.errors.push_back({"parts." + shown_text(path), "is missing", {}, {}});
        }
        return std::unexpected(std::move(problem));
    }
    const auto tar_bytes = tar_->finish();
    if (!tar_bytes) return std::unexpected(from_store(tar_bytes.error()));
    Accepted out;
    out.spec = std::move(submission_->spec);
    out.spec.files = tar_->files();
    // The order in which parts arrive means nothing; a retry that sends them in another one is the
    // same submission.
    std::ranges::sort(out.spec.files, {}, &store::InputFile::path);
    out.spec.stdin_file = tar_->stdin_file();
    out.spec_sha256 = store::sha256_hex(store::canonical_spec(out.spec));
    out.stored_bytes = *tar_bytes;
    const auto published = data_dir_.publish(std::move(file_), run_id_, store::kInputTar);
    if (published) return out;
    (void)data_dir_.remove_run(run_id_);
    return std::unexpected(from_store(published.error()));
}

}  // namespace mayfly::api
