// lone_member.h: etcd as commands need it while no server runs: for a while, on loopback, for nobody else.
//
//   --cluster-reset      data of a member whose majority is lost ─▶ etcd that takes it for all of its cluster ─▶
//   reset-flag restoring            an empty folder ─▶ etcd of one member ─▶ what the caller writes ─▶ its data, which
//   takes the place
//                        of what was there
#pragma once

#include <functional>
#include <string>

#include "datastore/etcd/settings.h"
#include "reactor/task.h"
#include "server/etcd/settings.h"
#include "supervisor/config.h"

namespace kedge::server {

// Makes a cluster of one of what this server has, as K3s does: by another member's name, and once; etcd_reset_flag()
// stands until the server is started. What was done, for people. Blocking, on a loop of its own.
// errc::already_exists: it was reset already; errc::not_found: there is no etcd's data here.
result<std::string> reset_etcd(const supervisor::config& c, const etcd_settings& own);

// `fill` writes into an etcd of one member that goes on from a copy of this server's, or begins; which then takes the
// place of this server's; what was there stays beside, and its path is given (empty: nothing was). `mark` is called
// when all is ready, before anything changes. Blocking.
result<std::string> replace_etcd(const std::string& server_dir, const etcd_settings& own,
                                 std::function<task<result<void>>(datastore::etcd::settings)> fill,
                                 std::function<result<void>()> mark);

}  // namespace kedge::server
