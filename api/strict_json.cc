#include "api/strict_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mayfly::api {
namespace {

using nlohmann::json;

// Builds the document and stops at the first thing that we do not take. nlohmann's lexer has by
// then refused invalid UTF-8 and lone surrogates; its parser keeps no stack of calls, so depth
// costs nothing but what is counted here.
class StrictReader : public json::json_sax_t {
public:
    bool null() override { return put(json(nullptr)); }
    bool boolean(bool value) override { return put(json(value)); }
    bool number_integer(number_integer_t value) override { return put(json(value)); }
    bool number_unsigned(number_unsigned_t value) override { return put(json(value)); }
    bool number_float(number_float_t value, const string_t& /*text*/) override {
        return put(json(value));
    }
    bool string(string_t& value) override {
        if (value.find('\0') != value.npos) return refused("has a NUL character in a string");
        return put(json(std::move(value)));
    }
    bool binary(binary_t& /*value*/) override { return refused("is not text"); }

    bool start_object(std::size_t /*size*/) override { return open(json::object()); }
    bool start_array(std::size_t /*size*/) override { return open(json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& name) override {
        if (name.find('\0') != name.npos) return refused("has a NUL character in a key");
        if (open_.back()->contains(name)) {
            return refused("has the key `" + shown_text(name) + "` twice in one object");
        }
        key_ = std::move(name);
        return true;
    }

    bool parse_error(std::size_t position, const std::string& /*token*/,
                     const json::exception& error) override {
        // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ..."
        std::string_view what = error.what();
        if (what.starts_with('[')) what.remove_prefix(std::min(what.find("] ") + 2, what.size()));
        complaint_ = "is not JSON (byte " + std::to_string(position) + "): " + shown_text(what);
        return false;
    }

    [[nodiscard]] json& document() { return root_; }
    [[nodiscard]] const std::string& complaint() const { return complaint_; }

private:
    bool refused(std::string why) {
        complaint_ = std::move(why);
        return false;
    }

    json* attach(json value) {
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        if (open_.back()->is_array()) {
            open_.back()->push_back(std::move(value));
            return &open_.back()->back();
        }
        json& slot = (*open_.back())[key_];
        slot = std::move(value);
        return &slot;
    }

    bool put(json value) {
        attach(std::move(value));
        return true;
    }

    bool open(json value) {
        if (open_.size() == kMaxJsonDepth) {
            return refused("is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
        }
        open_.push_back(attach(std::move(value)));
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    json root_;
    std::vector<json*> open_;  // a container's address is steady while it is the last child
    std::string key_;
    std::string complaint_;
};

}  // namespace

Answer<json> read_strict_json(std::string_view text) {
    if (text.find_first_not_of(" \t\r\n") == text.npos) {
        return refuse(ProblemType::invalid_json, "The JSON is empty.");
    }
    StrictReader reader;
    if (!json::sax_parse(text, &reader)) {
        return refuse(ProblemType::invalid_json, "The JSON " + reader.complaint() + ".");
    }
    return std::move(reader.document());
}

}  // namespace mayfly::api
