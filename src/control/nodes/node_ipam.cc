// node_ipam.cc: gives each node its part of the cluster's pod addresses (Node.spec.podCIDR), as
// kube-controller-manager's range allocator: the first free block, kept for the node's life (node-ipam-controller).
//
// Two servers may lead at once for a moment, so that a block is reserved (api/write/reservations.h) before a node gets
// it. Why no block has two nodes: the node is written only as it was read before its reservation, without a block. A
// reservation is taken over only by who sees that its node is gone or has another block, that is, after the node
// changed: then that write fails.
#include <arpa/inet.h>

#include <map>
#include <optional>

#include "api/write/reservations.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {

namespace {

constexpr std::string_view pod_cidrs = "podcidrs";

struct blocks {
  std::uint32_t first = 0;  // host order
  std::uint32_t count = 0;  // how many blocks the range has
  unsigned mask = 24;

  static result<blocks> parse(const std::string& cidr, unsigned node_mask) {
    auto slash = cidr.find('/');
    in_addr a{};
    auto prefix = slash == std::string::npos ? std::nullopt : parse_uint(std::string_view(cidr).substr(slash + 1));
    if (!prefix || *prefix > node_mask || node_mask > 30 || inet_pton(AF_INET, cidr.substr(0, slash).c_str(), &a) != 1)
      return fail(errc::invalid,
                  "cluster CIDR " + quote(cidr) + " has no IPv4 blocks of /" + std::to_string(node_mask));
    return blocks{ntohl(a.s_addr), std::uint32_t(1) << (node_mask - *prefix), node_mask};
  }
  std::string text(std::uint32_t i) const {
    in_addr a{htonl(first + (i << (32 - mask)))};
    char buffer[INET_ADDRSTRLEN];
    return std::string(inet_ntop(AF_INET, &a, buffer, sizeof buffer)) + "/" + std::to_string(mask);
  }
};

// The node of a reservation is there, and has its block or none yet.
bool is_held(const view& cluster, const api::reservation& r, const std::string& block) {
  auto owner = cluster.get(nodes, {}, r.name);
  if (!owner || uid_of(*owner) != r.uid) return false;
  auto has = (*owner)["spec"]["podCIDR"].as_string();
  return has.empty() || has == block;
}

// The block that a node shall have, and whether it is to be reserved first.
struct choice {
  std::string block;
  bool reserved = false;     // from an attempt before, here or by another server
  store::revision left = 0;  // the reservation of a node that is gone, which is taken over
};

class node_ipam final : public controller {
 public:
  explicit node_ipam(const settings& s) : range_(blocks::parse(s.cluster_cidr, s.node_cidr_mask_size)) {
    if (!range_) log::error("node addresses are not allocated: {}", range_.error().message);
  }

  std::vector<source> sources() override {
    return {{nodes, [this](const seen& s, keys& k) { node_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string name) override {
    if (!range_) co_return api::api_result<void>();
    auto cluster = s.now();
    auto node = cluster.get(nodes, {}, name);
    if (!node || !(*node)["spec"]["podCIDR"].as_string().empty()) co_return api::api_result<void>();
    auto chosen = choose(cluster, *node);
    if (!chosen) {
      s.recorder().tell(
          {reference_to(*node), false, "CIDRNotAvailable", "Node " + name + " status is now: CIDRNotAvailable"});
      co_return api::fail(api::unavailable("no free block in the cluster CIDR"));
    }
    auto next = *node;
    if (!chosen->reserved) {
      auto ours = co_await api::reserve(s.store(), pod_cidrs, chosen->block, next, chosen->left);
      if (!ours) co_return api::fail(api::from_error(ours.error()));
      if (!*ours) co_return api::fail(api::conflict("", "nodes", name, "another server took " + chosen->block));
    }
    next.member("spec").set("podCIDR", chosen->block);
    next.member("spec").set("podCIDRs", json::array{chosen->block});
    co_return co_await s.write(plan().write(update_of(nodes, std::move(next))), name);
  }

 private:
  void node_changed(const seen& s, keys& k) {
    auto name = std::string(s.name());
    auto had = block_of_.find(name);
    if (s.deleted()) {
      if (had == block_of_.end()) return;
      taken_by_.erase(had->second);
      block_of_.erase(had);
      return;
    }
    // A node's block never changes: most changes are passed over without a look into them.
    if (had != block_of_.end()) return;
    auto block = std::string(s.value()["spec"]["podCIDR"].as_string());
    if (block.empty()) return k.add(name);
    taken_by_[block] = name;
    block_of_[name] = block;
  }

  std::optional<choice> choose(const view& cluster, const json::value& node) const {
    auto uid = uid_of(node);
    for (std::uint32_t i = 0; i < range_->count; ++i) {
      auto one = range_->text(i);
      if (taken_by_.contains(one)) continue;
      auto r = api::find_reservation(cluster.cluster(), pod_cidrs, one);
      bool reserved = r && r->uid == uid;
      if (r && !reserved && is_held(cluster, *r, one)) continue;
      return choice{std::move(one), reserved, r ? r->at : 0};
    }
    return std::nullopt;
  }

  result<blocks> range_;
  std::map<std::string, std::string, std::less<>> taken_by_;  // block → node
  std::map<std::string, std::string, std::less<>> block_of_;  // node → block
};

}  // namespace

std::unique_ptr<controller> make_node_ipam(const settings& s) { return std::make_unique<node_ipam>(s); }

}  // namespace kedge::control
