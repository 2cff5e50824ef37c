// What can go wrong in this room. Everything else is a bug and aborts.
#pragma once

#include <expected>
#include <string>

namespace mayfly::store {

enum class ErrorKind {
    not_found,   // no such run (or it has a tombstone)
    conflict,    // the row is not in the state that the change needs; nothing was changed
    key_reused,  // Idempotency-Key was used before with another body
    full,        // no space on the device
    io,          // a read, write or fsync failed: the outcome of the transaction is unknown
    corrupt,     // the database or a spool file is not what was written
    too_new,     // the database was written by a newer version
    locked,      // another instance holds the data directory
    invalid,     // bad argument; the message names it
    closed,      // the store has stopped accepting work
};

struct Error {
    ErrorKind kind = ErrorKind::io;
    std::string message;
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(ErrorKind kind, std::string message) {
    return std::unexpected(Error{kind, std::move(message)});
}

}  // namespace mayfly::store
