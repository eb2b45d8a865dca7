#include "api/aggregation/services.h"

#include <algorithm>

#include "api/aggregation/limits.h"
#include "api/registry/registry.h"
#include "base/strings.h"
#include "json/parse.h"
#include "reactor/loop.h"

namespace kedge::api::aggregation {

const std::string& api_services_prefix() {
  static const auto& prefix = builtin_registry().find("apiregistration.k8s.io", "v1", "apiservices")->key_prefix;
  return prefix;
}

bool api_service::leads_as(const api_service& other) const noexcept {
  return service_namespace == other.service_namespace && service_name == other.service_name && port == other.port &&
         ca_pem == other.ca_pem && insecure == other.insecure;
}

std::optional<api_service> parse_api_service(const json::value& object) {
  auto &spec = object["spec"], &service = spec["service"];
  if (!service.is_object()) return std::nullopt;
  api_service out{.name = std::string(object["metadata"]["name"].as_string()),
                  .group = std::string(spec["group"].as_string()),
                  .version = std::string(spec["version"].as_string()),
                  .service_namespace = std::string(service["namespace"].as_string()),
                  .service_name = std::string(service["name"].as_string()),
                  .port = static_cast<std::uint16_t>(service["port"].as_integer(443)),
                  .ca_pem = unbase64(spec["caBundle"].as_string()).value_or(std::string()),
                  .insecure = spec["insecureSkipTLSVerify"].as_bool(),
                  .group_priority = spec["groupPriorityMinimum"].as_integer(),
                  .version_priority = spec["versionPriority"].as_integer()};
  if (out.group.empty() || out.group == "apiregistration.k8s.io") return std::nullopt;
  auto& conditions = object["status"]["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    if (conditions[i]["type"].as_string() == "Available") out.available = conditions[i]["status"].as_string() == "True";
  return out;
}

service_table::service_table(std::vector<api_service_ref> all) : all_(std::move(all)) {}

api_service_ref service_table::find(std::string_view group, std::string_view version) const noexcept {
  for (auto& s : all_)
    if (s->group == group && s->version == version) return s;
  return nullptr;
}

api_service_ref service_table::find_name(std::string_view name) const noexcept {
  auto at = std::ranges::lower_bound(all_, name, {}, [](auto& s) -> std::string_view { return s->name; });
  return at == all_.end() || (*at)->name != name ? nullptr : *at;
}

api_service_ref service_table::at_path(std::string_view path) const noexcept {
  constexpr std::string_view root = "/apis/";
  if (all_.empty() || !path.starts_with(root)) return nullptr;
  path.remove_prefix(root.size());
  const auto group_end = path.find('/');
  if (group_end == path.npos) return nullptr;
  const auto version_end = path.find('/', group_end + 1);
  return find(path.substr(0, group_end),
              path.substr(group_end + 1, version_end == path.npos ? version_end : version_end - group_end - 1));
}

void services::refresh() {
  std::map<std::string, known, std::less<>> seen;
  bool changed = false;
  store_.current().scan(api_services_prefix(), {}, [&](const store::object_ref& o) {
    auto name = std::string(o->key().substr(api_services_prefix().size()));
    auto before = known_.find(name);
    if (before != known_.end() && before->second.source->mod() == o->mod()) {
      seen.emplace(std::move(name), before->second);
      return true;
    }
    known entry{.source = o, .service = nullptr};
    // What this server answers itself isn't looked at any closer.
    if (o->bytes().find("\"service\"") != std::string_view::npos)
      if (auto value = json::parse(o->bytes()))
        if (auto service = parse_api_service(*value))
          entry.service = std::make_shared<const api_service>(*std::move(service));
    const auto& was = before == known_.end() ? nullptr : before->second.service;
    if (was && entry.service && *was == *entry.service) entry.service = was;
    changed = changed || was != entry.service;
    seen.emplace(std::move(name), std::move(entry));
    return true;
  });
  for (auto& [name, before] : known_) changed = changed || (before.service && !seen.contains(name));
  known_ = std::move(seen);
  if (!changed) return;
  std::vector<api_service_ref> all;
  for (auto& [name, k] : known_)
    if (k.service && all.size() < services_max) all.push_back(k.service);
  now_ = std::make_shared<const service_table>(std::move(all));
  changed_.pulse();
}

task<void> services::keep() {
  for (;;) {
    auto source = store_.watch(api_services_prefix(), store_.current().at());
    if (source) {
      refresh();
      while (co_await (*source)->next()) refresh();
    }
    co_await reactor::sleep_for(restart_pause);
  }
}

}  // namespace kedge::api::aggregation
