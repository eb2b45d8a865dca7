#include "control/cleanup/ownership.h"

#include <algorithm>

#include "api/registry/indexes.h"
#include "control/finalizers.h"
#include "control/owners.h"
#include "store/text.h"

namespace kedge::control {

const api::served* served_as(const view& cluster, const json::value& o) {
  return cluster.served().find_kind(o["apiVersion"].as_string(), o["kind"].as_string());
}

owner_worth worth_of(const view& cluster, const json::value& object, const json::value& reference) {
  auto kind = cluster.served().find_kind(reference["apiVersion"].as_string(), reference["kind"].as_string());
  if (!kind) return owner_worth::unknown;
  auto ns = object["metadata"]["namespace"].as_string();
  if (kind->namespaced() && ns.empty()) return owner_worth::misplaced;
  auto owner = cluster.get(*kind, kind->namespaced() ? ns : std::string_view(), reference["name"].as_string());
  if (!owner || uid_of(*owner) != reference["uid"].as_string()) return owner_worth::absent;
  return waits_for_dependents(*owner) ? owner_worth::waiting : owner_worth::solid;
}

void count(owners_found& into, owner_worth worth, const json::value& reference) {
  auto gone = [&](std::size_t& n) {
    ++n;
    into.gone.emplace_back(reference["uid"].as_string());
  };
  switch (worth) {
    case owner_worth::solid: ++into.solid; break;
    case owner_worth::waiting: gone(into.waiting); break;
    case owner_worth::absent: gone(into.absent); break;
    case owner_worth::unknown: ++into.unknown; break;
    case owner_worth::misplaced: ++into.misplaced; break;
  }
}

owners_found look_at_owners(const view& cluster, const json::value& object) {
  owners_found out;
  each_owner(object,
             [&](const json::value& reference) { count(out, worth_of(cluster, object, reference), reference); });
  return out;
}

bool owners_are_solid(const view& cluster, const store::object& object) {
  bool solid = true;
  std::string buffer[5];
  auto text = [&](std::string_view of, std::string_view path, int i) {
    return store::string_in(store::member_at(of, path), buffer[i]);
  };
  auto ns = text(object.bytes(), "metadata.namespace", 0);
  store::each_element(store::member_at(object.bytes(), "metadata.ownerReferences"), [&](std::string_view reference) {
    auto kind = cluster.served().find_kind(text(reference, "apiVersion", 1), text(reference, "kind", 2));
    solid = kind && (!kind->namespaced() || !ns.empty());
    if (!solid) return false;
    auto owner =
        cluster.cluster().find(kind->key(kind->namespaced() ? ns : std::string_view(), text(reference, "name", 3)));
    solid = owner && text(owner->bytes(), "metadata.uid", 4) == text(reference, "uid", 1) &&
            owner->bytes().find("\"foregroundDeletion\"") == std::string_view::npos;
    return solid;
  });
  return solid;
}

bool waits_for_dependents(const json::value& o) noexcept {
  return is_deleting(o) && has_finalizer(o, "foregroundDeletion");
}
bool waits_for_orphans(const json::value& o) noexcept { return is_deleting(o) && has_finalizer(o, "orphan"); }

bool blocks(const json::value& dependent, std::string_view owner_uid) noexcept {
  bool found = false;
  each_owner(dependent, [&](const json::value& r) {
    found = found || (r["uid"].as_string() == owner_uid && r["blockOwnerDeletion"].as_bool());
  });
  return found;
}

void each_dependent(const view& cluster, const json::value& owner,
                    const std::function<bool(const json::value&)>& visit) {
  auto& metadata = owner["metadata"];
  const auto home = metadata["namespace"].as_string();
  cluster.cluster().scan(api::objects_by_owner, metadata["uid"].as_string(), {}, {}, [&](const store::object_ref& o) {
    auto v = value_of(o);
    const bool foreign = v && !home.empty() && (*v)["metadata"]["namespace"].as_string() != home;
    return !v || foreign || !served_as(cluster, *v) || visit(*v);
  });
}

json::value without_owners(json::value object, const std::vector<std::string>& uids) {
  json::array kept;
  each_owner(object, [&](const json::value& r) {
    if (std::ranges::find(uids, r["uid"].as_string()) == uids.end()) kept.push_back(r);
  });
  if (kept.empty())
    object.member("metadata").erase("ownerReferences");
  else
    object.member("metadata").set("ownerReferences", std::move(kept));
  return object;
}

json::value unblocking(json::value object) {
  if (auto* list = object.member("metadata").find("ownerReferences"); list && list->array())
    for (auto& r : *list->array())
      if (r["blockOwnerDeletion"].as_bool()) r.set("blockOwnerDeletion", false);
  return object;
}

}  // namespace kedge::control
