// containerd.h: our containerd as a child process, kept running.
//
// It is killed when this process dies (however it dies); the shims, and so the pods, live on and are found again by the
// next one.
#pragma once

#include <string>

#include "node/runtime/containerd_config.h"
#include "reactor/process.h"
#include "reactor/sync.h"

namespace kedge::node {

class containerd {
 public:
  explicit containerd(agent_config config) : config_(std::move(config)) {}
  containerd(const containerd&) = delete;
  containerd& operator=(const containerd&) = delete;

  // Writes the configuration and starts it, again and again with growing pauses. Never returns by itself, only after
  // stop(). Run it once, in a scope that ends before this object.
  task<void> run();

  // Starts it again with another configuration; the pods run on.
  void begin_anew(agent_config config);

  // Images are looked for among the nodes first, through this node's own part of their mirror; from the next pull on,
  // since containerd reads hosts.toml at each.
  task<result<void>> use_mirror(std::string url);

  // Asks it to end, and kills it after limits.h's stop_grace. run() returns then.
  task<void> stop();

  // Why it doesn't run, in words for the node's condition; empty while it does (it may not answer yet).
  const std::string& problem() const { return problem_; }
  bool running() const { return process_ != nullptr; }
  int pid() const { return process_ ? process_->pid() : -1; }
  // Empty until run() has looked at the machine.
  const std::string& socket() const { return settings_.socket; }
  const std::string& snapshotter() const { return settings_.snapshotter; }

 private:
  task<result<int>> run_once();
  task<result<void>> write_registries();
  // Leaves our shim out of the settings when it isn't there or doesn't answer for itself, and says so.
  task<void> choose_runtime();

  agent_config config_;
  containerd_settings settings_;
  std::string problem_ = "container runtime is down: containerd has not been started yet";
  reactor::process* process_ = nullptr;  // in run_once's frame
  bool stopping_ = false, anew_ = false;
  reactor::event stop_asked_, ended_;
};

}  // namespace kedge::node
