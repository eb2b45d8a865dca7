#include "node/machine/system_info.h"

#include <doctest/doctest.h>

#include "crypto/files.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

namespace {

void put(const std::string& root, const std::string& path, std::string_view content) {
  auto file = root + path;
  REQUIRE(crypto::make_folder(file.substr(0, file.find_last_of('/'))));
  REQUIRE(crypto::write_file(file, content));
}

}  // namespace

TEST_CASE("a machine's facts are read from its files") {
  temporary_folder folder;
  auto root = folder.path();
  put(root, "/sys/devices/system/cpu/online", "0-1,4\n");
  put(root, "/proc/meminfo", "MemTotal:       24684092 kB\nMemFree:         1 kB\nSwapTotal:          1024 kB\n");
  put(root, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3\n");
  put(root, "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
  put(root, "/etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
  put(root, "/proc/sys/kernel/random/boot_id", "64ddb96d-0fbf-4a0c-bb9a-6c8165a31641\n");
  put(root, "/proc/sys/kernel/osrelease", "6.18.44\n");
  put(root, "/proc/sys/kernel/hostname", "Edge-7\n");
  put(root, "/etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
  auto s = read_system_info({.root = root, .storage = root}).value();
  CHECK(s.cpus == 3);
  CHECK(s.memory_bytes == 24684092ULL * 1024);
  CHECK(s.swap_bytes == 1024 * 1024);
  CHECK(s.hugepages == std::map<std::uint64_t, std::uint64_t>{{2048 * 1024, 3 * 2048 * 1024}, {1024 * 1024 * 1024, 0}});
  CHECK(s.machine_id == "3d1219c7c4c5404aaa1f6d2a48adfda4");
  CHECK(s.system_uuid == s.machine_id);  // without DMI
  CHECK(s.boot_id == "64ddb96d-0fbf-4a0c-bb9a-6c8165a31641");
  CHECK(s.kernel_version == "6.18.44");
  CHECK(s.hostname == "edge-7");
  CHECK(s.os_image == "Debian GNU/Linux 12 (bookworm)");
  CHECK(s.storage_bytes > s.storage_available_bytes);
  put(root, "/sys/class/dmi/id/product_uuid", "AB-CD\n");
  CHECK(read_system_info({.root = root, .storage = root}).value().system_uuid == "AB-CD");
}

TEST_CASE("a machine without memory figures or storage is an error, not a node of size zero") {
  temporary_folder folder;
  CHECK_FALSE(read_system_info({.root = folder.path(), .storage = "/"}));
  put(folder.path(), "/proc/meminfo", "MemFree: 1 kB\n");
  CHECK(read_system_info({.root = folder.path(), .storage = "/"}).error().code == errc::corrupt);
  put(folder.path(), "/proc/meminfo", "MemTotal: 1 kB\n");
  CHECK_FALSE(read_system_info({.root = folder.path(), .storage = folder.path() + "/none"}));
}

TEST_CASE("this machine can be read") {
  auto s = read_system_info({}).value();
  CHECK(s.cpus >= 1);
  CHECK(s.memory_bytes > 1024 * 1024);
  CHECK_FALSE(s.kernel_version.empty());
  CHECK_FALSE(s.boot_id.empty());
}

TEST_CASE("the default route's interface") {
  constexpr auto head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
  struct row {
    const char* table;
    const char* wanted;
  };
  for (auto& [table, wanted] : {
           row{"", ""},
           row{"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", ""},
           row{"eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\nwlan0\t00000000\t010200C0\t0003\t0\t0\t50"
               "\t00000000\t0\t0\t0\n",
               "wlan0"},
           row{"eth0\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n", ""},  // down
           row{"garbage\n", ""},
       }) {
    CAPTURE(table);
    CHECK(default_route_interface(std::string(head) + table) == wanted);
  }
  CHECK(default_route_interface_v6("00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                                   "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n") ==
        "eth1");
  CHECK(default_route_interface_v6("00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                                   "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n") ==
        "");
}

TEST_CASE("lists of processors") {
  struct row {
    const char* text;
    int wanted;
  };
  for (auto& [text, wanted] :
       {row{"0", 1}, row{"0-3\n", 4}, row{"0-1,4,6-7", 5}, row{"", 0}, row{"3-1", 0}, row{"a", 0}, row{"0-", 0}}) {
    CAPTURE(text);
    CHECK(count_cpus(text) == wanted);
  }
}

TEST_CASE("bytes print as Kubernetes' canonical quantities") {
  CHECK(binary_quantity(0) == "0");
  CHECK(binary_quantity(24684092ULL * 1024) == "24684092Ki");
  CHECK(binary_quantity(257025515114) == "257025515114");
  CHECK(binary_quantity(2ULL << 20) == "2Mi");
  CHECK(binary_quantity(1ULL << 30) == "1Gi");
}

TEST_CASE("the first cluster range decides which address is the first") {
  using list = std::vector<std::string>;
  CHECK(order_addresses({"10.0.0.1", "fd00::1"}, {"10.42.0.0/16"}) == list{"10.0.0.1", "fd00::1"});
  CHECK(order_addresses({"10.0.0.1", "fd00::1"}, {"fd42::/56", "10.42.0.0/16"}) == list{"fd00::1", "10.0.0.1"});
  CHECK(order_addresses({"10.0.0.1"}, {"fd42::/56"}) == list{"10.0.0.1"});
  CHECK(order_addresses({"10.0.0.1"}, {}) == list{"10.0.0.1"});
}
