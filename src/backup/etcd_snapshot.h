// etcd_snapshot.h: etcd's own snapshots, as `k3s etcd-snapshot save` and `etcdctl snapshot save` write them: its
// database, and the SHA-256 of that behind it.
//
//   bucket "key":   revision ─▶ mvccpb.KeyValue, in the order of the revisions: the last one of a key is what stands
//   bucket "lease": which of them end when
//   /bootstrap/…:   the cluster's CAs and keys, sealed by the token, as K3s keeps them there
//
// etcd isn't needed to read one, so it can be restored into any datastore.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "backup/source.h"
#include "base/time.h"

namespace kedge::backup {

// A look at the first page: cheap, for lists. Blocking, like all of it.
bool is_etcd_snapshot(const std::string& path);
// When it was saved: by the number at the end of K3s's names, else by the file's time.
wall_time etcd_snapshot_time(const std::string& path);

// Reads all of it; what stands in it is kept in memory, as by a server. errc::corrupt: its sum is wrong, or there is
// none (a member's own file is such: `without_sum` takes it all the same); errc::unauthenticated: the cluster in it has
// another token.
result<std::unique_ptr<source>> open_etcd_snapshot(const std::string& path, std::string_view password,
                                                   bool without_sum);

}  // namespace kedge::backup
