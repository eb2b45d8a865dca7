// disruption.cc: status of PodDisruptionBudgets: how many of the selected pods are healthy, how many must be, and how
// many may be evicted now (disruption-controller). The eviction subresource charges disruptionsAllowed and notes the
// pod; here both are made true again. And pods that were marked for an eviction that never came (DisruptionTarget) lose
// the mark.
//
// A count goes over the namespace's pods by their labels, a piece at a time, and the next one of the same budget waits
// for twenty times as long as it took.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/custom/codec.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/go_text.h"
#include "control/limits.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "meta/selector.h"

namespace kedge::control {

namespace {

const api::resource_id replica_sets{"apps", "v1", "replicasets"};
const api::resource_id deployments{"apps", "v1", "deployments"};

constexpr std::string_view stale_prefix = "stale/";  // a key of a pod; all others are budgets'
constexpr auto settle = std::chrono::milliseconds(50);
constexpr int rest_per_work = 20;
// How long an eviction may take until its pod is counted again, and until its mark is stale: kube-controller-manager's.
constexpr auto eviction_time = std::chrono::minutes(2);
constexpr auto stale_time = std::chrono::minutes(2);

// What a budget's count needs of a pod.
struct member {
  reference about;
  bool deleting = false, ready = false;
  json::value controller;  // its reference; null without one
};

member member_of(const json::value& pod) {
  auto* c = controller_of(pod);
  return {reference_to(pod), is_deleting(pod), condition_status(pod, "Ready") == "True", c ? *c : json::value()};
}

// An integer, or a percentage of `whole`, rounded up.
std::int64_t scaled(const json::value& amount, std::int64_t whole) {
  if (amount.is_integer()) return amount.as_integer();
  auto text = amount.as_string();
  auto percent = text.ends_with('%') ? parse_int(text.substr(0, text.size() - 1)) : std::nullopt;
  return percent ? (whole * *percent + 99) / 100 : 0;
}

// How many replicas a pod's controller shall have, and whose number that is: a Deployment stands above its ReplicaSets.
// nullopt: it isn't there (any more).
struct scale {
  std::string uid;
  std::int64_t replicas = 0;
};
result<std::optional<scale>> scale_of(const view& cluster, const std::string& ns, const json::value& controller) {
  auto there = [&](const api::served& s, const json::value& reference) {
    auto o = cluster.get(s, ns, reference["name"].as_string());
    return o && uid_of(*o) == reference["uid"].as_string() ? o : nullptr;
  };
  auto kind = cluster.served().find_kind(controller["apiVersion"].as_string(), controller["kind"].as_string());
  if (!kind)
    return fail(errc::not_found, "no matches for kind \"" + std::string(controller["kind"].as_string()) +
                                     "\" in version \"" + std::string(controller["apiVersion"].as_string()) + "\"");
  auto found = there(*kind, controller);
  if (!kind->subresource("scale"))
    return fail(errc::unsupported,
                api::qualified(kind->group, kind->resource) + " does not implement the scale subresource");
  if (!found) return std::nullopt;
  if (kind->resource == replica_sets.plural && kind->group == replica_sets.group)
    if (auto* above = controller_of(*found); above && (*above)["kind"].as_string() == "Deployment")
      if (auto d = there(*cluster.find(deployments), *above))
        return scale{std::string(uid_of(*d)), (*d)["spec"]["replicas"].as_integer(1)};
  auto replicas = kind->custom ? api::custom::scale_of(*kind, *found)["spec"]["replicas"].as_integer()
                               : (*found)["spec"]["replicas"].as_integer(1);
  return scale{std::string(uid_of(*found)), replicas};
}

struct expectation {
  std::int64_t expected = 0, desired = 0;
  bool unmanaged = false;  // some pods have no controller
};

result<expectation> expected_scale(const view& cluster, const std::string& ns, const std::vector<member>& pods) {
  expectation out;
  std::map<std::string, std::int64_t> by_uid;
  std::map<std::string, bool> asked;  // each controller once
  for (auto& pod : pods) {
    if (pod.controller.is_null()) {
      out.unmanaged = true;
      continue;
    }
    if (!asked.try_emplace(std::string(pod.controller["uid"].as_string()), true).second) continue;
    KEDGE_TRY(auto found, scale_of(cluster, ns, pod.controller));
    if (!found) return fail(errc::not_found, "found no controllers for pod \"" + pod.about.name + "\"");
    by_uid[found->uid] = found->replicas;
  }
  for (auto& [uid, n] : by_uid) out.expected += n;
  return out;
}

result<expectation> expected_of(const view& cluster, const json::value& budget, const std::vector<member>& pods) {
  auto ns = std::string(budget["metadata"]["namespace"].as_string());
  auto& most = budget["spec"]["maxUnavailable"];
  auto& least = budget["spec"]["minAvailable"];
  if (most.is_null() && least.is_integer())
    return expectation{static_cast<std::int64_t>(pods.size()), least.as_integer()};
  if (most.is_null() && least.is_null()) return expectation{};
  KEDGE_TRY(auto out, expected_scale(cluster, ns, pods));
  out.desired = most.is_null() ? scaled(least, out.expected)
                               : std::max<std::int64_t>(0, out.expected - scaled(most, out.expected));
  return out;
}

// Evicted pods that are not gone yet, and may still go.
json::value still_disrupted(plan& p, const json::value& budget, const std::vector<member>& pods, const moment& now) {
  json::object kept;
  auto noted = budget["status"]["disruptedPods"].object();
  if (!noted) return kept;
  auto about = reference_to(budget);
  for (auto& pod : pods) {
    auto* m = noted->find(pod.about.name);
    if (pod.deleting || !m) continue;
    auto since = parse_rfc3339(m->as_string());
    if (!since || *since + eviction_time < now.wall) {
      p.tell(pod.about, "NotDeleted",
             "Pod was expected by PDB " + about.ns + "/" + about.ns + " to be deleted but it wasn't", true);
      continue;
    }
    kept.set(pod.about.name, *m);
    p.look_after(std::max<duration>(settle, *since + eviction_time - now.wall));
  }
  return kept;
}

plan failed(plan p, const json::value& budget, const error& why, const moment& now) {
  p.tell(reference_to(budget), "CalculateExpectedPodCountFailed",
         "Failed to calculate the number of expected pods: " + why.message, true);
  auto next = budget;
  next.member("status").set("disruptionsAllowed", 0);
  set_condition(next,
                {"DisruptionAllowed", "False", "SyncFailed", why.message,
                 budget["status"]["observedGeneration"].as_integer(), true},
                now.wall);
  if (!(next == budget)) p.write(update_of(disruption_budgets, std::move(next), "status"));
  return p;
}

plan settle_budget(const view& cluster, const json::value& budget, const std::vector<member>& pods, const moment& now) {
  plan p;
  if (pods.empty()) p.tell(reference_to(budget), "NoPods", "No matching pods found");
  auto n = expected_of(cluster, budget, pods);
  if (!n) return failed(std::move(p), budget, n.error(), now);
  if (n->unmanaged)
    p.tell(reference_to(budget), "UnmanagedPods",
           "Pods selected by this PodDisruptionBudget (selector: " + as_go_prints(budget["spec"]["selector"]) +
               ") were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which "
               "may result in undefined behavior. "
               "To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
           true);
  auto disrupted = still_disrupted(p, budget, pods, now);
  std::int64_t healthy =
      std::ranges::count_if(pods, [&](auto& m) { return !m.deleting && m.ready && !disrupted.find(m.about.name); });
  auto allowed = n->expected > 0 ? std::max<std::int64_t>(0, healthy - n->desired) : 0;
  auto next = budget;
  auto& status = next.member("status");
  if (disrupted.empty())
    status.erase("disruptedPods");
  else
    status.set("disruptedPods", std::move(disrupted));
  status.set("currentHealthy", healthy);
  status.set("desiredHealthy", n->desired);
  status.set("disruptionsAllowed", allowed);
  status.set("expectedPods", n->expected);
  auto generation = budget["metadata"]["generation"].as_integer();
  status.set("observedGeneration", generation);
  set_condition(next,
                {"DisruptionAllowed", allowed > 0 ? "True" : "False",
                 allowed > 0 ? "SufficientPods" : "InsufficientPods", "", generation, true},
                now.wall);
  if (!(next == budget)) p.write(update_of(disruption_budgets, std::move(next), "status"));
  return p;
}

bool has_stale_mark(const json::value& pod) {
  auto& mark = condition_of(pod, "DisruptionTarget");
  return !is_deleting(pod) && !is_finished(pod) && mark["status"].as_string() == "True" &&
         mark["reason"].as_string() != "TerminationByKubelet";
}

plan look_at_mark(const view& cluster, std::string_view name, const moment& now) {
  plan p;
  auto pod = cluster.get(pods, name);
  if (!pod || !has_stale_mark(*pod)) return p;
  auto since = parse_rfc3339(condition_of(*pod, "DisruptionTarget")["lastTransitionTime"].as_string());
  auto left = since ? *since + stale_time - now.wall : wall_time::duration(0);
  if (left > duration(0)) return p.look_after(left);
  auto next = *pod;
  condition c{"DisruptionTarget", "False", "", ""};
  if (auto& generation = (*pod)["metadata"]["generation"]; generation.is_integer())
    c.observed_generation = generation.as_integer();
  set_condition(next, c, now.wall);
  return p.write(update_of(pods, std::move(next), "status"));
}

class disruption final : public controller {
 public:
  std::vector<source> sources() override {
    return {{disruption_budgets, [this](const seen& s, keys& k) { budget_changed(s, k); }},
            {pods, [this](const seen& s, keys& k) { pod_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (key.starts_with(stale_prefix)) co_return co_await s.look_and_write(key);
    auto cluster = s.now();
    auto budget = cluster.get(disruption_budgets, key);
    if (!budget) co_return api::api_result<void>();
    auto now = s.when();
    if (auto wait = not_before_[key]; now.now < wait) {
      s.queue().add_at(key, wait);
      co_return api::api_result<void>();
    }
    auto members = co_await selected(cluster, *budget);
    auto done = co_await s.write(settle_budget(cluster, *budget, members, s.when()), key);
    not_before_[key] = s.when().now + rest_per_work * (s.when().now - now.now);
    co_return done;
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    return look_at_mark(cluster, std::string_view(key).substr(stale_prefix.size()), now);
  }

 private:
  void budget_changed(const seen& s, keys& k) {
    auto key = std::string(s.name());
    auto& here = budgets_[std::string(split_name(s.name()).ns)];
    if (s.deleted()) {
      here.erase(key);
      not_before_.erase(key);
      if (here.empty()) budgets_.erase(std::string(split_name(s.name()).ns));
      return;
    }
    here.insert_or_assign(key, api::label_selector::from_object(s.value()["spec"]["selector"]));
    k.add(key);
  }

  void pod_changed(const seen& s, keys& k) {
    auto& o = *s.object();
    if (!s.deleted() && o.bytes().find("\"DisruptionTarget\"") != std::string_view::npos && has_stale_mark(s.value()))
      k.add(std::string(stale_prefix) + std::string(s.name()));
    auto here = budgets_.find(split_name(s.name()).ns);
    if (here == budgets_.end()) return;
    for (auto& [key, which] : here->second)
      if (which.matches_text(o.labels_text()) || (s.previous() && which.matches_text(s.previous()->labels_text())))
        k.add_after(key, settle);
  }

  static task<std::vector<member>> selected(const view& cluster, const json::value& budget) {
    auto which = api::label_selector::from_object(budget["spec"]["selector"]);
    auto prefix = cluster.prefix(pods, budget["metadata"]["namespace"].as_string());
    std::vector<member> out;
    std::string start;
    for (bool more = true; more;) {
      more = false;
      std::size_t n = 0;
      cluster.cluster().scan(prefix, start, [&](const store::object_ref& o) {
        if (which.matches_text(o->labels_text()))
          if (auto pod = value_of(o)) out.push_back(member_of(*pod));
        if (++n < scan_piece) return true;
        start = std::string(o->key()) + '\0';
        more = true;
        return false;
      });
      co_await reactor::maybe_yield();
    }
    co_return out;
  }

  std::map<std::string, std::map<std::string, api::label_selector>, std::less<>> budgets_;  // namespace → budgets
  std::map<std::string, time_point> not_before_;
};

}  // namespace

std::unique_ptr<controller> make_disruption(const settings&) { return std::make_unique<disruption>(); }

}  // namespace kedge::control
