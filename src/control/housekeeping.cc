#include "control/housekeeping.h"

#include <map>

#include "api/trust_config.h"
#include "api/usage/usage.h"
#include "base/log.h"
#include "reactor/sync.h"

namespace kedge::control {

namespace {

// Deletes come in groups: what is missing is looked for once. kube-apiserver looks every ten seconds and more.
constexpr auto gather_time = std::chrono::seconds(1);
constexpr auto retry_time = std::chrono::seconds(10);

const api::resource_id definitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};
const api::resource_id api_services{"apiregistration.k8s.io", "v1", "apiservices"};
constexpr std::string_view managed_label = "kube-aggregator.kubernetes.io/automanaged";
// kube-apiserver's for custom resources: behind all groups of its own.
constexpr int group_priority = 1000, version_priority = 100;

// Calls `look` at the start and whenever an event of the prefixes says so, and again after a while when it fails.
task<void> look_after(context& c, std::vector<std::string> prefixes, std::function<bool(const store::event&)> matters,
                      std::function<task<result<void>>()> look) {
  reactor::event wanted;
  reactor::scope following;
  for (auto& prefix : prefixes)
    following.spawn(follow(c.objects.objects_store(), std::move(prefix), [&](const store::event& e) {
      if (matters(e)) wanted.set();
    }));
  for (;;) {
    co_await wanted.wait();
    co_await reactor::sleep_for(gather_time);
    wanted.reset();
    auto done = co_await look();
    if (done) continue;
    log::debug("housekeeping: {}; trying again", done.error().message);
    co_await reactor::sleep_for(retry_time);
    wanted.set();
  }
}

task<void> keep_objects(context& c, std::function<task<result<void>>()> ensure_objects) {
  auto& o = c.objects;
  std::vector<std::string> prefixes = {o.prefix({"", "v1", "namespaces"}),
                                       o.prefix({"", "v1", "services"}, "default"),
                                       o.prefix({"", "v1", "configmaps"}, "kube-system"),
                                       o.prefix({"networking.k8s.io", "v1", "servicecidrs"}),
                                       o.prefix({"flowcontrol.apiserver.k8s.io", "v1", "flowschemas"}),
                                       o.prefix({"flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations"})};
  co_await look_after(
      c, std::move(prefixes),
      [](const store::event& e) {
        // Of all others only that they are there is kept.
        return e.type == store::event_type::deleted || e.object->key().ends_with(api::trust_config_name);
      },
      std::move(ensure_objects));
}

// Of a group and version that this server answers for itself, as kube-apiserver registers them.
json::value local_service(std::string_view group, std::string_view version, int of_group, int of_version) {
  json::object spec{
      {"group", group}, {"version", version}, {"groupPriorityMinimum", of_group}, {"versionPriority", of_version}};
  json::object metadata{{"name", std::string(version) + "." + std::string(group)},
                        {"labels", json::object{{std::string(managed_label), "true"}}}};
  return json::object{{"apiVersion", "apiregistration.k8s.io/v1"},
                      {"kind", "APIService"},
                      {"metadata", std::move(metadata)},
                      {"spec", std::move(spec)}};
}

// The groups and versions of custom resources and of what nodes use, by the names of their API services.
std::map<std::string, json::value> wanted_services(const context& c) {
  std::map<std::string, json::value> out;
  auto want = [&](json::value service) {
    auto name = std::string(service["metadata"]["name"].as_string());
    out.insert_or_assign(std::move(name), std::move(service));
  };
  if (c.serves_usage)
    want(local_service(api::usage_group, api::usage_version, api::usage_group_priority, api::usage_version_priority));
  for (auto& d : c.objects.list(definitions)) {
    auto group = d["spec"]["group"].as_string();
    auto& versions = d["spec"]["versions"];
    for (std::size_t i = 0; i < versions.size(); ++i) {
      if (!versions[i]["served"].as_bool()) continue;
      want(local_service(group, versions[i]["name"].as_string(), group_priority, version_priority));
    }
  }
  return out;
}

json::value available(wall_time now) {
  return json::object{{"conditions", json::array{json::object{{"type", "Available"},
                                                              {"status", "True"},
                                                              {"lastTransitionTime", format_rfc3339(now)},
                                                              {"reason", "Local"},
                                                              {"message", "Local APIServices are always available"}}}}};
}

bool by_another(const api::status& s) { return s.code == 409 || s.code == 404; }

// One that somebody made for such a group by hand, with another server behind it, stays. And so does, after the `first`
// look, that of what nodes use: the servers needn't agree on whether they serve it, and would undo each other's work.
task<result<void>> register_services(context& c, bool first) {
  auto wanted = wanted_services(c);
  for (auto& now : c.objects.list(api_services)) {
    auto name = std::string(now["metadata"]["name"].as_string());
    const bool managed =
        now["metadata"]["labels"][managed_label].as_string() == "true" && !now["spec"]["service"].is_object();
    if (wanted.erase(name) > 0 || !managed) continue;
    if (!first && now["spec"]["group"].as_string() == api::usage_group) continue;
    auto gone = co_await c.objects.remove(
        api_services, "", name, {.resource_version = std::string(now["metadata"]["resourceVersion"].as_string())});
    if (!gone && !by_another(gone.error()))
      co_return fail(errc::internal, "API service " + name + ": " + gone.error().message);
  }
  for (auto& [name, object] : wanted) {
    auto made = co_await c.objects.create(api_services, "", object);
    if (made) {
      made->set("status", available(reactor::loop::current().wall_now()));
      made = co_await c.objects.update(api_services, "", *std::move(made), "status");
    }
    if (!made && !by_another(made.error()))
      co_return fail(errc::internal, "API service " + name + ": " + made.error().message);
  }
  co_return result<void>();
}

task<void> keep_api_services(context& c) {
  co_await look_after(
      c, {c.objects.prefix(definitions), c.objects.prefix(api_services)}, [](const store::event&) { return true; },
      [&c, first = true]() mutable { return register_services(c, std::exchange(first, false)); });
}

}  // namespace

task<void> run_housekeeping(context& c, std::function<task<result<void>>()> ensure_objects) {
  reactor::scope all;
  all.spawn(run_custom_resources(c));
  all.spawn(run_flow_schemas(c));
  all.spawn(run_service_allocations(c));
  all.spawn(keep_api_services(c));
  all.spawn(keep_objects(c, std::move(ensure_objects)));
  co_await all.join();
}

}  // namespace kedge::control
