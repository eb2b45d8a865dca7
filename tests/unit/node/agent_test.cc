// The whole agent against a server of the test's own, with the real containerd where there is one.
#include "node/agent.h"
#include "node/network/cni_config.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>

#include "crypto/files.h"
#include "loop.h"
#include "node/runtime/containerd_config.h"
#include "node/status/node_status.h"
#include "small_cluster.h"
#include "support/skipped.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

agent_config config_for(const small_cluster& cluster, const temporary_folder& folder) {
  agent_config c;
  c.server_url = cluster.url();
  c.token = cluster.full_token();
  c.node_name = "edge-7";
  c.node_ips = {"10.0.0.7"};
  c.data_dir = folder.path() + "/data";
  c.password_folder = folder.path() + "/node";
  c.runtime_state_folder = folder.path() + "/run";
  c.manage_cni = false;  // this machine's network is not the test's to change
  return c;
}

template <typename F>
void with_cluster(F test) {
  test_loop t;
  small_cluster cluster;
  t.run([](small_cluster& c, F f) -> task<void> {
    reactor::scope serving;
    serving.spawn(c.run());
    co_await c.listening().wait();
    co_await f(c);
  }(cluster, std::move(test)));
}

// Waits until `is` says so, at most `most`.
template <typename F>
task<bool> until(F is, duration most = 10s) {
  auto end = reactor::loop::current().now() + most;
  while (!is()) {
    if (reactor::loop::current().now() > end) co_return false;
    co_await reactor::sleep_for(10ms);
  }
  co_return true;
}

// An agent that runs; finish() stops it and gives what it returned.
struct running_agent {
  agent_control control;
  std::optional<result<void>> ended;
  reactor::event done;
  reactor::scope scope;

  explicit running_agent(agent_config config) {
    scope.spawn([](running_agent& a, agent_config c) -> task<void> {
      a.ended = co_await run_node(std::move(c), a.control);
      a.done.set();
    }(*this, std::move(config)));
  }
  task<void> finish() {
    control.stop.set();
    co_await done.wait();
  }
};

std::string_view ready_message(const json::value& node) {
  if (auto* all = node["status"]["conditions"].array())
    for (auto& c : *all)
      if (c["type"].as_string() == "Ready") return c["message"].as_string();
  return {};
}

}  // namespace

TEST_CASE("without a runtime the node is there, not ready, and says what to do") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    auto config = config_for(c, folder);
    config.containerd_binary = folder.path() + "/none";
    running_agent a(config);
    CHECK(co_await until([&] { return !c.lease.is_null() && ready_message(c.node).contains("/none"); }));
    CHECK(condition_status(c.node, "Ready") == "False");
    CHECK(ready_message(c.node).starts_with("container runtime is down: "));
    CHECK(c.node["status"]["addresses"][std::size_t{0}]["address"] == "10.0.0.7");
    CHECK(c.lease["metadata"]["ownerReferences"][std::size_t{0}]["uid"] == "uid-1");
    CHECK(c.api_users == std::vector<std::string>{"system:node:edge-7"});
    CHECK(a.control.registered.is_set());
    CHECK_FALSE(a.control.ready.is_set());
    CHECK(co_await until([&] { return !c.events.empty(); }));
    if (!c.events.empty()) CHECK(c.events[0]["reason"] == "Starting");
    co_await a.finish();
    CHECK((a.ended && *a.ended));
  });
}

TEST_CASE("an existing node is taken over, and what others wrote is put right") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    c.node = json::object{
        {"metadata", json::object{{"name", "edge-7"}, {"uid", "old"}, {"labels", json::object{{"theirs", "1"}}}}},
        {"spec", json::object{{"podCIDR", "10.42.9.0/24"}}},
        {"status",
         json::object{{"nodeInfo", json::object{{"bootID", "another"}}},
                      {"conditions", json::array{json::object{{"type", "Ready"},
                                                              {"status", "Unknown"},
                                                              {"lastTransitionTime", "2020-01-01T00:00:00Z"}}}}}}};
    auto config = config_for(c, folder);
    config.containerd_binary = folder.path() + "/none";
    running_agent a(config);
    CHECK(co_await until([&] { return condition_status(c.node, "Ready") == "False"; }));
    CHECK(c.node["metadata"]["uid"] == "old");
    CHECK(c.node["metadata"]["labels"]["theirs"] == "1");
    CHECK(c.node["metadata"]["labels"]["kubernetes.io/hostname"] == "edge-7");
    CHECK(co_await until([&] { return c.events.size() >= 2; }));
    if (!c.events.empty()) CHECK(c.events[0]["reason"] == "Rebooted");
    co_await a.finish();
  });
}

TEST_CASE("a node that was deleted registers again by itself") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    auto config = config_for(c, folder);
    config.containerd_binary = folder.path() + "/none";
    running_agent a(config);
    CHECK(co_await until([&] { return !c.lease.is_null(); }));
    c.node = {};
    c.lease = {};
    CHECK(co_await until([&] { return !c.node.is_null() && !c.lease.is_null(); }));
    co_await a.finish();
  });
}

TEST_CASE("a server's own node gets its role under the server's identity") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    auto config = config_for(c, folder);
    config.containerd_binary = folder.path() + "/none";
    config.admin_certificate = folder.path() + "/admin.crt";
    config.admin_key = folder.path() + "/admin.key";
    c.write_admin(config.admin_certificate, config.admin_key);
    running_agent a(config);
    CHECK(co_await until(
        [&] { return c.node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"].as_string() == "true"; }));
    CHECK(std::ranges::find(c.api_users, "system:admin") != c.api_users.end());
    co_await a.finish();
  });
}

TEST_CASE("an API that is away is waited for") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    c.silent = true;
    auto config = config_for(c, folder);
    config.containerd_binary = folder.path() + "/none";
    running_agent a(config);
    co_await a.control.registered.wait();
    // It asks, is not answered, and asks again.
    auto asked = c.requests.size();
    CHECK(co_await until([&] { return c.requests.size() >= asked + 2; }));
    CHECK(c.node.is_null());
    c.silent = false;
    CHECK(co_await until([&] { return !c.lease.is_null(); }));
    co_await a.finish();
    CHECK((a.ended && *a.ended));
  });
}

TEST_CASE("stop is heeded while the server can't be reached") {
  temporary_folder folder;
  test_loop t;
  t.run([](const temporary_folder& f) -> task<void> {
    agent_config config;
    config.server_url = "https://127.0.0.1:1";
    config.token = "secret";
    config.node_ips = {"10.0.0.7"};
    config.data_dir = f.path() + "/data";
    config.password_folder = f.path() + "/node";
    config.containerd_binary = f.path() + "/none";
    running_agent a(config);
    co_await reactor::sleep_for(200ms);
    CHECK_FALSE(a.ended);
    co_await a.finish();
    CHECK((a.ended && *a.ended));
  }(folder));
}

TEST_CASE("a malformed label ends the agent before it asks anybody") {
  temporary_folder folder;
  test_loop t;
  t.run([](const temporary_folder& f) -> task<void> {
    agent_config config;
    config.data_dir = f.path();
    config.node_labels = {"no label"};
    agent_control control;
    auto r = co_await run_node(config, control);
    CHECK_FALSE(r);
    CHECK(r.error().message.contains("no label"));
  }(folder));
}

TEST_CASE("with containerd the node is Ready within two seconds of its start") {
  if (::geteuid() != 0 || find_program("containerd", "").empty()) {
    tests::skip("needs root and containerd (apt-get install containerd)");
    return;
  }
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    auto config = config_for(c, folder);
    // What the node's network would have written.
    CHECK(crypto::make_folder(config.cni_conf_folder(), 0755));
    CHECK(crypto::write_file(config.cni_conf_folder() + "/" + std::string(cni_file_name),
                             cni_conflist({.leases = folder.path() + "/cni"})));
    auto began = reactor::loop::current().now();
    running_agent a(config);
    bool ready = co_await a.control.ready.wait_until(began + 10s);
    CHECK(ready);
    auto took = reactor::loop::current().now() - began;
    MESSAGE("ready after " << std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms");
    CHECK(took < 8s);  // the machine may have other work
    CHECK(condition_status(c.node, "Ready") == "True");
    CHECK(c.node["status"]["nodeInfo"]["containerRuntimeVersion"].as_string().starts_with("containerd://"));
    // As the kubelet: nobody is told of a node that was ready from the beginning.
    if (condition_status(c.made_node, "Ready") != "True")
      CHECK(co_await until([&] { return !c.events.empty() && c.events.back()["reason"].as_string() == "NodeReady"; }));
    co_await a.finish();
    CHECK((a.ended && *a.ended));
    // A stop is no failure of the runtime: the node is still said to be ready.
    CHECK(condition_status(c.node, "Ready") == "True");
  });
}
