// Between rows and nouns: binding values to a cached statement, reading a row in column order. Of
// the database's own use.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "store/event.h"
#include "store/run.h"

namespace mayfly::store {

// A stored value that this program never wrote. Caught at the edge of Database and turned into
// `corrupt`.
struct Unreadable : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A statement that is prepared when it is first used, and kept: a daemon that has just started is
// not held up by those that it may need tomorrow. Throws at its first use what SQLite::Statement
// throws when it is made.
class Prepared {
public:
    Prepared(SQLite::Database& db, std::string sql) : db_(db), sql_(std::move(sql)) {}

    SQLite::Statement& get() {
        if (!statement_) statement_.emplace(db_, sql_);
        return *statement_;
    }

private:
    SQLite::Database& db_;
    std::string sql_;
    std::optional<SQLite::Statement> statement_;
};

// One use of a cached statement: bound, stepped, and reset at the end of the scope. Texts are not
// copied: what is bound must live as long as this.
class Use {
public:
    explicit Use(SQLite::Statement& statement) : statement_(statement) {}
    explicit Use(Prepared& prepared) : statement_(prepared.get()) {}
    ~Use() { statement_.tryReset(); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    template <class... Values>
    Use& bind(const Values&... values) {
        (bind_one(values), ...);
        return *this;
    }
    // True when there is a row; its columns are then read in order.
    bool next() {
        column_ = 0;
        return statement_.executeStep();
    }
    void run() {
        while (statement_.executeStep()) {
        }
    }

    std::int64_t integer() { return statement_.getColumn(column_++).getInt64(); }
    bool flag() { return integer() != 0; }
    std::string text() { return statement_.getColumn(column_++).getString(); }
    bool null() { return statement_.getColumn(column_).isNull(); }
    std::optional<std::int64_t> maybe_integer();
    void skip(int columns) { column_ += columns; }

private:
    void bind_one(const std::string& value) { statement_.bindNoCopy(++bound_, value); }
    void bind_one(std::string_view value) { statement_.bind(++bound_, std::string(value)); }
    void bind_one(std::int64_t value) { statement_.bind(++bound_, value); }
    void bind_one(const std::optional<std::int64_t>& value);

    SQLite::Statement& statement_;
    int bound_ = 0;
    int column_ = 0;
};

// What read_run and read_attempt read, from `runs r` and `attempts a`.
extern const char* const kRunColumns;
extern const char* const kAttemptColumns;

struct StoredRun {
    std::int64_t seq = 0;
    Run run;  // without its spec, which is stored apart
};
[[nodiscard]] StoredRun read_run(Use& row);
// Empty when the outer join found none.
[[nodiscard]] std::optional<Attempt> read_attempt(Use& row, const std::string& run_id);

// One row of `events`, in the order of its columns.
[[nodiscard]] Event read_event(Use& row);
[[nodiscard]] std::string labels_json(const std::map<std::string, std::string>& labels);

[[nodiscard]] std::string skipped_json(const std::vector<SkippedArtifact>& skipped);

}  // namespace mayfly::store
