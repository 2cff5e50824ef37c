#include "api/cli/submission_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "api/cli/fields.h"
#include "api/cli/text.h"
#include "api/nearest_name.h"
#include "api/query.h"

namespace mayfly::api::cli {
namespace {

using nlohmann::json;
using Checked = std::expected<void, std::string>;

constexpr std::array<std::string_view, 10> kLimits = {
    "timeout_s",  "queue_timeout_s", "memory_bytes", "cpus",           "pids",
    "work_bytes", "tmp_bytes",       "log_bytes",    "artifact_bytes", "artifact_files"};

std::unexpected<std::string> bad(std::string message) {
    return std::unexpected(std::move(message));
}

// "memory_bytes" -> "memory"; the same for those without a unit.
std::string_view short_name(std::string_view full) {
    const bool has_unit = full.ends_with("_s") || full.ends_with("_bytes");
    return has_unit ? full.substr(0, full.rfind('_')) : full;
}

std::vector<std::string_view> limit_names() {
    std::vector<std::string_view> out(kLimits.begin(), kLimits.end());
    for (const std::string_view full : kLimits) out.push_back(short_name(full));
    return out;
}

// "memory" for "memory_bytes".
std::string full_name(std::string_view name) {
    for (const std::string_view full : kLimits) {
        if (short_name(full) == name) return std::string(full);
    }
    return std::string(name);
}

// strtod takes more than a plain decimal number; this does not.
std::optional<double> parse_decimal(const std::string& text) {
    const bool plain = !text.empty() && text.size() < 32 &&
                       text.find_first_not_of("0123456789.") == text.npos &&
                       std::ranges::count(text, '.') <= 1 && text != ".";
    if (!plain) return std::nullopt;
    return std::strtod(text.c_str(), nullptr);
}

Checked put_limit(json& limits, std::string_view text) {
    const std::size_t equals = text.find('=');
    if (equals == text.npos)
        return bad(
            fmt::format("--limit {}: must be NAME=VALUE, like timeout=10s", printable(text)));
    const std::string name = full_name(text.substr(0, equals));
    const std::string value(text.substr(equals + 1));
    if (std::ranges::find(kLimits, name) == kLimits.end()) {
        std::string all;
        for (const std::string_view limit : kLimits) all += fmt::format(" {}", limit);
        return bad(fmt::format("--limit {}: there is no such limit{}. There are:{}",
                               printable(text), did_you_mean(name, limit_names()), all));
    }
    if (limits.contains(name))
        return bad(fmt::format("--limit {}: is given twice", printable(text)));
    if (name == "cpus") {
        const auto number = parse_decimal(value);
        if (!number)
            return bad(fmt::format("--limit {}: must be a number of CPUs, like cpus=0.5",
                                   printable(text)));
        limits[name] = *number;
        return {};
    }
    const bool seconds = name.ends_with("_s");
    const bool bytes = name.ends_with("_bytes");
    std::optional<std::int64_t> number = parse_integer(value);
    if (!number && seconds) number = parse_seconds(value);
    if (!number && bytes) number = parse_bytes(value);
    if (!number) {
        const char* like = seconds ? "10s, 5m or 2h" : bytes ? "1048576, 64M or 1G" : "128";
        return bad(
            fmt::format("--limit {}: must be a whole number, like {}", printable(text), like));
    }
    limits[name] = *number;
    return {};
}

Checked put_pair(json& into, std::string_view flag, std::string_view text,
                 const Surroundings* around) {
    const std::size_t equals = text.find('=');
    const std::string name(text.substr(0, equals));
    if (name.empty()) return bad(fmt::format("{} {}: names nothing", flag, printable(text)));
    if (into.contains(name))
        return bad(fmt::format("{} {}: is given twice", flag, printable(name)));
    if (equals != text.npos) {
        into[name] = std::string(text.substr(equals + 1));
        return {};
    }
    if (around == nullptr)
        return bad(fmt::format("{} {}: must be KEY=VALUE", flag, printable(text)));
    const auto own = around->variable(name);
    if (!own)
        return bad(fmt::format("{0} {1}: our own environment has no {1}; give it as {1}=VALUE",
                               flag, printable(name)));
    into[name] = *own;
    return {};
}

// RFC 4648, for what must be inside of JSON.
std::string base64(std::string_view bytes) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            const std::size_t from = at + i;
            group =
                group << 8U | (from < bytes.size() ? static_cast<unsigned char>(bytes[from]) : 0U);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            const bool padding = at + i > bytes.size();
            out += padding ? '=' : kDigits[(group >> (18U - 6U * i)) & 63U];
        }
    }
    return out;
}

Checked put_files(json& spec, const std::vector<LocalFile>& files) {
    json list = json::array();
    std::set<std::string_view> seen;
    for (const LocalFile& file : files) {
        if (!seen.insert(file.remote).second) {
            return bad(
                fmt::format("--file: two files would be {} below /work; give one of them "
                            "another place: LOCAL=PATH",
                            printable(file.remote)));
        }
        const bool program = (file.mode & 0111U) != 0;
        const bool inside = travels_in_spec(file.remote);
        if (!program && !inside) continue;
        json entry = {{"path", file.remote}, {"mode", program ? "0755" : "0644"}};
        if (inside) entry["content_base64"] = base64(file.content);
        list.push_back(std::move(entry));
    }
    if (!list.empty()) spec["files"] = std::move(list);
    return {};
}

Checked put_webhook(json& spec, const RunOptions& options, const Surroundings& around) {
    if (options.webhook.empty()) {
        if (options.webhook_on.empty() && around.webhook_secret.empty()) return {};
        return bad("--webhook-on and --webhook-secret-file need --webhook URL");
    }
    json hook = {{"url", options.webhook}};
    if (!around.webhook_secret.empty()) hook["secret"] = around.webhook_secret;
    if (!options.webhook_on.empty()) hook["on"] = json::array({options.webhook_on});
    spec["webhook"] = std::move(hook);
    return {};
}

Checked put_scalars(json& spec, const RunOptions& options) {
    if (!options.image.empty()) spec["image"] = options.image;
    if (!options.network.empty()) spec["network"] = options.network;
    if (!options.runtime.empty()) spec["runtime"] = options.runtime;
    if (options.priority) spec["priority"] = *options.priority;
    if (options.attempts) {
        spec["retry"] = {{"max_attempts", *options.attempts}, {"on", json::array({"lost"})}};
    }
    if (options.ttl.empty()) return {};
    const auto ttl_s = parse_seconds(options.ttl);
    if (!ttl_s)
        return bad(fmt::format("--ttl {}: must be a time, like 12h, 7d or a number of seconds",
                               printable(options.ttl)));
    spec["ttl_s"] = *ttl_s;
    return {};
}

}  // namespace

std::expected<FileWish, std::string> parse_file_wish(std::string_view text) {
    FileWish wish;
    const std::size_t equals = text.rfind('=');
    wish.local = text.substr(0, equals);
    if (equals != text.npos) wish.remote = text.substr(equals + 1);
    if (equals == text.npos) {
        std::string_view name = text;
        while (name.size() > 1 && name.ends_with('/')) name.remove_suffix(1);
        const std::size_t slash = name.rfind('/');
        wish.remote = slash == name.npos ? name : name.substr(slash + 1);
    }
    while (wish.remote.ends_with('/')) wish.remote.pop_back();
    if (wish.local.empty())
        return bad(fmt::format("--file {}: names no file; it must be LOCAL or LOCAL=PATH",
                               printable(text)));
    if (wish.remote.empty() || wish.remote == "." || wish.remote == "..")
        return bad(fmt::format("--file {}: gives no place below /work; say which: LOCAL=PATH",
                               printable(text)));
    return wish;
}

bool travels_in_spec(std::string_view remote) { return remote == "spec" || remote == ".stdin"; }

std::expected<std::string, std::string> make_spec(const RunOptions& options,
                                                  const std::vector<LocalFile>& files,
                                                  const Surroundings& around) {
    json spec = json::object();
    spec["command"] = options.command;
    json env = json::object();
    json labels = json::object();
    json limits = json::object();
    Checked done = put_scalars(spec, options);
    for (const std::string& text : options.env) {
        if (done) done = put_pair(env, "--env", text, &around);
    }
    for (const std::string& text : options.labels) {
        if (done) done = put_pair(labels, "--label", text, nullptr);
    }
    for (const std::string& text : options.limits) {
        if (done) done = put_limit(limits, text);
    }
    if (done) done = put_files(spec, files);
    if (done) done = put_webhook(spec, options, around);
    if (!done) return std::unexpected(std::move(done.error()));
    if (!env.empty()) spec["env"] = std::move(env);
    if (!labels.empty()) spec["labels"] = std::move(labels);
    if (!limits.empty()) spec["limits"] = std::move(limits);
    // Not replaced: what is no UTF-8 must not silently become something else.
    try {
        return spec.dump();
    } catch (const json::exception&) {
        return bad("an argument is not UTF-8; send such bytes as a file, or on standard input");
    }
}

std::string part_head(std::string_view boundary, std::string_view name, bool first) {
    const bool plain = std::ranges::all_of(name, [](char c) { return c >= ' ' && c < 0x7F; });
    std::string value;
    if (plain) {
        value = "name=\"";
        for (const char c : name) {
            if (c == '"' || c == '\\') value += '\\';
            value += c;
        }
        value += '"';
    } else {
        value = "name*=UTF-8''" + percent_encode(name);
    }
    return fmt::format("{}--{}\r\nContent-Disposition: form-data; {}\r\n\r\n", first ? "" : "\r\n",
                       boundary, value);
}

std::string multipart_end(std::string_view boundary) {
    return fmt::format("\r\n--{}--\r\n", boundary);
}

}  // namespace mayfly::api::cli
