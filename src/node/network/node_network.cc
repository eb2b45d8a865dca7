#include "node/network/node_network.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "node/network/cni_config.h"
#include "node/network/limits.h"
#include "node/nft/hostports.h"
#include "node/services/conntrack_limits.h"
#include "reactor/offload.h"

namespace kedge::node {

using json::value;

namespace {

std::optional<value> data_of(const value& config_map) {
  return value(json::object{{"uid", config_map["metadata"]["uid"]}, {"data", config_map["data"]}});
}

std::string only(std::string_view name) {
  return "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3D" + std::string(name);
}
constexpr std::string_view custom_name = "coredns-custom", packaged_name = "coredns";  // as K3s has them
constexpr std::size_t event_message_max = 1024;                                        // the API's

// Where this node's own agent and server listen.
std::vector<std::uint16_t> own_ports(const agent_config& c) {
  std::vector<std::uint16_t> out;
  if (c.reachable) out.push_back(c.kubelet.port);
  if (c.balancer_port) out.push_back(c.balancer_port);
  const bool within_server = !c.admin_certificate.empty();
  if (auto server = net::http::parse_url(c.server_url, nullptr); server && within_server)
    out.push_back(server->first.at.port);
  return out;
}

constexpr const char* api_service = "default/kubernetes";

}  // namespace

node_network::node_network(network_parts parts)
    : parts_(parts), nodes_(decode_node), custom_names_(data_of), node_hosts_(data_of) {
  for (auto* cache : {&custom_names_, &node_hosts_}) {
    cache->on_change = [this](const std::string&) { custom_changed_.set(); };
    cache->on_listed = [this] { custom_changed_.set(); };
  }
  for (auto& text : parts_.cluster.cluster_cidrs)
    if (auto r = ip_range::parse(text)) cluster_ranges_.push_back(*r);
  nodes_.on_change = [this](const std::string&) { nodes_changed(); };
  nodes_.on_listed = [this] { nodes_changed(); };
  read_own_addresses();
  own_ = {.addresses = {}, .ports = own_ports(parts_.config), .anew = true};
  auto& c = parts_.cluster;
  auto family = [&](bool v4) {
    return std::ranges::any_of(c.service_cidrs, [&](auto& text) {
      auto r = ip_range::parse(text);
      return r && r->is_v4() == v4;
    });
  };
  own_.v6 = family(false);
  if (!c.disable_dns) {
    for (auto& text : c.cluster_dns)
      if (auto a = ip_address::parse(text)) dns_addresses_.push_back(*a);
    own_.addresses = dns_addresses_;
    names_.emplace(dns::zone_settings{.domain = c.cluster_domain, .servers = dns_addresses_}, services_);
    forwarder_.emplace(std::vector<dns::upstream_address>());
    dns_.emplace(dns::server_settings{.addresses = dns_addresses_,
                                      .may_ask = [this](const ip_address& a) { return may_ask(a); }},
                 *names_, *forwarder_);
  }
  if (!c.disable_kube_proxy) {
    proxy_.emplace(proxy_options{.node = parts_.config.node_name,
                                 .node_ips = own_addresses_,
                                 .cluster = cluster_ranges_,
                                 .v4 = family(true),
                                 .v6 = family(false),
                                 .own_addresses = dns_addresses_,
                                 .settings = parts_.config.kube_proxy},
                   services_);
    health_ports_.emplace(health_port_options{.node = parts_.config.node_name,
                                              .address = family(true) && !family(false) ? "0.0.0.0" : "::"},
                          services_, [this] { return proxy_->is_healthy(); });
    services_.watchers.push_back([this](const std::string& service) {
      if (service.empty() || service == api_service) keep_ports();
    });
  }
}

void node_network::read_own_addresses() {
  own_addresses_.clear();
  for (auto& text : parts_.config.node_ips)
    if (auto a = ip_address::parse(text)) own_addresses_.push_back(*a);
}

void node_network::moved() {
  read_own_addresses();
  if (proxy_) proxy_->set_node_addresses(own_addresses_);
  changed_.set();
}

// Where each server's API is, and each node's kubelet.
void node_network::keep_ports() {
  std::set<std::pair<ip_address, std::uint16_t>> kept;
  for (auto* slice : services_.slices_of(api_service))
    for (auto& e : slice->endpoints)
      for (auto& a : e.addresses)
        for (auto& p : slice->ports)
          if (p.protocol == transport::tcp) kept.emplace(a, p.port);
  nodes_.each([&](auto&, const node_record& n) {
    for (auto* all : {&n.internal, &n.external})
      for (auto& a : *all) kept.emplace(a, parts_.config.kubelet.port);
  });
  for (auto& a : own_addresses_)
    for (auto port : own_.ports) kept.emplace(a, port);
  proxy_->set_kept(std::move(kept));
}

void node_network::nodes_changed() {
  changed_.set();
  if (proxy_ && nodes_.listed()) keep_ports();
  if (!names_ || !nodes_.listed()) return;
  std::vector<dns::named_node> named;
  nodes_.each([&](auto&, const node_record& n) {
    if (!n.internal.empty()) named.push_back({lower(n.name), lower(n.host_name), n.internal});
  });
  names_->set_nodes(named);
}

bool node_network::may_ask(const ip_address& who) const {
  if (who.is_loopback()) return true;
  for (auto& r : cluster_ranges_)
    if (r.contains(who)) return true;
  return std::ranges::find(own_addresses_, who) != own_addresses_.end() ||
         std::ranges::find(dns_addresses_, who) != dns_addresses_.end();
}

void node_network::saw(const value& node) {
  auto n = decode_node(node);
  if (!n) return;
  known4_ = n->v4;
  known6_ = n->v6;
  // What the Node should say and doesn't, another having taken it away, is told again.
  if (auto* all = node["metadata"]["annotations"].object())
    for (auto& [name, said] : told_) {
      auto* there = all->find(name);
      if (there ? !(*there == said) : !said.is_null()) {
        told_ = {};
        changed_.set();
        break;
      }
    }
  if (auto zone = n->labels.find("topology.kubernetes.io/zone"); proxy_)
    proxy_->set_zone(zone == n->labels.end() ? std::string() : zone->second);
  if (n->pod_ranges.empty() || n->pod_ranges == ranges_) return;
  ranges_ = std::move(n->pod_ranges);
  ranges_known_.set();
  changed_.set();
}

task<void> node_network::run() {
  co_await guard_own();  // before there is anything to guard
  auto& view = parts_.cluster_view;
  tasks_.spawn(view.follow("/api/v1/nodes", nodes_));
  if (parts_.cluster.flannel_backend != "none") {
    auto kind = parse_overlay_kind(parts_.cluster.flannel_backend);
    if (kind)
      kind_ = *kind;
    else
      log::error("{}; pods of this node get addresses, but those of other nodes are not reached", kind.error().message);
    tasks_.spawn(keep_overlay());
  }
  if (proxy_ || dns_) {
    tasks_.spawn(view.follow("/api/v1/services", services_.services));
    tasks_.spawn(view.follow("/apis/discovery.k8s.io/v1/endpointslices", services_.slices));
  }
  tasks_.spawn(keep_tables());
  if (proxy_) tasks_.spawn(watch_connections());
  if (proxy_) tasks_.spawn(proxy_->run());
  if (health_ports_) tasks_.spawn(health_ports_->run());
  if (dns_) {
    tasks_.spawn(answer_names());
    tasks_.spawn(keep_resolvers());
    tasks_.spawn(view.follow(only(custom_name), custom_names_));
    tasks_.spawn(view.follow(only(packaged_name), node_hosts_));
    tasks_.spawn(keep_custom_names());
    tasks_.spawn(look_for_loops());
  }
  co_await tasks_.join();
}

// The addresses are put on lo, where they stay: another start finds them.
task<void> node_network::answer_names() {
  std::string problem;
  for (;;) {
    auto added = co_await reactor::offload([all = dns_addresses_]() -> result<void> {
      KEDGE_TRY(auto here, links::open());
      KEDGE_TRY(auto lo, here.find("lo"));
      for (auto& a : all) KEDGE_CHECK(here.add_address(lo.index, {a, a.bits()}));
      return {};
    });
    if (added && *added) break;
    auto now = added ? (*added).error().message : added.error().message;
    if (now != problem) log::warning("the cluster's names can't be answered yet: {}", now);
    problem = std::move(now);
    co_await reactor::sleep_for(network_retry);
  }
  co_await dns_->run();
}

// The machine's resolvers change with its network.
task<void> node_network::keep_resolvers() {
  for (;;) {
    auto own = dns_addresses_;
    auto found = co_await reactor::offload(
        [configured = parts_.config.resolv_conf, own] { return dns::find_resolvers(configured, own); });
    if (found) {
      forwarder_->set_upstreams({found->begin(), found->end()});
      asked_changed_.set();
    }
    co_await reactor::sleep_for(network_look_interval);
  }
}

// What users configure, each time that it changes.
task<void> node_network::keep_custom_names() {
  std::map<std::string, std::string> told;  // by ConfigMap
  for (;;) {
    co_await custom_changed_.wait();
    custom_changed_.reset();
    dns::config_sources from{.domain = parts_.cluster.cluster_domain, .own = dns_addresses_, .trust = trust_};
    if (auto* custom = custom_names_.find("kube-system/" + std::string(custom_name)))
      if (auto* all = (*custom)["data"].object())
        for (auto& [name, text] : *all) from.custom.emplace(name, text.as_string());
    std::string node_hosts, corefile;
    if (auto* packaged = node_hosts_.find("kube-system/" + std::string(packaged_name))) {
      node_hosts = (*packaged)["data"]["NodeHosts"].as_string();
      corefile = (*packaged)["data"]["Corefile"].as_string();
    }
    from.node_hosts = node_hosts;
    from.corefile = corefile;
    auto config = dns::read_custom(from);
    std::map<std::string, std::string> problems;
    for (auto& p : config.problems) {
      auto& all = problems[std::string(p.starts_with("Corefile:") ? packaged_name : custom_name)];
      all += (all.empty() ? "" : "; ") + p;
    }
    names_->set_ttl(config.cluster_ttl);
    forwarder_->set_options(config.machine);
    dns_->use(std::move(config));
    asked_changed_.set();
    for (auto name : {custom_name, packaged_name}) {
      auto now = problems[std::string(name)];
      if (std::exchange(told[std::string(name)], now) != now && !now.empty())
        co_await tell_of_problems(std::string(name), std::move(now));
    }
  }
}

// A resolver that asks this node again would do so until nothing more can wait: what leads there is asked no more
// until it leads elsewhere.
task<void> node_network::look_for_loops() {
  co_await dns_->ready().wait();
  for (;;) {
    bool open = false;
    asked_changed_.reset();
    for (auto& to : dns_->all_asked_outside()) {
      auto& by = to.by ? *to.by : *forwarder_;
      const bool before = by.loops();
      if (by.is_checked() && !before) continue;
      auto loops = co_await dns_->look_for_loop(to);
      open = open || loops.value_or(true);
      if (!loops || *loops == before) continue;
      auto who = fmt::format("resolver {}{}", by.upstreams_text(), to.zone.empty() ? "" : " for " + to.zone);
      if (!*loops) {
        log::info("dns: {} leads back to this node no more", who);
        continue;
      }
      log::warning("dns: {} leads back to this node: nobody is asked there", who);
      co_await tell({{"kind", "Node"}, {"apiVersion", "v1"}, {"name", parts_.config.node_name}}, "DNSLoop",
                    who +
                        " asks this node's DNS again (a loop), so that it isn't asked; name another with "
                        "--resolv-conf, or in ConfigMap kube-system/coredns-custom");
    }
    co_await asked_changed_.wait_until(open ? reactor::loop::current().now() + network_look_interval
                                            : time_point::max());
  }
}

task<void> node_network::tell_of_problems(std::string config_map, std::string problems) {
  log::warning("ConfigMap kube-system/{}: {}", config_map, problems);
  auto& cache = config_map == custom_name ? custom_names_ : node_hosts_;
  auto* there = cache.find("kube-system/" + config_map);
  json::object about{{"kind", "ConfigMap"},
                     {"apiVersion", "v1"},
                     {"namespace", "kube-system"},
                     {"name", config_map},
                     {"uid", there ? (*there)["uid"] : value("")}};
  co_await tell(std::move(about), "NotObeyed", std::move(problems));
}

// Once for all nodes that say the same: the event's name follows from what it says.
task<void> node_network::tell(json::object about, std::string reason, std::string message) {
  if (message.size() > event_message_max) message.resize(event_message_max);
  auto now = format_rfc3339(reactor::loop::current().wall_now());
  value involved(std::move(about));
  auto name = fmt::format("{}.{:016x}", involved["name"].as_string(), std::hash<std::string>{}(message));
  // Of what has no namespace they are in default.
  auto space = std::string(involved["namespace"].as_string());
  if (space.empty()) space = "default";
  auto made = co_await parts_.api.create(
      "/api/v1/namespaces/" + space + "/events",
      json::object{{"kind", "Event"},
                   {"apiVersion", "v1"},
                   {"metadata", json::object{{"name", name}, {"namespace", space}}},
                   {"involvedObject", std::move(involved)},
                   {"reason", reason},
                   {"message", message},
                   {"type", "Warning"},
                   {"source", json::object{{"component", "kedge-dns"}, {"host", parts_.config.node_name}}},
                   {"firstTimestamp", now},
                   {"lastTimestamp", now},
                   {"count", 1}});
  if (!made && made.error().code != errc::already_exists) log::debug("the event {}: {}", name, made.error().message);
}

task<void> node_network::guard_own() {
  auto done = co_await reactor::offload([own = own_] { return nft::guard_node(own); });
  auto now = !done ? done.error().message : !*done ? (*done).error().message : std::string();
  if (!now.empty() && now != guard_problem_)
    log::warning("the node's own addresses and ports can't be kept from hostPorts yet: {}", now);
  if (now.empty()) own_.anew = false;
  guard_problem_ = std::move(now);
}

// What leads pods out and their hostPorts in, when another program takes it away or empties it.
task<void> node_network::keep_tables() {
  hostports_seen_ = parts_.config.is_default_data_dir();  // and so the machine's one agent, before which there was one
  for (;;) {
    co_await reactor::sleep_for(services_look_interval);
    co_await guard_own();
    if (overlay_ && !written_.empty()) {
      auto stands = co_await reactor::offload(
          [o = *overlay_, v6 = parts_.cluster.flannel_ipv6_masquerade] { return masquerade_stands(o, v6); });
      if (stands && *stands && !**stands) {
        log::warning("the nftables rules of pods' way out were removed by another program; they are made again");
        written_.clear();
        changed_.set();
      }
    }
    struct outcome {
      result<bool> made;
      bool seen;
    };
    auto looked = co_await reactor::offload([seen = hostports_seen_]() mutable -> outcome {
      auto made = nft::restore_hostports(nft::hostports_folder, seen);
      return {std::move(made), seen};
    });
    if (!looked) continue;
    hostports_seen_ = looked->seen;
    if (looked->made && *looked->made)
      log::warning("the nftables rules of hostPorts were removed by another program; they are made again");
  }
}

task<void> node_network::watch_connections() {
  conntrack_fullness fullness;
  for (;;) {
    co_await reactor::sleep_for(services_look_interval);
    auto read = co_await reactor::offload([] { return read_tracked_connections(); });
    if (!read || !*read) continue;
    auto full = fullness.see(**read);
    if (full == false) log::info("connection tracking has room again");
    if (full != true) continue;
    auto message = fmt::format(
        "connection tracking is full ({} connections): new ones are dropped until others end; allow more with "
        "--kube-proxy-arg=conntrack-min=N or conntrack-max-per-core=N, or find out who opens so many",
        (*read)->most);
    log::warning("{}", message);
    co_await tell({{"kind", "Node"}, {"apiVersion", "v1"}, {"name", parts_.config.node_name}}, "ConntrackFull",
                  std::move(message));
  }
}

task<void> node_network::keep_overlay() {
  std::string problem;
  co_await ranges_known_.wait();
  for (;;) {
    changed_.reset();
    auto done = co_await open();
    if (done) done = co_await tell_others();
    if (done && nodes_.listed()) {
      std::vector<node_record> all;
      nodes_.each([&](auto&, const node_record& n) { all.push_back(n); });
      auto applied = co_await reactor::offload(
          [o = *overlay_, wanted = plan_overlay(*overlay_, all)] { return apply_overlay(o, wanted); });
      done = applied ? std::move(*applied) : fail(std::move(applied).error());
    }
    auto now = done ? std::string() : done.error().message;
    if (!now.empty() && now != problem) log::warning("the pods' network isn't right yet: {}", now);
    problem = std::move(now);
    auto next = reactor::loop::current().now() + (problem.empty() ? network_look_interval : network_retry);
    co_await changed_.wait_until(next);
    // Nodes come in crowds.
    co_await reactor::sleep_for(network_settle);
  }
}

// The devices, and what the runtime reads; looked at again each time, since addresses change and others flush tables.
task<result<void>> node_network::open() {
  overlay_options o{.kind = kind_,
                    .node_name = parts_.config.node_name,
                    .interface = parts_.config.flannel_interface,
                    .node_ips = parts_.config.node_ips,
                    .subnets = ranges_,
                    .known4 = known4_,
                    .known6 = known6_};
  struct opened {
    overlay is;
    std::string written;
  };
  auto done = co_await reactor::offload([o, c = parts_.config, cluster = cluster_ranges_,
                                         masquerade_v6 = parts_.cluster.flannel_ipv6_masquerade,
                                         before = written_]() -> result<opened> {
    KEDGE_TRY(auto is, open_overlay(o));
    auto environment = subnet_environment(is, cluster);
    auto list = cni_conflist({.subnet_file = c.subnet_file(), .leases = c.lease_folder()});
    if (!c.flannel_cni_conf.empty()) { KEDGE_TRY(list, crypto::read_file(c.flannel_cni_conf)); }
    auto all = environment + list;
    if (all != before) {
      KEDGE_CHECK(apply_masquerade(is, cluster, masquerade_v6));
      auto write = [](const std::string& path, const std::string& text) -> result<void> {
        // The runtime reads its folder again at each change: no change, no work.
        if (auto old = crypto::read_file(path); old && *old == text) return {};
        KEDGE_CHECK(crypto::make_folder(path.substr(0, path.find_last_of('/')), 0755));
        return crypto::write_file(path, text, {.mode = 0644});
      };
      KEDGE_CHECK(write(c.subnet_file(), environment));
      KEDGE_CHECK(write(c.cni_conf_folder() + "/" + std::string(cni_file_name), list));
    }
    return opened{std::move(is), std::move(all)};
  });
  if (!done) co_return fail(std::move(done).error());
  KEDGE_CO_TRY(auto now, std::move(*done));
  overlay_ = std::move(now.is);
  if (written_ != now.written) {
    written_ = std::move(now.written);
    std::vector<std::string> names;
    for (auto& r : ranges_) names.push_back(r.text());
    log::info("pods of this node get addresses of {}", join(names, ","));
  }
  co_return result<void>();
}

task<result<void>> node_network::tell_others() {
  if (kind_ == overlay_kind::none) co_return result<void>();
  auto own = own_end_of(*overlay_);
  auto wanted = overlay_annotations(own);
  if (parts_.cluster.flannel_external_ip)
    for (auto& text : parts_.config.node_external_ips)
      if (auto a = ip_address::parse(text))
        wanted.set(a->is_v4() ? "flannel.alpha.coreos.com/public-ip-overwrite"
                              : "flannel.alpha.coreos.com/public-ipv6-overwrite",
                   a->text());
  if (value(wanted) == value(told_)) co_return result<void>();
  auto path = "/api/v1/nodes/" + parts_.config.node_name;
  auto patched =
      co_await parts_.api.merge_patch(path, value(json::object{{"metadata", json::object{{"annotations", wanted}}}}));
  if (!patched) co_return fail(std::move(patched).error().with("the node's annotations: "));
  told_ = std::move(wanted);
  co_return result<void>();
}

}  // namespace kedge::node
