// Nodes and the members of the cluster's own etcd that run on them.
#include <vector>

#include "at_work.h"
#include "control/nodes/etcd_marks.h"

using namespace kedge;
using namespace kedge::control;

namespace {

constexpr const char* key = "/registry/minions/box";

json::value node(std::string_view annotations, std::string_view rest = {}) {
  return yaml(
      fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: box, labels: {{node-role.kubernetes.io/etcd: "
                  "'true'}}, annotations: {{{}}}, finalizers: [wrangler.cattle.io/managed-etcd-controller]{}}}}}",
                  annotations, rest));
}
constexpr std::string_view deleted = ", deletionTimestamp: '2026-01-02T00:00:00Z', deletionGracePeriodSeconds: 0";
constexpr std::string_view known = "etcd.k3s.cattle.io/node-name: n-1, etcd.k3s.cattle.io/node-address: 10.0.0.1";

// An etcd that is asked to let members go.
struct etcd {
  std::vector<std::string> asked;
  bool refuses = false, alone = false;

  settings told() {
    settings s;
    s.remove_etcd_member = [this](std::string name, std::string address) -> task<result<void>> {
      asked.push_back(name + " " + address);
      if (refuses) co_return fail(errc::unavailable, "etcdserver: unhealthy cluster");
      if (alone) co_return fail(errc::unsupported, "it is the only member");
      co_return result<void>();
    };
    return s;
  }
};

}  // namespace

TEST_CASE("managed-etcd-controller: a Node that is deleted takes its member with it, and stays until then") {
  etcd e;
  at_work c("managed-etcd-controller", e.told());
  c.put(node(known));
  CHECK(c.named() == std::vector<std::string>{"box"});
  CHECK(c.work("box") == "");
  CHECK(e.asked.empty());
  c.put(node(known, deleted));
  e.refuses = true;
  CHECK(c.work("box") == "");
  CHECK(e.asked == std::vector<std::string>{"n-1 10.0.0.1"});
  CHECK(c.get(key)["metadata"]["finalizers"].size() == 1);
  e.refuses = false;
  CHECK(c.work("box") == "");
  CHECK(e.asked.size() == 2);
  CHECK(c.get(key).is_null());
  CHECK(c.work("box") == "");
}

TEST_CASE("managed-etcd-controller: what is no member, or none any more, is let go at once") {
  for (auto& gone : {node("", deleted), node(fmt::format("{}, etcd.k3s.cattle.io/remove: 'true', "
                                                         "etcd.k3s.cattle.io/removed-node-name: n-1",
                                                         known),
                                             deleted)}) {
    etcd e;
    at_work c("managed-etcd-controller", e.told());
    c.put(gone);
    CHECK(c.work("box") == "");
    CHECK(e.asked.empty());
    CHECK(c.get(key).is_null());
  }
  // A cluster that has moved to another datastore.
  at_work c("managed-etcd-controller");
  c.put(node(known, deleted));
  CHECK(c.work("box") == "");
  CHECK(c.get(key).is_null());
  // Other finalizers are others'.
  auto held = node(known, deleted);
  held.member("metadata").member("finalizers").push_back("example.com/other");
  c.put(held);
  CHECK(c.work("box") == "");
  CHECK(json::write(c.get(key)["metadata"]["finalizers"]) == R"(["example.com/other"])");
}

TEST_CASE("managed-etcd-controller: the only member stays, with or without its Node, and isn't called removed") {
  etcd e{.asked = {}, .alone = true};
  at_work c("managed-etcd-controller", e.told());
  c.put(node(fmt::format("{}, etcd.k3s.cattle.io/remove: 'true'", known)));
  CHECK(c.work("box") == "");
  CHECK(e.asked.size() == 1);
  CHECK(c.get(key)["metadata"]["annotations"][etcd_marks::removed].is_null());
  CHECK(c.get(key)["metadata"]["annotations"][etcd_marks::member_name].as_string() == "n-1");
  c.put(node(known, deleted));
  CHECK(c.work("box") == "");
  CHECK(e.asked.size() == 2);
  CHECK(c.get(key).is_null());
}

TEST_CASE("managed-etcd-controller: the annotation takes the member out, and what has joined again is told") {
  etcd e;
  at_work c("managed-etcd-controller", e.told());
  c.put(node(fmt::format("{}, etcd.k3s.cattle.io/remove: 'True'", known)));
  CHECK(c.work("box") == "");
  CHECK(e.asked == std::vector<std::string>{"n-1 10.0.0.1"});
  auto notes = c.get(key)["metadata"]["annotations"];
  CHECK(notes[etcd_marks::removed].as_string() == "n-1");
  CHECK(notes[etcd_marks::member_name].is_null());
  CHECK(notes[etcd_marks::address].is_null());
  CHECK(c.work("box") == "");
  CHECK(e.asked.size() == 1);
  // The server marks its Node with another name.
  auto again = c.get(key);
  again.member("metadata").member("annotations").set(etcd_marks::member_name, "n-2");
  c.put(again);
  CHECK(c.work("box") == "");
  notes = c.get(key)["metadata"]["annotations"];
  CHECK(notes[etcd_marks::removed].is_null());
  CHECK(notes[etcd_marks::remove].as_string() == "false");
  CHECK(e.asked.size() == 1);
}
