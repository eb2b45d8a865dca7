// restore.h: a snapshot becomes the cluster of this server's datastore and of its folder, while no server runs.
//
//   file read whole ─▶ a shared datastore: mark beside the files ─▶ backup::restore
//                   └▶ SQLite, own etcd: into a new one beside ─▶ mark ─▶ both change places; the old one stays
//     ─▶ what is replaced of the folder's identity stays under before-restore-<time> ─▶ CAs, keys, tokens ─▶ mark gone
//
// Before the mark nothing has changed; while it stands no server starts, and doing it again is right.
#pragma once

#include <string>

#include "cli/options.h"

namespace kedge::cli {

struct restore_request {
  std::string file;        // with --etcd-s3 also the name of one in the bucket
  bool overwrite = false;  // the cluster that stands there goes
  bool partial = false;    // of a damaged file what can be read
};
// Blocking; tells on standard error how far it is. What was done, for people.
result<std::string> restore_cluster(const server_options& o, const restore_request& r);

}  // namespace kedge::cli
