// adopt.h: what stands in a server's SQLite database becomes the content of a new etcd.
#pragma once

#include <cstddef>

#include "datastore/etcd/settings.h"
#include "datastore/sqlite/database.h"
#include "reactor/task.h"

namespace kedge::server {

// Gives how many keys were written. Nothing of the database is changed; after an error etcd may hold a part, and the
// next attempt needs a new one. What was is forgotten: who holds a revision of before lists again.
task<result<std::size_t>> adopt_database(datastore::sqlite_options from, datastore::etcd::settings to);

}  // namespace kedge::server
