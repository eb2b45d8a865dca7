// binder.cc: which volume a claim has (persistentvolume-binder-controller).
//
//   claim, unbound ─▶ a volume that fits: bound │ none: a provisioner is told, or it waits
//   volume ─▶ Available │ Bound │ its claim is gone: Released, and what its reclaim policy says
//
// Binding is up to four writes: the volume names the claim, the claim the volume, and the phases of both. Each look
// writes what is next, the volume first: whoever stops in between, a claim never says that it is bound to a volume that
// isn't its own.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "schema/quantity.h"

namespace kedge::control {
namespace {

const api::resource_id storage_classes{"storage.k8s.io", "v1", "storageclasses"};

constexpr std::string_view bind_completed = "pv.kubernetes.io/bind-completed";
constexpr std::string_view bound_by_controller = "pv.kubernetes.io/bound-by-controller";
constexpr std::string_view provisioned_by = "pv.kubernetes.io/provisioned-by";
constexpr std::string_view migrated_to = "pv.kubernetes.io/migrated-to";
constexpr std::string_view pre_resize_capacity = "volume.alpha.kubernetes.io/pre-resize-capacity";
constexpr std::string_view provisioner_notes[] = {"volume.beta.kubernetes.io/storage-provisioner",
                                                  "volume.kubernetes.io/storage-provisioner"};
constexpr std::string_view selected_node = "volume.kubernetes.io/selected-node";
constexpr std::string_view class_note = "volume.beta.kubernetes.io/storage-class";
constexpr std::string_view default_notes[] = {"storageclass.kubernetes.io/is-default-class",
                                              "storageclass.beta.kubernetes.io/is-default-class"};

constexpr std::string_view volume_mark = "volume:";

const json::value& note_of(const json::value& o, std::string_view name) { return o["metadata"]["annotations"][name]; }
std::string_view name_in(const json::value& o) { return o["metadata"]["name"].as_string(); }
std::string key_of(const json::value& claim) {
  return std::string(claim["metadata"]["namespace"].as_string()) + "/" + std::string(name_in(claim));
}

std::string class_of(const json::value& o) {
  auto& noted = note_of(o, class_note);
  return std::string(noted.is_string() ? noted.as_string() : o["spec"]["storageClassName"].as_string());
}
bool has_class(const json::value& claim) {
  return note_of(claim, class_note).is_string() || claim["spec"]["storageClassName"].is_string();
}

bool is_bound_to(const json::value& volume, const json::value& claim) {
  auto& r = volume["spec"]["claimRef"];
  if (!r.is_object() || r["name"] != claim["metadata"]["name"] || r["namespace"] != claim["metadata"]["namespace"])
    return false;
  auto uid = r["uid"].as_string();
  return uid.empty() || uid == uid_of(claim);
}

schema::quantity amount(const json::value& v) {
  return schema::quantity::parse(v.as_string()).value_or(schema::quantity());
}
schema::quantity capacity_of(const json::value& volume) { return amount(volume["spec"]["capacity"]["storage"]); }
schema::quantity request_of(const json::value& claim) {
  return amount(claim["spec"]["resources"]["requests"]["storage"]);
}

std::string_view mode_of(const json::value& o) { return o["spec"]["volumeMode"].as_string("Filesystem"); }
bool same_attributes_class(const json::value& volume, const json::value& claim) {
  return volume["spec"]["volumeAttributesClassName"].as_string() ==
         claim["spec"]["volumeAttributesClassName"].as_string();
}
bool has_modes(const json::value& volume, const json::value& claim) {
  auto &has = volume["spec"]["accessModes"], &wants = claim["spec"]["accessModes"];
  for (std::size_t i = 0; i < wants.size(); ++i) {
    bool found = false;
    for (std::size_t j = 0; j < has.size(); ++j) found |= has[j] == wants[i];
    if (!found) return false;
  }
  return true;
}

// Why a claim can't have the volume that it names; empty: it can.
std::string mismatch(const json::value& volume, const json::value& claim) {
  if (is_deleting(volume)) return fmt::format("the volume is marked for deletion {}", quote(name_in(volume)));
  if (capacity_of(volume) < request_of(claim)) return "requested PV is too small";
  if (class_of(volume) != class_of(claim)) return "storageClassName does not match";
  if (!same_attributes_class(volume, claim)) return "volumeAttributesClassName does not match";
  if (mode_of(volume) != mode_of(claim)) return "incompatible volumeMode";
  if (!has_modes(volume, claim)) return "incompatible accessMode";
  return {};
}

json::value reference_value(const json::value& claim) {
  auto& m = claim["metadata"];
  return json::object{{"kind", "PersistentVolumeClaim"},
                      {"namespace", m["namespace"]},
                      {"name", m["name"]},
                      {"uid", m["uid"]},
                      {"apiVersion", "v1"},
                      {"resourceVersion", m["resourceVersion"]}};
}

// Volumes and claims that wait for each other, from events and looks: so that nobody goes over all of them.
class waiting_room {
 public:
  void see_volume(const seen& s) {
    std::string name(s.name());
    if (auto had = volumes_.find(name); had != volumes_.end()) {
      drop(free_, had->second.storage_class, name);
      drop(reserved_, had->second.claim, name);
      volumes_.erase(had);
    }
    if (s.deleted()) return;
    auto& claim = s.value()["spec"]["claimRef"];
    place p{class_of(s.value()), claim.is_object() ? std::string(claim["namespace"].as_string()) + "/" +
                                                         std::string(claim["name"].as_string())
                                                   : std::string()};
    if (p.claim.empty())
      free_[p.storage_class].insert(name);
    else
      reserved_[p.claim].insert(name);
    volumes_.emplace(std::move(name), std::move(p));
  }
  const std::set<std::string>& free(const std::string& storage_class) const { return in(free_, storage_class); }
  const std::set<std::string>& reserved(const std::string& claim) const { return in(reserved_, claim); }

  // A claim waits for a volume of a class, or of a name.
  void wait(const std::string& claim, std::string storage_class, std::string volume) {
    forget(claim);
    by_class_[storage_class].insert(claim);
    if (!volume.empty()) by_volume_[volume].insert(claim);
    claims_.insert_or_assign(claim, std::pair(std::move(storage_class), std::move(volume)));
  }
  void forget(const std::string& claim) {
    auto had = claims_.find(claim);
    if (had == claims_.end()) return;
    drop(by_class_, had->second.first, claim);
    drop(by_volume_, had->second.second, claim);
    claims_.erase(had);
  }
  bool waits(const std::string& claim) const { return claims_.contains(claim); }
  void name_for_class(const std::string& storage_class, keys& k) const {
    for (auto& claim : in(by_class_, storage_class)) k.add(claim);
  }
  void name_for_volume(const std::string& volume, keys& k) const {
    for (auto& claim : in(by_volume_, volume)) k.add(claim);
  }

 private:
  using sets = std::map<std::string, std::set<std::string>, std::less<>>;
  static const std::set<std::string>& in(const sets& all, const std::string& key) {
    static const std::set<std::string> none;
    auto it = all.find(key);
    return it == all.end() ? none : it->second;
  }
  static void drop(sets& all, const std::string& key, const std::string& name) {
    auto it = all.find(key);
    if (it == all.end()) return;
    it->second.erase(name);
    if (it->second.empty()) all.erase(it);
  }
  struct place {
    std::string storage_class, claim;
  };
  std::map<std::string, place, std::less<>> volumes_;
  sets free_, reserved_;  // by class, by the claim that they name
  std::map<std::string, std::pair<std::string, std::string>, std::less<>> claims_;
  sets by_class_, by_volume_;
};

class binder final : public controller {
 public:
  std::vector<source> sources() override {
    return {{claims, [this](const seen& s, keys& k) { claim_changed(s, k); }},
            {volumes, [this](const seen& s, keys& k) { volume_changed(s, k); }},
            {storage_classes,
             [this](const seen& s, keys& k) {
               room_.name_for_class(std::string(s.name()), k);
               room_.name_for_class("", k);  // it may be the default
             }},
            // Who waits for the first consumer tells whom it waits for.
            {pods, [this](const seen& s, keys& k) {
               if (!s.added()) return;
               auto& list = s.value()["spec"]["volumes"];
               for (std::size_t i = 0; i < list.size(); ++i)
                 if (auto name = list[i]["persistentVolumeClaim"]["claimName"].as_string(); !name.empty()) {
                   auto key = std::string(split_name(s.name()).ns) + "/" + std::string(name);
                   if (room_.waits(key)) k.add(key);
                 }
             }}};
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    if (now.refused) return {};
    if (key.starts_with(volume_mark)) return look_at_volume(cluster, key.substr(volume_mark.size()));
    auto claim = cluster.get(claims, key);
    room_.forget(key);
    if (!claim) return {};
    return note_of(*claim, bind_completed).is_null() ? unbound(cluster, *claim) : bound(cluster, *claim);
  }

 private:
  void claim_changed(const seen& s, keys& k) {
    own_key(s, k);
    if (s.deleted()) room_.forget(std::string(s.name()));
    if (auto volume = s.value()["spec"]["volumeName"].as_string(); !volume.empty())
      k.add(std::string(volume_mark) + std::string(volume));
    if (s.deleted())
      for (auto& volume : room_.reserved(std::string(s.name()))) k.add(std::string(volume_mark) + volume);
  }

  void volume_changed(const seen& s, keys& k) {
    room_.see_volume(s);
    std::string name(s.name());
    if (!s.deleted()) k.add(std::string(volume_mark) + name);
    room_.name_for_volume(name, k);
    auto& claim = s.value()["spec"]["claimRef"];
    if (claim.is_object())
      k.add(std::string(claim["namespace"].as_string()) + "/" + std::string(claim["name"].as_string()));
    else if (!s.deleted() && s.value()["status"]["phase"].as_string() == "Available")
      room_.name_for_class(class_of(s.value()), k);
  }

  // ---- claims

  plan unbound(const view& cluster, const json::value& claim) {
    plan p;
    auto wanted = std::string(claim["spec"]["volumeName"].as_string());
    if (wanted.empty()) return find_volume(cluster, claim);
    auto volume = cluster.get(volumes, {}, wanted);
    auto pending = [&] {
      room_.wait(key_of(claim), class_of(claim), wanted);
      set_claim(p, claim, "Pending", nullptr);
    };
    if (!volume) return pending(), p;
    if (!(*volume)["spec"]["claimRef"].is_object()) {
      auto why = mismatch(*volume, claim);
      if (why.empty()) return bind(p, *volume, claim), p;
      p.tell(reference_to(claim), "VolumeMismatch",
             fmt::format("Cannot bind to requested volume {}: {}", quote(wanted), why), true);
      return pending(), p;
    }
    if (is_bound_to(*volume, claim)) return bind(p, *volume, claim), p;
    p.tell(reference_to(claim), "FailedBinding",
           fmt::format("volume {} already bound to a different claim.", quote(wanted)), true);
    return pending(), p;
  }

  plan find_volume(const view& cluster, const json::value& claim) {
    plan p;
    auto storage_class = class_of(claim);
    auto found = storage_class.empty() ? nullptr : cluster.get(storage_classes, {}, storage_class);
    const bool delayed = found && (*found)["volumeBindingMode"].as_string() == "WaitForFirstConsumer";
    if (auto volume = best_volume(cluster, claim, storage_class, delayed)) return bind(p, *volume, claim), p;
    room_.wait(key_of(claim), storage_class, "");
    if (!has_class(claim)) {
      if (auto name = default_class(cluster); !name.empty()) {
        auto next = claim;
        next.member("spec").set("storageClassName", name);
        return p.write(update_of(claims, std::move(next))), p;
      }
    }
    auto about = reference_to(claim);
    if (delayed && note_of(claim, selected_node).is_null()) {
      tell_wait(cluster, claim, p);
    } else if (!storage_class.empty()) {
      return provision(claim, storage_class, found, p), p;
    } else {
      p.tell(about, "FailedBinding", "no persistent volumes available for this claim and no storage class is set");
    }
    set_claim(p, claim, "Pending", nullptr);
    return p;
  }

  // The smallest that is large enough, of those with the fewest access modes.
  const json::value* best_volume(const view& cluster, const json::value& claim, const std::string& storage_class,
                                 bool delayed) const {
    const auto wanted = request_of(claim);
    auto fits = [&](const json::value& v) {
      return !(capacity_of(v) < wanted) && mode_of(v) == mode_of(claim) && same_attributes_class(v, claim) &&
             !is_deleting(v) && has_modes(v, claim);
    };
    for (auto& name : room_.reserved(key_of(claim)))
      if (auto v = cluster.get(volumes, {}, name); v && is_bound_to(*v, claim) && fits(*v)) return v;
    if (delayed) return nullptr;  // the scheduler chooses, with the node
    const json::value* best = nullptr;
    auto selector = api::label_selector::from_object(claim["spec"]["selector"]);
    const bool selects = claim["spec"]["selector"].is_object();
    for (auto& name : room_.free(storage_class)) {
      auto v = cluster.get(volumes, {}, name);
      if (!v || (*v)["spec"]["claimRef"].is_object() || !fits(*v) ||
          (*v)["status"]["phase"].as_string() != "Available" || class_of(*v) != storage_class)
        continue;
      if (selects && !selector.matches((*v)["metadata"]["labels"])) continue;
      auto modes = [](const json::value& x) { return x["spec"]["accessModes"].size(); };
      if (!best || modes(*v) < modes(*best) || (modes(*v) == modes(*best) && capacity_of(*v) < capacity_of(*best)))
        best = v;
    }
    return best;
  }

  static std::string default_class(const view& cluster) {
    const json::value* best = nullptr;
    cluster.cluster().scan(cluster.prefix(storage_classes), {}, [&](const store::object_ref& o) {
      auto c = cluster.value(o);
      if (!c) return true;
      bool is_default = false;
      for (auto note : default_notes) is_default |= note_of(*c, note).as_string() == "true";
      auto newer = [](const json::value& a, const json::value& b) {
        auto ca = a["metadata"]["creationTimestamp"].as_string(), cb = b["metadata"]["creationTimestamp"].as_string();
        return ca != cb ? ca > cb : name_in(a) < name_in(b);
      };
      if (is_default && (!best || newer(*c, *best))) best = c;
      return true;
    });
    return best ? std::string(name_in(*best)) : std::string();
  }

  static void tell_wait(const view& cluster, const json::value& claim, plan& p) {
    std::vector<std::string> unplaced;
    cluster.cluster().scan(api::pods_by_claim, name_in(claim),
                           cluster.prefix(pods, claim["metadata"]["namespace"].as_string()), {},
                           [&](const store::object_ref& o) {
                             auto pod = cluster.value(o);
                             if (pod && !is_finished(*pod) && node_of(*pod).empty())
                               unplaced.emplace_back(name_in(*pod));
                             return true;
                           });
    auto about = reference_to(claim);
    if (unplaced.empty())
      p.tell(about, "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
    else
      p.tell(about, "WaitForPodScheduled",
             fmt::format("waiting for pod{} {} to be scheduled", unplaced.size() > 1 ? "s" : "", join(unplaced, ",")));
  }

  static void provision(const json::value& claim, const std::string& storage_class, const json::value* found, plan& p) {
    auto about = reference_to(claim);
    if (!found)
      return void(p.tell(about, "ProvisioningFailed",
                         fmt::format("storageclass.storage.k8s.io {} not found", quote(storage_class)), true));
    auto provisioner = (*found)["provisioner"].as_string();
    if (provisioner.starts_with("kubernetes.io/"))
      return void(
          p.tell(about, "ProvisioningFailed", fmt::format("no volume plugin matched name: {}", provisioner), true));
    auto next = claim;
    for (auto note : provisioner_notes) next.member("metadata").member("annotations").set(note, provisioner);
    if (!(next == claim)) p.write(update_of(claims, std::move(next)));
    p.tell(about, "ExternalProvisioning",
           fmt::format("Waiting for a volume to be created either by the external provisioner '{}' or manually by the "
                       "system administrator. If volume creation is delayed, "
                       "please verify that the provisioner is running and correctly registered.",
                       provisioner));
  }

  plan bound(const view& cluster, const json::value& claim) {
    plan p;
    auto lost = [&](std::string reason, std::string message) {
      if (claim["status"]["phase"].as_string() == "Lost") return;
      set_claim(p, claim, "Lost", nullptr);
      p.tell(reference_to(claim), std::move(reason), std::move(message), true);
    };
    auto name = claim["spec"]["volumeName"].as_string();
    if (name.empty())
      return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"), p;
    auto volume = cluster.get(volumes, {}, name);
    if (!volume) {
      room_.wait(key_of(claim), class_of(claim), std::string(name));
      return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"), p;
    }
    auto& by = (*volume)["spec"]["claimRef"];
    if (!by.is_object() || by["uid"].as_string() == uid_of(claim)) return bind(p, *volume, claim), p;
    return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"), p;
  }

  // The next write of each of the two.
  static void bind(plan& p, const json::value& volume, const json::value& claim) {
    auto next_volume = volume;
    auto& r = volume["spec"]["claimRef"];
    if (!is_bound_to(volume, claim) && note_of(volume, bound_by_controller).is_null())
      next_volume.member("metadata").member("annotations").set(bound_by_controller, "yes");
    if (!r.is_object() || r["uid"].as_string() != uid_of(claim) || r["name"] != claim["metadata"]["name"] ||
        r["namespace"] != claim["metadata"]["namespace"])
      next_volume.member("spec").set("claimRef", reference_value(claim));
    const bool volume_is_bound = next_volume == volume;
    if (!volume_is_bound)
      p.write(update_of(volumes, std::move(next_volume)));
    else
      set_volume(p, volume, "Bound", "");
    auto next_claim = claim;
    if (claim["spec"]["volumeName"].as_string() != name_in(volume)) {
      next_claim.member("spec").set("volumeName", name_in(volume));
      if (note_of(claim, bound_by_controller).is_null())
        next_claim.member("metadata").member("annotations").set(bound_by_controller, "yes");
    }
    if (note_of(claim, bind_completed).is_null())
      next_claim.member("metadata").member("annotations").set(bind_completed, "yes");
    if (!(next_claim == claim))
      p.write(update_of(claims, std::move(next_claim)));
    else if (volume_is_bound)
      set_claim(p, claim, "Bound", &volume);
  }

  static void set_claim(plan& p, const json::value& claim, std::string_view phase, const json::value* volume) {
    auto next = claim;
    auto& status = next.member("status");
    const bool other_phase = status["phase"].as_string() != phase;
    if (!volume) {
      status.erase("accessModes");
      status.erase("capacity");
      status.erase("currentVolumeAttributesClassName");
    } else {
      status.set("accessModes", (*volume)["spec"]["accessModes"]);
      if (other_phase) {
        if (auto& before = note_of(*volume, pre_resize_capacity); before.is_string())
          status.member("capacity").set("storage", before);
        else
          status.set("capacity", (*volume)["spec"]["capacity"]);
        if (auto& c = (*volume)["spec"]["volumeAttributesClassName"]; c.is_string())
          status.set("currentVolumeAttributesClassName", c);
      }
    }
    status.set("phase", phase);
    if (!(next["status"] == claim["status"])) p.write(update_of(claims, std::move(next), "status"));
  }

  // ---- volumes

  static void set_volume(plan& p, const json::value& volume, std::string_view phase, std::string message) {
    if (volume["status"]["phase"].as_string() == phase) return;
    auto next = volume;
    auto& status = next.member("status");
    status.set("phase", phase);
    message.empty() ? void(status.erase("message")) : status.set("message", std::move(message));
    p.write(update_of(volumes, std::move(next), "status"));
  }

  static plan look_at_volume(const view& cluster, const std::string& name) {
    plan p;
    auto volume = cluster.get(volumes, {}, name);
    if (!volume) return p;
    auto& r = (*volume)["spec"]["claimRef"];
    if (!r.is_object() || r["uid"].as_string().empty()) return set_volume(p, *volume, "Available", ""), p;
    auto claim = cluster.get(claims, r["namespace"].as_string(), r["name"].as_string());
    if (claim && uid_of(*claim) != r["uid"].as_string()) claim = nullptr;  // another of the name
    if (!claim) return release(cluster, *volume, p), p;
    auto has = (*claim)["spec"]["volumeName"].as_string();
    if (has == name) return set_volume(p, *volume, "Bound", ""), p;
    if (has.empty()) {
      if (mode_of(*claim) != mode_of(*volume)) {
        p.tell(reference_to(*volume), "VolumeMismatch",
               fmt::format(
                   "Cannot bind PersistentVolume to requested PersistentVolumeClaim {} due to incompatible volumeMode.",
                   quote(name_in(*claim))),
               true);
        p.tell(reference_to(*claim), "VolumeMismatch",
               fmt::format(
                   "Cannot bind PersistentVolume {} to requested PersistentVolumeClaim due to incompatible volumeMode.",
                   quote(name)),
               true);
      }
      return p;  // the claim's own look binds it
    }
    // Its claim has another volume.
    if (!note_of(*volume, provisioned_by).is_null() &&
        (*volume)["spec"]["persistentVolumeReclaimPolicy"].as_string() == "Delete")
      return release(cluster, *volume, p), p;
    auto next = *volume;
    if (!note_of(*volume, bound_by_controller).is_null()) {
      next.member("spec").erase("claimRef");
      auto& notes = next.member("metadata").member("annotations");
      notes.erase(bound_by_controller);
      if (notes.empty()) next.member("metadata").erase("annotations");
    } else {
      next.member("spec").member("claimRef").erase("uid");
    }
    return p.write(update_of(volumes, std::move(next))), p;
  }

  static void release(const view&, const json::value& volume, plan& p) {
    auto phase = volume["status"]["phase"].as_string();
    if (phase != "Released" && phase != "Failed") return set_volume(p, volume, "Released", "");
    auto policy = volume["spec"]["persistentVolumeReclaimPolicy"].as_string();
    auto fail = [&](std::string reason, std::string message) {
      if (phase == "Failed") return;
      set_volume(p, volume, "Failed", message);
      p.tell(reference_to(volume), std::move(reason), std::move(message), true);
    };
    if (!note_of(volume, migrated_to).as_string().empty() || policy == "Retain") return;
    if (policy == "Recycle") return fail("VolumeFailedRecycle", "No recycler plugin found for the volume!");
    if (policy != "Delete")
      return fail("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy");
    // Its provisioner deletes it. What no provisioner made can be deleted by nobody.
    auto by = note_of(volume, provisioned_by).as_string();
    if ((!by.empty() && !by.starts_with("kubernetes.io/")) || volume["spec"]["csi"].is_object()) return;
    if (auto path = volume["spec"]["hostPath"]["path"].as_string(); !path.empty())
      return fail("VolumeFailedDelete",
                  fmt::format("host_path deleter only supports /tmp/.+ but received provided {}", path));
    fail("VolumeFailedDelete",
         fmt::format("error getting deleter volume plugin for volume {}: no deletable volume plugin matched",
                     quote(name_in(volume))));
  }

  waiting_room room_;
};

}  // namespace

std::unique_ptr<controller> make_binder(const settings&) { return std::make_unique<binder>(); }

}  // namespace kedge::control
