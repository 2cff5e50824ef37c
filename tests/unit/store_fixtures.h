// What the tests of the store share: a folder of their own, runs with every field set, a way to
// walk one to its end.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "store/database.h"

namespace mayfly::store {

class TempFolder {
public:
    TempFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "mayfly-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        path_ = name;
    }
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    [[nodiscard]] std::filesystem::path operator/(std::string_view name) const {
        return path_ / name;
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

// The n-th id, in order. Valid ULIDs.
inline std::string id_of(std::int64_t n) {
    auto digits = std::to_string(n);
    return std::string(26 - digits.size(), '0') + digits;
}

inline RunSpec full_spec() {
    RunSpec spec;
    spec.image = "busybox:1.36";
    spec.command = {"sh", "-c", "echo \"h\u00e9\" > output/a\n"};
    spec.files = {
        {.path = "in/data.csv", .mode = 0644, .size = 12, .sha256 = std::string(64, 'a')},
        {.path = "go.sh", .mode = 0755, .size = 0, .sha256 = std::string(64, 'b')}};
    spec.stdin_file = InputFile{.path = "", .mode = 0, .size = 7, .sha256 = std::string(64, 'c')};
    spec.env = {{"A", "1"}, {"B", ""}};
    spec.labels = {{"team", "blue"}, {"kind", "test"}};
    spec.limits = {.timeout_s = 60,
                   .queue_timeout_s = 3600,
                   .memory_bytes = 256LL << 20,
                   .cpu_millis = 1500,
                   .pids = 128,
                   .work_bytes = 1LL << 28,
                   .tmp_bytes = 1LL << 26,
                   .log_bytes = 1LL << 20,
                   .artifact_bytes = 5LL << 30,
                   .artifact_files = 1000};
    spec.network = Network::loopback;
    spec.runtime = "runsc";
    spec.priority = -5;
    spec.max_attempts = 3;
    spec.ttl_s = 86'400;
    return spec;
}

inline NewRun new_run(std::int64_t n) {
    NewRun run;
    run.id = id_of(n);
    run.spec = full_spec();
    run.spec_sha256 = std::string(64, 'd');
    run.now_ms = 1'000 + n;
    run.stored_bytes = 100;
    return run;
}

inline Attempt new_attempt(const std::string& run_id, std::int64_t number) {
    Attempt attempt;
    attempt.run_id = run_id;
    attempt.number = number;
    attempt.engine = "local";
    attempt.container_name = "mayfly-" + run_id + "-" + std::to_string(number);
    attempt.volume_name = attempt.container_name + "-0123456789abcdef";
    attempt.nonce = "0123456789abcdef";
    attempt.bound_ms = 2'000;
    attempt.prepare_deadline_ms = 62'000;
    return attempt;
}

inline EngineExit some_exit() {
    return {.exit_code = 3,
            .oom_killed = true,
            .error = "it said so",
            .state = "exited",
            .started_ms = 476,
            .finished_ms = 475};
}

inline HarvestResult full_harvest() {
    HarvestResult harvest;
    harvest.exit_code = 3;
    harvest.signal = 9;
    harvest.oom_killed = true;
    harvest.cpu_ms = 40;
    harvest.memory_peak_bytes = 1 << 20;
    harvest.stdout_stream = {.bytes_total = 10, .bytes_kept = 8, .truncated = true};
    harvest.stderr_stream = {.bytes_total = 1, .bytes_kept = 1, .truncated = false};
    harvest.artifacts = {
        {.path = "a.txt", .offset = 512, .size = 5, .sha256 = std::string(64, 'e'), .mode = 0644},
        {.path = "d/b \u00e9",
         .offset = 1536,
         .size = 6,
         .sha256 = std::string(64, 'f'),
         .mode = 0600}};
    harvest.skipped = {{.path = "link", .reason = "symlink"},
                       {.path = "a%00b", .reason = "bad_name"}};
    harvest.skipped_count = 102;
    harvest.result_json = R"({"sum": 42})";
    harvest.result_error = "";
    harvest.stored_bytes = 900;
    return harvest;
}

inline Mutation bind_attempt(const std::string& id, std::int64_t number) {
    return BindAttempt{.run_id = id, .now_ms = 2'000, .attempt = new_attempt(id, number)};
}
inline Mutation start_intent(const std::string& id, std::int64_t number) {
    return RecordStartIntent{
        .run_id = id, .attempt = number, .now_ms = 3'000, .container_id = "c1"};
}
inline Mutation started(const std::string& id, std::int64_t number) {
    return RecordStarted{
        .run_id = id, .attempt = number, .now_ms = 4'000, .run_deadline_ms = 64'000};
}
inline Mutation exited(const std::string& id, std::int64_t number) {
    return RecordExit{.run_id = id, .attempt = number, .now_ms = 5'000, .exit = some_exit()};
}
inline Mutation finished(const std::string& id, std::int64_t number, Phase phase = Phase::failed) {
    return FinishRun{.run_id = id,
                     .attempt = number,
                     .now_ms = 6'000,
                     .phase = phase,
                     .reason = Reason::NonZeroExit,
                     .message = "exit code 3",
                     .harvest = full_harvest()};
}
inline Mutation collected(const std::string& id, std::int64_t number) {
    return MarkCollected{.run_id = id, .attempt = number, .now_ms = 7'000};
}
inline Mutation retried(const std::string& id, std::int64_t number) {
    return RetryRun{.run_id = id,
                    .attempt = number,
                    .now_ms = 6'000,
                    .reason = Reason::EngineInterrupted,
                    .message = "the engine went away"};
}

inline std::unique_ptr<Database> open_database(const std::filesystem::path& file) {
    auto opened = Database::open(file);
    if (!opened) {
        ADD_FAILURE() << opened.error().message;
        return nullptr;
    }
    return *std::move(opened);
}

// One change in a transaction of its own.
template <class Work>
auto commit(Database& database, Work work) {
    EXPECT_TRUE(database.begin());
    auto result = work();
    EXPECT_TRUE(database.commit());
    return result;
}
inline Result<CreatedRun> create(Database& database, const NewRun& run) {
    return commit(database, [&] { return database.create_run(run); });
}
inline Result<RunRecord> change(Database& database, const Mutation& mutation) {
    return commit(database, [&] { return database.apply(mutation); });
}

// Applies the mutations one after the other; all must be accepted.
inline void walk(Database& database, const std::vector<Mutation>& mutations) {
    for (const auto& mutation : mutations) {
        auto done = change(database, mutation);
        ASSERT_TRUE(done) << name_of(mutation) << ": " << done.error().message;
    }
}

template <class T>
ErrorKind kind_of(const Result<T>& result) {
    if (result) {
        ADD_FAILURE() << "it succeeded";
        return ErrorKind::io;
    }
    return result.error().kind;
}

}  // namespace mayfly::store
