// Wall clocks that jump: a server set right by NTP after hours, a node whose battery is empty. Time spans are measured
// with the monotonic clock, so nobody is taken for dead, or kept for alive, because a clock was wrong.
#include <doctest/doctest.h>

#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "base/time.h"
#include "control/manager.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "store/open.h"
#include "support/no_admission.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id nodes{"", "v1", "nodes"};
const api::resource_id leases{"coordination.k8s.io", "v1", "leases"};

// What stands outside and sees all: what the server has written, and whether the node lives.
struct cluster {
  datastore::memory_database db;
  bool node_lives = true;
  host* node_clock = nullptr;  // the node tells its own time, which is as wrong as its clock

  json::value node() const {
    const datastore::entry* newest = nullptr;
    for (auto& [at, e] : db.rows())
      if (e.name == "/registry/minions/edge") newest = &e;
    auto o = newest ? json::parse(newest->value) : result<json::value>(json::value());
    REQUIRE(o.has_value());
    return std::move(*o);
  }
  std::string ready() const {
    auto n = node();
    auto& conditions = n["status"]["conditions"];
    for (std::size_t i = 0; i < conditions.size(); ++i)
      if (conditions[i]["type"].as_string() == "Ready") return std::string(conditions[i]["status"].as_string());
    return "";
  }
  std::size_t taints() const { return node()["spec"]["taints"].size(); }
};

// The kubelet's part, spoken directly to the API: status once a start, a lease every ten seconds.
task<void> node_main(api::objects& o, cluster& c) {
  auto now = [&] { return format_rfc3339(c.node_clock->loop().wall_now()); };
  auto condition = json::object{{"type", "Ready"},
                                {"status", "True"},
                                {"reason", "KubeletReady"},
                                {"lastHeartbeatTime", now()},
                                {"lastTransitionTime", now()}};
  auto made =
      co_await o.create(nodes, "",
                        json::object{{"apiVersion", "v1"},
                                     {"kind", "Node"},
                                     {"metadata", json::object{{"name", "edge"}}},
                                     {"status", json::object{{"conditions", json::array{std::move(condition)}}}}});
  REQUIRE_MESSAGE(made.has_value(), (made ? std::string() : made.error().message));
  auto lease = co_await o.create(
      leases, "kube-node-lease",
      json::object{{"apiVersion", "coordination.k8s.io/v1"},
                   {"kind", "Lease"},
                   {"metadata", json::object{{"name", "edge"}, {"namespace", "kube-node-lease"}}},
                   {"spec", json::object{{"holderIdentity", "edge"},
                                         {"leaseDurationSeconds", 40},
                                         {"renewTime", format_rfc3339_micro(c.node_clock->loop().wall_now())}}}});
  REQUIRE_MESSAGE(lease.has_value(), (lease ? std::string() : lease.error().message));
  for (;;) {
    co_await reactor::sleep_for(10s);
    if (!c.node_lives) continue;
    auto text = format_rfc3339_micro(c.node_clock->loop().wall_now());
    auto renewed = co_await o.modify(leases, "kube-node-lease", "edge", [&](json::value& l) {
      l.member("spec").set("renewTime", text);
      return true;
    });
    CHECK(renewed.has_value());
  }
}

task<void> server_main(host& h, cluster& c) {
  auto opened = co_await store::open_store(
      {.log = datastore::make_memory_log(c.db), .loops = {&h.loop()}, .indexes = api::builtin_indexes()});
  REQUIRE(opened.has_value());
  tests::no_admission rules;
  api::service_ranges ranges;
  auto objects = api::make_objects(**opened, rules, ranges);
  for (auto name : {"default", "kube-system", "kube-node-lease"})
    (void)co_await objects->create(
        {"", "v1", "namespaces"}, "",
        json::object{{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", json::object{{"name", name}}}});
  control::settings controllers{.cluster_cidrs = {"10.42.0.0/16"}, .root_ca_pem = "ca"};
  reactor::scope parts;
  parts.spawn(control::run_controllers(controllers, **opened, [&](api::user_info user, std::string manager) {
    return api::make_objects(**opened, rules, ranges, nullptr, std::move(user), std::move(manager));
  }));
  parts.spawn(node_main(*objects, c));
  co_await parts.join();
}

}  // namespace

TEST_CASE("a clock that jumps makes no living node unknown, and no dead one known") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    cluster c;
    world w(seed);
    auto& server = w.add_host("server");
    auto& node = w.add_host("node");
    node.start([](host&) -> task<void> { co_await reactor::sleep_for(std::chrono::hours(1000)); });
    c.node_clock = &node;
    server.start([&](host& h) { return server_main(h, c); });
    REQUIRE(w.run_until([&] { return c.ready() == "True" && c.taints() == 0; }, 60s));

    bool lost = false;
    for (int round = 0; round < 12; ++round) {
      auto& which = round % 2 ? server : node;
      which.jump_clock(w.between(0s, 10h) - 5h);
      // Ever so often during more than the grace period.
      w.run_until([&] { return (lost = lost || c.ready() != "True"); }, w.between(10s, 90s));
    }
    CHECK(!lost);

    c.node_lives = false;
    server.jump_clock(w.between(0s, 10h) - 5h);  // also backwards: its leases seem to come from the future
    node.jump_clock(w.between(0s, 10h) - 5h);
    CHECK(w.run_until([&] { return c.ready() == "Unknown"; }, 70s));
    CHECK(w.run_until([&] { return c.taints() > 0; }, 20s));
    server.crash();
  }
}
