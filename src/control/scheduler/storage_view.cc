#include "control/scheduler/storage_view.h"

#include <algorithm>

namespace kedge::control::scheduler {
namespace {

constexpr std::string_view class_annotation = "volume.beta.kubernetes.io/storage-class",
                           completed_annotation = "pv.kubernetes.io/bind-completed",
                           node_annotation = "volume.kubernetes.io/selected-node";

std::string text(const json::value& v) { return std::string(v.as_string()); }
std::string key_of(std::string_view ns, std::string_view name) { return std::string(ns) + "/" + std::string(name); }
std::string name_of(const json::value& object) { return text(object["metadata"]["name"]); }

std::string class_of(const json::value& object) {
  auto& noted = object["metadata"]["annotations"][class_annotation];
  return text(noted.is_string() ? noted : object["spec"]["storageClassName"]);
}

std::vector<std::string> texts(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(text(list[i]));
  return out;
}

std::optional<schema::quantity> amount(const json::value& v) {
  if (!v.is_string()) return std::nullopt;
  auto q = schema::quantity::parse(v.as_string());
  return q ? std::optional(*q) : std::nullopt;
}

template <typename Map>
auto found_in(const Map& map, std::string_view name) -> const typename Map::mapped_type* {
  auto it = map.find(name);
  return it == map.end() ? nullptr : &it->second;
}

template <typename Map>
void drop(Map& map, std::string_view name) {
  if (auto it = map.find(name); it != map.end()) map.erase(it);
}

}  // namespace

bool claim_view::single_pod() const noexcept {
  return std::ranges::find(access_modes, "ReadWriteOncePod") != access_modes.end();
}

bool volume_view::claimed_by(const claim_view& c) const noexcept {
  return claimed && claimed->name == c.name && claimed->ns == c.ns && (claimed->uid.empty() || claimed->uid == c.uid);
}

bool storage_class_view::allows(const label_set& node_labels) const noexcept {
  return topologies.empty() || std::ranges::any_of(topologies, [&](auto& t) {
           return !t.labels.empty() && std::ranges::all_of(t.labels, [&](auto& wanted) {
             auto has = node_labels.find(wanted.first);
             return has && std::ranges::find(wanted.second, *has) != wanted.second.end();
           });
         });
}

void storage_view::set_claim(const json::value& claim) {
  auto &m = claim["metadata"], &spec = claim["spec"];
  claim_view c;
  c.ns = text(m["namespace"]);
  c.name = text(m["name"]);
  c.uid = text(m["uid"]);
  c.storage_class = class_of(claim);
  c.volume = text(spec["volumeName"]);
  if (auto& node = m["annotations"][node_annotation]; node.is_string()) c.selected_node = text(node);
  c.attributes_class = text(spec["volumeAttributesClassName"]);
  c.mode = spec["volumeMode"].as_string("Filesystem");
  for (std::size_t i = 0; i < m["ownerReferences"].size(); ++i)
    if (auto& o = m["ownerReferences"][i]; o["controller"].as_bool()) c.owner = text(o["uid"]);
  c.access_modes = texts(spec["accessModes"]);
  c.request = amount(spec["resources"]["requests"]["storage"]);
  c.selects = spec["selector"].is_object();
  if (c.selects) c.selector = api::label_selector::from_object(spec["selector"]);
  c.bind_completed = m["annotations"].find(completed_annotation) != nullptr;
  c.lost = claim["status"]["phase"].as_string() == "Lost";
  c.terminating = m["deletionTimestamp"].is_string();
  auto key = c.key();
  claims_.insert_or_assign(std::move(key), std::make_shared<const claim_view>(std::move(c)));
}

void storage_view::remove_claim(std::string_view ns, std::string_view name) { drop(claims_, key_of(ns, name)); }

claim_ref storage_view::find_claim(std::string_view ns, std::string_view name) const {
  auto found = found_in(claims_, key_of(ns, name));
  return found ? *found : nullptr;
}

void storage_view::put(volume_ref v) {
  remove_volume(v->name);
  volumes_of_class_[v->storage_class].emplace(v->name, v);
  auto name = v->name;
  volumes_.emplace(std::move(name), std::move(v));
}

void storage_view::set_volume(const json::value& volume) {
  auto &m = volume["metadata"], &spec = volume["spec"];
  volume_view v;
  v.name = text(m["name"]);
  v.storage_class = class_of(volume);
  v.attributes_class = text(spec["volumeAttributesClassName"]);
  v.mode = spec["volumeMode"].as_string("Filesystem");
  v.labels = label_set::of(m["labels"]);
  v.access_modes = texts(spec["accessModes"]);
  v.capacity = amount(spec["capacity"]["storage"]).value_or(schema::quantity());
  if (auto& required = spec["nodeAffinity"]["required"]; required.is_object()) v.nodes = node_selector::of(required);
  if (auto& c = spec["claimRef"]; c.is_object())
    v.claimed = volume_view::claim{text(c["namespace"]), text(c["name"]), text(c["uid"])};
  v.driver = text(spec["csi"]["driver"]);
  v.handle = text(spec["csi"]["volumeHandle"]);
  v.available = volume["status"]["phase"].as_string() == "Available";
  v.terminating = m["deletionTimestamp"].is_string();
  put(std::make_shared<const volume_view>(std::move(v)));
}

void storage_view::remove_volume(std::string_view name) {
  auto it = volumes_.find(name);
  if (it == volumes_.end()) return;
  if (auto of = volumes_of_class_.find(it->second->storage_class); of != volumes_of_class_.end()) {
    of->second.erase(it->first);
    if (of->second.empty()) volumes_of_class_.erase(of);
  }
  volumes_.erase(it);
}

volume_ref storage_view::find_volume(std::string_view name) const {
  auto found = found_in(volumes_, name);
  return found ? *found : nullptr;
}

const std::map<std::string, volume_ref>& storage_view::volumes_of(std::string_view storage_class) const {
  static const std::map<std::string, volume_ref> none;
  auto found = found_in(volumes_of_class_, storage_class);
  return found ? *found : none;
}

void storage_view::set_class(const json::value& storage_class) {
  storage_class_view c;
  c.provisioner = text(storage_class["provisioner"]);
  c.waits = storage_class["volumeBindingMode"].as_string() == "WaitForFirstConsumer";
  auto& terms = storage_class["allowedTopologies"];
  for (std::size_t i = 0; i < terms.size(); ++i) {
    auto& term = c.topologies.emplace_back();
    auto& labels = terms[i]["matchLabelExpressions"];
    for (std::size_t k = 0; k < labels.size(); ++k)
      term.labels.emplace_back(text(labels[k]["key"]), texts(labels[k]["values"]));
  }
  classes_.insert_or_assign(name_of(storage_class), std::move(c));
}

void storage_view::remove_class(std::string_view name) { drop(classes_, name); }

const storage_class_view* storage_view::find_class(std::string_view name) const { return found_in(classes_, name); }

void storage_view::set_csi_node(const json::value& node) {
  csi_node_view n;
  auto& drivers = node["spec"]["drivers"];
  for (std::size_t i = 0; i < drivers.size(); ++i) {
    auto& count = drivers[i]["allocatable"]["count"];
    n.drivers[text(drivers[i]["name"])] = count.is_integer() ? std::optional(count.as_integer()) : std::nullopt;
  }
  csi_nodes_.insert_or_assign(name_of(node), std::move(n));
}

void storage_view::remove_csi_node(std::string_view name) { drop(csi_nodes_, name); }

const csi_node_view* storage_view::find_csi_node(std::string_view name) const { return found_in(csi_nodes_, name); }

void storage_view::set_csi_driver(const json::value& driver) {
  csi_drivers_.insert_or_assign(name_of(driver),
                                csi_driver_view{driver["spec"]["storageCapacity"].as_bool(),
                                                driver["spec"]["preventPodSchedulingIfMissing"].as_bool()});
}

void storage_view::remove_csi_driver(std::string_view name) { drop(csi_drivers_, name); }

const csi_driver_view* storage_view::find_csi_driver(std::string_view name) const {
  return found_in(csi_drivers_, name);
}

void storage_view::set_capacity(const json::value& capacity) {
  capacity_view c;
  c.storage_class = text(capacity["storageClassName"]);
  auto whole = amount(capacity["capacity"]);
  c.capacity = whole ? whole->value() : 0;
  c.volume_max = amount(capacity["maximumVolumeSize"]);
  if (!c.volume_max) c.volume_max = whole;
  if (auto& nodes = capacity["nodeTopology"]; nodes.is_object()) c.nodes = api::label_selector::from_object(nodes);
  capacities_.insert_or_assign(key_of(capacity["metadata"]["namespace"].as_string(), name_of(capacity)), std::move(c));
}

void storage_view::remove_capacity(std::string_view ns, std::string_view name) { capacities_.erase(key_of(ns, name)); }

void storage_view::set_attachment(const json::value& object) {
  auto name = name_of(object);
  remove_attachment(name);
  auto& spec = object["spec"];
  attachment a{text(spec["attacher"]), text(spec["nodeName"]), text(spec["source"]["persistentVolumeName"])};
  attached_[a.node].push_back(name);
  attachments_.emplace(std::move(name), std::move(a));
}

void storage_view::remove_attachment(std::string_view name) {
  auto it = attachments_.find(name);
  if (it == attachments_.end()) return;
  auto of = attached_.find(it->second.node);
  std::erase(of->second, name);
  if (of->second.empty()) attached_.erase(of);
  attachments_.erase(it);
}

std::vector<const storage_view::attachment*> storage_view::attachments_of(std::string_view node) const {
  std::vector<const attachment*> out;
  if (auto names = found_in(attached_, node))
    for (auto& name : *names) out.push_back(found_in(attachments_, name));
  return out;
}

storage_view::assumption storage_view::assume(const volume_plan& plan, std::string_view node) {
  assumption out;
  for (auto& b : plan.bindings) {
    if (b.volume->claimed && !b.volume->claimed->uid.empty()) continue;  // it says so already
    auto next = std::make_shared<volume_view>(*b.volume);
    next->claimed = volume_view::claim{b.claim->ns, b.claim->name, b.claim->uid};
    put(next);
    out.volumes.emplace_back(b.volume, std::move(next));
  }
  for (auto& p : plan.provisions) {
    auto next = std::make_shared<claim_view>(*p.claim);
    next->selected_node = node;
    claims_.insert_or_assign(next->key(), next);
    out.claims.emplace_back(p.claim, std::move(next));
  }
  return out;
}

void storage_view::revert(const assumption& a) {
  for (auto& [before, assumed] : a.volumes)
    if (find_volume(assumed->name) == assumed) put(before);
  for (auto& [before, assumed] : a.claims)
    if (find_claim(assumed->ns, assumed->name) == assumed) claims_.insert_or_assign(before->key(), before);
}

void storage_view::forget_volumes() {
  volumes_.clear();
  volumes_of_class_.clear();
}

void storage_view::forget_attachments() {
  attachments_.clear();
  attached_.clear();
}

}  // namespace kedge::control::scheduler
