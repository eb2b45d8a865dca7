#include "api/admission/resource_quota.h"

#include "api/admission/limits.h"
#include "api/admission/plugin.h"
#include "api/admission/quota_usage.h"
#include "api/registry/lookup.h"
#include "json/write.h"

namespace kedge::api {
namespace {

using pod::add;
using pod::amounts;
using pod::amounts_of;
using pod::text_of;

// What the request adds: the object's usage, less what its old version used.
amounts growth(const admission_request& r, const store::snapshot& cluster) {
  auto out = quota_usage(r.who.api_group, r.who.resource, *r.object, cluster);
  if (r.what == operation::update && r.old)
    for (auto& [name, amount] : quota_usage(r.who.api_group, r.who.resource, *r.old, cluster)) {
      auto [at, fresh] = out.try_emplace(name, amount);
      if (fresh) at->second -= amount;  // the same kind of number, with its way of writing, at zero
      at->second -= amount;
    }
  for (auto at = out.begin(); at != out.end();) at = at->second.is_zero() ? out.erase(at) : std::next(at);
  return out;
}

bool counts(const admission_request& r) {
  auto& a = r.who;
  if (a.ns.empty() || !r.object) return false;
  bool resized = concerns(r, "", "pods", "resize") && r.what == operation::update;
  return resized || (a.subresource.empty() && (r.what == operation::create || r.what == operation::update));
}

struct charge {
  json::value quota;
  store::revision expected;
  std::string key;
  amounts used;  // status.used with the charge
};

// What must be written to charge one quota; nullopt when it isn't concerned.
api_result<std::optional<charge>> plan(const admission_request& r, const store::object_ref& stored,
                                       const amounts& wanted) {
  auto quota = read_object(stored);
  if (!quota || !quota_covers(*quota, r.who.api_group, r.who.resource, *r.object)) return std::nullopt;
  auto hard = amounts_of((*quota)["status"]["hard"].empty() ? (*quota)["spec"]["hard"] : (*quota)["status"]["hard"]);
  auto name = std::string(name_of(*quota));
  bool pod = concerns(r, "", "pods") && r.what == operation::create;
  if (pod)
    if (auto missing = quota_missing(*quota, *r.object); !missing.empty())
      return fail(refused(r, "failed quota: " + name + ": must specify " + missing));
  amounts requested;
  for (auto& [what, amount] : wanted)
    if (hard.contains(what)) requested.emplace(what, amount);
  if (requested.empty()) return std::nullopt;

  auto used = amounts_of((*quota)["status"]["used"]);
  std::string unknown;
  amounts over_requested, over_used, over_hard;
  for (auto& [what, amount] : requested) {
    auto at = used.find(what);
    if (at == used.end()) {
      unknown += (unknown.empty() ? "" : ",") + what;
      continue;
    }
    auto before = at->second;
    at->second += amount;
    if (amount.sign() <= 0 || !(hard[what] < at->second)) continue;
    over_requested.emplace(what, amount);
    over_used.emplace(what, before);
    over_hard.emplace(what, hard[what]);
  }
  if (!unknown.empty()) return fail(refused(r, "status unknown for quota: " + name + ", resources: " + unknown));
  if (!over_requested.empty())
    return fail(refused(r, "exceeded quota: " + name + ", requested: " + text_of(over_requested) +
                               ", used: " + text_of(over_used) + ", limited: " + text_of(over_hard)));
  return charge{std::move(*quota), stored->mod(), std::string(stored->key()), std::move(used)};
}

store::mutation mutation_of(charge c) {
  auto& used = c.quota.member("status").member("used").make_object();
  for (auto& [name, amount] : c.used) used.set(name, amount.text());
  c.quota.member("metadata").erase("resourceVersion");
  store::mutation m;
  m.kind = store::write_kind::update;
  m.key = std::move(c.key);
  m.value = json::write(c.quota);
  m.expected = c.expected;
  return m;
}

}  // namespace

task<api_result<void>> charge_quotas(admission_request& r, const store::snapshot& cluster, store::store* objects,
                                     const std::vector<limited_resource>& limited) {
  if (!counts(r)) co_return api_result<void>{};
  auto prefix = directory_prefix("resourcequotas", r.who.ns);
  bool any = false;
  cluster.scan(prefix, {}, [&](const store::object_ref&) { return !(any = true); });  // cheaper than a count
  if (!any && limited.empty()) co_return api_result<void>{};
  auto wanted = growth(r, cluster);
  if (wanted.empty()) co_return api_result<void>{};
  if (!limited.empty()) KEDGE_CO_CHECK(check_limited(limited, r, cluster));
  if (!any) co_return api_result<void>{};
  auto view = cluster;
  std::vector<std::string> charged;  // keys: a retry after a lost race must not charge these again
  for (int attempt = 0; attempt < quota_charge_tries_max; ++attempt) {
    // All quotas are looked at before the first is charged: a refusal charges nothing.
    std::vector<charge> charges;
    api_result<void> verdict;
    view.scan(prefix, {}, [&](const store::object_ref& stored) {
      for (auto& key : charged)
        if (key == stored->key()) return true;
      auto planned = plan(r, stored, wanted);
      if (!planned) {
        verdict = fail(std::move(planned).error());
        return false;
      }
      if (*planned) charges.push_back(std::move(**planned));
      return true;
    });
    if (!verdict) co_return verdict;
    if (!objects || r.dry_run) co_return api_result<void>{};
    bool lost = false;
    for (auto& c : charges) {
      auto key = c.key;
      auto written = co_await objects->write(mutation_of(std::move(c)));
      if (written) {
        charged.push_back(std::move(key));
      } else if (written.error().code == errc::conflict || written.error().code == errc::not_found) {
        lost = true;
      } else {
        co_return fail(from_error(written.error()));
      }
    }
    if (!lost) co_return api_result<void>{};
    auto newest = co_await objects->latest();
    if (!newest) co_return fail(from_error(newest.error()));
    view = std::move(*newest);
  }
  co_return fail(
      conflict("", "resourcequotas", {}, "the quotas of namespace " + r.who.ns + " change too fast; please try again"));
}

}  // namespace kedge::api
