#include "api/kinds/core/pod_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "api/kinds/core/affinity.h"
#include "api/kinds/core/containers.h"
#include "api/kinds/core/pod_resources.h"
#include "api/kinds/core/resources.h"
#include "api/kinds/core/security.h"
#include "api/kinds/core/volumes.h"
#include "base/strings.h"
#include "json/parse.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

name_set check_resource_claims(causes& out, const json::value& spec, const json::value& metadata, const place& at) {
  name_set names;
  auto& claims = spec["resourceClaims"];
  for (std::size_t i = 0; i < claims.size(); ++i) {
    auto& c = claims[i];
    const place here(at, "resourceClaims", i);
    if (metadata["annotations"].find(mirror_annotation)) {
      out.push_back(forbidden_value("[]", "static pods do not support resource claims"));
      continue;
    }
    auto name = c["name"].as_string();
    if (name.empty())
      out.push_back(required(place(here, "name")));
    else if (!names.insert(name).second)
      out.push_back(duplicate_value(place(here, "name"), name));
    else
      add_problems(out, place(here, "name"), name, check_dns1123_label(name));
    auto &claim = c["resourceClaimName"], &of_template = c["resourceClaimTemplateName"];
    if (!claim.is_null() && !of_template.is_null())
      out.push_back(
          invalid_value(here, internal_form("core/v1.PodResourceClaim", c),
                        "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"));
    if (claim.is_null() && of_template.is_null())
      out.push_back(invalid_value(here, internal_form("core/v1.PodResourceClaim", c),
                                  "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"));
    for (auto member : {"resourceClaimName", "resourceClaimTemplateName"})
      if (!c[member].is_null())
        add_problems(out, place(here, member), c[member], check_dns1123_subdomain(c[member].as_string()));
  }
  return names;
}

// What containers ask for together must fit into what the pod asks for.
void check_pod_amounts(causes& out, const json::value& spec, const place& at) {
  auto& own = spec["resources"];
  auto requests = amounts_of_containers(spec, "requests");
  for (auto& [name, sum] : requests) {
    auto of_pod = own["requests"].find(name);
    if (!of_pod) continue;
    if (auto q = pod::amount_of(*of_pod); q < sum)
      out.push_back(invalid_value(
          place::of_key(at, "requests", name), q.text(),
          fmt::format("must be greater than or equal to aggregate container requests of {}", sum.text())));
  }
  for (auto& [name, sum] : amounts_of_containers(spec, "limits")) {
    auto of_pod = own["limits"].find(name);
    if (!of_pod || !is_huge_page(name)) continue;
    if (auto q = pod::amount_of(*of_pod); q < sum)
      out.push_back(
          invalid_value(place::of_key(at, "limits", name), q.text(),
                        fmt::format("must be greater than or equal to aggregate container limits of {}", sum.text())));
  }
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) {
    const place here(at, "containers", i);
    auto limits = spec["containers"][i]["resources"]["limits"].object();
    if (!limits) continue;
    for (auto& m : *limits) {
      auto of_pod = own["limits"].find(m.name);
      if (!of_pod) continue;
      auto q = pod::amount_of(m.value), most = pod::amount_of(*of_pod);
      const place of_resource = place::of_key(here, m.name);
      if (most < q)
        out.push_back(invalid_value(place(of_resource, "limits"), q.text(),
                                    fmt::format("must be less than or equal to pod limits of {}", most.text())));
    }
  }
}

void check_pod_resources(causes& out, const json::value& spec, const place& at, const name_set& claims,
                         const pod_options& options) {
  if (!spec["resources"].is_object()) return;
  const place here(at, "resources");
  if (spec["os"]["name"].as_string() == "windows")
    return out.push_back(forbidden_value(here, "may not be set for a windows pod"));
  if (!spec["resources"]["claims"].is_null())
    out.push_back(forbidden_value(place(here, "claims"), "claims may not be set for Resources at pod-level"));
  check_requirements(out, spec["resources"], here,
                     {.of_pod = true, .indivisible_huge_pages = options.indivisible_huge_pages, .claims = &claims});
  check_pod_amounts(out, spec, here);
}

void check_host_network(causes& out, const json::value& spec, const place& at, bool is_pod) {
  if (!spec["hostNetwork"].as_bool()) return;
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) {
    auto& ports = spec["containers"][i]["ports"];
    const place here(at, "containers", i);
    for (std::size_t j = 0; j < ports.size(); ++j) {
      auto host = ports[j]["hostPort"].as_integer();
      const place of_port(here, "ports", j);
      if ((is_pod || host != 0) && host != ports[j]["containerPort"].as_integer())
        out.push_back(
            invalid_value(place(of_port, "hostPort"), host, "must match `containerPort` when `hostNetwork` is true"));
    }
  }
}

problems check_search_domain(std::string_view name) {
  constexpr std::size_t name_max = 253;
  problems out;
  if (name.size() > name_max) out.push_back(fmt::format("must be no more than {} characters", name_max));
  auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  bool good = true;
  for (auto part : split(name, '.')) {
    if (part.starts_with('_')) part.remove_prefix(1);
    good = good && !part.empty() && alnum(part.front()) && alnum(part.back());
    good = good && std::all_of(part.begin(), part.end(), [&](char c) { return alnum(c) || c == '-' || c == '_'; });
  }
  if (!good)
    out.emplace_back(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must "
        "start and end with an "
        "alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')");
  return out;
}

void check_dns(causes& out, const json::value& spec, const place& at) {
  constexpr std::size_t servers_max = 3, searches_max = 32, search_text_max = 2048;
  auto& dns = spec["dnsConfig"];
  const place here(at, "dnsConfig");
  if (spec["dnsPolicy"].as_string() == "None") {
    if (!dns.is_object()) return out.push_back(required(here, "must provide `dnsConfig` when `dnsPolicy` is None"));
    if (dns["nameservers"].empty())
      return out.push_back(
          required(place(here, "nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None"));
  }
  if (!dns.is_object()) return;
  auto &servers = dns["nameservers"], &searches = dns["searches"];
  if (servers.size() > servers_max)
    out.push_back(invalid_value(place(here, "nameservers"), servers, "must not have more than 3 nameservers"));
  for (std::size_t i = 0; i < servers.size(); ++i)
    add_problems(out, place(here, "nameservers", i), servers[i], check_ip(servers[i].as_string()));
  if (searches.size() > searches_max)
    out.push_back(invalid_value(place(here, "searches"), searches, "must not have more than 32 search paths"));
  std::size_t length = searches.empty() ? 0 : searches.size() - 1;
  for (std::size_t i = 0; i < searches.size(); ++i) length += searches[i].as_string().size();
  if (length > search_text_max)
    out.push_back(invalid_value(place(here, "searches"), searches,
                                "must not have more than 2048 characters (including spaces) in the search list"));
  for (std::size_t i = 0; i < searches.size(); ++i) {
    auto name = searches[i].as_string();
    if (name == ".") continue;
    if (name.ends_with('.')) name.remove_suffix(1);
    add_problems(out, place(here, "searches", i), name, check_search_domain(name));
  }
  for (std::size_t i = 0; i < dns["options"].size(); ++i)
    if (dns["options"][i]["name"].as_string().empty())
      out.push_back(required(place(here, "options", i), "must not be empty"));
}

void check_gates(causes& out, const json::value& spec, const place& at) {
  auto &ready = spec["readinessGates"], &gates = spec["schedulingGates"];
  for (std::size_t i = 0; i < ready.size(); ++i) {
    const place here(at, "readinessGates", i);
    auto type = ready[i]["conditionType"].as_string();
    add_problems(out, place(here, "conditionType"), type, check_qualified_name(type));
  }
  name_set seen;
  for (std::size_t i = 0; i < gates.size(); ++i) {
    const place here(at, "schedulingGates", i);
    auto name = gates[i]["name"].as_string();
    add_problems(out, here, name, check_qualified_name(name));
    if (!seen.insert(name).second) out.push_back(duplicate_value(here, name));
  }
}

void check_host_users(causes& out, const json::value& spec, const place& at, const pod_options& options) {
  if (spec["hostUsers"].as_bool(true)) return;
  constexpr std::string_view why = "when `hostUsers` is false";
  if (spec["hostNetwork"].as_bool() && !options.host_network_without_host_users)
    out.push_back(forbidden_value(place(at, "hostNetwork"), why));
  if (spec["hostPID"].as_bool()) out.push_back(forbidden_value(place(at, "HostPID"), why));
  if (spec["hostIPC"].as_bool()) out.push_back(forbidden_value(place(at, "HostIPC"), why));
  if (options.devices_without_host_users) return;
  for_each_container(spec, at, [&](const json::value& c, const place& here) {
    if (!c["volumeDevices"].empty()) out.push_back(forbidden_value(place(here, "volumeDevices"), why));
  });
}

void check_hostname_override(causes& out, const json::value& spec, const place& at) {
  constexpr std::size_t name_max = 64;
  auto& name = spec["hostnameOverride"];
  if (name.is_null()) return;
  const place here(at, "hostnameOverride");
  if (spec["setHostnameAsFQDN"].as_bool())
    out.push_back(forbidden_value(here, "may not be specified when setHostnameAsFQDN is true"));
  if (spec["hostNetwork"].as_bool())
    out.push_back(forbidden_value(here, "may not be specified when hostNetwork is true"));
  if (name.as_string().size() > name_max) out.push_back(too_long(here, name_max));
  add_problems(out, here, name, check_dns1123_subdomain(name.as_string()));
}

void check_host_aliases(causes& out, const json::value& list, const place& at) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto ip = list[i]["ip"].as_string();
    add_problems(out, place(here, "ip"), ip, check_ip(ip));
    for (std::size_t j = 0; j < list[i]["hostnames"].size(); ++j)
      add_problems(out, place(here, "hostnames", j), list[i]["hostnames"][j],
                   check_dns1123_subdomain(list[i]["hostnames"][j].as_string()));
  }
}

void check_names(causes& out, const json::value& spec, const place& at) {
  auto judge = [&](const char* member, name_check rule) {
    if (auto name = spec[member].as_string(); !name.empty()) add_problems(out, place(at, member), name, rule(name));
  };
  judge("serviceAccountName", check_dns1123_subdomain);
  if (auto old = spec["serviceAccount"].as_string(), name = spec["serviceAccountName"].as_string(); old != name)
    out.push_back(invalid_value(place(at, "deprecatedServiceAccount"), old,
                                fmt::format("must be the same as serviceAccountName: {}", quote(name))));
  judge("nodeName", check_dns1123_subdomain);
  if (auto& d = spec["activeDeadlineSeconds"]; d.is_integer() && (d.as_integer() < 1 || d.as_integer() > INT32_MAX))
    out.push_back(invalid_value(place(at, "activeDeadlineSeconds"), d, "must be between 1 and 2147483647, inclusive"));
  judge("hostname", check_dns1123_label);
  judge("subdomain", check_dns1123_label);
}

void check_file_key_refs(causes& out, const json::value& spec, const place& at) {
  std::unordered_map<std::string_view, const json::value*> volumes;
  for (std::size_t i = 0; i < spec["volumes"].size(); ++i)
    volumes.insert_or_assign(spec["volumes"][i]["name"].as_string(), &spec["volumes"][i]);
  for_each_container(spec, at, [&](const json::value& c, const place& here) {
    for (std::size_t i = 0; i < c["env"].size(); ++i) {
      auto& ref = c["env"][i]["valueFrom"]["fileKeyRef"];
      if (!ref.is_object()) continue;
      const place of_var(here, "env", i);
      auto name = ref["volumeName"].as_string();
      auto volume = volumes.find(name);
      if (volume == volumes.end())
        out.push_back(not_found_value(place(of_var, "valueFrom.fileKeyRef.volumeName"), name));
      else if (!(*volume->second)["emptyDir"].is_object())
        out.push_back(invalid_value(place(of_var, "valueFrom.fileKeyRef.volumeName"), name,
                                    "referenced volume must be of type emptyDir"));
    }
  });
}

void check_toleration_annotation(causes& out, const json::value& annotations, const place& at,
                                 const pod_options& options) {
  constexpr std::string_view key = "scheduler.alpha.kubernetes.io/tolerations";
  auto text = annotations[key].as_string();
  if (text.empty()) return;
  auto list = json::parse(text);
  if (!list || !list->is_array())
    return out.push_back(
        invalid_value(at, key, list ? "json: cannot unmarshal into []core.Toleration" : list.error().message));
  check_tolerations(out, *list, place(at, key), options);
}

}  // namespace

void check_deletion_cost(causes& out, const json::value& annotations, const place& at) {
  constexpr std::string_view key = "controller.kubernetes.io/pod-deletion-cost";
  auto cost = annotations.find(key);
  if (!cost) return;
  auto text = cost->as_string();
  const bool canonical = text == "0" || (!text.empty() && (text[0] == '-' || (text[0] >= '1' && text[0] <= '9')));
  auto n = canonical ? parse_int(text) : std::nullopt;
  if (!n || *n < INT32_MIN || *n > INT32_MAX)
    out.push_back(invalid_value(place::of_key(at, key), text, "must be a 32bit integer"));
}

void check_pod_annotations(causes& out, const json::value& annotations, const json::value& spec, const place& at,
                           const pod_options& options) {
  if (annotations.empty()) return;
  if (auto mirror = annotations.find(mirror_annotation); mirror && spec["nodeName"].as_string().empty())
    out.push_back(invalid_value(place::of_key(at, mirror_annotation), *mirror,
                                "must set spec.nodeName if mirror pod annotation is set"));
  check_toleration_annotation(out, annotations, at, options);
  if (!options.any_deletion_cost) check_deletion_cost(out, annotations, at);
  check_security_annotations(out, annotations, spec, at);
}

void check_pod_spec(causes& out, const json::value& spec, const json::value& metadata, const place& at,
                    const pod_options& options) {
  if (spec["terminationGracePeriodSeconds"].is_null())
    out.push_back(required(place(at, "terminationGracePeriodSeconds")));
  auto volumes = check_volumes(out, spec["volumes"], place(at, "volumes"), metadata["name"].as_string(), options);
  auto claims = check_resource_claims(out, spec, metadata, at);
  const container_context containers{spec, volumes, claims, options};
  check_containers(out, containers, at);
  check_init_containers(out, containers, at);
  check_ephemeral_containers(out, containers, at);
  check_pod_resources(out, spec, at, claims, options);
  check_host_network(out, spec, at, options.is_pod);
  one_of_needed(out, spec, at, "restartPolicy", {"Always", "OnFailure", "Never"});
  one_of_needed(out, spec, at, "dnsPolicy", {"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"});
  check_labels(out, spec["nodeSelector"], place(at, "nodeSelector"));
  check_pod_security_context(out, spec, at, options);
  if (spec["hostPID"].as_bool() && spec["shareProcessNamespace"].as_bool())
    out.push_back(invalid_value(place(at, "shareProcessNamespace"), true,
                                "ShareProcessNamespace and HostPID cannot both be enabled"));
  check_affinity(out, spec["affinity"], place(at, "affinity"), options);
  check_dns(out, spec, at);
  check_gates(out, spec, at);
  check_spread(out, spec["topologySpreadConstraints"], place(at, "topologySpreadConstraints"), options);
  check_host_processes(out, spec, at);
  check_host_users(out, spec, at, options);
  check_hostname_override(out, spec, at);
  check_names(out, spec, at);
  check_tolerations(out, spec["tolerations"], place(at, "tolerations"), options);
  check_host_aliases(out, spec["hostAliases"], place(at, "hostAliases"));
  if (auto name = spec["priorityClassName"].as_string(); !name.empty())
    add_problems(out, place(at, "priorityClassName"), name, check_dns1123_subdomain(name));
  if (auto& name = spec["runtimeClassName"]; !name.is_null())
    add_problems(out, place(at, "runtimeClassName"), name, check_dns1123_subdomain(name.as_string()));
  if (!spec["preemptionPolicy"].is_null())
    one_of_needed(out, spec, at, "preemptionPolicy", {"PreemptLowerPriority", "Never"});
  if (spec["overhead"].is_object())
    check_requirements(out, json::object{{"limits", spec["overhead"]}}, place(at, "overhead"),
                       {.indivisible_huge_pages = options.indivisible_huge_pages});
  check_os(out, spec, at);
  check_file_key_refs(out, spec, at);
}

void check_pod_template(causes& out, const json::value& t, const place& at, const pod_options& options) {
  auto &annotations = t["metadata"]["annotations"], &spec = t["spec"];
  check_labels(out, t["metadata"]["labels"], place(at, "labels"));
  check_annotations(out, annotations, place(at, "annotations"));
  check_pod_annotations(out, annotations, spec, place(at, "annotations"), options);
  const place of_spec(at, "spec");
  check_pod_spec(out, spec, nullptr, of_spec, options);
  check_seccomp_agrees(out, annotations, spec, of_spec);
  check_apparmor_agrees(out, annotations, spec, of_spec);
  if (!spec["ephemeralContainers"].empty())
    out.push_back(
        forbidden_value(place(of_spec, "ephemeralContainers"), "ephemeral containers not allowed in pod template"));
}

pod_options template_options(const json::value& old) { return options_by(old["spec"], old["metadata"]["annotations"]); }

std::string_view quality_of_service(const json::value& spec) {
  bool any = false, guaranteed = true;
  auto count = [&](const json::value& r) {
    for (auto name : {"cpu", "memory"}) {
      auto request = schema::quantity::parse(r["requests"][name].as_string()),
           limit = schema::quantity::parse(r["limits"][name].as_string());
      const bool has_request = request && !request->is_zero(), has_limit = limit && !limit->is_zero();
      any = any || has_request || has_limit;
      guaranteed = guaranteed && has_limit && (!has_request || *request == *limit);
    }
  };
  if (has_pod_resources(spec)) {
    count(spec["resources"]);
  } else {
    for (auto list : {"containers", "initContainers"})
      for (std::size_t i = 0; i < spec[list].size(); ++i) count(spec[list][i]["resources"]);
  }
  if (!any) return "BestEffort";
  return guaranteed ? "Guaranteed" : "Burstable";
}

}  // namespace kedge::api
