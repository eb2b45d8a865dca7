// deployer.h: what lies in a server's folder of manifests is in the cluster.
//
//   folder ─▶ look ─▶ files that changed ─▶ objects ─▶ apply_set, as their AddOn's ─▶ checksum, kinds, events
//     ▲                                                                                    │
//     └── inotify; every 15 s; after a failure, later and later ◀──────────────────────────┘
//
// Each file has an AddOn (k3s.cattle.io/v1, in kube-system), named after it up to its first dot, that owns its objects.
// Names, events, checksums and who owns what are K3s's, so that a K3s server goes on where this one ends. Unlike K3s,
// a bad document holds nothing but itself, and a file that failed holds no other.
//
// Every server looks at its own folder, as K3s's do.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/objects.h"
#include "control/addons/changes.h"
#include "control/addons/folder.h"
#include "control/event_recorder.h"
#include "control/object_set.h"

namespace kedge::control::addons {

struct deploy_settings {
  std::string folder;                           // <data dir>/server/manifests
  std::set<std::string, std::less<>> disabled;  // --disable
  bool prune_files = false;                     // what a file brought goes when the file goes while this runs
  // Packaged components (packaged.h) that Kedge itself is, or brings; by their file below the folder.
  std::map<std::string, std::vector<json::value>, std::less<>> packaged = {};
  // Whether packaged components may be brought now: not while a K3s server that lives brings its own.
  std::function<bool()> brings_packaged = [] { return true; };
};

class deployer {
 public:
  // Both outlive it. Events come from `client`, which writes all there is to be written.
  deployer(api::objects& client, deploy_settings settings);

  // Until dropped.
  task<void> run();
  // One look at the folder, and all that it asks for. True when nothing failed. `run` does it again and again.
  task<bool> pass();

 private:
  struct known_file {
    file_stamp stamp = {};
    bool applied = false;   // this version, in this process
    bool checked = false;   // any version, in this process: from then on the checksum tells
    time_point again = {};  // after a failure
    duration pause = {};
  };
  task<bool> bring_packaged();
  task<bool> bring(const std::string& file, const std::vector<json::value>& objects);
  task<bool> one_file(const manifest_file& f, const std::map<std::string, std::string>& by_addon);
  task<bool> deploy(const std::string& path, bool force);
  task<bool> apply(json::value addon, std::vector<json::value> objects, std::vector<std::string> problems,
                   std::string path, std::string checksum);
  task<bool> remove(const std::string& path, bool unlink);
  task<api::api_result<json::value>> addon_of(const std::string& path);
  void tell(const json::value& addon, bool warning, std::string reason, std::string message);
  time_point next_look() const;

  api::objects& client_;
  const deploy_settings settings_;
  event_recorder recorder_;
  changes changes_;
  std::map<std::string, known_file> known_;  // by path
  std::set<std::string> skipped_;            // packaged files that were told of
  bool packaged_ = false;                    // brought, in this process
  time_point packaged_again_ = {};           // when they weren't
  duration packaged_pause_ = {};
  std::vector<std::string> told_;  // problems of the last look
};

}  // namespace kedge::control::addons
