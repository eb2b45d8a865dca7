// resource_quota.cc: keeps status.hard and status.used of every ResourceQuota true (resourcequota-controller).
// Admission charges what is created (api/admission/resource_quota.h); here the sums are made anew when something
// in the namespace went or became less, so that what was deleted, finished or charged in vain is given back.
//
// A sum goes over what the quota counts in its namespace, a piece at a time, and the next one waits for twenty times as
// long as it took: however much comes and goes, sums take a twentieth of the time.
#include <algorithm>
#include <map>
#include <set>

#include "api/admission/quota_usage.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/limits.h"
#include "control/resources.h"
#include "control/settings.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

// Many objects of a namespace change together: one sum for all of them.
constexpr auto settle = std::chrono::milliseconds(100);
constexpr int rest_per_work = 20;
// What was charged at admission before a sum began may be stored only after it, and the sum has taken the charge back:
// what comes so soon after a sum makes another one. As long as a request may take.
constexpr auto charge_time = std::chrono::seconds(60);

// The resources of the core group that count by other names than count/<resource>.
constexpr std::string_view counted[] = {
    "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"};

// What a change of an object can make it count for less: finished pods, types of services, sizes of claims. As
// kube-controller-manager, which also makes new sums only then and when something was deleted.
constexpr std::string_view changing[] = {"/registry/pods/", "/registry/services/specs/",
                                         "/registry/persistentvolumeclaims/"};

bool concerns(const json::value& hard, const api::served& s) {
  if (!s.namespaced() || s.is_virtual || !s.has_verb("create")) return false;
  if (hard.find("count/" + (s.group.empty() ? s.resource : s.resource + "." + s.group))) return true;
  if (s.group == "resource.k8s.io" && s.resource == "resourceclaims") return api::quota_counts_claims(hard);
  return s.group.empty() && std::ranges::find(counted, s.resource) != std::end(counted);
}

// What an object adds to a quota's sum.
void charge(pod::amounts& sum, const json::value& quota, const api::served& s, const json::value& object,
            const store::snapshot& cluster) {
  if (api::quota_covers(quota, s.group, s.resource, object))
    pod::add(sum, api::quota_usage(s.group, s.resource, object, cluster));
}

json::value used_of(const json::value& hard, const pod::amounts& sum) {
  json::object out;
  if (auto members = hard.object())
    for (auto& m : *members) {
      auto it = sum.find(m.name);
      out.set(m.name, it == sum.end() ? std::string("0") : it->second.text());
    }
  return out;
}

plan settle_status(const json::value& quota, json::value used) {
  plan p;
  auto& status = quota["status"];
  if (status["hard"] == quota["spec"]["hard"] && status["used"] == used) return p;
  auto next = quota;
  next.member("status").set("hard", quota["spec"]["hard"]);
  next.member("status").set("used", std::move(used));
  return p.write(update_of(resource_quotas, std::move(next), "status"));
}

class resource_quota final : public controller {
 public:
  explicit resource_quota(const settings& s) : resync_(s.resource_quota_sync_period) {}

  std::vector<source> sources() override {
    return {{resource_quotas, [this](const seen& s, keys& k) { quota_changed(s, k); }},
            {{}, [this](const seen& s, keys& k) { object_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (resync_ > duration(0)) s.queue().add_after(key, resync_);
    auto cluster = s.now();
    auto quota = cluster.get(resource_quotas, key);
    if (!quota) co_return api::api_result<void>();
    auto& state = quotas_[key];
    if (s.when().now < state.not_before) {
      s.queue().add_at(key, state.not_before);
      co_return api::api_result<void>();
    }
    auto began = s.when().now;
    auto sum = co_await sum_of(cluster, *quota);
    auto& after = quotas_[key];
    after.summed = s.when().now;
    after.not_before = after.summed + rest_per_work * (after.summed - began);
    co_return co_await s.write(settle_status(*quota, used_of((*quota)["spec"]["hard"], sum)), key);
  }

 private:
  struct state {
    time_point summed{}, not_before{};
  };

  void quota_changed(const seen& s, keys& k) {
    auto key = std::string(s.name());
    auto ns = std::string(split_name(s.name()).ns);
    if (s.deleted()) {
      by_namespace_[ns].erase(key);
      if (by_namespace_[ns].empty()) by_namespace_.erase(ns);
      quotas_.erase(key);
      return;
    }
    by_namespace_[ns].insert(key);
    // Each charge of admission changes it too, and needs no new sum.
    if (s.added() || !(s.value()["status"]["hard"] == s.value()["spec"]["hard"])) k.add(key);
  }

  // Looked at only while there are quotas.
  void object_changed(const seen& s, keys& k) {
    if (by_namespace_.empty()) return;
    if (s.modified() && !std::ranges::any_of(changing, [&](auto p) { return s.key().starts_with(p); })) return;
    auto found = by_namespace_.find(namespace_in_key(s.key()));
    if (found == by_namespace_.end()) return;
    for (auto& quota : found->second) {
      auto& state = quotas_[quota];
      bool charged =
          s.added() && (state.summed == time_point{} || reactor::loop::current().now() - state.summed > charge_time);
      if (!charged) k.add_after(quota, settle);
    }
  }

  static task<pod::amounts> sum_of(const view& cluster, const json::value& quota) {
    pod::amounts sum;
    auto& hard = quota["spec"]["hard"];
    auto ns = std::string(quota["metadata"]["namespace"].as_string());
    std::set<std::string_view> seen;  // several versions of a resource are the same objects
    for (auto s : cluster.served().all()) {
      if (!concerns(hard, *s) || !seen.insert(s->key_prefix).second) continue;
      std::string start;
      auto prefix = s->prefix(ns);
      for (bool more = true; more;) {
        more = false;
        std::size_t n = 0;
        // Parsed here and dropped: a namespace's pods would push out of the cache what is used again.
        cluster.cluster().scan(prefix, start, [&](const store::object_ref& o) {
          if (auto v = json::parse(o->bytes())) charge(sum, quota, *s, *v, cluster.cluster());
          if (++n < scan_step) return true;
          start = std::string(o->key()) + '\0';
          more = true;
          return false;
        });
        co_await reactor::maybe_yield();
      }
    }
    co_return sum;
  }
  static constexpr std::size_t scan_step = 64;

  const duration resync_;
  std::map<std::string, std::set<std::string>, std::less<>> by_namespace_;
  std::map<std::string, state> quotas_;
};

}  // namespace

std::unique_ptr<controller> make_resource_quota(const settings& s) { return std::make_unique<resource_quota>(s); }

}  // namespace kedge::control
