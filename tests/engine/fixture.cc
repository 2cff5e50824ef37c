#include "tests/engine/fixture.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace mayfly::controller::docker {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);
constexpr const char* kPreparedRepository = "mayfly-test/prepared";

// Stands in for PID 1: drops its own flags and becomes the command.
constexpr const char* kInitScript =
    "#!/bin/sh\n"
    "while [ \"$1\" != -- ]; do shift; done\n"
    "shift\n"
    "exec \"$@\"\n";

std::int64_t next_number() {
    static std::int64_t number = 0;
    return ++number;
}

}  // namespace

const char* test_engine() {
    const char* named = std::getenv("MAYFLY_TEST_ENGINE");
    return named != nullptr ? named : std::getenv("DOCKER_HOST");
}

std::string make_tar(const std::vector<TarEntry>& entries) {
    std::string out;
    archive* tar = archive_write_new();
    archive_write_set_format_ustar(tar);
    archive_write_set_bytes_in_last_block(tar, 1);
    const auto append = [](archive*, void* into, const void* bytes, std::size_t size) {
        static_cast<std::string*>(into)->append(static_cast<const char*>(bytes), size);
        return static_cast<la_ssize_t>(size);
    };
    archive_write_open(tar, &out, nullptr, append, nullptr);
    for (const TarEntry& entry : entries) {
        archive_entry* head = archive_entry_new();
        const bool is_directory = entry.path.ends_with('/');
        archive_entry_set_pathname(head, entry.path.c_str());
        archive_entry_set_filetype(head, is_directory ? AE_IFDIR : AE_IFREG);
        archive_entry_set_perm(head, static_cast<__LA_MODE_T>(entry.mode));
        archive_entry_set_size(head, static_cast<la_int64_t>(entry.content.size()));
        archive_write_header(tar, head);
        archive_write_data(tar, entry.content.data(), entry.content.size());
        archive_entry_free(head);
    }
    archive_write_close(tar);
    archive_write_free(tar);
    return out;
}

std::map<std::string, std::string> read_tar(const std::string& bytes) {
    std::map<std::string, std::string> files;
    archive* tar = archive_read_new();
    archive_read_support_format_tar(tar);
    EXPECT_EQ(ARCHIVE_OK, archive_read_open_memory(tar, bytes.data(), bytes.size()));
    archive_entry* entry = nullptr;
    int status = ARCHIVE_OK;
    while ((status = archive_read_next_header(tar, &entry)) == ARCHIVE_OK) {
        if (archive_entry_filetype(entry) != AE_IFREG) {
            continue;
        }
        std::string content(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
        EXPECT_EQ(static_cast<la_ssize_t>(content.size()),
                  archive_read_data(tar, content.data(), content.size()));
        files[archive_entry_pathname(entry)] = std::move(content);
    }
    EXPECT_EQ(ARCHIVE_EOF, status);
    archive_read_free(tar);
    return files;
}

std::expected<std::size_t, std::string> TextSource::read(std::span<std::byte> buffer) {
    const std::size_t take = std::min(buffer.size(), text_.size() - at_);
    std::memcpy(buffer.data(), text_.data() + at_, take);
    at_ += take;
    return take;
}

std::expected<void, std::string> TextSink::write(std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.size() > refuse_after) {
        return std::unexpected("enough");
    }
    return {};
}

std::expected<void, std::string> TextLogSink::write(Stream stream,
                                                    std::span<const std::byte> bytes) {
    std::string& into = stream == Stream::out ? out : err;
    into.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
}

EngineTest::EngineTest() {
    const auto endpoint = parse_endpoint(test_engine(), "", "");
    if (!endpoint) {
        throw std::runtime_error(endpoint.error());
    }
    DockerSettings settings;
    settings.name = "test";
    settings.transport.endpoint = *endpoint;
    settings.observer = [this](std::string_view call, std::string_view result, double) {
        ++calls_[fmt::format("{} {}", call, result)];
    };
    auto opened = DockerEngine::open(io_.get_executor(), std::move(settings), clock_);
    if (!opened) {
        throw std::runtime_error(opened.error());
    }
    engine_ = std::move(*opened);
}

EngineTest::~EngineTest() {
    for (const std::string& id : containers_) {
        (void)run(engine_->remove_container(id, true));
    }
    for (const std::string& name : volumes_) {
        (void)run(engine_->remove_volume(name));
    }
    engine_->close();
    io_.restart();
    io_.run();
}

void EngineTest::must(boost::asio::awaitable<Reply<void>> call) {
    const Reply<void> reply = run(std::move(call));
    if (!reply) {
        ADD_FAILURE() << reply.error().call << ": " << to_string(reply.error().kind) << " "
                      << reply.error().message;
        throw std::runtime_error("the call failed");
    }
}

bool EngineTest::run_until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!done() && std::chrono::steady_clock::now() < end) {
        io_.restart();
        io_.run_one_until(end);
    }
    return done();
}

const std::string& EngineTest::prepared_image() {
    static std::string image_id;
    if (image_id.empty()) {
        const std::string name = new_name();
        const std::map<std::string, std::string> labels = {
            {std::string(kLabelInstance), "engine-tests"}, {std::string(kLabelRole), "build"}};
        const auto built = must(engine_->create_build_container(name, kBaseImage, labels));
        TextSource tar(make_tar(
            {{"work/", 01777, ""}, {".mayfly/", 0755, ""}, {".mayfly/init", 0555, kInitScript}}));
        must(engine_->put_archive(built.id, "/", tar));
        image_id =
            must(engine_->commit_image(built.id, kPreparedRepository, "1",
                                       {{std::string(kImageLabelInstance), "engine-tests"}}));
        must(engine_->remove_container(built.id, false));
    }
    return image_id;
}

std::string EngineTest::new_name() {
    return fmt::format("mayfly-engine-test-{}-{}", ::getpid(), next_number());
}

Sandbox EngineTest::new_sandbox(std::vector<std::string> command) {
    store::Run run;
    run.id = fmt::format("run{}", next_number());
    run.spec_sha256 = "spec";
    run.spec.command = std::move(command);
    run.spec.env = {{"GREETING", "good \"day\""}};
    run.spec.limits = {.timeout_s = 30,
                       .queue_timeout_s = 60,
                       .memory_bytes = 64 << 20,
                       .cpu_millis = 500,
                       .pids = 32,
                       .work_bytes = 8 << 20,
                       .tmp_bytes = 1 << 20,
                       .log_bytes = 1 << 20,
                       .artifact_bytes = 1 << 20,
                       .artifact_files = 10};
    store::Attempt attempt;
    attempt.container_name = new_name();
    attempt.volume_name = attempt.container_name + "-volume";
    attempt.nonce = "0123456789abcdef";
    SandboxSettings settings;
    settings.instance_id = attempt.container_name;  // so that a list by it finds this one alone
    const std::string& image = prepared_image();
    containers_.push_back(attempt.container_name);
    volumes_.push_back(attempt.volume_name);
    return make_sandbox(settings, run, attempt, image);
}

ContainerFacts EngineTest::wait_for_end(const std::string& id) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
        ContainerFacts facts = must(engine_->inspect_container(id));
        if (facts.state == ContainerState::exited || facts.state == ContainerState::dead) {
            return facts;
        }
        if (std::chrono::steady_clock::now() > end) {
            throw std::runtime_error(id + " does not end");
        }
    }
}

}  // namespace mayfly::controller::docker
