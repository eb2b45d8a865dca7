// libmariadb.h: MariaDB's client library, which speaks to MySQL as well, loaded when the first connection is made and
// not with the program (as libpq: postgres/libpq.h). Its functions are defined in libmariadb.cc, by the same names.
#pragma once

#include "base/error.h"

namespace kedge::datastore::mysql {

// Loads and prepares the library; errc::unsupported with what to install when it isn't there. Blocks on the disk, the
// first time. Any thread. Nothing else of it may be called before.
result<void> load_libmariadb();

}  // namespace kedge::datastore::mysql
