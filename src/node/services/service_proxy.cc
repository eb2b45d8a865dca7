#include "node/services/service_proxy.h"

#include <netinet/in.h>  // before the kernel's, which then leave out what it has

#include <linux/netfilter.h>
#include <linux/netlink.h>

#include <algorithm>

#include "base/log.h"
#include "node/network/limits.h"
#include "node/services/conntrack.h"
#include "node/services/conntrack_limits.h"
#include "reactor/offload.h"

namespace kedge::node {

service_view::service_view() {
  services.on_change = [this](const std::string& key) { tell(key); };
  slices.on_change = [this](const std::string& key) {
    auto* now = slices.find(key);
    auto old = service_of_.find(key);
    std::string before = old == service_of_.end() ? std::string() : old->second;
    if (!before.empty() && (!now || now->service != before)) {
      auto& all = slices_of_[before];
      all.erase(key);
      if (all.empty()) slices_of_.erase(before);
      service_of_.erase(old);
      tell(before);
    }
    if (!now) return;
    service_of_[key] = now->service;
    slices_of_[now->service].insert(key);
    tell(now->service);
  };
  services.on_listed = slices.on_listed = [this] { tell({}); };
}

void service_view::tell(const std::string& service) {
  for (auto& w : watchers) w(service);
}

std::vector<const slice_record*> service_view::slices_of(const std::string& service) const {
  std::vector<const slice_record*> all;
  if (auto i = slices_of_.find(service); i != slices_of_.end())
    for (auto& key : i->second)
      if (auto* s = slices.find(key)) all.push_back(s);
  return all;
}

// The rules of one family, and which UDP endpoints they lead to.
struct service_proxy::family {
  struct udp_port {
    std::vector<ip_address> addresses;
    std::uint16_t port = 0, node_port = 0;
    std::vector<endpoint_target> endpoints;
  };
  rules_context context;
  nft::table table;
  std::shared_ptr<netlink::socket> socket;
  std::set<std::string> dirty;
  std::map<std::string, std::vector<udp_port>> udp;
  std::string problem;

  explicit family(rules_context c)
      : context(std::move(c)),
        table(static_cast<std::uint8_t>(context.v4 ? NFPROTO_IPV4 : NFPROTO_IPV6), services_table) {}
};

service_proxy::service_proxy(proxy_options o, service_view& view) : options_(std::move(o)), view_(view) {
  for (bool v4 : {true, false}) {
    if (!(v4 ? options_.v4 : options_.v6)) continue;
    rules_context c{.v4 = v4, .node = options_.node, .node_ips = options_.node_ips, .cluster = options_.cluster};
    c.masquerade_all = options_.settings.masquerade_all;
    c.own_addresses = options_.own_addresses;
    std::erase_if(c.cluster, [&](auto& r) { return r.is_v4() != v4; });
    families_.push_back(std::make_unique<family>(std::move(c)));
  }
  view_.watchers.push_back([this](const std::string& key) {
    if (!key.empty()) dirty_.insert(key);
    changed_.set();
  });
}

service_proxy::~service_proxy() = default;

void service_proxy::set_zone(const std::string& zone) {
  if (zone == zone_) return;
  zone_ = zone;
  for (auto& f : families_) f->context.zone = zone;
  anew_ = true;
  changed_.set();
}

void service_proxy::set_node_addresses(const std::vector<ip_address>& addresses) {
  for (auto& f : families_) f->context.node_ips = addresses;
  anew_ = true;
  changed_.set();
}

void service_proxy::set_kept(std::set<std::pair<ip_address, std::uint16_t>> kept) {
  if (families_.empty() || kept == families_.front()->context.kept) return;
  for (auto& f : families_) f->context.kept = kept;
  anew_ = true;
  changed_.set();
}

bool service_proxy::is_healthy() const noexcept {
  return std::ranges::all_of(families_, [](auto& f) { return f->socket && f->problem.empty(); });
}

std::uint32_t service_proxy::number_of(const std::string& service, const std::string& port) {
  auto& n = numbers_[service][port];
  if (n == 0) n = ++last_number_;
  return n;
}

task<void> service_proxy::run() {
  auto next_look = reactor::loop::current().now() + services_look_interval;
  for (;;) {
    // A stale chain waits to be removed; a table that another took away or emptied is noticed, whatever else goes on.
    bool stale = std::ranges::any_of(families_, [](auto& f) { return f->table.has_stale(); });
    co_await changed_.wait_until(stale ? reactor::loop::current().now() + std::chrono::seconds(1) : next_look);
    changed_.reset();
    const bool looks = reactor::loop::current().now() >= next_look;
    if (looks) next_look = reactor::loop::current().now() + services_look_interval;
    if (!view_.listed()) continue;
    bool anew = std::exchange(anew_, false);
    auto dirty = std::exchange(dirty_, {});
    bool failed = false;
    for (auto& f : families_) {
      f->dirty.insert(dirty.begin(), dirty.end());
      auto all_of_it = anew || !f->problem.empty();
      if (looks && !all_of_it && f->socket) {
        auto stands = co_await reactor::offload([s = f->socket, family = f->table.family()] {
          return nft::is_in_use(*s, family, services_table, base_hooks().back().name);
        });
        all_of_it = stands && *stands && !**stands;
        if (all_of_it)
          log::warning("nftables table {} was removed or emptied by another program; it is made again", services_table);
      }
      auto done = co_await sync(*f, all_of_it);
      auto now = done ? std::string() : done.error().message;
      if (!now.empty() && now != f->problem)
        log::error("the rules of Services can't be set, and are tried again: {}", now);
      if (now.empty() && !f->problem.empty()) log::info("the rules of Services are set again");
      f->problem = std::move(now);
      failed |= !f->problem.empty();
    }
    for (auto& key : dirty)
      if (!view_.services.find(key)) numbers_.erase(key);
    if (failed) {
      changed_.set();
      co_await reactor::sleep_for(network_retry);
    } else if (!std::exchange(limits_set_, true)) {
      // With the first rules the kernel has begun to track connections.
      auto set = co_await reactor::offload([s = options_.settings] { return apply_conntrack_limits(s); });
      if (set && !*set) log::info("connection tracking keeps the machine's limits: {}", set->error().message);
    }
  }
}

task<result<void>> service_proxy::sync(family& f, bool anew) {
  auto dirty = std::exchange(f.dirty, {});
  if (anew || !f.socket) {
    anew = true;
    dirty.clear();
    view_.services.each([&](const std::string& key, auto&) { dirty.insert(key); });
  }
  auto b = anew ? f.table.begin_anew(base_rules(f.context), base_hooks()) : f.table.begin();
  f.table.remove_stale(b, reactor::loop::current().now());
  std::set<std::string> with_udp;
  for (auto& key : dirty) {
    auto* s = view_.services.find(key);
    bool ours = s && std::ranges::any_of(s->cluster_ips, [&](auto& a) {
                  return std::ranges::find(options_.own_addresses, a) != options_.own_addresses.end();
                });
    if (s && !ours) {
      f.table.set(b, key, service_rules(f.context, *s, view_.slices_of(key), [&](const std::string& port) {
                    return number_of(key, port);
                  }));
    } else {
      f.table.set(b, key, {});
    }
    bool udp = f.udp.contains(key) ||
               (s && std::ranges::any_of(s->ports, [](auto& p) { return p.protocol == transport::udp; }));
    if (udp) with_udp.insert(key);
    co_await reactor::maybe_yield();
  }
  if (b.empty()) co_return result<void>();
  KEDGE_CO_CHECK(co_await nft::commit_apart(f.socket, std::move(b)));
  if (!with_udp.empty()) co_await forget_udp(f, std::move(with_udp));
  co_return result<void>();
}

// A client that goes on sending from one port would go on to an endpoint that is gone, or to none though there is one
// now.
task<void> service_proxy::forget_udp(family& f, std::set<std::string> services) {
  std::vector<endpoint_target> gone;
  std::set<std::pair<ip_address, std::uint16_t>> appeared;
  std::set<std::uint16_t> appeared_ports;
  for (auto& key : services) {
    auto before = std::exchange(f.udp[key], {});
    auto* s = view_.services.find(key);
    auto& now = f.udp[key];
    if (s)
      for (auto& p : s->ports) {
        if (p.protocol != transport::udp) continue;
        auto e = choose_endpoints(*s, p, f.context.v4, view_.slices_of(key), f.context.node, f.context.zone);
        family::udp_port u{.port = p.port, .node_port = p.node_port, .endpoints = e.cluster};
        u.endpoints.insert(u.endpoints.end(), e.local.begin(), e.local.end());
        for (auto* list : {&s->cluster_ips, &s->external_ips, &s->balancer_ips})
          for (auto& ip : *list)
            if (ip.is_v4() == f.context.v4) u.addresses.push_back(ip);
        auto old = std::ranges::find(before, p.port, &family::udp_port::port);
        if (!u.endpoints.empty() && (old == before.end() || old->endpoints.empty())) {
          for (auto& ip : u.addresses) appeared.emplace(ip, u.port);
          if (u.node_port) appeared_ports.insert(u.node_port);
        }
        now.push_back(std::move(u));
      }
    for (auto& old : before)
      for (auto& e : old.endpoints)
        if (!std::ranges::any_of(now, [&](auto& u) {
              return u.port == old.port && std::ranges::find(u.endpoints, e) != u.endpoints.end();
            }))
          gone.push_back(e);
    if (now.empty()) f.udp.erase(key);
  }
  if (gone.empty() && appeared.empty() && appeared_ports.empty()) co_return;
  std::ranges::sort(gone);
  auto done = co_await reactor::offload(
      [v4 = f.context.v4, gone = std::move(gone), appeared = std::move(appeared), ports = std::move(appeared_ports)] {
        return forget_flows(v4, [&](const flow& x) {
          endpoint_target who{x.answers, x.answers_port};
          bool translated = x.asked != x.answers || x.asked_port != x.answers_port;
          if (translated) return std::ranges::binary_search(gone, who);
          return appeared.contains({x.asked, x.asked_port}) || ports.contains(x.asked_port);
        });
      });
  if (done && !*done) log::warning("UDP flows of Services that changed go on as before: {}", (*done).error().message);
}

}  // namespace kedge::node
