// Pods of a node whose agent may end at any moment, between any two calls of the runtime and during each: what runs
// then runs on, nothing runs twice, and what nobody wants any more goes.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "json/parse.h"
#include "json/write.h"
#include "node/pods/manager.h"
#include "support/temporary_folder.h"
#include "world.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

// What a machine's runtime keeps, whoever asks: a crash of the agent is none of it.
struct machine {
  struct sandbox : sandbox_info {
    container_resources has;
  };
  struct container : container_info {
    container_config config;
    std::int64_t started = 0, finished = 0;
    int code = 0;
  };
  sim::world& world;
  std::map<std::string, sandbox> sandboxes;
  std::map<std::string, container> containers;
  std::map<std::string, int> starts;  // by pod and container: how often it began
  int next = 1;
  std::size_t lists = 0;
  bool refuses_updates = false;

  // In no order, as containerd's maps give them.
  template <typename T>
  std::vector<T> in_some_order(std::vector<T> all) {
    if (!all.empty())
      std::rotate(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(++lists % all.size()), all.end());
    return all;
  }

  std::int64_t now() const { return 1'800'000'000'000'000'000 + world.now().time_since_epoch().count(); }
  std::string key(const container& c) const { return c.pod_uid + "/" + c.name; }

  void check() const {
    std::map<std::string, int> ready, running;
    for (auto& [id, s] : sandboxes) ready[s.uid] += s.ready;
    for (auto& [id, c] : containers) running[key(c)] += c.state == container_state::running;
    for (auto& [uid, n] : ready) CHECK_MESSAGE(n <= 1, "two sandboxes of pod ", uid, ", seed ", world.seed());
    for (auto& [name, n] : running) CHECK_MESSAGE(n <= 1, "two containers of ", name, ", seed ", world.seed());
  }

  void finish(container& c, int code) {
    if (c.state != container_state::running) return;
    c.state = container_state::exited;
    c.finished = now();
    c.code = code;
  }
};

class simulated_runtime final : public pod_runtime {
 public:
  explicit simulated_runtime(machine& m) : machine_(m) {}

  task<result<std::string>> run_sandbox(const sandbox_config& config, std::string) override {
    return call<std::string>([this, config]() -> result<std::string> {
      for (auto& [id, s] : machine_.sandboxes)
        if (s.uid == config.uid && s.attempt == config.attempt)
          return fail(errc::internal, "Unknown: failed to reserve sandbox name");
      machine::sandbox s;
      s.id = fmt::format("sandbox{}", machine_.next++);
      s.name = config.name;
      s.uid = config.uid;
      s.ns = config.ns;
      s.attempt = config.attempt;
      s.ready = true;
      s.created_at = machine_.now();
      s.has = config.resources;
      auto id = s.id;
      machine_.sandboxes.emplace(id, std::move(s));
      return id;
    });
  }
  task<result<void>> stop_sandbox(std::string id) override {
    return call<void>([this, id]() -> result<void> {
      if (auto s = machine_.sandboxes.find(id); s != machine_.sandboxes.end()) s->second.ready = false;
      for (auto& [cid, c] : machine_.containers)
        if (c.sandbox_id == id) machine_.finish(c, 137);
      return {};
    });
  }
  task<result<void>> remove_sandbox(std::string id) override {
    return call<void>([this, id]() -> result<void> {
      std::erase_if(machine_.containers, [&](auto& one) { return one.second.sandbox_id == id; });
      machine_.sandboxes.erase(id);
      return {};
    });
  }
  task<result<std::vector<sandbox_info>>> sandboxes(std::string uid) override {
    return call<std::vector<sandbox_info>>([this, uid]() -> result<std::vector<sandbox_info>> {
      std::vector<sandbox_info> out;
      for (auto& [id, s] : machine_.sandboxes)
        if (uid.empty() || s.uid == uid) out.push_back(s);
      return machine_.in_some_order(std::move(out));
    });
  }
  task<result<node::sandbox_status>> status_of_sandbox(std::string id) override {
    return call<node::sandbox_status>([this, id]() -> result<node::sandbox_status> {
      auto s = machine_.sandboxes.find(id);
      if (s == machine_.sandboxes.end()) return fail(errc::not_found, "NotFound: no sandbox");
      return node::sandbox_status{.ready = s->second.ready, .ips = {"10.42.0.2"}, .labels = {}, .annotations = {}};
    });
  }
  task<result<std::string>> create_container(std::string sandbox_id, const container_config& config,
                                             const sandbox_config& sandbox) override {
    return call<std::string>([this, sandbox_id, config, uid = sandbox.uid]() -> result<std::string> {
      auto s = machine_.sandboxes.find(sandbox_id);
      if (s == machine_.sandboxes.end() || !s->second.ready)
        return fail(errc::internal, "Unknown: the sandbox isn't there");
      for (auto& [id, c] : machine_.containers)
        if (c.pod_uid == uid && c.name == config.name && c.attempt == config.attempt)
          return fail(errc::internal, "Unknown: failed to reserve container name");
      machine::container c;
      c.id = fmt::format("container{}", machine_.next++);
      c.sandbox_id = sandbox_id;
      c.name = config.name;
      c.pod_uid = uid;
      c.attempt = config.attempt;
      c.state = container_state::created;
      c.created_at = machine_.now();
      c.config = config;
      auto id = c.id;
      machine_.containers.emplace(id, std::move(c));
      return id;
    });
  }
  task<result<void>> start_container(std::string id) override {
    return call<void>([this, id]() -> result<void> {
      auto c = machine_.containers.find(id);
      if (c == machine_.containers.end() || c->second.state != container_state::created)
        return fail(errc::internal, "Unknown: the container can't be started");
      c->second.state = container_state::running;
      c->second.started = machine_.now();
      ++machine_.starts[machine_.key(c->second)];
      // "exit CODE after MS" is what it runs.
      auto& command = c->second.config.command;
      if (command.size() == 2)
        machine_.world.after(std::chrono::milliseconds(std::stoi(command[1])),
                             [this_machine = &machine_, id, code = std::stoi(command[0])] {
                               if (auto one = this_machine->containers.find(id); one != this_machine->containers.end())
                                 this_machine->finish(one->second, code);
                             });
      return {};
    });
  }
  task<result<void>> update_resources(std::string id, container_resources r) override {
    return call<void>([this, id, r]() -> result<void> {
      auto c = machine_.containers.find(id);
      if (c == machine_.containers.end() || c->second.state != container_state::running)
        return fail(errc::not_found, "NotFound: no container runs");
      if (machine_.refuses_updates) return fail(errc::internal, "Unknown: not now");
      if (r.cpu_shares != 0) c->second.config.resources.cpu_shares = r.cpu_shares;
      if (r.cpu_quota != 0) c->second.config.resources.cpu_quota = r.cpu_quota;
      if (r.memory_limit != 0) c->second.config.resources.memory_limit = r.memory_limit;
      return {};
    });
  }
  task<result<void>> update_sandbox(std::string id, container_resources r, container_resources) override {
    return call<void>([this, id, r]() -> result<void> {
      auto s = machine_.sandboxes.find(id);
      if (s == machine_.sandboxes.end() || !s->second.ready) return fail(errc::not_found, "NotFound: no sandbox");
      if (machine_.refuses_updates) return fail(errc::internal, "Unknown: not now");
      s->second.has = r;
      return {};
    });
  }
  task<result<void>> stop_container(std::string id, std::int64_t) override {
    return call<void>([this, id]() -> result<void> {
      if (auto c = machine_.containers.find(id); c != machine_.containers.end()) machine_.finish(c->second, 143);
      return {};
    });
  }
  task<result<void>> remove_container(std::string id) override {
    return call<void>([this, id]() -> result<void> {
      machine_.containers.erase(id);
      return {};
    });
  }
  task<result<std::vector<container_info>>> containers(std::string uid) override {
    return call<std::vector<container_info>>([this, uid]() -> result<std::vector<container_info>> {
      std::vector<container_info> out;
      for (auto& [id, c] : machine_.containers)
        if (uid.empty() || c.pod_uid == uid) out.push_back(c);
      return machine_.in_some_order(std::move(out));
    });
  }
  task<result<container_status>> status_of_container(std::string id) override {
    return call<container_status>([this, id]() -> result<container_status> {
      auto found = machine_.containers.find(id);
      if (found == machine_.containers.end()) return fail(errc::not_found, "NotFound: no container");
      auto& c = found->second;
      container_status out;
      out.id = c.id;
      out.name = c.name;
      out.state = c.state;
      out.created_at = c.created_at;
      out.started_at = c.started;
      out.finished_at = c.finished;
      out.exit_code = c.code;
      out.image = c.config.user_image;
      out.reason = c.code == 0 ? "Completed" : "Error";
      out.annotations = c.config.annotations;
      return out;
    });
  }
  task<result<void>> reopen_log(std::string) override { co_return result<void>(); }
  task<result<std::vector<container_usage>>> usage() override { co_return std::vector<container_usage>(); }
  task<result<exec_result>> exec(std::string, std::vector<std::string>, std::int64_t) override {
    co_return exec_result{};
  }
  task<result<std::string>> stream_url(std::string, exec_request) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<std::string>> port_forward_url(std::string, std::vector<int>) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<std::optional<image_info>>> image(std::string name) override {
    return call<std::optional<image_info>>([name]() -> result<std::optional<image_info>> {
      return std::optional(image_info{.id = name, .digests = {}, .username = {}});
    });
  }
  task<result<std::vector<stored_image>>> images() override { co_return std::vector<stored_image>(); }
  task<result<void>> remove_image(std::string) override { co_return result<void>(); }
  task<result<std::string>> pull(std::string name, const image_credentials*, const sandbox_config&) override {
    co_return name;
  }

 private:
  // The request is on its way, happens whether the asker lives or not, and is answered if it does.
  template <typename T>
  task<result<T>> call(std::function<result<T>()> effect) {
    struct state {
      std::optional<result<T>> value;
      reactor::event done;
    };
    auto s = std::make_shared<state>();
    auto& w = machine_.world;
    w.after(w.between(100us, 5ms),
            [s, effect = std::move(effect), mail = reactor::loop::current().mail(), m = &machine_] {
              auto value = std::make_shared<result<T>>(effect());
              m->check();
              mail->post([s, value] {
                s->value.emplace(std::move(*value));
                s->done.set();
              });
            });
    co_await s->done.wait();
    co_return std::move(*s->value);
  }
  machine& machine_;
};

// The API's pods, with a log of what changed for who watches.
struct api {
  sim::world& world;
  std::map<std::string, json::value> pods;        // by uid
  std::vector<std::pair<bool, json::value>> log;  // removed?, the pod
  std::map<std::string, int> events;              // by reason: how often one was told
  bool away = false;

  void put(json::value pod) {
    pod.member("metadata").set("resourceVersion", std::to_string(log.size() + 1));
    pods[std::string(pod["metadata"]["uid"].as_string())] = pod;
    log.emplace_back(false, std::move(pod));
  }
  void remove(const std::string& uid) {
    auto p = pods.find(uid);
    if (p == pods.end()) return;
    log.emplace_back(true, p->second);
    pods.erase(p);
  }
  void ask_to_delete(const std::string& uid) {
    auto p = pods.find(uid);
    if (p == pods.end()) return;
    auto pod = p->second;
    pod.member("metadata").set("deletionTimestamp", "2026-01-01T00:00:00Z");
    pod.member("metadata").set("deletionGracePeriodSeconds", 2);
    put(std::move(pod));
  }
};

class simulated_cluster final : public pod_cluster {
 public:
  explicit simulated_cluster(api& a) : api_(a) {}
  task<result<std::optional<json::value>>> config_map(std::string, std::string, time_point) override {
    co_return std::optional<json::value>();
  }
  task<result<std::optional<json::value>>> secret(std::string, std::string, time_point) override {
    co_return std::optional<json::value>();
  }
  task<result<std::vector<json::value>>> services(std::string, time_point) override {
    co_await pause();
    co_return std::vector<json::value>();
  }
  task<result<json::value>> token(std::string, std::string, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<std::optional<json::value>>> object(std::string) override { co_return std::optional<json::value>(); }
  task<result<json::value>> request_certificate(std::string, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<std::optional<json::value>>> certificate_request(std::string, std::string) override {
    co_return std::optional<json::value>();
  }
  task<result<json::value>> patch_claim_status(const json::value&, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<json::value>> patch_status(const json::value& pod, json::value patch) override {
    auto uid = std::string(pod["metadata"]["uid"].as_string());
    co_await pause();
    if (api_.away) co_return fail(errc::unavailable, "away");
    auto known = api_.pods.find(uid);
    if (known == api_.pods.end()) co_return fail(errc::not_found, "not found");
    auto next = known->second;
    merge(next.member("status"), patch["status"]);
    api_.put(next);
    co_await pause();
    co_return api_.pods.contains(uid) ? api_.pods[uid] : next;
  }
  task<result<void>> remove(const json::value& pod) override {
    auto uid = std::string(pod["metadata"]["uid"].as_string());
    co_await pause();
    if (api_.away) co_return fail(errc::unavailable, "away");
    api_.remove(uid);
    co_return result<void>();
  }
  task<result<json::value>> create(json::value) override { co_return fail(errc::unsupported, "none"); }
  void tell(const json::value&, std::string, bool, std::string reason, std::string) override { ++api_.events[reason]; }

 private:
  reactor::sleep_awaiter pause() { return reactor::sleep_for(api_.world.between(100us, 20ms)); }
  // As much of a strategic merge as statuses need.
  static void merge(json::value& to, const json::value& patch) {
    for (auto& [name, v] : *patch.object()) {
      if (v.is_null()) {
        to.erase(name);
      } else if (name == "conditions") {
        auto& all = to.member(name).make_array();
        for (auto& c : *v.array()) {
          std::erase_if(all, [&](auto& old) { return old["type"] == c["type"]; });
          if (c.find("$patch") == nullptr) all.push_back(c);
        }
      } else if (v.array() && name.ends_with("IPs")) {
        json::array list;
        for (auto& one : *v.array())
          if (one.find("$patch") == nullptr) list.push_back(one);
        to.set(name, std::move(list));
      } else {
        to.set(name, v);
      }
    }
  }
  api& api_;
};

// A machine with an agent that can be crashed, and the API that it belongs to.
struct cluster {
  sim::world world;
  machine runtime{world, {}, {}, {}};
  api server{world, {}, {}};
  temporary_folder disk;
  pod_settings settings;
  sim::host& agent;

  explicit cluster(std::uint64_t seed) : world(seed), agent(world.add_host("agent")) {
    settings.root = disk.path() + "/kubelet";
    settings.logs = disk.path() + "/logs";
    settings.log_links = disk.path() + "/links";
    settings.node = {
        .name = "n", .host_ips = {"192.0.2.1"}, .allocatable = json::object{{"cpu", "100"}, {"memory", "100Gi"}}};
    agent.start([this](sim::host&) { return run(); });
  }

  task<void> run() {
    simulated_runtime cri(runtime);
    simulated_cluster pods_api(server);
    image_puller images(cri, pods_api, settings);
    pod_manager manager(
        worker_parts{.runtime = cri,
                     .cluster = pods_api,
                     .images = images,
                     .settings = settings,
                     .network = &agent,
                     .agent_started_at = runtime.now(),
                     .network_problem = [] { return std::string(); },
                     .admit_to_network = [](json::value, std::vector<std::string>) -> task<void> { co_return; }});
    reactor::scope tasks;
    co_await manager.begin();
    tasks.spawn(manager.run());
    co_await reactor::sleep_for(world.between(0ms, 50ms));
    while (server.away) co_await reactor::sleep_for(100ms);
    auto at = server.log.size();
    std::vector<json::value> all;
    for (auto& [uid, pod] : server.pods) all.push_back(pod);
    manager.listed(std::move(all));
    manager.static_pods({});
    for (;;) {
      co_await reactor::sleep_for(world.between(1ms, 30ms));
      while (at < server.log.size() && !server.away) {
        auto [removed, pod] = server.log[at++];
        if (removed)
          manager.removed(pod);
        else
          manager.changed(std::move(pod));
      }
    }
  }

  void make(const std::string& uid, std::string_view spec, std::string_view qos = "BestEffort") {
    auto parsed = json::parse(spec);
    REQUIRE(parsed);
    server.put(json::object{
        {"metadata", json::object{{"name", uid}, {"namespace", "default"}, {"uid", uid}, {"generation", 1}}},
        {"spec", *parsed},
        {"status", json::object{{"phase", "Pending"}, {"qosClass", qos}}}});
  }
  std::string phase(const std::string& uid) { return std::string(server.pods[uid]["status"]["phase"].as_string()); }
  // Between any two calls, and during them.
  void crash_sometimes(int times, duration within) {
    for (int i = 0; i < times; ++i)
      world.after(world.between(0ms, within), [this] {
        agent.crash();
        agent.restart();
      });
  }
  bool is_empty() const { return runtime.sandboxes.empty() && runtime.containers.empty(); }
  std::size_t folders() const {
    std::error_code none;
    std::size_t out = 0;
    for (auto* name : {"/kubelet/pods", "/logs"})
      out += static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(disk.path() + name, none),
                                                    std::filesystem::directory_iterator()));
    return out;
  }
};

constexpr auto lasting =
    R"({"restartPolicy": "Always", "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}], "initContainers": [{"name": "i", "image": "i", "command": ["0", "30"]}]})";
constexpr auto job =
    R"({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i", "command": ["0", "200"]}]})";

}  // namespace

TEST_CASE("whenever the agent ends, pods begin once, run on, and go when they are deleted") {
  for (auto seed : sim::seeds(60)) {
    CAPTURE(seed);
    cluster c(seed);
    for (auto* uid : {"one", "two"}) c.make(uid, lasting);
    c.make("job", job);
    c.crash_sometimes(6, 500ms);
    REQUIRE(c.world.run_until(
        [&] { return c.phase("one") == "Running" && c.phase("two") == "Running" && c.phase("job") == "Succeeded"; },
        10min));
    // What ran when the agent ended is what runs.
    for (auto* name : {"one/a", "one/b", "two/a", "two/b", "job/a"}) CHECK_MESSAGE(c.runtime.starts[name] == 1, name);
    c.crash_sometimes(6, 500ms);
    for (auto* uid : {"one", "two", "job"}) c.server.ask_to_delete(uid);
    CHECK(c.world.run_until([&] { return c.server.pods.empty() && c.is_empty() && c.folders() == 0; }, 10min));
  }
}

TEST_CASE("what the API forgot while the agent was away is ended") {
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    cluster c(seed);
    c.make("one", lasting);
    REQUIRE(c.world.run_until([&] { return c.phase("one") == "Running"; }, 10min));
    c.agent.crash();
    c.server.remove("one");
    c.agent.restart();
    CHECK(c.world.run_until([&] { return c.is_empty(); }, 10min));
  }
}

TEST_CASE("without servers, what crashes is started again, and told when they are back") {
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    cluster c(seed);
    c.make("one",
           R"({"restartPolicy": "Always", "containers": [{"name": "a", "image": "i", "command": ["1", "20000"]}]})");
    REQUIRE(c.world.run_until([&] { return c.phase("one") == "Running"; }, 10min));
    c.server.away = true;
    REQUIRE(c.world.run_until([&] { return c.runtime.starts["one/a"] >= 3; }, 1h));
    c.server.away = false;
    CHECK(c.world.run_until(
        [&] { return c.server.pods["one"]["status"]["containerStatuses"][0]["restartCount"].as_integer() >= 2; },
        10min));
  }
}

TEST_CASE("a pod that crashes is started later and later") {
  cluster c(1);
  c.make("one", R"({"restartPolicy": "Always", "containers": [{"name": "a", "image": "i", "command": ["1", "10"]}]})");
  auto starts_after = [&](duration d) {
    c.world.run_for(d);
    return c.runtime.starts["one/a"];
  };
  CHECK(starts_after(8s) == 2);
  CHECK(starts_after(10s) == 3);
  CHECK(starts_after(10s) == 3);
  CHECK(starts_after(10s) == 4);
  CHECK(c.server.pods["one"]["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_string() ==
        "CrashLoopBackOff");
  // Each is a write to the datastore.
  CHECK(c.server.events["BackOff"] == 3);
  c.world.run_for(60s);
  CHECK(c.server.events["BackOff"] == c.runtime.starts["one/a"] - 1);  // the first crash is no pause
}

namespace {

// A container of so many CPUs, half of them asked for, and so much memory in MiB, which it gets when it starts anew.
json::value sized(std::string name, int cpus, int memory) {
  json::array policies;
  policies.push_back(json::object{{"resourceName", "memory"}, {"restartPolicy", "RestartContainer"}});
  return json::object{
      {"name", std::move(name)},
      {"image", "i"},
      {"resizePolicy", std::move(policies)},
      {"resources",
       json::object{{"limits", json::object{{"cpu", fmt::format("{}", cpus)}, {"memory", fmt::format("{}Mi", memory)}}},
                    {"requests", json::object{{"cpu", fmt::format("{}", cpus / 2)}}}}}};
}

void make(cluster& c, const std::string& uid, json::array containers) {
  c.make(uid, json::write(json::object{{"restartPolicy", "Always"}, {"containers", std::move(containers)}}));
}

void resize(cluster& c, const std::string& uid, json::array containers) {
  auto pod = c.server.pods[uid];
  pod.member("spec").set("containers", std::move(containers));
  pod.member("metadata").set("generation", pod["metadata"]["generation"].as_integer() + 1);
  c.server.put(std::move(pod));
}

std::string_view resize_reason(cluster& c, const std::string& uid) {
  for (auto& condition : *c.server.pods[uid]["status"]["conditions"].array())
    if (condition["type"].as_string().starts_with("PodResize")) return condition["reason"].as_string("under way");
  return {};
}

// Of the newest container of that name.
const container_resources* resources_in(cluster& c, const std::string& uid, std::string_view name) {
  const machine::container* newest = nullptr;
  for (auto& [id, one] : c.runtime.containers)
    if (one.pod_uid == uid && one.name == name && (!newest || newest->attempt < one.attempt)) newest = &one;
  return newest && newest->state == container_state::running ? &newest->config.resources : nullptr;
}

bool is_resized(cluster& c, const std::string& uid) {
  auto& pod = c.server.pods[uid];
  auto& statuses = pod["status"]["containerStatuses"];
  for (std::size_t i = 0; i < pod["spec"]["containers"].size(); ++i)
    if (statuses[i]["resources"] != pod["spec"]["containers"][i]["resources"] || !statuses[i]["ready"].as_bool())
      return false;
  return pod["status"]["observedGeneration"] == pod["metadata"]["generation"] && resize_reason(c, uid).empty();
}

}  // namespace

TEST_CASE("whenever the agent ends, a pod is resized, and only what has to starts anew, once") {
  for (auto seed : sim::seeds(40)) {
    CAPTURE(seed);
    cluster c(seed);
    make(c, "one", {sized("a", 2, 100), sized("b", 2, 100)});
    REQUIRE(c.world.run_until([&] { return c.phase("one") == "Running"; }, 10min));
    c.crash_sometimes(6, 500ms);
    resize(c, "one", {sized("a", 4, 100), sized("b", 2, 200)});
    REQUIRE(c.world.run_until([&] { return is_resized(c, "one"); }, 10min));
    auto *a = resources_in(c, "one", "a"), *b = resources_in(c, "one", "b");
    REQUIRE(a);
    REQUIRE(b);
    CHECK(a->cpu_quota == 400'000);
    CHECK(a->cpu_shares == 2048);
    CHECK(a->memory_limit == 100 << 20);
    CHECK(b->memory_limit == 200 << 20);
    CHECK(c.runtime.starts["one/a"] == 1);
    CHECK(c.runtime.starts["one/b"] == 2);
    // What it was given while it ran is not what the next one is made with.
    resize(c, "one", {sized("a", 4, 300), sized("b", 2, 200)});
    REQUIRE(c.world.run_until([&] { return is_resized(c, "one"); }, 10min));
    CHECK(resources_in(c, "one", "a")->cpu_quota == 400'000);
    CHECK(c.runtime.starts["one/a"] == 2);
    CHECK(c.runtime.starts["one/b"] == 2);
  }
}

namespace {

// A pod of so many CPUs as a whole, half of them asked for, and so much memory in MiB; without containers, one that is
// there.
void make_whole(cluster& c, const std::string& uid, int cpus, int memory, json::array containers) {
  auto amounts = [&](int n) {
    return json::object{{"cpu", fmt::format("{}", n)}, {"memory", fmt::format("{}Mi", memory)}};
  };
  json::value resources = json::object{{"limits", amounts(cpus)}, {"requests", amounts(cpus / 2)}};
  if (!containers.empty())
    return c.make(uid,
                  json::write(json::object{
                      {"restartPolicy", "Always"}, {"resources", resources}, {"containers", std::move(containers)}}),
                  "Burstable");
  auto pod = c.server.pods[uid];
  pod.member("spec").set("resources", std::move(resources));
  pod.member("metadata").set("generation", pod["metadata"]["generation"].as_integer() + 1);
  c.server.put(std::move(pod));
}

bool is_resized_as_a_whole(cluster& c, const std::string& uid) {
  auto& pod = c.server.pods[uid];
  auto& statuses = pod["status"]["containerStatuses"];
  for (std::size_t i = 0; i < pod["spec"]["containers"].size(); ++i)
    if (!statuses[i]["ready"].as_bool()) return false;
  return pod["status"]["resources"] == pod["spec"]["resources"] &&
         pod["status"]["allocatedResources"] == pod["spec"]["resources"]["requests"] &&
         pod["status"]["observedGeneration"] == pod["metadata"]["generation"] && resize_reason(c, uid).empty();
}

const container_resources& resources_of_sandbox(cluster& c, const std::string& uid) {
  for (auto& [id, s] : c.runtime.sandboxes)
    if (s.uid == uid && s.ready) return s.has;
  static const container_resources none;
  return none;
}

}  // namespace

TEST_CASE("whenever the agent ends, a pod is resized as a whole, with its containers that say nothing themselves") {
  for (auto seed : sim::seeds(40)) {
    CAPTURE(seed);
    cluster c(seed);
    json::array containers;
    containers.push_back(sized("a", 2, 100));
    containers.push_back(json::object{{"name", "b"}, {"image", "i"}});
    make_whole(c, "one", 4, 400, containers);
    REQUIRE(c.world.run_until([&] { return is_resized_as_a_whole(c, "one"); }, 10min));
    CHECK(resources_in(c, "one", "b")->cpu_quota == 400'000);
    c.crash_sometimes(6, 500ms);
    make_whole(c, "one", 8, 600, {});
    REQUIRE(c.world.run_until([&] { return is_resized_as_a_whole(c, "one"); }, 10min));
    CHECK(resources_in(c, "one", "a")->cpu_quota == 200'000);
    CHECK(resources_in(c, "one", "b")->cpu_quota == 800'000);
    CHECK(resources_in(c, "one", "b")->memory_limit == 600 << 20);
    CHECK(resources_of_sandbox(c, "one").cpu_quota == 800'000);
    CHECK(resources_of_sandbox(c, "one").cpu_shares == 4096);
    for (auto* name : {"one/a", "one/b"}) CHECK(c.runtime.starts[name] == 1);
  }
}

TEST_CASE("a resize that the runtime refuses of a sandbox changes nothing, and is tried again") {
  cluster c(1);
  json::array containers;
  containers.push_back(json::object{{"name", "a"}, {"image", "i"}});
  make_whole(c, "one", 4, 400, containers);
  REQUIRE(c.world.run_until([&] { return is_resized_as_a_whole(c, "one"); }, 10min));
  c.runtime.refuses_updates = true;
  make_whole(c, "one", 8, 600, {});
  REQUIRE(c.world.run_until([&] { return resize_reason(c, "one") == "Error"; }, 10min));
  CHECK(c.server.pods["one"]["status"]["resources"]["limits"]["cpu"].as_string() == "4");
  CHECK(c.server.pods["one"]["status"]["allocatedResources"]["cpu"].as_string() == "4");
  CHECK(resources_in(c, "one", "a")->cpu_quota == 400'000);
  c.runtime.refuses_updates = false;
  REQUIRE(c.world.run_until([&] { return is_resized_as_a_whole(c, "one"); }, 10min));
  for (auto* reason : {"ResizeError", "ResizeStarted", "ResizeCompleted"}) CHECK(c.server.events[reason] == 1);
}

TEST_CASE("whenever the agent ends, a pod whose container says so begins anew as a whole, once") {
  for (auto seed : sim::seeds(40)) {
    CAPTURE(seed);
    cluster c(seed);
    c.make("one", R"({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "i", "command": ["0", "1"]}],
        "containers": [{"name": "a", "image": "i", "command": ["0", "3600000"]},
                       {"name": "b", "image": "i", "command": ["42", "400"], "restartPolicy": "Never",
                        "restartPolicyRules": [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]}]})");
    REQUIRE(c.world.run_until([&] { return c.phase("one") == "Running"; }, 10min));
    c.crash_sometimes(6, 600ms);
    REQUIRE(c.world.run_until([&] { return c.runtime.starts["one/b"] >= 4; }, 10min));
    // Never one without the others.
    CHECK(std::abs(c.runtime.starts["one/a"] - c.runtime.starts["one/b"]) <= 1);
    CHECK(std::abs(c.runtime.starts["one/i"] - c.runtime.starts["one/b"]) <= 1);
    CHECK(c.runtime.sandboxes.size() == 1);
    CHECK(c.phase("one") != "Failed");
  }
}

TEST_CASE("a resize waits for what others have, and counts for nobody before") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    cluster c(seed);
    make(c, "large", {sized("a", 120, 100)});
    make(c, "small", {sized("a", 20, 100)});
    REQUIRE(c.world.run_until([&] { return c.phase("large") == "Running" && c.phase("small") == "Running"; }, 10min));
    resize(c, "small", {sized("a", 100, 100)});
    REQUIRE(c.world.run_until([&] { return resize_reason(c, "small") == "Deferred"; }, 10min));
    // It has 10, and the node 30 for others.
    CHECK(c.server.pods["small"]["status"]["containerStatuses"][0]["allocatedResources"]["cpu"].as_string() == "10");
    c.agent.crash();
    c.agent.restart();
    make(c, "third", {sized("a", 40, 100)});
    REQUIRE(c.world.run_until([&] { return c.phase("third") == "Running"; }, 10min));
    CHECK(c.server.events["ResizeDeferred"] == 1);
    CHECK(resources_in(c, "small", "a")->cpu_quota == 2'000'000);
    c.server.ask_to_delete("large");
    REQUIRE(c.world.run_until([&] { return is_resized(c, "small"); }, 10min));
    CHECK(resources_in(c, "small", "a")->cpu_quota == 10'000'000);
    for (auto* reason : {"ResizeDeferred", "ResizeStarted", "ResizeCompleted"}) CHECK(c.server.events[reason] == 1);
  }
}

TEST_CASE("a resize that fails is told of, tried again, and keeps nothing else from starting") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    cluster c(seed);
    make(c, "one", {sized("a", 2, 100), sized("b", 2, 100)});
    REQUIRE(c.world.run_until([&] { return c.phase("one") == "Running"; }, 10min));
    c.runtime.refuses_updates = true;
    resize(c, "one", {sized("a", 4, 100), sized("b", 2, 200)});
    REQUIRE(
        c.world.run_until([&] { return c.runtime.starts["one/b"] == 2 && resize_reason(c, "one") == "Error"; }, 10min));
    auto& a = c.server.pods["one"]["status"]["containerStatuses"][0];
    CHECK(a["resources"]["limits"]["cpu"].as_string() == "2");
    CHECK(a["allocatedResources"]["cpu"].as_string() == "2");
    c.runtime.refuses_updates = false;
    REQUIRE(c.world.run_until([&] { return is_resized(c, "one"); }, 10min));
    CHECK(c.runtime.starts["one/a"] == 1);
    for (auto* reason : {"ResizeError", "ResizeStarted", "ResizeCompleted"}) CHECK(c.server.events[reason] == 1);
  }
}
