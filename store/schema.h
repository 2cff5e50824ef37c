// The tables of mayfly.db and how they came to be. Of the database's own use.
//
// Migrations are numbered from 1 and only ever appended; `PRAGMA user_version` holds the last one
// applied. Each runs in one transaction with its number, so that a crash leaves the version before
// it, whole.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <span>

#include "store/error.h"

namespace mayfly::store {

struct Migration {
    int version = 0;
    const char* sql = nullptr;
};

[[nodiscard]] std::span<const Migration> migrations();

// In the file's header, so that another program's database is told from ours.
inline constexpr std::int32_t kApplicationId = 0x4D61'7966;  // "Mayf"

// What the file is before it is migrated. `corrupt` when it is somebody else's, `too_new` when a
// newer version wrote it. Reads only.
enum class Origin { empty, ours };
[[nodiscard]] Result<Origin> identify(SQLite::Database& database, int newest_version);

// Applies what is missing, in order. Throws SQLite::Exception; the transaction of the migration
// that failed is undone.
void migrate(SQLite::Database& database, std::span<const Migration> steps);

}  // namespace mayfly::store
