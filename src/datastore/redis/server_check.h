// server_check.h: what kind of Redis is at the other end, and what its settings promise.
#pragma once

#include "datastore/redis/connection.h"

namespace kedge::datastore::redis {

struct server_facts {
  std::string version, run_id;
  std::string durability;  // for people: what survives what
  std::string warning;     // or empty
};

// From the text of INFO, and the values of `appendfsync` and `save` (nullopt: the user may not read them).
// errc::unavailable for a replica or a server that is loading; errc::unsupported for one that can't keep a cluster's
// data.
result<server_facts> read_facts(std::string_view info, const std::optional<std::string>& appendfsync,
                                const std::optional<std::string>& save);

task<result<server_facts>> check_server(connection& c);

}  // namespace kedge::datastore::redis
