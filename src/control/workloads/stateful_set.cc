// stateful_set.cc: StatefulSets: pods with names that stay, each with its claims, one after the other
// (statefulset-controller).
//
//   claim ─▶ revisions ─▶ each ordinal: missing ─▶ its claims, then it │ ended ─▶ goes │ not itself any more ─▶ mended
//        ─▶ ordinals beyond: the last goes ─▶ update: the last that isn't of the newest revision goes ─▶ status, old
//        revisions
//
// OrderedReady does one thing at a time and waits until what it did is ready; Parallel does all at once.
#include <fmt/format.h>

#include <algorithm>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/workloads/claims.h"
#include "control/workloads/history.h"
#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

const api::resource_id stateful_sets{"apps", "v1", "statefulsets"};
constexpr owner_kind stateful_set_kind{"apps/v1", "StatefulSet"};
constexpr std::string_view name_label = "statefulset.kubernetes.io/pod-name";
constexpr std::string_view index_label = "apps.kubernetes.io/pod-index";
constexpr std::string_view hash_label = "controller.kubernetes.io/hash";

std::string_view revision_of(const json::value& pod) {
  return pod["metadata"]["labels"][revision_hash_label].as_string();
}
bool exists(const json::value& pod) { return !phase_of(pod).empty(); }

// One look at a set: its pods, and the plan as it grows.
class stateful_look {
 public:
  stateful_look(const view& cluster, const json::value& set, const std::vector<const json::value*>& mine,
                const history& revisions, const moment& now)
      : cluster_(cluster),
        set_(set),
        revisions_(revisions),
        now_(now),
        ordered_(set["spec"]["podManagementPolicy"].as_string() != "Parallel"),
        start_(set["spec"]["ordinals"]["start"].as_integer()),
        min_ready_(set["spec"]["minReadySeconds"].as_integer()),
        all_(mine) {
    auto found = revisions.find(set["status"]["currentRevision"].as_string());
    current_ = found ? found : &revisions.newest();
    const auto count = set["spec"]["replicas"].as_integer(1);
    replicas_.resize(static_cast<std::size_t>(count));
    for (auto pod : mine) {
      auto n = ordinal_of(*pod);
      if (n >= start_ && n < start_ + count)
        replicas_[static_cast<std::size_t>(n - start_)] = pod;
      else if (n >= 0)
        condemned_.push_back(pod);
    }
    std::sort(condemned_.begin(), condemned_.end(), [](auto a, auto b) { return ordinal_of(*a) > ordinal_of(*b); });
  }

  plan make() {
    count();
    if (!now_.refused && !is_deleting(set_)) act();
    tell_status();
    return std::move(plan_);
  }

 private:
  void act() {
    for (auto& c : revisions_.changes()) plan_.write(std::move(c));
    if (keep_replicas() && shed() && set_["spec"]["updateStrategy"]["type"].as_string() != "OnDelete") update();
    forget();
  }

  // ---- pods

  bool available(const json::value& pod) { return is_available(pod, min_ready_, now_.wall, &next_); }
  bool unavailable(const json::value* pod) { return !pod || !available(*pod) || is_deleting(*pod); }
  static bool runs(const json::value& pod) { return phase_of(pod) == "Running" && is_ready(pod); }

  std::int64_t partition() const { return set_["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_integer(); }

  json::value fresh(std::int64_t ordinal) const {
    auto& strategy = set_["spec"]["updateStrategy"];
    const auto old_below =
        start_ + (strategy["rollingUpdate"].is_null() ? counted(set_["status"]["currentReplicas"]) : partition());
    const bool old = (strategy["type"].as_string() == "RollingUpdate" || !strategy["rollingUpdate"].is_null()) &&
                     ordinal < old_below;
    auto& revision = old ? *current_ : revisions_.newest();
    auto pod = pod_of_template(template_of(revision), stateful_set_kind, set_);
    auto name = fmt::format("{}-{}", name_of(set_), ordinal);
    auto& meta = pod.member("metadata");
    meta.set("name", name);
    auto& labels = meta.member("labels");
    labels.set(name_label, name);
    labels.set(index_label, std::to_string(ordinal));
    labels.set(revision_hash_label, name_of(revision));
    auto& spec = pod.member("spec");
    spec.set("hostname", name);
    if (auto service = set_["spec"]["serviceName"].as_string(); !service.empty()) spec.set("subdomain", service);
    use_claims(spec, set_, ordinal);
    return pod;
  }

  notice told(std::string_view did, std::string_view pod) const {
    return {reference_to(set_), false, fmt::format("Successful{}", did),
            fmt::format("{} Pod {} in StatefulSet {} successful", did, pod, name_of(set_))};
  }
  notice told_refusal(std::string_view did, std::string_view pod) const {
    return {reference_to(set_), true, fmt::format("Failed{}", did),
            fmt::format("{} Pod {} in StatefulSet {} failed error: ", did, pod, name_of(set_))};
  }

  change removal(const json::value& pod) const {
    auto c = removal_of_any_version(pods, pod);
    c.on_done = told("Delete", name_of(pod));
    c.on_refused = told_refusal("Delete", name_of(pod));
    return c;
  }

  // Claims that a pod needs and that aren't there. False: it must wait for one that goes.
  bool make_claims(std::int64_t ordinal, std::string_view pod) {
    bool fine = true;
    for (auto& claim : claims_of(set_, ordinal)) {
      if (auto there = cluster_.get(claims, claim["metadata"]["namespace"].as_string(), name_of(claim))) {
        if (is_deleting(*there)) {
          fine = false;
          plan_.tell(reference_to(set_), "FailedCreate",
                     fmt::format("Create Pod {} in StatefulSet {} failed error: pvc {} is being deleted", pod,
                                 name_of(set_), name_of(claim)),
                     true);
        }
        continue;
      }
      auto name = std::string(name_of(claim));
      auto c = creation(claims, std::string(claim["metadata"]["namespace"].as_string()), std::move(claim));
      c.on_done = notice{reference_to(set_), false, "SuccessfulCreate",
                         fmt::format("Create Claim {} Pod {} in StatefulSet {} success", name, pod, name_of(set_))};
      c.on_refused =
          notice{reference_to(set_), true, "FailedCreate",
                 fmt::format("Create Claim {} for Pod {} in StatefulSet {} failed error: ", name, pod, name_of(set_))};
      plan_.write(std::move(c));
    }
    return fine;
  }

  void create(std::int64_t ordinal) {
    auto pod = fresh(ordinal);
    auto name = std::string(name_of(pod));
    // Its name is another's, or its claims go with an earlier one of the name.
    const bool taken = cluster_.get(pods, set_["metadata"]["namespace"].as_string(), name);
    if (taken || claim_is_stale(cluster_, set_, pod, ordinal) || !make_claims(ordinal, name)) {
      plan_.look_after(std::chrono::seconds(1));
      return;
    }
    auto c = creation(pods, std::string(set_["metadata"]["namespace"].as_string()), std::move(pod));
    c.on_done = told("Create", name);
    c.on_refused = told_refusal("Create", name);
    created_.push_back(std::move(c));
    if (ordered_) flush();
  }

  void flush() { plan_.write(ordered_ ? pace::in_order : pace::slow_start, std::exchange(created_, {})); }

  // True: nothing is to be waited for.
  bool keep_replicas() {
    for (std::size_t i = 0; i < replicas_.size(); ++i) {
      auto ordinal = start_ + static_cast<std::int64_t>(i);
      auto pod = replicas_[i];
      if (!pod) {
        create(ordinal);
        if (ordered_) return false;
        continue;
      }
      if (is_finished(*pod)) {
        if (!is_deleting(*pod)) plan_.write(removal(*pod));
        if (ordered_) return false;
        continue;
      }
      if (phase_of(*pod) == "Pending") {
        make_claims(ordinal, name_of(*pod));
        keep_claims(*pod);
      }
      if (ordered_ && (is_deleting(*pod) || !runs(*pod) || !available(*pod))) return false;
      mend(*pod, ordinal);
    }
    flush();
    return true;
  }

  // Its names and claims are what they must be.
  void mend(const json::value& pod, std::int64_t ordinal) {
    auto next = pod;
    auto& labels = next.member("metadata").member("labels");
    if (labels[name_label].as_string() != name_of(pod)) {
      labels.set(name_label, name_of(pod));
      labels.set(index_label, std::to_string(ordinal));
    }
    if (!uses_claims(pod, set_, ordinal))
      use_claims(next.member("spec"), set_, ordinal), make_claims(ordinal, name_of(pod));
    const bool kept = keep_claims(pod);
    if (next == pod && !kept) return;
    auto c = update_of(pods, std::move(next));
    c.on_done = told("Update", name_of(pod));
    c.on_refused = told_refusal("Update", name_of(pod));
    plan_.write(std::move(c));
  }

  // The owners of a pod's claims follow the retention policy. True when one changes.
  bool keep_claims(const json::value& pod) {
    bool any = false;
    for (auto& c : claim_owners(cluster_, set_, pod, ordinal_of(pod), plan_)) {
      any = true;
      plan_.write(std::move(c));
    }
    return any;
  }

  // Ordinals beyond. True: there are none.
  bool shed() {
    for (auto pod : condemned_) keep_claims(*pod);
    const json::value* unwell = nullptr;
    for (auto pod : replicas_)
      if (!unwell && unavailable(pod)) unwell = pod;
    for (auto it = condemned_.rbegin(); it != condemned_.rend(); ++it)
      if (!unwell && unavailable(*it)) unwell = *it;
    std::vector<change> gone;
    bool waits = false;
    for (auto pod : condemned_) {
      if (is_deleting(*pod)) {
        if (ordered_) return false;
        continue;
      }
      if (ordered_ && pod != unwell && (!runs(*pod) || !available(*pod))) return false;
      gone.push_back(removal(*pod));
      waits = ordered_;
      if (ordered_) break;
    }
    plan_.write(ordered_ ? pace::in_order : pace::slow_start, std::move(gone));
    return !waits;
  }

  // Pods of another revision go, the last ordinals first, as many as may be away.
  void update() {
    auto& rolling = set_["spec"]["updateStrategy"]["rollingUpdate"];
    const auto most = std::max<std::int64_t>(
        1, int_or_percent(rolling["maxUnavailable"], static_cast<std::int64_t>(replicas_.size()), false, 1));
    const auto least = static_cast<std::size_t>(std::max<std::int64_t>(0, partition()));
    auto old = [&](const json::value* pod) {
      return pod && revision_of(*pod) != name_of(revisions_.newest()) && !is_deleting(*pod);
    };
    std::int64_t away = 0, old_away = 0;
    for (auto pod : replicas_) {
      if (!unavailable(pod)) continue;
      ++away;
      old_away += !ordered_ && old(pod);
    }
    if (away >= most && old_away == 0) return;
    auto budget = most - away;
    std::vector<change> gone;
    auto take = [&](const json::value& pod) {
      gone.push_back(removal(pod));
      --counts_.current;
    };
    if (!ordered_)
      for (auto i = replicas_.size(); i-- > least;)
        if (old(replicas_[i]) && !available(*replicas_[i])) take(*replicas_[i]);
    for (auto i = replicas_.size(); i-- > least && budget > 0;) {
      if (!old(replicas_[i]) || (!ordered_ && unavailable(replicas_[i]))) continue;
      take(*replicas_[i]);
      --budget;
    }
    plan_.write(pace::in_order, std::move(gone));
  }

  void forget() {
    auto live = [&](const json::value& r) {
      return name_of(r) == name_of(*current_) ||
             std::ranges::any_of(all_, [&](auto pod) { return revision_of(*pod) == name_of(r); });
    };
    auto& limit = set_["spec"]["revisionHistoryLimit"];
    if (limit.as_integer(10) < 0) return;
    for (auto& c : revisions_.surplus(limit.as_integer(10), false, live)) plan_.write(std::move(c));
  }

  // ---- status

  void count() {
    for (auto pod : all_) {
      if (exists(*pod)) ++counts_.replicas;
      if (runs(*pod)) {
        ++counts_.ready;
        counts_.available += available(*pod);
      }
      if (!exists(*pod) || is_deleting(*pod)) continue;
      counts_.current += revision_of(*pod) == name_of(*current_);
      counts_.updated += revision_of(*pod) == name_of(revisions_.newest());
    }
  }

  void tell_status() {
    auto next = set_;
    auto& status = next.member("status");
    const auto wanted = set_["spec"]["replicas"].as_integer(1);
    auto current = std::string(name_of(*current_));
    if (counts_.updated == wanted && counts_.ready == wanted && counts_.replicas == wanted) {
      counts_.current = counts_.updated;
      current = name_of(revisions_.newest());
    }
    auto count = [&](const char* name, std::int64_t n) { n ? status.set(name, n) : void(status.erase(name)); };
    status.set("observedGeneration", set_["metadata"]["generation"]);
    status.set("replicas", counts_.replicas);
    count("readyReplicas", counts_.ready);
    count("currentReplicas", counts_.current);
    count("updatedReplicas", counts_.updated);
    status.set("currentRevision", current);
    status.set("updateRevision", name_of(revisions_.newest()));
    status.set("availableReplicas", counts_.available);
    if (!(next["status"] == set_["status"]) || revisions_.collided() || status["collisionCount"].is_null()) {
      status.set("collisionCount", revisions_.collisions());
      plan_.write(update_of(stateful_sets, std::move(next), "status"));
    }
    if (next_) plan_.look_after(*next_);
  }

  const view& cluster_;
  const json::value& set_;
  const history& revisions_;
  const moment& now_;
  const bool ordered_;
  const std::int64_t start_, min_ready_;
  const std::vector<const json::value*>& all_;
  const json::value* current_;
  std::vector<const json::value*> replicas_;   // by ordinal from the start; null: missing
  std::vector<const json::value*> condemned_;  // the last ordinal first
  std::vector<change> created_;
  std::optional<duration> next_;  // when a pod will be available
  struct {
    std::int64_t replicas = 0, ready = 0, available = 0, current = 0, updated = 0;
  } counts_;
  plan plan_;
};

class stateful_set final : public pod_owner {
 public:
  stateful_set() : pod_owner(stateful_set_kind, stateful_sets) {}

  std::vector<source> sources() override {
    return {{stateful_sets, own_key}, pod_source(), {controller_revisions, [this](const seen& s, keys&) {
                                                       orphan_revisions_.see(s);
                                                     }}};
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto set = cluster.get(stateful_sets, key);
    if (!set) return p;
    auto selector = selector_of(*set);
    if (selector.nothing() || selector.everything()) return p;
    auto members = claim(cluster, pods, kind_, *set, selector, orphan_pods_,
                         [&](const json::value& pod) { return parent_of(pod) == name_of(*set); });
    auto revisions = claim(cluster, controller_revisions, kind_, *set, selector, orphan_revisions_);
    // Revisions are never let go.
    std::erase_if(revisions.changes, [](auto& c) { return controller_of(c.object) == nullptr; });
    for (auto& c : revisions.changes) members.changes.push_back(std::move(c));
    if (!members.changes.empty())
      return p.write(pace::together, std::move(members.changes)), p.look_after(duration::zero());
    history past(cluster, kind_, *set, std::move(revisions.mine), hash_label);
    return stateful_look(cluster, *set, members.mine, past, now).make();
  }

 private:
  orphans orphan_revisions_;
};

}  // namespace

std::unique_ptr<controller> make_stateful_set(const settings&) { return std::make_unique<stateful_set>(); }

}  // namespace kedge::control
