// Users of pods' own: blocks of ids, the kubelet's file, and what the runtime is told.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/protobuf_wire.h"
#include "loop.h"
#include "node/pods/user_namespaces.h"
#include "node/runtime/pod_messages.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

namespace {

constexpr std::uint32_t unit = 65536;

std::string refusal(const id_range& all, std::uint32_t length, int pods) {
  auto made = id_blocks::make(all, length, pods);
  return made ? std::string() : made.error().message;
}

// The bytes of a member, and of those in it: "3.1.2".
std::string member(std::string_view message, std::string_view path) {
  auto dot = path.find('.');
  auto id = path.substr(0, dot);
  std::string out = "none";
  wire::fields r(message);
  while (r.next())
    if (std::to_string(r.field()) == id)
      out = dot != std::string_view::npos ? member(r.bytes(), path.substr(dot + 1))
            : r.bytes().empty()           ? std::to_string(r.number())
                                          : std::string(r.bytes());
  return out;
}

}  // namespace

TEST_CASE("a pod's ids stand in the kubelet's file") {
  CHECK(
      write_id_range({unit * 3, unit}) ==
      R"({"uidMappings":[{"hostId":196608,"containerId":0,"length":65536}],"gidMappings":[{"hostId":196608,"containerId":0,"length":65536}]})");
  CHECK(read_id_range(write_id_range({unit * 3, unit})).value() == id_range{unit * 3, unit});
  for (
      auto* wrong :
      {"", "[]", "{}", R"({"uidMappings":[],"gidMappings":[]})",
       R"({"uidMappings":[{"hostId":65536,"containerId":0,"length":65536}],"gidMappings":[]})",
       R"({"uidMappings":[{"hostId":65536,"containerId":1,"length":65536}],"gidMappings":[{"hostId":65536,"containerId":1,"length":65536}]})",
       R"({"uidMappings":[{"hostId":0,"containerId":0,"length":65536}],"gidMappings":[{"hostId":0,"containerId":0,"length":65536}]})",
       R"({"uidMappings":[{"hostId":-1,"containerId":0,"length":9999999999}],"gidMappings":[{"hostId":-1,"containerId":0,"length":9999999999}]})"})
    CHECK_MESSAGE(!read_id_range(wrong), wrong);
  CHECK(parse_subordinate_ids("0: kubelet 65536 7208960\n").value() == id_range{65536, 7208960});
  for (auto* wrong : {"", "0: kubelet 65536", "0: kubelet 1 2\n1: kubelet 3 4\n", "0: kubelet x 2",
                      "0: kubelet 1 99999999999", "0: kubelet 4294901760 131072"})
    CHECK_MESSAGE(!parse_subordinate_ids(wrong), wrong);
}

TEST_CASE("each pod has a block of its own") {
  CHECK(refusal({unit + 1, unit * 200}, unit, 110) == "kubelet user assigned ID 65537 is not a multiple of 65536");
  CHECK(refusal({unit, unit * 200 + 1}, unit, 110) ==
        "kubelet user assigned IDs length 13107201 is not a multiple of 65536");
  CHECK(refusal({0, unit * 200}, unit, 110) ==
        "kubelet user assigned ID 0 must be greater or equal to the block of 65536");
  CHECK(refusal({unit, unit * 109}, unit, 110) == "kubelet user assigned IDs are not enough to support 110 pods");
  auto b = *id_blocks::make({unit * 2, unit * 3}, unit, 3);
  REQUIRE(b.take("old", {unit * 3, unit}));
  CHECK(b.take("old", {unit * 3, unit}));
  CHECK(b.take("old", {unit * 4, unit}).error().message ==
        "different user namespace range already used by pod \"old\"");
  CHECK(b.take("other", {unit * 3, unit}).error().message == "range picked for pod \"other\" already taken");
  CHECK(b.take("other", {unit * 3, unit * 2}).error().message == "wrong user namespace length 131072");
  CHECK(b.take("other", {unit * 3 + 1, unit}).error().message == "wrong user namespace offset specified 196609");
  CHECK(b.take("other", {unit * 5, unit}).error().message == "id 327680 is out of range");
  CHECK(b.give("a").value() == id_range{unit * 2, unit});
  CHECK(b.give("a").value() == id_range{unit * 2, unit});
  CHECK(b.give("b").value() == id_range{unit * 4, unit});
  CHECK(b.give("c").error().message == "could not find an empty slot to allocate a user namespace");
  b.keep_only([](auto uid) { return uid != "old" && uid != "a"; });
  CHECK_FALSE(b.find("old"));
  CHECK(b.give("c").value() == id_range{unit * 2, unit});
  CHECK(b.give("d").value() == id_range{unit * 3, unit});
  CHECK(b.find("b") == id_range{unit * 4, unit});
  // All of a machine's.
  CHECK(refusal({unit, 0xffffffff - unit + 1}, unit, 110).empty());
}

TEST_CASE("pods keep their ids over restarts, and who has gone leaves his") {
  temporary_folder folder;
  auto write = [&](const std::string& uid, std::string_view text) {
    std::filesystem::create_directories(folder.path() + "/" + uid);
    std::ofstream(folder.path() + "/" + uid + "/userns") << text;
  };
  write("kept", write_id_range({unit, unit}));
  write("bad", "no mapping");
  test_loop t;
  t.run([](std::string at) -> task<void> {
    std::set<std::string, std::less<>> there = {"kept", "new"};
    bool knows = false;
    user_namespaces users({.pods = at,
                           .pods_max = 10,
                           .is_there = [&](std::string_view uid) { return there.contains(uid); },
                           .knows_all = [&] { return knows; }});
    co_await users.begin();
    auto kept = co_await users.ids_of("kept"), made = co_await users.ids_of("new");
    REQUIRE((kept && made));
    CHECK(*kept == id_range{unit, unit});
    CHECK(*made == id_range{unit * 2, unit});
    std::ostringstream file;
    file << std::ifstream(at + "/new/userns").rdbuf();
    CHECK(file.str() == write_id_range(*made));
    // A folder that can't be made: nothing is given.
    std::ofstream(at + "/blocked") << "";
    CHECK_FALSE(co_await users.ids_of("blocked"));
    std::filesystem::remove(at + "/blocked");
    CHECK((co_await users.ids_of("blocked")).value() == id_range{unit * 4, unit});
  }(folder.path()));
}

TEST_CASE("the runtime is told of users, and maps what is mounted to them") {
  sandbox_config sandbox;
  container_config container;
  container.mounts.push_back({.container_path = "/in", .host_path = "/out"});
  auto of_machine = encode_sandbox_config(sandbox);
  CHECK(member(of_machine, "8.2.1.5.1") == "2");  // NODE
  sandbox.namespaces.users = container.namespaces.users = id_range{unit * 7, unit};
  auto own = encode_sandbox_config(sandbox);
  CHECK(member(own, "8.2.1.5.1") == "none");  // POD, which is 0
  for (auto* list : {"2", "3"}) {
    CHECK(member(own, std::string("8.2.1.5.") + list + ".1") == std::to_string(unit * 7));
    CHECK(member(own, std::string("8.2.1.5.") + list + ".3") == std::to_string(unit));
  }
  auto made = encode_container_config(container);
  CHECK(member(made, "15.2.3.5.2.1") == std::to_string(unit * 7));
  CHECK(member(made, "7.6.1") == std::to_string(unit * 7));
  CHECK(member(made, "7.7.3") == std::to_string(unit));
}

TEST_CASE("the runtime is told what a mount is to be beside where it is") {
  container_config container;
  container.mounts.push_back({.container_path = "/in", .host_path = "/out", .read_only = true});
  auto plain = encode_container_config(container);
  for (auto* field : {"7.4", "7.8"}) CHECK(member(plain, field) == "none");
  container.mounts.front().selinux_relabel = container.mounts.front().recursive_read_only = true;
  auto made = encode_container_config(container);
  for (auto* field : {"7.3", "7.4", "7.8"}) CHECK(member(made, field) == "1");
}
