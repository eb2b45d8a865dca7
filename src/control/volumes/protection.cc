// protection.cc: takes the finalizers off volumes, claims and classes of attributes that are being deleted and no
// longer used: a claim by no pod, a volume by no claim, a class by neither; puts them on where admission didn't; and
// says of a bound claim whether a pod uses it (condition Unused): persistentvolumeclaim-protection-controller,
// persistentvolume-protection-controller and volumeattributesclass-protection-controller.
//
// Which pods use a claim is asked of the store's index.
#include <algorithm>
#include <array>

#include "api/registry/indexes.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/resources.h"
#include "control/volumes/uses.h"

namespace kedge::control {

namespace {

constexpr std::string_view claim_finalizer = "kubernetes.io/pvc-protection";
constexpr std::string_view volume_finalizer = "kubernetes.io/pv-protection";
constexpr std::string_view class_finalizer = "kubernetes.io/vac-protection";
const api::resource_id attributes_classes{"storage.k8s.io", "v1", "volumeattributesclasses"};

bool names(const json::value& pod, const json::value& claim, bool also_ephemeral) {
  auto name = claim["metadata"]["name"].as_string();
  auto& list = pod["spec"]["volumes"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (claim_of(pod, list[i]) == name &&
        (!list[i]["ephemeral"].is_object() || (also_ephemeral && was_made_for(claim, pod))))
      return true;
  return false;
}

// Being deleted at once: its node is done with it, or nobody will be.
bool is_shut_down(const json::value& pod) {
  auto& grace = pod["metadata"]["deletionGracePeriodSeconds"];
  return is_deleting(pod) && grace.is_integer() && grace.as_integer() == 0;
}

// A pod that no node has yet can't use a claim any more that is being deleted: its node would refuse it.
bool keeps(const json::value& pod, const json::value& claim) {
  return !node_of(pod).empty() && names(pod, claim, !is_shut_down(pod));
}
bool uses(const json::value& pod, const json::value& claim) { return !is_terminated(pod) && names(pod, claim, true); }

bool any_pod(const view& cluster, const json::value& claim, bool (*how)(const json::value&, const json::value&)) {
  auto about = reference_to(claim);
  bool found = false;
  cluster.cluster().scan(api::pods_by_claim, about.name, cluster.prefix(pods, about.ns), {},
                         [&](const store::object_ref& o) {
                           auto pod = value_of(o);
                           found = pod && how(*pod, claim);
                           return !found;
                         });
  return found;
}

plan settle_finalizer(const api::resource_id& what, const json::value& object, std::string_view finalizer, bool used) {
  plan p;
  bool has = has_finalizer(object, finalizer);
  if (is_deleting(object) ? !has || used : has) return p;
  auto next = object;
  if (has)
    remove_finalizer(next, finalizer);
  else
    next.member("metadata").member("finalizers").push_back(finalizer);
  return p.write(update_of(what, std::move(next)));
}

plan look_at_claim(const view& cluster, const std::string& key, const moment& now) {
  plan p;
  auto claim = cluster.get(claims, key);
  if (!claim) return p;
  if (!is_deleting(*claim) && phase_of(*claim) == "Bound") {
    auto next = *claim;
    bool used = any_pod(cluster, *claim, uses);
    auto changed =
        used ? set_condition(next, {"Unused", "False", "PodUsingPVC", "A pod is currently referencing this PVC"},
                             now.wall)
             : set_condition(next, {"Unused", "True", "NoPodsUsingPVC", "No pods are currently referencing this PVC"},
                             now.wall);
    if (changed)
      return p.write(update_of(claims, std::move(next), "status"));  // whose event brings it back for the rest
  }
  return settle_finalizer(claims, *claim, claim_finalizer, is_deleting(*claim) && any_pod(cluster, *claim, keeps));
}

plan look_at_volume(const view& cluster, const std::string& name, const moment&) {
  auto volume = cluster.get(volumes, {}, name);
  if (!volume) return {};
  return settle_finalizer(volumes, *volume, volume_finalizer, (*volume)["status"]["phase"].as_string() == "Bound");
}

// The classes that a claim or a volume has, had last or is to have.
std::array<std::string_view, 3> classes_of(const json::value& o) {
  auto& status = o["status"];
  return {o["spec"]["volumeAttributesClassName"].as_string(), status["currentVolumeAttributesClassName"].as_string(),
          status["modifyVolumeStatus"]["targetVolumeAttributesClassName"].as_string()};
}

void classes_in_use(const seen& s, keys& k) {
  for (auto* o : {&s.value(), &s.value_before()})
    for (auto name : classes_of(*o))
      if (!name.empty()) k.add(std::string(name));
}

bool is_class_used(const view& cluster, std::string_view name) {
  bool used = false;
  for (auto* kind : {&volumes, &claims})
    cluster.cluster().scan(cluster.prefix(*kind), {}, [&](const store::object_ref& o) {
      // Read only where it can be.
      if (!o->bytes().contains(name)) return true;
      if (auto v = value_of(o)) {
        auto has = classes_of(*v);
        used = used || std::ranges::find(has, name) != has.end();
      }
      return !used;
    });
  return used;
}

plan look_at_class(const view& cluster, const std::string& name, const moment&) {
  auto found = cluster.get(attributes_classes, {}, name);
  if (!found) return {};
  return settle_finalizer(attributes_classes, *found, class_finalizer,
                          is_deleting(*found) && is_class_used(cluster, name));
}

// Each change of a pod with claims names them.
void claims_of_pod(const seen& s, keys& k) {
  if (!may_use_claims(*s.object())) return;
  auto& pod = s.value();
  auto& list = pod["spec"]["volumes"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (auto claim = claim_of(pod, list[i]); !claim.empty()) k.add(std::string(split_name(s.name()).ns) + "/" + claim);
}

}  // namespace

std::unique_ptr<controller> make_claim_protection(const settings&) {
  return plain_controller({{claims, living_key}, {pods, claims_of_pod}}, look_at_claim);
}

std::unique_ptr<controller> make_volume_protection(const settings&) {
  return plain_controller({{volumes, living_key}}, look_at_volume);
}

std::unique_ptr<controller> make_attributes_class_protection(const settings&) {
  return plain_controller({{attributes_classes, living_key}, {claims, classes_in_use}, {volumes, classes_in_use}},
                          look_at_class);
}

}  // namespace kedge::control
