// server.h: a whole server, put together from its parts, in whatever process: `kedge server`, a test, a simulated
// world.
//
//   start ▼   etcd, where the cluster has its own ─▶ identity ─▶ key changes ─▶ listener (503) ─▶ fronts on every loop
//   ─▶ membership: ready ─▶ leading ─▶ upkeep ─▶ own node leave ▼   membership: not ready, out of the lists ─▶ leading
//   ─▶ own node (5 s) ─▶ listener: go elsewhere, 1 s, or 100 ms alone; drain (5 s) stop  ▼   own node ─▶ leading,
//   membership, upkeep, key changes ─▶ listener ─▶ fronts, audit flushed ─▶ identity: the store
//
// All of it belongs to the home loop, the first; fronts to theirs.
#pragma once

#include <functional>
#include <memory>

#include "server/settings.h"

namespace kedge::server {

class server {
 public:
  // `ready`: once, when its own node is Ready, or without one the server. The loops outlive it.
  server(settings s, machine m, std::function<void()> ready = {});
  ~server();

  // Starts, serves until told to stop, leaves, stops. 0 after an orderly end; 1 when it could not start, or had to end
  // (its log says why). Dropped, it goes as if the machine had gone.
  task<int> run();
  // After run(): the state is to be read anew, by this program started with the same arguments. The log says why.
  bool begins_anew() const noexcept;
  // On the home loop, at any time: ends run() in an orderly way.
  void stop();

 private:
  struct house;
  std::unique_ptr<house> house_;
};

}  // namespace kedge::server
