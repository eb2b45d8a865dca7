#include "cli/options_load.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "base/strings.h"
#include "cli/config_check.h"
#include "json/write.h"

#include "temporary.h"

using namespace kedge;
using namespace kedge::cli;
using words = std::vector<std::string>;

namespace {

// A machine whose configuration file is the folder's.
machine some_machine(const temporary_folder& folder, std::vector<std::pair<std::string, std::string>> more = {}) {
  more.emplace_back("K3S_CONFIG_FILE", folder.path + "/config.yaml");
  more.emplace_back("HOME", "/home/eve");
  return {.environment = std::move(more), .host_name = "Edge-7", .root = true};
}

}  // namespace

TEST_CASE("flags win over environment over file; lists gather") {
  const temporary_folder folder;
  folder.write("config.yaml",
               "write-kubeconfig-mode: \"0640\"\nwrite-kubeconfig-name: file\ncluster-domain: file.local\n"
               "node-label:\n  - a=1\ncluster-cidr: 10.1.0.0/16\n");
  const auto here =
      some_machine(folder, {{"K3S_KUBECONFIG_NAME", "env"}, {"K3S_KUBECONFIG_MODE", "0644"}, {"K3S_NODE_NAME", ""}});
  const auto loaded =
      load_options(audience::server, words{"--node-label", "b=2", "--write-kubeconfig-mode=0600"}, here);
  REQUIRE(loaded);
  const auto& o = loaded->options;
  CHECK(o.write_kubeconfig_mode.bits == 0600);
  CHECK(o.write_kubeconfig_name == "env");
  CHECK(o.cluster_domain == "file.local");
  CHECK(o.agent.node_labels == words{"a=1", "b=2"});
  CHECK(o.cluster_cidr == words{"10.1.0.0/16"});  // a given list replaces the default
  CHECK(o.service_cidr == words{"10.43.0.0/16"});
  CHECK(o.agent.node_name == "edge-7");
  CHECK(o.agent.data_dir == "/var/lib/rancher/k3s");
  CHECK(loaded->warnings.empty());
  CHECK(o.agent.node_args == words{"server", "--write-kubeconfig-mode", "0640", "--write-kubeconfig-name", "file",
                                   "--cluster-domain", "file.local", "--node-label", "a=1", "--cluster-cidr",
                                   "10.1.0.0/16", "--node-label", "b=2", "--write-kubeconfig-mode", "0600"});
}

TEST_CASE("keys that a server doesn't know warn, and stop an agent") {
  const temporary_folder folder;
  folder.write("config.yaml", "debug: true\ntls-sam: x\n");
  const auto server = load_options(audience::server, {}, some_machine(folder));
  REQUIRE(server);
  REQUIRE(server->warnings.size() == 1);
  CHECK(server->warnings[0] ==
        folder.path + "/config.yaml:2: tls-sam: unknown flag --tls-sam; did you mean --tls-san?");
  CHECK(server->options.agent.debug);
  const auto agent = load_options(audience::agent, words{"-s", "https://h:6443", "-t", "x"}, some_machine(folder));
  REQUIRE(!agent);
  CHECK(agent.error().message.find("config.yaml:2") != std::string::npos);
}

TEST_CASE("a wrong value in the file names file and line") {
  const temporary_folder folder;
  folder.write("config.yaml", "debug: true\nhttps-listen-port: many\n");
  CHECK(load_options(audience::server, {}, some_machine(folder)).error().message ==
        folder.path + "/config.yaml:2: https-listen-port: \"many\" is not a port (1-65535)");
  folder.write("config.yaml", "data-dir:\n  - /a\n  - /b\n");
  CHECK(load_options(audience::server, {}, some_machine(folder)).error().message ==
        folder.path + "/config.yaml:3: data-dir takes one value, not a list");
}

TEST_CASE("an agent needs a server and a token, from wherever they come") {
  const temporary_folder folder;
  CHECK(load_options(audience::agent, {}, some_machine(folder))
            .error()
            .message.starts_with("--server (or K3S_URL) is required"));
  CHECK(load_options(audience::agent, words{"--server=https://h:6443/"}, some_machine(folder))
            .error()
            .message.starts_with("--token (or K3S_TOKEN, --token-file) is required"));
  const auto file = folder.write("token", "  s3cret \nmore\n");
  const auto here = some_machine(folder, {{"K3S_URL", "https://h:6443/"}, {"K3S_TOKEN_FILE", file}});
  const auto loaded = load_options(audience::agent, {}, here);
  REQUIRE(loaded);
  CHECK(loaded->options.agent.token == "s3cret");
  CHECK(loaded->options.agent.server_url == "https://h:6443");
  folder.write("token", "\n");
  CHECK(load_options(audience::agent, {}, here).error().message ==
        "--token-file: " + file + " has no token in its first line");
}

TEST_CASE("an etcd of the cluster's own is begun, joined, reset or done without, one at a time") {
  const temporary_folder folder;
  struct row {
    words given;
    std::string_view said;  // empty: it is right
  };
  const words joins{"--server=https://h:6443", "--token=x"};
  auto with = [](words a, const words& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  for (auto& r :
       {row{{"--cluster-init"}, ""}, row{{"--cluster-init", "--datastore-endpoint=https://e:2379"}, "two datastores"},
        row{{"--cluster-reset"}, ""}, row{{"--cluster-reset-restore-path=/f"}, "only with --cluster-reset"},
        row{with({"--cluster-reset"}, joins), "leave --server away"}, row{with({"--disable-etcd"}, joins), ""},
        row{{"--disable-etcd"}, "needs --server"}, row{with({"--disable-etcd", "--cluster-init"}, joins), "wants none"},
        row{with({"--disable-etcd", "--datastore-endpoint=https://e:2379"}, joins), "another datastore"},
        row{{"--disable-apiserver"}, "every Kedge server serves the API"}}) {
    CAPTURE(fmt::format("{}", fmt::join(r.given, " ")));
    auto loaded = load_options(audience::server, r.given, some_machine(folder));
    CHECK(loaded.has_value() == r.said.empty());
    if (!loaded) CHECK_MESSAGE(loaded.error().message.find(r.said) != std::string::npos, loaded.error().message);
  }
}

TEST_CASE("the data directory is absolute, and an ordinary user's lies at home") {
  const temporary_folder folder;
  auto here = some_machine(folder);
  CHECK(load_options(audience::server, words{"-d", "/a/../b/"}, here)->options.agent.data_dir == "/b");
  here.root = false;
  CHECK(load_options(audience::server, {}, here)->options.agent.data_dir == "/home/eve/.rancher/k3s");
}

TEST_CASE("words that are no flags are named") {
  const temporary_folder folder;
  CHECK(load_options(audience::server, words{"--debug", "false"}, some_machine(folder)).error().message ==
        "unexpected argument \"false\"; kedge server takes flags only");
  CHECK(load_options(audience::server, words{"--server=https://h:1"}, some_machine(folder))
            .error()
            .message.starts_with("--server needs --token"));
  CHECK(load_options(audience::server, words{"--help", "--nonsense"}, some_machine(folder))->help);
}

TEST_CASE("kube-apiserver's settings are read; unknown ones warn") {
  words warnings;
  const auto read =
      read_api_server_arguments(words{"disable-admission-plugins=A,B", "disable-admission-plugins+=C",
                                      "disable-admission-plugins-=Z", "event-ttl=2h", "--audit-log-path=/var/log/audit",
                                      "audit-log-maxsize=5", "anonymous-auth=true", "feature-gates=X=true"},
                                warnings);
  REQUIRE(read);
  CHECK(read->disable_admission_plugins == words{"Z", "A", "B", "C"});
  CHECK(read->event_ttl == std::chrono::hours(2));
  CHECK(read->audit_log_path == "/var/log/audit");
  CHECK(read->audit_log_max_size_mib == 5);
  CHECK(read->anonymous_auth);
  CHECK(warnings == words{"--kube-apiserver-arg=event-ttl has no effect: Kedge keeps events for an hour",
                          "--kube-apiserver-arg=feature-gates has no effect: Kedge does not know this setting"});
  CHECK(read_api_server_arguments(words{"event-ttl=x"}, warnings).error().message ==
        "--kube-apiserver-arg=event-ttl: \"x\" is not a duration such as 1h30m");
  CHECK(!read_api_server_arguments(words{"tls-min-version=VersionTLS10"}, warnings));
}

TEST_CASE("ranges: one of each family at most, and such as go together") {
  const temporary_folder folder;
  auto load = [&](words flags) { return load_options(audience::server, flags, some_machine(folder)); };
  CHECK(load({"--service-cidr", "10.99.0.0/16"}));
  CHECK(load({"--cluster-cidr", "10.98.0.0/16,fd00:98::/56", "--service-cidr", "10.99.0.0/16,fd00:99::/112"}));
  CHECK(load({"--cluster-cidr", "fd00:98::/56,10.98.0.0/16", "--service-cidr", "fd00:99::/112"}));
  CHECK(load({"--cluster-cidr", "fd00:98::/56", "--service-cidr", "fd00:99::/112"}));
  struct row {
    words flags;
    std::string message;
  };
  for (auto& r :
       {row{{"--cluster-cidr", "10.99.0.0/16,10.98.0.0/16"},
            "--cluster-cidr \"10.99.0.0/16,10.98.0.0/16\": two ranges have to be of different families, one "
            "IPv4 and one IPv6"},
        row{{"--service-cidr", "10.9.0.0/16,fd00::/112,10.8.0.0/16"},
            "--service-cidr \"10.9.0.0/16,fd00::/112,10.8.0.0/16\": at most two ranges can be given, one IPv4 "
            "and one IPv6"},
        row{{"--service-cidr", "fd00:99::/112"},
            "--service-cidr \"fd00:99::/112\": --cluster-cidr has no range of that family for the pods behind "
            "such addresses"},
        row{{"--cluster-cidr", "fd00:98::/56", "--service-cidr", "fd00:99::/48"},
            "--service-cidr \"fd00:99::/48\": a prefix of /64 to /126 is wanted"},
        row{{"--service-cidr", "10.0.0.0/31"}, "--service-cidr \"10.0.0.0/31\": a prefix of at most /30 is wanted"},
        row{{"--advertise-address", "fd00::1"},
            "--advertise-address fd00::1 and the first range of --service-cidr, 10.43.0.0/16, have to be of one "
            "family"}}) {
    const auto refused = load(r.flags);
    REQUIRE(!refused);
    CHECK(refused.error().message == r.message);
  }
}

TEST_CASE("the kubelet's settings are read; those without a meaning here warn, and others are errors") {
  const temporary_folder folder;
  const auto loaded =
      load_options(audience::server,
                   words{"--kubelet-arg=max-pods=50", "--kubelet-arg", "--port=10300",
                         "--kubelet-arg=qos-reserved=memory=50%", "--kube-apiserver-arg=event-ttl=2h",
                         "--kubelet-arg=serialize-image-pulls=true", "--kubelet-arg=feature-gates=Other=true"},
                   some_machine(folder));
  REQUIRE(loaded);
  CHECK(loaded->options.agent.kubelet.port == 10300);
  CHECK(loaded->options.agent.kubelet.pods_max == 50);
  CHECK(loaded->options.agent.kubelet.pulls_at_once == 1);
  CHECK(loaded->warnings == words{"--kube-apiserver-arg=event-ttl has no effect: Kedge keeps events for an hour",
                                  "--kubelet-arg=qos-reserved has no effect: Kedge's node doesn't do this yet",
                                  "the kubelet's feature gate Other has no effect: Kedge's node has none for it"});
  struct {
    const char *argument, *message;
  } wrong[] = {
      {"port=x", "--kubelet-arg=port: \"x\" is not a number from 1 to 65535"},
      {"container-log-max-files=1",
       "--kubelet-arg=container-log-max-files: \"1\" is not a number from 2 to 2147483647"},
      {"node-status-update-frequency=1ms", "--kubelet-arg=node-status-update-frequency: \"1ms\" is less than 100ms"},
      {"system-reserved=disk=1",
       "--kubelet-arg=system-reserved: \"disk=1\" is not cpu, memory, ephemeral-storage or pid with an amount"},
      {"max-podz=1", "--kubelet-arg: the kubelet knows no \"max-podz\""},
      {"allowed-unsafe-sysctls=vm.swappiness",
       "--kubelet-arg=allowed-unsafe-sysctls: the sysctls \"vm.swappiness\" are not known to be namespaced"},
      {"feature-gates=X", "--kubelet-arg=feature-gates: missing bool value for feature gate \"X\""},
  };
  for (auto& w : wrong) {
    const auto refused =
        load_options(audience::server, words{std::string("--kubelet-arg=") + w.argument}, some_machine(folder));
    REQUIRE(!refused);
    CHECK(refused.error().message == w.message);
  }
}

TEST_CASE("files of the kubelet's configuration are read before its flags, and a fault is told with its file") {
  const temporary_folder folder;
  auto here = some_machine(folder);
  const auto data = folder.path + "/data";
  const std::string head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
  const auto one =
      folder.write("kubelet.yaml", head + "maxPods: 20\ncontainerLogMaxSize: 1Mi\nclusterDNS: [10.0.0.1, 10.0.0.2]\n");
  folder.write("data/agent/etc/kubelet.conf.d/50-own.conf",
               head + "maxPods: 30\nsystemReserved: {cpu: 250m, memory: 1Gi}\nsyncFrequency: 1m\n");
  folder.write("data/agent/etc/kubelet.conf.d/00-k3s-defaults.conf", head + "nobodyKnows: 1\n");
  folder.write("data/agent/etc/kubelet.conf.d/README", "no configuration");
  const words told = {"--data-dir", data, "--kubelet-arg=config=" + one};
  auto loaded = load_options(audience::server, told, here);
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  auto& k = loaded->options.agent.kubelet;
  CHECK(k.pods_max == 30);
  CHECK(k.log_bytes_max == 1024 * 1024);
  CHECK(k.cluster_dns == words{"10.0.0.1", "10.0.0.2"});
  CHECK(k.system_reserved.at("cpu").milli_value() == 250);
  CHECK(loaded->warnings ==
        words{"syncFrequency in " + data +
              "/agent/etc/kubelet.conf.d/50-own.conf has no effect: it tunes the kubelet's own insides"});
  auto with_flag = told;
  with_flag.push_back("--kubelet-arg=max-pods=40");
  CHECK(load_options(audience::server, with_flag, here)->options.agent.kubelet.pods_max == 40);
  struct {
    const char *text, *why;
  } wrong[] = {{"maxPods: many\n", "maxPods: \"many\" is not a number from 0 to 2147483647"},
               {"maxPodz: 1\n", "the kubelet knows no \"maxPodz\""}};
  for (auto& w : wrong) {
    folder.write("kubelet.yaml", head + w.text);
    auto refused = load_options(audience::server, told, here);
    REQUIRE(!refused);
    CHECK(refused.error().message == one + ":3: " + w.why);
  }
  folder.write("kubelet.yaml", head + "registerWithTaints: [{key: a, value: b, effect: NoSchedule}]\n" +
                                   "serializeImagePulls: false\nmaxParallelImagePulls: 3\nregistryPullQPS: 2\n"
                                   "seccompDefault: true\nallowedUnsafeSysctls: ['kernel.msg*']\npodsPerCore: 10\n"
                                   "featureGates: {ContainerCheckpoint: false}\n");
  auto more = load_options(audience::server, told, here);
  REQUIRE_MESSAGE(more, more.error().message);
  auto& m = more->options.agent.kubelet;
  CHECK(m.taints == words{"a=b:NoSchedule"});
  CHECK(m.pulls_at_once == 3);
  CHECK(m.pulls_a_second == 2);
  CHECK(m.seccomp_default);
  CHECK(m.unsafe_sysctls == words{"kernel.msg*"});
  CHECK(node::pods_max_of(m, 2) == 20);
  auto countless = m;
  countless.pods_per_cpu = std::numeric_limits<int>::max();
  CHECK(node::pods_max_of(countless, 4) == countless.pods_max);
  CHECK(!m.checkpoints);
  folder.write("kubelet.yaml", "kind: Pod\n");
  CHECK(load_options(audience::server, told, here).error().message ==
        one + ": it is no KubeletConfiguration of kubelet.config.k8s.io/v1beta1");
}

TEST_CASE("the kubelet's settings that mean something only together are checked together") {
  const temporary_folder folder;
  const std::string head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
  const auto file = folder.path + "/kubelet.yaml";
  auto load = [&](std::string_view text) {
    folder.write("kubelet.yaml", head + std::string(text));
    return load_options(audience::server, words{"--kubelet-arg=config=" + file}, some_machine(folder));
  };
  for (auto* both : {"serializeImagePulls: true\nmaxParallelImagePulls: 5\n",
                     "maxParallelImagePulls: 5\nserializeImagePulls: true\n"}) {
    auto refused = load(both);
    REQUIRE(!refused);
    CHECK(refused.error().message.contains("maxParallelImagePulls cannot be larger than 1"));
  }
  CHECK(load("registryBurst: 0\n")->options.agent.kubelet.pulls_burst == 10);
  auto loaded = load(
      "shutdownGracePeriod: 30s\nshutdownGracePeriodCriticalPods: 10s\npodPidsLimit: 99\n"
      "memorySwap: {swapBehavior: LimitedSwap}\nmemoryThrottlingFactor: 0.8\nsingleProcessOOMKill: true\n"
      "memoryReservationPolicy: TieredReservation\nsystemReserved: {cpu: 100m}\nsystemReservedCgroup: /system\n"
      "enforceNodeAllocatable: [pods, system-reserved, kube-reserved-compressible]\nkubeReservedCgroup: kube\n"
      "cpuManagerPolicy: static\ncpuManagerPolicyOptions: {full-pcpus-only: \"true\"}\n"
      "memoryManagerPolicy: Static\nreservedMemory:\n- {numaNode: 0, limits: {memory: 1Gi}}\n"
      "- {numaNode: 1, limits: {memory: 1Gi, hugepages-2Mi: 64Mi}}\ntopologyManagerPolicy: single-numa-node\n"
      "topologyManagerScope: pod\nuserNamespaces: {idsPerPod: 131072}\ntopologyManagerPolicyOptions: "
      "{prefer-closest-numa-nodes: \"true\", max-allowable-numa-nodes: \"9\"}\n");
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  CHECK(loaded->warnings.empty());
  auto& k = loaded->options.agent.kubelet;
  REQUIRE(k.shutdown.size() == 2);
  CHECK(k.shutdown[0].seconds == 20);
  CHECK(k.shutdown[1].seconds == 10);
  CHECK(k.shutdown[1].priority == 2'000'000'000);
  CHECK(k.pod_processes_max == 99);
  CHECK(k.limited_swap);
  CHECK(k.memory_throttling_factor == 0.8);
  CHECK(k.single_process_oom_kill == true);
  CHECK(k.tiered_memory_reservation);
  CHECK(k.enforced.system == node::enforcement::kept::all);
  CHECK(k.enforced.kube == node::enforcement::kept::compressible);
  CHECK(k.cpus.is_static);
  CHECK(k.cpus.full_cores);
  CHECK(k.memory.is_static);
  REQUIRE(k.memory.reserved.size() == 2);
  CHECK(k.memory.reserved[1].node == 1);
  CHECK(k.memory.reserved[1].limits.at("hugepages-2Mi").value() == 64 * 1024 * 1024);
  CHECK(k.topology.policy == node::topology_manager_settings::policy_kind::single_numa_node);
  CHECK(k.topology.of_pods);
  CHECK(k.topology.prefer_closest);
  CHECK(k.topology.nodes_max == 9);
  CHECK(k.ids_per_pod == 131072);
  loaded = load("shutdownGracePeriodByPodPriority:\n- {priority: 9, shutdownGracePeriodSeconds: 1}\n- {priority: 1}\n");
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  CHECK(loaded->options.agent.kubelet.shutdown[0].priority == 1);
  loaded = load("reservedSystemCPUs: 0-1\nkubeReserved: {cpu: 500m}\n");
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  CHECK(loaded->options.agent.kubelet.system_reserved.at("cpu").value() == 2);
  CHECK_FALSE(loaded->options.agent.kubelet.kube_reserved.contains("cpu"));
  for (std::string_view wrong :
       {"shutdownGracePeriod: 5s\nshutdownGracePeriodCriticalPods: 10s\n",
        "shutdownGracePeriod: 500ms\n",
        "shutdownGracePeriod: 5s\nshutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 1}]\n",
        "shutdownGracePeriodByPodPriority: 5\n",
        "shutdownGracePeriodByPodPriority: [{priority: high}]\n",
        "enforceNodeAllocatable: [pods, pods]\n",
        "enforceNodeAllocatable: [none, pods]\n",
        "enforceNodeAllocatable: [containers]\n",
        "enforceNodeAllocatable: [system-reserved]\n",
        "enforceNodeAllocatable: [kube-reserved, kube-reserved-compressible]\nkubeReservedCgroup: /k\n",
        "memorySwap: {swapBehavior: Much}\n",
        "memoryThrottlingFactor: 1.5\n",
        "memoryReservationPolicy: Some\n",
        "cpuManagerPolicy: static\n",
        "cpuManagerPolicy: dynamic\n",
        "cpuManagerPolicyOptions: {fast: true}\n",
        "cpuManagerPolicyOptions: {full-pcpus-only: true, distribute-cpus-across-cores: true}\n",
        "reservedSystemCPUs: two\n",
        "reservedSystemCPUs: 0\nsystemReservedCgroup: /s\n",
        "memoryManagerPolicy: static\n",
        "reservedMemory: 1Gi\n",
        "reservedMemory: [{limits: {memory: 1Gi}}]\n",
        "reservedMemory: [{numaNode: 0, limits: {cpu: 1}}]\n",
        "reservedMemory: [{numaNode: 0, limits: {memory: 0}}]\n",
        "reservedMemory: [{numaNode: 64, limits: {memory: 1Gi}}]\n",
        "reservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}, {numaNode: 0, limits: {memory: 1Gi}}]\n",
        "topologyManagerPolicy: best\n",
        "topologyManagerScope: node\n",
        "topologyManagerPolicyOptions: {fast: true}\n",
        "topologyManagerPolicyOptions: {max-allowable-numa-nodes: 7}\n",
        "topologyManagerPolicyOptions: {max-allowable-numa-nodes: 40}\n",
        "userNamespaces: {idsPerPod: 65535}\n",
        "userNamespaces: {idsPerPod: 65537}\n",
        "userNamespaces: 1\n"})
    CHECK_MESSAGE(!load(wrong), wrong);
}

TEST_CASE("memory that NUMA nodes keep is said by flags, too, which count instead of what files say") {
  const temporary_folder folder;
  const auto file = folder.path + "/kubelet.yaml";
  folder.write("kubelet.yaml",
               "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
               "reservedMemory: [{numaNode: 0, limits: {memory: 5Gi}}]\n");
  auto loaded = load_options(audience::server,
                             words{"--kubelet-arg=config=" + file, "--kubelet-arg=reserved-memory=0:memory=1Gi",
                                   "--kubelet-arg=reserved-memory=1:memory=2Gi;2:memory=3Gi,hugepages-1Gi=1Gi"},
                             some_machine(folder));
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  auto& reserved = loaded->options.agent.kubelet.memory.reserved;
  REQUIRE(reserved.size() == 3);
  CHECK(reserved[0].limits.at("memory").text() == "1Gi");
  CHECK(reserved[2].limits.at("hugepages-1Gi").text() == "1Gi");
}

TEST_CASE("kube-proxy's settings are read; what means nothing here warns, what it doesn't have is an error") {
  const temporary_folder folder;
  auto load = [&](words given) {
    for (auto& g : given) g = "--kube-proxy-arg=" + g;
    return load_options(
        audience::agent,
        [&] {
          given.insert(given.end(), {"--server", "https://a:6443", "--token", "t"});
          return given;
        }(),
        some_machine(folder));
  };
  const auto loaded = load({"masquerade-all=true", "--conntrack-max-per-core=0", "conntrack-min=7",
                            "conntrack-tcp-timeout-established=1h30m", "conntrack-tcp-timeout-close-wait=0s",
                            "conntrack-tcp-be-liberal=true", "conntrack-udp-timeout=5s", "proxy-mode=ipvs"});
  REQUIRE(loaded);
  auto& k = loaded->options.agent.kube_proxy;
  CHECK(k.masquerade_all);
  CHECK(k.conntrack_per_processor == 0);
  CHECK(k.conntrack_min == 7);
  CHECK(k.tcp_established.count() == 5400);
  CHECK(k.tcp_close_wait.count() == 0);
  CHECK(k.tcp_be_liberal);
  CHECK(k.udp.count() == 5);
  CHECK(k.udp_stream.count() == 0);
  CHECK(
      loaded->warnings ==
      words{"--kube-proxy-arg=proxy-mode has no effect: Kedge's node sets the rules of Services itself, in nftables"});
  auto message = [&](std::string one) {
    auto r = load({std::move(one)});
    return r ? std::string("none") : r.error().message;
  };
  CHECK(message("conntrack-max-per-core=-1") ==
        "--kube-proxy-arg=conntrack-max-per-core: \"-1\" is not a number from 0 to 2147483647");
  CHECK(message("masquerade-all=maybe") == "--kube-proxy-arg=masquerade-all: \"maybe\" is neither true nor false");
  CHECK(message("conntrack-tcp-timeout-established=soon")
            .starts_with("--kube-proxy-arg=conntrack-tcp-timeout-established: "));
  CHECK(message("conntrackmax=1") == "--kube-proxy-arg=conntrackmax: kube-proxy has no such setting");
}

TEST_CASE("a node's name is lower-cased whoever gives it, and one that can't be comes with one that can") {
  const temporary_folder folder;
  auto named = [&](words arguments, std::string host = "Edge-7") {
    auto here = some_machine(folder);
    here.host_name = std::move(host);
    auto loaded = load_options(audience::server, arguments, here);
    return loaded ? loaded->options.agent.node_name : loaded.error().message;
  };
  CHECK(named({}) == "edge-7");
  CHECK(named({"--node-name", "Attic.Example.ORG"}) == "attic.example.org");
  CHECK(named({"--node-name", "edge_7"}).ends_with("; --node-name edge-7 would do"));
  CHECK(named({}, "my_Machine").ends_with("; --node-name my-machine would do"));
  CHECK(named({}, std::string(64, 'x')).ends_with("; --node-name " + std::string(63, 'x') + " would do"));
  CHECK(named({"--disable-agent"}, "my_Machine") == "my_machine");  // a server without a node needs no such name
}

TEST_CASE("labels that a node may not give itself end the start, in the kubelet's words") {
  const temporary_folder folder;
  for (auto who : {audience::server, audience::agent}) {
    words arguments{"--node-label", "node-role.kubernetes.io/gpu=true", "--node-label", "zone=attic"};
    if (who == audience::agent) arguments.insert(arguments.end(), {"-s", "https://h:6443", "-t", "x"});
    const auto refused = load_options(who, arguments, some_machine(folder));
    REQUIRE(!refused);
    CHECK(refused.error().message.starts_with(
        "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [node-role.kubernetes.io/gpu]\n"));
    CHECK(refused.error().message.find(
              "must begin with an allowed prefix (kubelet.kubernetes.io, node.kubernetes.io)") != std::string::npos);
  }
}

TEST_CASE("kube-controller-manager's settings are read; what means nothing warns, what doesn't exist is refused") {
  words warnings;
  const auto read = read_controller_manager_arguments(words{"node-monitor-grace-period=20s",
                                                            "--node-monitor-period=2s",
                                                            "node-startup-grace-period=30s",
                                                            "node-eviction-rate=0.5",
                                                            "secondary-node-eviction-rate=0",
                                                            "large-cluster-size-threshold=10",
                                                            "unhealthy-zone-threshold=0.7",
                                                            "node-cidr-mask-size=26",
                                                            "terminated-pod-gc-threshold=-1",
                                                            "allocate-node-cidrs=false",
                                                            "enable-garbage-collector=false",
                                                            "resource-quota-sync-period=1m",
                                                            "concurrent-gc-syncs=3",
                                                            "concurrent-namespace-syncs=7",
                                                            "controllers=*,-ttl",
                                                            "controllers+=-garbagecollector",
                                                            "controllers-=tokencleaner",
                                                            "bind-address=0.0.0.0",
                                                            "max-endpoints-per-slice=50",
                                                            "mirroring-max-endpoints-per-subset=7",
                                                            "endpoint-updates-batch-period=1s",
                                                            "endpointslice-updates-batch-period=500ms",
                                                            "mirroring-endpointslice-updates-batch-period=2s",
                                                            "feature-gates=X=true"},
                                                      warnings);
  REQUIRE(read);
  CHECK(read->node_monitor_grace_period == std::chrono::seconds(20));
  CHECK(read->node_monitor_period == std::chrono::seconds(2));
  CHECK(read->node_startup_grace_period == std::chrono::seconds(30));
  CHECK(read->node_eviction_rate == 0.5);
  CHECK(read->secondary_node_eviction_rate == 0);
  CHECK(read->large_cluster_size_threshold == 10);
  CHECK(read->unhealthy_zone_threshold == 0.7);
  CHECK(read->node_cidr_mask_size == 26);
  CHECK(read->terminated_pod_gc_threshold == -1);
  CHECK(!read->allocate_node_cidrs);
  CHECK(!read->enable_garbage_collector);
  CHECK(read->resource_quota_sync_period == std::chrono::minutes(1));
  CHECK(read->workers.at("garbage-collector-controller") == 3);
  CHECK(read->workers.at("namespace-controller") == 7);
  CHECK(read->max_endpoints_per_slice == 50);
  CHECK(read->mirroring_max_endpoints_per_subset == 7);
  CHECK(read->endpoint_updates_batch_period == std::chrono::seconds(1));
  CHECK(read->endpointslice_updates_batch_period == std::chrono::milliseconds(500));
  CHECK(read->mirroring_endpointslice_updates_batch_period == std::chrono::seconds(2));
  CHECK(read->controllers == words{"tokencleaner", "*", "-ttl", "-garbagecollector"});
  CHECK(warnings == words{"--kube-controller-manager-arg=bind-address has no effect in Kedge",
                          "--kube-controller-manager-arg=feature-gates has no effect in Kedge"});
  struct row {
    std::string argument, message;
  };
  for (auto& r :
       {row{"node-monitor-grace-perod=5s", "node-monitor-grace-perod: kube-controller-manager has no such flag"},
        row{"node-monitor-period=soon", "node-monitor-period: \"soon\" is not a duration such as 1h30m"},
        row{"node-monitor-period=0s", "node-monitor-period: \"0s\" must be more than 0"},
        row{"node-monitor-period=-5s", "node-monitor-period: \"-5s\" must be more than 0"},
        row{"node-eviction-rate=fast", "node-eviction-rate: \"fast\" is not a number"},
        row{"node-eviction-rate=-1", "node-eviction-rate: \"-1\" must be 0 or more"},
        row{"unhealthy-zone-threshold=2", "unhealthy-zone-threshold: \"2\" is not between 0 and 1"},
        row{"node-cidr-mask-size=33", "node-cidr-mask-size: \"33\" is not between 1 and 30"},
        row{"concurrent-gc-syncs=0", "concurrent-gc-syncs: \"0\" is not between 1 and 1000"},
        row{"controllers=*,-nonsense", "controllers: \"nonsense\" is not in the list of known controllers"}}) {
    const auto refused = read_controller_manager_arguments(words{r.argument}, warnings);
    REQUIRE(!refused);
    CHECK(refused.error().message == "--kube-controller-manager-arg=" + r.message);
  }
  warnings.clear();
  CHECK(read_controller_manager_arguments(words{"controllers=*,route"}, warnings));
  CHECK(warnings == words{"--kube-controller-manager-arg=controllers: Kedge has no controller route"});
}

TEST_CASE("the Helm controller's arguments: what it is told, what means nothing, what it doesn't know") {
  words warnings;
  control::settings s;
  machine here;
  here.environment = {{"HTTPS_PROXY", "http://p"}, {"no_proxy", ""}};
  REQUIRE(read_helm_arguments(
      words{"--default-job-image=x/helm:1", R"(job-resources={"limits":{"cpu":"0.1","memory":"1024Mi"}})",
            R"(job-tolerations=[{"operator":"Exists"}])", "controller-name=mine", "job-cluster-role=edit",
            "namespace=n", "threads=5", "debug=true"},
      here, s, warnings));
  CHECK(s.helm.job_image == "x/helm:1");
  CHECK(json::write(s.helm.job_resources) == R"({"limits":{"cpu":"100m","memory":"1Gi"}})");
  CHECK(s.helm.job_tolerations.size() == 1);
  CHECK(s.helm.controller_name == "mine");
  CHECK(s.helm.job_cluster_role == "edit");
  CHECK(s.helm.only_namespace == "n");
  CHECK(s.workers.at("helm-controller") == 5);
  CHECK(s.helm.proxies == std::vector<std::pair<std::string, std::string>>{{"HTTPS_PROXY", "http://p"}});
  CHECK(warnings == words{"--helm-controller-arg=debug has no effect in Kedge"});
  for (auto* wrong :
       {"nonsense=1", "job-resources={", "job-resources={\"x\":{}}", "job-resources={\"limits\":{\"cpu\":\"x\"}}",
        "job-tolerations={}", "job-tolerations=[1]", "threads=0", "threads=x", "default-job-image="}) {
    auto refused = read_helm_arguments(words{wrong}, here, s, warnings);
    REQUIRE(!refused);
    CHECK(refused.error().message.starts_with("--helm-controller-arg="));
  }
}

TEST_CASE("kube-scheduler's file is read; what is wrong is told with file and field, what means nothing warns") {
  const temporary_folder folder;
  auto file = folder.path + "/scheduler.yaml";
  auto write = [&](const std::string& more) {
    folder.write("scheduler.yaml",
                 "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" + more);
  };
  words warnings;
  auto read = read_scheduler_arguments(words{"--pod-max-in-unschedulable-pods-duration=1m0s", "v=2"}, warnings);
  REQUIRE(read);
  CHECK((*read)->profiles.size() == 1);
  CHECK((*read)->unschedulable_most == std::chrono::minutes(1));
  CHECK(warnings == words{"--kube-scheduler-arg=v has no effect in Kedge"});

  warnings.clear();
  write("parallelism: 4\npodMaxBackoffSeconds: 3\nprofiles: [{schedulerName: a}, {schedulerName: b}]\n");
  read = read_scheduler_arguments(words{"config=" + file}, warnings);
  REQUIRE_MESSAGE(read, (read ? "" : read.error().message));
  CHECK((*read)->find("b"));
  CHECK(!(*read)->find("default-scheduler"));
  CHECK((*read)->backoff_most == std::chrono::seconds(3));
  CHECK(warnings == words{"--kube-scheduler-arg=config: parallelism has no effect in Kedge"});

  auto problem = [&](std::string argument) {
    auto refused = read_scheduler_arguments(words{std::move(argument)}, warnings);
    return refused ? std::string() : refused.error().message;
  };
  write("profiles: [{scheduler: a}]\n");
  CHECK(problem("config=" + file) ==
        "--kube-scheduler-arg=config: " + file + ": unknown field \"profiles[0].scheduler\"");
  CHECK(problem("config=" + folder.path + "/none")
            .starts_with("--kube-scheduler-arg=config: " + folder.path + "/none: "));
  CHECK(problem("pod-max-in-unschedulable-pods-duration=soon") ==
        "--kube-scheduler-arg=pod-max-in-unschedulable-pods-duration: \"soon\" is not a duration such as 5m0s");
  CHECK(problem("policy=x") == "--kube-scheduler-arg=policy: kube-scheduler has no such flag");
}

TEST_CASE("all that is wrong is said at once, and what only warns is no problem") {
  const temporary_folder folder;
  folder.write(
      "config.yaml",
      "token: K10zz::server:x\nnode-ip: edge\netcd-snapshot-schedule-cron: often\nnonsense: 1\nconfig: other\n");
  folder.write("audit.yaml", "rules: 7\n");
  const auto here = some_machine(folder);
  auto judged = [&](words arguments) {
    arguments.insert(arguments.begin(), {"--data-dir", folder.path, "--disable-agent"});
    return judge_options(audience::server, arguments, here);
  };
  const auto file = folder.path + "/audit.yaml";
  const auto said =
      judged({"--https-listen-port", "70000", "--service-cidr", "fd00::/8", "--frob", "word", "--tls-sna=x",
              "--cluster-init", "--datastore-endpoint", "postgres://u@127.0.0.1:1/x", "--datastore-certfile",
              folder.path + "/none", "--disable-etcd", "--kube-apiserver-arg=audit-policy-file=" + file,
              "--kube-apiserver-arg=tracing-config-file=" + file + "-not", "--token-file"});
  const std::string wanted[] = {
      "config.yaml:2: node-ip: \"edge\" is not an IP address",
      "config.yaml:3: etcd-snapshot-schedule-cron: \"often\"",
      "config.yaml:5: config: a configuration file can't name another one",
      "--https-listen-port: \"70000\"",
      "--service-cidr \"fd00::/8\"",
      "unknown flag --frob",
      "did you mean --tls-san?",
      "--token-file needs a value",
      "--cluster-init and --datastore-endpoint name two datastores",
      "--datastore-certfile and --datastore-keyfile are of use only together",
      "--disable-etcd needs --server",
      "--disable-etcd is for an etcd of the cluster's own",
      "--cluster-init begins an etcd, and --disable-etcd wants none",
      "--token: ",
      "--datastore-certfile: open ",
      "audit-policy-file=" + file,
      "tracing-config-file=" + file + "-not",
      "Connection refused",
  };
  const auto all = join(said.problems, "\n");
  CAPTURE(all);
  for (auto& text : wanted) CHECK_MESSAGE(all.contains(text), text);
  CHECK_FALSE(all.contains("\"word\""));  // it was --frob's
  REQUIRE(said.warnings.size() == 1);
  CHECK(said.warnings[0].contains("nonsense"));
  folder.write("config.yaml", "token: [\n");
  CHECK(judged({"--node-ip", "edge"}).problems.size() == 2);
  folder.write("config.yaml", "write-kubeconfig-mode: \"0644\"\n");
  CHECK(judged({"--https-listen-port", "29871"}).problems.empty());
}

TEST_CASE("nothing is started by a clock before 1980, nor before the epoch") {
  const auto at = [](const char* text) { return clock_problem(parse_rfc3339(text).value()); };
  CHECK(at("1979-12-31T23:59:59Z") == "this machine's clock is before 1980; set it first");
  CHECK(at("1970-01-01T00:00:00Z"));
  CHECK(clock_problem(wall_time(std::chrono::hours(-24 * 3650))));
  CHECK_FALSE(at("1980-01-01T00:00:00Z"));
  CHECK_FALSE(at("2099-01-01T00:00:00Z"));
}
