#include <doctest/doctest.h>

#include <algorithm>

#include "json/parse.h"
#include "node/images/archive.h"
#include "node/mirror/peers.h"
#include "node/mirror/request.h"

using namespace kedge;
using namespace kedge::node;

namespace {

const std::string digest = "sha256:" + std::string(64, 'a');

std::string asked(std::string_view path, std::string_view query = "ns=docker.io") {
  auto r = parse_mirror_request(path, query);
  if (!r) return "nothing";
  return std::string(r->manifest ? "manifest " : "blob ") + r->registry + " " + r->repository + " " +
         (r->tag.empty() ? r->digest : r->tag);
}

registries read(std::string_view yaml) {
  auto parsed = parse_registries(yaml);
  REQUIRE_MESSAGE(parsed, parsed.error().message);
  return *std::move(parsed);
}

json::value node_named(std::string_view name, std::string_view images, std::string_view more = "") {
  auto v =
      json::parse(R"({"metadata":{"name":")" + std::string(name) +
                  R"(","labels":{"p2p.k3s.cattle.io/enabled":"true"}},"status":{"addresses":[{"type":"Hostname",)"
                  R"("address":"x"},{"type":"InternalIP","address":"10.0.0.7"}],"daemonEndpoints":)"
                  R"({"kubeletEndpoint":{"Port":10250}},"conditions":[{"type":"Ready","status":"True"}],"images":[)" +
                  std::string(images) + "]" + std::string(more) + "}}");
  REQUIRE(v);
  return *std::move(v);
}

}  // namespace

TEST_CASE("a mirror's requests: manifests by tag and digest, blobs by digest, of a registry, and nothing else") {
  CHECK(asked("/v2/library/busybox/manifests/1.36") == "manifest docker.io library/busybox 1.36");
  CHECK(asked("/v2/a/b/c/manifests/" + digest, "x=1&ns=r.example%3A5000") == "manifest r.example:5000 a/b/c " + digest);
  CHECK(asked("/v2/a/blobs/" + digest) == "blob docker.io a " + digest);
  for (auto* path : {"/v2/",
                     "/v2/a",
                     "/v2/a/blobs/1.36",
                     "/v2/a/blobs/uploads/",
                     "/v2/_catalog",
                     "/v2/a/tags/list",
                     "/v2/a..b/manifests/x",
                     "/v2//manifests/x",
                     "/v2/manifests/x",
                     "/v2/a/../b/manifests/x",
                     "/v2/../manifests/x",
                     "/v2/a//b/manifests/x",
                     "/v2/A/manifests/x",
                     "/v2/a/manifests/",
                     "/v2/a/manifests/-x",
                     "/v2/a/manifests/x%2fy",
                     "/v2/a/manifests/%zz",
                     "/v2/a/manifests/sha256:12",
                     "/v2/a%2f..%2fb/manifests/x",
                     "/v3/a/manifests/x"})
    CHECK_MESSAGE(asked(path) == "nothing", path);
  for (auto* query : {"", "ns=", "ns=a/b", "ns=%00", "ns=%zz"})
    CHECK_MESSAGE(asked("/v2/a/manifests/x", query) == "nothing", query);
  CHECK(asked("/v2/a/manifests/x", "ns=" + std::string(10000, 'a')) == "nothing");
  // What it is asked is what another one understands.
  for (auto* path : {"/v2/library/busybox/manifests/1.36", "/v2/a/b/manifests/v1_x"}) {
    auto once = parse_mirror_request(path, "ns=r.example:5000");
    REQUIRE(once);
    auto target = once->target();
    auto mark = target.find('?');
    CHECK(asked(target.substr(0, mark), target.substr(mark + 1)) == asked(path, "ns=r.example:5000"));
  }
}

TEST_CASE("what is shared is of registries among the mirrors, and never this machine's own") {
  CHECK(shared_registries(read("")).empty());
  CHECK(shared_registries(read("configs: {a.example: {}}\nmirrors: {localhost: {}, \"127.0.0.1:5000\": {}}")).empty());
  shared_registries some(read("mirrors: {registry-1.docker.io: {}, a.example: {endpoint: [b.example]}}"));
  CHECK(some.has("docker.io"));
  CHECK(some.has("a.example"));
  CHECK_FALSE(some.has("b.example"));
  CHECK(some.label("docker.io") == "docker.io");
  shared_registries all(read("mirrors: {\"*\": {}, a.example: {}}"));
  CHECK(all.has("b.example"));
  CHECK_FALSE(all.has("localhost:5000"));
  CHECK(all.label("b.example") == "*");
  CHECK(all.label("a.example") == "a.example");
}

TEST_CASE("the nodes are asked before any mirror, as who this node is, and not by other names") {
  auto r = read(R"(
mirrors:
  docker.io: {endpoint: [https://m.example], rewrite: {"^a": "b"}}
  a.example: {}
  localhost:5000: {endpoint: [https://m.example]}
)");
  r.nodes =
      node_mirror{"https://127.0.0.1:10250",
                  {.credentials = {}, .tls = registry_tls{.ca_file = "/ca", .cert_file = "/c", .key_file = "/k"}}};
  auto files = hosts_files(r, true);
  const std::string own =
      "\n[host.\"https://127.0.0.1:10250/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
      "  ca = [\"/ca\"]\n  client = [[\"/c\", \"/k\"]]\n";
  CHECK(files["docker.io"].contains("\"push\"]\n" + own + "\n[host.\"https://m.example/v2\"]\n"));
  CHECK(files["docker.io"].contains("m.example/v2\".rewrite]"));
  CHECK_FALSE(files["docker.io"].contains("10250/v2\".rewrite]"));
  CHECK(files["a.example"].ends_with("\"push\"]\n" + own));
  CHECK_FALSE(files["localhost_5000_"].contains("10250"));
  // Where the registry itself isn't to be asked, the nodes alone are.
  CHECK(hosts_files(r, false)["a.example"].contains(
      "server = \"https://127.0.0.1:10250/v2\"\ncapabilities = [\"pull\", \"resolve\", \"push\"]\nca = [\"/ca\"]\n"));
}

TEST_CASE("who has the repository is asked first, who rests and the node itself never, and not all of many") {
  auto has = R"({"names":["docker.io/library/busybox@sha256:1","docker.io/library/busybox:1.36"]})";
  kind_cache<mirror_peer> all(decode_mirror_peer);
  for (int i = 0; i < 100; ++i) all.set(node_named("n" + std::to_string(i), i % 50 == 7 ? has : ""));
  all.set(node_named("own", has));
  all.set(node_named("rests", has));
  auto no = node_named("not-ready", has);
  no.member("status").set("conditions", json::array{});
  all.set(no);
  REQUIRE(all.size() == 102);
  auto request = parse_mirror_request("/v2/library/busybox/manifests/1.37", "ns=docker.io");
  REQUIRE(request);
  auto order = peers_to_ask(all, *request, "own", {"rests"}, system_random());
  REQUIRE(order.size() == 32);
  std::vector<std::string> first = {order[0].name, order[1].name};
  std::ranges::sort(first);
  CHECK(first == std::vector<std::string>{"n57", "n7"});
  CHECK(order[0].at == reactor::endpoint{"10.0.0.7", 10250});
  for (auto& p : order) CHECK((p.name != "own" && p.name != "rests"));
}

TEST_CASE("content of an archive is of each repository whose image reaches it") {
  archive_content c;
  c.images = {{"docker.io/library/a:1", {"", "index", 1}}, {"r.example:5000/x/b@sha256:1", {"", "m2", 1}}};
  c.children = {{"index", {"m1"}}, {"m1", {"config1", "layer"}}, {"m2", {"config2", "layer", "m2"}}};
  auto all = origins(c, {"extra.example"});
  CHECK(all.size() == 6);
  CHECK(all["layer"]["docker.io"] == std::vector<std::string>{"library/a"});
  CHECK(all["layer"]["r.example:5000"] == std::vector<std::string>{"x/b"});
  CHECK(all["layer"]["extra.example"] == std::vector<std::string>{"library/a", "x/b"});
  CHECK(all["config1"].contains("docker.io"));
  CHECK_FALSE(all["config1"].contains("r.example:5000"));
  CHECK(all["index"].contains("extra.example"));
}
