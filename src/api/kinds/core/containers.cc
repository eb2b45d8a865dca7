#include "api/kinds/core/containers.h"

#include <fmt/format.h>

#include <unordered_set>

#include "api/kinds/core/probes.h"
#include "api/kinds/core/security.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

void check_ports(causes& out, const json::value& ports, const place& at) {
  name_set names;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto& p = ports[i];
    const place here(at, i);
    if (auto name = p["name"].as_string(); !name.empty()) {
      if (auto wrong = check_port_name(name); !wrong.empty())
        add_problems(out, place(here, "name"), name, wrong);
      else if (!names.insert(name).second)
        out.push_back(duplicate_value(place(here, "name"), name));
    }
    auto &port = p["containerPort"], &host = p["hostPort"];
    if (port.as_integer() == 0)
      out.push_back(required(place(here, "containerPort")));
    else
      add_problems(out, place(here, "containerPort"), port, check_port_number(port.as_integer()));
    if (host.as_integer() != 0) add_problems(out, place(here, "hostPort"), host, check_port_number(host.as_integer()));
    one_of_needed(out, p, here, "protocol", {"SCTP", "TCP", "UDP"});
  }
}

void check_propagation(causes& out, const json::value& mount, const json::value& container, const place& mounts) {
  auto& v = mount["mountPropagation"];
  if (v.is_null()) return;
  one_of(out, mount, mounts, "mountPropagation", {"Bidirectional", "HostToContainer", "None"});
  if (v.as_string() == "Bidirectional" && !container["securityContext"]["privileged"].as_bool())
    out.push_back(forbidden_value(place(mounts, "mountPropagation"),
                                  "Bidirectional mount propagation is available only to privileged containers"));
}

void check_recursive_read_only(causes& out, const json::value& mount, const place& mounts) {
  auto& v = mount["recursiveReadOnly"];
  if (v.is_null() || v.as_string() == "Disabled") return;
  const place here(mounts, "recursiveReadOnly");
  if (v.as_string() != "Enabled" && v.as_string() != "IfPossible")
    return out.push_back(not_supported(here, v, {"Disabled", "Enabled", "IfPossible"}));
  if (!mount["readOnly"].as_bool()) out.push_back(forbidden_value(here, "may only be specified when readOnly is true"));
  if (mount["mountPropagation"].is_string() && mount["mountPropagation"].as_string() != "None")
    out.push_back(forbidden_value(here, "may only be specified when mountPropagation is None or not specified"));
}

void check_bind_options(causes& out, const json::value& mount, const place& at, const json::value* volume) {
  auto& list = mount["bindMountOptions"];
  name_set seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto option = list[i].as_string();
    if (option != "nodev" && option != "noexec" && option != "nosuid")
      out.push_back(not_supported(place(at, "bindMountOptions", i), option, {"nodev", "noexec", "nosuid"}));
    if (!seen.insert(option).second) out.push_back(duplicate_value(place(at, "bindMountOptions", i), option));
  }
  if (!list.empty() && volume && (*volume)["image"].is_object())
    out.push_back(
        invalid_value(place(at, "bindMountOptions"), list, "bindMountOptions may not be used with image volumes"));
}

// The places of some rules lack the index, as the real server's do.
void check_mounts(causes& out, const json::value& c, const place& at, const volume_set& volumes) {
  auto &mounts = c["volumeMounts"], &devices = c["volumeDevices"];
  name_set device_names, device_paths, paths;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    device_names.insert(devices[i]["name"].as_string());
    device_paths.insert(devices[i]["devicePath"].as_string());
  }
  const place list(at, "volumeMounts");
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    auto& m = mounts[i];
    const place here(list, i);
    auto name = m["name"].as_string(), path = m["mountPath"].as_string(), sub = m["subPath"].as_string(),
         expression = m["subPathExpr"].as_string();
    need(out, m, here, "name");
    auto volume = volumes.find(name);
    if (volume == volumes.end()) out.push_back(not_found_value(place(here, "name"), name));
    need(out, m, here, "mountPath");
    if (!paths.insert(path).second) out.push_back(invalid_value(place(here, "mountPath"), path, "must be unique"));
    if (device_names.contains(name))
      out.push_back(invalid_value(place(here, "name"), name, "must not already exist in volumeDevices"));
    if (device_paths.contains(path))
      out.push_back(invalid_value(place(here, "mountPath"), path, "must not already exist as a path in volumeDevices"));
    if (!sub.empty()) check_descending_path(out, sub, place(list, "subPath"));
    if (!expression.empty()) {
      if (!sub.empty())
        out.push_back(
            invalid_value(place(here, "subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive"));
      check_descending_path(out, expression, place(list, "subPathExpr"));
    }
    check_propagation(out, m, c, list);
    check_recursive_read_only(out, m, list);
    check_bind_options(out, m, here, volume == volumes.end() ? nullptr : volume->second);
  }
}

void check_devices(causes& out, const json::value& c, const place& at, const volume_set& volumes) {
  auto &mounts = c["volumeMounts"], &devices = c["volumeDevices"];
  if (devices.empty()) return;
  name_set mount_names, mount_paths, names, paths;
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    mount_names.insert(mounts[i]["name"].as_string());
    mount_paths.insert(mounts[i]["mountPath"].as_string());
  }
  for (std::size_t i = 0; i < devices.size(); ++i) {
    auto& d = devices[i];
    const place here(at, "volumeDevices", i);
    auto name = d["name"].as_string(), path = d["devicePath"].as_string();
    need(out, d, here, "name");
    if (names.contains(name)) out.push_back(invalid_value(place(here, "name"), name, "must be unique"));
    auto volume = volumes.find(name);
    if (volume == volumes.end())
      out.push_back(not_found_value(place(here, "name"), name));
    else if (!(*volume->second)["persistentVolumeClaim"].is_object() && !(*volume->second)["ephemeral"].is_object())
      out.push_back(
          invalid_value(place(here, "name"), name,
                        "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"));
    need(out, d, here, "devicePath");
    if (paths.contains(path)) out.push_back(invalid_value(place(here, "devicePath"), path, "must be unique"));
    causes steps_back;
    check_no_steps_back(steps_back, path, here);
    if (!steps_back.empty())
      out.push_back(invalid_value(place(here, "devicePath"), path, "can not contain backsteps ('..')"));
    else
      paths.insert(path);
    if (mount_names.contains(name))
      out.push_back(invalid_value(place(here, "name"), name, "must not already exist in volumeMounts"));
    if (mount_paths.contains(path))
      out.push_back(invalid_value(place(here, "devicePath"), path, "must not already exist as a path in volumeMounts"));
    if (!name.empty()) names.insert(name);
  }
}

void check_resize_policy(causes& out, const json::value& list, const place& at, std::string_view pod_policy) {
  name_set seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto resource = list[i]["resourceName"].as_string(), policy = list[i]["restartPolicy"].as_string();
    if (!seen.insert(resource).second) out.push_back(duplicate_value(place(at, i), resource));
    if (resource.empty())
      out.push_back(required(at));
    else if (resource != "cpu" && resource != "memory")
      out.push_back(not_supported(at, resource, {"cpu", "memory"}));
    if (policy.empty())
      out.push_back(required(at));
    else if (policy != "NotRequired" && policy != "RestartContainer")
      out.push_back(not_supported(at, policy, {"NotRequired", "RestartContainer"}));
    if (pod_policy == "Never" && policy != "NotRequired")
      out.push_back(invalid_value(at, policy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"));
  }
}

void check_common(causes& out, const json::value& c, const place& at, const container_context& with) {
  if (need(out, c, at, "name"))
    add_problems(out, place(at, "name"), c["name"], check_dns1123_label(c["name"].as_string()));
  need(out, c, at, "image");
  one_of_needed(out, c, at, "terminationMessagePolicy", {"File", "FallbackToLogsOnError"});
  check_ports(out, c["ports"], place(at, "ports"));
  check_environment(out, c, at);
  check_mounts(out, c, at, with.volumes);
  check_devices(out, c, at, with.volumes);
  one_of_needed(out, c, at, "imagePullPolicy", {"Always", "IfNotPresent", "Never"});
  check_requirements(out, c["resources"], place(at, "resources"),
                     {.indivisible_huge_pages = with.options.indivisible_huge_pages, .claims = &with.claims});
  check_resize_policy(out, c["resizePolicy"], place(at, "resizePolicy"), with.spec["restartPolicy"].as_string());
  check_security_context(out, c["securityContext"], place(at, "securityContext"), with.spec["hostUsers"].as_bool(true),
                         with.options);
}

void check_restart(causes& out, const json::value& c, const place& at) {
  constexpr std::size_t rules_max = 20, codes_max = 255;
  auto& rules = c["restartPolicyRules"];
  if (c["restartPolicy"].is_null()) {
    if (rules.empty()) return;
    out.push_back(required(place(at, "restartPolicy"), "must specify restartPolicy when restart rules are used"));
  }
  one_of(out, c, at, "restartPolicy", {"Always", "Never", "OnFailure"});
  if (rules.size() > rules_max) out.push_back(too_many(place(at, "restartPolicyRules"), rules.size(), rules_max));
  for (std::size_t i = 0; i < rules.size(); ++i) {
    auto& rule = rules[i];
    const place here(at, "restartPolicyRules", i), of_codes(here, "exitCodes");
    if (auto action = rule["action"].as_string(); action != "Restart" && action != "RestartAllContainers")
      out.push_back(not_supported(place(here, "action"), action, {"Restart", "RestartAllContainers"}));
    auto& codes = rule["exitCodes"];
    if (!codes.is_object()) {
      out.push_back(required(of_codes, "must be specified"));
      continue;
    }
    if (auto op = codes["operator"].as_string(); op != "In" && op != "NotIn")
      out.push_back(not_supported(place(of_codes, "operator"), op, {"In", "NotIn"}));
    if (codes["values"].size() > codes_max)
      out.push_back(too_many(place(of_codes, "values"), codes["values"].size(), codes_max));
  }
}

// Of an init container: rules alone don't make sense, and nothing else is said then.
void check_init_restart(causes& out, const json::value& c, const place& at) {
  if (!c["restartPolicy"].is_null()) return check_restart(out, c, at);
  if (!c["restartPolicyRules"].empty())
    out.push_back(required(place(at, "restartPolicy"), "must specify restartPolicy when restart rules are used"));
}

// Each protocol, address and port of the host once; `told` is the list's place and the index in it.
void check_host_ports(causes& out, const json::value& c, const place& at, std::unordered_set<std::string>& seen) {
  auto& ports = c["ports"];
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto& p = ports[i];
    if (p["hostPort"].as_integer() == 0) continue;
    auto text = fmt::format("{}/{}/{}", p["protocol"].as_string(), p["hostIP"].as_string(), p["hostPort"].as_integer());
    const place here(at, "ports", i);
    if (!seen.insert(text).second) out.push_back(duplicate_value(place(here, "hostPort"), text));
  }
}

constexpr const char* not_of_ephemeral[] = {"ports",          "resources",          "resizePolicy",
                                            "restartPolicy",  "restartPolicyRules", "livenessProbe",
                                            "readinessProbe", "startupProbe",       "lifecycle"};

}  // namespace

bool is_sidecar(const json::value& c) noexcept { return c["restartPolicy"].as_string() == "Always"; }

void check_image(causes& out, const json::value& c, const place& at) {
  if (auto image = c["image"].as_string(); trim(image) != image)
    out.push_back(invalid_value(place(at, "image"), image, "must not have leading or trailing whitespace"));
}

void check_containers(causes& out, const container_context& with, const place& at) {
  auto& list = with.spec["containers"];
  if (list.empty()) return out.push_back(required(place(at, "containers")));
  auto& grace = with.spec["terminationGracePeriodSeconds"];
  name_set names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& c = list[i];
    const place here(at, "containers", i);
    check_common(out, c, here, with);
    if (!names.insert(c["name"].as_string()).second)
      out.push_back(duplicate_value(place(here, "name"), c["name"].as_string()));
    if (c["lifecycle"].is_object())
      check_lifecycle(out, c["lifecycle"], place(here, "lifecycle"), grace, with.spec["os"]);
    check_probes(out, c, here, grace);
    check_restart(out, c, here);
  }
  std::unordered_set<std::string> host_ports;
  for (std::size_t i = 0; i < list.size(); ++i) check_host_ports(out, list[i], place(at, "containers", i), host_ports);
}

void check_init_containers(causes& out, const container_context& with, const place& at) {
  auto& list = with.spec["initContainers"];
  auto& grace = with.spec["terminationGracePeriodSeconds"];
  name_set names;
  for (std::size_t i = 0; i < with.spec["containers"].size() && !list.empty(); ++i)
    names.insert(with.spec["containers"][i]["name"].as_string());
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& c = list[i];
    const place here(at, "initContainers", i);
    auto name = c["name"].as_string();
    check_common(out, c, here, with);
    check_init_restart(out, c, here);
    if (names.contains(name))
      out.push_back(duplicate_value(place(here, "name"), name));
    else if (!name.empty())
      names.insert(name);
    std::unordered_set<std::string> host_ports;
    check_host_ports(out, c, place(at, "initContainers", 0), host_ports);  // the real server counts each alone
    if (is_sidecar(c)) {
      if (c["lifecycle"].is_object())
        check_lifecycle(out, c["lifecycle"], place(here, "lifecycle"), grace, with.spec["os"]);
      check_probes(out, c, here, grace);
      continue;
    }
    for (auto member : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"})
      if (c[member].is_object())
        out.push_back(
            forbidden_value(place(here, member), "may not be set for init containers without restartPolicy=Always"));
    for (std::size_t j = 0; j < c["resizePolicy"].size() && !with.options.restarting_init_resize; ++j) {
      const place of_policy(here, "resizePolicy", j);
      if (c["resizePolicy"][j]["restartPolicy"].as_string() == "RestartContainer")
        out.push_back(invalid_value(place(of_policy, "restartPolicy"), "RestartContainer",
                                    "must not be set to 'RestartContainer' for non-sidecar initContainers"));
    }
  }
}

void check_ephemeral_containers(causes& out, const container_context& with, const place& at) {
  auto& list = with.spec["ephemeralContainers"];
  if (list.empty()) return;
  name_set others, names;
  for (auto member : {"containers", "initContainers"})
    for (std::size_t i = 0; i < with.spec[member].size(); ++i) others.insert(with.spec[member][i]["name"].as_string());
  names = others;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& c = list[i];
    const place here(at, "ephemeralContainers", i);
    auto name = c["name"].as_string(), target = c["targetContainerName"].as_string();
    check_common(out, c, here, with);
    check_image(out, c, here);
    if (!names.insert(name).second) out.push_back(duplicate_value(place(here, "name"), name));
    if (!target.empty() && !others.contains(target))
      out.push_back(not_found_value(place(here, "targetContainerName"), target));
    for (auto member : not_of_ephemeral)
      if (auto& v = c[member];
          !v.empty() || !v.as_string().empty() || (v.is_object() && member != std::string_view("resources")))
        out.push_back(forbidden_value(place(here, member), "cannot be set for an Ephemeral Container"));
    for (std::size_t j = 0; j < c["volumeMounts"].size(); ++j) {
      const place of_mount(here, "volumeMounts", j);
      for (auto member : {"subPath", "subPathExpr"})
        if (!c["volumeMounts"][j][member].as_string().empty())
          out.push_back(forbidden_value(place(of_mount, member), "cannot be set for an Ephemeral Container"));
    }
  }
}

}  // namespace kedge::api
