#include "shim/cgroup.h"

#include <map>

#include "base/protobuf_wire.h"
#include "shim/messages.h"
#include "support.h"

using namespace kedge;
using namespace kedge::shim;

namespace {

// The fields of a message: numbers and, of those with a length, the last's bytes.
struct message {
  std::map<int, std::uint64_t> numbers;
  std::map<int, std::string> bytes;
  std::map<int, int> count;
  explicit message(std::string_view text) {
    wire::fields f(text);
    while (f.next()) {
      numbers[f.field()] = f.number();
      bytes[f.field()] = f.bytes();
      ++count[f.field()];
    }
    CHECK(f.ok());
  }
  message operator[](int id) const { return message(bytes.at(id)); }
};

message metrics_of(const cgroup& c, std::string_view type) {
  auto all = c.metrics();
  auto any = decode_any(all);
  REQUIRE(any);
  CHECK(any->type == type);
  return message(any->value);
}

}  // namespace

TEST_CASE("version 1: each controller has a place of its own") {
  temporary_folder root;
  auto c = cgroup::of("9:name=systemd:/x\n8:pids:/pods/a\n4:memory:/mem/a\n2:cpu,cpuacct:/cpu/a\n0::/unified\n",
                      root.path(), false);
  CHECK(c.folder("memory") == root / "memory/mem/a");
  CHECK(c.folder("cpuacct") == root / "cpuacct/cpu/a");
  CHECK(c.folder("blkio").empty());
  root.write("pids/pods/a/pids.current", "4\n");
  root.write("pids/pods/a/pids.max", "max\n");
  root.write("cpuacct/cpu/a/cpuacct.usage", "1000\n");
  root.write("cpuacct/cpu/a/cpuacct.stat", "user 3\nsystem 2\n");
  root.write("cpuacct/cpu/a/cpuacct.usage_percpu", "400 600 \n");
  root.write("cpu/cpu/a/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 7\n");
  root.write("memory/mem/a/memory.stat", "cache 10\nrss 20\ntotal_unevictable 30\n");
  root.write("memory/mem/a/memory.usage_in_bytes", "100\n");
  root.write("memory/mem/a/memory.limit_in_bytes", "200\n");
  root.write("memory/mem/a/memory.max_usage_in_bytes", "150\n");
  root.write("memory/mem/a/memory.failcnt", "1\n");
  root.write("memory/mem/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  auto m = metrics_of(c, "io.containerd.cgroups.v1.Metrics");
  CHECK(m[2].numbers == std::map<int, std::uint64_t>{{1, 4}});
  CHECK(m[3][1].numbers.at(1) == 1000);
  CHECK(m[3][1].numbers.at(2) == 20'000'000);
  CHECK(m[3][1].numbers.at(3) == 30'000'000);
  CHECK(m[3][1].bytes.at(4) == "\x90\x03\xd8\x04");  // packed
  CHECK(m[3][2].numbers == std::map<int, std::uint64_t>{{1, 5}, {2, 1}, {3, 7}});
  CHECK(m[4].numbers.at(1) == 10);
  CHECK(m[4].numbers.at(2) == 20);
  CHECK(m[4].numbers.at(32) == 30);
  CHECK(m[4][33].numbers == std::map<int, std::uint64_t>{{1, 200}, {2, 100}, {3, 150}, {4, 1}});
  CHECK(m[9].numbers == std::map<int, std::uint64_t>{{3, 2}});
}

TEST_CASE("version 2: one place for all, with pressure") {
  temporary_folder root;
  auto c = cgroup::of("0::/pods/a\n", root.path(), true);
  CHECK(c.folder("memory") == root / "pods/a");
  root.write("pods/a/pids.current", "4\n");
  root.write("pods/a/pids.max", "max\n");
  root.write("pods/a/cpu.stat", "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_throttled 1\n");
  root.write("pods/a/cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\n");
  root.write("pods/a/memory.stat", "anon 10\nfile 20\nthp_collapse_alloc 3\n");
  root.write("pods/a/memory.current", "100\n");
  root.write("pods/a/memory.max", "max\n");
  root.write("pods/a/memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n");
  root.write("pods/a/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n");
  auto m = metrics_of(c, "io.containerd.cgroups.v2.Metrics");
  CHECK(m[1].numbers == std::map<int, std::uint64_t>{{1, 4}, {2, UINT64_MAX}});
  CHECK(m[2].numbers.at(1) == 9);
  CHECK(m[2].numbers.at(5) == 1);
  CHECK(m[2][7][1].numbers == std::map<int, std::uint64_t>{{1, 0x3ff8000000000000}, {4, 77}});
  CHECK(m[4].numbers.at(1) == 10);
  CHECK(m[4].numbers.at(31) == 3);
  CHECK(m[4].numbers.at(32) == 100);
  CHECK(m[4].numbers.at(33) == UINT64_MAX);
  CHECK(m[6][1].numbers == std::map<int, std::uint64_t>{{1, 8}, {3, 1}, {4, 2}, {5, 3}, {6, 4}});
  CHECK(m[8].numbers == std::map<int, std::uint64_t>{{3, 3}, {4, 2}, {5, 1}});
}

TEST_CASE("version 2: each count of memory.events that grows is an OOM, told before the exit that it is of") {
  temporary_folder root;
  root.write("a/memory.events", "oom 0\noom_kill 1\n");
  loop l;
  int killed = 0;
  oom_watch w(l, cgroup::of("0::/a\n", root.path(), true), [&] { ++killed; });
  w.look();
  CHECK(killed == 0);
  root.write("a/memory.events", "oom 2\noom_kill 2\n");
  w.look();
  CHECK(killed == 1);
  w.look();
  CHECK(killed == 1);
  std::filesystem::remove_all(root / "a");
  w.look();
  CHECK(killed == 1);
}
