// snapshot_objects.h: the part that shows each snapshot as an ETCDSnapshotFile (k3s.cattle.io/v1), by K3s's names and
// in its words, for people and for programs that look for backups there.
//
//   the folder, the bucket ─▶ what is there ─▶ objects made, changed, removed ─▶ events
//
//   what users say of snapshots (ConfigMap k3s-etcd-snapshot-extra-metadata) ─▶ the object, ConfigMap
//   k3s-etcd-snapshots
//
// After each change that this server makes, and each --etcd-snapshot-reconcile-interval, since files come and go
// without it too. Every server shows its own folder.
#pragma once

#include <memory>
#include <vector>

#include "api/objects.h"
#include "control/event_recorder.h"
#include "reactor/scope.h"
#include "server/fronts.h"
#include "server/part.h"
#include "server/snapshots.h"

namespace kedge::server {

class snapshot_objects final : public part {
 public:
  snapshot_objects(shared& s, fronts& f, snapshots& b) : shared_(s), fronts_(f), backups_(b) {}

  std::string_view name() const noexcept override { return "snapshot objects"; }
  task<result<void>> start() override;
  task<void> stop() override;

 private:
  task<void> keep();
  task<result<void>> reconcile();
  task<void> list_described(const std::vector<json::value>& objects);
  task<void> drop(const json::value& object);

  shared& shared_;
  fronts& fronts_;
  snapshots& backups_;
  std::unique_ptr<api::objects> client_;
  std::unique_ptr<control::event_recorder> recorder_;
  reactor::scope running_;
};

// K3s's name of a snapshot's object: unlike those of other nodes and places, and one that an object may have.
std::string snapshot_object_name(const json::value& object);

}  // namespace kedge::server
