#include "pod/security_checks.h"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <unordered_set>

#include "base/strings.h"
#include "pod/references.h"

namespace kedge::api {
namespace {

using texts = std::vector<std::string>;
using names = std::initializer_list<std::string_view>;

bool in(std::string_view what, names list) { return std::find(list.begin(), list.end(), what) != list.end(); }

// Texts in the order in which each came first.
class distinct_texts {
 public:
  void add(std::string text) {
    if (told_.insert(text).second) all_.push_back(std::move(text));
  }
  texts& all() noexcept { return all_; }

 private:
  texts all_;
  std::unordered_set<std::string> told_;
};

std::string quoted(const texts& list) {
  std::string out;
  for (auto& text : list) out += (out.empty() ? "" : ", ") + quote(text);
  return out;
}

// `container "a"` or `containers "a", "b"`.
std::string containers(const texts& list) { return (list.size() == 1 ? "container " : "containers ") + quoted(list); }

// The names of the containers that `test` holds for.
template <typename Test>
texts where(const json::value& spec, Test test) {
  texts out;
  each_container(spec, [&](const json::value& c, std::string_view) {
    if (test(c)) out.emplace_back(c["name"].as_string());
  });
  return out;
}

class checks {
 public:
  explicit checks(const json::value& pod)
      : pod_(pod),
        spec_(pod["spec"]),
        own_(spec_["securityContext"]),
        windows_(spec_["os"]["name"].as_string() == "windows") {}

  texts run(security_level level, unsigned minor) {
    if (level == security_level::privileged) return {};
    bool restricted = level == security_level::restricted;
    app_armor();
    if (!restricted) capabilities_baseline();
    host_namespaces();
    if (!restricted) host_paths();
    host_ports();
    if (minor >= 34) probed_hosts();
    privileged();
    proc_mount();
    selinux();
    if (!restricted) seccomp_baseline();
    sysctls();
    host_process();
    if (restricted) {
      if (!windows_) privilege_escalation();
      if (!windows_) capabilities_restricted();
      volume_types();
      non_root();
      user_zero();
      if (!windows_) seccomp_restricted();
    }
    return std::move(found_);
  }

 private:
  void breach(std::string_view title, const texts& details) {
    if (!details.empty()) found_.push_back(std::string(title) + " (" + join(details, "; ") + ')');
  }

  void app_armor() {
    auto bad = [](const json::value& context) {
      auto type = context["appArmorProfile"]["type"].as_string();
      return !type.empty() && !in(type, {"RuntimeDefault", "Localhost"});
    };
    texts details;
    std::size_t count = 0;
    if (auto annotations = pod_["metadata"]["annotations"].object())
      for (auto& [name, value] : *annotations) {
        auto profile = value.as_string();
        if (!name.starts_with("container.apparmor.security.beta.kubernetes.io/")) continue;
        if (profile.empty() || profile == "runtime/default" || profile.starts_with("localhost/")) continue;
        details.push_back(name + '=' + quote(profile));
        ++count;
      }
    if (bad(own_))
      details.push_back("pod must not set AppArmor profile type to " +
                        quote(own_["appArmorProfile"]["type"].as_string())),
          ++count;
    auto list = where(spec_, [&](const json::value& c) { return bad(c["securityContext"]); });
    if (!list.empty())
      details.push_back(containers(list) + " must not set AppArmor profile type to \"Unconfined\""), ++count;
    breach(count > 1 ? "forbidden AppArmor profiles" : "forbidden AppArmor profile", details);
  }

  void capabilities(std::string_view title, texts details, names allowed) {
    distinct_texts found;
    auto list = where(spec_, [&](const json::value& c) {
      bool wrong = false;
      if (auto capabilities = c["securityContext"]["capabilities"]["add"].array())
        for (auto& capability : *capabilities)
          if (!in(capability.as_string(), allowed)) found.add(std::string(capability.as_string())), wrong = true;
      return wrong;
    });
    auto& added = found.all();
    std::sort(added.begin(), added.end());
    if (!list.empty())
      details.push_back(containers(list) + " must not include " + quoted(added) +
                        " in securityContext.capabilities.add");
    breach(title, details);
  }

  void capabilities_baseline() {
    capabilities("non-default capabilities", {},
                 {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
                  "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"});
  }

  void capabilities_restricted() {
    auto keeps = where(spec_, [](const json::value& c) {
      auto drop = c["securityContext"]["capabilities"]["drop"].array();
      return !drop ||
             std::none_of(drop->begin(), drop->end(), [](const json::value& d) { return d.as_string() == "ALL"; });
    });
    texts details;
    if (!keeps.empty()) details.push_back(containers(keeps) + " must set securityContext.capabilities.drop=[\"ALL\"]");
    capabilities("unrestricted capabilities", std::move(details), {"NET_BIND_SERVICE"});
  }

  void host_namespaces() {
    texts set;
    for (auto field : {"hostNetwork", "hostPID", "hostIPC"})
      if (spec_[field].as_bool()) set.push_back(std::string(field) + "=true");
    if (!set.empty()) breach("host namespaces", {join(set, ", ")});
  }

  void host_paths() {
    texts list;
    if (auto volumes = spec_["volumes"].array())
      for (auto& v : *volumes)
        if (v["hostPath"].is_object()) list.emplace_back(v["name"].as_string());
    if (!list.empty()) breach("hostPath volumes", {(list.size() == 1 ? "volume " : "volumes ") + quoted(list)});
  }

  void host_ports() {
    distinct_texts numbers;
    auto list = where(spec_, [&](const json::value& c) {
      bool uses = false;
      if (auto all = c["ports"].array())
        for (auto& port : *all)
          if (auto number = port["hostPort"].as_integer(); number != 0)
            numbers.add(std::to_string(number)), uses = true;
      return uses;
    });
    if (list.empty()) return;
    auto& ports = numbers.all();
    breach("hostPort", {containers(list) + (list.size() == 1 ? " uses " : " use ") +
                        (ports.size() == 1 ? "hostPort " : "hostPorts ") + join(ports, ", ")});
  }

  void privileged() {
    auto list = where(spec_, [](const json::value& c) { return c["securityContext"]["privileged"].as_bool(); });
    if (!list.empty()) breach("privileged", {containers(list) + " must not set securityContext.privileged=true"});
  }

  // A probe or hook of another host is asked for by the kubelet, from within its network.
  void probed_hosts() {
    std::set<std::string> hosts, found;
    each_container(spec_, [&](const json::value& c, std::string_view) {
      auto look = [&](const json::value& handler) {
        for (auto how : {"httpGet", "tcpSocket"})
          if (auto host = handler[how]["host"].as_string(); !host.empty()) {
            hosts.emplace(host);
            found.emplace(c["name"].as_string());
          }
      };
      for (auto probe : {"livenessProbe", "readinessProbe", "startupProbe"}) look(c[probe]);
      for (auto hook : {"postStart", "preStop"}) look(c["lifecycle"][hook]);
    });
    if (found.empty()) return;
    breach("probe or lifecycle host",
           {containers({found.begin(), found.end()}) + (found.size() == 1 ? " uses " : " use ") +
            (hosts.size() == 1 ? "probe or lifecycle host " : "probe or lifecycle hosts ") +
            quoted({hosts.begin(), hosts.end()})});
  }

  void proc_mount() {
    auto list = where(spec_, [](const json::value& c) {
      auto mount = c["securityContext"]["procMount"].as_string();
      return !mount.empty() && mount != "Default";
    });
    if (!list.empty())
      breach("procMount", {containers(list) + " must not set securityContext.procMount to \"Unmasked\""});
  }

  void selinux() {
    distinct_texts seen_types;
    bool user = false, role = false, pod_sets = false;
    auto wrong = [&](const json::value& context) {
      auto& options = context["seLinuxOptions"];
      auto type = options["type"].as_string();
      bool bad_type = !in(type, {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"});
      if (bad_type) seen_types.add(std::string(type));
      bool bad_user = !options["user"].as_string().empty(), bad_role = !options["role"].as_string().empty();
      user |= bad_user;
      role |= bad_role;
      return bad_type || bad_user || bad_role;
    };
    pod_sets = wrong(own_);
    auto list = where(spec_, [&](const json::value& c) { return wrong(c["securityContext"]); });
    if (!pod_sets && list.empty()) return;
    texts setters, what;
    if (pod_sets) setters.emplace_back("pod");
    if (!list.empty()) setters.push_back(containers(list));
    auto& types = seen_types.all();
    if (!types.empty()) what.push_back((types.size() == 1 ? "type " : "types ") + quoted(types));
    if (user) what.emplace_back("user may not be set");
    if (role) what.emplace_back("role may not be set");
    breach("seLinuxOptions",
           {join(setters, " and ") + " set forbidden securityContext.seLinuxOptions: " + join(what, "; ")});
  }

  // The profile is set to something that no level allows.
  static bool bad_seccomp(const json::value& context) {
    auto type = context["seccompProfile"]["type"].as_string();
    return !type.empty() && !in(type, {"RuntimeDefault", "Localhost"});
  }

  texts wrong_seccomp() {
    texts details;
    if (bad_seccomp(own_))
      details.push_back("pod must not set securityContext.seccompProfile.type to " +
                        quote(own_["seccompProfile"]["type"].as_string()));
    auto list = where(spec_, [](const json::value& c) { return bad_seccomp(c["securityContext"]); });
    if (!list.empty())
      details.push_back(containers(list) + " must not set securityContext.seccompProfile.type to \"Unconfined\"");
    return details;
  }

  void seccomp_baseline() { breach("seccompProfile", wrong_seccomp()); }

  void seccomp_restricted() {
    auto details = wrong_seccomp();
    if (!own_["seccompProfile"]["type"].as_string().empty()) return breach("seccompProfile", details);
    auto list = where(
        spec_, [](const json::value& c) { return c["securityContext"]["seccompProfile"]["type"].as_string().empty(); });
    if (!list.empty())
      details.push_back("pod or " + containers(list) +
                        " must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    breach("seccompProfile", details);
  }

  void sysctls() {
    texts list;
    if (auto all = own_["sysctls"].array())
      for (auto& s : *all)
        if (!in(s["name"].as_string(),
                {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
                 "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
                 "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
                 "net.ipv4.tcp_keepalive_probes"}))
          list.emplace_back(s["name"].as_string());
    if (!list.empty()) breach("forbidden sysctls", {join(list, ", ")});
  }

  void host_process() {
    auto sets = [](const json::value& context) { return context["windowsOptions"]["hostProcess"].as_bool(); };
    texts setters;
    if (sets(own_)) setters.emplace_back("pod");
    auto list = where(spec_, [&](const json::value& c) { return sets(c["securityContext"]); });
    if (!list.empty()) setters.push_back(containers(list));
    if (!setters.empty())
      breach("hostProcess", {join(setters, " and ") + " must not set securityContext.windowsOptions.hostProcess=true"});
  }

  void privilege_escalation() {
    auto list = where(
        spec_, [](const json::value& c) { return c["securityContext"]["allowPrivilegeEscalation"].as_bool(true); });
    if (!list.empty())
      breach("allowPrivilegeEscalation != false",
             {containers(list) + " must set securityContext.allowPrivilegeEscalation=false"});
  }

  void volume_types() {
    texts list;
    distinct_texts seen_types;
    if (auto volumes = spec_["volumes"].array())
      for (auto& v : *volumes) {
        auto members = v.object();
        if (!members) continue;
        for (auto& [type, source] : *members) {
          if (in(type, {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image",
                        "persistentVolumeClaim", "projected", "secret"}) ||
              !source.is_object())
            continue;
          list.emplace_back(v["name"].as_string());
          seen_types.add(type);
        }
      }
    if (list.empty()) return;
    auto& types = seen_types.all();
    std::sort(types.begin(), types.end());
    breach("restricted volume types",
           {(list.size() == 1 ? "volume " : "volumes ") + quoted(list) +
            (list.size() == 1 ? " uses restricted volume type" : " use restricted volume type") +
            (types.size() == 1 ? " " : "s ") + quoted(types)});
  }

  void non_root() {
    texts details;
    auto& of_pod = own_["runAsNonRoot"];
    if (of_pod.is_bool() && !of_pod.as_bool())
      details.emplace_back("pod must not set securityContext.runAsNonRoot=false");
    auto denied =
        where(spec_, [](const json::value& c) { return !c["securityContext"]["runAsNonRoot"].as_bool(true); });
    if (!denied.empty()) details.push_back(containers(denied) + " must not set securityContext.runAsNonRoot=false");
    if (details.empty() && !of_pod.as_bool()) {
      auto unset = where(spec_, [](const json::value& c) { return c["securityContext"]["runAsNonRoot"].is_null(); });
      if (!unset.empty())
        details.push_back("pod or " + containers(unset) + " must set securityContext.runAsNonRoot=true");
    }
    breach("runAsNonRoot != true", details);
  }

  void user_zero() {
    auto zero = [](const json::value& context) {
      return context["runAsUser"].is_integer() && context["runAsUser"].as_integer() == 0;
    };
    texts details;
    if (zero(own_)) details.emplace_back("pod must not set runAsUser=0");
    auto list = where(spec_, [&](const json::value& c) { return zero(c["securityContext"]); });
    if (!list.empty()) details.push_back(containers(list) + " must not set runAsUser=0");
    breach("runAsUser=0", details);
  }

  const json::value &pod_, &spec_, &own_;
  bool windows_;
  texts found_;
};

}  // namespace

std::vector<std::string> security_breaches(const json::value& pod, security_level level, unsigned minor) {
  return checks(pod).run(level, minor);
}

}  // namespace kedge::api
