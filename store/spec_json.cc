#include "store/spec_json.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace mayfly::store {
namespace {

using nlohmann::json;

constexpr std::int64_t kMillis = 1000;

// The integer limits, by their spelling. `cpus` is apart: it is a decimal number.
constexpr std::pair<const char*, std::int64_t RunLimits::*> kIntegerLimits[] = {
    {"timeout_s", &RunLimits::timeout_s},
    {"queue_timeout_s", &RunLimits::queue_timeout_s},
    {"memory_bytes", &RunLimits::memory_bytes},
    {"pids", &RunLimits::pids},
    {"work_bytes", &RunLimits::work_bytes},
    {"tmp_bytes", &RunLimits::tmp_bytes},
    {"log_bytes", &RunLimits::log_bytes},
    {"artifact_bytes", &RunLimits::artifact_bytes},
    {"artifact_files", &RunLimits::artifact_files},
};
constexpr std::size_t kIntegerLimitCount = std::size(kIntegerLimits);

std::string mode_text(std::uint32_t mode) {
    char text[16];
    std::snprintf(text, sizeof text, "%04o", mode);
    return text;
}

json cpus_json(std::int64_t millis) {
    if (millis % kMillis == 0) return millis / kMillis;
    // The shortest decimal that reads back as this double: at most three digits after the point.
    return static_cast<double>(millis) / static_cast<double>(kMillis);
}

json limits_json(const RunLimits& limits) {
    json object = {{"cpus", cpus_json(limits.cpu_millis)}};
    for (const auto& [name, field] : kIntegerLimits) object[name] = limits.*field;
    return object;
}

// ------------------------------------------------------------------------------------- reading

// What does not look like our own text. Never leaves this file.
struct NotOurs : std::runtime_error {
    using std::runtime_error::runtime_error;
};

const json& member(const json& object, const char* name) {
    if (!object.is_object()) throw NotOurs(std::string("no object around \"") + name + '"');
    auto found = object.find(name);
    if (found == object.end()) throw NotOurs(std::string("\"") + name + "\" is missing");
    return *found;
}

void expect_members(const json& object, std::size_t count, const char* where) {
    if (!object.is_object() || object.size() != count) {
        throw NotOurs(std::string("unknown members in ") + where);
    }
}

std::int64_t integer(const json& object, const char* name) {
    const auto& value = member(object, name);
    if (!value.is_number_integer()) throw NotOurs(std::string("\"") + name + "\" is no integer");
    return value.get<std::int64_t>();
}

std::string text(const json& object, const char* name) {
    const auto& value = member(object, name);
    if (!value.is_string()) throw NotOurs(std::string("\"") + name + "\" is no string");
    return value.get<std::string>();
}

std::map<std::string, std::string> text_map(const json& object, const char* name) {
    const auto& value = member(object, name);
    if (!value.is_object()) throw NotOurs(std::string("\"") + name + "\" is no object");
    return value.get<std::map<std::string, std::string>>();
}

std::uint32_t read_mode(const json& file) {
    auto digits = text(file, "mode");
    if (digits.empty() || digits.find_first_not_of("01234567") != std::string::npos ||
        digits.size() > 6) {
        throw NotOurs("\"mode\" is not octal");
    }
    return static_cast<std::uint32_t>(std::stoul(digits, nullptr, 8));
}

std::int64_t read_cpus(const json& limits) {
    const auto& value = member(limits, "cpus");
    if (!value.is_number()) throw NotOurs("\"cpus\" is no number");
    return std::llround(value.get<double>() * static_cast<double>(kMillis));
}

RunLimits read_limits(const json& object) {
    expect_members(object, kIntegerLimitCount + 1, "limits");
    RunLimits limits;
    for (const auto& [name, field] : kIntegerLimits) limits.*field = integer(object, name);
    limits.cpu_millis = read_cpus(object);
    return limits;
}

std::vector<InputFile> read_files(const json& array) {
    if (!array.is_array()) throw NotOurs("\"files\" is no array");
    std::vector<InputFile> files;
    files.reserve(array.size());
    for (const auto& item : array) {
        expect_members(item, 4, "a file");
        files.push_back(InputFile{.path = text(item, "path"),
                                  .mode = read_mode(item),
                                  .size = integer(item, "size"),
                                  .sha256 = text(item, "sha256")});
    }
    return files;
}

std::optional<InputFile> read_stdin(const json& value) {
    if (value.is_null()) return std::nullopt;
    expect_members(value, 2, "stdin");
    InputFile file;
    file.size = integer(value, "size");
    file.sha256 = text(value, "sha256");
    return file;
}

Network read_network(const json& spec) {
    auto name = text(spec, "network");
    if (name == "none") return Network::none;
    if (name == "loopback") return Network::loopback;
    throw NotOurs("\"network\" is neither none nor loopback");
}

std::int64_t read_max_attempts(const json& retry) {
    expect_members(retry, 2, "retry");
    if (member(retry, "on") != json::array({"lost"})) throw NotOurs("\"on\" is not [\"lost\"]");
    return integer(retry, "max_attempts");
}

Webhook read_webhook(const json& object) {
    expect_members(object, 3, "webhook");
    Webhook webhook{.url = text(object, "url"), .secret = text(object, "secret")};
    const auto& on = member(object, "on");
    webhook.all_events = on == json::array({"all"});
    if (!webhook.all_events && on != json::array({"finished"})) {
        throw NotOurs("\"on\" is neither [\"finished\"] nor [\"all\"]");
    }
    return webhook;
}

RunSpec read_spec(const json& object) {
    const bool tells = object.is_object() && object.contains("webhook");
    expect_members(object, tells ? 13 : 12, "the spec");
    RunSpec spec;
    spec.image = text(object, "image");
    spec.command = member(object, "command").get<std::vector<std::string>>();
    spec.files = read_files(member(object, "files"));
    spec.stdin_file = read_stdin(member(object, "stdin"));
    spec.env = text_map(object, "env");
    spec.labels = text_map(object, "labels");
    spec.limits = read_limits(member(object, "limits"));
    spec.network = read_network(object);
    spec.runtime = text(object, "runtime");
    spec.priority = integer(object, "priority");
    spec.max_attempts = read_max_attempts(member(object, "retry"));
    spec.ttl_s = integer(object, "ttl_s");
    if (tells) spec.webhook = read_webhook(member(object, "webhook"));
    return spec;
}

}  // namespace

json spec_to_json(const RunSpec& spec) {
    json files = json::array();
    for (const auto& file : spec.files) {
        files.push_back({{"path", file.path},
                         {"mode", mode_text(file.mode)},
                         {"size", file.size},
                         {"sha256", file.sha256}});
    }
    json stdin_json;  // null
    if (spec.stdin_file) {
        stdin_json = {{"size", spec.stdin_file->size}, {"sha256", spec.stdin_file->sha256}};
    }
    json object = {
        {"image", spec.image},
        {"command", spec.command},
        {"files", std::move(files)},
        {"stdin", std::move(stdin_json)},
        {"env", spec.env},
        {"labels", spec.labels},
        {"limits", limits_json(spec.limits)},
        {"network", spec.network == Network::none ? "none" : "loopback"},
        {"runtime", spec.runtime},
        {"priority", spec.priority},
        {"retry", {{"max_attempts", spec.max_attempts}, {"on", json::array({"lost"})}}},
        {"ttl_s", spec.ttl_s},
    };
    // Left out when there is none: a spec from before there were webhooks keeps its text, and with
    // it its hash.
    if (spec.webhook) {
        object["webhook"] = {{"url", spec.webhook->url},
                             {"secret", spec.webhook->secret},
                             {"on", json::array({spec.webhook->all_events ? "all" : "finished"})}};
    }
    return object;
}

json shown_spec_json(const RunSpec& spec) {
    json object = spec_to_json(spec);
    if (spec.webhook) {
        json& webhook = object["webhook"];
        webhook.erase("secret");
        webhook["signed"] = !spec.webhook->secret.empty();
    }
    return object;
}

std::string canonical_spec(const RunSpec& spec) { return spec_to_json(spec).dump(); }

Result<RunSpec> parse_spec(std::string_view canonical) {
    try {
        return read_spec(json::parse(canonical));
    } catch (const NotOurs& error) {
        return fail(ErrorKind::corrupt, std::string("stored spec: ") + error.what());
    } catch (const json::exception& error) {
        return fail(ErrorKind::corrupt, std::string("stored spec: ") + error.what());
    }
}

}  // namespace mayfly::store
