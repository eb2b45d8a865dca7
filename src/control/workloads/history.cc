#include "control/workloads/history.h"

#include <algorithm>
#include <map>

#include "control/owners.h"
#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

constexpr std::size_t name_max = 223;  // of the owner's part in a revision's name

bool before(const json::value* a, const json::value* b) {
  auto ra = (*a)["revision"].as_integer(), rb = (*b)["revision"].as_integer();
  if (ra != rb) return ra < rb;
  auto ca = (*a)["metadata"]["creationTimestamp"].as_string(), cb = (*b)["metadata"]["creationTimestamp"].as_string();
  return ca != cb ? ca < cb : name_of(*a) < name_of(*b);
}

// With the members of all objects in the order of their names, as Go writes maps.
json::value in_order(const json::value& v) {
  if (auto* list = v.array()) {
    json::array out;
    for (auto& e : *list) out.push_back(in_order(e));
    return out;
  }
  auto* members = v.object();
  if (!members) return v;
  std::map<std::string_view, const json::value*> named;
  for (auto& [name, member] : *members) named.emplace(name, &member);
  json::object out;
  for (auto& [name, member] : named) out.append(std::string(name), in_order(*member));
  return out;
}

// The data of a revision: a strategic merge patch that brings the template back. kubectl finds the revision that a
// DaemonSet has by the bytes of it.
json::value data_of(json::value pod_template) {
  pod_template.set("$patch", "replace");
  return json::object{{"spec", json::object{{"template", in_order(pod_template)}}}};
}

}  // namespace

std::string_view name_of(const json::value& object) noexcept { return object["metadata"]["name"].as_string(); }

json::value template_of(const json::value& revision) {
  auto out = revision["data"]["spec"]["template"];
  out.erase("$patch");
  return out;
}

history::history(const view& cluster, const owner_kind& k, const json::value& owner,
                 std::vector<const json::value*> mine, std::string_view hash_label)
    : standing_(std::move(mine)), hash_label_(hash_label) {
  std::sort(standing_.begin(), standing_.end(), before);
  choose(cluster, k, owner);
}

void history::choose(const view& cluster, const owner_kind& k, const json::value& owner) {
  auto& wanted = owner["spec"]["template"];
  auto& counted = owner["status"]["collisionCount"];
  collisions_ = counted.as_integer();
  const auto next = standing_.empty() ? 1 : (*standing_.back())["revision"].as_integer() + 1;
  auto same = std::find_if(standing_.rbegin(), standing_.rend(), [&](auto r) { return template_of(*r) == wanted; });
  if (same != standing_.rend()) {
    newest_ = **same;
    renumbered_ = *same != standing_.back();
    if (renumbered_) newest_.set("revision", next);
    return;
  }
  made_ = true;
  auto ns = owner["metadata"]["namespace"].as_string();
  for (;; ++collisions_, collided_ = true) {
    auto hash = hash_of(wanted, counted.is_null() && collisions_ == 0 ? std::nullopt : std::optional(collisions_));
    auto name = std::string(name_of(owner).substr(0, name_max)) + "-" + hash;
    if (auto there = cluster.get(controller_revisions, ns, name)) {
      if (!(template_of(*there) == wanted)) continue;
      newest_ = *there;
      made_ = false;
      return;
    }
    auto labels = wanted["metadata"]["labels"];
    labels.set(hash_label_, hash);
    json::object meta{{"name", name},
                      {"namespace", ns},
                      {"labels", std::move(labels)},
                      {"ownerReferences", json::array{controller_reference(k, owner)}}};
    if (auto& notes = owner["metadata"]["annotations"]; !notes.empty()) meta.set("annotations", notes);
    newest_ = json::object{{"kind", "ControllerRevision"},
                           {"apiVersion", "apps/v1"},
                           {"metadata", std::move(meta)},
                           {"data", data_of(wanted)},
                           {"revision", next}};
    return;
  }
}

std::string_view history::hash() const noexcept { return newest_["metadata"]["labels"][hash_label_].as_string(); }

const json::value* history::find(std::string_view name) const noexcept {
  if (name_of(newest_) == name) return &newest_;
  for (auto r : standing_)
    if (name_of(*r) == name) return r;
  return nullptr;
}

std::vector<change> history::changes() const {
  if (made_)
    return {creation(controller_revisions, std::string(newest_["metadata"]["namespace"].as_string()), newest_)};
  if (renumbered_) return {update_of(controller_revisions, newest_)};
  return {};
}

std::vector<change> history::surplus(std::int64_t limit, bool live_count,
                                     const std::function<bool(const json::value& revision)>& live) const {
  std::vector<const json::value*> idle;
  std::int64_t used = 0;
  for (auto r : standing_) {
    if (name_of(*r) == name_of(newest_)) continue;
    live(*r) ? void(++used) : idle.push_back(r);
  }
  auto too_many = static_cast<std::int64_t>(idle.size()) - limit + (live_count ? used : 0);
  std::vector<change> out;
  for (std::int64_t i = 0; i < std::min(too_many, static_cast<std::int64_t>(idle.size())); ++i)
    out.push_back(removal_of_any_version(controller_revisions, *idle[static_cast<std::size_t>(i)]));
  return out;
}

}  // namespace kedge::control
