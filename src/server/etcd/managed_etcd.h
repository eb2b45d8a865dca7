// managed_etcd.h: the part that has a datastore of the cluster's own: an etcd whose members are run and joined by its
// servers, in the files, ports and names of K3s's embedded etcd.
//
//   --cluster-init          CAs ─▶ etcd of one member ─▶ what stood in SQLite moves in ─▶ the server
//   --server URL            /cacerts by the token's hash ─▶ /v1-k3s/server-bootstrap: the cluster's CAs and keys
//                           ─▶ /db/info: members ─▶ added as a learner ─▶ etcd ─▶ the server; promoted by etcd's leader
//   data is there           etcd goes on as the member that it was; a move that was cut short begins anew
//   --disable-etcd          the same CAs and keys ─▶ /db/info, or the addresses of the time before ─▶ the server, over
//   those the member is removed   `tombstone`; the server ends, and joins as another member when it is started again
//
//   $D/server/tls/etcd      CAs and certificates of members and clients
//   $D/server/db/etcd       etcd's data; `name` in it is this member's name, NODE-xxxxxxxx; `moving-in` stands there
//                           until everything of SQLite has moved, `tombstone` when it is no member any more
//   $D/server/etc/k3s-etcd-server-load-balancer.json   without a member: the others' addresses, as K3s remembers them
//   $D/server/db/reset-flag stands from a --cluster-reset (lone_member.h) until the next start
//
// The store's log speaks to this member, and to the others while this one is away or learning: etcd tells who they are.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datastore/etcd/members.h"
#include "datastore/etcd/settings.h"
#include "server/etcd/member_process.h"
#include "server/part.h"
#include "server/shared.h"

namespace kedge::server {

class managed_etcd final : public part {
 public:
  explicit managed_etcd(shared& s) : shared_(s) {}

  std::string_view name() const noexcept override { return "etcd"; }
  task<result<void>> start() override;
  // After the store was closed.
  task<void> stop() override;

  // "a" of the member "a-1b2c3d4e".
  static std::string_view node_of(std::string_view member) { return member.substr(0, member.rfind('-')); }

  bool runs() const noexcept { return member_.has_value(); }
  const std::string& member_name() const noexcept { return name_; }
  std::string peer_url() const;
  // How this server's own client reaches this member, or without one those that are known.
  datastore::etcd::settings client_of_own() const;
  datastore::etcd::settings client_of(const std::vector<std::string>& urls) const;
  // A --cluster-reset is over: the store is open on what it has left.
  result<void> forget_reset() const;
  // Takes the member out, and waits until it has ended, for a while. Good also when it isn't a member.
  // errc::unsupported: it is the only one, and stays; errc::unavailable while etcd refuses, since it would have no
  // majority.
  task<result<void>> remove_member(std::string name, std::string address) const;

 private:
  std::string server_dir() const { return shared_.settings.cluster.server_dir(); }
  task<result<std::string>> told() const;  // /db/info
  task<result<void>> fetch_identity();
  task<result<std::vector<datastore::etcd::cluster_member>>> join();
  std::string sqlite_file() const { return server_dir() + "/db/state.db"; }
  std::string move_mark() const { return server_dir() + "/db/etcd/moving-in"; }
  std::string tombstone() const { return server_dir() + "/db/etcd/tombstone"; }
  result<void> undo_move() const;
  task<result<void>> adopt_sqlite();
  result<std::string> take_name();
  result<void> leave_old_life() const;
  result<void> check_namesake(const std::vector<datastore::etcd::cluster_member>& members) const;
  task<void> end_with_member();
  task<result<void>> start_without_member();
  result<std::vector<std::string>> members_told() const;
  std::string known_file() const { return server_dir() + "/etc/k3s-etcd-server-load-balancer.json"; }
  std::vector<std::string> read_known() const;
  task<void> remember_members();
  void serve(const std::vector<std::string>& urls);

  shared& shared_;
  std::string name_;
  std::string members_told_;        // /db/info of the server that is joined
  std::vector<std::string> known_;  // client URLs of the others, without a member here
  std::optional<member_process> member_;
  reactor::scope running_;
};

}  // namespace kedge::server
