#include "api/bootstrap.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/limits.h"
#include "api/trust_config.h"
#include "base/ip.h"
#include "base/log.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "schema/bootstrap.h"
#include "schema/resources.h"

namespace kedge::api {
namespace {

// As long as a server waits at its start for a database that isn't there (datastore's start_wait).
constexpr std::chrono::seconds bootstrap_database_wait{60};
constexpr std::chrono::milliseconds bootstrap_retry{200};

struct wanted_object {
  resource_id resource;
  std::string ns;
  json::value object;
  bool reconcile = false;  // RBAC: rules and subjects that an older server wrote are brought up to date
};

error to_error(const status& s, const wanted_object& w) {
  const bool away = s.code == 503 || s.code == 504;  // the database; also when it isn't known what became of the write
  return {away ? errc::unavailable : errc::internal,
          fmt::format("bootstrap: {} {}: {}", w.resource.plural, w.object["metadata"]["name"].as_string(), s.message)};
}

bool covers(const json::value& list, const json::value& item) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i] == item) return true;
  return false;
}

// Adds what `wanted` has and `now` lacks; true when anything was.
bool add_missing(json::value& now, const json::value& wanted, const char* list) {
  bool changed = false;
  for (std::size_t i = 0; i < wanted[list].size(); ++i)
    if (!covers(now[list], wanted[list][i])) {
      now.member(list).push_back(wanted[list][i]);
      changed = true;
    }
  return changed;
}

// Other servers may be at it as well: a Service's address may be taken by the one that is about to create that very
// Service, or by one that died before it could.
task<result<void>> create_one(objects& client, wanted_object w, std::string name) {
  auto& loop = reactor::loop::current();
  auto until = loop.now() + others_create_time;
  for (bool last = false;;) {
    auto made = co_await client.create(w.resource, w.ns, w.object);
    if (made || made.error().code == 409) co_return result<void>();
    if (made.error().code != 422 || w.resource.plural != "services" || last) co_return fail(to_error(made.error(), w));
    while (loop.now() < until) {
      co_await reactor::sleep_for(std::chrono::milliseconds(50));
      if (client.get(w.resource, w.ns, name)) co_return result<void>();
    }
    last = true;
    (void)co_await client.remove({"networking.k8s.io", "v1", "ipaddresses"}, "",
                                 std::string(w.object["spec"]["clusterIP"].as_string()));
  }
}

task<result<void>> ensure(objects& client, wanted_object w) {
  auto name = std::string(w.object["metadata"]["name"].as_string());
  auto found = client.get(w.resource, w.ns, name);
  if (!found) { co_return co_await create_one(client, std::move(w), std::move(name)); }
  if (!w.reconcile ||
      (*found)["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"].as_string() == "false")
    co_return result<void>();
  // An aggregated role's rules are the controller's.
  const bool aggregated = w.object["aggregationRule"].is_object();
  auto probe = *found;
  if (!(!aggregated && add_missing(probe, w.object, "rules")) && !add_missing(probe, w.object, "subjects"))
    co_return result<void>();
  auto done = co_await client.modify(w.resource, w.ns, name, [&](json::value& o) {
    bool changed = !aggregated && add_missing(o, w.object, "rules");
    return add_missing(o, w.object, "subjects") || changed;
  });
  if (!done) co_return fail(to_error(done.error(), w));
  co_return result<void>();
}

// A database that goes away meanwhile (a failover, a restart) is waited for.
task<result<void>> ensure_in_time(objects& client, wanted_object w, time_point until) {
  for (;;) {
    auto done = co_await ensure(client, w);
    if (done || done.error().code != errc::unavailable || reactor::loop::current().now() >= until) co_return done;
    co_await reactor::sleep_for(bootstrap_retry);
  }
}

// All of them, at most bootstrap_batch at a time: those that wait together share commits.
task<result<void>> ensure_all(objects& client, std::vector<wanted_object> all) {
  result<void> out;
  reactor::semaphore free(bootstrap_batch);
  reactor::scope work;
  const auto until = reactor::loop::current().now() + bootstrap_database_wait;
  for (auto& w : all) {
    co_await free.acquire();
    work.spawn([](objects& c, wanted_object one, time_point end, reactor::semaphore& units,
                  result<void>& first) -> task<void> {
      if (auto ok = co_await ensure_in_time(c, std::move(one), end); !ok && first) first = ok;
      units.release();
    }(client, std::move(w), until, free, out));
  }
  co_await work.join();
  co_return out;
}

void add_category(std::vector<wanted_object>& out, std::string_view category) {
  for (auto& c : schema::bootstrap_categories()) {
    if (c.name != category) continue;
    auto list = json::parse(c.json);
    auto resource = schema::find_resource_of_kind(c.api_version, c.kind);
    if (!list || !list->array() || !resource) return;
    for (auto& o : *list->array()) {
      json::object whole{{"kind", c.kind}, {"apiVersion", c.api_version}};
      for (auto& m : *o.object()) whole.set(m.name, std::move(m.value));
      json::value object = std::move(whole);
      auto ns = std::string(object["metadata"]["namespace"].as_string());
      const bool rbac = resource->group() == "rbac.authorization.k8s.io";
      out.push_back(
          {{std::string(resource->group()), std::string(resource->version()), std::string(resource->plural())},
           std::move(ns),
           std::move(object),
           rbac});
    }
  }
}

json::value named(std::string_view version, std::string_view kind, std::string_view ns, std::string_view name) {
  json::object meta{{"name", name}};
  if (!ns.empty()) meta.set("namespace", ns);
  return json::object{{"kind", kind}, {"apiVersion", version}, {"metadata", std::move(meta)}};
}

std::string first_address(std::string_view cidr) {
  auto range = ip_range::parse(cidr);
  auto first = range ? range->at(1) : std::nullopt;
  return first ? first->text() : "";
}

wanted_object kubernetes_service(const bootstrap_options& o) {
  auto s = named("v1", "Service", "default", "kubernetes");
  s.member("metadata").set("labels", json::object{{"component", "apiserver"}, {"provider", "kubernetes"}});
  auto ip = o.service_ip.empty() ? first_address(o.service_cidrs.front()) : o.service_ip;
  s.set("spec",
        json::object{
            {"clusterIP", ip},
            {"clusterIPs", json::array{json::value(ip)}},
            {"type", "ClusterIP"},
            {"sessionAffinity", "None"},
            {"ports", json::array{json::object{
                          {"name", "https"}, {"protocol", "TCP"}, {"port", 443}, {"targetPort", o.endpoint_port}}}}});
  return {{"", "v1", "services"}, "default", std::move(s)};
}

json::value endpoints_object(const std::vector<std::string>& addresses, int port) {
  auto e = named("v1", "Endpoints", "default", "kubernetes");
  e.member("metadata").set("labels", json::object{{"endpointslice.kubernetes.io/skip-mirror", "true"}});
  json::array list;
  for (auto& a : addresses) list.emplace_back(json::object{{"ip", a}});
  e.set("subsets", json::array{json::object{
                       {"addresses", std::move(list)},
                       {"ports", json::array{json::object{{"name", "https"}, {"port", port}, {"protocol", "TCP"}}}}}});
  return e;
}

json::value slice_object(const std::vector<std::string>& addresses, int port) {
  auto e = named("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes");
  e.member("metadata").set("labels", json::object{{"kubernetes.io/service-name", "kubernetes"}});
  e.set("addressType", addresses.empty() || addresses[0].find(':') == std::string::npos ? "IPv4" : "IPv6");
  json::array list;
  for (auto& a : addresses)
    list.emplace_back(
        json::object{{"addresses", json::array{json::value(a)}}, {"conditions", json::object{{"ready", true}}}});
  e.set("endpoints", std::move(list));
  e.set("ports", json::array{json::object{{"name", "https"}, {"port", port}, {"protocol", "TCP"}}});
  return e;
}

void add_config(std::vector<wanted_object>& out, const bootstrap_options& o) {
  for (auto ns : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    out.push_back({{"", "v1", "serviceaccounts"}, ns, named("v1", "ServiceAccount", ns, "default")});
    if (o.root_ca.empty()) continue;
    auto ca = named("v1", "ConfigMap", ns, "kube-root-ca.crt");
    ca.member("metadata")
        .set("annotations",
             json::object{{"kubernetes.io/description",
                           "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
                           "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
                           "guaranteed across distributions of Kubernetes clusters."}});
    ca.set("data", json::object{{"ca.crt", o.root_ca}});
    out.push_back({{"", "v1", "configmaps"}, ns, std::move(ca)});
  }
}

json::value trust_data(const bootstrap_options& o) {
  return json::object{{"client-ca-file", o.client_ca},
                      {"requestheader-allowed-names", "[\"system:auth-proxy\"]"},
                      {"requestheader-client-ca-file", o.request_header_ca},
                      {"requestheader-extra-headers-prefix", "[\"X-Remote-Extra-\"]"},
                      {"requestheader-group-headers", "[\"X-Remote-Group\"]"},
                      {"requestheader-uid-headers", "[\"X-Remote-Uid\"]"},
                      {"requestheader-username-headers", "[\"X-Remote-User\"]"}};
}

// Whoever made it, other API servers find in it what this one trusts.
task<result<void>> ensure_trust(objects& client, const bootstrap_options& o) {
  if (o.client_ca.empty()) co_return result<void>();
  auto own = trust_data(o);
  auto done = co_await client.modify({"", "v1", "configmaps"}, "kube-system", std::string(trust_config_name),
                                     [&own](json::value& map) { return add_trust(map, own); });
  if (!done && done.error().code != 404)
    co_return fail(errc::internal, fmt::format("{}: {}", trust_config_name, done.error().message));
  co_return result<void>();
}

// What ensure_system_objects is about, but for the namespaces.
void add_system(std::vector<wanted_object>& out, const bootstrap_options& o) {
  for (auto category : {"flowschemas", "prioritylevelconfigurations"}) add_category(out, category);
  auto cidr = named("networking.k8s.io/v1", "ServiceCIDR", "", "kubernetes");
  json::array ranges;
  for (auto& r : o.service_cidrs) ranges.emplace_back(r);
  cidr.set("spec", json::object{{"cidrs", std::move(ranges)}});
  out.push_back({{"networking.k8s.io", "v1", "servicecidrs"}, "", std::move(cidr)});
  out.push_back(kubernetes_service(o));
  if (o.client_ca.empty()) return;
  auto c = named("v1", "ConfigMap", "kube-system", trust_config_name);
  c.set("data", trust_data(o));
  out.push_back({{"", "v1", "configmaps"}, "kube-system", std::move(c)});
}

// metrics-server's, which the aggregated roles of users take in.
wanted_object usage_reader() {
  auto role = named("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:aggregated-metrics-reader");
  json::object labels;
  for (auto to : {"view", "edit", "admin"})
    labels.set(fmt::format("rbac.authorization.k8s.io/aggregate-to-{}", to), "true");
  role.member("metadata").set("labels", std::move(labels));
  role.set("rules", json::array{json::object{{"apiGroups", json::array{"metrics.k8s.io"}},
                                             {"resources", json::array{"pods", "nodes"}},
                                             {"verbs", json::array{"get", "list", "watch"}}}});
  return {{"rbac.authorization.k8s.io", "v1", "clusterroles"}, "", std::move(role), true};
}

// Creates it, or sets `member`s of the one that stands.
task<result<void>> put(objects& client, resource_id r, json::value object, std::vector<std::string> members) {
  auto name = std::string(object["metadata"]["name"].as_string());
  auto made = co_await client.create(r, "default", object);
  if (made) co_return result<void>();
  if (made.error().code != 409)
    co_return fail(errc::internal, fmt::format("endpoints of the kubernetes service: {}", made.error().message));
  auto done = co_await client.modify(r, "default", name, [&](json::value& o) {
    bool changed = false;
    for (auto& m : members)
      if (!(o[m] == object[m])) {
        o.set(m, object[m]);
        changed = true;
      }
    return changed;
  });
  if (!done)
    co_return fail(errc::internal, fmt::format("endpoints of the kubernetes service: {}", done.error().message));
  co_return result<void>();
}

}  // namespace

task<result<void>> publish_endpoints(objects& client, std::vector<std::string> addresses, int port) {
  std::sort(addresses.begin(), addresses.end());
  KEDGE_CO_CHECK(co_await put(client, {"", "v1", "endpoints"}, endpoints_object(addresses, port), {"subsets"}));
  co_return co_await put(client, {"discovery.k8s.io", "v1", "endpointslices"}, slice_object(addresses, port),
                         {"endpoints", "ports"});
}

task<result<void>> bootstrap_cluster(objects& client, bootstrap_options options) {
  // Namespaces first: what lies in them needs them. The rest in any order.
  std::vector<wanted_object> first, rest;
  add_category(first, "namespaces");
  KEDGE_CO_CHECK(co_await ensure_all(client, std::move(first)));
  for (auto category :
       {"clusterroles", "clusterrolebindings", "roles", "rolebindings", "priorityclasses", "apiservices"})
    add_category(rest, category);
  if (options.usage) rest.push_back(usage_reader());
  add_system(rest, options);
  add_config(rest, options);
  KEDGE_CO_CHECK(co_await ensure_all(client, std::move(rest)));
  if (options.endpoint_addresses.empty()) co_return result<void>();
  co_return co_await publish_endpoints(client, options.endpoint_addresses, options.endpoint_port);
}

task<result<void>> ensure_system_objects(objects& client, bootstrap_options options) {
  std::vector<wanted_object> first, rest;
  add_category(first, "namespaces");
  KEDGE_CO_CHECK(co_await ensure_all(client, std::move(first)));
  add_system(rest, options);
  KEDGE_CO_CHECK(co_await ensure_all(client, std::move(rest)));
  co_return co_await ensure_trust(client, options);
}

}  // namespace kedge::api
