#include "server/virtual_addresses.h"

#include <algorithm>

#include "base/log.h"
#include "node/network/announce.h"
#include "reactor/offload.h"

namespace kedge::server {

namespace {

using namespace std::chrono_literals;

// A dead holder's address is taken over after `lease_time`; Leases count in whole seconds. A holder is sure of it for
// less than that, and renews often enough to miss two times.
constexpr auto lease_time = 1s;
constexpr auto sure_time = 750ms;
constexpr auto renew_interval = 250ms;
// The kernel looks once a second: the address of who doesn't come back is gone within two.
constexpr auto kernel_time = std::chrono::seconds(1);
// As long as a holder that died may still answer for the address, its neighbours are told at each renewal; then now and
// again, for those that missed it.
constexpr auto announced_often = 3s;
constexpr auto announced_each = 10s;
// What is said to quiet connections goes out before the address does.
constexpr auto farewell_time = 20ms;
constexpr auto release_time = 1s;

std::string lease_name(const ip_address& a) {
  auto name = "kedge-vip-" + a.text();
  std::ranges::replace(name, ':', '-');
  while (name.ends_with('-')) name += '0';  // "fd00::": a name ends in a letter or digit
  return name;
}

// The interface of `a`; and what an earlier process left is taken away.
result<node::link_info> prepare(const ip_address& a, const std::string& interface) {
  KEDGE_TRY(auto net, node::links::open());
  KEDGE_TRY(auto all, net.all_addresses());
  int in_network = 0;
  for (auto& there : all) {
    if (there.at.address == a) {
      if (!there.remaining || there.at.prefix != a.bits() || *there.remaining > 2 * kernel_time)
        return fail(errc::invalid,
                    "--vip " + a.text() + " is this machine's own address: it has to be one that no host has");
      KEDGE_CHECK(net.remove_address(there.link, there.at));
      log::info("--vip {}: taken away where an earlier process left it", a.text());
    } else if (!in_network && there.at.address.is_v4() == a.is_v4() &&
               ip_range::parse(there.at.text()).value().contains(a)) {
      in_network = there.link;
    }
  }
  if (!interface.empty()) {
    auto named = net.find(interface);
    if (!named) return fail(std::move(named).error().with("--vip-interface: "));
    return named;
  }
  if (!in_network)
    return fail(errc::not_found,
                "--vip " + a.text() + ": no interface of this machine is in its network; --vip-interface names one");
  return net.find(in_network);
}

// Held for a moment, and told to the neighbours where that is wanted. The interface may have got another hardware
// address meanwhile.
result<void> hold(const ip_address& a, int link, bool announced) {
  KEDGE_TRY(auto net, node::links::open());
  KEDGE_CHECK(net.hold_address(link, a, kernel_time));
  if (!announced) return {};
  KEDGE_TRY(auto now, net.find(link));
  return now.loopback ? result<void>() : node::announce_address(now, a);
}

result<void> remove(const ip_address& a, int link) {
  KEDGE_TRY(auto net, node::links::open());
  return net.remove_address(link, {a, a.bits()});
}

}  // namespace

struct virtual_addresses::virtual_address {
  ip_address address;
  node::link_info link;
  std::unique_ptr<control::election> election = nullptr;  // null: there is nobody else
  reactor::event changed = {}, gone = {};                 // this server's turn began or ended; kept no longer
  std::optional<time_point> held_since = std::nullopt;
  time_point announced_at = {};
  std::string failed = {};  // as last told

  bool is_ours(time_point now) const { return !election || (election->leads() && now < election->alone_until()); }
};

virtual_addresses::virtual_addresses(shared& s, fronts& f) : shared_(s), fronts_(f) {}
virtual_addresses::~virtual_addresses() = default;

task<result<void>> virtual_addresses::start() {
  for (auto& a : shared_.settings.vips) {
    auto link = co_await reactor::offload([a, i = shared_.settings.vip_interface] { return prepare(a, i); });
    if (!link) co_return fail(std::move(link).error());
    if (!*link) co_return fail(std::move(*link).error());
    auto& one = *addresses_.emplace_back(std::make_unique<virtual_address>(a, **std::move(link)));
    if (shared_.settings.shared_datastore()) {
      one.election = std::make_unique<control::election>(fronts_.own().local(),
                                                         control::election_options{.name = lease_name(a),
                                                                                   .identity = shared_.process,
                                                                                   .lease_duration = lease_time,
                                                                                   .renew_deadline = sure_time,
                                                                                   .retry_period = renew_interval});
      running_.spawn(one.election->run([&one]() -> task<void> {
        struct turn {
          reactor::event& changed;
          explicit turn(reactor::event& e) : changed(e) { changed.pulse(); }
          ~turn() { changed.pulse(); }
        } here(one.changed);
        reactor::event never;
        co_await never.wait();
      }));
    }
    running_.spawn(keep(one));
  }
  co_return result<void>();
}

task<void> virtual_addresses::keep(virtual_address& a) {
  auto& loop = reactor::loop::current();
  while (!leaving_) {
    if (a.is_ours(loop.now()))
      co_await take(a);
    else if (a.held_since)
      co_await let_go(a);
    if (leaving_) break;
    const bool active = a.held_since || a.is_ours(loop.now());
    co_await a.changed.wait_until(active ? loop.now() + renew_interval : time_point::max());
  }
  if (a.held_since) co_await let_go(a);
  a.gone.set();
}

task<void> virtual_addresses::take(virtual_address& a) {
  auto now = reactor::loop::current().now();
  const bool is_new = !a.held_since;
  const bool tell = is_new || now - *a.held_since < announced_often || now - a.announced_at >= announced_each;
  if (is_new) a.held_since = now;
  if (tell) a.announced_at = now;
  auto done =
      co_await reactor::offload([address = a.address, link = a.link.index, tell] { return hold(address, link, tell); });
  auto why = !done ? done.error().message : !*done ? (*done).error().message : std::string();
  if (!why.empty() && why != a.failed) log::error("--vip {} on {}: {}", a.address.text(), a.link.name, why);
  if (why.empty() && is_new) log::info("--vip {} is here now, on {}", a.address.text(), a.link.name);
  a.failed = std::move(why);
}

task<void> virtual_addresses::let_go(virtual_address& a) {
  a.held_since.reset();
  auto done = co_await reactor::offload([address = a.address, link = a.link.index] { return remove(address, link); });
  if (!done || !*done)  // it goes by itself
    log::warning("--vip {}: {}", a.address.text(), (done ? (*done).error() : done.error()).message);
  log::info("--vip {} is no longer here", a.address.text());
}

// The address goes before its Lease does: for a moment nobody has it, and never two.
task<void> virtual_addresses::give_away() {
  if (addresses_.empty() || leaving_) co_return;
  co_await reactor::sleep_for(farewell_time);
  leaving_ = true;
  for (auto& a : addresses_) {
    a->changed.pulse();
    co_await a->gone.wait();
    if (a->election) co_await a->election->release(reactor::loop::current().now() + release_time);
  }
}

task<void> virtual_addresses::stop() {
  // A start that failed halfway, or was dropped, has not left before.
  co_await give_away();
  running_.cancel();
}

}  // namespace kedge::server
