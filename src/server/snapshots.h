// snapshots.h: the part that saves the whole cluster into files (backup/README.md), on a schedule and when asked, while
// everything goes on; and that lists, prunes and deletes them.
//
//   POST /db/snapshot {"operation":"save"|"list"|"prune"|"delete"|"status",…}   K3s's request, and its answers
//
// Each server keeps its own folder, as each of K3s's with embedded etcd does; with --etcd-s3 what it saves goes into a
// bucket too. One save at a time, the others wait.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/folder.h"
#include "backup/s3/bucket.h"
#include "backup/save.h"
#include "reactor/scope.h"
#include "reactor/sync.h"
#include "server/identity.h"
#include "server/part.h"

namespace kedge::server {

// K3s's label of where a snapshot lies: a node, or "s3".
inline constexpr std::string_view snapshot_storage_label = "etcd.k3s.cattle.io/snapshot-storage-node";

class snapshots final : public part {
 public:
  snapshots(shared& s, identity& i) : shared_(s), identity_(i) {}

  std::string_view name() const noexcept override { return "snapshots"; }
  task<result<void>> start() override;
  task<void> stop() override;

  // ETCDSnapshotFiles of what is in the folder and the bucket, and of what failed lately; without names of objects.
  struct shown {
    std::vector<json::value> objects;
    bool knows_bucket = false;  // there is one, and it could be looked into
  };
  task<result<shown>> found() const;
  // Set when there are others.
  reactor::event& changed_event() noexcept { return changed_; }
  // K3s's histograms: k3s_etcd_snapshot_<what>_duration_seconds.
  void observe(std::string_view what, bool good, duration took) const;

 private:
  // What a request may say otherwise than the settings.
  struct wanted {
    std::string base, folder;
    std::size_t keep = 0, keep_in_bucket = 0;
    backup::s3::settings s3;
  };
  task<result<json::value>> answer(json::value request);
  result<wanted> read(const json::value& request) const;
  task<result<json::value>> save(wanted w);
  task<result<json::value>> list(wanted w) const;
  task<result<json::value>> prune(wanted w);
  task<result<json::value>> remove(wanted w, std::vector<std::string> names);
  json::value status() const;
  void save_beside(wanted w);
  task<void> keep_schedule();
  task<result<json::value>> save_now(wanted w);
  void note_failure(std::string name, const error& why);
  task<void> keep_metadata(std::string folder, std::string name) const;
  json::value object_of(const backup::listed& l) const;
  task<result<std::optional<backup::s3::bucket>>> open_bucket(backup::s3::settings s3) const;
  task<result<void>> upload(backup::s3::settings s3, std::string path, std::string name,
                            const backup::header& about) const;
  std::string prefix_of(const wanted& w) const;

  shared& shared_;
  identity& identity_;
  reactor::semaphore turn_{1};
  unsigned asked_ = 0;                        // saves that run or wait for their turn
  std::shared_ptr<backup::progress> saving_;  // null: nothing is being saved
  std::string last_saved_, last_failure_;     // of the last save that was asked for without waiting
  std::deque<json::value> failures_;          // the newest
  reactor::event changed_;
  reactor::scope running_;
};

}  // namespace kedge::server
