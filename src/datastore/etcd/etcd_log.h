// etcd_log.h: the log over etcd v3 (3.4 or later), shared by any number of servers, K3s's among them: keys, values and
// revisions are kube-apiserver's.
//
//   append ─▶ a transaction for each operation, many at once; their conditions are checked by etcd
//   tail   ◀─ news: one watch over all keys, from the newest revision that is known
//   load   ─▶ what exists at one revision, then what the watch tells
//
// A write has a revision of its own, as kube-apiserver's have: two that shared one couldn't be told apart by who goes
// on from there. So a batch is no one step, and its operations may land in any order, between others'.
//
// A connection that is lost with writes on their way leaves them in doubt. Before the next is used this server's fence
// key is changed, on whose revision every transaction depends, so what isn't there then never comes.
#pragma once

#include "datastore/etcd/limits.h"
#include "datastore/etcd/settings.h"
#include "datastore/log.h"

namespace kedge::datastore {

struct etcd_options {
  etcd::settings cluster;
  // Whether the members themselves tell where the others are, from the first of `cluster` on: those that join and go
  // while it runs, too.
  bool learn_members = false;
  // How long a server that starts waits for etcd.
  std::chrono::milliseconds start_wait{60'000};
  std::uint64_t revision_jump = etcd::revision_jump;
};

std::unique_ptr<log> make_etcd_log(etcd_options options);

}  // namespace kedge::datastore
