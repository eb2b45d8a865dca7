// node_ipam.cc: gives each node its part of the cluster's pod addresses (Node.spec.podCIDRs), as
// kube-controller-manager's range allocator: the first free block of each range, kept for the node's life
// (node-ipam-controller).
//
// Two servers may lead at once for a moment, so that a block is reserved (api/write/reservations.h) before a node gets
// it. Why no block has two nodes: the node is written only as it was read before its reservation, without a block. A
// reservation is taken over only by who sees that its node is gone or has another block, that is, after the node
// changed: then that write fails.
#include <map>
#include <optional>

#include "api/write/reservations.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {

namespace {

constexpr std::string_view pod_cidrs = "podcidrs";
// As kube-controller-manager's, for IPv6: a range with more blocks than nodes can ever be is a mistake.
constexpr unsigned count_bits_max = 16;

// What one range of the cluster's is divided into.
struct blocks {
  ip_range all;
  unsigned mask = 24;
  std::uint64_t count = 0;

  static result<blocks> parse(const std::string& cidr, unsigned node_mask) {
    auto all = ip_range::parse(cidr);
    const unsigned most = all && all->is_v4() ? 30 : 126;
    if (!all || all->prefix() > node_mask || node_mask > most ||
        (all->is_v6() && node_mask - all->prefix() > count_bits_max))
      return fail(errc::invalid, "cluster CIDR " + quote(cidr) + " has no blocks of /" + std::to_string(node_mask));
    return blocks{*all, node_mask, std::uint64_t(1) << (node_mask - all->prefix())};
  }
  std::string text(std::uint64_t i) const { return all.part(mask, i).value().text(); }
};

result<std::vector<blocks>> blocks_of(const settings& s) {
  std::vector<blocks> out;
  for (auto& cidr : s.cluster_cidrs) {
    KEDGE_TRY(auto one, blocks::parse(cidr, cidr.contains(':') ? s.node_cidr_mask_size_v6 : s.node_cidr_mask_size));
    out.push_back(one);
  }
  return out;
}

bool has_block(const json::value& node, std::string_view block) {
  auto& spec = node["spec"];
  for (std::size_t i = 0; i < spec["podCIDRs"].size(); ++i)
    if (spec["podCIDRs"][i].as_string() == block) return true;
  return spec["podCIDR"].as_string() == block;
}

// The node of a reservation is there, and has its block or none yet.
bool is_held(const view& cluster, const api::reservation& r, const std::string& block) {
  auto owner = cluster.get(nodes, {}, r.name);
  if (!owner || uid_of(*owner) != r.uid) return false;
  return (*owner)["spec"]["podCIDR"].as_string().empty() || has_block(*owner, block);
}

// The block that a node shall have, and whether it is to be reserved first.
struct choice {
  std::string block;
  bool reserved = false;     // from an attempt before, here or by another server
  store::revision left = 0;  // the reservation of a node that is gone, which is taken over
};

class node_ipam final : public controller {
 public:
  explicit node_ipam(const settings& s) : ranges_(blocks_of(s)) {
    if (!ranges_) log::error("node addresses are not allocated: {}", ranges_.error().message);
  }

  std::vector<source> sources() override {
    return {{nodes, [this](const seen& s, keys& k) { node_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string name) override {
    if (!ranges_) co_return api::api_result<void>();
    auto cluster = s.now();
    auto node = cluster.get(nodes, {}, name);
    if (!node || !(*node)["spec"]["podCIDR"].as_string().empty()) co_return api::api_result<void>();
    auto next = *node;
    json::array given;
    for (auto& range : *ranges_) {
      auto chosen = choose(cluster, *node, range);
      if (!chosen) {
        s.recorder().tell(
            {reference_to(*node), false, "CIDRNotAvailable", "Node " + name + " status is now: CIDRNotAvailable"});
        co_return api::fail(api::unavailable("no free block in the cluster CIDR"));
      }
      if (!chosen->reserved) {
        auto ours = co_await api::reserve(s.store(), pod_cidrs, chosen->block, next, chosen->left);
        if (!ours) co_return api::fail(api::from_error(ours.error()));
        if (!*ours) co_return api::fail(api::conflict("", "nodes", name, "another server took " + chosen->block));
      }
      given.emplace_back(std::move(chosen->block));
    }
    next.member("spec").set("podCIDR", given.front());
    next.member("spec").set("podCIDRs", std::move(given));
    co_return co_await s.write(plan().write(update_of(nodes, std::move(next))), name);
  }

 private:
  void node_changed(const seen& s, keys& k) {
    auto name = std::string(s.name());
    auto had = blocks_of_.find(name);
    if (s.deleted()) {
      if (had == blocks_of_.end()) return;
      for (auto& block : had->second) taken_by_.erase(block);
      blocks_of_.erase(had);
      return;
    }
    // A node's blocks never change: most changes are passed over without a look into them.
    if (had != blocks_of_.end()) return;
    auto node = s.value();
    auto first = std::string(node["spec"]["podCIDR"].as_string());
    if (first.empty()) return k.add(name);
    std::vector<std::string> all = {std::move(first)};
    for (std::size_t i = 1; i < node["spec"]["podCIDRs"].size(); ++i)
      all.emplace_back(node["spec"]["podCIDRs"][i].as_string());
    for (auto& block : all) taken_by_[block] = name;
    blocks_of_[name] = std::move(all);
  }

  std::optional<choice> choose(const view& cluster, const json::value& node, const blocks& range) const {
    auto uid = uid_of(node);
    for (std::uint64_t i = 0; i < range.count; ++i) {
      auto one = range.text(i);
      if (taken_by_.contains(one)) continue;
      auto r = api::find_reservation(cluster.cluster(), pod_cidrs, one);
      bool reserved = r && r->uid == uid;
      if (r && !reserved && is_held(cluster, *r, one)) continue;
      return choice{std::move(one), reserved, r ? r->at : 0};
    }
    return std::nullopt;
  }

  result<std::vector<blocks>> ranges_;
  std::map<std::string, std::string, std::less<>> taken_by_;                // block → node
  std::map<std::string, std::vector<std::string>, std::less<>> blocks_of_;  // node → one of each range
};

}  // namespace

std::unique_ptr<controller> make_node_ipam(const settings& s) { return std::make_unique<node_ipam>(s); }

}  // namespace kedge::control
