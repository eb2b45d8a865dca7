#include "node/policy/policy_enforcer.h"

#include <linux/netlink.h>

#include <algorithm>

#include "base/log.h"
#include "node/network/bridge_filter.h"
#include "node/network/limits.h"
#include "node/policy/limits.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

// CoreDNS's pods, as K3s has them.
pod_record names_of_the_node(std::vector<ip_address> addresses) {
  return {.name_space = "kube-system",
          .uid = {},
          .node = {},
          .labels = R"({"k8s-app":"kube-dns"})",
          .addresses = std::move(addresses),
          .ports = {{"dns", transport::udp, 53}, {"dns-tcp", transport::tcp, 53}}};
}
constexpr const char* cluster_policies_path = "/apis/policy.networking.k8s.io";
constexpr const char* names_key = "kube-system/(dns of the node)";  // no pod can have this name

}  // namespace

policy_enforcer::policy_enforcer(policy_options o, informer& view)
    : options_(std::move(o)), view_(view), selection_(options_.node) {
  if (options_.v4) families_.push_back(std::make_unique<family>(true, true));
  families_.push_back(std::make_unique<family>(false, options_.v6));
  auto note = [this](auto& cache, std::set<std::string>& touched) {
    cache.on_change = [this, &touched](const std::string& key) {
      touched.insert(key);
      changed_.set();
    };
    cache.on_listed = [this] { changed_.set(); };
  };
  note(policies_, touched_policies_);
  for (auto& kind : cluster_) {
    kind.policies.on_change = [this, &kind](const std::string& name) {
      touched_policies_.insert("/" + std::string(kind.plural) + "/" + name);
      changed_.set();
    };
    kind.policies.on_listed = [this] { changed_.set(); };
  }
  note(namespaces_, touched_namespaces_);
  note(pods_, touched_pods_);
  if (!options_.dns_addresses.empty()) {
    auto names = names_of_the_node(options_.dns_addresses);
    selection_.set_pod(names_key, &names);
  }
}

bool policy_enforcer::is_complete() const noexcept {
  return are_listed() && (count() == 0 || (namespaces_.listed() && pods_.listed()));
}

bool policy_enforcer::are_listed() const noexcept {
  return policies_.listed() && cluster_known_ &&
         std::ranges::all_of(cluster_, [](auto& kind) { return !kind.followed || kind.policies.listed(); });
}

std::size_t policy_enforcer::count() const noexcept {
  auto n = policies_.size();
  for (auto& kind : cluster_) n += kind.policies.size();
  return n;
}

const policy_record* policy_enforcer::find(const std::string& key) const {
  if (!key.starts_with('/')) return policies_.find(key);
  auto slash = key.find('/', 1);
  for (auto& kind : cluster_)
    if (key.substr(1, slash - 1) == kind.plural) return kind.policies.find(key.substr(slash + 1));
  return nullptr;
}

std::optional<bool> policy_enforcer::any() const { return are_listed() ? std::optional(count() > 0) : std::nullopt; }

// Their definitions are custom ones, which come when somebody brings them.
task<void> policy_enforcer::find_cluster_kinds() {
  for (;;) {
    auto looked = co_await look_for_cluster_kinds();
    if (looked && !std::exchange(cluster_known_, true)) changed_.set();
    co_await reactor::sleep_for(looked ? cluster_kinds_look_interval : network_retry);
  }
}

task<result<void>> policy_enforcer::look_for_cluster_kinds() {
  auto group = co_await view_.read(cluster_policies_path);
  if (!group && group.error().code == errc::not_found) co_return result<void>();
  if (!group) co_return fail(std::move(group).error());
  // The server names the newest version first.
  for (std::size_t i = 0; i < (*group)["versions"].size(); ++i) {
    auto path = std::string(cluster_policies_path) + "/" + std::string((*group)["versions"][i]["version"].as_string());
    KEDGE_CO_TRY(auto has, co_await view_.read(path));
    for (auto& kind : cluster_) {
      auto is_it = [&](const json::value& r) { return r["name"].as_string() == kind.plural; };
      auto* all = has["resources"].array();
      if (kind.followed || !all || std::ranges::none_of(*all, is_it)) continue;
      kind.followed = true;
      tasks_.spawn(view_.follow(path + "/" + std::string(kind.plural), kind.policies));
    }
  }
  co_return result<void>();
}

task<void> policy_enforcer::run() {
  tasks_.spawn(view_.follow("/apis/networking.k8s.io/v1/networkpolicies", policies_));
  tasks_.spawn(find_cluster_kinds());
  waits_until_ = reactor::loop::current().now() + admit_wait_max;
  bool first = true;
  auto next_look = reactor::loop::current().now() + services_look_interval;
  for (;;) {
    bool stale = std::ranges::any_of(families_, [](auto& f) { return f->table.has_stale(); });
    co_await changed_.wait_until(stale ? reactor::loop::current().now() + std::chrono::seconds(1) : next_look);
    changed_.reset();
    const bool looks = reactor::loop::current().now() >= next_look;
    if (looks) next_look = reactor::loop::current().now() + services_look_interval;
    if (count() > 0 && !std::exchange(follows_pods_, true)) {
      waits_until_ = reactor::loop::current().now() + admit_wait_max;
      tasks_.spawn(view_.follow("/api/v1/namespaces", namespaces_));
      tasks_.spawn(view_.follow("/api/v1/pods", pods_));
    }
    if (!is_complete()) continue;
    if (std::exchange(first, false)) {
      // What an earlier agent has left is replaced where there are policies.
      auto begun = co_await reactor::offload([none = count() == 0]() -> result<void> {
        KEDGE_CHECK(filter_bridged_packets());
        return none ? remove_policies() : result<void>();
      });
      if (begun && !*begun) log::warning("network policies: {}", (*begun).error().message);
    }
    auto asked = asked_;
    co_await take_over();
    auto changes = selection_.take_changes();
    bool failed = false;
    for (auto& f : families_) {
      // What a kernel can't have isn't tried with each change: it is made as a whole at the next look.
      if (!f->of_pods && !f->problem.empty() && !looks) continue;
      if (looks) co_await look_whether_it_stands(*f);
      auto done = co_await sync(*f, changes);
      auto now = done ? std::string() : done.error().message;
      if (!now.empty() && now != f->problem && f->of_pods)
        log::error("network policies are not enforced, and it is tried again: {}", now);
      if (!now.empty() && now != f->problem && !f->of_pods)
        log::info("network policies don't keep pods of this node from each other's IPv6 addresses of their link: {}",
                  now);
      if (now.empty() && !f->problem.empty()) log::info("network policies are enforced again");
      f->problem = std::move(now);
      failed |= f->of_pods && !f->problem.empty();
    }
    if (failed) {
      changed_.set();
      co_await reactor::sleep_for(network_retry);
      continue;
    }
    settled_ = asked;
    settled_event_.pulse();
  }
}

// Brings what changed into the selection, which is read between here and the next time.
task<void> policy_enforcer::take_over() {
  auto now = reactor::loop::current().now();
  if (pods_.listed())
    for (auto& key : started_.forgotten(now)) touched_pods_.insert(key);
  for (auto& key : std::exchange(touched_namespaces_, {})) {
    selection_.set_namespace(key, namespaces_.find(key));
    co_await reactor::maybe_yield();
  }
  for (auto& key : std::exchange(touched_pods_, {})) {
    selection_.set_pod(key, started_.find(key, pods_.find(key), now));
    co_await reactor::maybe_yield();
  }
  for (auto& key : std::exchange(touched_policies_, {})) {
    selection_.set_policy(key, find(key));
    co_await reactor::maybe_yield();
  }
}

task<void> policy_enforcer::look_whether_it_stands(family& f) {
  if (!f.table.is_there() || !f.socket) co_return;
  auto stands = co_await reactor::offload([s = f.socket, family = f.table.family()] {
    return nft::is_in_use(*s, family, policies_table, policy_hooks().front().name);
  });
  if (!stands || !*stands || **stands) co_return;
  log::warning("nftables table {} was removed or emptied by another program; it is made again", policies_table);
  f.table.begin_anew();
}

task<result<void>> policy_enforcer::sync(family& f, const policy_selection::changes& c) {
  if (!f.problem.empty()) f.table.begin_anew();
  auto b = co_await f.table.update(selection_, c, reactor::loop::current().now());
  if (b.empty()) co_return result<void>();
  KEDGE_CO_CHECK(co_await nft::commit_apart(f.socket, std::move(b)));
  co_return result<void>();
}

task<void> policy_enforcer::admit(json::value pod, std::vector<std::string> addresses) {
  auto record = decode_policy_pod(pod);
  if (!record || addresses.empty()) co_return;
  auto key = key_of_object(pod);
  record->node = options_.node;
  record->addresses.clear();
  for (auto& text : addresses)
    if (auto a = ip_address::parse(text)) record->addresses.push_back(*a);
  auto changed = started_.start(key, *std::move(record), reactor::loop::current().now());
  if (changed.empty() && settled_ == asked_) co_return;
  for (auto& one : changed) touched_pods_.insert(std::move(one));
  if (are_listed() && count() == 0) co_return;
  auto turn = ++asked_;
  changed_.set();
  // Where the server has been away since the agent's start, all wait once.
  auto until = is_complete() ? reactor::loop::current().now() + admit_wait_max : waits_until_;
  while (settled_ < turn)
    if (!co_await settled_event_.wait_until(until)) {
      log::warning("pod {} starts although its network policies are not enforced yet", key);
      co_return;
    }
}

result<void> remove_policies() {
  KEDGE_TRY(auto socket, netlink::socket::open(NETLINK_NETFILTER));
  for (auto family : {NFPROTO_IPV4, NFPROTO_IPV6}) {
    auto there = nft::has_table(socket, static_cast<std::uint8_t>(family), policies_table);
    if (!there || !*there) continue;  // nor can there be one where the kernel has no nftables
    nft::batch b(static_cast<std::uint8_t>(family), policies_table);
    b.remove_table();
    KEDGE_CHECK(nft::commit(socket, b));
  }
  return {};
}

}  // namespace kedge::node
