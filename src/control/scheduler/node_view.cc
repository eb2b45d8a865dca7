#include "control/scheduler/node_view.h"

#include <algorithm>

namespace kedge::control::scheduler {

void node_view::add(const pod_ref& p) {
  pods.push_back(p);
  requested.add(p->is->requests);
  nonzero_cpu += p->is->nonzero_cpu;
  nonzero_memory += p->is->nonzero_memory;
  ports.insert(ports.end(), p->is->ports.begin(), p->is->ports.end());
  auto at = std::find_if(classes.begin(), classes.end(), [&](auto& c) { return c.is == p->is; });
  if (at == classes.end()) at = classes.insert(at, {p->is});
  ++at->count;
  at->terminating += p->terminating;
}

bool node_view::remove(const pod_view& p) {
  auto found = std::find_if(pods.begin(), pods.end(), [&](auto& other) { return other->uid == p.uid; });
  if (found == pods.end()) return false;
  const pod_ref gone = std::move(*found);
  *found = std::move(pods.back());
  pods.pop_back();
  requested.add(gone->is->requests, -1);
  std::erase_if(requested.scalars, [](auto& s) { return s.second == 0; });
  nonzero_cpu -= gone->is->nonzero_cpu;
  nonzero_memory -= gone->is->nonzero_memory;
  for (auto& port : gone->is->ports)
    if (auto one = std::find(ports.begin(), ports.end(), port); one != ports.end()) ports.erase(one);
  auto at = std::find_if(classes.begin(), classes.end(), [&](auto& c) { return c.is == gone->is; });
  --at->count;
  at->terminating -= gone->terminating;
  if (at->count == 0) {
    *at = std::move(classes.back());
    classes.pop_back();
  }
  return true;
}

}  // namespace kedge::control::scheduler
