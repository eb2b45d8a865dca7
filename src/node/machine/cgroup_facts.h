// cgroup_facts.h: which control groups the machine has.
#pragma once

#include "crypto/files.h"

namespace kedge::node {

struct cgroup_facts {
  bool is_2 = false, counts_swap = false;
};
// Blocking.
inline cgroup_facts read_cgroup_facts() {
  auto there = [](const char* path) { return crypto::modified_time(path).has_value(); };
  cgroup_facts f{.is_2 = there("/sys/fs/cgroup/cgroup.controllers")};
  f.counts_swap = there("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") ||
                  (f.is_2 && there("/proc/swaps") && there("/sys/fs/cgroup/init.scope/memory.swap.max"));
  return f;
}

}  // namespace kedge::node
