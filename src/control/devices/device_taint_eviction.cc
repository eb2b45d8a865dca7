// device_taint_eviction.cc: deletes pods whose claims have devices with a NoExecute taint that they don't tolerate,
// those that tolerate it for some time when that has passed; and tells on each DeviceTaintRule how far that is, and on
// one without effect what it would do (device-taint-eviction-controller).
//
//   slice, rule, claim changed ─▶ claims with such devices ─▶ their pods ─▶ scheduled ─▶ its time ─▶ condition
//   DisruptionTarget, and deleted. The taint goes before that: cancelled.
//
// The time counts from when the taint was added, as it says itself.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "api/registry/indexes.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/devices/device_taints.h"
#include "control/eviction_metrics.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/settings.h"
#include "reactor/loop.h"

namespace kedge::control {
namespace {

const api::resource_id device_claims{"resource.k8s.io", "v1", "resourceclaims"},
    slices{"resource.k8s.io", "v1", "resourceslices"}, rules{"resource.k8s.io", "v1", "devicetaintrules"};
constexpr std::string_view claim_mark = "claim:", pod_mark = "pod:", rule_mark = "rule:", all_claims = "claims";
constexpr std::string_view in_progress = "EvictionInProgress";
// A rule's status isn't written more often than that while its pods go (kube-controller-manager's ruleStatusPeriod).
constexpr std::chrono::seconds status_period{10};
// Objects that are looked at before others on the loop may do something.
constexpr std::size_t piece = 64;

std::string marked(std::string_view mark, std::string_view name) { return std::string(mark) + std::string(name); }

bool uses_claims(const json::value& pod) {
  return !pod["spec"]["resourceClaims"].empty() || pod["status"]["extendedResourceClaimStatus"].is_object();
}

// Calls `f(name, made)` for each claim of the pod that there is; made: it must be the pod's own.
template <typename F>
void each_claim(const json::value& pod, F f) {
  auto& sources = pod["spec"]["resourceClaims"];
  auto& made = pod["status"]["resourceClaimStatuses"];
  std::map<std::string_view, std::string_view> names;
  for (std::size_t i = 0; i < made.size(); ++i)
    names.try_emplace(made[i]["name"].as_string(), made[i]["resourceClaimName"].as_string());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (auto& named = sources[i]["resourceClaimName"]; named.is_string()) {
      f(named.as_string(), false);
      continue;
    }
    auto found = names.find(sources[i]["name"].as_string());
    if (found != names.end() && !found->second.empty()) f(found->second, true);
  }
  auto for_resources = pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"].as_string();
  if (!for_resources.empty()) f(for_resources, true);
}

// Calls `f(key)` for each pod that the claim is reserved for.
template <typename F>
void each_user(const json::value& claim, F f) {
  auto& users = claim["status"]["reservedFor"];
  for (std::size_t i = 0; i < users.size(); ++i)
    if (users[i]["apiGroup"].as_string().empty() && users[i]["resource"].as_string() == "pods")
      f(fmt::format("{}/{}", claim["metadata"]["namespace"].as_string(), users[i]["name"].as_string()));
}

bool is_reserved_for(const json::value& claim, const json::value& pod) {
  auto& users = claim["status"]["reservedFor"];
  for (std::size_t i = 0; i < users.size(); ++i)
    if (users[i]["uid"].as_string() == uid_of(pod)) return true;
  return false;
}

bool is_own(const json::value& claim, const json::value& pod) {
  auto owner = controller_of(claim);
  return owner && (*owner)["uid"].as_string() == uid_of(pod);
}

// What a rule does, or would do.
struct rule_effects {
  std::int64_t published = 0, allocated = 0;  // devices that it means
  std::int64_t pods = 0;                      // that go for it
  std::set<std::string, std::less<>> namespaces;
};

std::string counted(std::int64_t n, std::string_view one, std::string_view many) {
  return n == 1 ? fmt::format("1 {}", one) : fmt::format("{} {}", n, many);
}

// The rule's condition, but for its time.
condition condition_for(const json::value& rule, const rule_effects& effects, std::int64_t evicted) {
  auto effect = rule["spec"]["taint"]["effect"].as_string();
  const auto namespaces = static_cast<std::int64_t>(effects.namespaces.size());
  condition c{.type = std::string(in_progress), .status = "False", .reason = {}, .message = {}, .keeps_empty = true};
  c.observed_generation = rule["metadata"]["generation"].as_integer();
  if (effect == "NoExecute") {
    if (effects.pods > 0) {
      c.status = "True";
      c.reason = "PodsPendingEviction";
      c.message = fmt::format("{} to be evicted in {}.", counted(effects.pods, "pod needs", "pods need"),
                              counted(namespaces, "namespace", "different namespaces"));
    } else {
      c.reason = evicted > 0 ? "Completed" : "NotStarted";
    }
  } else if (effect == "None") {
    c.reason = "NoEffect";
    c.message = fmt::format(
        "{} selected. {} selected. {} be evicted in {} if the effect was NoExecute. This information will not be "
        "updated again. Recreate the DeviceTaintRule to trigger an update.",
        counted(effects.published, "published device", "published devices"),
        counted(effects.allocated, "allocated device", "allocated devices"),
        counted(effects.pods, "pod would", "pods would"), counted(namespaces, "namespace", "different namespaces"));
  } else {
    c.reason = "OtherEffect";
    c.message = "Eviction only happens for the NoExecute effect.";
  }
  if (evicted > 0)
    c.message += fmt::format("{}{} evicted since starting the controller.", c.message.empty() ? "" : " ",
                             counted(evicted, "pod", "pods"));
  return c;
}

bool says(const json::value& has, const condition& c) {
  return has["status"].as_string() == c.status && has["reason"].as_string() == c.reason &&
         has["message"].as_string() == c.message && has["observedGeneration"].as_integer(-1) == *c.observed_generation;
}

class device_taint_eviction final : public controller {
 public:
  explicit device_taint_eviction(const settings& s)
      : measures_(s.measures, "DeviceTaintEvictionController", "device_taint_eviction_controller",
                  "device taint effect has been activated and a Pod's") {}

  std::vector<source> sources() override {
    return {{slices, [this](const seen& s, keys& k) { slice_changed(s, k); }},
            {rules, [this](const seen& s, keys& k) { rule_changed(s, k); }},
            {device_claims, [this](const seen& s, keys& k) { claim_changed(s, k); }},
            {pods, [this](const seen& s, keys& k) { pod_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (key == all_claims) co_return co_await name_all(s);
    if (key.starts_with(rule_mark)) co_return co_await tell_rule(s, key.substr(rule_mark.size()));
    if (key.starts_with(claim_mark)) {
      auto cluster = s.now();
      if (auto claim = cluster.get(device_claims, std::string_view(key).substr(claim_mark.size())))
        each_user(*claim, [&](const std::string& pod) { s.queue().add(marked(pod_mark, pod)); });
      co_return api::api_result<void>();
    }
    const auto pod = key.substr(pod_mark.size());
    auto cluster = s.now();
    auto p = look(cluster, key, s.when());
    const bool evicts = !p.steps.empty();
    if (auto it = scheduled_.find(pod); it != scheduled_.end()) tell_later(s, it->second);
    auto done = co_await s.write(std::move(p), key);
    // What couldn't be written keeps its time, and is tried again.
    if (auto it = scheduled_.find(pod); done && evicts && it != scheduled_.end()) {
      for (auto& [uid, name] : it->second.rules) ++evicted_[uid];
      measures_.deleted(s.when().wall - it->second.when);
      scheduled_.erase(it);
    }
    co_return done;
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    return look_at_pod(cluster, key.substr(pod_mark.size()), now);
  }

 private:
  // ---- what changed

  void slice_changed(const seen& s, keys& k) {
    auto pool = taints_.see_slice(before(s), now(s));
    if (!pool) return;
    for (auto& claim : taints_.claims_in(*pool)) k.add(marked(claim_mark, claim));
  }

  void rule_changed(const seen& s, keys& k) {
    auto &was = before(s), &is = now(s);
    if (s.deleted()) evicted_.erase(std::string(uid_of(was)));
    // Before any pod goes for it.
    if (!s.deleted() && (was.is_null() || !(was["spec"] == is["spec"]) || uid_of(was) != uid_of(is)))
      k.add(marked(rule_mark, s.name()));
    if (taints_.see_rule(was, is)) k.add(std::string(all_claims));
  }

  void claim_changed(const seen& s, keys& k) {
    taints_.see_claim(std::string(s.name()), now(s));
    if (!taints_.any() && scheduled_.empty()) return;
    auto name = [&](const std::string& pod) { k.add(marked(pod_mark, pod)); };
    each_user(before(s), name);
    each_user(now(s), name);
  }

  // Null: it wasn't there, or isn't any more.
  static const json::value& before(const seen& s) { return s.deleted() ? s.value() : s.value_before(); }
  static const json::value& now(const seen& s) {
    static const json::value none;
    return s.deleted() ? none : s.value();
  }

  // Pods change often; what counts is which claims they have, and that they have a node.
  void pod_changed(const seen& s, keys& k) {
    if (!taints_.any() && scheduled_.empty()) return;
    auto name = std::string(s.name());
    auto same = [&](const json::value& before, const json::value& now) {
      return node_of(before) == node_of(now) &&
             before["status"]["resourceClaimStatuses"] == now["status"]["resourceClaimStatuses"] &&
             before["status"]["extendedResourceClaimStatus"] == now["status"]["extendedResourceClaimStatus"];
    };
    if (s.deleted() ? scheduled_.contains(name)
                    : uses_claims(s.value()) && (!s.previous() || !same(s.value_before(), s.value())))
      k.add(marked(pod_mark, name));
  }

  task<api::api_result<void>> name_all(shell& s) {
    auto all = taints_.claims();
    for (std::size_t i = 0; i < all.size(); ++i) {
      s.queue().add(marked(claim_mark, all[i]));
      if (i % piece == piece - 1) co_await reactor::maybe_yield();
    }
    co_return api::api_result<void>();
  }

  // ---- pods

  std::optional<device_eviction> eviction_of(const view& cluster, const json::value& pod, const taint_rules& by) const {
    std::optional<device_eviction> out;
    if (node_of(pod).empty()) return out;
    auto ns = pod["metadata"]["namespace"].as_string();
    each_claim(pod, [&](std::string_view name, bool made) {
      auto claim = cluster.get(device_claims, ns, name);
      if (!claim || (made && !is_own(*claim, pod)) || !is_reserved_for(*claim, pod)) return;
      auto one = taints_.eviction_of(*claim, by);
      if (!one) return;
      out ? out->join(*one) : void(out = std::move(one));
    });
    return out;
  }

  plan look_at_pod(const view& cluster, const std::string& name, const moment& now) {
    plan p;
    auto pod = cluster.get(pods, name);
    auto time = pod ? eviction_of(cluster, *pod, taints_.rules()) : std::nullopt;
    if (!time) {
      if (scheduled_.erase(name) && pod)
        p.tell(reference_to(*pod), "DeviceTaintManagerEviction", "Cancelling deletion");
      return p;
    }
    if (is_deleting(*pod)) {
      scheduled_.erase(name);
      return p;
    }
    const auto when = time->when;
    scheduled_.insert_or_assign(name, *std::move(time));
    if (when > now.wall) return p.look_after(when - now.wall);
    p.tell(reference_to(*pod), "DeviceTaintManagerEviction", "Marking for deletion");
    auto next = *pod;
    if (set_condition(next,
                      {"DisruptionTarget", "True", "DeletionByDeviceTaintManager",
                       "Device Taint manager: deleting due to NoExecute taint"},
                      now.wall))
      p.write(update_of(pods, std::move(next), "status"));
    return p.write(removal_of_any_version(pods, *pod));
  }

  // ---- rules

  static void tell_later(shell& s, const device_eviction& e) {
    for (auto& [uid, name] : e.rules) s.queue().add_after(marked(rule_mark, name), status_period);
  }

  task<api::api_result<void>> tell_rule(shell& s, std::string name) {
    auto cluster = s.now();
    auto found = cluster.get(rules, {}, name);
    if (!found) co_return api::api_result<void>();
    const auto rule = *found;
    const auto now = s.when();
    auto& has = condition_of(rule, in_progress);
    // Counting may cost much.
    if (auto told = parse_rfc3339(has["lastTransitionTime"].as_string());
        told && has["observedGeneration"].as_integer(-1) == rule["metadata"]["generation"].as_integer() &&
        now.wall - *told < status_period) {
      s.queue().add_after(marked(rule_mark, name), status_period - std::max(now.wall - *told, duration(0)));
      co_return api::api_result<void>();
    }
    auto effects = co_await effects_of(s, rule);
    auto counted = evicted_.find(uid_of(rule));
    auto c = condition_for(rule, effects, counted == evicted_.end() ? 0 : counted->second);
    if (says(has, c)) co_return api::api_result<void>();
    auto next = rule;
    set_condition(next, c, now.wall);
    // Its time is that of the last word, not of the last change of the status.
    for (auto& one : next.member("status").member("conditions").make_array())
      if (one["type"].as_string() == in_progress) one.set("lastTransitionTime", format_rfc3339(now.wall));
    plan p;
    p.write(update_of(rules, std::move(next), "status"));
    co_return co_await s.write(std::move(p), marked(rule_mark, name));
  }

  task<rule_effects> effects_of(shell& s, const json::value& rule) {
    rule_effects out;
    auto effect = rule["spec"]["taint"]["effect"].as_string();
    const bool tries = effect == "None";
    if (!tries && effect != "NoExecute") co_return out;
    const auto of = taint_rule_of(rule);
    if (tries) out.published = co_await published(s, of);
    const auto all = taints_.claims();
    auto cluster = s.now();
    std::set<std::string> seen_pods;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i % piece == piece - 1) {
        co_await reactor::maybe_yield();
        cluster = s.now();
      }
      auto claim = cluster.get(device_claims, all[i]);
      const auto devices = claim ? meant_in(*claim, of) : 0;
      out.allocated += devices;
      if (devices == 0) continue;
      // As if it evicted, and no other rule did.
      const taint_rules by = tries ? taint_rules{{of.name, of}} : taints_.rules();
      each_user(*claim, [&](const std::string& key) {
        auto pod = cluster.get(pods, key);
        if (!pod || is_deleting(*pod) || !seen_pods.insert(key).second) return;
        auto e = eviction_of(cluster, *pod, by);
        if (!e || !e->rules.contains(of.uid)) return;
        ++out.pods;
        out.namespaces.emplace((*pod)["metadata"]["namespace"].as_string());
      });
    }
    co_return out;
  }

  static std::int64_t meant_in(const json::value& claim, const taint_rule& rule) {
    std::int64_t out = 0;
    auto& results = claim["status"]["allocation"]["devices"]["results"];
    for (std::size_t i = 0; i < results.size(); ++i)
      out += rule.means({std::string(results[i]["driver"].as_string()), std::string(results[i]["pool"].as_string())},
                        results[i]["device"].as_string());
    return out;
  }

  // How many devices of slices the rule means.
  task<std::int64_t> published(shell& s, taint_rule rule) {
    std::int64_t out = 0;
    std::vector<store::object_ref> all;
    {
      auto cluster = s.now();
      cluster.cluster().scan(cluster.prefix(slices), {}, [&](const store::object_ref& o) {
        all.push_back(o);
        return true;
      });
    }
    for (auto& o : all) {
      co_await reactor::maybe_yield();
      auto slice = value_of(o);
      if (!slice || !taints_.is_newest(*slice)) continue;
      const device_pool_name pool{std::string((*slice)["spec"]["driver"].as_string()),
                                  std::string((*slice)["spec"]["pool"]["name"].as_string())};
      auto& devices = (*slice)["spec"]["devices"];
      for (std::size_t i = 0; i < devices.size(); ++i) out += rule.means(pool, devices[i]["name"].as_string());
    }
    co_return out;
  }

  device_taints taints_;
  std::map<std::string, device_eviction, std::less<>> scheduled_;  // pod → when it is to go, and why
  std::map<std::string, std::int64_t, std::less<>> evicted_;       // by a rule's uid, since this server leads
  eviction_metrics measures_;
};

}  // namespace

std::unique_ptr<controller> make_device_taint_eviction(const settings& s) {
  return std::make_unique<device_taint_eviction>(s);
}

}  // namespace kedge::control
