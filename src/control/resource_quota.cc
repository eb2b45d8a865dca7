// resource_quota.cc: keeps status.hard and status.used of every ResourceQuota true. Admission charges what is created (api/access/
// admission/resource_quota.h); here the sums are made anew when something in the namespace went or became less, so that what was
// deleted, finished or charged in vain is given back.
#include <algorithm>
#include <map>
#include <set>

#include "api/access/admission/quota_usage.h"
#include "api/registry.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id quotas{"", "v1", "resourcequotas"};
// Many objects of a namespace change together: one sum for all of them.
constexpr auto settle = std::chrono::milliseconds(100);
// kube-controller-manager's --resource-quota-sync-period.
constexpr auto resync = std::chrono::minutes(5);

// The resources of the core group that count by other names than count/<resource>.
constexpr std::string_view counted[] = {"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"};

// What a change of an object can make it count for less: finished pods, types of services, sizes of claims. As kube-controller-manager,
// which also makes new sums only then and when something was deleted.
constexpr std::string_view changing[] = {"/registry/pods/", "/registry/services/specs/", "/registry/persistentvolumeclaims/"};

std::string count_name(const api::served& s) { return "count/" + (s.group.empty() ? s.resource : s.resource + "." + s.group); }

bool concerns(const json::value& hard, const api::served& s) {
  if (!s.namespaced() || s.is_virtual || !s.has_verb("create")) return false;
  if (hard.find(count_name(s))) return true;
  return s.group.empty() && std::find(std::begin(counted), std::end(counted), s.resource) != std::end(counted);
}

class quota_keeper {
 public:
  explicit quota_keeper(context& c) : c_(c), store_(c.objects.objects_store()), prefix_(c.objects.prefix(quotas)) {}

  task<void> run() {
    reactor::scope tasks;
    tasks.spawn(follow(store_, prefix_, [this](const store::event& e) { quota_changed(e); }, [this] { by_namespace_.clear(); }));
    tasks.spawn(follow(store_, "/registry/", [this](const store::event& e) { object_changed(e); }));
    co_await work("resourcequota", queue_, 4, [this](std::string key) { return reconcile(std::move(key)); });
  }

 private:
  void quota_changed(const store::event& e) {
    auto key = std::string(name_under(prefix_, e.object->key()));
    auto ns = key.substr(0, key.find('/'));
    if (e.type == store::event_type::deleted) {
      by_namespace_[ns].erase(key);
      if (by_namespace_[ns].empty()) by_namespace_.erase(ns);
      return;
    }
    by_namespace_[ns].insert(key);
    // Each charge of admission changes it too, and a sum made before the charged object is stored would take the charge back.
    auto quota = json::parse(e.object->bytes());
    if (e.type == store::event_type::added || (quota && (*quota)["status"]["hard"] != (*quota)["spec"]["hard"])) queue_.add(key);
  }

  // Looked at only while there are quotas: the namespace is the last but one part of the key.
  void object_changed(const store::event& e) {
    if (by_namespace_.empty()) return;
    auto key = e.object->key();
    if (e.type == store::event_type::added) return;  // charged at admission; a sum that is made meanwhile could miss it
    if (e.type == store::event_type::modified && !std::ranges::any_of(changing, [&](auto p) { return key.starts_with(p); })) return;
    auto end = key.rfind('/');
    auto begin = end == key.npos ? key.npos : key.rfind('/', end - 1);
    if (begin == key.npos) return;
    auto found = by_namespace_.find(key.substr(begin + 1, end - begin - 1));
    if (found == by_namespace_.end()) return;
    for (auto& quota : found->second) queue_.add_after(quota, settle);
  }

  json::value used(const json::value& quota, std::string_view ns) const {
    auto& hard = quota["spec"]["hard"];
    pod::amounts sum;
    auto resources = c_.objects.resources();
    auto now = store_.current();
    std::set<std::string_view> seen;  // several versions of a resource are the same objects
    for (auto s : resources->all()) {
      if (!concerns(hard, *s) || !seen.insert(s->key_prefix).second) continue;
      now.scan(s->prefix(ns), {}, [&](const store::object_ref& o) {
        auto v = json::parse(o->bytes());
        if (v && api::quota_covers(quota, s->group, s->resource, *v)) pod::add(sum, api::quota_usage(s->group, s->resource, *v));
        return true;
      });
    }
    json::object out;
    if (auto members = hard.object())
      for (auto& m : *members) {
        auto it = sum.find(m.name);
        out.set(m.name, it == sum.end() ? std::string("0") : it->second.text());
      }
    return out;
  }

  task<api::api_result<void>> reconcile(std::string key) {
    auto slash = key.find('/');
    auto ns = key.substr(0, slash), name = key.substr(slash + 1);
    queue_.add_after(key, resync);
    auto done = co_await c_.objects.modify(
        quotas, ns, name,
        [&](json::value& v) {
          auto sums = used(v, ns);
          if (v["status"]["hard"] == v["spec"]["hard"] && v["status"]["used"] == sums) return false;
          v.member("status").set("hard", v["spec"]["hard"]);
          v.member("status").set("used", std::move(sums));
          return true;
        },
        "status");
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    co_return api::api_result<void>();
  }

  context& c_;
  store::store& store_;
  std::string prefix_;
  std::map<std::string, std::set<std::string>, std::less<>> by_namespace_;
  work_queue queue_;
};

}  // namespace

task<void> run_resource_quota(context& c) {
  quota_keeper k(c);
  co_await k.run();
}

}  // namespace kedge::control
