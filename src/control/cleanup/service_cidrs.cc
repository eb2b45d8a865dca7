// service_cidrs.cc: ranges of Services' addresses are ready, and go when no address needs them
// (service-cidr-controller).
//
// A range that is being deleted stays as long as it is the only one that has an address in use; then ten seconds more,
// so that every server has heard of it and gives out nothing of it any more.
#include <algorithm>
#include <map>
#include <set>

#include "base/ip.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/owners.h"

namespace kedge::control {

namespace {

const api::resource_id service_cidrs{"networking.k8s.io", "v1", "servicecidrs"};
const api::resource_id addresses{"networking.k8s.io", "v1", "ipaddresses"};

constexpr std::string_view finalizer = "networking.k8s.io/service-cidr-finalizer";
constexpr duration told_everybody = std::chrono::seconds(10);

using ranges = std::vector<ip_range>;

ranges ranges_of(const json::value& o) {
  ranges out;
  auto& list = o["spec"]["cidrs"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (auto r = ip_range::parse(list[i].as_string())) out.push_back(*r);
  return out;
}

bool overlap(const ip_range& a, const ip_range& b) { return a.contains(b.network()) || b.contains(a.network()); }
bool covers(const ip_range& large, const ip_range& small) {
  return large.prefix() <= small.prefix() && large.contains(small.network());
}

// The network's own address, and IPv4's last, are no Service's.
bool gives(const ip_range& r, const ip_address& a) {
  if (!r.contains(a) || r.network() == a) return false;
  if (!r.is_v4()) return true;
  return r.at((std::uint64_t(1) << (32 - r.prefix())) - 1) != a;
}

bool any_gives(const ranges& all, const ip_address& a) {
  return std::ranges::any_of(all, [&](auto& r) { return gives(r, a); });
}

bool is_services(const json::value& address) {
  return address["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"].as_string() == "ipallocator.k8s.io";
}

class service_cidr final : public controller {
 public:
  std::vector<source> sources() override {
    return {{service_cidrs, [this](const seen& s, keys& k) { cidr_changed(s, k); }},
            {addresses, [this](const seen& s, keys& k) {
               // Only what waits for its end depends on addresses.
               if (s.modified() || ending_.empty() || !is_services(s.value())) return;
               auto a = ip_address::parse(s.name());
               for (auto& name : ending_)
                 if (a && any_gives(ranges_[name], *a)) k.add(name);
             }}};
  }

  plan look(const view& cluster, const std::string& name, const moment& now) override {
    plan p;
    auto cidr = now.refused ? nullptr : cluster.get(service_cidrs, {}, name);
    if (!cidr) return p;
    if (!is_deleting(*cidr)) {
      if (!has_finalizer(*cidr, finalizer)) {
        auto next = *cidr;
        next.member("metadata").member("finalizers").push_back(finalizer);
        return p.write(update_of(service_cidrs, std::move(next)));  // whose event brings it back for the rest
      }
      return tell(p, *cidr,
                  {.type = "Ready", .status = "True", .reason = "", .message = "Kubernetes Service CIDR is ready"},
                  now);
    }
    if (!has_finalizer(*cidr, finalizer)) return p;
    if (!may_go(cluster, *cidr))
      return tell(p, *cidr,
                  {.type = "Ready",
                   .status = "False",
                   .reason = "Terminating",
                   .message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a "
                              "new ServiceCIDR"},
                  now);
    auto since = parse_rfc3339((*cidr)["metadata"]["deletionTimestamp"].as_string());
    if (auto left = since ? *since + told_everybody - now.wall : duration(0); left > duration(0))
      return p.look_after(left);
    auto next = *cidr;
    remove_finalizer(next, finalizer);
    return p.write(update_of(service_cidrs, std::move(next)));
  }

 private:
  void cidr_changed(const seen& s, keys& k) {
    std::string name(s.name());
    k.add(name);
    auto own = ranges_of(s.value());
    // One that comes or goes may free another, or hold it.
    if (!s.modified())
      for (auto& [other, theirs] : ranges_)
        if (std::ranges::any_of(
                theirs, [&](auto& t) { return std::ranges::any_of(own, [&](auto& o) { return overlap(o, t); }); }))
          k.add(other);
    if (s.deleted()) {
      ranges_.erase(name);
      ending_.erase(name);
      return;
    }
    if (is_deleting(s.value())) ending_.insert(name);
    ranges_.insert_or_assign(std::move(name), std::move(own));
  }

  static plan tell(plan& p, const json::value& cidr, condition c, const moment& now) {
    auto next = cidr;
    c.keeps_empty = true;
    if (set_condition(next, c, now.wall)) p.write(update_of(service_cidrs, std::move(next), "status"));
    return p;
  }

  // Whether the others have all of it, or at least all of its addresses that are in use.
  static bool may_go(const view& cluster, const json::value& cidr) {
    ranges others;
    cluster.cluster().scan(cluster.prefix(service_cidrs), {}, [&](const store::object_ref& o) {
      if (auto other = cluster.value(o); other && uid_of(*other) != uid_of(cidr))
        std::ranges::copy(ranges_of(*other), std::back_inserter(others));
      return true;
    });
    auto own = ranges_of(cidr);
    if (std::ranges::all_of(own, [&](auto& mine) {
          return std::ranges::any_of(others, [&](auto& other) { return covers(other, mine); });
        }))
      return true;
    bool free = true;
    auto prefix = cluster.prefix(addresses);
    cluster.cluster().scan(prefix, {}, [&](const store::object_ref& o) {
      auto a = ip_address::parse(name_under(prefix, o->key()));
      if (!a || !any_gives(own, *a) || any_gives(others, *a)) return true;
      auto value = cluster.value(o);
      free = !value || !is_services(*value);
      return free;
    });
    return free;
  }

  std::map<std::string, ranges, std::less<>> ranges_;
  std::set<std::string, std::less<>> ending_;
};

}  // namespace

std::unique_ptr<controller> make_service_cidrs(const settings&) { return std::make_unique<service_cidr>(); }

}  // namespace kedge::control
