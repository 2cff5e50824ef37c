#include "controller/archive/exit_record.h"

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

namespace mayfly::controller {
namespace {

using nlohmann::json;

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kSignalBase = 128;
constexpr std::int64_t kSignalMax = 64;
constexpr std::int64_t kErrnoMax = 4095;

// Reads the fields of one object; the first thing that is not as it must be is the error.
class Fields {
public:
    Fields(const json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {}

    std::int64_t number(const char* name, std::int64_t most) {
        const json* value = find(name);
        if (value == nullptr) return 0;
        // An integer of either kind that fits; json keeps what is over 2^63 as unsigned.
        const bool fits = value->is_number_unsigned() &&
                          value->get<std::uint64_t>() <= static_cast<std::uint64_t>(most);
        if (!fits) {
            complain(name, "is not a whole number from 0 to " + std::to_string(most));
            return 0;
        }
        return value->get<std::int64_t>();
    }

    // May be missing, or -1: not known.
    std::int64_t number_if_known(const char* name) {
        const auto found = object_.find(name);
        if (found == object_.end()) return -1;
        if (found->is_number_integer() && found->get<std::int64_t>() == -1) {
            ++seen_;
            return -1;
        }
        return number(name, kAny);
    }

    bool boolean(const char* name) {
        const json* value = find(name);
        if (value == nullptr) return false;
        if (!value->is_boolean()) complain(name, "is not true or false");
        return value->is_boolean() && value->get<bool>();
    }

    std::string one_of(const char* name, std::span<const std::string_view> words) {
        const json* value = find(name);
        if (value == nullptr) return {};
        if (value->is_string()) {
            for (const std::string_view word : words) {
                if (value->get_ref<const std::string&>() == word) return std::string(word);
            }
        }
        complain(name, "is none of the words it may be");
        return {};
    }

    ExitRecord::Stream stream(const char* name) {
        ExitRecord::Stream stream;
        const json* value = find(name);
        if (value == nullptr) return stream;
        if (!value->is_object()) {
            complain(name, "is not an object");
            return stream;
        }
        Fields fields(*value, prefix_ + name + ".");
        stream.total = fields.number("total", kAny);
        stream.kept = fields.number("kept", kAny);
        stream.note = fields.number("note", kAny);
        if (stream.kept > stream.total) fields.complain("kept", "is more than total");
        fields.nothing_else();
        if (error_.empty()) error_ = fields.error_;
        return stream;
    }

    void nothing_else() {
        if (seen_ == object_.size() || !error_.empty()) return;
        error_ = prefix_.empty() ? "there are fields besides the known ones"
                                 : prefix_ + " has fields besides the known ones";
    }

    void complain(std::string_view name, std::string_view what) {
        if (!error_.empty()) return;
        error_ = prefix_ + std::string(name) + " " + std::string(what);
    }

    [[nodiscard]] const std::string& error() const { return error_; }

private:
    const json* find(const char* name) {
        const auto found = object_.find(name);
        if (found == object_.end()) {
            complain(name, "is missing");
            return nullptr;
        }
        ++seen_;
        return &*found;
    }

    const json& object_;
    const std::string prefix_;
    std::size_t seen_ = 0;
    std::string error_;
};

}  // namespace

std::expected<ExitRecord, std::string> parse_exit_record(std::string_view text) {
    if (text.size() > kExitRecordMaxBytes) {
        return std::unexpected("it has " + std::to_string(text.size()) + " bytes, more than " +
                               std::to_string(kExitRecordMaxBytes));
    }
    const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!document.is_object()) return std::unexpected("it is not a JSON object");

    static constexpr std::array<std::string_view, 3> kLimits = {"", "timeout", "work_bytes"};
    Fields fields(document, "");
    ExitRecord record;
    if (fields.number("v", kAny) != kVersion) fields.complain("v", "is not 1");
    record.exit_code = fields.number("exit_code", 255);
    record.signal = fields.number("signal", kSignalMax);
    record.exec_errno = fields.number("exec_errno", kErrnoMax);
    record.tripped = fields.one_of("tripped", kLimits);
    record.term_from_outside = fields.boolean("term_from_outside");
    record.wall_us = fields.number("wall_us", kAny);
    record.cpu_us = fields.number("cpu_us", kAny);
    record.memory_peak_bytes = fields.number("memory_peak_bytes", kAny);
    record.oom_kills = fields.number("oom_kills", kAny);
    record.work_bytes = fields.number("work_bytes", kAny);
    record.output_files = fields.number_if_known("output_files");
    record.output_bytes = fields.number_if_known("output_bytes");
    record.out = fields.stream("stdout");
    record.err = fields.stream("stderr");
    if (record.signal != 0 && record.exit_code != kSignalBase + record.signal) {
        fields.complain("exit_code", "is not 128 + signal");
    }
    fields.nothing_else();
    if (!fields.error().empty()) return std::unexpected(fields.error());
    return record;
}

}  // namespace mayfly::controller
