#include "api/cli/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "api/cli/fields.h"
#include "api/cli/text.h"

namespace mayfly::api::cli {
namespace {

using nlohmann::json;

std::string shown(const json& object, std::string_view name) {
    return printable(text_of(object, name));
}

std::optional<std::int64_t> time_of(const json& object, std::string_view name) {
    return parse_rfc3339(text_of(object, name));
}

std::string ago(std::optional<std::int64_t> at_ms, const Look& look) {
    return at_ms ? show_duration(look.now_ms - *at_ms) : "";
}

// "12:00:00.123", with the day when it is another one than today's.
std::string clock_time(const std::string& rfc3339, const Look& look) {
    const auto at_ms = parse_rfc3339(rfc3339);
    if (!at_ms) return printable(rfc3339);
    constexpr std::int64_t kDayMs = 86'400'000;
    const bool today = look.now_ms / kDayMs == *at_ms / kDayMs;
    return today ? rfc3339.substr(11, 12) : rfc3339.substr(0, 10) + " " + rfc3339.substr(11, 12);
}

std::string command_line(const json& spec) {
    std::string out;
    for (const json& argument : member(spec, "command")) {
        if (!argument.is_string()) continue;
        const auto& text = argument.get_ref<const std::string&>();
        const bool plain =
            !text.empty() && text.find_first_of(" \t\n\"'\\$;&|<>*?#()") == text.npos;
        if (!out.empty()) out += ' ';
        out += plain ? printable(text) : "'" + printable(text) + "'";
    }
    return out;
}

std::string labels_text(const json& labels) {
    std::string out;
    if (!labels.is_object()) return out;
    for (const auto& [name, value] : labels.items()) {
        if (!out.empty()) out += ',';
        out += printable(name) + "=" +
               printable(value.is_string() ? value.get<std::string>() : to_line(value));
    }
    return out;
}

// What a run waits for, or how it ended.
std::string reason_text(const json& status) {
    const std::string phase = text_of(status, "phase");
    if (phase == "succeeded") return "";
    if (const auto pending = text_of(status, "pending_reason"); !pending.empty())
        return printable(pending);
    const std::string reason = text_of(status, "reason");
    const auto code = integer_of(status, "exit_code");
    const auto signal = integer_of(status, "signal");
    if (reason == "NonZeroExit" && code) return fmt::format("exit code {}", *code);
    if (reason == "Signaled" && signal) return fmt::format("signal {}", *signal);
    return printable(reason);
}

// The time that it ran: so far, or in all.
std::string run_time(const json& status, const Look& look) {
    if (const auto ms = integer_of(member(status, "clocks_ms"), "run")) return show_duration(*ms);
    if (text_of(status, "phase") != "running") return "";
    return ago(time_of(status, "running_at"), look);
}

Row run_row(const json& run, const Look& look) {
    const json& spec = member(run, "spec");
    const json& status = member(run, "status");
    const std::string phase = shown(status, "phase");
    return {{shown(run, "id")},
            {phase, phase_colour(phase)},
            {ago(time_of(status, "created_at"), look), Colour::none, true},
            {run_time(status, look), Colour::none, true},
            {reason_text(status)},
            {shown(spec, "image")},
            {labels_text(member(spec, "labels"))},
            {command_line(spec)}};
}

const std::vector<std::string>& run_titles() {
    static const std::vector<std::string> kTitles = {"ID",  "PHASE", "AGE",    "RAN",
                                                     "WHY", "IMAGE", "LABELS", "COMMAND"};
    return kTitles;
}

// "name   value" lines; those without a value are left away.
class Facts {
public:
    explicit Facts(const Look& look) : look_(look) {}

    void add(std::string_view name, std::string value, Colour colour = Colour::none) {
        if (value.empty()) return;
        rows_.push_back({{std::string(name), Colour::dim}, {std::move(value), colour}});
    }
    [[nodiscard]] std::string text() const { return layout({}, rows_, 0, look_.colours); }

private:
    const Look& look_;
    std::vector<Row> rows_;
};

std::string heading(std::string_view text, const Look& look) {
    return "\n" + coloured(look.colours, Colour::bold, text) + "\n";
}

std::string indented(const std::string& lines) {
    std::string out;
    for (std::size_t at = 0; at < lines.size();) {
        const std::size_t end = std::min(lines.find('\n', at), lines.size() - 1);
        out += "  " + lines.substr(at, end - at + 1);
        at = end + 1;
    }
    return out;
}

std::string limits_text(const json& limits) {
    std::string out;
    if (!limits.is_object()) return out;
    for (const auto& [name, value] : limits.items()) {
        if (!out.empty()) out += ", ";
        std::string text =
            value.is_string() ? printable(value.get<std::string>()) : to_line(value);
        if (value.is_number_integer() && name.ends_with("_bytes"))
            text = show_bytes(value.get<std::int64_t>());
        if (value.is_number_integer() && name.ends_with("_s"))
            text = show_duration(value.get<std::int64_t>() * 1'000);
        out += printable(name) + " " + text;
    }
    return out;
}

std::string stream_text(const json& stream) {
    const auto total = integer_of(stream, "bytes_total");
    if (!total) return "";
    if (!flag_of(stream, "truncated")) return show_bytes(*total);
    return fmt::format("{} printed, {} kept (head and tail)", show_bytes(*total),
                       show_bytes(integer_of(stream, "bytes_kept").value_or(0)));
}

std::string clocks_text(const json& clocks) {
    std::string out;
    for (const char* name : {"queue", "prepare", "run", "harvest"}) {
        const auto ms = integer_of(clocks, name);
        if (!ms) continue;
        if (!out.empty()) out += ", ";
        out += fmt::format("{} {}", name, show_duration(*ms));
    }
    return out;
}

std::string optional_number(const json& object, std::string_view name) {
    const auto value = integer_of(object, name);
    return value ? std::to_string(*value) : "";
}

std::string bytes_of(const json& object, std::string_view name) {
    const auto value = integer_of(object, name);
    return value ? show_bytes(*value) : "";
}

// "12:00:00.123, in 5.0 s"
std::string moment(const json& object, std::string_view name, const Look& look) {
    const std::string text = text_of(object, name);
    const auto at_ms = parse_rfc3339(text);
    if (!at_ms) return printable(text);
    const std::int64_t left = *at_ms - look.now_ms;
    return clock_time(text, look) +
           (left >= 0 ? ", in " + show_duration(left) : ", " + show_duration(-left) + " ago");
}

std::string wordy(const std::string& first, const std::string& second) {
    if (first.empty() || second.empty()) return first + second;
    return first + ": " + second;
}

void explain_history(const json& history, const Look& look, std::string& out) {
    if (!history.is_array() || history.empty()) return;
    std::vector<Row> rows;
    for (const json& step : history) {
        const std::string phase = shown(step, "phase");
        std::string why = shown(step, "cause");
        if (const auto message = shown(step, "message"); !message.empty() && message != why)
            why += (why.empty() ? "" : " ") + message;
        const std::string reason = shown(step, "reason");
        rows.push_back({{clock_time(text_of(step, "at"), look), Colour::dim},
                        {phase, phase_colour(phase)},
                        {shown(step, "type")},
                        {wordy(reason, why)}});
    }
    out += heading("What happened", look) + indented(layout({}, rows, 0, look.colours));
}

void explain_saw(const json& saw, const Look& look, std::string& out) {
    if (!saw.is_array() || saw.empty()) return;
    Facts facts(look);
    for (const json& entry : saw) facts.add(shown(entry, "what"), shown(entry, "is"));
    out += heading("What mayflyd sees", look) + indented(facts.text());
}

void explain_more(const json& explanation, const Look& look, std::string& out) {
    Facts facts(look);
    const json& decided = member(explanation, "decided");
    facts.add("next step", wordy(shown(decided, "action"), shown(decided, "why")));
    facts.add("waits for", shown(explanation, "waits_for"));
    facts.add("until", moment(explanation, "until", look));
    if (const json& admission = member(explanation, "admission"); admission.is_object()) {
        facts.add("in the queue", fmt::format("place {} of {}; {} of {} run slots are taken",
                                              optional_number(admission, "place"),
                                              optional_number(admission, "queued"),
                                              optional_number(admission, "run_slots_used"),
                                              optional_number(admission, "run_slots")));
    }
    if (const json& failures = member(explanation, "failures"); failures.is_object()) {
        facts.add("failed so far",
                  wordy(optional_number(failures, "count"), shown(failures, "last_error")));
        facts.add("tried again", moment(failures, "next_try_at", look));
    }
    for (const char* name : {"queue", "prepare", "run"}) {
        facts.add(fmt::format("{} deadline", name),
                  moment(member(explanation, "deadlines"), name, look));
    }
    if (const json& attempt = member(explanation, "attempt"); attempt.is_object()) {
        facts.add("attempt",
                  fmt::format("{} on engine {}, stage {}", optional_number(attempt, "number"),
                              shown(attempt, "engine"), shown(attempt, "stage")));
        facts.add("container", shown(attempt, "container"));
        facts.add("volume", shown(attempt, "volume"));
        facts.add("killed because of", shown(attempt, "kill_cause"));
    }
    if (const json& hook = member(explanation, "webhook"); hook.is_object()) {
        facts.add("webhook",
                  fmt::format("{}, {} after {}", shown(hook, "url"), shown(hook, "state"),
                              counted(integer_of(hook, "tries").value_or(0), "try")));
        facts.add("its last error", shown(hook, "last_error"));
    }
    if (const std::string text = facts.text(); !text.empty())
        out += heading("What comes next", look) + indented(text);
}

std::string engine_lines(const json& engines, const Look& look) {
    std::vector<Row> rows;
    for (const json& engine : engines) {
        const bool up = flag_of(engine, "up");
        std::string facts =
            up ? fmt::format("Docker {} (API {}), {}", shown(engine, "version"),
                             shown(engine, "api_version"), shown(engine, "os_arch"))
               : shown(engine, "error");
        if (up && integer_of(engine, "cpus")) {
            facts += fmt::format(", {} CPUs, {}", optional_number(engine, "cpus"),
                                 bytes_of(engine, "memory_bytes"));
        }
        rows.push_back({{"engine", Colour::dim},
                        {shown(engine, "name")},
                        {up ? "up" : "DOWN", up ? Colour::green : Colour::red},
                        {ago(time_of(engine, "since"), look), Colour::none, true},
                        {std::move(facts)}});
    }
    return layout({}, rows, look.columns, look.colours);
}

struct Advice {
    std::string_view type;
    std::string_view next;
};
// By the last part of a problem's type. {} is the run's id.
constexpr std::array<Advice, 17> kAdvice = {{
    {"invalid-spec",
     "mayfly run --help explains the arguments; mayfly top --json shows the "
     "operator's limits (policy)"},
    {"invalid-query", "see --help of the command"},
    {"image-not-allowed",
     "use an image that the operator allows: mayfly top --json shows them "
     "(policy.allowed_images)"},
    {"runtime-not-allowed", "leave --runtime away"},
    {"not-found",
     "mayfly ps lists the runs that there are; finished ones are kept for their "
     "ttl only"},
    {"not-finished", "follow it: mayfly logs -f {}, or wait: mayfly get {} --wait 60s"},
    {"already-finished", "see how it ended: mayfly get {}"},
    {"still-running", "cancel it first: mayfly cancel {} --wait 60s"},
    {"idempotency-key-reused", "use another --key for another run"},
    {"body-too-large",
     "send less; the operator's limits are mayflyd's --max-input-bytes and "
     "--max-json-body-bytes"},
    {"misdirected",
     "mayflyd does not know this host name: use an address like 127.0.0.1, or "
     "start it with --allowed-hosts NAME"},
    {"overloaded", "try again in a moment"},
    {"shutting-down", "try again when mayflyd is back"},
    {"store-unavailable", "mayfly doctor says more; the operator must look at mayflyd's log"},
    {"disk-full",
     "delete runs that are not needed (mayfly rm), or make room; mayfly doctor says "
     "how much is left"},
    {"events-gone", "list the runs anew (mayfly ps), then follow without --since"},
    {"damaged", "the operator must look at the data directory; mayflyd's log says more"},
}};

std::string advice(std::string_view type, std::string_view run_id) {
    for (const Advice& entry : kAdvice) {
        if (!type.ends_with(entry.type)) continue;
        std::string out(entry.next);
        const std::string id(run_id.empty() ? "ID" : run_id);
        for (std::size_t at = out.find("{}"); at != out.npos; at = out.find("{}", at)) {
            out.replace(at, 2, id);
        }
        return out;
    }
    return {};
}

std::string value_text(const json& value) {
    return printable(value.is_string() ? value.get<std::string>() : to_line(value));
}

}  // namespace

std::string runs_view(const json& runs, const Look& look) {
    std::vector<Row> rows;
    for (const json& run : runs) rows.push_back(run_row(run, look));
    if (rows.empty()) return "No runs.\n";
    return layout(run_titles(), rows, look.columns, look.colours);
}

std::string run_view(const json& run, const Look& look) {
    const json& spec = member(run, "spec");
    const json& status = member(run, "status");
    const std::string phase = shown(status, "phase");
    Facts facts(look);
    facts.add("id", shown(run, "id"));
    facts.add("phase", phase, phase_colour(phase));
    facts.add("reason", wordy(shown(status, "reason"), shown(status, "message")));
    facts.add("waits for",
              wordy(shown(status, "pending_reason"), shown(status, "pending_message")));
    facts.add("exit code", optional_number(status, "exit_code"));
    facts.add("signal", optional_number(status, "signal"));
    facts.add("image", shown(spec, "image"));
    facts.add("command", command_line(spec));
    facts.add("labels", labels_text(member(spec, "labels")));
    facts.add("limits", limits_text(member(spec, "limits")));
    if (const auto attempt = integer_of(status, "attempt"); attempt.value_or(0) > 1)
        facts.add("attempt", std::to_string(*attempt));
    facts.add("created", moment(status, "created_at", look));
    facts.add("finished", moment(status, "finished_at", look));
    facts.add("kept until", moment(status, "expires_at", look));
    facts.add("cancel asked", moment(status, "cancel_requested_at", look));
    facts.add("time", clocks_text(member(status, "clocks_ms")));
    if (integer_of(status, "memory_peak_bytes").value_or(0) > 0) {
        facts.add("used", fmt::format("{} CPU, {} memory at most",
                                      show_duration(integer_of(status, "cpu_ms").value_or(0)),
                                      bytes_of(status, "memory_peak_bytes")));
    }
    if (!text_of(status, "finished_at").empty()) {
        facts.add("stdout", stream_text(member(status, "stdout")));
        facts.add("stderr", stream_text(member(status, "stderr")));
        facts.add("artifacts",
                  fmt::format("{}, {}",
                              counted(integer_of(status, "artifact_count").value_or(0), "file"),
                              bytes_of(status, "artifact_bytes")));
        if (const auto skipped = integer_of(status, "skipped_count").value_or(0); skipped > 0)
            facts.add("skipped", counted(skipped, "file"));
    }
    facts.add("result", member(status, "result").is_null() ? "" : "yes (--json shows it)");
    facts.add("result error", shown(status, "result_error"));
    return facts.text();
}

std::string artifacts_view(const json& listing, const Look& look) {
    std::vector<Row> rows;
    for (const json& file : member(listing, "artifacts")) {
        rows.push_back({{bytes_of(file, "size"), Colour::none, true},
                        {shown(file, "mode")},
                        {cut(shown(file, "sha256"), 13)},
                        {shown(file, "path")}});
    }
    std::string out = rows.empty()
                          ? "No artifacts.\n"
                          : layout({"SIZE", "MODE", "SHA256", "PATH"}, rows, 0, look.colours);
    const json& skipped = member(listing, "skipped");
    for (const json& entry : skipped) {
        out += fmt::format("skipped: {}: {}\n", shown(entry, "path"), shown(entry, "reason"));
    }
    const auto count = integer_of(listing, "skipped_count").value_or(0);
    if (std::cmp_greater(count, skipped.size())) {
        out +=
            fmt::format("skipped: {} more\n", count - static_cast<std::int64_t>(skipped.size()));
    }
    return out;
}

std::string event_line(const json& event, const Look& look) {
    const std::string phase = shown(event, "phase");
    const std::string type = shown(event, "type");
    std::string out = coloured(look.colours, Colour::dim, clock_time(text_of(event, "at"), look));
    out += fmt::format("  {}  {}", shown(event, "run_id"),
                       coloured(look.colours, phase_colour(phase), phase));
    if (type != phase) out += "  " + type;
    if (const std::string reason = reason_text(event); !reason.empty()) out += "  " + reason;
    std::string message = shown(event, "pending_message");
    if (message.empty()) message = shown(event, "message");
    if (!message.empty()) out += ": " + message;
    const std::string labels = labels_text(member(event, "labels"));
    if (!labels.empty()) out += coloured(look.colours, Colour::dim, "  " + labels);
    return out;
}

std::string explain_view(const json& explanation, const Look& look) {
    const std::string phase = shown(explanation, "phase");
    std::string out = fmt::format("{} is {}\n", shown(explanation, "run_id"),
                                  coloured(look.colours, phase_colour(phase), phase));
    if (const auto headline = shown(explanation, "headline"); !headline.empty())
        out += coloured(look.colours, Colour::bold, headline) + "\n";
    explain_saw(member(explanation, "saw"), look, out);
    explain_more(explanation, look, out);
    explain_history(member(explanation, "history"), look, out);
    return out;
}

std::string top_view(const json& engines, const json& runs, const Look& look) {
    std::string out = engine_lines(member(engines, "engines"), look);
    const json& slots = member(engines, "slots");
    std::vector<Row> rows;
    for (const auto& [name, title] :
         {std::pair{"run", "run slots"}, std::pair{"engine_work", "engine calls"}}) {
        const json& slot = member(slots, name);
        const auto used = integer_of(slot, "used");
        const auto total = integer_of(slot, "total");
        if (!used || !total) continue;
        rows.push_back({{title, Colour::dim},
                        {bar(*used, *total)},
                        {fmt::format("{} of {} taken", *used, *total)}});
    }
    if (const json& disk = member(engines, "disk"); disk.is_object()) {
        rows.push_back({{"disk", Colour::dim},
                        {bytes_of(disk, "free_bytes") + " free"},
                        {fmt::format("nothing is admitted under {}, nothing taken under {}",
                                     bytes_of(disk, "low_bytes"), bytes_of(disk, "full_bytes"))}});
    }
    out += layout({}, rows, look.columns, look.colours);
    std::string phases;
    const json& counts = member(engines, "runs");
    for (const char* phase : {"queued", "preparing", "running", "harvesting", "succeeded",
                              "failed", "timed_out", "cancelled", "lost"}) {
        const auto count = integer_of(counts, phase);
        if (!count) continue;
        phases += (phases.empty() ? "" : "  ") +
                  coloured(look.colours, *count > 0 ? phase_colour(phase) : Colour::dim,
                           fmt::format("{} {}", *count, phase));
    }
    if (phases.empty() && integer_of(engines, "queued"))
        phases = optional_number(engines, "queued") + " queued";
    if (!phases.empty()) out += phases + "\n";
    if (!runs.empty()) out += "\n" + runs_view(runs, look);
    return out;
}

std::vector<Check> checks_of(const json& doctor) {
    std::vector<Check> out;
    for (const json& entry : member(doctor, "checks")) {
        out.push_back({text_of(entry, "name"), text_of(entry, "state"), text_of(entry, "found"),
                       text_of(entry, "fix")});
    }
    return out;
}

std::string doctor_view(const std::vector<Check>& checks, const Look& look) {
    std::size_t width = 0;
    for (const Check& check : checks) width = std::max(width, width_of(printable(check.name)));
    std::string out;
    std::int64_t wrong = 0;
    std::int64_t warned = 0;
    for (const Check& check : checks) {
        const bool ok = check.state == "ok";
        const bool warn = check.state == "warn";
        wrong += !ok && !warn;
        warned += warn;
        const std::string name = printable(check.name);
        out += fmt::format("{}  {}{}  {}\n",
                           coloured(look.colours,
                                    ok     ? Colour::green
                                    : warn ? Colour::yellow
                                           : Colour::red,
                                    fmt::format("{:<4}", printable(check.state))),
                           name, std::string(width - width_of(name), ' '), printable(check.found));
        if (!check.fix.empty()) {
            out += std::string(width + 8, ' ') +
                   coloured(look.colours, Colour::bold, "fix: " + printable(check.fix)) + "\n";
        }
    }
    if (wrong > 0) {
        out += fmt::format("\n{} wrong{}.\n",
                           wrong == 1 ? "1 thing is" : fmt::format("{} things are", wrong),
                           warned > 0 ? ", " + counted(warned, "warning") : "");
    } else {
        out += warned > 0 ? fmt::format("\nIt works, with {}.\n", counted(warned, "warning"))
                          : "\nAll is well.\n";
    }
    return out;
}

std::string phase_line(const json& status, const Look& look) {
    const std::string phase = shown(status, "phase");
    std::string out = coloured(look.colours, phase_colour(phase), phase);
    const std::string why =
        wordy(shown(status, "pending_reason"), shown(status, "pending_message"));
    if (why.empty()) return out;
    // On one line of a terminal, with our name before it.
    const std::size_t taken = width_of(phase) + 12;
    const std::size_t room = look.columns > taken ? look.columns - taken : 1;
    return out + ": " + (look.columns > 0 ? cut(why, room) : why);
}

std::string ending_text(const json& run, const Look& look) {
    const json& status = member(run, "status");
    const std::string phase = shown(status, "phase");
    std::string out = coloured(look.colours, phase_colour(phase), phase);
    if (const std::string reason = reason_text(status); !reason.empty()) out += ": " + reason;
    const std::string message = shown(status, "message");
    if (phase != "succeeded" && !message.empty()) out += ": " + message;
    if (const std::string clocks = clocks_text(member(status, "clocks_ms")); !clocks.empty())
        out += " (" + clocks + ")";
    out += "\n";
    for (const char* name : {"stdout", "stderr"}) {
        const json& stream = member(status, name);
        if (flag_of(stream, "truncated"))
            out += fmt::format("{}: {}; --limit log=SIZE keeps more\n", name, stream_text(stream));
    }
    return out;
}

std::string problem_view(int status, std::string_view body, std::string_view run_id) {
    const json problem = parse_json(body);
    if (!problem.is_object() || text_of(problem, "type").empty()) {
        return fmt::format(
            "the answer is {}, and not one of mayflyd: is something else "
            "listening there?\n  {}\n",
            status, cut(printable(body.substr(0, 300)), 200));
    }
    std::string detail = shown(problem, "detail");
    if (detail.empty()) detail = shown(problem, "title");
    std::string out = detail + "\n";
    const json& errors = member(problem, "errors");
    for (const json& error : errors) {
        out += fmt::format("  {}: {}", shown(error, "field"), shown(error, "message"));
        std::string more;
        if (error.contains("limit")) more = "limit: " + value_text(member(error, "limit"));
        if (error.contains("value")) {
            more += (more.empty() ? "" : ", ") + std::string("given: ") +
                    value_text(member(error, "value"));
        }
        out += more.empty() ? "\n" : " (" + more + ")\n";
    }
    if (const auto omitted = integer_of(problem, "errors_omitted"))
        out += fmt::format("  and {} more\n", *omitted);
    const std::string next = advice(text_of(problem, "type"), run_id);
    if (!next.empty()) out += "  next: " + next + "\n";
    return out;
}

}  // namespace mayfly::api::cli
