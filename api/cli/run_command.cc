// mayfly run: upload, follow, save, and the script's exit code.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "api/cli/exit_code.h"
#include "api/cli/fields.h"
#include "api/cli/follow.h"
#include "api/cli/session.h"
#include "api/cli/sse.h"
#include "api/cli/submission_text.h"
#include "api/cli/text.h"
#include "api/cli/upload.h"
#include "store/clock.h"

namespace mayfly::api::cli {
namespace {

constexpr std::int64_t kProgressFromBytes = 256 << 10;
constexpr std::int64_t kProgressEveryMs = 100;
constexpr std::int64_t kMaxSecretBytes = 4'096;
constexpr int kSilenceMs = 50'000;  // a keep-alive comes every 15 s

std::string random_hex() {
    store::SystemRandom random;
    return store::make_nonce(random) + store::make_nonce(random);
}

// `data` is a JSON text, maybe with the line feed at its end.
std::string json_event(std::string_view name, std::string_view data) {
    while (data.ends_with('\n')) data.remove_suffix(1);
    return fmt::format("{{\"event\":{},\"data\":{}}}", to_line(std::string(name)), data);
}

class Running final : public Wake {
public:
    explicit Running(Session& session)
        : session_(session), options_(session.options()), patience_(session, *this) {}

    int run() {
        if (auto sent = submit(); !sent) return sent.error();
        if (options_.run.detach) return detached_by_choice();
        if (auto followed = follow(); !followed) return followed.error();
        return finish();
    }

    [[nodiscard]] int fd() const override { return interrupts_.fd(); }

    [[nodiscard]] bool go_on() override {
        while (const int number = interrupts_.take()) {
            if (!handle(number)) return false;
        }
        if (cancel_wanted_ && !cancel_heard_ && !id_.empty()) try_cancel();
        return true;
    }

private:
    using Step = std::expected<void, int>;

    // ---- the submission

    Step submit() {
        const RunOptions& run = options_.run;
        const auto note = [this](const std::string& text) { session_.voice().say(text); };
        auto files = find_files(run.files, note);
        if (!files) return usage(files.error());
        OpenFile standard_input;
        if (!run.stdin_from.empty()) {
            auto opened = open_stdin(run.stdin_from);
            if (!opened) return usage(opened.error());
            standard_input = *opened;
        }
        Surroundings around;
        around.variable = [](const std::string& name) -> std::optional<std::string> {
            const char* value = std::getenv(name.c_str());
            if (value == nullptr) return std::nullopt;
            return value;
        };
        if (!run.webhook_secret_file.empty()) {
            auto secret = read_small(run.webhook_secret_file, kMaxSecretBytes);
            if (!secret) return usage("--webhook-secret-file " + secret.error());
            while (secret->ends_with('\n')) secret->pop_back();
            around.webhook_secret = std::move(*secret);
        }
        auto spec = make_spec(run, *files, around);
        if (!spec) return usage(spec.error());
        const std::string boundary = "mayfly" + random_hex();
        MultipartBody body(boundary, *spec, *files, standard_input,
                           [this](std::int64_t bytes) { show_progress(bytes); });
        body_bytes_ = body.size();
        return send(body, boundary);
    }

    Step usage(const std::string& text) {
        session_.voice().error(text);
        return std::unexpected(kExitUsage);
    }

    // Again with the same key until there is an answer: it is never run twice.
    Step send(MultipartBody& body, const std::string& boundary) {
        const std::string key = options_.run.key.empty() ? random_hex() : options_.run.key;
        HttpRequest request{"POST",
                            "/v1/runs",
                            {{"Accept", "application/json"},
                             {"Content-Type", "multipart/form-data; boundary=" + boundary},
                             {"Idempotency-Key", key}},
                            &body};
        bool reached = false;
        while (true) {
            auto answer = ask_http(session_.address(), request, *this);
            session_.voice().clear();
            if (answer && answer->ok()) {
                patience_.made();
                return submitted(*answer);
            }
            if (!answer && answer.error().kind == HttpError::Kind::stopped)
                return stopped_before(answer.error().sent_all);
            reached = reached || answer || answer.error().kind == HttpError::Kind::lost;
            if (!passing(answer) || !reached) {
                return std::unexpected(answer ? session_.fail(*answer)
                                              : session_.fail(answer.error()));
            }
            if (!patience_.again(why_not(answer))) {
                if (stopped_by_ != 0) return stopped_before(true);
                return std::unexpected(kExitNoContact);
            }
        }
    }

    Step submitted(const HttpAnswer& answer) {
        const nlohmann::json run = parse_json(answer.body);
        id_ = text_of(run, "id");
        if (!store::is_run_id(id_)) {
            id_.clear();
            session_.voice().error("the answer names no run: is it mayflyd that listens there?");
            return std::unexpected(kExitNoContact);
        }
        if (options_.run.detach && options_.json) {
            session_.out_json(answer.body);
        } else if (options_.run.detach) {
            session_.out(id_ + "\n");
        } else if (options_.json) {
            session_.out_json(json_event("created", answer.body));
        } else {
            session_.voice().say(fmt::format(
                "run {}{}", id_, answer.status == 200 ? " (it had been submitted before)" : ""));
        }
        return {};
    }

    Step stopped_before(bool maybe_heard) {
        session_.voice().error(maybe_heard
                                   ? "stopped before mayflyd had answered; if it got the run, "
                                     "mayfly ps shows it"
                                   : "stopped; nothing was submitted");
        return std::unexpected(kExitSignalBase + stopped_by_);
    }

    void show_progress(std::int64_t bytes) {
        if (body_bytes_ < kProgressFromBytes || !session_.voice().on_terminal()) return;
        const std::int64_t now = steady_ms();
        if (now - progress_ms_ < kProgressEveryMs && bytes < body_bytes_) return;
        progress_ms_ = now;
        session_.voice().progress(progress_bar("sending", bytes, body_bytes_));
    }

    int detached_by_choice() {
        session_.voice().say(fmt::format("detached; follow it with: mayfly logs -f {}", id_));
        return kExitOk;
    }

    // ---- while it runs

    Step follow() {
        Follower follower;
        while (!ended_) {
            HttpRequest request{"GET",
                                "/v1/runs/" + id_ + "/logs?follow=1&stream=both",
                                {{"Accept", "text/event-stream"}}};
            if (!follower.resume_id().empty())
                request.headers.emplace_back("Last-Event-ID", follower.resume_id());
            request.silence_ms = kSilenceMs;
            SseParser parser;
            const auto take = [&](const SseEvent& event) { show(event, follower.take(event)); };
            const auto sink = [&](std::string_view bytes) {
                return parser.feed(bytes, take) && !ended_;
            };
            const auto on_head = [&](const HttpAnswer& head) {
                if (head.ok()) patience_.made();
            };
            const auto answer = ask_http(session_.address(), request, *this, sink, on_head);
            if (ended_) break;
            if (detached_) return std::unexpected(kExitDetached);
            const bool cut = answer && answer->ok();
            if (!cut && !passing(answer)) {
                return std::unexpected(answer ? session_.fail(*answer, id_)
                                              : session_.fail(answer.error()));
            }
            const std::string why =
                cut ? "mayflyd ended the stream before the run's end" : why_not(answer);
            if (!patience_.again(why)) return gave_up();
        }
        return {};
    }

    Step gave_up() {
        if (detached_) return std::unexpected(kExitDetached);
        session_.voice().error(fmt::format(
            "the run goes on without us; when mayflyd is back: mayfly logs -f {}", id_));
        return std::unexpected(kExitNoContact);
    }

    void show(const SseEvent& event, const Told& told) {
        if (told.kind == Told::Kind::nothing) return;
        if (told.kind == Told::Kind::end) ended_ = true;
        if (options_.json) {
            nlohmann::json fields = told.fields;
            session_.out_json(json_event(event.name, to_line(fields)));
            return;
        }
        switch (told.kind) {
            case Told::Kind::output:
                if (told.missing > 0) {
                    session_.voice().error(fmt::format("{} of {} did not arrive",
                                                       show_bytes(told.missing),
                                                       told.is_stderr ? "stderr" : "stdout"));
                }
                session_.voice().pass_on(told.is_stderr, told.bytes);
                break;
            case Told::Kind::status:
                if (!ended_)
                    session_.voice().status(phase_line(told.fields, session_.stderr_look()));
                break;
            case Told::Kind::restart:
                session_.voice().say(fmt::format(
                    "the attempt was lost; attempt {} begins, its output from the start",
                    integer_of(told.fields, "attempt").value_or(0)));
                break;
            default:
                break;
        }
    }

    // ---- signals. False = stop the request under way.

    bool handle(int number) {
        stopped_by_ = number;
        if (id_.empty()) return false;
        if (ended_) {
            detached_ = true;
            session_.voice().say(
                fmt::format("stopped; what run {} left is still with mayflyd", id_));
            return false;
        }
        if (cancel_wanted_) return detach();
        if (number == SIGINT && has_person()) return ask();
        if (options_.run.detach_on_signal) return detach();
        cancel();
        return true;
    }

    bool ask() {
        session_.voice().clear();
        switch (ask_person(interrupts_)) {
            case Reply::detach:
                return detach();
            case Reply::cancel:
                cancel();
                return true;
            case Reply::go_on:
                session_.voice().say("going on");
                return true;
        }
        return true;
    }

    bool detach() {
        detached_ = true;
        session_.voice().say(
            fmt::format("detached; the run goes on. Follow it with: mayfly logs "
                        "-f {0}; stop it with: mayfly cancel {0}",
                        id_));
        return false;
    }

    void cancel() {
        cancel_wanted_ = true;
        session_.voice().say("cancelling; again to detach at once");
        try_cancel();
    }

    void try_cancel() {
        Wake nobody;
        HttpRequest request{"POST", "/v1/runs/" + id_ + "/cancel"};
        request.silence_ms = 5'000;
        const auto answer = ask_http(session_.address(), request, nobody);
        // 409: it has ended already, which the stream is about to say.
        cancel_heard_ = answer && !passing(answer);
    }

    // ---- the end

    int finish() {
        std::string text;
        if (const int code = fetch_run(text); code != kExitOk) return code;
        const nlohmann::json run = parse_json(text);
        const int code = exit_code_of(member(run, "status"));
        int saved = kExitOk;
        if (!options_.run.out.empty())
            saved = save_artifacts(session_, *this, id_, options_.run.out, {});
        if (options_.json) {
            session_.out_json(json_event("run", text));
        } else {
            session_.voice().say(ending_text(run, session_.stderr_look()));
        }
        return code == kExitOk ? saved : code;
    }

    int fetch_run(std::string& text) {
        while (true) {
            HttpRequest request{"GET", "/v1/runs/" + id_, {{"Accept", "application/json"}}};
            auto answer = ask_http(session_.address(), request, *this);
            if (answer && answer->ok()) {
                patience_.made();
                text = std::move(answer->body);
                return kExitOk;
            }
            if (detached_) return kExitDetached;
            if (!passing(answer))
                return answer ? session_.fail(*answer, id_) : session_.fail(answer.error());
            if (!patience_.again(why_not(answer)))
                return detached_ ? kExitDetached : kExitNoContact;
        }
    }

    Session& session_;
    const Options& options_;
    Interrupts interrupts_;
    Patience patience_;
    std::string id_;
    std::int64_t body_bytes_ = 0;
    std::int64_t progress_ms_ = 0;
    bool ended_ = false;
    bool detached_ = false;
    bool cancel_wanted_ = false;
    bool cancel_heard_ = false;
    int stopped_by_ = 0;
};

}  // namespace

int run_command(Session& session) { return Running(session).run(); }

}  // namespace mayfly::api::cli
