// The part of a target behind the `?`, and the small grammars of its values. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/problem.h"

namespace mayfly::api {

// "%41" -> "A". Nothing when a % is not followed by two hex digits.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text,
                                                        bool plus_is_space = false);
// Everything but unreserved characters (RFC 3986) as %XX.
[[nodiscard]] std::string percent_encode(std::string_view text);
// Without overlong forms, surrogates and what lies beyond U+10FFFF.
[[nodiscard]] bool is_utf8(std::string_view text);

// "500ms", "30s", "2m", "1h" -> milliseconds. Digits without a sign, a unit is needed.
[[nodiscard]] std::optional<std::int64_t> parse_duration_ms(std::string_view text);
// Decimal digits, at most one leading `-`; nothing outside int64.
[[nodiscard]] std::optional<std::int64_t> parse_integer(std::string_view text);

using QueryPairs = std::vector<std::pair<std::string, std::string>>;

// Takes a query apart and collects every complaint about it, so that one answer can name them all.
class Query {
public:
    // `known`: the names this route reads. Everything else is a complaint.
    Query(std::string_view raw, std::vector<std::string_view> known);

    // The value of a name that may come once; a second one is a complaint.
    [[nodiscard]] std::optional<std::string> one(std::string_view name);
    [[nodiscard]] std::vector<std::string> all(std::string_view name) const;
    // In [least, most], else a complaint.
    [[nodiscard]] std::optional<std::int64_t> integer(std::string_view name, std::int64_t least,
                                                      std::int64_t most);
    // `wait`: milliseconds, 0 when absent.
    [[nodiscard]] std::int64_t wait_ms(std::int64_t max_wait_s);

    void complain(FieldError error) { errors_.push_back(std::move(error)); }
    [[nodiscard]] bool ok() const { return errors_.empty(); }
    // All complaints as one problem.
    [[nodiscard]] Problem problem() const;

private:
    QueryPairs pairs_;
    std::vector<FieldError> errors_;
};

}  // namespace mayfly::api
