// environment.cc: env and envFrom of a container, and the references to a pod's own fields, which volumes have as well.
#include <algorithm>
#include <string>

#include "api/kinds/core/containers.h"
#include "api/kinds/core/volumes.h"
#include "base/strings.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr std::string_view env_fields[] = {
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs",     "status.podIP", "status.podIPs"};
constexpr std::string_view volume_fields[] = {"metadata.annotations", "metadata.labels", "metadata.name",
                                              "metadata.namespace", "metadata.uid"};
// Every field that the API knows; of them, where a value is wanted, only those above can be had.
constexpr std::string_view known_fields[] = {
    "metadata.annotations", "metadata.labels",    "metadata.name",      "metadata.namespace", "metadata.uid",
    "spec.nodeName",        "spec.restartPolicy", "spec.schedulerName", "status.phase",       "spec.serviceAccountName",
    "status.hostIP",        "status.hostIPs",     "status.podIP",       "status.podIPs"};
constexpr std::string_view container_resources[] = {"limits.cpu",   "limits.ephemeral-storage",   "limits.memory",
                                                    "requests.cpu", "requests.ephemeral-storage", "requests.memory"};

template <std::size_t N>
bool has(const std::string_view (&list)[N], std::string_view text) noexcept {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

template <std::size_t N>
std::vector<std::string> all(const std::string_view (&list)[N]) {
  return {std::begin(list), std::end(list)};
}

struct subscripted {
  std::string_view path, key;
  bool is = false;
};

// metadata.labels['app']
subscripted split_subscript(std::string_view text) noexcept {
  auto open = text.find("['");
  if (!text.ends_with("']") || open == text.npos || open == 0) return {text, {}, false};
  return {text.substr(0, open), text.substr(open + 2, text.size() - open - 4), true};
}

// Why such a field can't be had; empty when it can. `path`: as it is called today.
std::string wrong_field(std::string_view version, std::string_view& path) {
  if (version != "v1") return "unsupported pod version: " + std::string(version);
  if (auto s = split_subscript(path); s.is) {
    if (s.path == "metadata.annotations" || s.path == "metadata.labels") return {};
    return "field label does not support subscript: " + std::string(path);
  }
  if (path == "spec.host") path = "spec.nodeName";
  return has(known_fields, path) ? std::string() : "field label not supported: " + std::string(path);
}

void check_divisor(causes& out, std::string_view resource, const json::value& divisor, const place& at) {
  auto q = schema::quantity::parse(divisor.as_string());
  if (!q || q->is_zero()) return;
  constexpr std::string_view sizes[] = {"1",   "1k",  "1M",  "1G",  "1T",  "1P", "1E",
                                        "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"};
  auto dot = resource.find('.');
  auto name = dot == resource.npos ? std::string_view() : resource.substr(dot + 1);
  const bool bounded = resource.starts_with("limits.") || resource.starts_with("requests.");
  if (!bounded) return;
  const auto text = q->text();
  if (name == "cpu") {
    if (text != "1m" && text != "1")
      out.push_back(invalid_value(place(at, "divisor"), resource,
                                  "only divisor's values 1m and 1 are supported with the cpu resource"));
    return;
  }
  std::string_view what = name == "memory"                 ? "memory"
                          : name == "ephemeral-storage"    ? "local ephemeral storage"
                          : name.starts_with("hugepages-") ? "hugepages"
                                                           : "";
  if (!what.empty() && !has(sizes, text))
    out.push_back(invalid_value(
        place(at, "divisor"), resource,
        "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the " +
            std::string(what) + " resource"));
}

void check_key_ref(causes& out, const json::value& ref, const place& at) {
  auto name = ref["name"].as_string();
  add_problems(out, place(at, "name"), name, check_dns1123_subdomain(name));
  if (need(out, ref, at, "key"))
    add_problems(out, place(at, "key"), ref["key"], check_config_map_key(ref["key"].as_string()));
}

void check_file_ref(causes& out, const json::value& ref, const place& at) {
  if (need(out, ref, at, "key"))
    add_problems(out, place(at, "key"), ref["key"], check_env_var_name(ref["key"].as_string()));
  if (need(out, ref, at, "volumeName"))
    add_problems(out, place(at, "volumeName"), ref["volumeName"], check_dns1123_label(ref["volumeName"].as_string()));
  if (need(out, ref, at, "path")) check_no_steps_back(out, ref["path"].as_string(), place(at, "path"));
}

void check_value_from(causes& out, const json::value& var, const place& at) {
  auto& from = var["valueFrom"];
  if (!from.is_object()) return;
  int sources = 0;
  auto has_source = [&](std::string_view member) { return from[member].is_object() && ++sources; };
  if (has_source("fieldRef")) check_field_ref(out, from["fieldRef"], place(at, "fieldRef"), false);
  if (has_source("resourceFieldRef"))
    check_resource_field_ref(out, from["resourceFieldRef"], place(at, "resourceFieldRef"), false);
  for (auto member : {"configMapKeyRef", "secretKeyRef"})
    if (has_source(member)) check_key_ref(out, from[member], place(at, member));
  if (has_source("fileKeyRef")) check_file_ref(out, from["fileKeyRef"], place(at, "fileKeyRef"));
  if (sources == 0)
    out.push_back(invalid_value(
        at, "",
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"));
  else if (!var["value"].as_string().empty())
    out.push_back(invalid_value(at, "", "may not be specified when `value` is not empty"));
  else if (sources > 1)
    out.push_back(invalid_value(at, "", "may not have more than one field specified at a time"));
}

}  // namespace

void check_field_ref(causes& out, const json::value& ref, const place& at, bool in_volume) {
  if (!need(out, ref, at, "apiVersion") || !need(out, ref, at, "fieldPath")) return;
  auto path = ref["fieldPath"].as_string();
  if (auto wrong = wrong_field(ref["apiVersion"].as_string(), path); !wrong.empty())
    return out.push_back(invalid_value(place(at, "fieldPath"), path, "error converting fieldPath: " + wrong));
  if (auto s = split_subscript(path); s.is) {
    auto key = s.path == "metadata.annotations" ? lower(s.key) : std::string(s.key);
    return add_problems(out, at, key, check_qualified_name(key));
  }
  if (in_volume ? !has(volume_fields, path) : !has(env_fields, path))
    out.push_back(not_supported(place(at, "fieldPath"), path, in_volume ? all(volume_fields) : all(env_fields)));
}

void check_resource_field_ref(causes& out, const json::value& ref, const place& at, bool in_volume) {
  auto resource = ref["resource"].as_string();
  if (in_volume && ref["containerName"].as_string().empty())
    out.push_back(required(place(at, "containerName")));
  else if (resource.empty())
    out.push_back(required(place(at, "resource")));
  else if (!has(container_resources, resource) && !resource.starts_with("limits.hugepages-") &&
           !resource.starts_with("requests.hugepages-"))
    out.push_back(not_supported(place(at, "resource"), resource, all(container_resources)));
  check_divisor(out, resource, ref["divisor"], at);
}

void check_environment(causes& out, const json::value& c, const place& at) {
  auto& env = c["env"];
  for (std::size_t i = 0; i < env.size(); ++i) {
    const place here(at, "env", i);
    if (need(out, env[i], here, "name"))
      add_problems(out, place(here, "name"), env[i]["name"], check_env_var_name(env[i]["name"].as_string()));
    check_value_from(out, env[i], place(here, "valueFrom"));
  }
  auto& from = c["envFrom"];
  const place list(at, "envFrom");
  for (std::size_t i = 0; i < from.size(); ++i) {
    const place here(list, i);
    if (auto prefix = from[i]["prefix"].as_string(); !prefix.empty())
      add_problems(out, place(here, "prefix"), prefix, check_env_var_name(prefix));
    int sources = 0;
    for (auto member : {"configMapRef", "secretRef"}) {
      auto& ref = from[i][member];
      if (!ref.is_object()) continue;
      ++sources;
      const place of_ref(here, member);
      auto name = std::string(ref["name"].as_string());
      if (!need(out, ref, of_ref, "name")) continue;
      // Judged as if more followed: a dash at its end is good.
      auto judged = name.size() > 1 && name.ends_with('-') ? name.substr(0, name.size() - 2) + "a" : name;
      add_problems(out, place(of_ref, "name"), name, check_dns1123_subdomain(judged));
    }
    if (sources == 0) out.push_back(invalid_value(list, "", "must specify one of: `configMapRef` or `secretRef`"));
    if (sources > 1) out.push_back(invalid_value(list, "", "may not have more than one field specified at a time"));
  }
}

}  // namespace kedge::api
