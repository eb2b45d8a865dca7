// resource_claim.cc: claims of devices that are made for pods from templates, and who may use a claim
// (resourceclaim-controller).
//
//   pod with a template ─▶ claim, owned by it ─▶ pod.status.resourceClaimStatuses ─▶ the scheduler reserves it
//   pod that has ended ─▶ its reservation goes ─▶ the last one: the claim's devices are given back, what was made for
//   the pod is deleted
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/workloads/members.h"

namespace kedge::control {
namespace {

const api::resource_id device_claims{"resource.k8s.io", "v1", "resourceclaims"},
    templates{"resource.k8s.io", "v1", "resourceclaimtemplates"};
constexpr owner_kind pod_kind{"v1", "Pod"};
constexpr std::string_view protection = "resource.kubernetes.io/delete-protection",
                           name_in_pod = "resource.kubernetes.io/pod-claim-name",
                           for_resources = "resource.kubernetes.io/extended-resource-claim";
// Of keys: a claim, whose users it names, whose pods it names. A pod's key has no mark.
constexpr std::string_view claim_mark = "claim:", users_mark = "users:", template_mark = "template:";

std::string marked(std::string_view mark, std::string_view name) { return std::string(mark) + std::string(name); }

bool is_done(const json::value& pod) {
  auto phase = pod["status"]["phase"].as_string();
  return phase == "Succeeded" || phase == "Failed" || (is_deleting(pod) && pod["spec"]["nodeName"].as_string().empty());
}

// What pod.status says of the claims that were made, by their names in the pod, which may have thousands.
using claim_statuses = std::map<std::string_view, const json::value*>;
claim_statuses statuses_of(const json::value& pod) {
  claim_statuses out;
  auto& list = pod["status"]["resourceClaimStatuses"];
  for (std::size_t i = 0; i < list.size(); ++i) out.try_emplace(list[i]["name"].as_string(), &list[i]);
  return out;
}

// The name of the claim that one of spec.resourceClaims means; empty: there is none (yet).
std::string_view claim_name(const claim_statuses& said, const json::value& source) {
  if (source["resourceClaimName"].is_string()) return source["resourceClaimName"].as_string();
  auto made = said.find(source["name"].as_string());
  return made == said.end() ? std::string_view() : (*made->second)["resourceClaimName"].as_string();
}

template <typename F>
void each_claim(const json::value& pod, F f) {
  auto& list = pod["spec"]["resourceClaims"];
  const auto said = statuses_of(pod);
  for (std::size_t i = 0; i < list.size(); ++i)
    if (auto name = claim_name(said, list[i]); !name.empty()) f(name);
  if (auto name = pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"].as_string(); !name.empty()) f(name);
}

bool is_controlled_by(const json::value& claim, const json::value& pod) {
  auto owner = controller_of(claim);
  return owner && (*owner)["uid"].as_string() == uid_of(pod);
}

bool is_reserved_for(const json::value& claim, std::string_view uid) {
  auto& list = claim["status"]["reservedFor"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["uid"].as_string() == uid) return true;
  return false;
}

// "<pod>-<claim>-", each cut by its share when both together leave no room for the random end.
std::string name_begin(std::string_view pod, std::string_view claim) {
  constexpr std::size_t most = 57;
  auto whole = fmt::format("{}-{}-", pod, claim);
  if (whole.size() <= most) return whole;
  auto share = [&](std::string_view of) { return of.substr(0, of.size() * most / whole.size()); };
  return fmt::format("{}-{}", share(pod), share(claim));
}

// The claims that were made for the pod, by their names in it, also those that its status doesn't tell of yet.
std::map<std::string_view, const json::value*> made_claims(const view& cluster, const json::value& pod) {
  std::map<std::string_view, const json::value*> out;
  auto prefix = cluster.prefix(device_claims, pod["metadata"]["namespace"].as_string());
  cluster.cluster().scan(api::objects_by_owner, uid_of(pod), prefix, {}, [&](const store::object_ref& o) {
    auto claim = cluster.value(o);
    if (claim && is_controlled_by(*claim, pod))
      out.try_emplace((*claim)["metadata"]["annotations"][name_in_pod].as_string(), claim);
    return true;
  });
  return out;
}

json::value claim_from(const json::value& made_by, const json::value& pod, std::string_view name) {
  auto& with = made_by["spec"]["metadata"];
  json::value notes = with["annotations"];
  notes.set(name_in_pod, name);
  auto owner = controller_reference(pod_kind, pod);
  owner.erase("blockOwnerDeletion");
  json::object meta{{"generateName", name_begin(pod["metadata"]["name"].as_string(), name)},
                    {"namespace", pod["metadata"]["namespace"]},
                    {"ownerReferences", json::array{std::move(owner)}},
                    {"annotations", std::move(notes)}};
  if (auto labels = with.find("labels")) meta.set("labels", *labels);
  return json::object{{"apiVersion", "resource.k8s.io/v1"},
                      {"kind", "ResourceClaim"},
                      {"metadata", std::move(meta)},
                      {"spec", made_by["spec"]["spec"]}};
}

// A pod got its node past the scheduler: what has devices is reserved for it.
void reserve(const view& cluster, const json::value& pod, plan& p) {
  auto ns = pod["metadata"]["namespace"].as_string();
  auto& list = pod["spec"]["resourceClaims"];
  const auto said = statuses_of(pod);
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto name = claim_name(said, list[i]);
    if (name.empty()) {
      if (said.contains(list[i]["name"].as_string())) continue;  // none is needed
      return;
    }
    auto claim = cluster.get(device_claims, ns, name);
    if (!claim || (!list[i]["resourceClaimName"].is_string() && !is_controlled_by(*claim, pod))) return;
    if (!(*claim)["status"]["allocation"].is_object() || is_reserved_for(*claim, uid_of(pod))) continue;
    auto next = *claim;
    next.member("status")
        .member("reservedFor")
        .push_back(json::object{{"resource", "pods"}, {"name", pod["metadata"]["name"]}, {"uid", uid_of(pod)}});
    p.write(update_of(device_claims, std::move(next), "status"));
  }
}

plan look_at_pod(const view& cluster, const std::string& key) {
  plan p;
  auto pod = cluster.get(pods, key);
  // What has ended needs no claims: kube-controller-manager makes and reserves them anew, and takes them back, in turn.
  if (!pod || is_deleting(*pod) || is_done(*pod)) return p;
  auto about = reference_to(*pod);
  auto ns = (*pod)["metadata"]["namespace"].as_string();
  std::map<std::string_view, std::string_view> made;  // what the pod's status doesn't say yet
  auto& list = (*pod)["spec"]["resourceClaims"];
  const auto statuses = statuses_of(*pod);
  const auto there = made_claims(cluster, *pod);
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i]["resourceClaimTemplateName"].is_string()) continue;
    auto name = list[i]["name"].as_string(), by = list[i]["resourceClaimTemplateName"].as_string();
    if (auto said = statuses.find(name); said != statuses.end()) {
      auto known = (*said->second)["resourceClaimName"].as_string();
      if (known.empty()) continue;
      if (auto claim = cluster.get(device_claims, ns, known); claim && is_controlled_by(*claim, *pod)) continue;
    }
    if (auto claim = there.find(name); claim != there.end()) {
      made[name] = (*claim->second)["metadata"]["name"].as_string();
      continue;
    }
    auto made_by = cluster.get(templates, ns, by);
    if (!made_by)
      return p.tell(
          about, "FailedResourceClaimCreation",
          fmt::format("PodResourceClaim {}: resource claim template {}: resourceclaimtemplate.resource.k8s.io "
                      "{} not found",
                      name, quote(by), quote(by)),
          true);
    auto c = creation(device_claims, std::string(ns), claim_from(*made_by, *pod, name));
    c.on_refused = notice{about, true, "FailedResourceClaimCreation",
                          fmt::format("PodResourceClaim {}: create ResourceClaim : ", name)};
    p.write(std::move(c));
  }
  // Who is made names the pod again.
  if (!p.empty()) return p;
  if (!made.empty()) {
    auto& said = (*pod)["status"]["resourceClaimStatuses"];
    for (std::size_t i = 0; i < said.size(); ++i)
      if (auto name = said[i]["resourceClaimName"].as_string(); !name.empty())
        made.try_emplace(said[i]["name"].as_string(), name);
    json::array all;
    for (auto& [name, claim] : made) all.push_back(json::object{{"name", name}, {"resourceClaimName", claim}});
    auto next = *pod;
    next.member("status").set("resourceClaimStatuses", std::move(all));
    p.write(update_of(pods, std::move(next), "status"));
    return p;
  }
  if (!(*pod)["spec"]["nodeName"].as_string().empty()) reserve(cluster, *pod, p);
  return p;
}

// What a claim is to become: first its status, then the finalizer goes; then it may go itself.
struct claim_changes {
  std::optional<json::value> status;
  bool unprotect = false;
  const json::value* unused = nullptr;  // the claim itself: nobody will need it
};

// Whether it was made for the pod's extended resources in vain: the pod has its node, and another claim (two leaders,
// each of which ended before it had told the pod, made one each). Who gives a pod its node tells it the claim before.
bool is_surplus(const json::value& claim, const json::value& pod) {
  auto& told = pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"];
  return told.is_string() && told != claim["metadata"]["name"] && !pod["spec"]["nodeName"].as_string().empty() &&
         claim["metadata"]["annotations"][for_resources].as_string() == "true" && is_controlled_by(claim, pod);
}

claim_changes changes_of(const view& cluster, const json::value& claim) {
  claim_changes out;
  auto ns = claim["metadata"]["namespace"].as_string();
  json::array remaining;
  auto& users = claim["status"]["reservedFor"];
  for (std::size_t i = 0; i < users.size(); ++i) {
    auto& u = users[i];
    bool keep = true;
    if (u["apiGroup"].as_string().empty() && u["resource"].as_string() == "pods") {
      auto pod = cluster.get(pods, ns, u["name"].as_string());
      keep = pod && uid_of(*pod) == u["uid"].as_string() && !is_done(*pod) && !is_surplus(claim, *pod);
    }
    if (keep) remaining.push_back(u);
  }
  const bool is_protected = has_finalizer(claim, protection), unused = remaining.empty();
  const bool released = remaining.size() < users.size();
  if (released || (is_protected && is_deleting(claim) && unused)) {
    auto next = claim;
    auto& status = next.member("status");
    if (unused)
      status.erase("reservedFor");
    else
      status.set("reservedFor", std::move(remaining));
    if (unused && is_protected) status.erase("allocation");
    if (!(next == claim)) out.status = std::move(next);
    out.unprotect = is_protected && !(out.status ? *out.status : claim)["status"]["allocation"].is_object();
  }
  if (!unused) return out;
  auto owner = controller_of(claim);
  if (!owner || (*owner)["apiVersion"].as_string() != "v1" || (*owner)["kind"].as_string() != "Pod") return out;
  // A pod that is gone takes its claims along (garbage collection).
  auto pod = cluster.get(pods, ns, (*owner)["name"].as_string());
  if (pod && !is_deleting(claim) &&
      (uid_of(*pod) != (*owner)["uid"].as_string() || is_done(*pod) || is_surplus(claim, *pod)))
    out.unused = &claim;
  return out;
}

class resource_claim final : public controller {
 public:
  std::vector<source> sources() override {
    return {
        {pods,
         [](const seen& s, keys& k) {
           auto& pod = s.value();
           if (pod["spec"]["resourceClaims"].empty() && !pod["status"]["extendedResourceClaimStatus"].is_object())
             return;
           if (s.deleted() || is_done(pod)) {
             auto ns = pod["metadata"]["namespace"].as_string();
             each_claim(pod, [&](auto name) { k.add(marked(claim_mark, fmt::format("{}/{}", ns, name))); });
           }
           if (!s.deleted() && (!is_deleting(pod) || is_done(pod))) own_key(s, k);
         }},
        {device_claims,
         [](const seen& s, keys& k) {
           if (!s.deleted()) k.add(marked(claim_mark, s.name()));
           if (auto owner = controller_of(s.value()); owner && (*owner)["kind"].as_string() == "Pod")
             k.add(fmt::format("{}/{}", s.value()["metadata"]["namespace"].as_string(), (*owner)["name"].as_string()));
           k.add(marked(users_mark, s.name()));
         }},
        {templates, [](const seen& s, keys& k) {
           if (!s.deleted()) k.add(marked(template_mark, s.name()));
         }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    auto rest = [&](std::string_view mark) { return split_name(std::string_view(key).substr(mark.size())); };
    if (key.starts_with(claim_mark)) co_return co_await release(s, key.substr(claim_mark.size()));
    if (key.starts_with(users_mark)) {
      name_pods(s, api::pods_by_device_claim, rest(users_mark));
      co_return api::api_result<void>();
    }
    if (key.starts_with(template_mark)) {
      name_pods(s, api::pods_by_claim_template, rest(template_mark));
      co_return api::api_result<void>();
    }
    name_claims_in_vain(s, key);
    co_return co_await s.look_and_write(key);
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    return now.refused ? plan{} : look_at_pod(cluster, key);
  }

 private:
  // All that were made for a pod that has ended, or has its node and the claim for its extended resources: two leaders
  // may have made one each, of which its status tells one.
  static void name_claims_in_vain(shell& s, const std::string& key) {
    auto cluster = s.now();
    auto pod = cluster.get(pods, key);
    if (!pod) return;
    const bool has_all =
        (*pod)["status"]["extendedResourceClaimStatus"].is_object() && !(*pod)["spec"]["nodeName"].as_string().empty();
    if (!is_done(*pod) && !has_all) return;
    auto all = cluster.prefix(device_claims);
    auto of_pod = cluster.prefix(device_claims, (*pod)["metadata"]["namespace"].as_string());
    cluster.cluster().scan(api::objects_by_owner, uid_of(*pod), of_pod, {}, [&](const store::object_ref& o) {
      s.queue().add(marked(claim_mark, name_under(all, o->key())));
      return true;
    });
  }

  static void name_pods(shell& s, std::string_view index, ns_name of) {
    auto cluster = s.now();
    auto all = cluster.prefix(pods);
    cluster.cluster().scan(index, of.name, cluster.prefix(pods, of.ns), {}, [&](const store::object_ref& o) {
      s.queue().add(std::string(name_under(all, o->key())));
      return true;
    });
  }

  // Both writes in one go: between them the finalizer is one of a claim that nobody has, as while the scheduler gives
  // it devices; only who took them away may take it off.
  static task<api::api_result<void>> release(shell& s, std::string key) {
    auto cluster = s.now();
    auto claim = cluster.get(device_claims, key);
    if (!claim) co_return api::api_result<void>();
    auto next = changes_of(cluster, *claim);
    auto ns = std::string((*claim)["metadata"]["namespace"].as_string());
    auto gone = next.unused ? std::optional(removal_of_any_version(device_claims, *claim)) : std::nullopt;
    auto now = *claim;
    if (next.status) {
      auto written = co_await s.client().update(device_claims, ns, *std::move(next.status), "status");
      if (!written) co_return std::unexpected(written.error());
      now = *std::move(written);
    }
    if (next.unprotect) {
      remove_finalizer(now, protection);
      auto written = co_await s.client().update(device_claims, ns, std::move(now));
      if (!written) co_return std::unexpected(written.error());
    }
    if (gone) co_return co_await s.client().remove(device_claims, gone->ns, gone->name, gone->options);
    co_return api::api_result<void>();
  }
};

}  // namespace

std::unique_ptr<controller> make_resource_claims(const settings&) { return std::make_unique<resource_claim>(); }

}  // namespace kedge::control
