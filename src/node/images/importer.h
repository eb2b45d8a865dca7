// importer.h: images that lie on this machine's disk, in agent/images, become the runtime's: at the start, and whenever
// a file comes or changes. Archives are imported and lists (.txt, an image a line) pulled; both are pinned, so that
// nothing takes them away again.
//
//   agent/images/* ─▶ archive_source (pool) ─▶ containerd's content ─▶ read_archive ─▶ containerd's images
//
// What was imported is noted in agent/etc/imported-images.json: it isn't read again while the runtime has it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "node/images/containerd_images.h"
#include "node/runtime/pod_runtime.h"
#include "reactor/sync.h"

namespace kedge::node {

struct importer_parts {
  std::string folder, record_file;
  pod_runtime& runtime;
  // containerd's socket; empty while there is none.
  std::function<std::string()> socket;
  std::vector<std::string> extra_registries;  // --airgap-extra-registry: names that each image gets too
  reactor::network* network = nullptr;
};

class image_importer {
 public:
  explicit image_importer(importer_parts parts) : parts_(std::move(parts)) {}
  // Until dropped. Once.
  task<void> run();
  // Set when all archives that lay there at the start have been looked at: pods wait for it.
  reactor::event& ready() { return ready_; }

 private:
  struct stamp {
    std::uint64_t size = 0;
    std::int64_t modified = 0;  // nanoseconds since the epoch
    friend bool operator==(const stamp&, const stamp&) = default;
  };
  struct done {
    stamp as_of;
    std::vector<std::string> images;
  };
  using files = std::map<std::string, stamp>;

  static files look(const std::string& folder);
  time_point again_at(const std::string& name) const;
  task<void> look_and_import(containerd_images& images);
  task<result<std::vector<std::string>>> import_archive(containerd_images& images, std::string path);
  task<result<std::vector<std::string>>> import_under_lease(containerd_images& images, std::string path,
                                                            std::string lease);
  task<result<std::vector<std::string>>> pull_list(containerd_images& images, std::string path);
  task<void> read_record();
  task<void> write_record();

  importer_parts parts_;
  files seen_;                        // at the last look
  std::map<std::string, done> done_;  // by file
  std::map<std::string, time_point> failed_at_;
  bool first_ = true;
  reactor::event ready_;
};

}  // namespace kedge::node
