// store.h: what this node must know to run its pods while no server answers, on its disk: itself, its pods, and the
// objects that these name.
//
//   <agent>/offline/<digest of the path>     nonce, ciphertext and tag of {"path": …, "object": …}
//
// Sealed with a key that is made of the node's password, which lies elsewhere: a copy of the data folder alone tells
// nothing of the pods' secrets. A record is written when it differs from what lies there, and read when it is asked
// for. One that can't be opened (another node's, half of a broken disk) is as one that isn't there.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::node {

class offline_store {
 public:
  offline_store(std::string folder, std::string_view node_password);

  // Looks at what lies there. Once, before all else.
  task<void> open();

  // The object at `path` ("/api/v1/namespaces/default/configmaps/web") as it was kept last.
  task<std::optional<json::value>> find(std::string path);
  std::vector<std::string> paths() const;
  // At once; on the disk soon. What can't be written is told in the log, and not kept.
  void keep(std::string path, const json::value& object);
  void forget(const std::string& path);
  void forget_below(std::string_view prefix);

 private:
  task<void> work();
  std::string file_of(std::string_view path) const;

  std::string folder_, key_;
  std::map<std::string, std::string, std::less<>> kept_;  // path → digest of the object's text
  // What isn't on the disk yet, the newest of each path; nullopt: it goes.
  std::map<std::string, std::optional<std::string>, std::less<>> due_;
  reactor::event more_;
  reactor::scope tasks_;
};

}  // namespace kedge::node
