// ephemeral.cc: a claim for each ephemeral volume of a pod, gone with it (ephemeral-volume-controller).
#include <fmt/format.h>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/resources.h"
#include "control/volumes/uses.h"
#include "control/workloads/members.h"

namespace kedge::control {
namespace {

constexpr owner_kind pod_kind{"v1", "Pod"};
constexpr std::string_view claim_mark = "claim:";

bool has_ephemeral(const json::value& pod) {
  auto& list = pod["spec"]["volumes"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["ephemeral"].is_object()) return true;
  return false;
}

class ephemeral final : public controller {
 public:
  std::vector<source> sources() override {
    return {{pods,
             [](const seen& s, keys& k) {
               if (s.added() && !is_deleting(s.value()) && has_ephemeral(s.value())) own_key(s, k);
             }},
            {claims, [](const seen& s, keys& k) {
               if (s.deleted()) k.add(std::string(claim_mark) + std::string(s.name()));
             }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (!key.starts_with(claim_mark)) co_return co_await s.look_and_write(key);
    // The pods that used a claim that is gone.
    auto cluster = s.now();
    auto [ns, name] = split_name(std::string_view(key).substr(claim_mark.size()));
    auto all = cluster.prefix(pods);
    cluster.cluster().scan(api::pods_by_claim, name, cluster.prefix(pods, ns), {}, [&](const store::object_ref& o) {
      s.queue().add(std::string(name_under(all, o->key())));
      return true;
    });
    co_return api::api_result<void>();
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto pod = cluster.get(pods, key);
    if (!pod || is_deleting(*pod) || now.refused) return p;
    auto& m = (*pod)["metadata"];
    auto about = reference_to(*pod);
    auto& list = (*pod)["spec"]["volumes"];
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto& t = list[i]["ephemeral"]["volumeClaimTemplate"];
      if (!list[i]["ephemeral"].is_object()) continue;
      auto volume = list[i]["name"].as_string();
      auto name = fmt::format("{}-{}", m["name"].as_string(), volume);
      if (auto claim = cluster.get(claims, m["namespace"].as_string(), name)) {
        if (!was_made_for(*claim, *pod))
          p.tell(about, "FailedBinding",
                 fmt::format("ephemeral volume {}: PVC {}/{} was not created for pod {}/{} (pod is not owner)", volume,
                             m["namespace"].as_string(), name, m["namespace"].as_string(), m["name"].as_string()),
                 true);
        continue;
      }
      json::object meta{{"name", name},
                        {"namespace", m["namespace"]},
                        {"ownerReferences", json::array{controller_reference(pod_kind, *pod)}}};
      for (auto part : {"annotations", "labels"})
        if (auto v = t["metadata"].find(part)) meta.set(part, *v);
      auto c = creation(claims, std::string(m["namespace"].as_string()),
                        json::object{{"kind", "PersistentVolumeClaim"},
                                     {"apiVersion", "v1"},
                                     {"metadata", std::move(meta)},
                                     {"spec", t["spec"]}});
      c.on_refused =
          notice{about, true, "FailedBinding", fmt::format("ephemeral volume {}: create PVC {}: ", volume, name)};
      p.write(std::move(c));
    }
    return p;
  }
};

}  // namespace

std::unique_ptr<controller> make_ephemeral_volumes(const settings&) { return std::make_unique<ephemeral>(); }

}  // namespace kedge::control
