// evictor.h: keeps a node that runs short of something alive: says so, makes room, and lets a pod go when that isn't
// enough, one each turn.
//
//   readings, every 10 s ─▶ pressure_watch ─┬▶ pressure ─▶ the Node's conditions, admission of pods
//                                           └▶ met ─▶ unused images and dead containers go ─▶ else the pod that ranks
//                                           first
#pragma once

#include <functional>
#include <string>

#include "node/images/collector.h"
#include "node/pods/manager.h"
#include "node/resources/eviction.h"

namespace kedge::node {

class evictor {
 public:
  struct parts {
    pod_manager& pods;
    pod_runtime& runtime;
    image_collector& images;
    const kubelet_settings& settings;
    std::string node_folder, image_folder;                                 // on the file systems of pods and of images
    std::function<readings(const std::string&, const std::string&)> read;  // blocking: read_readings, or a test's
    std::function<void(const node_pressure&)> changed;
    // A warning about the node.
    std::function<void(std::string reason, std::string message)> tell;
  };
  explicit evictor(parts p)
      : parts_(std::move(p)), watch_(parts_.settings.thresholds, parts_.settings.pressure_transition) {}

  // Until dropped. Once.
  task<void> run();

 private:
  task<std::optional<readings>> read();
  task<std::string> turn();  // the uid of the pod that goes; empty: none has to
  task<bool> keep_limits();  // whether a pod goes for what it takes of the disk itself
  std::vector<std::shared_ptr<const json::value>> running() const;
  task<std::vector<pod_load>> loads(std::vector<std::shared_ptr<const json::value>> pods);

  parts parts_;
  pressure_watch watch_;
  node_pressure told_;
};

}  // namespace kedge::node
