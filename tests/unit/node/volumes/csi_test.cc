// What a node says to CSI drivers and of them, without a driver: messages, places, CSINode, expansion, registration.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/protobuf_wire.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/plugins/plugin_watcher.h"
#include "node/pods/files.h"
#include "node/volumes/csi_driver.h"
#include "node/volumes/csi_drivers.h"
#include "node/volumes/csi_layout.h"
#include "node/volumes/csi_messages.h"
#include "node/volumes/csi_node.h"
#include "node/volumes/expansion.h"
#include "node/volumes/image_volumes.h"
#include "node/volumes/nfs_volumes.h"

namespace kedge::node {

namespace {

json::value read(std::string_view text) { return *json::parse(text); }

// The bytes of the field `id`, or of the one within it.
std::string_view bytes_of(std::string_view message, std::initializer_list<int> path) {
  for (int id : path) {
    std::string_view found;
    REQUIRE(wire::read_fields(message, [&](const wire::field& f) {
      if (f.id == id) found = f.data;
    }));
    message = found;
  }
  return message;
}
std::uint64_t mode_of(std::string_view access) {
  std::uint64_t mode = 0;
  REQUIRE(wire::read_fields(access, [&](const wire::field& f) { mode = f.number; }));
  return mode;
}

struct folder {
  std::string path = "/tmp/kedge-csi-test-" + std::to_string(::getpid());
  folder() { std::filesystem::create_directories(path); }
  ~folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("a volume's access mode is what the driver can tell apart") {
  struct row {
    std::string_view mode;
    std::uint64_t plain, by_pod;
  };
  static constexpr row rows[] = {
      {"ReadWriteOnce", 1, 7}, {"ReadOnlyMany", 3, 3}, {"ReadWriteMany", 5, 5}, {"ReadWriteOncePod", 1, 6}};
  for (auto& r : rows) {
    CAPTURE(r.mode);
    csi_request q{.volume_id = "v", .access = {.access_mode = std::string(r.mode), .fs_type = {}, .mount_flags = {}}};
    CHECK(mode_of(bytes_of(encode_stage(q, {}), {4, 3})) == r.plain);
    CHECK(mode_of(bytes_of(encode_publish(q, {.single_node_multi_writer = true}), {5, 3})) == r.by_pod);
  }
}

TEST_CASE("requests to a CSI driver have the fields of csi.proto") {
  csi_request q{.volume_id = "v",
                .staging_path = "/stage",
                .target_path = "/target",
                .publish_context = {{"a", "b"}},
                .volume_context = {{"c", ""}},
                .secrets = {{"s", "x"}},
                .access = {.access_mode = "ReadWriteOnce", .fs_type = "xfs", .mount_flags = {"ro", ""}, .group = 0},
                .read_only = true};
  auto publish = encode_publish(q, {});
  CHECK(bytes_of(publish, {1}) == "v");
  CHECK(bytes_of(publish, {2, 2}) == "b");
  CHECK(bytes_of(publish, {3}) == "/stage");
  CHECK(bytes_of(publish, {4}) == "/target");
  CHECK(bytes_of(publish, {5, 2, 1}) == "xfs");
  CHECK(bytes_of(publish, {5, 2, 3}) == "0");
  CHECK(bytes_of(publish, {7, 1}) == "s");
  CHECK(bytes_of(publish, {8, 1}) == "c");
  q.access.block = true;
  auto stage = encode_stage(q, {});
  CHECK(bytes_of(stage, {3}) == "/stage");
  CHECK(bytes_of(stage, {5, 2}) == "x");
  CHECK(bytes_of(stage, {4, 2}).empty());
  CHECK(bytes_of(stage, {4}).starts_with(std::string_view("\x0a\0", 2)));  // an empty BlockVolume, and that it is one
}

TEST_CASE("what a CSI driver answers is read, and refused when it is no such message") {
  auto capability = [](std::uint64_t type) {
    using w = wire::writer;
    return w().message(1, w().message(1, w().number(1, type).take()).take()).take();
  };
  auto has = decode_capabilities(capability(1) + capability(3) + capability(6) + capability(99));
  REQUIRE(has.has_value());
  CHECK((has->stage && has->expand && has->mount_group));
  CHECK_FALSE((has->stats || has->single_node_multi_writer));
  using w = wire::writer;
  auto segment = w().text(1, "zone").text(2, "a").take();
  auto info = decode_node_info(w().text(1, "n").number(2, 5).message(3, w().message(1, segment).take()).take());
  REQUIRE(info.has_value());
  CHECK(info->id == "n");
  CHECK(info->volumes_max == 5);
  CHECK(info->topology == csi_texts{{"zone", "a"}});
  for (auto* bad : {"\x0a", "\x12\xff", "\x1a\x02\x0a\x05"}) {
    CHECK_FALSE(decode_node_info(bad).has_value());
    CHECK_FALSE(decode_capabilities("\x0a\x02\x0a\x05").has_value());
  }
}

TEST_CASE("errors of CSI drivers: what has been done is known, or isn't") {
  auto said = [](int status) { return net::grpc::status_error(status, "why"); };
  for (int final : {2, 3, 5, 6, 7, 9, 11, 12, 13, 15, 16}) CHECK(is_final(said(final)));
  for (int open : {1, 4, 8, 10, 14}) CHECK_FALSE(is_final(said(open)));
  CHECK_FALSE(is_final(error(errc::internal, "connection lost")));
  for (int never : {3, 5, 11}) CHECK(is_infeasible(said(never)));
  for (int later : {9, 13, 14}) CHECK_FALSE(is_infeasible(said(later)));
}

TEST_CASE("CSI volumes are where a kubelet looks for them") {
  csi_layout at{"/var/lib/kubelet"};
  CHECK(at.global_mount("d", "h") ==
        "/var/lib/kubelet/plugins/kubernetes.io/csi/d/"
        "aaa9402664f1a41f40ebbc52c9993eb66aeb366602958fdfaa283b71e64db123/globalmount");
  CHECK(at.published("u", "a/b") == "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/a~b/mount");
  csi_volume_data d{.driver = "d", .handle = "h", .name = "pv", .node = "n", .attachment = "csi-1"};
  auto text = volume_data_text(d);
  CHECK(
      text ==
      "{\"attachmentID\":\"csi-1\",\"driverName\":\"d\",\"nodeName\":\"n\",\"specVolID\":\"pv\",\"volumeHandle\":\"h\","
      "\"volumeLifecycleMode\":\"Persistent\"}\n");
  CHECK(parse_volume_data(text)->name == "pv");
  d.is_global = true;
  CHECK(volume_data_text(d) == "{\"driverName\":\"d\",\"volumeHandle\":\"h\"}\n");
  for (auto* bad : {"", "{}", "[]", "{\"driverName\":\"d\"}"}) CHECK_FALSE(parse_volume_data(bad).has_value());
}

TEST_CASE("what is mounted is found again, and its folder goes when it isn't any more") {
  folder f;
  csi_layout at{f.path};
  csi_volume_data d{.driver = "d", .handle = "h", .name = "pv", .node = "n", .attachment = "csi-1"};
  auto target = at.published("u", "pv");
  std::filesystem::create_directories(target);
  REQUIRE(save_volume_data(target.substr(0, target.rfind('/')), d).has_value());
  auto global = at.global_mount("d", "h");
  std::filesystem::create_directories(global);
  d.is_global = true;
  REQUIRE(save_volume_data(global.substr(0, global.rfind('/')), d).has_value());
  std::filesystem::create_directories(at.published("broken", "pv"));
  std::ofstream(f.path + "/pods/broken/volumes/kubernetes.io~csi/pv/vol_data.json") << "{";
  auto found = find_csi_volumes(at);
  REQUIRE(found.size() == 2);
  CHECK(found[0].pod_uid == "u");
  CHECK(found[0].data.name == "pv");
  CHECK(found[1].pod_uid.empty());
  CHECK(remove_mount_folder(target).has_value());
  CHECK(remove_mount_folder(target).has_value());  // once more
  CHECK_FALSE(std::filesystem::exists(f.path + "/pods/u/volumes/kubernetes.io~csi/pv"));
  // What is in it is somebody's.
  std::ofstream(global + "/file") << "data";
  CHECK_FALSE(remove_mount_folder(global).has_value());
  CHECK(std::filesystem::exists(global + "/file"));
}

TEST_CASE("CSINode has each driver once, and changes only when something did") {
  auto node = csi_node_object("n", "u");
  CHECK(is_csi_node_of(node, "n", "u"));
  CHECK_FALSE(is_csi_node_of(node, "n", "another"));
  CHECK_FALSE(put_migrated_plugins(node));
  csi_node_info info{.id = "id", .volumes_max = 3, .topology = {{"b", "1"}, {"a", "2"}}};
  CHECK(put_csi_driver(node, "d", info));
  CHECK_FALSE(put_csi_driver(node, "d", info));
  CHECK(node["spec"]["drivers"] ==
        read(R"([{"name":"d","nodeID":"id","topologyKeys":["a","b"],"allocatable":{"count":3}}])"));
  info.volumes_max = 0;
  CHECK(put_csi_driver(node, "d", info));
  CHECK(node["spec"]["drivers"] == read(R"([{"name":"d","nodeID":"id","topologyKeys":["a","b"]}])"));
  CHECK_FALSE(take_csi_driver(node, "other"));
  CHECK(take_csi_driver(node, "d"));
  CHECK(node["spec"]["drivers"].empty());
}

TEST_CASE("a Node has its drivers' ids and places") {
  auto node =
      read(R"({"metadata":{"labels":{"zone":"a"},"annotations":{"csi.volume.kubernetes.io/nodeid":"{\"z\":\"1\"}"}}})");
  csi_node_info info{.id = "2", .topology = {{"zone", "a"}, {"rack", "r"}}};
  auto patch = node_patch_for(node, "b", info);
  REQUIRE(patch.has_value());
  CHECK(
      *patch ==
      read(
          R"({"metadata":{"annotations":{"csi.volume.kubernetes.io/nodeid":"{\"b\":\"2\",\"z\":\"1\"}"},"labels":{"rack":"r"}}})"));
  info.topology["zone"] = "b";
  CHECK(node_patch_for(node, "b", info).error().message ==
        "detected topology value collision: driver reported \"zone\":\"b\" but existing label is \"zone\":\"a\"");
  CHECK(node_patch_without(node, "b")->is_null());
  CHECK(*node_patch_without(node, "z") ==
        read(R"({"metadata":{"annotations":{"csi.volume.kubernetes.io/nodeid":null}}})"));
  node.member("metadata").member("annotations").set("csi.volume.kubernetes.io/nodeid", "nonsense");
  CHECK_FALSE(node_patch_for(node, "b", info).has_value());
}

TEST_CASE("of a driver's versions the highest that is known counts") {
  CHECK(*highest_csi_version({"1.0.0", "0.3.0", "1.2.0"}) == "1.2.0");
  CHECK(*highest_csi_version({"2.0.0", "v1.0.0"}) == "1.0.0");
  CHECK_FALSE(highest_csi_version({"2.0.0", "x", ""}).has_value());
}

TEST_CASE("a volume grows here when its claim waits for this node") {
  auto volume = read(R"({"spec":{"capacity":{"storage":"2Gi"}}})");
  constexpr std::int64_t gi = 1 << 30;
  auto claim = read(
      R"({"metadata":{"resourceVersion":"7"},"spec":{"accessModes":["ReadWriteOnce"]},"status":{"capacity":{"storage":"1Gi"},
    "allocatedResources":{"storage":"2Gi"},"allocatedResourceStatuses":{"storage":"NodeResizePending","x":"y"},
    "conditions":[{"type":"FileSystemResizePending","status":"True"},{"type":"Other","status":"True"}]}})");
  auto growth = growth_of(claim, volume, gi);
  REQUIRE(growth.has_value());
  CHECK(growth->bytes == 2 * gi);
  CHECK(growth_begun(claim)["status"]["allocatedResourceStatuses"] == read(R"({"storage":"NodeResizeInProgress"})"));
  auto done = growth_done(claim);
  CHECK(done["metadata"]["resourceVersion"].as_string() == "7");
  CHECK(
      done["status"] ==
      read(
          R"({"conditions":[{"type":"Other","status":"True"}],"capacity":{"storage":"2Gi"},"allocatedResourceStatuses":{"storage":null}})"));
  auto failed = growth_failed(claim, "it is full", true, "2026-01-01T00:00:00Z");
  CHECK(failed["status"]["allocatedResourceStatuses"] == read(R"({"storage":"NodeResizeInfeasible"})"));
  CHECK(failed["status"]["conditions"].size() == 3);
  CHECK(growth_failed(claim, "x", false, "")["status"]["allocatedResourceStatuses"].is_null());
  for (auto* state : {"ControllerResizeInProgress", "NodeResizeInfeasible", ""}) {
    claim.member("status").member("allocatedResourceStatuses").set("storage", state);
    CHECK_FALSE(growth_of(claim, volume, gi).has_value());
  }
  // A shared one on each node.
  claim.member("status").member("capacity").set("storage", "2Gi");
  claim.member("spec").set("accessModes", json::array{"ReadWriteMany"});
  CHECK(growth_of(claim, volume, gi)->claim_is_done);
  CHECK_FALSE(growth_of(claim, volume, 2 * gi).has_value());
  CHECK_FALSE(growth_of(claim, volume, 0).has_value());
}

TEST_CASE("an export's options are each there once, in order") {
  volume_to_mount v{.name = "data", .source = read(R"({"nfs":{"server":"s","path":"/p","readOnly":true}})")};
  CHECK(nfs_mount_arguments(v, "/at") == std::vector<std::string>{"-t", "nfs", "-o", "ro", "s:/p", "/at"});
  v.source = read(R"({"nfs":{"server":"fd00::1","path":"/p"}})");
  CHECK(nfs_mount_arguments(v, "/at") == std::vector<std::string>{"-t", "nfs", "[fd00::1]:/p", "/at"});
  v.volume = read(
      R"({"metadata":{"name":"pv","annotations":{"volume.beta.kubernetes.io/mount-options":"soft,hard"}},"spec":{"mountOptions":["hard","nfsvers=4"]}})");
  CHECK(nfs_mount_arguments(v, "/at") ==
        std::vector<std::string>{"-t", "nfs", "-o", "hard,nfsvers=4,soft", "[fd00::1]:/p", "/at"});
}

TEST_CASE("an export's server is no option of mount, whatever it is called") {
  for (std::string server : {"-v", "--bind", "-o", "-"}) {
    volume_to_mount v{.name = "data",
                      .source = json::object{{"nfs", json::object{{"server", server}, {"path", "/p"}}}}};
    CHECK(nfs_mount_command(v, "/at") == std::vector<std::string>{"mount", "-t", "nfs", "--", server + ":/p", "/at"});
    v.read_only = true;
    CHECK(nfs_mount_command(v, "/at") ==
          std::vector<std::string>{"mount", "-t", "nfs", "-o", "ro", "--", server + ":/p", "/at"});
  }
}

TEST_CASE("images are mounted here for a containerd that can't") {
  for (auto* old : {"1.6.20", "1.7.28", "2.0.5", "v1.7.0-k3s1"}) CHECK_FALSE(mounts_images("containerd", old));
  for (auto* since : {"2.1.0", "v2.2.1-k3s1.32", "3.0.0", "a build of somebody's"})
    CHECK(mounts_images("containerd", since));
  CHECK(mounts_images("cri-o", "1.33.0"));
  using w = wire::writer;
  auto info = w().text(1, "info").text(2, R"({"chainID":"sha256:1"})").take();
  CHECK(*chain_of_image(w().message(1, "").message(2, info).take()) == "sha256:1");
  CHECK_FALSE(chain_of_image(w().message(1, "").take()).has_value());
  CHECK_FALSE(chain_of_image("\x12\x05").has_value());
  auto mounts = decode_snapshot_mounts(
      w().message(1, w().text(1, "overlay").text(2, "overlay").message(4, "lowerdir=/a:/b").message(4, "ro").take())
          .take());
  REQUIRE(mounts.has_value());
  auto o = read_mount_options(mounts->front().options);
  CHECK(o.flags == 1);
  CHECK(o.data == "lowerdir=/a:/b");
  CHECK_FALSE(decode_snapshot_mounts("").has_value());
  CHECK_FALSE(decode_snapshot_mounts("\x0a\x05").has_value());
}

TEST_CASE("plugins' sockets are found in folders too, and nothing else is") {
  folder f;
  std::filesystem::create_directories(f.path + "/deep/er");
  std::filesystem::create_directories(f.path + "/.hidden");
  std::ofstream(f.path + "/file") << "no socket";
  auto listen_at = [](const std::string& path) {
    auto fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::strncpy(a.sun_path, path.c_str(), sizeof a.sun_path - 1);
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
    ::close(fd);
  };
  for (auto* name : {"/a.sock", "/deep/er/b.sock", "/.c.sock", "/.hidden/d.sock"}) listen_at(f.path + name);
  auto found = sockets_in(f.path);
  REQUIRE(found.size() == 2);
  auto first = found.at(f.path + "/a.sock");
  CHECK(found.contains(f.path + "/deep/er/b.sock"));
  // Another one of its name is another.
  std::filesystem::remove(f.path + "/a.sock");
  ::usleep(2000);
  listen_at(f.path + "/a.sock");
  CHECK(sockets_in(f.path).at(f.path + "/a.sock") != first);
}

TEST_CASE("what a plugin says of itself is read, and bounded") {
  auto text =
      wire::writer().text(1, "CSIPlugin").text(2, "n").text(3, "/s").message(4, "1.0.0").message(4, "1.1.0").take();
  auto p = decode_plugin_info(text);
  REQUIRE(p.has_value());
  CHECK(p->type == "CSIPlugin");
  CHECK(p->versions == std::vector<std::string>{"1.0.0", "1.1.0"});
  CHECK_FALSE(decode_plugin_info("\x0a\x05x").has_value());
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += wire::writer().message(4, "1.0.0").take();
  CHECK(decode_plugin_info(many)->versions.size() < 100);
}

}  // namespace kedge::node
