#include "control/scheduler/volume_binder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace kedge::control::scheduler {
namespace {

const api::resource_id claims{"", "v1", "persistentvolumeclaims"}, volumes{"", "v1", "persistentvolumes"};

constexpr std::string_view bound_by_controller = "pv.kubernetes.io/bound-by-controller",
                           selected_node = "volume.kubernetes.io/selected-node";

json::value reference_to(const claim_view& c) {
  return json::object{
      {"apiVersion", "v1"}, {"kind", "PersistentVolumeClaim"}, {"name", c.name}, {"namespace", c.ns}, {"uid", c.uid}};
}

std::unexpected<error> refused(const api::status& s) { return fail(errc::conflict, s.message); }

}  // namespace

task<result<void>> volume_binder::write(volume_plan plan, std::string node) {
  for (auto& b : plan.bindings) {
    bool taken = false;
    auto change = [&](json::value& volume) {
      auto& spec = volume.member("spec");
      auto& has = spec["claimRef"];
      const bool set_aside = has.is_object();
      taken = set_aside && (has["name"].as_string() != b.claim->name || has["namespace"].as_string() != b.claim->ns ||
                            (!has["uid"].as_string().empty() && has["uid"].as_string() != b.claim->uid));
      if (taken || (set_aside && !has["uid"].as_string().empty())) return false;
      spec.set("claimRef", reference_to(*b.claim));
      if (!set_aside) volume.member("metadata").member("annotations").set(bound_by_controller, "yes");
      return true;
    };
    auto done = co_await objects_.modify(volumes, "", b.volume->name, change);
    if (!done) co_return refused(done.error());
    if (taken) co_return fail(errc::conflict, fmt::format("pv {} was given to another claim", quote(b.volume->name)));
  }
  for (auto& p : plan.provisions) {
    auto change = [&](json::value& claim) {
      auto& notes = claim.member("metadata").member("annotations");
      if (claim["metadata"]["uid"].as_string() != p.claim->uid || notes[selected_node].as_string() == node)
        return false;
      notes.set(selected_node, node);
      return true;
    };
    auto done = co_await objects_.modify(claims, p.claim->ns, p.claim->name, change);
    if (!done) co_return refused(done.error());
  }
  co_return result<void>();
}

result<volume_binder::state> volume_binder::look(const pod_view& pod, const volume_plan& plan,
                                                 const std::string& node) const {
  auto& storage = cluster_.storage();
  auto there = cluster_.find_pod(pod.ns, pod.name);
  if (!there || there->uid != pod.uid) return fail(errc::conflict, "pod does not exist any more");
  auto at = cluster_.find_node(node);
  if (!at)
    return fail(errc::conflict, fmt::format("failed to get node {}: node {} not found", quote(node), quote(node)));
  auto reachable = [&](const volume_view& v) -> result<void> {
    if (v.reachable_from(at->labels)) return {};
    return fail(errc::conflict, fmt::format("pv {} node affinity doesn't match node {}: no matching NodeSelectorTerms",
                                            quote(v.name), quote(node)));
  };
  auto out = state::bound;
  for (auto& b : plan.bindings) {
    auto v = storage.find_volume(b.volume->name);
    if (!v)
      return fail(errc::conflict,
                  fmt::format("failed to check binding: persistentvolume {} not found", quote(b.volume->name)));
    auto c = storage.find_claim(b.claim->ns, b.claim->name);
    if (!c)
      return fail(errc::conflict,
                  fmt::format("failed to check binding: persistentvolumeclaim {} not found", quote(b.claim->name)));
    KEDGE_CHECK(reachable(*v));
    if (!v->claimed || v->claimed->uid.empty())
      return fail(errc::conflict, fmt::format("ClaimRef got reset for pv {}", quote(v->name)));
    if (!c->fully_bound()) out = state::waiting;
  }
  for (auto& p : plan.provisions) {
    auto c = storage.find_claim(p.claim->ns, p.claim->name);
    if (!c)
      return fail(errc::conflict, fmt::format("failed to check provisioning pvc: persistentvolumeclaim {} not found",
                                              quote(p.claim->name)));
    if (c->selected_node != node)
      return fail(errc::conflict, fmt::format("provisioning failed for PVC {}", quote(c->name)));
    auto v = c->volume.empty() ? nullptr : storage.find_volume(c->volume);
    if (v) KEDGE_CHECK(reachable(*v));
    if (!v || !c->fully_bound()) out = state::waiting;
  }
  return out;
}

// Of one pod, as long as it lives: what it waits for, and the event that a change of that wakes.
class volume_binder::waiting {
 public:
  waiting(volume_binder& owner, const pod_view& pod, const volume_plan& plan) : owner_(owner) {
    keys_.push_back(pod.key());
    for (auto& b : plan.bindings) {
      keys_.push_back(b.volume->name);
      keys_.push_back(b.claim->key());
    }
    for (auto& p : plan.provisions) keys_.push_back(p.claim->key());
    for (auto& key : keys_) owner_.waiting_.emplace(key, &changed_);
  }
  ~waiting() {
    for (auto& key : keys_) {
      auto [begin, end] = owner_.waiting_.equal_range(key);
      owner_.waiting_.erase(std::find_if(begin, end, [&](auto& e) { return e.second == &changed_; }));
    }
  }
  waiting(const waiting&) = delete;
  waiting& operator=(const waiting&) = delete;
  auto until(time_point deadline) { return changed_.wait_until(deadline); }

 private:
  volume_binder& owner_;
  std::vector<std::string> keys_;
  reactor::event changed_;
};

void volume_binder::changed(std::string_view key) {
  auto [begin, end] = waiting_.equal_range(key);
  for (auto it = begin; it != end; ++it) it->second->pulse();
}

task<result<void>> volume_binder::bound(pod_ref pod, volume_plan plan, std::string node, time_point deadline) {
  waiting here(*this, *pod, plan);
  for (;;) {
    KEDGE_CO_TRY(auto now, look(*pod, plan, node));
    if (now == state::bound) co_return result<void>();
    if (!co_await here.until(deadline)) co_return fail(errc::timeout, "context deadline exceeded");
  }
}

}  // namespace kedge::control::scheduler
