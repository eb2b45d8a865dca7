// Members of the cluster's own etcd that go with their Nodes: two leaders at a time, which stop between any two writes,
// and an etcd that refuses now and then.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "control/nodes/etcd_marks.h"
#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;

TEST_CASE("managed-etcd-controller: no Node goes before its member, and no member stays without its Node") {
  const api::resource_id nodes{"", "v1", "nodes"};
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    std::set<std::string> members{"a-1", "b-1", "c-1", "d-1"};
    unsigned asked = 0;
    control_options o{.servers = 2, .controllers = {"managed-etcd-controller"}};
    o.settings.remove_etcd_member = [&](std::string name, std::string) -> task<result<void>> {
      if (++asked % 2 == 0) co_return fail(errc::unavailable, "etcdserver: unhealthy cluster");
      members.erase(name);
      co_return result<void>();
    };
    control_world c(seed, o);
    c.crash_between_writes(0.05);
    for (auto name : {"a", "b", "c", "d"})
      c.create(nodes, yaml(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {0}, labels: "
                                       "{{node-role.kubernetes.io/etcd: 'true'}}, annotations: "
                                       "{{etcd.k3s.cattle.io/node-name: {0}-1, etcd.k3s.cattle.io/node-address: "
                                       "10.0.0.1}}, finalizers: [wrangler.cattle.io/managed-etcd-controller]}}}}",
                                       name)));
    for (auto name : {"a", "b"}) c.remove(nodes, "", name);
    c.change(nodes, "", "c", [](json::value& n) {
      n.member("metadata").member("annotations").set(control::etcd_marks::remove, "true");
    });
    bool ahead = false;
    CHECK(c.until([&] {
      for (auto name : {"a", "b"})
        ahead = ahead ||
                (!c.exists(std::string("/registry/minions/") + name) && members.contains(name + std::string("-1")));
      auto notes = c.get("/registry/minions/c")["metadata"]["annotations"];
      return c.count("/registry/minions/") == 2 && notes[control::etcd_marks::removed].as_string() == "c-1";
    }));
    CHECK(!ahead);
    CHECK(members == std::set<std::string>{"d-1"});
  }
}
