#include "node/network/node_network.h"

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "node/network/cni_config.h"
#include "node/network/limits.h"
#include "reactor/offload.h"

namespace kedge::node {

using json::value;

node_network::node_network(network_parts parts) : parts_(parts), nodes_(decode_node) {
  for (auto& text : parts_.cluster.cluster_cidrs)
    if (auto r = ip_range::parse(text)) cluster_ranges_.push_back(*r);
  nodes_.on_change = [this](const std::string&) { changed_.set(); };
  nodes_.on_listed = [this] { changed_.set(); };
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
  if (n->pod_ranges.empty() || n->pod_ranges == ranges_) return;
  ranges_ = std::move(n->pod_ranges);
  ranges_known_.set();
  changed_.set();
}

task<void> node_network::run() {
  auto kind = parse_overlay_kind(parts_.cluster.flannel_backend);
  if (kind) {
    kind_ = *kind;
  } else {
    log::error("{}; pods of this node get addresses, but those of other nodes are not reached", kind.error().message);
  }
  tasks_.spawn(parts_.cluster_view.follow("/api/v1/nodes", nodes_));
  tasks_.spawn(keep_overlay());
  co_await tasks_.join();
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
      auto applied = co_await reactor::offload([o = *overlay_, wanted = plan_overlay(*overlay_, all)] { return apply_overlay(o, wanted); });
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
  overlay_options o{.kind = kind_, .node_name = parts_.config.node_name, .interface = parts_.config.flannel_interface,
                    .node_ips = parts_.config.node_ips, .subnets = ranges_, .known4 = known4_, .known6 = known6_};
  struct opened {
    overlay is;
    std::string written;
  };
  auto done = co_await reactor::offload([o, c = parts_.config, cluster = cluster_ranges_, masquerade_v6 = parts_.cluster.flannel_ipv6_masquerade, before = written_]() -> result<opened> {
    KEDGE_TRY(auto is, open_overlay(o));
    auto environment = subnet_environment(is, cluster);
    auto list = cni_conflist({.subnet_file = c.subnet_file(), .leases = c.lease_folder()});
    if (!c.flannel_cni_conf.empty()) {
      KEDGE_TRY(list, crypto::read_file(c.flannel_cni_conf));
    }
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
        wanted.set(a->is_v4() ? "flannel.alpha.coreos.com/public-ip-overwrite" : "flannel.alpha.coreos.com/public-ipv6-overwrite", a->text());
  if (value(wanted) == value(told_)) co_return result<void>();
  auto path = "/api/v1/nodes/" + parts_.config.node_name;
  auto patched = co_await parts_.api.merge_patch(path, value(json::object{{"metadata", json::object{{"annotations", wanted}}}}));
  if (!patched) co_return fail(std::move(patched).error().with("the node's annotations: "));
  told_ = std::move(wanted);
  co_return result<void>();
}

}  // namespace kedge::node
