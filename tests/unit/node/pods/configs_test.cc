#include "node/pods/configs.h"

#include <doctest/doctest.h>

#include "make.h"
#include "node/pods/admit.h"
#include "node/pods/images.h"
#include "node/pods/static_pods.h"

namespace kedge::node {

namespace {

pod_settings settings() {
  pod_settings s;
  s.node = {.name = "n1",
            .host_ips = {"192.0.2.1"},
            .allocatable = json::object{{"cpu", "2"}, {"memory", "1Gi"}, {"pods", "110"}}};
  s.cluster_dns = {"10.43.0.10"};
  s.host_dns = {.servers = {"192.0.2.53"}, .searches = {"example.org"}, .options = {}};
  s.memory_bytes = 1'000'000;
  return s;
}

std::string value_of(const variables& v, std::string_view name) {
  auto* found = v.find(name);
  return found ? *found : "(none)";
}

}  // namespace

TEST_CASE("references in text: known, unknown, escaped, unfinished") {
  variables env;
  env.set("A", "1");
  struct row {
    std::string_view text, expanded;
  };
  for (auto& r :
       {row{"$(A)", "1"}, row{"x$(A)y$(A)", "x1y1"}, row{"$(B)", "$(B)"}, row{"$$(A)", "$(A)"}, row{"$$$(A)", "$1"},
        row{"$(A", "$(A"}, row{"$A", "$A"}, row{"$", "$"}, row{"$()", "$()"}, row{"", ""}})
    CHECK(expand(r.text, env) == r.expanded);
}

TEST_CASE("the environment: sources in order, each may use those before it") {
  auto pod = make_pod(R"({"serviceAccountName": "sa", "containers": [{"name": "c"}]})");
  pod.member("metadata").set("labels", json::object{{"app", "web"}});
  pod_objects objects;
  objects.config_maps["cm"] = json::object{{"data", json::object{{"k", "v"}, {"A", "of the map"}}}};
  objects.secrets["s"] = json::object{{"data", json::object{{"p", "aHVzaA=="}}}};
  objects.services = {*json::parse(
      R"({"metadata": {"name": "my-db", "namespace": "ns"}, "spec": {"clusterIP": "10.43.0.7", "ports": [{"name": "sql", "port": 5432}]}})")};
  auto container = *json::parse(
      R"json({"name": "c", "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}, {"configMapRef": {"name": "gone", "optional": true}}],
    "env": [{"name": "A", "value": "x"}, {"name": "B", "value": "$(A)-$(P_k)-$(MY_DB_SERVICE_HOST)-$(C)"}, {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}, {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
            {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}, {"name": "G", "valueFrom": {"secretKeyRef": {"name": "s", "key": "q", "optional": true}}}]})json");
  auto env = make_environment(pod, container, objects, {"10.42.0.9", "fd00::9"}, settings().node);
  REQUIRE(env);
  CHECK(value_of(*env, "P_k") == "v");
  CHECK(value_of(*env, "B") == "x-v-10.43.0.7-$(C)");
  CHECK(value_of(*env, "C") == "hush");
  CHECK(value_of(*env, "D") == "web");
  CHECK(value_of(*env, "E") == "10.42.0.9,fd00::9");
  CHECK(value_of(*env, "F") == "2");
  CHECK(value_of(*env, "G") == "(none)");
  CHECK(value_of(*env, "MY_DB_PORT_5432_TCP_ADDR") == "10.43.0.7");
  CHECK(value_of(*env, "MY_DB_SERVICE_PORT_SQL") == "5432");
  pod.member("spec").set("enableServiceLinks", false);
  CHECK(value_of(*make_environment(pod, container, objects, {}, settings().node), "MY_DB_SERVICE_HOST") == "(none)");
}

TEST_CASE("what an environment needs and isn't there is named as the kubelet names it") {
  auto problem = [](std::string_view from) {
    auto container = *json::parse(std::string(R"({"env": [{"name": "A", "valueFrom": )") + std::string(from) + "}]}");
    pod_objects objects;
    objects.config_maps["there"] = json::object{{"data", json::object{}}};
    auto env = make_environment(make_pod("{}"), container, objects, {}, settings().node);
    return env ? std::string() : env.error().message;
  };
  CHECK(problem(R"({"configMapKeyRef": {"name": "no", "key": "k"}})") == "configmap \"no\" not found");
  CHECK(problem(R"({"secretKeyRef": {"name": "no", "key": "k"}})") == "secret \"no\" not found");
  CHECK(problem(R"({"configMapKeyRef": {"name": "there", "key": "k"}})") ==
        "couldn't find key k in ConfigMap ns/there");
}

TEST_CASE("names of pods as hosts") {
  auto s = settings();
  CHECK(hostname_of(make_pod("{}")) == "p");
  CHECK(hostname_of(make_pod(R"({"hostname": "h"})")) == "h");
  CHECK(domain_of(make_pod(R"({"subdomain": "sub"})"), s) == "sub.ns.svc.cluster.local");
  auto pod =
      make_pod(R"({"hostname": "h", "subdomain": "sub", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]})");
  auto text = hosts_file(pod, {"10.42.0.9"}, s, "");
  CHECK(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
  CHECK(text.contains("\n10.42.0.9\th.sub.ns.svc.cluster.local\th\n"));
  CHECK(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
  CHECK(hosts_file(make_pod(R"({"hostNetwork": true})"), {}, s, "own\n") ==
        "# Kubernetes-managed hosts file (host network).\nown\n");
  CHECK(make_sandbox_config(make_pod(R"({"hostNetwork": true})"), s, 0).hostname.empty());
}

TEST_CASE("resolvers by policy") {
  auto s = settings();
  using list = std::vector<std::string>;
  auto cluster = dns_of(make_pod("{}"), s);
  CHECK(cluster.servers == list{"10.43.0.10"});
  CHECK(cluster.searches == list{"ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"});
  CHECK(cluster.options == list{"ndots:5"});
  CHECK(dns_of(make_pod(R"({"hostNetwork": true})"), s).servers == list{"192.0.2.53"});
  CHECK(dns_of(make_pod(R"({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true})"), s).servers ==
        list{"10.43.0.10"});
  auto own = dns_of(
      make_pod(
          R"({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}})"),
      s);
  CHECK(own.servers == list{"9.9.9.9"});
  CHECK(own.options == list{"ndots:2", "edns0"});
  auto file = parse_resolv_conf("# c\nnameserver 1.1.1.1\nsearch a b\nsearch c\noptions ndots:1 timeout:2\n");
  CHECK(file.searches == list{"c"});
  CHECK(file.options == list{"ndots:1", "timeout:2"});
}

TEST_CASE("resources become shares, quotas and scores; users are checked") {
  auto pod = make_pod(
      R"({"containers": [{"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "500k"}, "limits": {"cpu": "500m"}}}]})");
  auto& spec = pod["spec"]["containers"][0];
  variables env;
  image_info image{.id = "sha256:1", .digests = {}, .size_bytes = 1, .uid = 0, .username = {}};
  auto c = make_container_config(
      pod, spec, {.env = env, .image = image, .image_ref = image.id, .mounts = {}, .process_target = {}}, settings());
  REQUIRE(c);
  CHECK(c->resources.cpu_shares == 256);
  CHECK(c->resources.cpu_quota == 50'000);
  CHECK(c->resources.oom_score_adj == 500);
  CHECK(c->log_path == "a/0.log");
  CHECK(cgroup_parent(pod) == "/kubepods/burstable/podu1");
  auto careful = make_pod(R"({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "a"}]})");
  auto refused = make_container_config(
      careful, careful["spec"]["containers"][0],
      {.env = env, .image = image, .image_ref = image.id, .mounts = {}, .process_target = {}}, settings());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message ==
        "container has runAsNonRoot and image will run as root (pod: \"p_ns(u1)\", container: a)");
}

TEST_CASE("a pod that doesn't fit isn't admitted") {
  auto s = settings();
  auto other = std::make_shared<const json::value>(make_pod(
      R"({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1500m"}}, "ports": [{"containerPort": 80, "hostPort": 80}]}]})"));
  CHECK_FALSE(why_not_admitted(*other, {}, s));
  auto big = why_not_admitted(*other, {other}, s);
  REQUIRE(big);
  CHECK(big->reason == "OutOfcpu");
  CHECK(big->message == "Node didn't have enough resource: cpu, requested: 1500, used: 1500, capacity: 2000");
  auto port = why_not_admitted(
      make_pod(
          R"({"containers": [{"name": "a", "ports": [{"containerPort": 8080, "hostPort": 80, "hostIP": "10.0.0.1"}]}]})"),
      {other}, s);
  REQUIRE(port);
  CHECK(port->reason == "NodePorts");
  auto sysctl = why_not_admitted(
      make_pod(
          R"({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}, {"name": "kernel/msgmax", "value": "1"}]}})"),
      {}, s);
  REQUIRE(sysctl);
  CHECK(sysctl->reason == "SysctlForbidden");
  CHECK(sysctl->message == "forbidden sysctl: \"kernel.msgmax\" not allowlisted");
  s.unsafe_sysctls = {"kernel.msg*"};
  CHECK_FALSE(why_not_admitted(
      make_pod(R"({"securityContext": {"sysctls": [{"name": "kernel/msgmax", "value": "1"}]}})"), {}, s));
  CHECK(why_not_admitted(make_pod(R"({"nodeSelector": {"a": "b"}})"), {}, s)->reason == "NodeAffinity");
}

TEST_CASE("a manifest's pod has the node's name, a uid by its content, and what the API would have filled in") {
  auto read = [](std::string_view text) { return static_pod(*json::parse(text), "/m/own.yaml", "n1"); };
  auto pod = read(
      R"({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": {"containers": [{"name": "a", "image": "i:1"}]}})");
  REQUIRE(pod);
  CHECK((*pod)["metadata"]["name"].as_string() == "own-n1");
  CHECK((*pod)["metadata"]["namespace"].as_string() == "default");
  CHECK((*pod)["spec"]["restartPolicy"].as_string() == "Always");
  CHECK((*pod)["spec"]["containers"][0]["imagePullPolicy"].as_string() == "IfNotPresent");
  auto other = read(
      R"({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": {"containers": [{"name": "a", "image": "i:2"}]}})");
  CHECK((*pod)["metadata"]["uid"] != (*other)["metadata"]["uid"]);
  auto mirror = mirror_of(*pod, json::object{{"metadata", json::object{{"name", "n1"}, {"uid", "u"}}}});
  CHECK(is_mirror(mirror));
  CHECK_FALSE(is_mirror(*pod));
  CHECK(mirror["metadata"]["annotations"][note_config_mirror] == (*pod)["metadata"]["uid"]);
  for (std::string_view wrong :
       {R"({"kind": "Deployment"})",
        R"({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}})",
        R"({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "a"}]}})"})
    CHECK_FALSE(read(wrong));
}

TEST_CASE("images get a tag, and the credentials of their registry") {
  CHECK(with_tag("busybox") == "busybox:latest");
  CHECK(with_tag("host:5000/busybox") == "host:5000/busybox:latest");
  CHECK(with_tag("busybox:1") == "busybox:1");
  CHECK(with_tag("a/b@sha256:00") == "a/b@sha256:00");
  // {"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "reg.example/team": {"username": "t", "password": "q"},
  // "reg.example": {"username": "r"}}}
  json::value secret(json::object{
      {"type", "kubernetes.io/dockerconfigjson"},
      {"data",
       json::object{
           {".dockerconfigjson",
            "eyJhdXRocyI6IHsiaHR0cHM6Ly9pbmRleC5kb2NrZXIuaW8vdjEvIjogeyJhdXRoIjogImRUcHcifSwgInJlZy5leGFtcGxlL3RlYW0iOi"
            "B7InVzZXJuYW1lIjogInQiLCAicGFzc3dvcmQiOiAicSJ9LCAicmVnLmV4YW1wbGUiOiB7InVzZXJuYW1lIjogInIifX19"}}}});
  auto hub = credentials_for("busybox", {secret});
  REQUIRE(hub.size() == 1);
  CHECK(hub[0].username == "u");
  CHECK(hub[0].password == "p");
  auto team = credentials_for("reg.example/team/x", {secret});
  REQUIRE(team.size() == 2);
  CHECK(team[0].username == "t");
  CHECK(credentials_for("other.example/x", {secret}).empty());
}

}  // namespace kedge::node
