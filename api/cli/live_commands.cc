// ps, events, top, logs: listings, and what goes on while one looks.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "api/cli/exit_code.h"
#include "api/cli/fields.h"
#include "api/cli/follow.h"
#include "api/cli/session.h"
#include "api/cli/sse.h"
#include "api/cli/text.h"
#include "api/query.h"

namespace mayfly::api::cli {
namespace {

constexpr std::int64_t kPageMost = 200;
constexpr std::int64_t kListDefault = 50;
constexpr std::int64_t kTopRuns = 50;
constexpr std::int64_t kRepaintMs = 250;
constexpr int kSilenceMs = 50'000;

// Draws over what was drawn before, without a flicker, and no more lines than there are.
class Screen {
public:
    void paint(std::string_view text) {
        std::string out = begun_ ? "\x1b[H" : "\x1b[2J\x1b[H";
        begun_ = true;
        const std::size_t lines = std::max<std::size_t>(2, lines_of(STDOUT_FILENO));
        std::size_t line = 1;
        while (!text.empty() && line < lines) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            out += text.substr(0, end);
            out += "\x1b[K\n";
            text.remove_prefix(std::min(end + 1, text.size()));
            ++line;
        }
        write_all(STDOUT_FILENO, out + "\x1b[J");
    }

private:
    bool begun_ = false;
};

QueryText listing_query(const Options& options) {
    QueryText query;
    for (const std::string& phase : options.phases) query.add("phase", phase);
    for (const std::string& label : options.labels) query.add("label", label);
    return query;
}

// Runs, page after page, until there are enough.
std::expected<nlohmann::json, int> list_runs(Session& session) {
    const Options& options = session.options();
    std::int64_t left = options.all ? INT64_MAX : options.limit.value_or(kListDefault);
    nlohmann::json all = nlohmann::json::array();
    std::string cursor;
    while (true) {
        QueryText query = listing_query(options);
        query.add("limit", std::to_string(std::min(left, kPageMost)));
        if (!cursor.empty()) query.add("cursor", cursor);
        auto answer = session.ask("GET", "/v1/runs" + query.text());
        if (!answer) return std::unexpected(answer.error());
        nlohmann::json page = parse_json(answer->body);
        if (!page.is_object() || !member(page, "runs").is_array()) {
            session.voice().error(
                "the answer is no list of runs: is it mayflyd that listens "
                "there?");
            return std::unexpected(kExitNoContact);
        }
        for (auto& run : page["runs"]) {
            all.push_back(std::move(run));
            --left;
        }
        cursor = text_of(page, "next_cursor");
        if (cursor.empty() || left <= 0) break;
    }
    return nlohmann::json{
        {"runs", std::move(all)},
        {"next_cursor", cursor.empty() ? nlohmann::json(nullptr) : nlohmann::json(cursor)}};
}

// GET /v1/events, for as long as wanted: reconnects, and resumes where it was.
class EventStream {
public:
    // Takes an event; false = enough.
    using Take = std::function<bool(const SseEvent&, const nlohmann::json&)>;

    EventStream(Session& session, Wake& wake, QueryText query, std::string resume)
        : session_(session),
          wake_(wake),
          query_(std::move(query)),
          resume_(std::move(resume)),
          patience_(session, wake) {}

    int run(const Take& take) {
        while (true) {
            HttpRequest request{
                "GET", "/v1/events" + query_.text(), {{"Accept", "text/event-stream"}}};
            if (!resume_.empty()) request.headers.emplace_back("Last-Event-ID", resume_);
            request.silence_ms = kSilenceMs;
            SseParser parser;
            bool enough = false;
            const auto each = [&](const SseEvent& event) {
                if (enough) return;
                if (!event.id.empty()) resume_ = event.id;
                enough = !take(event, parse_json(event.data));
            };
            const auto sink = [&](std::string_view bytes) {
                return parser.feed(bytes, each) && !enough;
            };
            const auto on_head = [&](const HttpAnswer& head) {
                reached_ = true;
                if (head.ok()) patience_.made();
            };
            const auto answer = ask_http(session_.address(), request, wake_, sink, on_head);
            if (enough) return kExitOk;
            if (!answer && answer.error().kind == HttpError::Kind::stopped) return kExitOk;
            const bool cut = answer && answer->ok();
            if (!cut && (!passing(answer) || !reached_))
                return answer ? session_.fail(*answer) : session_.fail(answer.error());
            if (!patience_.again(cut ? "mayflyd ended the stream" : why_not(answer)))
                return kExitNoContact;
        }
    }

private:
    Session& session_;
    Wake& wake_;
    QueryText query_;
    std::string resume_;
    Patience patience_;
    bool reached_ = false;
};

// ps --watch on a terminal: events say that something has changed, the listing says what is.
class Watch final : public Wake {
public:
    explicit Watch(Session& session) : session_(session) {}

    [[nodiscard]] int tick_ms() const override { return dirty_ ? 50 : 1'000; }
    [[nodiscard]] bool go_on() override {
        const std::int64_t now = steady_ms();
        // Ages move on every second; a burst of events is one look.
        if (dirty_ && now - painted_ms_ >= kRepaintMs) {
            return look();
        }
        if (now - painted_ms_ >= 1'000) paint();
        return true;
    }

    int run() {
        if (!look()) return code_;
        QueryText query;
        for (const std::string& label : session_.options().labels) query.add("label", label);
        EventStream events(session_, *this, query, "");
        const int code = events.run([this](const SseEvent& event, const nlohmann::json&) {
            dirty_ = true;  // `hello` too: something may have changed before it
            (void)event;
            return go_on();
        });
        return code_ != kExitOk ? code_ : code;
    }

private:
    bool look() {
        auto runs = list_runs(session_);
        if (!runs) {
            code_ = runs.error();
            // Gone for the moment: the stream of events will say so, and be tried again.
            dirty_ = false;
            painted_ms_ = steady_ms();
            const bool again = code_ == kExitNoContact && !runs_.is_null();
            if (again) code_ = kExitOk;
            return again;
        }
        runs_ = std::move((*runs)["runs"]);
        dirty_ = false;
        paint();
        return true;
    }

    void paint() {
        painted_ms_ = steady_ms();
        screen_.paint(runs_view(runs_, session_.look()));
    }

    Session& session_;
    Screen screen_;
    nlohmann::json runs_;
    bool dirty_ = false;
    std::int64_t painted_ms_ = 0;
    int code_ = kExitOk;
};

bool show_event(Session& session, const SseEvent& event, const nlohmann::json& fields) {
    if (event.name == "hello") return true;
    if (session.options().json) {
        session.out_json(event.data);
    } else if (event.name == "status") {
        session.out(event_line(fields, session.look()) + "\n");
    }
    return true;
}

int watch_by_lines(Session& session) {
    Wake wake;
    QueryText query;
    for (const std::string& label : session.options().labels) query.add("label", label);
    const auto& phases = session.options().phases;
    EventStream events(session, wake, query, "");
    return events.run([&](const SseEvent& event, const nlohmann::json& fields) {
        const bool wanted =
            phases.empty() || std::ranges::find(phases, text_of(fields, "phase")) != phases.end();
        return !wanted || show_event(session, event, fields);
    });
}

// ---- logs

class Interruptible final : public Wake {
public:
    [[nodiscard]] int fd() const override { return interrupts_.fd(); }
    [[nodiscard]] bool go_on() override {
        stopped_ = stopped_ || interrupts_.take() != 0;
        return !stopped_;
    }

private:
    Interrupts interrupts_;
    bool stopped_ = false;
};

int kept_log(Session& session, const std::string& id, const std::string& stream) {
    const Options& options = session.options();
    QueryText query;
    query.add("stream", stream);
    if (options.tail) query.add("tail", std::to_string(*options.tail));
    if (options.offset) query.add("offset", std::to_string(*options.offset));
    const bool is_stderr = stream == "stderr";
    Wake wake;
    HttpRequest request{"GET", "/v1/runs/" + id + "/logs" + query.text()};
    const auto answer = ask_http(session.address(), request, wake, [&](std::string_view bytes) {
        session.voice().pass_on(is_stderr, bytes);
        return true;
    });
    if (!answer) return session.fail(answer.error());
    if (!answer->ok()) return session.fail(*answer, id);
    if (answer->header("mayfly-truncated") == "true" && !options.tail && !options.offset) {
        session.voice().error(
            fmt::format("{} is not whole: of {} bytes only head and tail were "
                        "kept",
                        stream, answer->header("mayfly-bytes-total")));
    }
    return kExitOk;
}

int follow_raw(Session& session, const std::string& id, const std::string& stream) {
    Interruptible wake;
    Patience patience(session, wake);
    const bool is_stderr = stream == "stderr";
    std::int64_t offset = session.options().offset.value_or(0);
    std::string attempt;
    bool reached = false;
    while (true) {
        QueryText query;
        query.add("stream", stream).add("follow", "1").add("offset", std::to_string(offset));
        HttpRequest request{"GET", "/v1/runs/" + id + "/logs" + query.text()};
        request.silence_ms =
            24 * 3'600'000;  // a script may be silent; raw bytes have no heartbeat
        bool other_attempt = false;
        const auto on_head = [&](const HttpAnswer& head) {
            reached = true;
            if (head.ok()) patience.made();
            const std::string now(head.header("mayfly-attempt"));
            other_attempt = !attempt.empty() && attempt != "0" && now != attempt;
            if (!now.empty()) attempt = now;
        };
        const auto sink = [&](std::string_view bytes) {
            if (other_attempt) return false;
            session.voice().pass_on(is_stderr, bytes);
            offset += std::ssize(bytes);
            return true;
        };
        const auto answer = ask_http(session.address(), request, wake, sink, on_head);
        if (answer && answer->ok() && !answer->cut && !other_attempt) return kExitOk;
        if (!answer && answer.error().kind == HttpError::Kind::stopped) return kExitDetached;
        if (other_attempt) {
            session.voice().say("the attempt was lost; the next one's output, from its start");
            offset = 0;
        } else if (!passing(answer) || !reached) {
            return answer ? session.fail(*answer, id) : session.fail(answer.error());
        } else if (!patience.again(why_not(answer))) {
            return wake.go_on() ? kExitNoContact : kExitDetached;
        }
    }
}

int follow_events(Session& session, const std::string& id, const std::string& only) {
    Interruptible wake;
    Patience patience(session, wake);
    Follower follower;
    bool ended = false;
    bool reached = false;
    const auto take = [&](const SseEvent& event) {
        const Told told = follower.take(event);
        ended = ended || told.kind == Told::Kind::end;
        if (told.kind == Told::Kind::nothing) return;
        const bool output = told.kind == Told::Kind::output;
        if (output && !only.empty() && only != (told.is_stderr ? "stderr" : "stdout")) return;
        if (session.options().json) {
            session.out_json(fmt::format("{{\"event\":{},\"data\":{}}}",
                                         to_line(nlohmann::json(event.name)),
                                         to_line(told.fields)));
        } else if (output) {
            session.voice().pass_on(told.is_stderr, told.bytes);
        } else if (told.kind == Told::Kind::restart) {
            session.voice().say("the attempt was lost; the next one's output, from its start");
        }
    };
    while (true) {
        HttpRequest request{"GET",
                            "/v1/runs/" + id + "/logs?follow=1&stream=both",
                            {{"Accept", "text/event-stream"}}};
        if (!follower.resume_id().empty())
            request.headers.emplace_back("Last-Event-ID", follower.resume_id());
        request.silence_ms = kSilenceMs;
        SseParser parser;
        const auto sink = [&](std::string_view bytes) {
            return parser.feed(bytes, take) && !ended;
        };
        const auto on_head = [&](const HttpAnswer& head) {
            reached = true;
            if (head.ok()) patience.made();
        };
        const auto answer = ask_http(session.address(), request, wake, sink, on_head);
        if (ended) return kExitOk;
        if (!answer && answer.error().kind == HttpError::Kind::stopped) return kExitDetached;
        const bool cut = answer && answer->ok();
        if (!cut && (!passing(answer) || !reached))
            return answer ? session.fail(*answer, id) : session.fail(answer.error());
        const std::string why =
            cut ? "mayflyd ended the stream before the run's end" : why_not(answer);
        if (!patience.again(why)) return wake.go_on() ? kExitNoContact : kExitDetached;
    }
}

}  // namespace

int ps_command(Session& session) {
    const Options& options = session.options();
    if (options.watch && session.stdout_terminal() && !options.json) return Watch(session).run();
    auto listing = list_runs(session);
    if (!listing) return listing.error();
    if (options.ids_only) {
        for (const auto& run : (*listing)["runs"])
            session.out(printable(text_of(run, "id")) + "\n");
    } else if (options.json) {
        session.out_json(to_line(*listing));
    } else {
        session.out(runs_view((*listing)["runs"], session.look()));
        if (!(*listing)["next_cursor"].is_null())
            session.voice().say("there are more: --all, or a larger --limit");
    }
    return options.watch ? watch_by_lines(session) : kExitOk;
}

int events_command(Session& session) {
    const Options& options = session.options();
    QueryText query;
    for (const std::string& text : options.runs) {
        const auto id = session.run_id(text);
        if (!id) return id.error();
        query.add("run", *id);
    }
    for (const std::string& label : options.labels) query.add("label", label);
    Wake wake;
    std::int64_t left = options.count.value_or(INT64_MAX);
    const std::string resume = options.since ? std::to_string(*options.since) : "";
    EventStream events(session, wake, query, resume);
    return events.run([&](const SseEvent& event, const nlohmann::json& fields) {
        if (event.name != "status") return true;
        show_event(session, event, fields);
        return --left > 0;
    });
}

int top_command(Session& session) {
    const Options& options = session.options();
    const bool live = session.stdout_terminal() && !options.once && !options.json;
    Screen screen;
    std::int64_t seen_ms = 0;
    while (true) {
        const auto engines = session.ask("GET", "/v1/engines");
        const bool gone = !engines && engines.error() == kExitNoContact;
        const bool waits =
            live && seen_ms > 0 && steady_ms() - seen_ms < options.contact_s * 1'000;
        if (gone && waits) {
            ::poll(nullptr, 0, static_cast<int>(options.every_s * 1'000));
            continue;
        }
        if (!engines) return engines.error();
        seen_ms = steady_ms();
        if (options.json) {
            session.out_json(engines->body);
            return kExitOk;
        }
        const auto runs = session.ask(
            "GET",
            fmt::format("/v1/runs?phase=queued,preparing,running,harvesting&limit={}", kTopRuns));
        if (!runs && runs.error() == kExitNoContact && live) continue;
        if (!runs) return runs.error();
        const nlohmann::json listing = parse_json(runs->body);
        const std::string text =
            top_view(parse_json(engines->body), member(listing, "runs"), session.look());
        if (!live) {
            session.out(text);
            return kExitOk;
        }
        screen.paint(text);
        ::poll(nullptr, 0, static_cast<int>(options.every_s * 1'000));
    }
}

int logs_command(Session& session) {
    const Options& options = session.options();
    const auto id = session.run_id(options.ids.at(0));
    if (!id) return id.error();
    const bool both = options.stream.empty() || options.stream == "both";
    const std::string only = both ? "" : options.stream;
    if (options.json && (options.tail || options.offset)) {
        session.voice().error("--json shows whole logs; leave --tail and --offset away");
        return kExitUsage;
    }
    // Events have a heartbeat; raw bytes are for those who want them from an offset.
    if (options.json || (options.follow && !options.offset))
        return follow_events(session, *id, only);
    if (options.follow) return follow_raw(session, *id, only);
    if (!both) return kept_log(session, *id, only);
    const int code = kept_log(session, *id, "stdout");
    return code != kExitOk ? code : kept_log(session, *id, "stderr");
}

}  // namespace mayfly::api::cli
