// managed_etcd.h: the part that has a datastore of the cluster's own: an etcd whose members are run and joined by its
// servers, in the files, ports and names of K3s's embedded etcd.
//
//   --cluster-init          CAs ─▶ etcd of one member ─▶ what stood in SQLite moves in ─▶ the server
//   --server URL            /cacerts by the token's hash ─▶ /v1-k3s/server-bootstrap: the cluster's CAs and keys
//                           ─▶ /db/info: members ─▶ added as a learner ─▶ etcd ─▶ the server; promoted by etcd's leader
//   data is there           etcd goes on as the member that it was; a move that was cut short begins anew
//
//   $D/server/tls/etcd      CAs and certificates of members and clients
//   $D/server/db/etcd       etcd's data; `name` in it is this member's name, NODE-xxxxxxxx; `moving-in` stands there
//                           until everything of SQLite has moved
//
// The store's log speaks to this member, and to the others while this one is away or learning: etcd tells who they are.
#pragma once

#include <memory>
#include <optional>
#include <string>
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

  bool runs() const noexcept { return member_.has_value(); }
  const std::string& member_name() const noexcept { return name_; }
  std::string peer_url() const;
  // How this server's own client reaches this member.
  datastore::etcd::settings client_of_own() const;

 private:
  std::string server_dir() const { return shared_.settings.cluster.server_dir(); }
  task<result<std::string>> told() const;  // /db/info
  task<result<void>> fetch_identity();
  task<result<std::vector<datastore::etcd::cluster_member>>> join();
  std::string sqlite_file() const { return server_dir() + "/db/state.db"; }
  std::string move_mark() const { return server_dir() + "/db/etcd/moving-in"; }
  result<void> undo_move() const;
  task<result<void>> adopt_sqlite();
  result<std::string> take_name();
  datastore::etcd::settings client_of(const std::vector<std::string>& urls) const;
  task<void> end_with_member();

  shared& shared_;
  std::string name_;
  std::string members_told_;  // /db/info of the server that is joined
  std::optional<member_process> member_;
  reactor::scope running_;
};

}  // namespace kedge::server
