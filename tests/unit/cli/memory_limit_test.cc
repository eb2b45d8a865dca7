#include "cli/memory_limit.h"

#include <doctest/doctest.h>

#include "temporary.h"

namespace kedge::cli {

TEST_CASE("the least of the machine's memory and the control groups' limits counts") {
  constexpr const char* machine = "MemTotal:        2048000 kB\nMemFree:          100000 kB\n";
  constexpr std::size_t all = std::size_t(2048000) * 1024;
  {
    temporary_folder none;
    CHECK(memory_limit(none.path) == 0);
    none.write("proc/meminfo", machine);
    CHECK(memory_limit(none.path) == all);
    none.write("proc/self/cgroup", "0::/\n");
    CHECK(memory_limit(none.path) == all);
  }
  {
    temporary_folder v2;
    v2.write("proc/meminfo", machine);
    v2.write("proc/self/cgroup", "0::/system.slice/kedge.service\n");
    v2.write("sys/fs/cgroup/system.slice/kedge.service/memory.max", "max\n");
    CHECK(memory_limit(v2.path) == all);
    v2.write("sys/fs/cgroup/system.slice/memory.max", "536870912\n");
    CHECK(memory_limit(v2.path) == 536870912);
    v2.write("sys/fs/cgroup/system.slice/kedge.service/memory.max", "268435456\n");
    CHECK(memory_limit(v2.path) == 268435456);
    v2.write("sys/fs/cgroup/system.slice/kedge.service/memory.max", "99999999999999\n");
    CHECK(memory_limit(v2.path) == 536870912);
  }
  {
    temporary_folder v1;
    v1.write("proc/meminfo", machine);
    v1.write("proc/self/cgroup", "8:cpu,cpuacct:/docker/x\n7:memory:/docker/x\n");
    v1.write("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "134217728\n");
    v1.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(memory_limit(v1.path) == 134217728);
  }
}

}  // namespace kedge::cli
