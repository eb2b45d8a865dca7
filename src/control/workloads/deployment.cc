// deployment.cc: Deployments: a ReplicaSet for each version of the template, old ones shrink as the new one grows
// (deployment-controller).
//
//   its sets ─▶ which is of the template now? none: made, with the next revision
//        ├─▶ paused, or scaled meanwhile ─▶ all in proportion
//        ├─▶ Recreate ─▶ the old to nothing, and only then the new
//        └─▶ RollingUpdate ─▶ the new as far as surge allows; the old as far as enough are available
//                 └─▶ status: counts, Available, Progressing with its deadline, ReplicaFailure; revisions beyond the
//                 limit go
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/workloads/history.h"
#include "control/workloads/replicas.h"
#include "control/workloads/rollout.h"

namespace kedge::control {
namespace {

const api::resource_id deployments{"apps", "v1", "deployments"};
const api::resource_id replica_sets{"apps", "v1", "replicasets"};
constexpr owner_kind deployment_kind{"apps/v1", "Deployment"};

constexpr std::string_view hash_label = "pod-template-hash";
constexpr std::string_view revision_note = "deployment.kubernetes.io/revision";
constexpr std::string_view history_note = "deployment.kubernetes.io/revision-history";
constexpr std::string_view desired_note = "deployment.kubernetes.io/desired-replicas";
constexpr std::string_view most_note = "deployment.kubernetes.io/max-replicas";
constexpr std::string_view rollback_note = "deprecated.deployment.rollback.to";
constexpr std::string_view applied_note = "kubectl.kubernetes.io/last-applied-configuration";
constexpr std::size_t history_max = 2000;                                         // characters of the annotation
constexpr std::int64_t without_limit = std::numeric_limits<std::int32_t>::max();  // of history and deadline: none
constexpr std::size_t name_max = 253;

bool is_own_note(std::string_view key) {
  for (auto k : {applied_note, revision_note, history_note, desired_note, most_note, rollback_note})
    if (k == key) return true;
  return false;
}

std::int64_t replicas_of(const json::value& o) { return o["spec"]["replicas"].as_integer(1); }
std::int64_t revision_of(const json::value& set) {
  return parse_int(set["metadata"]["annotations"][revision_note].as_string()).value_or(0);
}

json::value without_hash(json::value pod_template) {
  if (auto labels = pod_template.member("metadata").find("labels")) labels->erase(hash_label);
  return pod_template;
}

bool older(const json::value* a, const json::value* b) {
  auto ca = (*a)["metadata"]["creationTimestamp"].as_string(), cb = (*b)["metadata"]["creationTimestamp"].as_string();
  return ca != cb ? ca < cb : name_of(*a) < name_of(*b);
}

// One look at a Deployment: its sets, and the plan as it grows.
class rollout {
 public:
  rollout(const view& cluster, const json::value& d, std::vector<const json::value*> sets, const moment& now)
      : cluster_(cluster), d_(d), next_(d), limits_(limits_of(d)), now_(now) {
    std::sort(sets.begin(), sets.end(), older);
    auto wanted = without_hash(d["spec"]["template"]);
    for (auto s : sets) {
      if (!fresh_ && without_hash((*s)["spec"]["template"]) == wanted)
        fresh_ = s;
      else
        old_.push_back(s);
    }
    for (auto s : old_) size_[s] = replicas_of(*s);
    if (fresh_) size_[fresh_] = replicas_of(*fresh_);
  }

  plan make() {
    if (is_deleting(d_)) {
      tell_counts();
      return finish();
    }
    note_pause();
    if (d_["spec"]["paused"].as_bool()) {
      keep_revision();
      scale();
      if (d_["metadata"]["annotations"][rollback_note].is_null()) clean_up();
      tell_counts();
      return finish();
    }
    if (auto& to = d_["metadata"]["annotations"][rollback_note]; to.is_string()) {
      roll_back(to.as_string());
      return finish();
    }
    if (was_scaled()) {
      keep_revision();
      scale();
      tell_counts();
      return finish();
    }
    d_["spec"]["strategy"]["type"].as_string() == "Recreate" ? recreate() : roll();
    return finish();
  }

  // A set that could not be made.
  plan tell_refusal() {
    if (!fresh_ && has_deadline())
      set_deployment_condition(
          {"Progressing", "False", "ReplicaSetCreateError",
           fmt::format("Failed to create new replica set \"{}\": {}", fresh_name(fresh_hash()), now_.refused->message)},
          false);
    return finish();
  }

 private:
  // ---- the set of the template

  std::int64_t next_revision() const {
    std::int64_t most = 0;
    for (auto s : old_) most = std::max(most, revision_of(*s));
    return most + 1;
  }

  // Annotations of the Deployment, and revision and history of the set. True when something changed.
  bool set_notes(json::value& set, bool exists) const {
    auto& notes = set.member("metadata").member("annotations").make_object();
    bool changed = false;
    auto put = [&](std::string_view key, std::string value) {
      auto had = notes.find(key);
      if (had && had->as_string() == value) return;
      notes.set(key, std::move(value));
      changed = true;
    };
    if (auto own = d_["metadata"]["annotations"].object())
      for (auto& m : *own)
        if (!is_own_note(m.name)) put(m.name, std::string(m.value.as_string()));
    const auto revision = next_revision();
    auto had = notes.find(revision_note);
    const auto before = had ? parse_int(had->as_string()).value_or(0) : 0;
    if (before < revision) {
      if (had) add_history(notes, std::string(had->as_string()));
      put(revision_note, std::to_string(revision));
    }
    if (!exists) {
      put(desired_note, std::to_string(limits_.replicas));
      put(most_note, std::to_string(limits_.replicas + limits_.surge));
    }
    return changed;
  }

  static void add_history(json::object& notes, std::string revision) {
    auto had = notes.find(history_note);
    std::string all = had && !had->as_string().empty() ? std::string(had->as_string()) + "," + revision : revision;
    while (all.size() > history_max) {
      auto comma = all.find(',');
      if (comma == std::string::npos) return;
      all.erase(0, comma + 1);
    }
    notes.set(history_note, std::move(all));
  }

  // The set of the template, when it is there, has the newest revision; and the Deployment says so.
  void keep_revision() {
    if (!fresh_) return;
    auto next = edited(fresh_);
    const auto min_ready = d_["spec"]["minReadySeconds"].as_integer();
    bool changed = set_notes(next, true);
    if (next["spec"]["minReadySeconds"].as_integer() != min_ready) {
      next.member("spec").set("minReadySeconds", min_ready);
      changed = true;
    }
    if (changed) edits_[fresh_] = next;
    say_revision(next["metadata"]["annotations"][revision_note].as_string());
    if (has_deadline() && condition_of(next_, "Progressing").is_null())
      progress("True", "FoundNewReplicaSet", fmt::format("Found new replica set \"{}\"", name_of(*fresh_)));
  }

  void say_revision(std::string_view revision) {
    if (next_["metadata"]["annotations"][revision_note].as_string() != revision)
      next_.member("metadata").member("annotations").set(revision_note, revision);
  }

  std::string fresh_hash() const {
    auto& collisions = d_["status"]["collisionCount"];
    return hash_of(without_hash(d_["spec"]["template"]),
                   collisions.is_integer() ? std::optional(collisions.as_integer()) : std::nullopt);
  }
  std::string fresh_name(const std::string& hash) const {
    return std::string(name_of(d_)).substr(0, name_max - hash.size() - 1) + "-" + hash;
  }

  // The set for a template that has none. False: its name is another's; the hash gets another count.
  bool make_fresh() {
    auto hash = fresh_hash(), name = fresh_name(hash);
    auto ns = d_["metadata"]["namespace"].as_string();
    if (cluster_.get(replica_sets, ns, name)) {
      next_.member("status").set("collisionCount", d_["status"]["collisionCount"].as_integer() + 1);
      return false;
    }
    auto pods = d_["spec"]["template"];
    pods.member("metadata").member("labels").set(hash_label, hash);
    auto selector = d_["spec"]["selector"];
    selector.member("matchLabels").set(hash_label, hash);
    made_ = json::object{
        {"kind", "ReplicaSet"},
        {"apiVersion", "apps/v1"},
        {"metadata", json::object{{"name", name},
                                  {"namespace", ns},
                                  {"labels", pods["metadata"]["labels"]},
                                  {"ownerReferences", json::array{controller_reference(deployment_kind, d_)}}}},
        {"spec", json::object{{"replicas", 0}, {"selector", std::move(selector)}, {"template", std::move(pods)}}}};
    if (auto min_ready = d_["spec"]["minReadySeconds"].as_integer())
      made_.member("spec").set("minReadySeconds", min_ready);
    auto size = d_["spec"]["strategy"]["type"].as_string() == "Recreate" ? limits_.replicas
                                                                         : new_set_replicas(limits_, sets(old_), 0);
    made_.member("spec").set("replicas", size);
    set_notes(made_, false);
    say_revision(std::to_string(next_revision()));
    if (has_deadline()) progress("True", "NewReplicaSetCreated", fmt::format("Created new replica set \"{}\"", name));
    size_made_ = size;
    return true;
  }

  // ---- sizes

  rollout_set as_set(const json::value* s) const {
    auto& m = (*s)["metadata"];
    return {std::string(uid_of(*s)),
            std::string(m["creationTimestamp"].as_string()),
            std::string(name_of(*s)),
            size_.at(s),
            counted((*s)["status"]["availableReplicas"]),
            parse_int(m["annotations"][most_note].as_string()).value_or(0)};
  }
  std::vector<rollout_set> sets(const std::vector<const json::value*>& from) const {
    std::vector<rollout_set> out;
    for (auto s : from) out.push_back(as_set(s));
    return out;
  }
  std::vector<const json::value*> active() const {
    std::vector<const json::value*> out;
    for (auto s : old_)
      if (size_.at(s) > 0) out.push_back(s);
    if (fresh_ && size_.at(fresh_) > 0) out.push_back(fresh_);
    return out;
  }

  json::value& edited(const json::value* s) { return edits_.try_emplace(s, *s).first->second; }

  // True when its size changes. `notes`: its annotations are made true in any case.
  bool resize(const json::value* s, std::int64_t size, bool notes = false) {
    const auto before = size_.at(s);
    auto desired = std::to_string(limits_.replicas), most = std::to_string(limits_.replicas + limits_.surge);
    auto& has = (*s)["metadata"]["annotations"];
    const bool stale = has[desired_note].as_string() != desired || has[most_note].as_string() != most;
    if (before == size && !(notes && stale)) return false;
    auto& next = edited(s);
    next.member("spec").set("replicas", size);
    next.member("metadata").member("annotations").set(desired_note, desired);
    next.member("metadata").member("annotations").set(most_note, most);
    size_[s] = size;
    if (before == size) return false;
    told_[s] = notice{reference_to(d_), false, "ScalingReplicaSet",
                      fmt::format("Scaled {} replica set {} from {} to {}", before < size ? "up" : "down", name_of(*s),
                                  before, size)};
    return true;
  }

  bool was_scaled() const {
    for (auto s : active()) {
      auto desired = parse_uint((*s)["metadata"]["annotations"][desired_note].as_string());
      if (desired && static_cast<std::int64_t>(*desired) != limits_.replicas) return true;
    }
    return false;
  }

  void scale() {
    auto running = active();
    if (running.size() <= 1) {
      auto one = !running.empty() ? running.front()
                 : fresh_         ? fresh_
                 : old_.empty()   ? nullptr
                                  : *std::max_element(old_.begin(), old_.end(), older);
      if (one && size_.at(one) != limits_.replicas) resize(one, limits_.replicas);
      return;
    }
    if (is_saturated()) {
      for (auto s : old_)
        if (size_.at(s) > 0) resize(s, 0);
      return;
    }
    if (d_["spec"]["strategy"]["type"].as_string() != "RollingUpdate") return;
    auto sizes = proportional(limits_, counted(d_["status"]["replicas"]), sets(running));
    for (std::size_t i = 0; i < running.size(); ++i) resize(running[i], sizes[i], true);
  }

  bool is_saturated() const {
    if (!fresh_) return false;
    auto desired = parse_int((*fresh_)["metadata"]["annotations"][desired_note].as_string());
    return desired && *desired == limits_.replicas && size_.at(fresh_) == limits_.replicas &&
           counted((*fresh_)["status"]["availableReplicas"]) == limits_.replicas;
  }

  // ---- strategies

  void roll() {
    keep_revision();
    if (!fresh_) {
      if (make_fresh()) { tell_counts(); }
      return;
    }
    auto all = old_;
    all.push_back(fresh_);
    const auto grown = resize(fresh_, new_set_replicas(limits_, sets(all), size_.at(fresh_)));
    if (!grown) {
      auto shrinking = old_;
      std::erase_if(shrinking, [&](auto s) { return size_.at(s) == 0; });
      auto sizes = old_set_replicas(limits_, sets(shrinking), as_set(fresh_));
      bool shrunk = false;
      for (std::size_t i = 0; i < shrinking.size(); ++i) shrunk |= resize(shrinking[i], sizes[i]);
      if (!shrunk && is_complete(d_["status"])) clean_up();
    }
    tell_rollout();
  }

  void recreate() {
    keep_revision();
    bool shrunk = false;
    for (auto s : old_)
      if (size_.at(s) > 0) shrunk |= resize(s, 0);
    if (shrunk || old_pods_run()) return tell_rollout();
    if (!fresh_) {
      if (make_fresh()) tell_counts();
      return;
    }
    resize(fresh_, limits_.replicas);
    if (is_complete(d_["status"])) clean_up();
    tell_rollout();
  }

  bool old_pods_run() const {
    auto pods_here = cluster_.prefix(pods, d_["metadata"]["namespace"].as_string());
    for (auto s : old_) {
      if (counted((*s)["status"]["replicas"]) > 0) return true;
      bool runs = false;
      cluster_.cluster().scan(api::objects_by_owner, uid_of(*s), pods_here, {}, [&](const store::object_ref& o) {
        auto pod = cluster_.value(o);
        auto phase = pod ? (*pod)["status"]["phase"].as_string() : std::string_view();
        runs = phase != "Failed" && phase != "Succeeded";
        return !runs;
      });
      if (runs) return true;
    }
    return false;
  }

  // `kubectl rollout undo` of long ago (extensions/v1beta1), by annotation.
  void roll_back(std::string_view text) {
    auto about = reference_to(d_);
    auto wanted = parse_int(text).value_or(0);
    auto all = old_;
    if (fresh_) all.push_back(fresh_);
    if (wanted == 0) {
      std::vector<std::int64_t> revisions;
      for (auto s : all) revisions.push_back(revision_of(*s));
      std::sort(revisions.rbegin(), revisions.rend());
      wanted = revisions.size() > 1 ? revisions[1] : 0;
      if (wanted == 0) plan_.tell(about, "DeploymentRollbackRevisionNotFound", "Unable to find last revision.", true);
    }
    next_.member("metadata").member("annotations").erase(rollback_note);
    for (auto s : all) {
      if (wanted == 0 || revision_of(*s) != wanted) continue;
      if (s == fresh_) {
        plan_.tell(
            about, "DeploymentRollbackTemplateUnchanged",
            fmt::format("The rollback revision contains the same template as current deployment \"{}\"", name_of(d_)),
            true);
      } else {
        next_.member("spec").set("template", without_hash((*s)["spec"]["template"]));
        plan_.tell(about, "DeploymentRollback",
                   fmt::format("Rolled back deployment \"{}\" to revision {}", name_of(d_), wanted));
      }
      wanted = 0;
    }
    if (wanted != 0)
      plan_.tell(about, "DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to.", true);
    whole_ = true;
  }

  void clean_up() {
    auto& limit = d_["spec"]["revisionHistoryLimit"];
    if (!limit.is_integer() || limit.as_integer() == without_limit) return;
    auto kept = old_;
    std::erase_if(kept, [](auto s) { return is_deleting(*s); });
    auto too_many = static_cast<std::int64_t>(kept.size()) - limit.as_integer();
    if (too_many <= 0) return;
    std::sort(kept.begin(), kept.end(), [](auto a, auto b) {
      return revision_of(*a) != revision_of(*b) ? revision_of(*a) < revision_of(*b) : older(a, b);
    });
    for (std::int64_t i = 0; i < too_many; ++i) {
      auto& s = *kept[static_cast<std::size_t>(i)];
      if (counted(s["status"]["replicas"]) != 0 || replicas_of(s) != 0 ||
          s["metadata"]["generation"].as_integer() > s["status"]["observedGeneration"].as_integer())
        continue;
      gone_.push_back(removal_of_any_version(replica_sets, s, {.propagation_policy = "Background"}));
    }
  }

  // ---- status

  bool has_deadline() const {
    auto& deadline = d_["spec"]["progressDeadlineSeconds"];
    return deadline.is_integer() && deadline.as_integer() != without_limit;
  }

  void progress(std::string status, std::string reason, std::string message) {
    set_deployment_condition({"Progressing", std::move(status), std::move(reason), std::move(message)}, false);
  }

  // Deployments' conditions have two times. Same status and reason: left as it is, unless `renew`.
  void set_deployment_condition(condition c, bool renew) {
    auto had = condition_of(next_, c.type);
    if (!renew && had["status"].as_string() == c.status && had["reason"].as_string() == c.reason) return;
    auto& list = next_.member("status").member("conditions").make_array();
    auto now = format_rfc3339(now_.wall);
    auto since = had["status"].as_string() == c.status ? had["lastTransitionTime"] : json::value(now);
    std::erase_if(list, [&](auto& o) { return o["type"].as_string() == c.type; });
    list.emplace_back(json::object{{"type", c.type},
                                   {"status", c.status},
                                   {"lastUpdateTime", now},
                                   {"lastTransitionTime", std::move(since)},
                                   {"reason", c.reason},
                                   {"message", c.message}});
  }

  void drop_condition(std::string_view type) {
    if (auto list = next_.member("status").find("conditions"); list && list->array())
      std::erase_if(*list->array(), [&](auto& c) { return c["type"].as_string() == type; });
  }

  void note_pause() {
    if (!has_deadline()) return;
    auto& c = condition_of(next_, "Progressing");
    if (c["reason"].as_string() == "ProgressDeadlineExceeded") return;
    const bool paused = d_["spec"]["paused"].as_bool(), noted = c["reason"].as_string() == "DeploymentPaused";
    if (paused && !noted) progress("Unknown", "DeploymentPaused", "Deployment is paused");
    if (!paused && noted) progress("Unknown", "DeploymentResumed", "Deployment is resumed");
  }

  std::int64_t sum(const char* field, bool with_fresh = true) const {
    std::int64_t out = with_fresh && fresh_ ? counted((*fresh_)["status"][field]) : 0;
    for (auto s : old_) out += counted((*s)["status"][field]);
    return out;
  }

  void tell_counts() {
    auto& status = next_.member("status");
    auto count = [&](const char* name, std::int64_t n) { n ? status.set(name, n) : void(status.erase(name)); };
    const auto available = sum("availableReplicas");
    std::int64_t wanted = made_.is_null() ? 0 : replicas_of(made_);
    for (auto& [s, size] : size_) wanted += size;
    status.set("observedGeneration", d_["metadata"]["generation"]);
    count("replicas", sum("replicas"));
    count("updatedReplicas", fresh_ ? counted((*fresh_)["status"]["replicas"]) : 0);
    count("readyReplicas", sum("readyReplicas"));
    count("availableReplicas", available);
    count("unavailableReplicas", std::max<std::int64_t>(0, wanted - available));
    tell_terminating(status);
    if (available >= limits_.replicas - limits_.unavailable)
      set_deployment_condition(
          {"Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."}, false);
    else
      set_deployment_condition(
          {"Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."},
          false);
  }

  // Left out while some set doesn't tell.
  void tell_terminating(json::value& status) const {
    std::int64_t n = 0;
    auto all = old_;
    if (fresh_) all.push_back(fresh_);
    for (auto s : all) {
      auto& told = (*s)["status"]["terminatingReplicas"];
      if (told.is_null() && (*s)["status"]["observedGeneration"].as_integer() != 0) {
        status.erase("terminatingReplicas");
        return;
      }
      n += counted(told);
    }
    status.set("terminatingReplicas", n);
  }

  bool is_complete(const json::value& status) const {
    return counted(status["updatedReplicas"]) == limits_.replicas && counted(status["replicas"]) == limits_.replicas &&
           counted(status["availableReplicas"]) == limits_.replicas &&
           status["observedGeneration"].as_integer() >= d_["metadata"]["generation"].as_integer();
  }

  bool moves(const json::value& before, const json::value& after) const {
    auto old_of = [](const json::value& s) { return counted(s["replicas"]) - counted(s["updatedReplicas"]); };
    return counted(after["updatedReplicas"]) > counted(before["updatedReplicas"]) || old_of(after) < old_of(before) ||
           counted(after["readyReplicas"]) > counted(before["readyReplicas"]) ||
           counted(after["availableReplicas"]) > counted(before["availableReplicas"]);
  }

  void tell_rollout() {
    tell_counts();
    auto& status = next_["status"];
    auto had = condition_of(d_, "Progressing");
    if (!has_deadline()) {
      drop_condition("Progressing");
    } else if (!(counted(status["replicas"]) == counted(status["updatedReplicas"]) &&
                 had["reason"].as_string() == "NewReplicaSetAvailable")) {
      auto what =
          fresh_ ? fmt::format("ReplicaSet \"{}\"", name_of(*fresh_)) : fmt::format("Deployment \"{}\"", name_of(d_));
      if (is_complete(status)) {
        progress("True", "NewReplicaSetAvailable", what + " has successfully progressed.");
      } else if (moves(d_["status"], status)) {
        set_deployment_condition({"Progressing", "True", "ReplicaSetUpdated", what + " is progressing."}, true);
      } else {
        look_at_deadline(what);
      }
    }
    tell_failures();
  }

  void look_at_deadline(const std::string& what) {
    auto& c = condition_of(next_, "Progressing");
    auto reason = c["reason"].as_string();
    auto since = parse_rfc3339(c["lastUpdateTime"].as_string());
    if (c.is_null() || reason == "NewReplicaSetAvailable" || reason == "ProgressDeadlineExceeded" || !since) return;
    auto end = *since + std::chrono::seconds(d_["spec"]["progressDeadlineSeconds"].as_integer());
    if (end < now_.wall)
      progress("False", "ProgressDeadlineExceeded", what + " has timed out progressing.");
    else
      plan_.look_after(end - now_.wall + std::chrono::seconds(1));
  }

  void tell_failures() {
    auto failure = [](const json::value* s) -> const json::value& { return condition_of(*s, "ReplicaFailure"); };
    json::value found = fresh_ ? failure(fresh_) : json::value();
    for (auto s : old_)
      if (found.is_null()) found = failure(s);
    if (found.is_null()) return drop_condition("ReplicaFailure");
    set_deployment_condition({"ReplicaFailure", std::string(found["status"].as_string()),
                              std::string(found["reason"].as_string()), std::string(found["message"].as_string())},
                             false);
  }

  // ---- the plan

  plan finish() {
    if (!made_.is_null()) {
      auto c = creation(replica_sets, std::string(d_["metadata"]["namespace"].as_string()), std::move(made_));
      if (size_made_ > 0)
        c.on_done = notice{reference_to(d_), false, "ScalingReplicaSet",
                           fmt::format("Scaled up replica set {} from 0 to {}", c.name, size_made_)};
      c.on_refused = notice{reference_to(d_), true, "ReplicaSetCreateError",
                            fmt::format("Failed to create new replica set \"{}\": ", c.name)};
      plan_.write(std::move(c));
    }
    for (auto& [s, next] : edits_)
      if (!(next == *s)) {
        auto c = update_of(replica_sets, std::move(next));
        if (auto told = told_.find(s); told != told_.end()) c.on_done = std::move(told->second);
        plan_.write(std::move(c));
      }
    for (auto& g : gone_) plan_.write(std::move(g));
    if (auto list = next_.member("status").find("conditions"); list && list->empty())
      next_.member("status").erase("conditions");
    if (whole_)
      plan_.write(update_of(deployments, std::move(next_)));
    else if (!(next_ == d_))
      plan_.write(update_of(deployments, std::move(next_), "status"));
    return std::move(plan_);
  }

  const view& cluster_;
  const json::value& d_;
  json::value next_;  // with its new status
  const rollout_limits limits_;
  const moment& now_;
  const json::value* fresh_ = nullptr;   // the set of the template
  std::vector<const json::value*> old_;  // the others, the oldest first
  std::map<const json::value*, std::int64_t> size_;
  std::map<const json::value*, json::value> edits_;
  std::map<const json::value*, notice> told_;  // of those that are resized
  json::value made_;                           // the set that is to be made
  std::int64_t size_made_ = 0;
  std::vector<change> gone_;
  bool whole_ = false;  // the spec changes, not the status
  plan plan_;
};

class deployment final : public controller {
 public:
  std::vector<source> sources() override {
    auto of_set = controller_key("apps/v1", "Deployment");
    return {{deployments, own_key},
            {replica_sets,
             [this, of_set](const seen& s, keys& k) {
               orphans_.see(s);
               of_set(s, k);
               orphan_key(s, k);
             }},
            // Recreate waits until the old pods are gone.
            {pods, [](const seen& s, keys& k) {
               if (s.deleted())
                 if (auto* set = controller_of(s.value()); set && (*set)["kind"].as_string() == "ReplicaSet")
                   k.add(std::string(set_mark) + std::string(s.value()["metadata"]["namespace"].as_string()) + "/" +
                         std::string((*set)["name"].as_string()));
             }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (key.starts_with(orphan_mark)) {
      auto cluster = s.now();
      if (auto set = cluster.get(replica_sets, key.substr(orphan_mark.size())))
        for (auto& owner : adopters(cluster, deployments, *set, [](const json::value& d) {
               return api::label_selector::from_object(d["spec"]["selector"]);
             }))
          s.queue().add(owner);
      co_return api::api_result<void>();
    }
    if (key.starts_with(set_mark)) {
      auto cluster = s.now();
      if (auto set = cluster.get(replica_sets, key.substr(set_mark.size())))
        if (auto* owner = controller_of(*set); owner && (*owner)["kind"].as_string() == "Deployment")
          s.queue().add(std::string((*set)["metadata"]["namespace"].as_string()) + "/" +
                        std::string((*owner)["name"].as_string()));
      co_return api::api_result<void>();
    }
    co_return co_await s.look_and_write(key);
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto d = cluster.get(deployments, key);
    if (!d) return p;
    auto selector = api::label_selector::from_object((*d)["spec"]["selector"]);
    if (selector.everything()) {
      p.tell(reference_to(*d), "SelectingAll",
             "This deployment is selecting all pods. A non-empty selector is required.", true);
      return p;
    }
    auto c = claim(cluster, replica_sets, deployment_kind, *d, selector, orphans_);
    if (!c.changes.empty()) return p.write(pace::together, std::move(c.changes)), p.look_after(duration::zero());
    rollout r(cluster, *d, std::move(c.mine), now);
    return now.refused ? r.tell_refusal() : r.make();
  }

 private:
  static constexpr std::string_view set_mark = "set:";

  orphans orphans_;  // ReplicaSets
};

}  // namespace

std::unique_ptr<controller> make_deployment(const settings&) { return std::make_unique<deployment>(); }

}  // namespace kedge::control
