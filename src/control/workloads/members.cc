#include "control/workloads/members.h"

#include <algorithm>

#include "api/registry/indexes.h"
#include "control/owners.h"
#include "control/resources.h"

namespace kedge::control {

void orphans::see(const seen& s) {
  auto [ns, name] = split_name(s.name());
  if (!s.deleted() && !controller_of(s.value())) {
    by_namespace_[std::string(ns)].emplace(name);
    return;
  }
  auto it = by_namespace_.find(ns);
  if (it == by_namespace_.end()) return;
  if (auto at = it->second.find(name); at != it->second.end()) it->second.erase(at);
  if (it->second.empty()) by_namespace_.erase(it);
}

const std::set<std::string, std::less<>>& orphans::in(std::string_view ns) const {
  static const std::set<std::string, std::less<>> none;
  auto it = by_namespace_.find(ns);
  return it == by_namespace_.end() ? none : it->second;
}

json::value controller_reference(const owner_kind& k, const json::value& owner) {
  return json::object{{"apiVersion", k.api_version},     {"kind", k.kind},     {"name", owner["metadata"]["name"]},
                      {"uid", owner["metadata"]["uid"]}, {"controller", true}, {"blockOwnerDeletion", true}};
}

namespace {

json::value released(const json::value& member, std::string_view uid) {
  auto next = member;
  auto& list = next.member("metadata").member("ownerReferences").make_array();
  std::erase_if(list, [&](auto& o) { return o["uid"].as_string() == uid; });
  if (list.empty()) next.member("metadata").erase("ownerReferences");
  return next;
}

json::value adopted(const json::value& member, json::value reference) {
  auto next = member;
  auto& list = next.member("metadata").member("ownerReferences").make_array();
  std::erase_if(list, [&](auto& o) { return o["uid"].as_string() == reference["uid"].as_string(); });
  list.push_back(std::move(reference));
  return next;
}

}  // namespace

claimed claim(const view& cluster, const api::resource_id& members, const owner_kind& k, const json::value& owner,
              const api::label_selector& selector, const orphans& without,
              const std::function<bool(const json::value&)>& counts) {
  claimed out;
  auto ns = owner["metadata"]["namespace"].as_string();
  auto uid = uid_of(owner);
  const bool ends = is_deleting(owner);
  cluster.cluster().scan(api::objects_by_owner, uid, cluster.prefix(members, ns), {}, [&](const store::object_ref& o) {
    auto v = cluster.value(o);
    if (!v || (counts && !counts(*v))) return true;
    auto* by = controller_of(*v);
    if (!by || (*by)["uid"].as_string() != uid) return true;
    if (selector.matches((*v)["metadata"]["labels"]))
      out.mine.push_back(v);
    else if (!ends)
      out.changes.push_back(update_of(members, released(*v, uid)));
    return true;
  });
  if (ends) return out;
  for (auto& name : without.in(ns)) {
    auto v = cluster.get(members, ns, name);
    if (!v || controller_of(*v) || is_deleting(*v) || (counts && !counts(*v)) ||
        !selector.matches((*v)["metadata"]["labels"]))
      continue;
    out.changes.push_back(update_of(members, adopted(*v, controller_reference(k, owner))));
  }
  return out;
}

void orphan_key(const seen& s, keys& k) {
  if (!s.deleted() && !controller_of(s.value())) k.add(std::string(orphan_mark) + std::string(s.name()));
}

std::vector<std::string> adopters(const view& cluster, const api::resource_id& owners, const json::value& orphan,
                                  const std::function<api::label_selector(const json::value& owner)>& selector_of) {
  std::vector<std::string> out;
  auto& labels = orphan["metadata"]["labels"];
  if (labels.empty() || controller_of(orphan)) return out;
  auto ns = orphan["metadata"]["namespace"].as_string();
  auto all = cluster.prefix(owners), here = cluster.prefix(owners, ns);
  cluster.cluster().scan(here, {}, [&](const store::object_ref& o) {
    auto v = cluster.value(o);
    if (v && selector_of(*v).matches(labels)) out.emplace_back(name_under(all, o->key()));
    return true;
  });
  return out;
}

source pod_owner::pod_source() {
  return {pods, [this, of_pod = controller_key(std::string(kind_.api_version), std::string(kind_.kind))](const seen& s,
                                                                                                         keys& k) {
            orphan_pods_.see(s);
            of_pod(s, k);
            orphan_key(s, k);
          }};
}

task<api::api_result<void>> pod_owner::work(shell& s, std::string key) {
  if (!key.starts_with(orphan_mark)) co_return co_await s.look_and_write(key);
  auto cluster = s.now();
  if (auto pod = cluster.get(pods, key.substr(orphan_mark.size())))
    for (auto& owner : adopters(cluster, owners_, *pod, [this](const json::value& o) { return selector_of(o); }))
      s.queue().add(owner);
  co_return api::api_result<void>();
}

}  // namespace kedge::control
