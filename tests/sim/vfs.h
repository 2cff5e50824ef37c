// The SQLite VFS over a DiskState: one connection, no shared memory (the product locks
// exclusively), no memory map. Registered once, and pointed at the history that runs now.
#pragma once

#include "tests/sim/disk.h"

namespace mayfly::sim {

// Everything that SQLite does from here on happens on `disk`, by `disk.life`. Null: nowhere.
void mount_vfs(DiskState* disk);

}  // namespace mayfly::sim
