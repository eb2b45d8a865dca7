// The scheduler at work over a store in memory: what it writes, and what it waits for.
#include "control/scheduler/scheduler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "api/local_objects.h"
#include "api/metrics/metrics.h"
#include "base/strings.h"
#include "datastore/memory/memory_log.h"
#include "json/write.h"
#include "net/http/server.h"
#include "reactor/loop.h"
#include "reactor/scope.h"
#include "store/open.h"
#include "support/no_admission.h"
#include "unit/control/cluster.h"

using namespace kedge;
using namespace kedge::control;

namespace {

// What extenders are: a server that is asked, and what it was asked.
class fake_extender final : public net::http::handler {
 public:
  // The answer to a question at a path; nothing: none comes.
  std::function<std::optional<std::string>(std::string path, const json::value& question)> answer;
  std::vector<std::string> asked;  // paths
  int status = 200;

  task<void> serve(net::http::exchange& e) override {
    auto body = co_await e.read_all();
    if (!body) co_return;
    auto question = json::parse(*body);
    asked.push_back(e.request().path);
    auto said = answer(e.request().path, question ? *question : json::value());
    if (!said) co_await reactor::sleep_for(std::chrono::hours(1));
    co_await e.respond({.status = status, .headers = {}}, *said);
  }
};

class at_work {
 public:
  // `extenders`: with the fake one's "URL" for its urlPrefix.
  explicit at_work(fake_extender* fake = nullptr, std::string extenders = "") {
    if (fake) {
      server_.emplace(*fake, net::http::server_options{.listen = {{"127.0.0.1", 0}}});
      running_.spawn([](net::http::server& server) -> task<void> { (void)co_await server.run(0); }(*server_));
      REQUIRE(eventually([&] { return server_->ready(0).is_set(); }));
      auto url = fmt::format("http://127.0.0.1:{}", server_->listening(0).at(0).port);
      for (std::size_t at; (at = extenders.find("URL")) != extenders.npos;) extenders.replace(at, 3, url);
      auto read = scheduler::parse_configuration(
          "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders: [" + extenders +
          "]");
      REQUIRE_MESSAGE(read.has_value(), (read ? "" : read.error().message));
      settings_ = *std::move(read);
    }
    auto opened = loop_.run_until(store::open_store(
        {.log = datastore::make_memory_log(database_), .loops = {&loop_}, .indexes = api::builtin_indexes()}));
    REQUIRE(opened.has_value());
    store_ = *std::move(opened);
    client_ = api::make_objects(*store_, rules_, ranges_);
    context_.emplace(context{.objects = *client_, .measures = &measures_});
    put("{kind: Namespace, apiVersion: v1, metadata: {name: default}, status: {phase: Active}}");
    for (auto zone : {"a", "b"})
      put(
          fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: node-{0}, labels: {{zone: {0}}}}}, status: "
                      "{{allocatable: {{cpu: '4', memory: 8Gi, pods: '110'}}}}}}",
                      zone));
    running_.spawn(run_scheduler(*context_, settings_));
  }
  ~at_work() {
    running_.cancel();
    client_.reset();
    loop_.run_until(store_->close());
  }

  // Writes the object as it is, status and all, past the API.
  void put(json::value o) {
    if (o.is_string()) o = yaml(o.as_string());
    auto& s = *api::builtin_registry().find_kind(o["apiVersion"].as_string(), o["kind"].as_string());
    auto& m = o.member("metadata");
    if (m["uid"].as_string().empty()) m.set("uid", "uid-" + std::string(m["name"].as_string()));
    auto key = s.key(m["namespace"].as_string(), m["name"].as_string());
    auto before = store_->current().find(key);
    auto done = loop_.run_until(store_->write({before ? store::write_kind::update : store::write_kind::create, key,
                                               api::stored_text(s, o), before ? before->mod() : 0, 0}));
    REQUIRE(done.has_value());
  }
  // Puts what is there, edited; the uid and all else stay.
  void edit(const std::string& key, const std::function<void(json::value&)>& change) {
    auto o = get(key);
    REQUIRE(o.is_object());
    change(o);
    put(std::move(o));
  }
  json::value get(const std::string& key) const {
    auto o = store_->current().find(key);
    return o ? *json::parse(o->bytes()) : json::value();
  }
  // The line of /metrics that begins so; empty: there is none.
  std::string measured(std::string_view begin) const {
    const auto all = measures_.text();
    for (auto line : split(all, '\n'))
      if (line.starts_with(begin)) return std::string(line);
    return {};
  }
  json::value pod(const std::string& name) const { return get("/registry/pods/default/" + name); }
  std::string node_of(const std::string& name) const { return std::string(pod(name)["spec"]["nodeName"].as_string()); }
  json::value condition_of(const std::string& name) const { return pod(name)["status"]["conditions"][0]; }
  // Those of claims, but for one that has a name of its own.
  std::vector<json::value> made_claims() const {
    std::vector<json::value> out;
    store_->current().scan("/registry/resourceclaims/default/", {}, [&](const store::object_ref& o) {
      if (auto v = json::parse(o->bytes()); v && (*v)["metadata"]["annotations"].is_object()) out.push_back(*v);
      return true;
    });
    return out;
  }

  // As an extender binds: it tells this test, and the test does it.
  void bind_later(std::string name, std::string node) { to_bind_.emplace_back(std::move(name), std::move(node)); }
  void bind_now() {
    for (auto& [name, node] : std::exchange(to_bind_, {}))
      edit("/registry/pods/default/" + name, [&](json::value& p) { p.member("spec").set("nodeName", node); });
  }

  bool eventually(std::function<bool()> done) {
    return loop_.run_until([](std::function<bool()> holds) -> task<bool> {
      const auto end = reactor::loop::current().now() + std::chrono::seconds(20);
      while (!holds()) {
        if (reactor::loop::current().now() > end) co_return false;
        co_await reactor::sleep_for(std::chrono::milliseconds(1));
      }
      co_return true;
    }(std::move(done)));
  }

 private:
  reactor::loop loop_{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here_{loop_};
  datastore::memory_database database_;
  tests::no_admission rules_;
  api::service_ranges ranges_;
  std::unique_ptr<store::store> store_;
  std::unique_ptr<api::objects> client_;
  scheduler::configuration settings_ = scheduler::default_configuration();
  std::optional<net::http::server> server_;
  api::metrics measures_;
  std::optional<context> context_;
  std::vector<std::pair<std::string, std::string>> to_bind_;
  reactor::scope running_;
};

constexpr auto claim_key = "/registry/persistentvolumeclaims/default/data";
constexpr auto volume_key = "/registry/persistentvolumes/disk";
constexpr std::string_view selected_node = "volume.kubernetes.io/selected-node";

void put_disk(at_work& w) {
  w.put(
      "{kind: PersistentVolume, apiVersion: v1, metadata: {name: disk}, spec: {storageClassName: slow, accessModes: "
      "[ReadWriteOnce], capacity: {storage: 2Gi}, local: {path: /x}, nodeAffinity: {required: {nodeSelectorTerms: "
      "[{matchExpressions: [{key: zone, operator: In, values: [b]}]}]}}}, status: {phase: Available}}");
}

void put_claim(at_work& w, std::string_view provisioner) {
  w.put(
      fmt::format("{{kind: StorageClass, apiVersion: storage.k8s.io/v1, metadata: {{name: slow}}, provisioner: {}, "
                  "volumeBindingMode: WaitForFirstConsumer}}",
                  provisioner));
  w.put(
      "{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {name: data, namespace: default}, spec: "
      "{storageClassName: slow, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}, status: {phase: "
      "Pending}}");
}

void put_pod(at_work& w, std::string_view name) {
  w.put(
      fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: {{schedulerName: "
                  "default-scheduler, containers: [{{name: c, image: x}}], volumes: [{{name: v, persistentVolumeClaim: "
                  "{{claimName: data}}}}]}}}}",
                  name));
}

// What the binder does at the end.
void bind(at_work& w, std::string_view volume) {
  w.edit(claim_key, [&](json::value& c) {
    c.member("spec").set("volumeName", volume);
    c.member("metadata").member("annotations").set("pv.kubernetes.io/bind-completed", "yes");
    c.member("status").set("phase", "Bound");
  });
}

}  // namespace

TEST_CASE("scheduler: a volume is given to the claim first, then its pod gets a node that reaches it") {
  at_work w;
  put_disk(w);
  put_claim(w, "kubernetes.io/no-provisioner");
  put_pod(w, "p");
  REQUIRE(w.eventually([&] { return w.get(volume_key)["spec"]["claimRef"]["uid"].as_string() == "uid-data"; }));
  // It says where it is going to be.
  CHECK(w.get("/registry/pods/default/p")["status"]["nominatedNodeName"].as_string() == "node-b");
  auto volume = w.get(volume_key);
  CHECK(volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"].as_string() == "yes");
  CHECK(volume["spec"]["claimRef"]["kind"].as_string() == "PersistentVolumeClaim");
  CHECK(w.node_of("p").empty());
  bind(w, "disk");
  REQUIRE(w.eventually([&] { return !w.node_of("p").empty(); }));
  CHECK(w.node_of("p") == "node-b");
  CHECK(w.get("/registry/pods/default/p")["status"]["nominatedNodeName"].is_null());
}

TEST_CASE("scheduler: a pod whose binding is refused says no longer where it is going to be") {
  at_work w;
  put_disk(w);
  put_claim(w, "kubernetes.io/no-provisioner");
  put_pod(w, "p");
  auto nominated = [&] {
    return std::string(w.get("/registry/pods/default/p")["status"]["nominatedNodeName"].as_string());
  };
  REQUIRE(w.eventually([&] { return !nominated().empty(); }));
  w.edit("/registry/pods/default/p", [](json::value& p) {
    json::array gates;
    gates.push_back(json::object{{"name", "later"}});
    p.member("spec").set("schedulingGates", std::move(gates));
  });
  bind(w, "disk");
  REQUIRE(w.eventually([&] { return nominated().empty(); }));
  CHECK(w.node_of("p").empty());
}

TEST_CASE("scheduler: a claim without a volume is provisioned for the node; when that fails it is tried again") {
  at_work w;
  put_claim(w, "csi.example");
  put_pod(w, "p");
  auto chosen = [&] { return std::string(w.get(claim_key)["metadata"]["annotations"][selected_node].as_string()); };
  REQUIRE(w.eventually([&] { return !chosen().empty(); }));
  CHECK(w.node_of("p").empty());
  // The provisioner gives it back.
  w.edit(claim_key, [](json::value& c) { c.member("metadata").member("annotations").erase(selected_node); });
  REQUIRE(w.eventually([&] { return w.condition_of("p")["reason"].as_string() == "SchedulerError"; }));
  CHECK(w.condition_of("p")["message"].as_string() ==
        "running PreBind plugin \"VolumeBinding\": binding volumes: provisioning failed for PVC \"data\"");
  CHECK(w.get("/registry/pods/default/p")["status"]["nominatedNodeName"].is_null());
  REQUIRE(w.eventually([&] { return !chosen().empty(); }));
  const auto node = chosen();
  w.put(
      "{kind: PersistentVolume, apiVersion: v1, metadata: {name: disk}, spec: {storageClassName: slow, accessModes: "
      "[ReadWriteOnce], capacity: {storage: 2Gi}, csi: {driver: csi.example, volumeHandle: h}, claimRef: {name: data, "
      "namespace: default, uid: uid-data}}, status: {phase: Bound}}");
  bind(w, "disk");
  REQUIRE(w.eventually([&] { return !w.node_of("p").empty(); }));
  CHECK(w.node_of("p") == node);
}

TEST_CASE("scheduler: a pod whose claim isn't there is told so, and placed when it comes") {
  at_work w;
  put_pod(w, "p");
  REQUIRE(w.eventually([&] { return w.condition_of("p").is_object(); }));
  CHECK(w.condition_of("p")["message"].as_string() ==
        "0/2 nodes are available: persistentvolumeclaim \"data\" not found.");
  put_claim(w, "csi.example");
  REQUIRE(w.eventually([&] { return w.get(claim_key)["metadata"]["annotations"][selected_node].is_string(); }));
}

namespace {

constexpr auto devices_key = "/registry/resourceclaims/default/gpu";

void put_devices(at_work& w, std::string_view more = "") {
  w.put("{kind: DeviceClass, apiVersion: resource.k8s.io/v1, metadata: {name: gpu}, spec: {}}");
  w.put(
      fmt::format("{{kind: ResourceSlice, apiVersion: resource.k8s.io/v1, metadata: {{name: s}}, spec: {{driver: "
                  "gpu.example.com, nodeName: node-b, pool: {{name: node-b, generation: 1, resourceSliceCount: 1}}, "
                  "devices: [{{name: d0{}}}]}}}}",
                  more));
}

void put_device_claim(at_work& w) {
  w.put(
      "{kind: ResourceClaim, apiVersion: resource.k8s.io/v1, metadata: {name: gpu, namespace: default}, spec: "
      "{devices: "
      "{requests: [{name: r, exactly: {deviceClassName: gpu, allocationMode: ExactCount, count: 1}}]}}}");
}

void put_claiming_pod(at_work& w, std::string_view name) {
  w.put(
      fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: {{schedulerName: "
                  "default-scheduler, containers: [{{name: c, image: x}}], resourceClaims: [{{name: g, "
                  "resourceClaimName: gpu}}]}}, status: {{phase: Pending}}}}",
                  name));
}

}  // namespace

TEST_CASE("scheduler: a claim has its devices before its pod has its node, and others may use it too") {
  at_work w;
  put_devices(w);
  put_claiming_pod(w, "a");  // before its claim: it isn't tried
  put_device_claim(w);
  REQUIRE(w.eventually([&] { return w.node_of("a") == "node-b"; }));
  auto claim = w.get(devices_key);
  CHECK(claim["metadata"]["finalizers"][0].as_string() == "resource.kubernetes.io/delete-protection");
  auto& allocation = claim["status"]["allocation"];
  CHECK(allocation["devices"]["results"][0]["device"].as_string() == "d0");
  CHECK(allocation["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].as_string() == "node-b");
  CHECK(allocation["allocationTimestamp"].is_string());
  CHECK(claim["status"]["reservedFor"][0]["uid"].as_string() == "uid-a");
  put_claiming_pod(w, "b");
  REQUIRE(w.eventually([&] { return w.node_of("b") == "node-b"; }));
  CHECK(w.get(devices_key)["status"]["reservedFor"].size() == 2);
}

TEST_CASE("scheduler: a pod that gets no devices is told why, and tried when there are some") {
  at_work w;
  put_device_claim(w);
  put_claiming_pod(w, "a");
  REQUIRE(w.eventually([&] { return w.condition_of("a")["status"].as_string() == "False"; }));
  CHECK(w.condition_of("a")["message"].as_string().starts_with(
      "0/2 nodes are available: request r: device class gpu does not exist."));
  put_devices(w);
  REQUIRE(w.eventually([&] { return w.node_of("a") == "node-b"; }));
}

TEST_CASE("scheduler: a pod waits for devices that are bound first, and is tried anew when one can't be") {
  at_work w;
  put_devices(w, ", bindingConditions: [ready], bindingFailureConditions: [broken]");
  put_device_claim(w);
  put_claiming_pod(w, "a");
  auto reserved = [&] { return w.get(devices_key)["status"]["reservedFor"].size() == 1; };
  REQUIRE(w.eventually(reserved));
  CHECK(w.node_of("a").empty());
  auto say = [&](std::string_view condition) {
    w.edit(devices_key, [&](json::value& c) {
      c.member("status").set(
          "devices",
          yaml(fmt::format("[{{driver: gpu.example.com, pool: node-b, device: d0, conditions: [{{type: {}, status: "
                           "'True', reason: R, message: m}}]}}]",
                           condition)));
    });
  };
  say("broken");
  REQUIRE(w.eventually([&] { return w.condition_of("a")["reason"].as_string() == "SchedulerError"; }));
  CHECK(w.condition_of("a")["message"].as_string() ==
        "running PreBind plugin \"DynamicResources\": device binding failed: claim=gpu, reason=R, message=\"m\"");
  // The devices are given back, and the same ones found again: nothing has said yet that they are broken.
  REQUIRE(w.eventually([&] { return reserved() && w.get(devices_key)["status"]["devices"].empty(); }));
  say("ready");
  REQUIRE(w.eventually([&] { return w.node_of("a") == "node-b"; }));
}

namespace {

void put_plain_pod(at_work& w, std::string_view name, std::string_view resources = "{}") {
  w.put(fmt::format(
      "{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: {{schedulerName: "
      "default-scheduler, containers: [{{name: c, image: x, resources: {}}}]}}, status: {{phase: Pending}}}}",
      name, resources));
}

}  // namespace

TEST_CASE("scheduler: attempts, waits and who waits are counted under kube-scheduler's names") {
  at_work w;
  put_claiming_pod(w, "waits");
  put_plain_pod(w, "p");
  put_plain_pod(w, "large", "{requests: {cpu: 100}}");
  REQUIRE(w.eventually([&] { return !w.node_of("p").empty() && w.condition_of("large").is_object(); }));
  const std::string attempts = "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=";
  CHECK(w.eventually([&] { return w.measured(attempts + "\"scheduled\"}") == attempts + "\"scheduled\"} 1"; }));
  CHECK(w.measured(attempts + "\"unschedulable\"}") == attempts + "\"unschedulable\"} 1");
  CHECK(w.eventually([&] { return w.measured("scheduler_pod_scheduling_attempts_count").ends_with(" 1"); }));
  CHECK(w.measured("scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"1\"}").ends_with(" 1"));
  CHECK(w.measured("scheduler_cache_size{type=\"nodes\"}").ends_with(" 2"));
  CHECK(w.eventually([&] { return w.measured("scheduler_pending_pods{queue=\"unschedulable\"}").ends_with(" 2"); }));
}

// ---- extended resources

namespace {

void put_resource_pod(at_work& w, std::string_view name, std::string_view resource, int count) {
  w.put(
      fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default}}, spec: {{schedulerName: "
                  "default-scheduler, containers: [{{name: c, image: x, resources: {{requests: {{{}: '{}'}}, limits: "
                  "{{{}: '{}'}}}}}}]}}, status: {{phase: Pending}}}}",
                  name, resource, count, resource, count));
}

void put_resource_class(at_work& w) {
  put_devices(w, "}, {name: d1");
  w.put(
      "{kind: DeviceClass, apiVersion: resource.k8s.io/v1, metadata: {name: gpu}, spec: {extendedResourceName: "
      "example.com/gpu}}");
}

}  // namespace

TEST_CASE("scheduler: an extended resource that a class stands for is given as devices, by a claim of the pod's own") {
  at_work w;
  put_resource_pod(w, "p", "example.com/gpu", 1);
  REQUIRE(w.eventually([&] { return w.condition_of("p")["status"].as_string() == "False"; }));
  CHECK(w.condition_of("p")["message"].as_string().starts_with(
      "0/2 nodes are available: 2 Insufficient example.com/gpu."));
  put_resource_class(w);
  REQUIRE(w.eventually([&] { return w.node_of("p") == "node-b"; }));
  auto claims = w.made_claims();
  REQUIRE(claims.size() == 1);
  auto& claim = claims[0];
  auto name = claim["metadata"]["name"].as_string();
  CHECK(name.starts_with("p-extended-resources-"));
  CHECK(claim["metadata"]["annotations"]["resource.kubernetes.io/extended-resource-claim"].as_string() == "true");
  CHECK(claim["metadata"]["ownerReferences"][0]["uid"].as_string() == "uid-p");
  CHECK(claim["metadata"]["finalizers"][0].as_string() == "resource.kubernetes.io/delete-protection");
  CHECK(claim["spec"]["devices"]["requests"][0]["name"].as_string() == "container-0-request-0");
  CHECK(claim["status"]["allocation"]["devices"]["results"][0]["request"].as_string() == "container-0-request-0");
  CHECK(claim["status"]["reservedFor"][0]["uid"].as_string() == "uid-p");
  CHECK(w.pod("p")["status"]["extendedResourceClaimStatus"] ==
        yaml(fmt::format("{{requestMappings: [{{containerName: c, resourceName: example.com/gpu, requestName: "
                         "container-0-request-0}}], resourceClaimName: {}}}",
                         name)));
  // By the class's own name; one is left, and then none.
  put_resource_pod(w, "q", "deviceclass.resource.kubernetes.io/gpu", 1);
  REQUIRE(w.eventually([&] { return w.node_of("q") == "node-b"; }));
  put_resource_pod(w, "r", "example.com/gpu", 1);
  REQUIRE(w.eventually([&] { return w.condition_of("r")["status"].as_string() == "False"; }));
  CHECK(
      w.condition_of("r")["message"].as_string().starts_with("0/2 nodes are available: 2 cannot allocate all claims."));
}

TEST_CASE("scheduler: a node that counts an extended resource itself gives it itself") {
  at_work w;
  put_resource_class(w);
  w.edit("/registry/minions/node-a",
         [](json::value& n) { n.member("status").member("allocatable").set("example.com/gpu", "1"); });
  put_resource_pod(w, "p", "example.com/gpu", 1);
  put_resource_pod(w, "q", "example.com/gpu", 1);
  REQUIRE(w.eventually([&] { return !w.node_of("p").empty() && !w.node_of("q").empty(); }));
  for (auto name : {"p", "q"}) {
    const bool by_plugin = w.node_of(name) == "node-a";
    CHECK(w.pod(name)["status"]["extendedResourceClaimStatus"].is_null() == by_plugin);
  }
}

TEST_CASE("scheduler: a claim that an earlier try left is removed, and its devices found anew") {
  at_work w;
  put_resource_class(w);
  w.put(
      "{kind: ResourceClaim, apiVersion: resource.k8s.io/v1, metadata: {name: p-extended-resources-x, namespace: "
      "default, annotations: {resource.kubernetes.io/extended-resource-claim: 'true'}, finalizers: "
      "[resource.kubernetes.io/delete-protection], ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: uid-p, "
      "controller: true}]}, spec: {devices: {requests: [{name: container-0-request-0, exactly: {deviceClassName: gpu, "
      "allocationMode: ExactCount, count: 2}}]}}, status: {allocation: {devices: {results: [{request: "
      "container-0-request-0, driver: gpu.example.com, pool: node-b, device: d0}, {request: container-0-request-0, "
      "driver: gpu.example.com, pool: node-b, device: d1}]}}, reservedFor: [{resource: pods, name: p, uid: uid-p}]}}");
  put_resource_pod(w, "p", "example.com/gpu", 2);
  REQUIRE(w.eventually([&] { return w.node_of("p") == "node-b"; }));
  auto claims = w.made_claims();
  REQUIRE(claims.size() == 1);
  CHECK(claims[0]["metadata"]["name"].as_string() != "p-extended-resources-x");
}

TEST_CASE("scheduler: a claim that a pod names twice is one claim") {
  at_work w;
  put_devices(w);
  put_device_claim(w);
  put_claiming_pod(w, "a");
  w.edit("/registry/pods/default/a", [](json::value& p) {
    p.member("spec").member("resourceClaims").push_back(yaml("{name: h, resourceClaimName: gpu}"));
  });
  REQUIRE(w.eventually([&] { return w.node_of("a") == "node-b"; }));
  CHECK(w.get(devices_key)["status"]["allocation"]["devices"]["results"].size() == 1);
  CHECK(w.get(devices_key)["status"]["reservedFor"].size() == 1);
}

// ---- extenders

TEST_CASE("scheduler: extenders say which nodes are left, and which of them is the best") {
  fake_extender one;
  one.answer = [&](std::string path, const json::value& q) -> std::optional<std::string> {
    CHECK(q["Pod"]["metadata"]["name"].is_string());
    if (path == "/x/filter") {
      CHECK(q["NodeNames"].is_null());
      CHECK(q["Nodes"]["items"].size() == 2);
      CHECK(q["Nodes"]["items"][0]["status"]["allocatable"]["cpu"].as_string() == "4");
      return R"({"nodes":{"items":[{"metadata":{"name":"node-a"}},{"metadata":{"name":"node-b"}}]}})";
    }
    return R"([{"Host":"node-a","Score":1},{"host":"node-b","score":10}])";
  };
  at_work w(&one, "{urlPrefix: URL/x/, filterVerb: filter, prioritizeVerb: best, weight: 5}");
  for (auto name : {"p", "q", "r", "s"}) put_plain_pod(w, name);
  for (auto name : {"p", "q", "r", "s"}) REQUIRE(w.eventually([&] { return w.node_of(name) == "node-b"; }));
  CHECK(std::ranges::count(one.asked, "/x/best") == 4);
}

TEST_CASE("scheduler: what extenders refuse is told in their words, and tried again when something happens") {
  fake_extender one;
  bool takes = false;
  one.answer = [&](std::string, const json::value& q) -> std::optional<std::string> {
    CHECK(q["Nodes"].is_null());
    CHECK(q["NodeNames"].size() > 0);
    return takes
               ? R"({"NodeNames":["node-a"]})"
               : R"({"NodeNames":[],"FailedNodes":{"node-a":"is full"},"FailedAndUnresolvableNodes":{"node-b":"is old"}})";
  };
  at_work w(&one, "{urlPrefix: URL, filterVerb: f, nodeCacheCapable: true}");
  put_plain_pod(w, "p");
  REQUIRE(w.eventually([&] { return w.condition_of("p")["status"].as_string() == "False"; }));
  CHECK(w.condition_of("p")["reason"].as_string() == "Unschedulable");
  CHECK(w.condition_of("p")["message"].as_string().starts_with("0/2 nodes are available: 1 is full, 1 is old."));
  takes = true;
  w.edit("/registry/minions/node-a", [](json::value& n) { n.member("metadata").member("labels").set("new", "yes"); });
  REQUIRE(w.eventually([&] { return w.node_of("p") == "node-a"; }));
}

TEST_CASE("scheduler: an extender that hangs or fails holds up nobody whom it isn't asked about") {
  fake_extender one;
  one.answer = [&](std::string, const json::value&) { return std::nullopt; };
  at_work w(&one,
            "{urlPrefix: URL, filterVerb: f, httpTimeout: 300ms, managedResources: [{name: example.com/foo, "
            "ignoredByScheduler: true}]}");
  for (int i = 0; i < 40; ++i)
    put_plain_pod(w, fmt::format("waits-{}", i), "{requests: {example.com/foo: 1}, limits: {example.com/foo: 1}}");
  put_plain_pod(w, "free");
  REQUIRE(w.eventually([&] { return !w.node_of("free").empty(); }));
  for (int i = 0; i < 40; ++i) CHECK(w.node_of(fmt::format("waits-{}", i)).empty());
  REQUIRE(w.eventually([&] { return w.condition_of("waits-0")["reason"].as_string() == "SchedulerError"; }));
  CHECK(w.condition_of("waits-0")["message"].as_string().ends_with(
      "/f\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"));
  // Then it answers, with another error, and at last well.
  one.answer = [&](std::string, const json::value&) { return std::optional<std::string>(R"({"Error":"no mood"})"); };
  REQUIRE(w.eventually([&] { return w.condition_of("waits-0")["message"].as_string() == "no mood"; }));
  one.answer = [&](std::string, const json::value& q) {
    return std::optional<std::string>(fmt::format(R"({{"Nodes":{}}})", json::write(q["Nodes"])));
  };
  REQUIRE(w.eventually([&] { return !w.node_of("waits-0").empty(); }));
}

TEST_CASE("scheduler: who may be ignored is left out, and who binds gives the pod its node") {
  fake_extender one;
  at_work* there = nullptr;
  one.answer = [&](std::string path, const json::value& q) -> std::optional<std::string> {
    if (path != "/bind") return "no JSON at all";
    CHECK(q["PodUID"].as_string() == "uid-p");
    CHECK(q["PodNamespace"].as_string() == "default");
    there->bind_later(std::string(q["PodName"].as_string()), std::string(q["Node"].as_string()));
    return "{}";
  };
  at_work w(&one, "{urlPrefix: URL, filterVerb: f, ignorable: true}, {urlPrefix: URL, bindVerb: bind}");
  there = &w;
  put_plain_pod(w, "p");
  REQUIRE(w.eventually([&] { return std::ranges::count(one.asked, "/bind") == 1; }));
  CHECK(w.node_of("p").empty());
  w.bind_now();
  CHECK(!w.node_of("p").empty());
  CHECK(std::ranges::count(one.asked, "/f") == 1);
}
