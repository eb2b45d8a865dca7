#include "api/kinds/core/pod_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/selector.h"
#include "base/strings.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

using names = std::set<std::string, std::less<>>;

void check_resource_list(causes& out, const json::value& list, const std::string& path) {
  auto map = list.object();
  if (!map) return;
  for (auto& m : *map) {
    auto field = at_key(path, m.name);
    add_problems(out, field, m.name, check_qualified_name(m.name));
    if (m.name.find('/') == std::string::npos && m.name != "cpu" && m.name != "memory" && m.name != "ephemeral-storage" && !m.name.starts_with("hugepages-"))
      out.push_back(invalid_value(field, m.name, "must be a standard resource for containers"));
    check_quantity(out, m.value, field);
  }
}

void check_resources(causes& out, const json::value& r, const std::string& path) {
  check_resource_list(out, r["limits"], path + ".limits");
  check_resource_list(out, r["requests"], path + ".requests");
  auto requests = r["requests"].object();
  if (!requests) return;
  for (auto& m : *requests) {
    auto limit = r["limits"].find(m.name);
    if (!limit) continue;
    auto q = schema::quantity::parse(m.value.as_string()), l = schema::quantity::parse(limit->as_string());
    if (!q || !l) continue;
    const bool scalar = m.name.find('/') != std::string::npos || m.name.starts_with("hugepages-");
    if (*l < *q)
      out.push_back(invalid_value(path + ".requests", m.value, fmt::format("must be less than or equal to {} limit of {}", m.name, l->text())));
    else if (scalar && !(*l == *q))
      out.push_back(invalid_value(path + ".requests", m.value, fmt::format("must be equal to {} limit of {}", m.name, l->text())));
  }
}

void check_container_ports(causes& out, const json::value& ports, const std::string& path) {
  names seen;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto& p = ports[i];
    auto here = at(path, i);
    if (auto name = p["name"].as_string(); !name.empty()) {
      auto bad = check_port_name(name);
      add_problems(out, here + ".name", name, bad);
      if (bad.empty() && !seen.emplace(name).second) out.push_back(duplicate_value(here + ".name", name));
    }
    if (p["containerPort"].as_integer() == 0)
      out.push_back(required(here + ".containerPort"));
    else
      add_problems(out, here + ".containerPort", p["containerPort"], check_port_number(p["containerPort"].as_integer()));
    if (p["hostPort"].as_integer() != 0) add_problems(out, here + ".hostPort", p["hostPort"], check_port_number(p["hostPort"].as_integer()));
    if (p["protocol"].as_string().empty())
      out.push_back(required(here + ".protocol"));
    else
      one_of(out, p, here, "protocol", {"TCP", "UDP", "SCTP"});
  }
}

void check_env_source(causes& out, const json::value& from, const std::string& path) {
  int count = 0;
  if (auto& f = from["fieldRef"]; f.is_object()) {
    ++count;
    need(out, f, path + ".fieldRef", "apiVersion");
    if (need(out, f, path + ".fieldRef", "fieldPath")) {
      auto p = f["fieldPath"].as_string();
      constexpr std::string_view known[] = {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
                                            "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"};
      const bool keyed = (p.starts_with("metadata.labels['") || p.starts_with("metadata.annotations['")) && p.ends_with("']");
      if (!keyed && std::find(std::begin(known), std::end(known), p) == std::end(known))
        out.push_back(not_supported(path + ".fieldRef.fieldPath", p, {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}));
    }
  }
  if (auto& f = from["resourceFieldRef"]; f.is_object()) {
    ++count;
    need(out, f, path + ".resourceFieldRef", "resource");
  }
  for (auto ref : {"configMapKeyRef", "secretKeyRef"})
    if (auto& f = from[ref]; f.is_object()) {
      ++count;
      need(out, f, under(path, ref), "name");
      if (need(out, f, under(path, ref), "key")) add_problems(out, under(path, ref) + ".key", f["key"], check_config_map_key(f["key"].as_string()));
    }
  if (count == 0) out.push_back(invalid_value(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"));
  if (count > 1) out.push_back(invalid_value(path, "", "may not have more than one field specified at a time"));
}

void check_env(causes& out, const json::value& c, const std::string& path) {
  auto& env = c["env"];
  for (std::size_t i = 0; i < env.size(); ++i) {
    auto here = at(path + ".env", i);
    auto name = env[i]["name"].as_string();
    if (name.empty())
      out.push_back(required(here + ".name"));
    else
      add_problems(out, here + ".name", name, check_env_var_name(name));
    if (!env[i]["valueFrom"].is_object()) continue;
    if (!env[i]["value"].as_string().empty()) out.push_back(invalid_value(here + ".valueFrom", "", "may not be specified when `value` is not empty"));
    check_env_source(out, env[i]["valueFrom"], here + ".valueFrom");
  }
  auto& from = c["envFrom"];
  for (std::size_t i = 0; i < from.size(); ++i) {
    auto here = at(path + ".envFrom", i);
    if (auto prefix = from[i]["prefix"].as_string(); !prefix.empty()) add_problems(out, here + ".prefix", prefix, check_env_var_name(prefix));
    const bool map = from[i]["configMapRef"].is_object(), secret = from[i]["secretRef"].is_object();
    if (map) need(out, from[i]["configMapRef"], here + ".configMapRef", "name");
    if (secret) need(out, from[i]["secretRef"], here + ".secretRef", "name");
    if (!map && !secret) out.push_back(invalid_value(here, "", "must specify one of: `configMapRef` or `secretRef`"));
    if (map && secret) out.push_back(invalid_value(here, "", "may not have more than one field specified at a time"));
  }
}

void check_mounts(causes& out, const json::value& c, const std::string& path, const names& volumes) {
  names paths;
  auto& mounts = c["volumeMounts"];
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    auto here = at(path + ".volumeMounts", i);
    auto& m = mounts[i];
    if (m["name"].as_string().empty())
      out.push_back(required(here + ".name"));
    else if (!volumes.contains(m["name"].as_string()))
      out.push_back(not_found_value(here + ".name", m["name"]));
    if (need(out, m, here, "mountPath") && !paths.emplace(m["mountPath"].as_string()).second)
      out.push_back(invalid_value(here + ".mountPath", m["mountPath"], "must be unique"));
    auto sub = m["subPath"].as_string();
    if (sub.starts_with('/')) out.push_back(invalid_value(here + ".subPath", sub, "must be a relative path"));
    for (auto part : split(sub, '/'))
      if (part == "..") out.push_back(invalid_value(here + ".subPath", sub, "must not contain '..'"));
    if (!sub.empty() && !m["subPathExpr"].as_string().empty())
      out.push_back(invalid_value(here + ".subPathExpr", m["subPathExpr"], "subPathExpr and subPath are mutually exclusive"));
    one_of(out, m, here, "mountPropagation", {"Bidirectional", "HostToContainer", "None"});
  }
}

// Probes and lifecycle handlers do the same things.
void check_action(causes& out, const json::value& h, const std::string& path) {
  int count = 0;
  if (auto& e = h["exec"]; e.is_object()) {
    ++count;
    if (e["command"].empty()) out.push_back(required(path + ".exec.command"));
  }
  if (auto& g = h["httpGet"]; g.is_object()) {
    ++count;
    if (g["path"].as_string().empty()) out.push_back(required(path + ".httpGet.path"));
    check_port_or_name(out, g["port"], path + ".httpGet.port");
    one_of(out, g, path + ".httpGet", "scheme", {"HTTP", "HTTPS"});
    for (std::size_t i = 0; i < g["httpHeaders"].size(); ++i)
      if (!is_http_header_name(g["httpHeaders"][i]["name"].as_string()))
        out.push_back(invalid_value(path + ".httpGet.httpHeaders", g["httpHeaders"][i]["name"],
                                    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"));
  }
  if (auto& t = h["tcpSocket"]; t.is_object()) {
    ++count;
    check_port_or_name(out, t["port"], path + ".tcpSocket.port");
  }
  if (auto& g = h["grpc"]; g.is_object()) {
    ++count;
    add_problems(out, path + ".grpc.port", g["port"], check_port_number(g["port"].as_integer()));
  }
  if (h["sleep"].is_object()) ++count;
  if (count == 0) out.push_back(required(path, "must specify a handler type"));
  if (count > 1) out.push_back(forbidden_value(path, "may not specify more than 1 handler type"));
}

void check_probe(causes& out, const json::value& p, const std::string& path, bool only_one_success) {
  if (!p.is_object()) return;
  check_action(out, p, path);
  for (auto name : {"initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"}) not_negative(out, p, path, name);
  if (p["terminationGracePeriodSeconds"].is_integer() && p["terminationGracePeriodSeconds"].as_integer() <= 0)
    out.push_back(invalid_value(path + ".terminationGracePeriodSeconds", p["terminationGracePeriodSeconds"], "must be greater than 0"));
  if (only_one_success && p["successThreshold"].is_integer() && p["successThreshold"].as_integer() != 1)
    out.push_back(invalid_value(path + ".successThreshold", p["successThreshold"], "must be 1"));
}

void check_container(causes& out, const json::value& c, const std::string& path, names& seen, const names& volumes, bool init) {
  auto name = c["name"].as_string();
  if (name.empty()) {
    out.push_back(required(path + ".name"));
  } else {
    add_problems(out, path + ".name", name, check_dns1123_label(name));
    if (!seen.emplace(name).second) out.push_back(duplicate_value(path + ".name", name));
  }
  auto image = c["image"].as_string();
  if (image.empty())
    out.push_back(required(path + ".image"));
  else if (trim(image) != image)
    out.push_back(invalid_value(path + ".image", image, "must not have leading or trailing whitespace"));
  one_of(out, c, path, "imagePullPolicy", {"Always", "IfNotPresent", "Never"});
  one_of(out, c, path, "terminationMessagePolicy", {"FallbackToLogsOnError", "File"});
  check_container_ports(out, c["ports"], path + ".ports");
  check_env(out, c, path);
  check_mounts(out, c, path, volumes);
  check_resources(out, c["resources"], path + ".resources");
  const bool sidecar = c["restartPolicy"].as_string() == "Always";
  if (init && !sidecar) {
    for (auto p : {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"})
      if (c[p].is_object()) out.push_back(forbidden_value(under(path, p), "may not be set for init containers without restartPolicy=Always"));
    if (!c["restartPolicy"].is_null()) one_of(out, c, path, "restartPolicy", {"Always"});
    return;
  }
  check_probe(out, c["livenessProbe"], path + ".livenessProbe", true);
  check_probe(out, c["readinessProbe"], path + ".readinessProbe", false);
  check_probe(out, c["startupProbe"], path + ".startupProbe", true);
  for (auto hook : {"postStart", "preStop"})
    if (c["lifecycle"][hook].is_object()) check_action(out, c["lifecycle"][hook], under(path + ".lifecycle", hook));
}

void check_items(causes& out, const json::value& items, const std::string& path) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto here = at(path, i);
    need(out, items[i], here, "key");
    auto p = items[i]["path"].as_string();
    if (p.empty())
      out.push_back(required(here + ".path"));
    else if (p.starts_with('/'))
      out.push_back(invalid_value(here + ".path", p, "must be a relative path"));
    for (auto part : split(p, '/'))
      if (part == "..") out.push_back(invalid_value(here + ".path", p, "must not contain '..'"));
  }
}

void check_mode(causes& out, const json::value& source, const std::string& path) {
  auto& mode = source["defaultMode"];
  if (mode.is_integer() && (mode.as_integer() < 0 || mode.as_integer() > 0777))
    out.push_back(invalid_value(path + ".defaultMode", mode, "must be a number between 0 and 0777 (octal), both inclusive"));
}

// Volumes and their names.
void check_volumes(causes& out, const json::value& volumes, const std::string& path, names& found) {
  constexpr std::string_view sources[] = {"hostPath",    "emptyDir", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "secret",    "nfs",      "iscsi",     "glusterfs",
                                          "persistentVolumeClaim", "rbd", "flexVolume", "cinder", "cephfs", "flocker", "downwardAPI", "fc", "azureFile", "configMap",
                                          "vsphereVolume", "quobyte", "azureDisk", "photonPersistentDisk", "projected", "portworxVolume", "scaleIO", "storageos", "csi", "ephemeral", "image"};
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    auto& v = volumes[i];
    auto here = at(path, i);
    auto name = v["name"].as_string();
    if (name.empty()) {
      out.push_back(required(here + ".name"));
    } else {
      add_problems(out, here + ".name", name, check_dns1123_label(name));
      if (!found.emplace(name).second) out.push_back(duplicate_value(here + ".name", name));
    }
    int count = 0;
    for (auto s : sources)
      if (v[s].is_object() && ++count > 1) out.push_back(forbidden_value(under(here, s), "may not specify more than 1 volume type"));
    if (count == 0) out.push_back(required(here, "must specify a volume type"));
    if (auto& s = v["secret"]; s.is_object()) {
      need(out, s, here + ".secret", "secretName");
      check_mode(out, s, here + ".secret");
      check_items(out, s["items"], here + ".secret.items");
    }
    if (auto& s = v["configMap"]; s.is_object()) {
      need(out, s, here + ".configMap", "name");
      check_mode(out, s, here + ".configMap");
      check_items(out, s["items"], here + ".configMap.items");
    }
    if (auto& s = v["persistentVolumeClaim"]; s.is_object()) need(out, s, here + ".persistentVolumeClaim", "claimName");
    if (auto& s = v["hostPath"]; s.is_object() && need(out, s, here + ".hostPath", "path"))
      for (auto part : split(s["path"].as_string(), '/'))
        if (part == "..") out.push_back(invalid_value(here + ".hostPath.path", s["path"], "must not contain '..'"));
    if (auto& s = v["nfs"]; s.is_object()) {
      need(out, s, here + ".nfs", "server");
      need(out, s, here + ".nfs", "path");
    }
    if (auto& s = v["csi"]; s.is_object()) need(out, s, here + ".csi", "driver");
    if (auto& s = v["emptyDir"]["sizeLimit"]; s.is_string()) check_quantity(out, s, here + ".emptyDir.sizeLimit");
  }
}

void check_tolerations(causes& out, const json::value& list, const std::string& path) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& t = list[i];
    auto here = at(path, i);
    auto key = t["key"].as_string(), op = t["operator"].as_string(), effect = t["effect"].as_string();
    if (!key.empty()) add_problems(out, here + ".key", key, check_qualified_name(key));
    if (key.empty() && op != "Exists") out.push_back(invalid_value(here + ".operator", op, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""));
    if (t["tolerationSeconds"].is_integer() && effect != "NoExecute")
      out.push_back(invalid_value(here + ".effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
    if (op.empty() || op == "Equal")
      add_problems(out, here + ".operator", t["value"].is_null() ? json::value("") : t["value"], check_label_value(t["value"].as_string()));
    else if (op != "Exists")
      out.push_back(not_supported(here + ".operator", op, {"Equal", "Exists"}));
    else if (!t["value"].as_string().empty())
      out.push_back(invalid_value(here + ".operator", t, "value must be empty when `operator` is 'Exists'"));
    if (!effect.empty()) one_of(out, t, here, "effect", {"NoExecute", "NoSchedule", "PreferNoSchedule"});
  }
}

void check_host_ports(causes& out, const json::value& spec, const std::string& path) {
  const bool host = spec["hostNetwork"].as_bool();
  names seen;
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) {
    auto& ports = spec["containers"][i]["ports"];
    for (std::size_t j = 0; j < ports.size(); ++j) {
      auto here = at(at(path + ".containers", i) + ".ports", j);
      auto& p = ports[j];
      auto host_port = p["hostPort"].as_integer();
      if (host && host_port != 0 && host_port != p["containerPort"].as_integer())
        out.push_back(invalid_value(here + ".hostPort", p["hostPort"], "must match `containerPort` when `hostNetwork` is true"));
      if (host_port == 0) continue;
      auto text = fmt::format("{}/{}/{}", p["protocol"].as_string("TCP"), p["hostIP"].as_string(), host_port);
      if (!seen.emplace(text).second) out.push_back(duplicate_value(here + ".hostPort", text));
    }
  }
}

void check_spread(causes& out, const json::value& list, const std::string& path) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto here = at(path, i);
    if (list[i]["maxSkew"].as_integer() <= 0) out.push_back(invalid_value(here + ".maxSkew", list[i]["maxSkew"], "must be greater than zero"));
    need(out, list[i], here, "topologyKey", "can not be empty");
    if (list[i]["whenUnsatisfiable"].as_string().empty())
      out.push_back(not_supported(here + ".whenUnsatisfiable", "", {"DoNotSchedule", "ScheduleAnyway"}));
    else
      one_of(out, list[i], here, "whenUnsatisfiable", {"DoNotSchedule", "ScheduleAnyway"});
    check_label_selector(out, list[i]["labelSelector"], here + ".labelSelector");
  }
}

}  // namespace

void check_pod_spec(causes& out, const json::value& spec, const std::string& path) {
  names volumes, containers;
  check_volumes(out, spec["volumes"], path + ".volumes", volumes);
  if (spec["containers"].empty()) out.push_back(required(path + ".containers"));
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) check_container(out, spec["containers"][i], at(path + ".containers", i), containers, volumes, false);
  for (std::size_t i = 0; i < spec["initContainers"].size(); ++i)
    check_container(out, spec["initContainers"][i], at(path + ".initContainers", i), containers, volumes, true);
  check_host_ports(out, spec, path);
  if (spec["restartPolicy"].as_string().empty())
    out.push_back(required(path + ".restartPolicy"));
  else
    one_of(out, spec, path, "restartPolicy", {"Always", "Never", "OnFailure"});
  one_of(out, spec, path, "dnsPolicy", {"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"});
  if (spec["dnsPolicy"].as_string() == "None" && spec["dnsConfig"]["nameservers"].empty())
    out.push_back(required(path + ".dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"));
  if (auto& d = spec["activeDeadlineSeconds"]; d.is_integer() && (d.as_integer() < 1 || d.as_integer() > INT32_MAX))
    out.push_back(invalid_value(path + ".activeDeadlineSeconds", d, "must be between 1 and 2147483647, inclusive"));
  check_labels(out, spec["nodeSelector"], path + ".nodeSelector");
  if (auto name = spec["serviceAccountName"].as_string(); !name.empty()) add_problems(out, path + ".serviceAccountName", name, check_dns1123_subdomain(name));
  if (auto name = spec["nodeName"].as_string(); !name.empty()) add_problems(out, path + ".nodeName", name, check_dns1123_subdomain(name));
  if (auto name = spec["hostname"].as_string(); !name.empty()) add_problems(out, path + ".hostname", name, check_dns1123_label(name));
  if (auto name = spec["subdomain"].as_string(); !name.empty()) add_problems(out, path + ".subdomain", name, check_dns1123_label(name));
  if (auto name = spec["priorityClassName"].as_string(); !name.empty()) add_problems(out, path + ".priorityClassName", name, check_dns1123_subdomain(name));
  if (auto name = spec["runtimeClassName"].as_string(); !name.empty()) add_problems(out, path + ".runtimeClassName", name, check_dns1123_subdomain(name));
  if (spec["hostPID"].as_bool() && spec["shareProcessNamespace"].as_bool())
    out.push_back(invalid_value(path + ".securityContext.shareProcessNamespace", true, "ShareProcessNamespace and HostPID cannot both be enabled"));
  check_tolerations(out, spec["tolerations"], path + ".tolerations");
  check_spread(out, spec["topologySpreadConstraints"], path + ".topologySpreadConstraints");
  for (std::size_t i = 0; i < spec["hostAliases"].size(); ++i)
    add_problems(out, at(path + ".hostAliases", i) + ".ip", spec["hostAliases"][i]["ip"], check_ip(spec["hostAliases"][i]["ip"].as_string()));
  for (std::size_t i = 0; i < spec["imagePullSecrets"].size(); ++i)
    if (spec["imagePullSecrets"][i]["name"].as_string().empty()) out.push_back(required(at(path + ".imagePullSecrets", i) + ".name"));
}

void check_pod_template(causes& out, const json::value& t, const std::string& path, const json::value* selector) {
  check_labels(out, t["metadata"]["labels"], path + ".labels");
  check_annotations(out, t["metadata"]["annotations"], path + ".annotations");
  if (selector && !label_selector::from_object(*selector).matches(t["metadata"]["labels"]))
    out.push_back(invalid_value(path + ".metadata.labels", t["metadata"]["labels"].is_null() ? json::value(nullptr) : t["metadata"]["labels"],
                                "`selector` does not match template `labels`"));
  check_pod_spec(out, t["spec"], path + ".spec");
}

std::string_view quality_of_service(const json::value& spec) {
  bool any = false, guaranteed = true;
  for (auto list : {"containers", "initContainers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i) {
      auto& r = spec[list][i]["resources"];
      for (auto name : {"cpu", "memory"}) {
        auto request = schema::quantity::parse(r["requests"][name].as_string()), limit = schema::quantity::parse(r["limits"][name].as_string());
        const bool has_request = request && !request->is_zero(), has_limit = limit && !limit->is_zero();
        any = any || has_request || has_limit;
        guaranteed = guaranteed && has_limit && (!has_request || *request == *limit);
      }
    }
  if (!any) return "BestEffort";
  return guaranteed ? "Guaranteed" : "Burstable";
}

void warn_pod_spec(std::vector<std::string>& out, const json::value& spec, const std::string& path) {
  for (auto list : {"initContainers", "containers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i) {
      auto& env = spec[list][i]["env"];
      names seen;
      for (std::size_t j = 0; j < env.size(); ++j)
        if (!seen.emplace(env[j]["name"].as_string()).second)
          out.push_back(fmt::format("{}: hides previous definition of {}, which may be dropped when using apply", at(at(under(path, list), i) + ".env", j), quote(env[j]["name"].as_string())));
    }
}

}  // namespace kedge::api
