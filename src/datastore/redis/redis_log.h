// redis_log.h: the log over Redis (6.2 or later, one primary, replicas if any), shared by any number of servers.
//
//   append, current, tail ─▶ W: one script call a batch, runs alone: others' entries, ours, a word on the channel
//                            S: subscribed to that word; polling beside it
//   load from 0           ─▶ a connection of its own
//
// Revisions have no holes: the script counts. A lost W is made again by itself and begins with a new fence number, so
// that a call that is still on its way does nothing any more (facts 2.6). Each batch writes its nonce, and each call
// and each new session checks that the newest known entry still has its own: if not, Redis has lost writes (a restart
// under appendfsync everysec, a failover), and nothing is served from it any more (facts 2.7).
#pragma once

#include "datastore/log.h"
#include "datastore/redis/settings.h"

namespace kedge::datastore {

struct redis_options {
  redis::settings connection;
  // How long a server that starts waits for Redis.
  std::chrono::milliseconds start_wait{60'000};
  // Written bytes after which the log compacts itself.
  std::size_t history_bytes = redis::history_bytes_max;
};

std::unique_ptr<log> make_redis_log(redis_options options);

}  // namespace kedge::datastore
