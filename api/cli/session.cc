#include "api/cli/session.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/cli/contact.h"
#include "api/cli/exit_code.h"
#include "api/cli/fields.h"
#include "api/cli/text.h"
#include "api/query.h"
#include "store/clock.h"

namespace mayfly::api::cli {
namespace {

constexpr std::int64_t kFirstPauseMs = 100;
constexpr std::int64_t kLongestPauseMs = 2'000;
constexpr std::int64_t kSteadyMs = 1'000;
constexpr std::size_t kMinIdPartBytes = 4;
constexpr int kRecentRuns = 200;

}  // namespace

Session::Session(const Options& options, Address address, bool colours)
    : options_(options),
      address_(std::move(address)),
      colours_(colours),
      stdout_terminal_(is_terminal(STDOUT_FILENO)),
      voice_(options.command == Command::run && options.run.quiet, colours) {}

Look Session::look() const {
    return {colours_ && stdout_terminal_, columns_of(STDOUT_FILENO), wall_ms()};
}

Look Session::stderr_look() const {
    return {voice_.colours(), columns_of(STDERR_FILENO), wall_ms()};
}

void Session::out(std::string_view bytes) {
    voice_.clear();
    write_all(STDOUT_FILENO, bytes);
}

void Session::out_json(std::string_view text) {
    std::string line = stdout_terminal_ ? printable_json(text) : std::string(text);
    while (line.ends_with('\n')) line.pop_back();
    out(line + "\n");
}

std::expected<HttpAnswer, int> Session::ask(const std::string& method, const std::string& target,
                                            std::string_view run_id) {
    Wake wake;
    HttpRequest request{method, target, {{"Accept", "application/json"}}};
    auto answer = ask_http(address_, request, wake);
    if (!answer) return std::unexpected(fail(answer.error()));
    if (!answer->ok()) return std::unexpected(fail(*answer, run_id));
    return std::move(*answer);
}

int Session::fail(const HttpError& error) {
    std::string text = error.message;
    if (error.kind == HttpError::Kind::unreachable || error.kind == HttpError::Kind::unproven)
        text += "\n  fix: " + contact_advice(address_, error.os_error);
    voice_.error(text);
    return error.kind == HttpError::Kind::local ? kExitUsage : kExitNoContact;
}

int Session::fail(const HttpAnswer& answer, std::string_view run_id) {
    if (options_.json) out_json(answer.body);
    voice_.error(problem_view(answer.status, answer.body, run_id));
    return kExitRefused;
}

std::expected<std::string, int> Session::run_id(const std::string& text) {
    if (store::is_run_id(text)) return text;
    if (text.size() < kMinIdPartBytes) {
        voice_.error(
            fmt::format("'{}' is no run: give its id, or at least {} characters of its "
                        "beginning or end",
                        printable(text), kMinIdPartBytes));
        return std::unexpected(kExitUsage);
    }
    auto answer = ask("GET", fmt::format("/v1/runs?limit={}", kRecentRuns));
    if (!answer) return std::unexpected(answer.error());
    const nlohmann::json listing = parse_json(answer->body);
    std::vector<std::string> found;
    for (const auto& run : member(listing, "runs")) {
        const std::string id = text_of(run, "id");
        const bool fits = id.starts_with(text) || id.ends_with(text);
        if (fits && store::is_run_id(id)) found.push_back(id);
    }
    if (found.size() == 1) return found[0];
    if (found.empty()) {
        voice_.error(
            fmt::format("no run of the last {} begins or ends with '{}'; mayfly ps lists "
                        "them",
                        kRecentRuns, printable(text)));
        return std::unexpected(kExitRefused);
    }
    std::string all;
    for (const std::string& id : found) all += "\n  " + printable(id);
    voice_.error(fmt::format("'{}' could be any of {}; say more of it:{}", printable(text),
                             found.size(), all));
    return std::unexpected(kExitUsage);
}

void Patience::made() {
    if (told_) session_.voice().say("mayflyd is back");
    told_ = false;
    gone_since_ms_ = 0;
    made_ms_ = steady_ms();
}

bool Patience::again(std::string_view why) {
    const std::int64_t now = steady_ms();
    if (gone_since_ms_ == 0) {
        gone_since_ms_ = std::max<std::int64_t>(1, now);
        // Not for one that takes us and hangs up at once: that would be a storm.
        if (now - made_ms_ >= kSteadyMs) pause_ms_ = 0;
    }
    const std::int64_t left = session_.options().contact_s * 1'000 - (now - gone_since_ms_);
    if (left <= 0) {
        session_.voice().error(
            fmt::format("{}; given up after {}", why, show_duration(now - gone_since_ms_)));
        return false;
    }
    if (pause_ms_ > 0 && !told_) {
        session_.voice().say(fmt::format("{}; trying again for {}", why, show_duration(left)));
        told_ = true;
    }
    // The first time at once: a connection may be cut for many a harmless reason.
    const std::int64_t until = now + std::min(pause_ms_, left);
    pause_ms_ = std::clamp(pause_ms_ * 2, kFirstPauseMs, kLongestPauseMs);
    while (true) {
        if (!wake_.go_on()) return false;
        const std::int64_t rest = until - steady_ms();
        if (rest <= 0) return true;
        pollfd fd = {wake_.fd(), POLLIN, 0};
        ::poll(&fd, 1, static_cast<int>(std::min<std::int64_t>(rest, wake_.tick_ms())));
    }
}

bool passing(const std::expected<HttpAnswer, HttpError>& answer) {
    if (!answer) {
        return answer.error().kind == HttpError::Kind::unreachable ||
               answer.error().kind == HttpError::Kind::lost;
    }
    return answer->status == 502 || answer->status == 503 || answer->status == 504;
}

std::string why_not(const std::expected<HttpAnswer, HttpError>& answer) {
    if (!answer) return answer.error().message;
    const std::string detail = printable(text_of(parse_json(answer->body), "detail"));
    return detail.empty() ? fmt::format("the answer is {}", answer->status) : detail;
}

QueryText& QueryText::add(std::string_view name, std::string_view value) {
    text_ += text_.empty() ? '?' : '&';
    text_ += name;
    text_ += '=';
    text_ += percent_encode(value);
    return *this;
}

}  // namespace mayfly::api::cli
