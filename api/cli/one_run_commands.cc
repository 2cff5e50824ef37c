// get, cancel, rm, explain, artifacts: questions about runs that are named.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "api/cli/exit_code.h"
#include "api/cli/fields.h"
#include "api/cli/save.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "api/query.h"

namespace mayfly::api::cli {
namespace {

constexpr std::int64_t kWaitSliceS = 20;
constexpr std::int64_t kProgressFromBytes = 1 << 20;
constexpr std::int64_t kProgressEveryMs = 100;

bool is_over(const nlohmann::json& run) {
    return !text_of(member(run, "status"), "finished_at").empty();
}

// --wait, in seconds; 0 when it was not given.
std::expected<std::int64_t, int> wait_of(Session& session) {
    const std::string& text = session.options().wait;
    if (text.empty()) return 0;
    if (const auto seconds = parse_seconds(text)) return *seconds;
    session.voice().error(
        fmt::format("--wait {}: must be a time, like 30s, 5m or 1h", printable(text)));
    return std::unexpected(kExitUsage);
}

// The run when it has ended, or when the time is over. As often as it takes: mayflyd waits for a
// minute at most.
std::expected<HttpAnswer, int> wait_for(Session& session, const std::string& id,
                                        std::int64_t wait_s) {
    const std::int64_t end = steady_ms() + wait_s * 1'000;
    while (true) {
        const std::int64_t left_s = (end - steady_ms() + 999) / 1'000;
        const std::string query =
            left_s > 0 ? fmt::format("?wait={}s", std::min(left_s, kWaitSliceS)) : "";
        auto answer = session.ask("GET", "/v1/runs/" + id + query, id);
        if (!answer || left_s <= 0 || is_over(parse_json(answer->body))) return answer;
    }
}

std::expected<std::string, int> only_id(Session& session) {
    return session.run_id(session.options().ids.at(0));
}

std::uint32_t mode_of(const nlohmann::json& file) {
    const std::string text = text_of(file, "mode");
    std::uint32_t mode = 0644;
    std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    return mode;
}

class Saver {
public:
    Saver(Session& session, Wake& wake, std::string run_id, SaveFolder folder)
        : session_(session),
          wake_(wake),
          patience_(session, wake),
          run_id_(std::move(run_id)),
          folder_(std::move(folder)) {}

    // kExitOk, or how it went wrong, which was told.
    int save(const nlohmann::json& file) {
        const std::string path = text_of(file, "path");
        auto saved = SavedFile::begin(folder_, path);
        if (!saved) return refused(path, saved.error());
        if (const int code = fetch(file, path, *saved); code != kExitOk) return code;
        const auto done = saved->commit(text_of(file, "sha256"), mode_of(file));
        if (!done) return refused(path, done.error());
        ++count_;
        bytes_ += integer_of(file, "size").value_or(0);
        if (session_.options().json) {
            session_.out_json(fmt::format("{{\"event\":\"saved\",\"data\":{}}}", to_line(file)));
        }
        return kExitOk;
    }

    [[nodiscard]] std::string summary(const std::string& folder) const {
        return fmt::format("saved {} ({}) in {}", counted(count_, "file"), show_bytes(bytes_),
                           printable(folder));
    }

private:
    int refused(const std::string& path, const std::string& why) {
        session_.voice().error(fmt::format("{} {}", printable(path), why));
        return kExitUsage;
    }

    int fetch(const nlohmann::json& file, const std::string& path, SavedFile& saved) {
        HttpRequest request{"GET", "/v1/runs/" + run_id_ + "/artifacts/" + percent_encode(path)};
        const std::int64_t size = integer_of(file, "size").value_or(0);
        while (true) {
            if (auto fresh = saved.restart(); !fresh) return refused(path, fresh.error());
            std::string local_error;
            std::int64_t got = 0;
            const auto sink = [&](std::string_view bytes) {
                auto written = saved.write(bytes);
                if (!written) local_error = written.error();
                got += std::ssize(bytes);
                show_progress(path, got, size);
                return written.has_value();
            };
            const auto answer = ask_http(session_.address(), request, wake_, sink);
            if (!local_error.empty()) return refused(path, local_error);
            if (answer && answer->ok()) {
                patience_.made();
                session_.voice().clear();
                return kExitOk;
            }
            if (!answer && answer.error().kind == HttpError::Kind::stopped) return kExitDetached;
            if (!passing(answer)) {
                return answer ? session_.fail(*answer, run_id_) : session_.fail(answer.error());
            }
            if (!patience_.again(why_not(answer))) return kExitNoContact;
        }
    }

    void show_progress(const std::string& path, std::int64_t got, std::int64_t size) {
        if (size < kProgressFromBytes || steady_ms() - progress_ms_ < kProgressEveryMs) return;
        progress_ms_ = steady_ms();
        session_.voice().progress(progress_bar(printable(path), got, size));
    }

    Session& session_;
    Wake& wake_;
    Patience patience_;
    std::string run_id_;
    SaveFolder folder_;
    std::int64_t count_ = 0;
    std::int64_t bytes_ = 0;
    std::int64_t progress_ms_ = 0;
};

std::expected<HttpAnswer, int> listing_of(Session& session, Wake& wake,
                                          const std::string& run_id) {
    Patience patience(session, wake);
    while (true) {
        HttpRequest request{
            "GET", "/v1/runs/" + run_id + "/artifacts", {{"Accept", "application/json"}}};
        auto answer = ask_http(session.address(), request, wake);
        if (answer && answer->ok()) return std::move(*answer);
        if (!answer && answer.error().kind == HttpError::Kind::stopped)
            return std::unexpected(kExitDetached);
        if (!passing(answer)) {
            return std::unexpected(answer ? session.fail(*answer, run_id)
                                          : session.fail(answer.error()));
        }
        if (!patience.again(why_not(answer))) return std::unexpected(kExitNoContact);
    }
}

int save_tar(Session& session, const std::string& id, const std::string& folder) {
    const bool to_stdout = folder == "-";
    if (to_stdout && session.stdout_terminal()) {
        session.voice().error(
            "a tar is no text for a terminal: send stdout to a file, or name a "
            "folder with --out");
        return kExitUsage;
    }
    Wake wake;
    HttpRequest request{"GET", "/v1/runs/" + id + "/artifacts.tar"};
    std::optional<SaveFolder> place;
    std::optional<SavedFile> file;
    if (!to_stdout) {
        auto opened = SaveFolder::open(folder);
        if (!opened) {
            session.voice().error(opened.error());
            return kExitUsage;
        }
        place.emplace(std::move(*opened));
        auto begun = SavedFile::begin(*place, id + ".tar");
        if (!begun) {
            session.voice().error(begun.error());
            return kExitUsage;
        }
        file.emplace(std::move(*begun));
    }
    std::expected<void, std::string> written;
    const auto sink = [&](std::string_view bytes) {
        if (file) written = file->write(bytes);
        if (!file) session.out(bytes);
        return written.has_value();
    };
    const auto answer = ask_http(session.address(), request, wake, sink);
    if (!answer) return session.fail(answer.error());
    if (!answer->ok()) return session.fail(*answer, id);
    if (file && written) written = file->commit("", 0644);
    if (!written) {
        session.voice().error(fmt::format("{}.tar {}", id, written.error()));
        return kExitUsage;
    }
    if (file) session.voice().say(fmt::format("saved {}.tar in {}", id, printable(folder)));
    return kExitOk;
}

// The same request for each run named; the first failure's code in the end, all are asked.
int for_each_run(Session& session, const char* method, const char* tail, const char* done) {
    int code = kExitOk;
    for (const std::string& text : session.options().ids) {
        const auto id = session.run_id(text);
        if (!id) {
            if (code == kExitOk) code = id.error();
            continue;
        }
        const auto answer = session.ask(method, "/v1/runs/" + *id + tail, *id);
        if (!answer && code == kExitOk) code = answer.error();
        if (!answer) continue;
        if (session.options().json) {
            session.out_json(answer->body);
        } else {
            session.out(fmt::format("{} {}\n", *id, done));
        }
    }
    return code;
}

}  // namespace

int get_command(Session& session) {
    const auto wait_s = wait_of(session);
    if (!wait_s) return wait_s.error();
    const auto id = only_id(session);
    if (!id) return id.error();
    const auto answer = wait_for(session, *id, *wait_s);
    if (!answer) return answer.error();
    if (session.options().json) {
        session.out_json(answer->body);
    } else {
        session.out(run_view(parse_json(answer->body), session.look()));
    }
    return kExitOk;
}

int cancel_command(Session& session) {
    const auto wait_s = wait_of(session);
    if (!wait_s) return wait_s.error();
    const char* done = "is being cancelled";
    if (*wait_s == 0) return for_each_run(session, "POST", "/cancel", done);
    // All of them first, so that they end side by side.
    int code = kExitOk;
    std::vector<std::string> asked;
    for (const std::string& text : session.options().ids) {
        const auto id = session.run_id(text);
        std::expected<HttpAnswer, int> answer = std::unexpected(id ? kExitOk : id.error());
        if (id) answer = session.ask("POST", "/v1/runs/" + *id + "/cancel", *id);
        if (answer) {
            asked.push_back(*id);
        } else if (code == kExitOk) {
            code = answer.error();
        }
    }
    for (const std::string& id : asked) {
        const auto answer = wait_for(session, id, *wait_s);
        if (!answer) return answer.error();
        const nlohmann::json run = parse_json(answer->body);
        if (session.options().json) {
            session.out_json(answer->body);
        } else {
            session.out(fmt::format("{} {}\n", id,
                                    is_over(run)
                                        ? printable(text_of(member(run, "status"), "phase"))
                                        : std::string(done)));
        }
    }
    return code;
}

int rm_command(Session& session) { return for_each_run(session, "DELETE", "", "is deleted"); }

int explain_command(Session& session) {
    const auto id = only_id(session);
    if (!id) return id.error();
    const auto answer = session.ask("GET", "/v1/runs/" + *id + "/explain", *id);
    if (!answer) return answer.error();
    if (session.options().json) {
        session.out_json(answer->body);
    } else {
        session.out(explain_view(parse_json(answer->body), session.look()));
    }
    return kExitOk;
}

int artifacts_ls_command(Session& session) {
    const auto id = only_id(session);
    if (!id) return id.error();
    const auto answer = session.ask("GET", "/v1/runs/" + *id + "/artifacts", *id);
    if (!answer) return answer.error();
    if (session.options().json) {
        session.out_json(answer->body);
    } else {
        session.out(artifacts_view(parse_json(answer->body), session.look()));
    }
    return kExitOk;
}

int artifacts_get_command(Session& session) {
    const auto id = only_id(session);
    if (!id) return id.error();
    const Options& options = session.options();
    const std::string folder = options.out.empty() ? "." : options.out;
    if (options.tar && !options.paths.empty()) {
        session.voice().error("--tar brings everything; leave it or the PATHs away");
        return kExitUsage;
    }
    if (options.tar) return save_tar(session, *id, folder);
    Wake wake;
    return save_artifacts(session, wake, *id, folder, options.paths);
}

int save_artifacts(Session& session, Wake& wake, const std::string& run_id,
                   const std::string& folder, const std::vector<std::string>& only) {
    const auto answer = listing_of(session, wake, run_id);
    if (!answer) return answer.error();
    const nlohmann::json listing = parse_json(answer->body);
    auto opened = SaveFolder::open(folder);
    if (!opened) {
        session.voice().error(opened.error());
        return kExitUsage;
    }
    Saver saver(session, wake, run_id, std::move(*opened));
    int code = kExitOk;
    std::vector<std::string> missing = only;
    for (const auto& file : member(listing, "artifacts")) {
        const std::string path = text_of(file, "path");
        if (!only.empty() && std::erase(missing, path) == 0) continue;
        const int saved = saver.save(file);
        if (saved == kExitOk) continue;
        code = saved;
        if (saved != kExitUsage) return saved;  // contact is lost: the next would not come either
    }
    for (const std::string& path : missing) {
        session.voice().error(
            fmt::format("run {0} left no file {1}; mayfly artifacts ls {0} lists "
                        "what it left",
                        run_id, printable(path)));
        code = kExitRefused;
    }
    for (const auto& entry : member(listing, "skipped")) {
        session.voice().say(fmt::format("not kept by mayflyd: {}: {}",
                                        printable(text_of(entry, "path")),
                                        printable(text_of(entry, "reason"))));
    }
    session.voice().say(saver.summary(folder));
    return code;
}

}  // namespace mayfly::api::cli
