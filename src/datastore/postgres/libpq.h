// libpq.h: libpq, loaded when the first connection to PostgreSQL is made and not with the program.
//
// Debian's libpq brings LDAP, Kerberos, GnuTLS and fifteen more libraries with it: 3 MB of resident memory and a part
// of the start in every agent, and in every server whose datastore is another. Its functions are defined in libpq.cc,
// by the same names, and go to the library; a program that is linked with libpq itself (a test) shares the one that it
// has.
#pragma once

#include "base/error.h"

namespace kedge::datastore::postgres {

// Loads the library; errc::unsupported with what to install when it isn't there. Blocks on the disk, the first time.
// Any thread. Without it every function that makes something gives null.
result<void> load_libpq();

}  // namespace kedge::datastore::postgres
