// node_ipam.cc: gives each node its part of the cluster's pod addresses (Node.spec.podCIDR), as kube-controller-manager's
// range allocator: the first free block, kept for the node's life.
//
// Two servers may lead at once for a moment, so that a block is reserved (api/reservations.h) before a node gets it. Why no block
// has two nodes: the node is written only as it was read before its reservation, without a block. A reservation is taken over
// only by who sees that its node is gone or has another block, that is, after the node changed: then that write fails.
#include <arpa/inet.h>

#include <map>
#include <set>

#include "api/reservations.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id nodes{"", "v1", "nodes"};
constexpr std::string_view pod_cidrs = "podcidrs";

struct blocks {
  std::uint32_t first = 0;     // host order
  std::uint32_t count = 0;     // how many blocks the range has
  unsigned mask = 24;

  static result<blocks> parse(const std::string& cidr, unsigned node_mask) {
    auto slash = cidr.find('/');
    in_addr a{};
    auto prefix = slash == std::string::npos ? std::nullopt : parse_uint(std::string_view(cidr).substr(slash + 1));
    if (!prefix || *prefix > node_mask || node_mask > 30 || inet_pton(AF_INET, cidr.substr(0, slash).c_str(), &a) != 1)
      return fail(errc::invalid, "cluster CIDR " + quote(cidr) + " has no IPv4 blocks of /" + std::to_string(node_mask));
    return blocks{ntohl(a.s_addr), std::uint32_t(1) << (node_mask - *prefix), node_mask};
  }
  std::string text(std::uint32_t i) const {
    in_addr a{htonl(first + (i << (32 - mask)))};
    char buffer[INET_ADDRSTRLEN];
    return std::string(inet_ntop(AF_INET, &a, buffer, sizeof buffer)) + "/" + std::to_string(mask);
  }
};

// The node of a reservation is there, and has its block or none yet.
bool is_held(api::objects& objects, const api::reservation& r, const std::string& block) {
  auto owner = objects.get(nodes, "", r.name);
  if (!owner || (*owner)["metadata"]["uid"].as_string() != r.uid) return false;
  auto has = (*owner)["spec"]["podCIDR"].as_string();
  return has.empty() || has == block;
}

}  // namespace

task<void> run_node_ipam(context& c) {
  auto range = blocks::parse(c.cluster_cidr, c.node_cidr_mask);
  if (!range) {
    log::error("node addresses are not allocated: {}", range.error().message);
    co_return;
  }
  auto prefix = c.objects.prefix(nodes);
  std::map<std::string, std::string> taken_by;  // block → node
  std::map<std::string, std::string> block_of;  // node → block
  work_queue queue;
  auto seen = [&](const store::event& e) {
    auto name = std::string(name_under(prefix, e.object->key()));
    if (e.type == store::event_type::deleted) {
      if (auto it = block_of.find(name); it != block_of.end()) {
        taken_by.erase(it->second);
        block_of.erase(it);
      }
      return;
    }
    auto node = json::parse(e.object->bytes());
    if (!node) return;
    auto block = std::string((*node)["spec"]["podCIDR"].as_string());
    if (block.empty()) return queue.add(name);
    taken_by[block] = name;
    block_of[name] = block;
  };
  reactor::scope tasks;
  tasks.spawn(follow(c.objects.objects_store(), prefix, seen, [&] {
    taken_by.clear();
    block_of.clear();
  }));
  co_await work("node-ipam", queue, 1, [&](std::string name) -> task<api::api_result<void>> {
    auto node = c.objects.get(nodes, "", name);
    if (!node || !(*node)["spec"]["podCIDR"].as_string().empty()) co_return api::api_result<void>();
    auto uid = (*node)["metadata"]["uid"].as_string();
    auto rows = c.objects.objects_store().current();
    std::string block;
    store::revision left = 0;
    bool reserved = false;
    for (std::uint32_t i = 0; i < range->count && block.empty(); ++i) {
      auto one = range->text(i);
      if (taken_by.contains(one)) continue;
      auto r = api::find_reservation(rows, pod_cidrs, one);
      reserved = r && r->uid == uid;  // from an attempt before, here or by another server
      if (r && !reserved && is_held(c.objects, *r, one)) continue;
      left = r ? r->at : 0;
      block = std::move(one);
    }
    rows = {};
    if (block.empty()) {
      log::error("node {} gets no pod addresses: all {} blocks of {} are taken", name, range->count, c.cluster_cidr);
      co_return api::fail(api::unavailable("no free block in the cluster CIDR"));
    }
    if (!reserved) {
      auto ours = co_await api::reserve(c.objects.objects_store(), pod_cidrs, block, *node, left);
      if (!ours) co_return api::fail(api::from_error(ours.error()));
      if (!*ours) co_return api::fail(api::conflict("", "nodes", name, "another server took " + block));
    }
    auto& spec = node->member("spec");
    spec.set("podCIDR", block);
    spec.set("podCIDRs", json::array{block});
    auto done = co_await c.objects.update(nodes, "", *std::move(node));
    if (!done) co_return api::fail(done.error());
    co_return api::api_result<void>();
  });
}

}  // namespace kedge::control
