#include "api/submission.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "api/nearest_name.h"

namespace mayfly::api {
namespace {

using nlohmann::json;

std::string what_is(const json& value) {
    if (value.is_null()) return "null";
    if (value.is_boolean()) return "a boolean";
    if (value.is_number_float()) return "a number with a fraction or exponent";
    if (value.is_number()) return "a number";
    if (value.is_string()) return "a string";
    return value.is_array() ? "an array" : "an object";
}

Shown shown_number(const json& value) {
    if (value.is_number_unsigned()) {
        const auto number = value.get<std::uint64_t>();
        if (number > static_cast<std::uint64_t>(INT64_MAX)) return std::to_string(number);
        return static_cast<std::int64_t>(number);
    }
    if (value.is_number_integer()) return value.get<std::int64_t>();
    if (value.is_number_float()) return value.get<double>();
    if (value.is_string()) return shown_text(value.get_ref<const std::string&>());
    return {};
}

bool is_env_name(std::string_view name) {
    if (name.empty() || (name.front() >= '0' && name.front() <= '9')) return false;
    return std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
    });
}

bool is_runtime_name(std::string_view name) {
    return !name.empty() && name.size() <= kMaxRuntimeBytes &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '.' || c == '-';
           });
}

std::string index_of(std::string_view field, std::size_t i) {
    return std::string(field) + "[" + std::to_string(i) + "]";
}

class SpecReader {
public:
    SpecReader(const store::Policy& policy, const InputRules& rules)
        : policy_(policy), rules_(rules) {}

    Answer<Submission> read(json document) {
        if (!document.is_object()) {
            return refuse(ProblemType::invalid_spec,
                          "A run's spec is a JSON object; this is " + what_is(document) + ".");
        }
        constexpr std::array<std::string_view, 14> kFields = {
            "image",  "command", "files",   "stdin",    "stdin_base64", "env",   "labels",
            "limits", "network", "runtime", "priority", "retry",        "ttl_s", "webhook"};
        unknown_fields(document, "", kFields);
        image(document);
        command(document);
        files(document);
        stdin_bytes(document);
        env(document);
        labels(document);
        limits(document);
        network(document);
        runtime(document);
        out_.spec.priority =
            integer(document, "", "priority", policy_.priority_min, policy_.priority_max, 0);
        retry(document);
        out_.spec.ttl_s =
            integer(document, "", "ttl_s", 0, policy_.ttl_ceiling_s, policy_.ttl_default_s);
        webhook(document);
        inputs_fit();
        return verdict();
    }

private:
    void complain(std::string field, std::string message, Shown limit = {}, Shown value = {}) {
        errors_.push_back(
            {std::move(field), std::move(message), std::move(limit), std::move(value)});
    }

    Answer<Submission> verdict() {
        if (!errors_.empty()) {
            std::string detail = errors_.size() == 1
                                     ? "`" + errors_[0].field + "` " + errors_[0].message + "."
                                     : std::to_string(errors_.size()) +
                                           " fields of the spec are not acceptable; see `errors`.";
            return std::unexpected(
                Problem{ProblemType::invalid_spec, std::move(detail), std::move(errors_)});
        }
        const store::RunSpec& spec = out_.spec;
        if (!store::image_allowed(policy_, spec.image)) return image_not_allowed(spec.image);
        if (!spec.runtime.empty() && std::ranges::find(policy_.allowed_runtimes, spec.runtime) ==
                                         policy_.allowed_runtimes.end()) {
            Problem problem{
                ProblemType::runtime_not_allowed,
                "The runtime `" + spec.runtime +
                    "` is not allowed; leave `runtime` away for the engine's default."};
            problem.errors.push_back({"runtime",
                                      "must be one of: " + listed(policy_.allowed_runtimes),
                                      {},
                                      spec.runtime});
            return std::unexpected(std::move(problem));
        }
        return std::move(out_);
    }

    std::unexpected<Problem> image_not_allowed(const std::string& name) const {
        Problem problem{ProblemType::image_not_allowed,
                        "The image `" + name + "` matches none of the operator's patterns."};
        problem.errors.push_back(
            {"image", "must match one of: " + listed(policy_.allowed_images), {}, name});
        return std::unexpected(std::move(problem));
    }

    static std::string listed(const std::vector<std::string>& names) {
        std::string out;
        for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
        return out.empty() ? "(none)" : out;
    }

    void unknown_fields(const json& object, const std::string& prefix,
                        std::span<const std::string_view> known) {
        for (const auto& [name, _] : object.items()) {
            if (std::ranges::find(known, name) != known.end()) continue;
            complain(prefix + shown_text(name), "is not a field here" + did_you_mean(name, known));
        }
    }

    // The field, or nothing when it is absent or of another type, which is a complaint.
    json* object_field(json& parent, const std::string& name) {
        return typed(parent, name, json::value_t::object, "an object");
    }
    json* array_field(json& parent, const std::string& name) {
        return typed(parent, name, json::value_t::array, "an array");
    }
    json* typed(json& parent, const std::string& name, json::value_t type, const char* wanted) {
        const auto at = parent.find(name);
        if (at == parent.end()) return nullptr;
        if (at->type() == type) return &*at;
        complain(name, std::string("must be ") + wanted + ", not " + what_is(*at));
        return nullptr;
    }
    std::string* text_in(json& parent, const std::string& name, const std::string& field) {
        const auto at = parent.find(name);
        if (at == parent.end()) return nullptr;
        if (at->is_string()) return &at->get_ref<std::string&>();
        complain(field, "must be a string, not " + what_is(*at));
        return nullptr;
    }

    std::int64_t integer(const json& parent, const std::string& prefix, const std::string& name,
                         std::int64_t least, std::int64_t most, std::int64_t absent) {
        const auto at = parent.find(name);
        if (at == parent.end()) return absent;
        const std::string range =
            "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
        if (!at->is_number_integer()) {
            complain(prefix + name, "must be " + range + ", not " + what_is(*at), most,
                     shown_number(*at));
            return absent;
        }
        const bool huge = at->is_number_unsigned() &&
                          at->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
        const std::int64_t value = huge ? INT64_MAX : at->get<std::int64_t>();
        if (huge || value < least || value > most) {
            complain(prefix + name, "must be " + range, value < least ? least : most,
                     shown_number(*at));
            return absent;
        }
        return value;
    }

    void image(json& document) {
        const std::string* name = text_in(document, "image", "image");
        if (name == nullptr) {
            if (document.contains("image")) return;
            if (policy_.default_image.empty()) complain("image", "is missing");
            out_.spec.image = policy_.default_image;
            return;
        }
        const std::string error = image_error(*name);
        if (!error.empty()) {
            complain("image", error, static_cast<std::int64_t>(kMaxImageBytes), shown_text(*name));
            return;
        }
        out_.spec.image = *name;
    }

    void command(json& document) {
        json* argv = array_field(document, "command");
        if (argv == nullptr) {
            if (!document.contains("command")) {
                complain("command",
                         "is missing: the program and its arguments, like "
                         "[\"python3\", \"main.py\"]");
            }
            return;
        }
        if (argv->empty()) complain("command", "must have at least one entry", std::int64_t{1});
        if (argv->size() > kMaxCommandArgs) {
            complain("command", "has too many entries", static_cast<std::int64_t>(kMaxCommandArgs),
                     static_cast<std::int64_t>(argv->size()));
            return;
        }
        std::size_t total = 0;
        for (std::size_t i = 0; i < argv->size(); ++i) {
            json& entry = (*argv)[i];
            if (!entry.is_string()) {
                complain(index_of("command", i), "must be a string, not " + what_is(entry));
                continue;
            }
            auto& text = entry.get_ref<std::string&>();
            if (i == 0 && text.empty()) complain("command[0]", "must name a program");
            if (text.size() > kMaxCommandArgBytes) {
                complain(index_of("command", i), "has too many bytes",
                         static_cast<std::int64_t>(kMaxCommandArgBytes),
                         static_cast<std::int64_t>(text.size()));
            }
            total += text.size() + 1;
            out_.spec.command.push_back(std::move(text));
        }
        if (total > kMaxCommandBytes) {
            complain("command", "has too many bytes in all its entries",
                     static_cast<std::int64_t>(kMaxCommandBytes),
                     static_cast<std::int64_t>(total));
        }
    }

    void files(json& document) {
        json* list = array_field(document, "files");
        if (list == nullptr) return;
        if (std::ssize(*list) > rules_.max_input_files) {
            complain("files", "has too many entries", rules_.max_input_files,
                     static_cast<std::int64_t>(list->size()));
            return;
        }
        std::map<std::string, std::size_t> seen;
        for (std::size_t i = 0; i < list->size(); ++i) {
            const std::string field = index_of("files", i);
            if (!(*list)[i].is_object()) {
                complain(field, "must be an object, not " + what_is((*list)[i]));
                continue;
            }
            SubmittedFile file = one_file((*list)[i], field);
            const auto [at, fresh] = seen.emplace(file.path, i);
            if (!fresh && !file.path.empty()) {
                complain(field + ".path",
                         "is the same as that of " + index_of("files", at->second), {},
                         shown_text(file.path));
            }
            out_.files.push_back(std::move(file));
        }
    }

    SubmittedFile one_file(json& entry, const std::string& field) {
        constexpr std::array<std::string_view, 4> kFields = {"path", "content", "content_base64",
                                                             "mode"};
        unknown_fields(entry, field + ".", kFields);
        SubmittedFile file;
        if (const std::string* path = text_in(entry, "path", field + ".path")) {
            const std::string error = rules_.path_error(*path);
            if (!error.empty()) complain(field + ".path", error, {}, shown_text(*path));
            file.path = *path;
        } else if (!entry.contains("path")) {
            complain(field + ".path", "is missing");
        }
        file.mode = file_mode(entry, field + ".mode");
        file.content = bytes(entry, "content", "content_base64", field + ".");
        const bool given = entry.contains("content") || entry.contains("content_base64");
        if (!given && !rules_.parts_follow) {
            complain(field, "needs `content` or `content_base64`");
        }
        return file;
    }

    std::uint32_t file_mode(json& entry, const std::string& field) {
        const auto at = entry.find("mode");
        if (at == entry.end()) return kDefaultFileMode;
        const std::string wanted = "must be permission bits up to 0777, in octal, like \"0755\"";
        if (at->is_string()) {
            const auto& text = at->get_ref<const std::string&>();
            std::uint32_t mode = 0;
            const bool digits = !text.empty() && text.size() <= 5 &&
                                text.find_first_not_of("01234567") == text.npos;
            for (const char c : digits ? text : std::string()) {
                mode = mode * 8 + static_cast<std::uint32_t>(c - '0');
            }
            if (digits && mode <= kMaxFileMode) return mode;
            complain(field, wanted, "0777", shown_text(text));
            return kDefaultFileMode;
        }
        const bool fits = at->is_number_unsigned() && at->get<std::uint64_t>() <= kMaxFileMode;
        if (fits) return at->get<std::uint32_t>();
        complain(field, wanted + ", or the same as a number (493)", std::int64_t{kMaxFileMode},
                 shown_number(*at));
        return kDefaultFileMode;
    }

    // `plain` is text, `encoded` is base64; at most one of them.
    std::optional<std::string> bytes(json& parent, const std::string& plain,
                                     const std::string& encoded, const std::string& prefix) {
        std::string* text = text_in(parent, plain, prefix + plain);
        std::string* base64 = text_in(parent, encoded, prefix + encoded);
        if (parent.contains(plain) && parent.contains(encoded)) {
            complain(prefix + encoded, "cannot stand beside `" + plain + "`");
        }
        if (text != nullptr) return std::move(*text);
        if (base64 == nullptr) return std::nullopt;
        auto decoded = base64_decode(*base64);
        if (!decoded) complain(prefix + encoded, "is not base64 (RFC 4648, with padding)");
        return decoded;
    }

    void stdin_bytes(json& document) {
        out_.stdin_bytes = bytes(document, "stdin", "stdin_base64", "");
        if (out_.stdin_bytes && std::ssize(*out_.stdin_bytes) > rules_.max_stdin_bytes) {
            complain("stdin", "has too many bytes", rules_.max_stdin_bytes,
                     static_cast<std::int64_t>(out_.stdin_bytes->size()));
        }
    }

    void env(json& document) {
        json* object = object_field(document, "env");
        if (object == nullptr) return;
        if (object->size() > kMaxEnvVars) {
            complain("env", "has too many variables", static_cast<std::int64_t>(kMaxEnvVars),
                     static_cast<std::int64_t>(object->size()));
            return;
        }
        std::size_t total = 0;
        for (auto& [name, value] : object->items()) {
            const std::string field = "env." + shown_text(name);
            env_name(field, name);
            if (!value.is_string()) {
                complain(field, "must be a string, not " + what_is(value));
                continue;
            }
            const auto& text = value.get_ref<const std::string&>();
            if (text.size() > kMaxEnvValueBytes) {
                complain(field, "has too many bytes", static_cast<std::int64_t>(kMaxEnvValueBytes),
                         static_cast<std::int64_t>(text.size()));
            }
            total += name.size() + text.size() + 2;
            out_.spec.env[name] = text;
        }
        if (total > kMaxEnvBytes) {
            complain("env", "has too many bytes in all its names and values",
                     static_cast<std::int64_t>(kMaxEnvBytes), static_cast<std::int64_t>(total));
        }
    }

    void env_name(const std::string& field, std::string_view name) {
        if (name.size() > kMaxEnvNameBytes) {
            complain(field, "has too long a name", static_cast<std::int64_t>(kMaxEnvNameBytes),
                     static_cast<std::int64_t>(name.size()));
        } else if (!is_env_name(name)) {
            complain(field,
                     "must have a name of letters, digits and `_` that starts with no digit");
        } else if (name == "HOME" || name.starts_with("MAYFLY_")) {
            complain(field, "is set by Mayfly: HOME and MAYFLY_* are reserved");
        }
    }

    void labels(json& document) {
        json* object = object_field(document, "labels");
        if (object == nullptr) return;
        if (object->size() > kMaxLabels) {
            complain("labels", "has too many labels", static_cast<std::int64_t>(kMaxLabels),
                     static_cast<std::int64_t>(object->size()));
            return;
        }
        for (auto& [key, value] : object->items()) {
            const std::string field = "labels." + shown_text(key);
            const std::string error = label_key_error(key);
            if (!error.empty()) complain(field, error);
            if (!value.is_string()) {
                complain(field, "must be a string, not " + what_is(value));
                continue;
            }
            const auto& text = value.get_ref<const std::string&>();
            if (text.size() > kMaxLabelValueBytes) {
                complain(field, "has too many bytes",
                         static_cast<std::int64_t>(kMaxLabelValueBytes),
                         static_cast<std::int64_t>(text.size()));
            }
            out_.spec.labels[key] = text;
        }
    }

    void limits(json& document) {
        json* object = object_field(document, "limits");
        std::vector<std::string_view> names;
        for (const store::LimitRange& range : policy_.limits) names.push_back(range.name);
        if (object != nullptr) unknown_fields(*object, "limits.", names);
        const json empty = json::object();
        const json& given = object != nullptr ? *object : empty;
        for (const store::LimitRange& range : policy_.limits) {
            out_.spec.limits.*range.field =
                range.name == "cpus" ? cpu_millis(given, range)
                                     : integer(given, "limits.", std::string(range.name),
                                               range.floor, range.ceiling, range.default_value);
        }
    }

    // A decimal number of CPUs, to the thousandth.
    std::int64_t cpu_millis(const json& given, const store::LimitRange& range) {
        const auto at = given.find("cpus");
        if (at == given.end()) return range.default_value;
        const double least = static_cast<double>(range.floor) / 1000;
        const double most = static_cast<double>(range.ceiling) / 1000;
        const double value = at->is_number() ? at->get<double>() : -1;
        if (at->is_number() && value >= least && value <= most) return std::llround(value * 1000);
        std::string message =
            "must be a number of CPUs from " + json(least).dump() + " to " + json(most).dump();
        if (!at->is_number()) message += ", not " + what_is(*at);
        const bool low = at->is_number() && value < least;
        complain("limits.cpus", std::move(message), low ? least : most, shown_number(*at));
        return range.default_value;
    }

    void network(json& document) {
        const std::string* name = text_in(document, "network", "network");
        if (name == nullptr || *name == "none") return;
        if (*name == "loopback") {
            out_.spec.network = store::Network::loopback;
            return;
        }
        complain("network", "must be `none` or `loopback`: a run never has another network", {},
                 shown_text(*name));
    }

    void runtime(json& document) {
        const std::string* name = text_in(document, "runtime", "runtime");
        if (name == nullptr || name->empty()) return;
        if (!is_runtime_name(*name)) {
            complain("runtime", "must be letters, digits, `_`, `.` and `-`",
                     static_cast<std::int64_t>(kMaxRuntimeBytes), shown_text(*name));
            return;
        }
        out_.spec.runtime = *name;
    }

    void retry(json& document) {
        json* object = object_field(document, "retry");
        if (object == nullptr) return;
        constexpr std::array<std::string_view, 2> kFields = {"max_attempts", "on"};
        unknown_fields(*object, "retry.", kFields);
        out_.spec.max_attempts =
            integer(*object, "retry.", "max_attempts", 1, policy_.max_attempts_ceiling, 1);
        const auto on = object->find("on");
        if (on == object->end()) return;
        if (*on != json::array({"lost"})) {
            complain("retry.on",
                     "must be [\"lost\"]: nothing else is tried again, because it did "
                     "run to its end");
        }
    }

    void webhook(json& document) {
        json* object = object_field(document, "webhook");
        if (object == nullptr) return;
        if (!rules_.webhook_url_error) {
            complain("webhook",
                     "is not possible here: the operator has switched webhooks off. Leave it "
                     "away and ask for the run, or follow /v1/events");
            return;
        }
        constexpr std::array<std::string_view, 3> kFields = {"url", "secret", "on"};
        unknown_fields(*object, "webhook.", kFields);
        store::Webhook& out = out_.spec.webhook.emplace();
        if (const std::string* url = text_in(*object, "url", "webhook.url")) {
            const std::string error = rules_.webhook_url_error(*url);
            if (!error.empty()) complain("webhook.url", error, {}, shown_text(*url));
            out.url = *url;
        } else if (!object->contains("url")) {
            complain("webhook.url", "is missing: where to send to, like https://example.com/hook");
        }
        webhook_secret(*object, out);
        const auto on = object->find("on");
        if (on == object->end() || *on == json::array({"finished"})) return;
        out.all_events = *on == json::array({"all"});
        if (!out.all_events) {
            complain("webhook.on",
                     "must be [\"finished\"], the end of the run alone, or [\"all\"], each of its "
                     "events");
        }
    }

    // What is wrong with a secret is said without a byte of it.
    void webhook_secret(json& object, store::Webhook& out) {
        const std::string* secret = text_in(object, "secret", "webhook.secret");
        if (secret == nullptr) return;
        const bool printable =
            std::ranges::all_of(*secret, [](char c) { return c >= ' ' && c < '\x7f'; });
        if (!printable) complain("webhook.secret", "must be printable ASCII");
        if (secret->size() < kMinWebhookSecretBytes || secret->size() > kMaxWebhookSecretBytes) {
            complain("webhook.secret",
                     "must have " + std::to_string(kMinWebhookSecretBytes) + " to " +
                         std::to_string(kMaxWebhookSecretBytes) +
                         " bytes; leave it away to have nothing signed",
                     static_cast<std::int64_t>(secret->size() < kMinWebhookSecretBytes
                                                   ? kMinWebhookSecretBytes
                                                   : kMaxWebhookSecretBytes),
                     static_cast<std::int64_t>(secret->size()));
        }
        out.secret = *secret;
    }

    void inputs_fit() {
        std::int64_t total = out_.stdin_bytes ? std::ssize(*out_.stdin_bytes) : 0;
        for (const SubmittedFile& file : out_.files) {
            if (file.content) total += std::ssize(*file.content);
        }
        if (total > rules_.max_input_bytes) {
            complain("files", "has too many bytes in all inputs", rules_.max_input_bytes, total);
        } else if (total > out_.spec.limits.work_bytes) {
            complain("limits.work_bytes", "is smaller than the inputs alone",
                     out_.spec.limits.work_bytes, total);
        }
    }

    const store::Policy& policy_;
    const InputRules& rules_;
    Submission out_;
    std::vector<FieldError> errors_;
};

}  // namespace

std::string label_key_error(std::string_view key) {
    const auto lower = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    if (key.size() > kMaxLabelKeyBytes) {
        return "must have a key of at most " + std::to_string(kMaxLabelKeyBytes) + " bytes";
    }
    const bool fits = !key.empty() && lower(key.front()) && std::ranges::all_of(key, [&](char c) {
        return lower(c) || c == '.' || c == '_' || c == '/' || c == '-';
    });
    if (fits) return {};
    return "must have a key of a-z, 0-9, `.`, `_`, `/`, `-` that starts with a letter or digit";
}

std::optional<std::string> base64_decode(std::string_view text) {
    std::string packed;
    packed.reserve(text.size());
    for (const char c : text) {
        if (c == '\r' || c == '\n') continue;
        const bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
        if (!fits) return std::nullopt;
        packed.push_back(c);
    }
    if (packed.size() % 4 != 0) return std::nullopt;
    const std::size_t first_pad = std::min(packed.find('='), packed.size());
    const std::size_t padding = packed.size() - first_pad;
    if (padding > 2 || packed.find_first_not_of('=', first_pad) != packed.npos)
        return std::nullopt;
    std::string out(packed.size() / 4 * 3, '\0');
    // OpenSSL decodes the padding to zeros and counts them; what it is given was checked above.
    const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                       reinterpret_cast<const unsigned char*>(packed.data()),
                                       static_cast<int>(packed.size()));
    if (length < 0) return std::nullopt;
    out.resize(static_cast<std::size_t>(length) - padding);
    return out;
}

Answer<Submission> read_submission(json document, const store::Policy& policy,
                                   const InputRules& rules) {
    return SpecReader(policy, rules).read(std::move(document));
}

}  // namespace mayfly::api
