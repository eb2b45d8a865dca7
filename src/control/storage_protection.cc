// storage_protection.cc: takes the finalizers off volumes and claims that are being deleted and no longer used: a claim by no
// running pod, a volume by no claim. Admission puts them on.
#include "control/controller.h"
#include "control/finalizers.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id claims{"", "v1", "persistentvolumeclaims"};
const api::resource_id volumes{"", "v1", "persistentvolumes"};
const api::resource_id pods{"", "v1", "pods"};
constexpr std::string_view claim_finalizer = "kubernetes.io/pvc-protection";
constexpr std::string_view volume_finalizer = "kubernetes.io/pv-protection";

// A pod that no node has yet can't use the claim any more: its node would refuse it.
bool uses(const json::value& pod, std::string_view claim) {
  auto phase = pod["status"]["phase"].as_string();
  if (pod["spec"]["nodeName"].as_string().empty() || phase == "Succeeded" || phase == "Failed") return false;
  auto& list = pod["spec"]["volumes"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i]["persistentVolumeClaim"]["claimName"].as_string() == claim) return true;
    if (list[i]["ephemeral"].is_object() &&
        std::string(pod["metadata"]["name"].as_string()) + "-" + std::string(list[i]["name"].as_string()) == claim)
      return true;
  }
  return false;
}

bool waits(const json::value& o, std::string_view finalizer) {
  return o["metadata"]["deletionTimestamp"].is_string() && has_finalizer(o, finalizer);
}

class protection {
 public:
  explicit protection(context& c) : c_(c), store_(c.objects.objects_store()) {}

  task<void> run() {
    reactor::scope tasks;
    auto claims_prefix = c_.objects.prefix(claims), volumes_prefix = c_.objects.prefix(volumes), pods_prefix = c_.objects.prefix(pods);
    tasks.spawn(follow(store_, claims_prefix, [&](const store::event& e) {
      if (e.type != store::event_type::deleted) claim_queue_.add(std::string(name_under(claims_prefix, e.object->key())));
    }));
    tasks.spawn(follow(store_, volumes_prefix, [&](const store::event& e) {
      if (e.type != store::event_type::deleted) volume_queue_.add(std::string(name_under(volumes_prefix, e.object->key())));
    }));
    tasks.spawn(follow(store_, pods_prefix, [&](const store::event& e) {
      if (e.type == store::event_type::added) return;
      // Which claims it used is looked up when they are: those of its namespace that wait.
      auto key = name_under(pods_prefix, e.object->key());
      store_.current().scan(c_.objects.prefix(claims, key.substr(0, key.find('/'))), {}, [&](const store::object_ref& o) {
        if (o->bytes().find("\"deletionTimestamp\"") != std::string_view::npos) claim_queue_.add(std::string(name_under(claims_prefix, o->key())));
        return true;
      });
    }));
    tasks.spawn(work("pvc-protection", claim_queue_, 1, [this](std::string key) { return free_claim(std::move(key)); }));
    co_await work("pv-protection", volume_queue_, 1, [this](std::string name) { return free_volume(std::move(name)); });
  }

 private:
  task<api::api_result<void>> free_claim(std::string key) {
    auto slash = key.find('/');
    auto ns = key.substr(0, slash), name = key.substr(slash + 1);
    auto claim = c_.objects.get(claims, ns, name);
    if (!claim || !waits(*claim, claim_finalizer)) co_return api::api_result<void>();
    bool used = false;
    store_.current().scan(c_.objects.prefix(pods, ns), {}, [&](const store::object_ref& o) {
      auto pod = json::parse(o->bytes());
      used = pod && uses(*pod, name);
      return !used;
    });
    if (used) co_return api::api_result<void>();
    co_return co_await drop(claims, std::move(ns), std::move(name), claim_finalizer);
  }

  task<api::api_result<void>> free_volume(std::string name) {
    auto volume = c_.objects.get(volumes, "", name);
    if (!volume || !waits(*volume, volume_finalizer) || (*volume)["status"]["phase"].as_string() == "Bound") co_return api::api_result<void>();
    co_return co_await drop(volumes, "", std::move(name), volume_finalizer);
  }

  task<api::api_result<void>> drop(api::resource_id what, std::string ns, std::string name, std::string_view finalizer) {
    auto done = co_await c_.objects.modify(std::move(what), std::move(ns), std::move(name), [finalizer](json::value& v) {
      remove_finalizer(v, finalizer);
      return true;
    });
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    co_return api::api_result<void>();
  }

  context& c_;
  store::store& store_;
  work_queue claim_queue_, volume_queue_;
};

}  // namespace

task<void> run_storage_protection(context& c) {
  protection p(c);
  co_await p.run();
}

}  // namespace kedge::control
