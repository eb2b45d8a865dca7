#include "node/agent.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "net/http/server.h"
#include "node/identity_keeper.h"
#include "node/image_sharing.h"
#include "node/images/collector.h"
#include "node/images/importer.h"
#include "node/informer/watch.h"
#include "node/join/api_backoff.h"
#include "node/join/api_client.h"
#include "node/join/authorities.h"
#include "node/join/http_proxy.h"
#include "node/limits.h"
#include "node/links/server_links.h"
#include "node/machine/disk_owner.h"
#include "node/machine/system_info.h"
#include "node/network/bridge_filter.h"
#include "node/network/cni_config.h"
#include "node/network/node_network.h"
#include "node/plugins/plugin_watcher.h"
#include "node/pods/api_cluster.h"
#include "node/pods/evictor.h"
#include "node/pods/manager.h"
#include "node/pods/node_keepers.h"
#include "node/pods/offline.h"
#include "node/pods/settings.h"
#include "node/pods/static_pods.h"
#include "node/policy/policy_enforcer.h"
#include "node/port/kubelet_api.h"
#include "node/runtime/containerd.h"
#include "node/runtime/cri.h"
#include "node/runtime/cri_pod_runtime.h"
#include "node/status/node_status.h"
#include "node/status/twin_watch.h"
#include "node/streams/log_rotation.h"
#include "node/streams/pod_streams.h"
#include "node/volumes/node_volumes.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::value;
using reactor::loop;

// K3s's mark of nodes through whose tunnels traffic to their pods may go.
constexpr std::string_view egress_label = "egress.k3s.io/cluster",
                           policies_path = "/apis/networking.k8s.io/v1/networkpolicies";
bool takes_egress(const cluster_config& c) {
  return c.egress_selector_mode == "pod" || c.egress_selector_mode == "cluster";
}

class agent {
 public:
  agent(agent_config config, agent_control& control)
      : config_(std::move(config)), control_(control), cri_(control.network), pod_runtime_(control.network) {}

  task<result<void>> run();

 private:
  task<result<void>> resolve();
  task<result<void>> join_cluster();
  task<result<void>> make_network();
  task<result<void>> enforce_policies();
  task<result<client_identity>> read_identity(std::string name);
  task<result<void>> make_reachable();
  task<result<void>> use(const registration& renewed);
  void move(std::vector<std::string> addresses);
  void keep_identity(bool follows_addresses);
  task<void> serve_kubelet();
  task<void> serve_status();
  task<void> keep_node();
  task<void> keep_lease();
  task<void> prepare_pods();
  task<void> prepare_volumes(pod_cluster& cluster);
  task<void> run_pods();
  task<bool> remember_node();
  task<void> await_runtime();
  task<void> register_again();
  task<void> read_static_pods();

  task<result<void>> adopt_or_create();
  task<void> look_at_runtime();
  task<void> look_at_machine();
  task<result<void>> write_status();
  void notice_ready();
  task<result<void>> claim_role();
  task<result<void>> renew_lease();
  task<void> tell(std::string_view type, std::string_view reason, std::string message);
  task<void> tell_changes(const value& before);

  node_facts facts() const {
    return {config_,
            machine_,
            runtime_,
            pod_settings_.pressure,
            volumes_ ? volumes_->in_use(node_) : std::vector<std::string>(),
            pod_settings_.goes_down,
            keepers_ ? keepers_->devices() : device_counts()};
  }
  bool is_ready() const { return condition_status(node_, "Ready") == "True"; }
  std::string client_ca_file() const { return config_.agent_folder() + "/client-ca.crt"; }
  std::string node_path() const { return "/api/v1/nodes/" + config_.node_name; }
  duration pause() const;
  wall_time wall_now() const { return loop::current().wall_now(); }

  agent_config config_;
  agent_control& control_;
  std::unique_ptr<reactor::network> proxied_;
  reactor::network* servers_ = control_.network;  // the way to them; null: this machine's
  std::string password_;
  std::optional<containerd> containerd_;
  cri_client cri_;
  std::optional<cri_client> image_cri_;  // where images are another's business
  std::optional<api_client> api_;        // as system:node:<name>
  std::optional<api_client> admin_;      // inside a server, for the role label alone
  cri_pod_runtime pod_runtime_;
  pod_settings pod_settings_;
  std::optional<pod_events> pod_events_;
  std::optional<api_pod_cluster> pod_cluster_;
  std::optional<offline_store> offline_;
  std::optional<offline_pods> offline_pods_;
  std::optional<offline_cluster> offline_cluster_;
  std::optional<image_puller> images_;
  std::optional<image_importer> importer_;
  std::unique_ptr<image_mirror> mirror_;  // null: it shares no images
  std::optional<node_volumes> volumes_;
  std::optional<pod_manager> pods_;
  std::optional<image_collector> collector_;
  std::optional<evictor> evictor_;
  std::optional<node_keepers> keepers_;
  std::optional<plugin_watcher> plugins_;  // over both of whom it tells
  std::optional<pod_streams> pod_streams_;
  std::optional<usage_meter> usage_;
  std::optional<server_links> links_;
  std::optional<kubelet_access> kubelet_access_;
  std::optional<kubelet_api> kubelet_api_;
  std::shared_ptr<net::tls_server_context> kubelet_tls_;
  std::optional<identity_keeper> identity_;
  bool addresses_given_ = false;

  system_info machine_;
  runtime_state runtime_;
  value node_;  // as the server last gave it
  twin_watch twins_;
  std::string other_machine_;  // where this disk ran before, for people; empty: nowhere else
  value lease_;                // the same
  bool node_gone_ = false;
  bool written_ = false;     // its last status could be
  reactor::event look_now_;  // the Node is to be written at once
  bool moved_ = false;       // and its annotations too
  time_point images_at_{};
  time_point reported_at_{};
  time_point began_{};
  std::optional<informer> cluster_view_;  // as system:kube-proxy
  std::optional<node_network> network_;
  std::optional<informer> policy_view_;  // as system:k3s-controller
  std::optional<policy_enforcer> policies_;
  bool had_no_policies_ = false;  // at a start without servers

  // Last, since their tasks use all of the above: the runtime, what serves others, and what keeps Node and Lease.
  reactor::scope runtime_tasks_, serving_tasks_, node_tasks_;
};

task<result<void>> agent::run() {
  began_ = loop::current().now();
  KEDGE_CO_CHECK(check_config(config_));
  KEDGE_CO_CHECK(co_await resolve());
  if (config_.proxy) {
    auto& below = control_.network ? *control_.network : reactor::os_network();
    KEDGE_CO_TRY(proxied_, make_proxied_network(*config_.proxy, below));
    servers_ = proxied_.get();
  }
  if (config_.container_runtime_endpoint.empty()) {
    containerd_.emplace(config_);
    runtime_tasks_.spawn(containerd_->run());
  } else {
    KEDGE_CO_TRY(auto socket, runtime_socket(config_.container_runtime_endpoint));
    cri_.use(socket);
    pod_runtime_.use(socket);
  }
  if (!config_.image_service_endpoint.empty()) {
    KEDGE_CO_TRY(auto socket, runtime_socket(config_.image_service_endpoint));
    image_cri_.emplace(control_.network).use(socket);
    pod_runtime_.use_for_images(socket);
  }
  if (config_.reachable) {
    links_.emplace(config_, servers_, control_.network);
    KEDGE_CO_CHECK(co_await links_->start());
    config_.api_url = links_->api_url();
  }
  auto joined = co_await reactor::with_stop(join_cluster(), control_.stop);
  if (joined) co_await prepare_pods();
  if (joined && config_.reachable) joined = co_await make_reachable();
  if (joined) {
    node_tasks_.spawn(keep_node());
    co_await control_.stop.wait();
  }
  // First, so that the runtime's end is not reported as its failure.
  node_tasks_.cancel();
  serving_tasks_.cancel();
  if (containerd_) co_await containerd_->stop();
  if (!joined && joined.error().code != errc::cancelled) co_return joined;
  log::info("node {} stops", config_.node_name);
  co_return result<void>();
}

// What the options leave open: name, password, addresses.
task<result<void>> agent::resolve() {
  while (config_.data_dir.size() > 1 && config_.data_dir.ends_with('/')) config_.data_dir.pop_back();
  KEDGE_CO_TRY(auto made,
               co_await reactor::offload([path = config_.agent_folder()] { return crypto::make_folder(path, 0755); }));
  KEDGE_CO_CHECK(std::move(made));
  co_await look_at_machine();
  if (machine_.memory_bytes == 0) co_return fail(errc::io, "the machine's memory and storage can't be read from /proc");
  KEDGE_CO_TRY(auto loaded, co_await reactor::offload([c = config_, host = machine_.hostname] {
                 return load_identity(c, host, system_random());
               }));
  KEDGE_CO_TRY(auto identity, std::move(loaded));
  config_.node_name = std::move(identity.name);
  password_ = std::move(identity.password);
  auto owner =
      co_await reactor::offload([file = config_.agent_folder() + "/etc/machine.json", name = config_.node_name] {
        return look_at_owner(file, marks_of_this_machine(), name);
      });
  if (owner && *owner) other_machine_ = **owner;
  if (!other_machine_.empty()) log::warning("{}", other_machine_);
  addresses_given_ = !config_.node_ips.empty();
  if (!addresses_given_) { KEDGE_CO_TRY(config_.node_ips, default_addresses()); }
  co_return result<void>();
}

task<result<void>> agent::join_cluster() {
  KEDGE_CO_TRY(control_.joined, co_await register_node(config_, password_, servers_));
  auto& j = *control_.joined;
  config_.node_ips = order_addresses(std::move(config_.node_ips), j.cluster.cluster_cidrs);
  config_.disable_cloud_controller |= j.cluster.disable_cloud_controller;
  if (config_.reachable && takes_egress(j.cluster)) config_.node_labels.push_back(std::string(egress_label) + "=true");
  KEDGE_CO_TRY(api_, api_client::make(config_.api(), j.server_ca, j.kubelet, servers_));
  if (!config_.admin_certificate.empty()) {
    KEDGE_CO_TRY(admin_, api_client::make(config_.api(), j.server_ca, {}, servers_));
  }
  if (auto image = in_registry(config_.pause_image, j.cluster.system_default_registry);
      containerd_ && image != config_.pause_image) {
    config_.pause_image = image;
    containerd_->begin_anew(config_);
  }
  if (config_.manage_cni) {
    co_await load_bridge_filter();
    KEDGE_CO_CHECK(co_await make_network());
    KEDGE_CO_CHECK(co_await enforce_policies());
  }
  control_.node_name = config_.node_name;
  control_.registered.set();
  co_return result<void>();
}

task<result<void>> agent::make_network() {
  auto& j = *control_.joined;
  if (j.cluster.flannel_backend == "none") {
    // The user's own network brings its plugins, some of the names that ours have.
    auto linked = co_await reactor::offload([folder = config_.plugin_folder()] { return link_plugins(folder, false); });
    if (linked && !*linked) log::warning("CNI plugins: {}", linked->error().message);
  }
  KEDGE_CO_TRY(auto identity, co_await read_identity("client-kube-proxy"));
  KEDGE_CO_TRY(cluster_view_, informer::make(config_.api(), j.server_ca, identity, servers_));
  network_.emplace(
      network_parts{.config = config_, .cluster = j.cluster, .api = *api_, .cluster_view = *cluster_view_});
  node_tasks_.spawn(network_->run());
  co_return result<void>();
}

task<result<void>> agent::enforce_policies() {
  auto& j = *control_.joined;
  if (j.cluster.disable_network_policy) {
    auto removed = co_await reactor::offload(remove_policies);
    if (removed && !*removed) log::warning("rules of network policies stay: {}", removed->error().message);
    co_return result<void>();
  }
  KEDGE_CO_TRY(auto identity, co_await read_identity("client-k3s-controller"));
  KEDGE_CO_TRY(policy_view_, informer::make(config_.api(), j.server_ca, identity, servers_));
  policy_options o{.node = config_.node_name, .v4 = false, .v6 = false};
  for (auto& text : j.cluster.cluster_cidrs)
    if (auto r = ip_range::parse(text)) (r->is_v4() ? o.v4 : o.v6) = true;
  if (!j.cluster.disable_dns)
    for (auto& text : j.cluster.cluster_dns)
      if (auto a = ip_address::parse(text)) o.dns_addresses.push_back(*a);
  policies_.emplace(std::move(o), *policy_view_);
  node_tasks_.spawn(policies_->run());
  co_return result<void>();
}

// As one of the accounts that registration gave certificates for.
task<result<client_identity>> agent::read_identity(std::string name) {
  KEDGE_CO_TRY(auto read,
               co_await reactor::offload([stem = config_.agent_folder() + "/" + name]() -> result<client_identity> {
                 client_identity c;
                 KEDGE_TRY(c.chain, crypto::read_file(stem + ".crt"));
                 KEDGE_TRY(c.key, crypto::read_file(stem + ".key"));
                 return c;
               }));
  co_return std::move(read);
}

task<result<void>> agent::make_reachable() {
  KEDGE_CO_TRY(auto serving, co_await read_identity("serving-kubelet"));
  KEDGE_CO_TRY(auto clients, co_await read_client_authority(client_ca_file()));
  auto& j = *control_.joined;
  KEDGE_CO_TRY(auto controller, co_await read_identity("client-k3s-controller"));
  KEDGE_CO_CHECK(links_->join(j, controller));
  KEDGE_CO_TRY(mirror_, co_await share_images(config_, j, containerd_ ? &*containerd_ : nullptr,
                                              cluster_view_ ? &*cluster_view_ : nullptr, control_.network));
  if (mirror_) node_tasks_.spawn(mirror_->run());
  kubelet_access_.emplace(std::move(clients.trust), config_.node_name, *api_);
  kubelet_api_.emplace(kubelet_parts{.config = config_,
                                     .runtime = runtime_,
                                     .access = *kubelet_access_,
                                     .pods = *pods_,
                                     .streams = *pod_streams_,
                                     .usage = *usage_,
                                     .containers = pod_runtime_,
                                     .cri = cri_,
                                     .machine = machine_,
                                     .cluster_domain = j.cluster.cluster_domain,
                                     .cluster_dns = j.cluster.cluster_dns,
                                     .volumes = volumes_->figures(),
                                     .more_metrics =
                                         [this](exposition& out) {
                                           pod_runtime_.write_metrics(out);
                                           pods_->write_metrics(out);
                                           volumes_->write_metrics(out);
                                           out.add(links_->metrics());
                                           if (mirror_) mirror_->write_metrics(out);
                                           if (identity_) out.add(identity_->metrics());
                                         },
                                     .mirror = mirror_.get()});
  KEDGE_CO_TRY(kubelet_tls_, net::tls_server_context::make({.client_ca_pem = clients.pem}, serving.chain, serving.key));
  serving_tasks_.spawn(serve_kubelet());
  serving_tasks_.spawn(serve_status());
  co_return result<void>();
}

// Credentials that were renewed: for every connection that is made from now on.
task<result<void>> agent::use(const registration& renewed) {
  auto& j = *control_.joined;
  j.server_ca = renewed.server_ca;
  j.kubelet = renewed.kubelet;
  j.from_disk = false;
  KEDGE_CO_CHECK(api_->use(j.server_ca, j.kubelet));
  KEDGE_CO_TRY(auto proxy, co_await read_identity("client-kube-proxy"));
  KEDGE_CO_TRY(auto controller, co_await read_identity("client-k3s-controller"));
  if (cluster_view_) KEDGE_CO_CHECK(cluster_view_->use(j.server_ca, proxy));
  if (policy_view_) KEDGE_CO_CHECK(policy_view_->use(j.server_ca, controller));
  if (mirror_) KEDGE_CO_CHECK(mirror_->use(j.server_ca, j.kubelet));
  if (links_) KEDGE_CO_CHECK(links_->use(j, controller));
  if (kubelet_tls_) {
    KEDGE_CO_TRY(auto serving, co_await read_identity("serving-kubelet"));
    KEDGE_CO_CHECK(kubelet_tls_->replace(serving.chain, serving.key));
    KEDGE_CO_TRY(auto clients, co_await read_client_authority(client_ca_file()));
    kubelet_access_->use(std::move(clients.trust));
    KEDGE_CO_CHECK(kubelet_tls_->ask_for(clients.pem));
  }
  co_return result<void>();
}

// The machine has other addresses: the Node tells them with its next status, at once.
void agent::move(std::vector<std::string> addresses) {
  config_.node_ips = order_addresses(std::move(addresses), control_.joined->cluster.cluster_cidrs);
  pod_settings_.node.host_ips = config_.node_ips;
  if (network_) network_->moved();
  if (links_) links_->moved();
  moved_ = true;
  look_now_.set();
}

void agent::keep_identity(bool follows_addresses) {
  identity_.emplace(identity_keeper::parts{
      .config = config_,
      .password = password_,
      .network = control_.network,
      .follows_addresses = follows_addresses,
      .use = [this](const registration& renewed) { return use(renewed); },
      .moved = [this](std::vector<std::string> addresses) { move(std::move(addresses)); },
      .server_ca = [this] { return control_.joined->server_ca; },
      .authorities_changed =
          [this] { return has_other_authorities(*api_, control_.joined->server_ca, client_ca_file()); },
      .tell = [this](std::string type, std::string reason, std::string message) -> task<void> {
        co_await tell(type, reason, std::move(message));
      },
      .addresses = default_addresses});
  node_tasks_.spawn(identity_->run());
}

// Another process may have the port for a while: the node is a node without it too.
task<void> agent::serve_kubelet() {
  auto address = config_.bind_address;
  if (address.empty()) {
    auto v6 = co_await reactor::offload([] { return crypto::modified_time("/proc/net/if_inet6").has_value(); });
    address = v6 && *v6 ? "::" : "0.0.0.0";
  }
  for (bool first = true;; first = false) {
    net::http::server_options o{.listen = {{address, static_cast<std::uint16_t>(config_.kubelet.port)}},
                                .tls = kubelet_tls_,
                                .connections_max = kubelet_connections_max,
                                .network = control_.network};
    net::http::server server(*kubelet_api_, std::move(o));
    auto ended = co_await server.run(0);
    if (first)
      log::warning("the kubelet's port can't be served, and is tried again: {}",
                   ended ? std::string("it ended") : ended.error().message);
    co_await reactor::sleep_for(kubelet_listen_retry);
  }
}

task<void> agent::serve_status() {
  status_handler handler(*links_);
  net::http::server server(handler, {.listen = {reactor::endpoint::unix_path(config_.status_socket())},
                                     .connections_max = status_connections_max,
                                     .network = control_.network});
  auto ended = co_await server.run(0);
  if (!ended) log::warning("`kedge agent status` won't work: {}", ended.error().message);
}

// The Node's life: made or taken over, then kept true.
task<void> agent::keep_node() {
  api_backoff backoff;
  if (control_.joined->from_disk) node_tasks_.spawn(register_again());
  const bool began = co_await remember_node();
  if (began) node_tasks_.spawn(run_pods());
  for (;;) {
    co_await look_at_runtime();
    auto done = co_await adopt_or_create();
    if (done) break;
    log::warning("the node can't be registered with the API server yet: {}", done.error().message);
    co_await backoff.wait();
  }
  node_tasks_.spawn(keep_lease());
  keep_identity(!addresses_given_);
  if (!began) node_tasks_.spawn(run_pods());
  co_await tell("Normal", "Starting", "Starting kubelet.");
  if (!other_machine_.empty()) co_await tell("Warning", "DiskOfAnotherMachine", std::exchange(other_machine_, {}));
  auto last_problem = std::string();
  backoff = {};
  for (;;) {
    co_await look_at_runtime();
    co_await look_at_machine();
    look_now_.reset();  // what changes from here on is written with the next
    auto written = co_await write_status();
    written_ = written.has_value();
    node_gone_ = !written && written.error().code == errc::not_found;
    auto problem = written ? std::string() : written.error().message;
    // The kubelet stays away until it is started again. Here nobody has to: whoever wants a node gone stops its agent.
    if (node_gone_) {
      if (auto back = co_await adopt_or_create()) {
        log::warning("node {} was deleted from the cluster, and has registered again; to keep it away, stop its agent",
                     config_.node_name);
        node_gone_ = false;
        node_tasks_.spawn(volumes_->tell_node());
        lease_ = {};
        // What the servers recorded of its password went with the Node before.
        if (identity_) identity_->ask_again("its Node was made again");
        problem.clear();
      } else {
        problem = "it was deleted from the cluster, and can't register again yet: " + back.error().message;
      }
    }
    if (!problem.empty() && problem != last_problem) log::warning("the node's status can't be written: {}", problem);
    if (problem.empty() && !last_problem.empty()) log::info("the node's status is written again");
    last_problem = std::move(problem);
    if (last_problem.empty()) {
      backoff = {};
      co_await look_now_.wait_until(loop::current().now() + pause());
    } else {
      co_await backoff.wait();
    }
  }
}

// No server answers: the Node as it was. False: a server does, or nothing is known.
task<bool> agent::remember_node() {
  if (!control_.joined->from_disk || !offline_) co_return false;
  auto node = co_await offline_->find(node_path());
  if (!node) co_return false;
  node_ = *std::move(node);
  if (network_) network_->saw(node_);
  log::warning("no server answers: node {} runs the pods that it had", config_.node_name);
  auto policies = co_await offline_->find(std::string(policies_path));
  had_no_policies_ = policies && !(*policies)["any"].as_bool(true);
  node_tasks_.spawn(await_runtime());
  co_return true;
}

// As quickly as when a server answers: pods wait for it.
task<void> agent::await_runtime() {
  for (;;) {
    co_await look_at_runtime();
    if (runtime_.error.empty() && runtime_.network.ready) co_return;
    co_await reactor::sleep_for(pause());
  }
}

// After a start without servers: the certificates that such a start would have renewed, and whether what it went by is
// still so.
task<void> agent::register_again() {
  auto config = config_;
  config.start_without_server = false;
  auto done = co_await register_node(config, password_, servers_);
  auto& before = *control_.joined;
  const bool others = done && !(done->cluster == before.cluster);
  auto used = done ? co_await use(*done) : result<void>(fail(done.error()));
  if (!used) log::warning("this node isn't registered: {}", used.error().message);
  if (others) {
    // Networks, names and rules are made from them: a start takes them, and whoever supervises this one makes it.
    log::warning(
        "the cluster has other settings than when this node registered before: the agent starts anew with them");
    control_.start_anew = true;
    control_.stop.set();
  }
}

task<void> agent::prepare_pods() {
  co_await take_settings(pod_settings_, config_, control_.joined->cluster, machine_);
  pod_events_.emplace(*api_, config_.node_name);
  pod_cluster_.emplace(*api_, *pod_events_);
  if (config_.start_without_server) {
    offline_.emplace(config_.offline_folder(), password_);
    co_await offline_->open();
    offline_pods_.emplace(*offline_);
    offline_cluster_.emplace(*pod_cluster_, *offline_);
  }
  auto& cluster = offline_cluster_ ? static_cast<pod_cluster&>(*offline_cluster_) : *pod_cluster_;
  images_.emplace(pod_runtime_, cluster, pod_settings_);
  co_await prepare_volumes(cluster);
  pods_.emplace(worker_parts{
      .runtime = pod_runtime_,
      .cluster = cluster,
      .images = *images_,
      .settings = pod_settings_,
      .mounter = &*volumes_,
      .network = control_.network,
      .agent_started_at = wall_now().time_since_epoch().count(),
      .network_problem = [this]() -> std::string {
        if (!runtime_.error.empty()) return runtime_.error;
        auto& n = runtime_.network;
        return n.ready ? std::string()
                       : fmt::format("container runtime network not ready: NetworkReady=false reason:{} message:{}",
                                     n.reason, n.message);
      },
      .admit_to_network = [this](json::value pod, std::vector<std::string> addresses) -> task<void> {
        // Where there were none and no server says otherwise, nothing is waited for.
        if (!policies_ || (had_no_policies_ && !policies_->any())) co_return;
        co_await policies_->admit(std::move(pod), std::move(addresses));
      }});
  pod_streams_.emplace(*pods_, pod_runtime_, control_.network);
  usage_.emplace(usage_paths{.root = {}, .storage = config_.agent_folder()}, [this] {
    return pods_to_measure(*pods_, [this](const value& pod) { return pod_settings_.logs_of(pod); });
  });
  auto warn = [this](std::string reason, std::string message) {
    node_tasks_.spawn(tell("Warning", reason, std::move(message)));
  };
  const auto images_folder = config_.agent_folder() + "/containerd";
  collector_.emplace(image_collector::parts{.runtime = pod_runtime_,
                                            .settings = config_.kubelet,
                                            .folder = images_folder,
                                            .pause_image = config_.pause_image,
                                            .tell = warn});
  evictor_.emplace(evictor::parts{.pods = *pods_,
                                  .runtime = pod_runtime_,
                                  .images = *collector_,
                                  .settings = config_.kubelet,
                                  .node_folder = config_.agent_folder(),
                                  .image_folder = images_folder,
                                  .read = control_.read_pressure,
                                  .changed = [this](const node_pressure& now) { pod_settings_.pressure = now; },
                                  .tell = warn});
  keepers_.emplace(node_keepers::parts{.api = *api_,
                                       .cluster = cluster,
                                       .node = config_.node_name,
                                       .pods = *pods_,
                                       .runtime = pod_runtime_,
                                       .settings = config_.kubelet,
                                       .of_pods = pod_settings_,
                                       .machine = [this] { return machine_; },
                                       .handlers = [this]() -> auto& { return runtime_.handlers; },
                                       .network = control_.network,
                                       .look = [this] { look_now_.set(); },
                                       .tell =
                                           [this](bool warning, std::string reason, std::string message) {
                                             node_tasks_.spawn(
                                                 tell(warning ? "Warning" : "Normal", reason, std::move(message)));
                                           }});
  pods_->use(*keepers_);
  const std::vector<plugin_handler*> who{&volumes_->csi_plugins(), &keepers_->device_plugins(),
                                         &keepers_->claim_plugins()};
  plugins_.emplace(pod_settings_.root + "/plugins_registry", who, control_.network);
  if (!containerd_) co_return;
  auto agent_folder = config_.agent_folder();
  importer_.emplace(
      importer_parts{.folder = agent_folder + "/images",
                     .record_file = agent_folder + "/etc/imported-images.json",
                     .runtime = pod_runtime_,
                     .socket = [this] { return containerd_->running() ? containerd_->socket() : std::string(); },
                     .extra_registries = config_.airgap_extra_registries,
                     .network = control_.network});
  node_tasks_.spawn(importer_->run());
}

// Those that CSI drivers and others serve. What is mounted is found before a Node tells what is in use.
task<void> agent::prepare_volumes(pod_cluster& cluster) {
  volumes_.emplace(node_volumes_parts{.root = pod_settings_.root,
                                      .node_name = config_.node_name,
                                      .shares_root = config_.is_default_data_dir(),
                                      .api = *api_,
                                      .cluster = cluster,
                                      .network = control_.network,
                                      .in_use_changed = [this] { look_now_.set(); },
                                      .snapshots =
                                          [this] {
                                            return containerd_
                                                       ? snapshot_source{containerd_->socket(),
                                                                         containerd_->snapshotter(),
                                                                         mounts_images(runtime_.name, runtime_.version)}
                                                       : snapshot_source();
                                          },
                                      .told_node = [this] { return written_ ? &node_ : nullptr; }});
  co_await volumes_->begin();
}

task<void> agent::read_static_pods() {
  std::vector<std::string> told;
  for (;;) {
    auto read = co_await reactor::offload([folder = config_.agent_folder() + "/pod-manifests",
                                           name = config_.node_name] { return read_manifests(folder, name); });
    if (read) {
      if (read->problems != told)
        for (auto& p : read->problems) log::warning("static pod {}", p);
      told = std::move(read->problems);
      pods_->static_pods(std::move(read->pods));
    }
    co_await reactor::sleep_for(static_period);
  }
}

// From when the Node is there: what it has is what pods are admitted by. And when the images that lie on the disk are
// the runtime's, so that nobody asks a registry for them.
task<void> agent::run_pods() {
  if (importer_) co_await importer_->ready().wait();
  pod_settings_.node.allocatable = node_["status"]["allocatable"];
  pod_settings_.node_labels = node_["metadata"]["labels"];
  if (!runtime_.name.empty()) pod_settings_.runtime = runtime_.name;
  node_tasks_.spawn(pod_events_->run());
  node_tasks_.spawn(volumes_->run());
  node_tasks_.spawn(plugins_->run());
  co_await pods_->begin();
  node_tasks_.spawn(pods_->run());
  node_tasks_.spawn(collector_->run());
  node_tasks_.spawn(evictor_->run());
  node_tasks_.spawn(keepers_->run());
  node_tasks_.spawn(keep_logs_small(*pods_, pod_runtime_, config_.kubelet));
  node_tasks_.spawn(read_static_pods());
  node_tasks_.spawn(pods_->keep_mirrors([this] { return node_; }));
  if (control_.joined->from_disk && offline_pods_)
    for (auto& pod : co_await offline_pods_->pods()) pods_->changed(std::move(pod));
  auto kept = [this](auto tell) {
    if (offline_pods_) tell(*offline_pods_);
  };
  node_tasks_.spawn(watch_collection(*api_, "this node's pods",
                                     "/api/v1/pods?fieldSelector=spec.nodeName%3D" + config_.node_name,
                                     {.listed =
                                          [this, kept](std::vector<value> all) {
                                            kept([&](offline_pods& o) { o.listed(all); });
                                            pods_->listed(std::move(all));
                                          },
                                      .changed =
                                          [this, kept](value pod) {
                                            kept([&](offline_pods& o) { o.changed(pod); });
                                            pods_->changed(std::move(pod));
                                          },
                                      .removed =
                                          [this, kept](value pod) {
                                            kept([&](offline_pods& o) { o.removed(pod); });
                                            pods_->removed(pod);
                                          }}));
}

duration agent::pause() const {
  if (control_.ready.is_set()) return is_ready() ? config_.kubelet.status_interval : unready_poll_interval;
  // Quickly, as long as the runtime may be about to answer; not for a containerd that isn't installed.
  auto since_start = loop::current().now() - began_;
  bool may_come = !containerd_ || containerd_->running() || since_start < restart_first;
  return may_come && since_start < start_poll_span ? start_poll_interval : unready_poll_interval;
}

task<result<void>> agent::adopt_or_create() {
  auto wanted = describe_node(facts(), {}, wall_now());
  auto created = co_await api_->create("/api/v1/nodes", wanted);
  if (created) {
    node_ = *std::move(created);
    reported_at_ = loop::current().now();
    log::info("node {} created", config_.node_name);
    co_return result<void>();
  }
  if (created.error().code != errc::already_exists) co_return fail(std::move(created).error());
  KEDGE_CO_TRY(node_, co_await api_->get(node_path()));
  auto boot_id = std::string(node_["status"]["nodeInfo"]["bootID"].as_string());
  if (auto patch = registration_patch(node_, wanted); !patch.is_null()) {
    KEDGE_CO_TRY(node_, co_await api_->strategic_patch(node_path(), patch));
  }
  if (!takes_egress(control_.joined->cluster) && !node_["metadata"]["labels"][egress_label].is_null()) {
    value unmarked(
        json::object{{"metadata", json::object{{"labels", json::object{{std::string(egress_label), nullptr}}}}}});
    KEDGE_CO_TRY(node_, co_await api_->merge_patch(node_path(), unmarked));
  }
  log::info("node {} taken over from an earlier start", config_.node_name);
  if (!boot_id.empty() && boot_id != machine_.boot_id)
    co_await tell("Warning", "Rebooted",
                  fmt::format("Node {} has been rebooted, boot id: {}", config_.node_name, machine_.boot_id));
  co_return result<void>();
}

task<void> agent::look_at_runtime() {
  if (containerd_) {
    cri_.use(containerd_->socket());
    pod_runtime_.use(containerd_->socket());
    if (!containerd_->problem().empty()) {
      runtime_.error = containerd_->problem();
      co_return;
    }
  }
  auto status = co_await cri_.status();
  if (!status) {
    runtime_.error = "container runtime is down: " + status.error().message;
    co_return;
  }
  bool was_down = !runtime_.error.empty();
  runtime_.runtime = std::move(status->runtime);
  runtime_.network = std::move(status->network);
  pod_settings_.handlers = runtime_.handlers = std::move(status->handlers);
  if (was_down) {
    auto version = co_await cri_.version();
    if (!version) {
      runtime_.error = "container runtime is down: " + version.error().message;
      co_return;
    }
    runtime_.name = std::move(version->runtime_name);
    runtime_.version = std::move(version->runtime_version);
    if (auto dash = runtime_.version.find('~'); dash != std::string::npos) runtime_.version.resize(dash);
    if (!containerd_) co_await cri_.warn_of_systemd(config_.container_runtime_endpoint);  // ours is told
    images_at_ = {};
  }
  runtime_.error.clear();
  // The list is not worth a wait before the node is ready.
  auto now = loop::current().now();
  if (!control_.ready.is_set() || now - images_at_ < image_list_interval) co_return;
  images_at_ = now;
  if (auto images = co_await (image_cri_ ? *image_cri_ : cri_).list_images()) runtime_.images = *std::move(images);
}

task<void> agent::look_at_machine() {
  auto read = co_await reactor::offload(
      [read = control_.read_machine, path = config_.agent_folder()] { return read({.storage = path}); });
  if (!read || !*read) {
    log::warning("the machine's state can't be read: {}", read ? read->error().message : read.error().message);
    co_return;
  }
  machine_ = *std::move(*read);
}

task<result<void>> agent::write_status() {
  // Read first: others write it too, such as the controller that calls a silent node's state unknown.
  KEDGE_CO_TRY(node_, co_await api_->get(node_path()));
  if (auto twin = twins_.look(node_); !twin.empty()) {
    log::error("{}", twin);
    co_await tell("Warning", "DuplicateNode", twin);
    moved_ = true;  // what the servers take addresses from says this one's again, once: the other one notices that
  }
  if (network_) network_->saw(node_);
  if (offline_) {
    offline_->keep(node_path(), offline_node(node_));
    if (auto any = policies_ ? policies_->any() : std::nullopt)
      offline_->keep(std::string(policies_path), value(json::object{{"any", *any}}));
  }
  if (admin_) {
    if (auto claimed = co_await claim_role(); !claimed)
      log::warning("the node's role can't be set: {}", claimed.error().message);
  }
  auto now = loop::current().now();
  auto wanted = describe_node(facts(), node_, wall_now());
  if (std::exchange(moved_, false)) {
    if (auto said = registration_patch(node_, wanted); !said.is_null()) {
      auto told = co_await api_->strategic_patch(node_path(), said);
      moved_ |= !told;  // or it has moved again meanwhile
      KEDGE_CO_TRY(node_, std::move(told));
    }
  }
  auto patch = status_patch(node_, wanted, now - reported_at_ >= status_report_interval);
  if (patch.is_null()) {
    twins_.wrote(node_);  // it stands as this machine would write it
    notice_ready();
    co_return result<void>();
  }
  pod_settings_.node_labels = node_["metadata"]["labels"];
  pod_settings_.node.allocatable = wanted["status"]["allocatable"];
  auto before = std::move(node_);
  node_ = before;
  KEDGE_CO_TRY(node_, co_await api_->strategic_patch(node_path() + "/status", patch));
  twins_.wrote(node_);
  reported_at_ = now;
  co_await tell_changes(before);
  notice_ready();
  co_return result<void>();
}

// Whoever wrote it: a node whose runtime runs already is ready in the text that it is created with.
void agent::notice_ready() {
  if (!is_ready() || control_.ready.is_set()) return;
  log::info("node {} is ready after {} ms", config_.node_name,
            std::chrono::duration_cast<std::chrono::milliseconds>(loop::current().now() - began_).count());
  control_.ready.set();
}

task<result<void>> agent::claim_role() {
  auto patch = server_role_patch(node_);
  if (patch.is_null()) co_return result<void>();
  // The server renews it.
  auto read = co_await reactor::offload([c = config_]() -> result<client_identity> {
    KEDGE_TRY(auto chain, crypto::read_file(c.admin_certificate));
    KEDGE_TRY(auto key, crypto::read_file(c.admin_key));
    return client_identity{std::move(chain), std::move(key)};
  });
  KEDGE_CO_TRY(auto identity, std::move(read));
  KEDGE_CO_TRY(auto admin, std::move(identity));
  KEDGE_CO_CHECK(admin_->use(control_.joined->server_ca, admin));
  KEDGE_CO_TRY(node_, co_await admin_->merge_patch(node_path(), patch));
  co_return result<void>();
}

task<void> agent::tell_changes(const value& before) {
  for (auto reason : reasons_of_changes(before, node_))
    co_await tell("Normal", reason, fmt::format("Node {} status is now: {}", config_.node_name, reason));
}

// Events are told once and not again: nobody waits for them.
task<void> agent::tell(std::string_view type, std::string_view reason, std::string message) {
  auto event = node_event(config_.node_name, type, reason, message, wall_now());
  auto sent = co_await api_->create("/api/v1/namespaces/default/events", event);
  if (!sent) log::debug("event {} not recorded: {}", reason, sent.error().message);
}

task<void> agent::keep_lease() {
  auto next = loop::current().now();
  for (;;) {
    api_backoff backoff;
    for (bool first = true;; first = false) {
      if (node_gone_) break;  // the collector would take the Lease of a Node that isn't there
      auto renewed = co_await renew_lease();
      if (renewed) break;
      lease_ = {};  // whatever it is now is asked for
      if (first) log::warning("the node's lease can't be renewed: {}", renewed.error().message);
      co_await backoff.wait();
    }
    // At a steady beat, unless it is so late that the next one is due.
    next = std::max(next + lease_renew_interval, loop::current().now() + lease_renew_interval / 2);
    co_await reactor::sleep_until(next);
  }
}

task<result<void>> agent::renew_lease() {
  static constexpr std::string_view collection = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
  auto path = std::string(collection) + "/" + config_.node_name;
  if (lease_.is_null()) {
    auto found = co_await api_->get(path);
    if (!found && found.error().code != errc::not_found) co_return fail(std::move(found).error());
    if (!found) {
      KEDGE_CO_TRY(lease_, co_await api_->create(std::string(collection), node_lease(node_, {}, wall_now())));
      co_return result<void>();
    }
    lease_ = *std::move(found);
  }
  KEDGE_CO_TRY(lease_, co_await api_->update(path, node_lease(node_, lease_, wall_now())));
  co_return result<void>();
}

}  // namespace

task<result<void>> run_node(agent_config config, agent_control& control) {
  agent a(std::move(config), control);
  co_return co_await a.run();
}

}  // namespace kedge::node
