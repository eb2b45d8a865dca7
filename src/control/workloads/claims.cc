#include "control/workloads/claims.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/workloads/history.h"

namespace kedge::control {
namespace {

constexpr owner_kind set_kind{"apps/v1", "StatefulSet"}, pod_kind{"v1", "Pod"};

std::string claim_name(const json::value& claim_template, const json::value& set, std::int64_t ordinal) {
  return fmt::format("{}-{}-{}", name_of(claim_template), name_of(set), ordinal);
}

// The reference means an object of this name, perhaps an earlier one.
bool refers_to(const json::value& reference, const json::value& object, const owner_kind& k) {
  return reference["apiVersion"].as_string() == k.api_version && reference["kind"].as_string() == k.kind &&
         reference["name"].as_string() == name_of(object);
}

bool owned_by(const json::value& claim, const json::value& owner) {
  bool out = false;
  each_owner(claim, [&](auto& o) { out |= o["uid"].as_string() == uid_of(owner); });
  return out;
}

bool is_stale(const json::value& claim, const json::value& object, const owner_kind& k) {
  bool out = false, found = false;
  each_owner(claim, [&](auto& o) {
    if (!found && refers_to(o, object, k)) found = true, out = o["uid"].as_string() != uid_of(object);
  });
  return out;
}

struct retention {
  bool when_deleted, when_scaled;  // true: Delete
  explicit retention(const json::value& set)
      : when_deleted(set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"].as_string() == "Delete"),
        when_scaled(set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"].as_string() == "Delete") {}
};

bool managed_by_another(const json::value& claim, const json::value& set, const json::value& pod, const retention& r) {
  if (!r.when_deleted && !r.when_scaled) return false;
  bool out = false;
  each_owner(claim, [&](auto& o) {
    if (refers_to(o, set, set_kind))
      out |= o["uid"].as_string() != uid_of(set);
    else if (refers_to(o, pod, pod_kind))
      out |= o["uid"].as_string() != uid_of(pod);
    else
      out |= o["controller"].as_bool();
  });
  return out;
}

bool owned_without_control(const json::value& claim, const json::value& set, const json::value& pod) {
  bool out = false;
  each_owner(claim, [&](auto& o) {
    auto uid = o["uid"].as_string();
    out |= (uid == uid_of(set) || uid == uid_of(pod)) && !o["controller"].as_bool();
  });
  return out;
}

struct owners_wanted {
  bool set, pod;
};
owners_wanted wanted(const json::value& set, std::int64_t ordinal, const retention& r) {
  const auto start = set["spec"]["ordinals"]["start"].as_integer();
  const bool beyond = ordinal < start || ordinal >= start + set["spec"]["replicas"].as_integer(1);
  return {.set = r.when_deleted && !(r.when_scaled && beyond), .pod = r.when_scaled && beyond};
}

bool is_up_to_date(const json::value& claim, const json::value& set, const json::value& pod, std::int64_t ordinal) {
  if (is_stale(claim, set, set_kind) || is_stale(claim, pod, pod_kind))
    return true;  // an earlier one's, which takes it along
  retention r(set);
  if (managed_by_another(claim, set, pod, r)) return !owned_by(claim, set) && !owned_by(claim, pod);
  if (owned_without_control(claim, set, pod)) return false;
  auto w = wanted(set, ordinal, r);
  return owned_by(claim, set) == w.set && owned_by(claim, pod) == w.pod;
}

json::value with_owners(const json::value& claim, const json::value& set, const json::value& pod,
                        std::int64_t ordinal) {
  retention r(set);
  const bool foreign = managed_by_another(claim, set, pod, r);
  auto next = claim;
  auto& meta = next.member("metadata");
  auto& list = meta.member("ownerReferences").make_array();
  std::erase_if(list, [&](auto& o) { return refers_to(o, set, set_kind) || refers_to(o, pod, pod_kind); });
  auto w = wanted(set, ordinal, r);
  if (w.set && !foreign) list.push_back(controller_reference(set_kind, set));
  if (w.pod && !foreign) list.push_back(controller_reference(pod_kind, pod));
  if (list.empty()) meta.erase("ownerReferences");
  return next;
}

const json::value* standing(const view& cluster, const json::value& set, const json::value& claim_template,
                            std::int64_t ordinal) {
  return cluster.get(claims, set["metadata"]["namespace"].as_string(), claim_name(claim_template, set, ordinal));
}

}  // namespace

std::string_view parent_of(const json::value& pod) noexcept {
  auto name = name_of(pod);
  return ordinal_of(pod) < 0 ? std::string_view() : name.substr(0, name.rfind('-'));
}

std::int64_t ordinal_of(const json::value& pod) noexcept {
  auto name = name_of(pod);
  auto dash = name.rfind('-');
  if (dash == name.npos || dash + 1 == name.size()) return -1;
  auto digits = name.substr(dash + 1);
  if (!std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) return -1;
  auto n = parse_uint(digits);
  return n && *n <= std::numeric_limits<std::int32_t>::max() ? static_cast<std::int64_t>(*n) : -1;
}

std::vector<json::value> claims_of(const json::value& set, std::int64_t ordinal) {
  std::vector<json::value> out;
  auto& templates = set["spec"]["volumeClaimTemplates"];
  for (std::size_t i = 0; i < templates.size(); ++i) {
    auto claim = templates[i];
    claim.erase("status");
    claim.set("kind", "PersistentVolumeClaim");
    claim.set("apiVersion", "v1");
    auto& meta = claim.member("metadata");
    meta.erase("creationTimestamp");
    meta.set("name", claim_name(templates[i], set, ordinal));
    meta.set("namespace", set["metadata"]["namespace"]);
    if (auto selected = set["spec"]["selector"]["matchLabels"].object())
      for (auto& [name, value] : *selected) meta.member("labels").set(name, value);
    out.push_back(std::move(claim));
  }
  return out;
}

bool uses_claims(const json::value& pod, const json::value& set, std::int64_t ordinal) {
  auto& templates = set["spec"]["volumeClaimTemplates"];
  auto& of_pod = pod["spec"]["volumes"];
  for (std::size_t i = 0; i < templates.size(); ++i) {
    bool found = false;
    for (std::size_t v = 0; v < of_pod.size(); ++v)
      found |= name_of(templates[i]) == of_pod[v]["name"].as_string() &&
               of_pod[v]["persistentVolumeClaim"]["claimName"].as_string() == claim_name(templates[i], set, ordinal);
    if (!found) return false;
  }
  return true;
}

void use_claims(json::value& spec, const json::value& set, std::int64_t ordinal) {
  auto& templates = set["spec"]["volumeClaimTemplates"];
  if (templates.empty()) return;
  json::array list;
  for (std::size_t i = 0; i < templates.size(); ++i)
    list.emplace_back(
        json::object{{"name", name_of(templates[i])},
                     {"persistentVolumeClaim", json::object{{"claimName", claim_name(templates[i], set, ordinal)}}}});
  const auto own = list.size();
  for (std::size_t v = 0; v < spec["volumes"].size(); ++v) {
    auto& volume = spec["volumes"][v];
    if (std::none_of(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(own),
                     [&](auto& o) { return o["name"] == volume["name"]; }))
      list.push_back(volume);
  }
  spec.set("volumes", std::move(list));
}

bool claim_is_stale(const view& cluster, const json::value& set, const json::value& pod, std::int64_t ordinal) {
  if (!retention(set).when_scaled) return false;
  auto& templates = set["spec"]["volumeClaimTemplates"];
  for (std::size_t i = 0; i < templates.size(); ++i)
    if (auto claim = standing(cluster, set, templates[i], ordinal); claim && is_stale(*claim, pod, pod_kind))
      return true;
  return false;
}

std::vector<change> claim_owners(const view& cluster, const json::value& set, const json::value& pod,
                                 std::int64_t ordinal, plan& p) {
  std::vector<change> out;
  auto& templates = set["spec"]["volumeClaimTemplates"];
  for (std::size_t i = 0; i < templates.size(); ++i) {
    auto claim = standing(cluster, set, templates[i], ordinal);
    if (!claim || is_up_to_date(*claim, set, pod, ordinal)) continue;
    if (managed_by_another(*claim, set, pod, retention(set)))
      p.tell(reference_to(set), "ConflictingController",
             fmt::format("PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, "
                         "the retention policy is ignored for this claim",
                         name_of(*claim)),
             true);
    out.push_back(update_of(claims, with_owners(*claim, set, pod, ordinal)));
  }
  return out;
}

}  // namespace kedge::control
