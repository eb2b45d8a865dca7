#include "api/kinds/core/security.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/kinds/core/containers.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

void check_ids(causes& out, const json::value& context, const place& at, std::initializer_list<const char*> members) {
  for (auto member : members)
    if (!context[member].is_null()) check_id(out, context[member], place(at, member));
}

void check_seccomp(causes& out, const json::value& profile, const place& at) {
  if (!profile.is_object()) return;
  auto type = profile["type"].as_string();
  if (type.empty())
    out.push_back(required(place(at, "type"), "type is required when seccompProfile is set"));
  else
    one_of(out, profile, at, "type", {"Localhost", "RuntimeDefault", "Unconfined"});
  auto& file = profile["localhostProfile"];
  const place of_file(at, "localhostProfile");
  if (type != "Localhost") {
    if (!file.is_null())
      out.push_back(invalid_value(of_file, internal_form("core/v1.SeccompProfile", profile),
                                  "can only be set when seccomp type is Localhost"));
  } else if (file.is_null()) {
    out.push_back(required(of_file, "must be set when seccomp type is Localhost"));
  } else {
    check_descending_path(out, file.as_string(), of_file);
  }
}

bool is_control(char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }

// "contoso", a NetBIOS name, or a DNS name in any case.
bool is_windows_domain(std::string_view s) {
  constexpr std::size_t netbios_max = 15, label_max = 63;
  const bool netbios = !s.empty() && s.size() <= netbios_max && s[0] != '.' && s.find_first_of("\\/:*?\"<>|") == s.npos;
  if (netbios) return true;
  for (auto label : split(s, '.')) {
    if (label.empty() || label.size() > label_max || label.front() == '-' || label.back() == '-') return false;
    for (char c : label)
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-')) return false;
  }
  return true;
}

void check_windows_user(causes& out, const json::value& v, const place& at) {
  constexpr std::size_t domain_max = 256, user_max = 104;
  auto name = v.as_string();
  auto wrong = [&](std::string_view text) { out.push_back(invalid_value(at, v, text)); };
  if (name.empty()) return wrong("runAsUserName cannot be an empty string");
  if (std::any_of(name.begin(), name.end(), is_control))
    return wrong("runAsUserName cannot contain control characters");
  auto parts = split(name, '\\');
  if (parts.size() > 2) return wrong("runAsUserName cannot contain more than one backslash");
  auto user = parts.back();
  if (parts.size() == 2) {
    if (parts[0].size() >= domain_max)
      wrong(fmt::format("runAsUserName's Domain length must be under {} characters", domain_max));
    if (!is_windows_domain(parts[0])) wrong("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
  }
  if (user.empty())
    wrong("runAsUserName's User cannot be empty");
  else if (user.size() > user_max)
    wrong(fmt::format("runAsUserName's User length must not be longer than {} characters", user_max));
  if (!user.empty() && user.find_first_not_of(". ") == user.npos)
    wrong("runAsUserName's User cannot contain only periods or spaces");
  if (user.find_first_of("\"/\\:;|=,+*?<>@[]") != user.npos)
    wrong("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
}

void check_windows(causes& out, const json::value& w, const place& at) {
  constexpr std::size_t spec_max = 64 * 1024;
  if (!w.is_object()) return;
  if (auto& name = w["gmsaCredentialSpecName"]; !name.is_null())
    add_problems(out, place(at, "gmsaCredentialSpecName"), name, check_dns1123_subdomain(name.as_string()));
  if (auto& spec = w["gmsaCredentialSpec"]; !spec.is_null()) {
    if (spec.as_string().empty())
      out.push_back(
          invalid_value(place(at, "gmsaCredentialSpec"), spec, "gmsaCredentialSpec cannot be an empty string"));
    if (spec.as_string().size() > spec_max)
      out.push_back(
          invalid_value(place(at, "gmsaCredentialSpec"), spec, "gmsaCredentialSpec size must be under 64 KiB"));
  }
  if (auto& user = w["runAsUserName"]; !user.is_null()) check_windows_user(out, user, place(at, "runAsUserName"));
}

// "net.core.somaxconn", "net/core/somaxconn".
bool is_sysctl(std::string_view name) {
  constexpr std::size_t name_max = 253;
  if (name.size() > name_max) return false;
  auto lower_alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  for (std::size_t begin = 0; begin <= name.size();) {
    auto end = std::min(name.find_first_of("./", begin), name.size());
    auto part = name.substr(begin, end - begin);
    if (part.empty() || !lower_alnum(part.front()) || !lower_alnum(part.back())) return false;
    if (!std::all_of(part.begin(), part.end(), [&](char c) { return lower_alnum(c) || c == '-' || c == '_'; }))
      return false;
    begin = end + 1;
  }
  return true;
}

void check_sysctls(causes& out, const json::value& spec, const place& at, const pod_options& options) {
  auto& list = spec["securityContext"]["sysctls"];
  name_set seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto name = list[i]["name"].as_string();
    if (name.empty())
      out.push_back(required(place(here, "name")));
    else if (!is_sysctl(name))
      out.push_back(invalid_value(place(here, "name"), name,
                                  "must have at most 253 characters and match regex "
                                  "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"));
    else if (seen.contains(name))
      out.push_back(duplicate_value(place(here, "name"), name));
    if (!options.host_sysctls)
      if (auto wrong = wrong_host_sysctl(name, spec); !wrong.empty())
        out.push_back(invalid_value(place(here, "name"), name, wrong));
    seen.insert(name);
  }
}

void check_linux_has_no(causes& out, const json::value& context, const place& at) {
  if (!context["windowsOptions"].is_null())
    out.push_back(forbidden_value(place(at, "windowsOptions"), "windows options cannot be set for a linux pod"));
}

void check_windows_has_no(causes& out, const json::value& v, const place& at,
                          std::initializer_list<const char*> members) {
  for (auto member : members)
    if (!v[member].is_null()) out.push_back(forbidden_value(place(at, member), "cannot be set for a windows pod"));
}

// A seccomp or AppArmor annotation of old and the field that took its place.
struct profile_words {
  std::string_view of, unconfined, runtime_default, other_default, localhost;
};
constexpr profile_words seccomp{"seccomp", "unconfined", "runtime/default", "docker/default", "localhost/"};
constexpr profile_words apparmor{"apparmor", "unconfined", "runtime/default", "runtime/default", "localhost/"};

void check_agrees(causes& out, const profile_words& words, std::string_view annotation, const json::value& profile,
                  const place& at) {
  auto type = profile["type"].as_string();
  bool agrees = true;
  if (type == "Unconfined") agrees = annotation == words.unconfined;
  if (type == "RuntimeDefault") agrees = annotation == words.runtime_default || annotation == words.other_default;
  if (type == "Localhost") agrees = annotation.starts_with(words.localhost);
  if (!agrees)
    return out.push_back(
        forbidden_value(place(at, "type"), fmt::format("{} type in annotation and field must match", words.of)));
  if (type == "Localhost" && (profile["localhostProfile"].is_null() ||
                              annotation.substr(words.localhost.size()) != profile["localhostProfile"].as_string()))
    out.push_back(forbidden_value(place(at, "localhostProfile"),
                                  fmt::format("{} profile in annotation and field must match", words.of)));
}

void check_seccomp_annotation(causes& out, std::string_view value, const place& at) {
  if (value == seccomp.unconfined || value == seccomp.runtime_default || value == seccomp.other_default) return;
  if (value.starts_with(seccomp.localhost))
    return check_descending_path(out, value.substr(seccomp.localhost.size()), at);
  out.push_back(invalid_value(at, value, "must be a valid seccomp profile"));
}

}  // namespace

std::string_view wrong_host_sysctl(std::string_view name, const json::value& spec) {
  // Slashes may part the names instead of dots.
  std::string dotted(name);
  if (auto first = dotted.find_first_of("./"); first != dotted.npos && dotted[first] == '/')
    for (auto& c : dotted) c = c == '/' ? '.' : c == '.' ? '/' : c;
  std::string_view s = dotted;
  s = s.substr(0, s.find('*'));
  constexpr std::string_view ipc_names[] = {
      "kernel.sem",    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",          "kernel.msg",
      "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.shm"};
  const bool net = s == "net" || s.starts_with("net.");
  const bool ipc = s == "fs.mqueue" || s.starts_with("fs.mqueue.") ||
                   std::find(std::begin(ipc_names), std::end(ipc_names), s) != std::end(ipc_names);
  if (net && spec["hostNetwork"].as_bool()) return "may not be specified when 'hostNetwork' is true";
  if (ipc && spec["hostIPC"].as_bool()) return "may not be specified when 'hostIPC' is true";
  return {};
}

void check_apparmor_profile(causes& out, const json::value& profile, const place& at) {
  constexpr std::size_t name_max = 4095;
  if (!profile.is_object()) return;
  auto type = profile["type"].as_string();
  auto& name = profile["localhostProfile"];
  const place of_name(at, "localhostProfile");
  if (type.empty()) {
    out.push_back(required(place(at, "type"), "type is required when appArmorProfile is set"));
  } else if (type == "Localhost") {
    if (name.is_null()) return out.push_back(required(of_name, "must be set when AppArmor type is Localhost"));
    auto text = name.as_string();
    if (trim(text) != text)
      out.push_back(invalid_value(of_name, name, "must not be padded with whitespace"));
    else if (text.empty())
      out.push_back(required(of_name, "must be set when AppArmor type is Localhost"));
    if (text.size() > name_max) out.push_back(too_long(of_name, name_max));
  } else if (type == "RuntimeDefault" || type == "Unconfined") {
    if (!name.is_null()) out.push_back(invalid_value(of_name, name, "can only be set when AppArmor type is Localhost"));
  } else {
    out.push_back(not_supported(place(at, "type"), type, {"Localhost", "RuntimeDefault", "Unconfined"}));
  }
}

void check_security_context(causes& out, const json::value& c, const place& at, bool host_users,
                            const pod_options& options) {
  if (!c.is_object()) return;
  check_ids(out, c, at, {"runAsUser", "runAsGroup"});
  if (auto& mount = c["procMount"]; !mount.is_null()) {
    one_of(out, c, at, "procMount", {"Default", "Unmasked"});
    if (host_users && mount.as_string() == "Unmasked")
      out.push_back(invalid_value(place(at, "procMount"), mount, "`hostUsers` must be false to use `Unmasked`"));
  }
  check_seccomp(out, c["seccompProfile"], place(at, "seccompProfile"));
  if (!c["allowPrivilegeEscalation"].as_bool(true)) {
    auto whole = [&] { return internal_form("core/v1.SecurityContext", c); };
    if (c["privileged"].as_bool())
      out.push_back(
          invalid_value(at, whole(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
    auto& added = c["capabilities"]["add"];
    for (std::size_t i = 0; i < added.size() && !options.sys_admin_without_escalation; ++i)
      if (added[i].as_string() == "CAP_SYS_ADMIN")
        out.push_back(invalid_value(
            at, whole(), "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"));
  }
  check_windows(out, c["windowsOptions"], place(at, "windowsOptions"));
  check_apparmor_profile(out, c["appArmorProfile"], place(at, "appArmorProfile"));
}

void check_pod_security_context(causes& out, const json::value& spec, const place& at, const pod_options& options) {
  auto& c = spec["securityContext"];
  if (!c.is_object()) return;
  const place here(at, "securityContext");
  check_ids(out, c, here, {"fsGroup", "runAsUser", "runAsGroup"});
  for (std::size_t i = 0; i < c["supplementalGroups"].size(); ++i)
    check_id(out, c["supplementalGroups"][i], place(here, "supplementalGroups", i));
  check_sysctls(out, spec, place(here, "sysctls"), options);
  one_of(out, c, here, "fsGroupChangePolicy", {"Always", "OnRootMismatch"});
  check_seccomp(out, c["seccompProfile"], place(here, "seccompProfile"));
  check_windows(out, c["windowsOptions"], place(here, "windowsOptions"));
  check_apparmor_profile(out, c["appArmorProfile"], place(here, "appArmorProfile"));
  one_of(out, c, here, "supplementalGroupsPolicy", {"Merge", "Strict"});
  one_of(out, c, here, "seLinuxChangePolicy", {"MountOption", "Recursive"});
}

void check_os(causes& out, const json::value& spec, const place& at) {
  auto& os = spec["os"];
  if (!os.is_object()) return;
  auto name = os["name"].as_string();
  const place of_context(at, "securityContext");
  if (name.empty()) {
    const place of_os(at, "os");
    out.push_back(required(place(of_os, "name")));
  } else if (name == "linux") {
    check_linux_has_no(out, spec["securityContext"], of_context);
    for_each_container(spec, at, [&](const json::value& c, const place& here) {
      check_linux_has_no(out, c["securityContext"], place(here, "securityContext"));
    });
  } else if (name == "windows") {
    check_windows_has_no(
        out, spec["securityContext"], of_context,
        {"appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls",
         "runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"});
    if (!spec["hostUsers"].is_null())
      out.push_back(forbidden_value(place(at, "hostUsers"), "cannot be set for a windows pod"));
    for (auto member : {"hostPID", "hostIPC"})
      if (spec[member].as_bool()) out.push_back(forbidden_value(place(at, member), "cannot be set for a windows pod"));
    if (!spec["shareProcessNamespace"].is_null())
      out.push_back(forbidden_value(place(at, "shareProcessNamespace"), "cannot be set for a windows pod"));
    for_each_container(spec, at, [&](const json::value& c, const place& here) {
      check_windows_has_no(
          out, c["securityContext"], place(here, "securityContext"),
          {"appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem",
           "privileged", "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup"});
    });
  } else {
    out.push_back(not_supported(place(at, "os"), name, {"linux", "windows"}));
  }
}

void check_host_processes(causes& out, const json::value& spec, const place& at) {
  auto& of_pod = spec["securityContext"]["windowsOptions"]["hostProcess"];
  std::size_t all = 0, host = 0;
  for_each_container(spec, at, [&](const json::value& c, const place& here) {
    ++all;
    auto& own = c["securityContext"]["windowsOptions"]["hostProcess"];
    if (!of_pod.is_null() && !own.is_null() && !(of_pod == own))
      out.push_back(invalid_value(
          place(here, "securityContext.windowsOptions.hostProcess"), own,
          fmt::format("pod hostProcess value must be identical if both are specified, was {}", of_pod.as_bool())));
    host += own.is_null() ? of_pod.as_bool() : own.as_bool();
  });
  if (host == 0) return;
  if (host != all)
    out.push_back(invalid_value(
        at, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"));
  if (!spec["hostNetwork"].as_bool())
    out.push_back(invalid_value(place(at, "hostNetwork"), false,
                                "hostNetwork must be true if pod contains any hostProcess containers"));
}

void check_security_annotations(causes& out, const json::value& annotations, const json::value& spec, const place& at) {
  auto all = annotations.object();
  if (!all) return;
  if (auto v = annotations.find(seccomp_pod_annotation))
    check_seccomp_annotation(out, v->as_string(), place(at, seccomp_pod_annotation));
  for (auto& m : *all)
    if (m.name.starts_with(seccomp_container_annotation))
      check_seccomp_annotation(out, m.value.as_string(), place(at, m.name));
  name_set containers;
  for_each_container(spec, at, [&](const json::value& c, const place&) { containers.insert(c["name"].as_string()); });
  for (auto& m : *all) {
    if (!m.name.starts_with(apparmor_annotation)) continue;
    auto container = std::string_view(m.name).substr(apparmor_annotation.size()), value = m.value.as_string();
    const place here = place::of_key(at, m.name);
    if (!containers.contains(container)) out.push_back(invalid_value(here, container, "container not found"));
    if (!value.empty() && value != apparmor.unconfined && value != apparmor.runtime_default &&
        !value.starts_with(apparmor.localhost))
      out.push_back(invalid_value(here, value, fmt::format("invalid AppArmor profile name: {}", quote(value))));
  }
}

void check_seccomp_agrees(causes& out, const json::value& annotations, const json::value& spec, const place& at) {
  if (annotations.empty()) return;
  auto& of_pod = spec["securityContext"]["seccompProfile"];
  if (auto note = annotations.find(seccomp_pod_annotation); note && of_pod.is_object())
    check_agrees(out, seccomp, note->as_string(), of_pod, place(at, "securityContext.seccompProfile"));
  for_each_container(spec, at, [&](const json::value& c, const place& here) {
    auto& own = c["securityContext"]["seccompProfile"];
    if (!own.is_object()) return;
    if (auto note = annotations.find(fmt::format("{}{}", seccomp_container_annotation, c["name"].as_string())))
      check_agrees(out, seccomp, note->as_string(), own, place(here, "securityContext.seccompProfile"));
  });
}

void check_apparmor_agrees(causes& out, const json::value& annotations, const json::value& spec, const place& at) {
  if (annotations.empty() || spec["os"]["name"].as_string() == "windows") return;
  for_each_container(spec, at, [&](const json::value& c, const place& here) {
    auto& own = c["securityContext"]["appArmorProfile"];
    auto& profile = own.is_object() ? own : spec["securityContext"]["appArmorProfile"];
    if (!profile.is_object()) return;
    if (auto note = annotations.find(fmt::format("{}{}", apparmor_annotation, c["name"].as_string())))
      check_agrees(out, apparmor, note->as_string(), profile, place(here, "securityContext.appArmorProfile"));
  });
}

json::value apparmor_profile_of(std::string_view annotation) {
  if (annotation == apparmor.unconfined) return json::object{{"type", "Unconfined"}};
  if (annotation == apparmor.runtime_default) return json::object{{"type", "RuntimeDefault"}};
  if (annotation.starts_with(apparmor.localhost)) {
    auto name = annotation.substr(apparmor.localhost.size());
    if (!name.empty()) return json::object{{"type", "Localhost"}, {"localhostProfile", name}};
  }
  return nullptr;
}

}  // namespace kedge::api
