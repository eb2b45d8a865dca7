#include "api/kinds/core/pod_warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "api/kinds/core/claim_spec.h"
#include "api/kinds/core/containers.h"
#include "api/kinds/core/security.h"
#include "api/kinds/limits.h"
#include "base/strings.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr const char* must = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* should = "preferredDuringSchedulingIgnoredDuringExecution";
constexpr std::string_view null_selector = "a null labelSelector results in matching no pod";

void warn_node_labels(warnings& out, const json::value& spec, const place& at) {
  if (auto selector = spec["nodeSelector"].object())
    for (auto& m : *selector)
      if (auto text = deprecated_node_label(m.name); !text.empty())
        out.push_back(fmt::format("{}: {}", place::of_key(at, "nodeSelector", m.name).text(), text));
  auto& a = spec["affinity"]["nodeAffinity"];
  const place of_affinity(at, "affinity.nodeAffinity"),
      terms(of_affinity, "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
  for (std::size_t i = 0; i < a[must]["nodeSelectorTerms"].size(); ++i)
    warn_node_selector_term(out, a[must]["nodeSelectorTerms"][i], place(terms, i), false);
  for (std::size_t i = 0; i < a[should].size(); ++i) {
    const place here(of_affinity, should, i);
    warn_node_selector_term(out, a[should][i]["preference"], place(here, "preference"), true);
  }
}

void warn_spread(warnings& out, const json::value& list, const place& at) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto key = list[i]["topologyKey"].as_string();
    if (auto text = deprecated_node_label(key); !text.empty())
      out.push_back(fmt::format("{}: {} is {}", place(here, "topologyKey").text(), key, text));
    if (list[i]["labelSelector"].is_null())
      out.push_back(fmt::format("{}: {}", place(here, "labelSelector").text(), null_selector));
  }
}

void warn_old_annotations(warnings& out, const json::value& annotations, const place& at) {
  constexpr std::pair<std::string_view, std::string_view> known[] = {
      {"scheduler.alpha.kubernetes.io/critical-pod",
       "non-functional in v1.16+; use the \"priorityClassName\" field instead"},
      {"security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"},
      {"security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"},
  };
  for (auto& [key, text] : known)
    if (annotations.find(key))
      out.push_back(fmt::format("{}: {}", place::of_key(at, "metadata.annotations", key).text(), text));
}

void warn_volumes(warnings& out, const json::value& volumes, const place& at) {
  // In the order of their telling; an ephemeral volume's claim stands among them.
  constexpr std::pair<std::string_view, std::string_view> gone[] = {
      {"photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
      {"gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
      {"scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
      {"flocker", "deprecated in v1.22, non-functional in v1.25+"},
      {"storageos", "deprecated in v1.22, non-functional in v1.25+"},
      {"quobyte", "deprecated in v1.22, non-functional in v1.25+"},
      {"glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
      {"ephemeral", ""},
      {"cephfs", "deprecated in v1.28, non-functional in v1.31+"},
      {"rbd", "deprecated in v1.28, non-functional in v1.31+"},
  };
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    const place here(at, i);
    for (auto& [member, text] : gone) {
      if (!volumes[i][member].is_object()) continue;
      if (!text.empty())
        out.push_back(fmt::format("{}: {}", place(here, member == "storageos" ? "storageOS" : member).text(), text));
      else if (auto& claim = volumes[i][member]["volumeClaimTemplate"]; claim.is_object())
        warn_claim_spec(out, claim["spec"], place(here, "ephemeral.volumeClaimTemplate.spec"));
    }
  }
}

// Files of a volume that would lie over, or in, each other.
class virtual_paths {
 public:
  virtual_paths(warnings& out, std::string_view volume) : out_(out), volume_(volume) {}

  // `what`: of the volume; `source`: of one part of a projected one, else empty.
  void add(std::string_view path, std::string what, std::string source) {
    while (path.ends_with('/')) path.remove_suffix(1);
    if (path.empty()) return;
    // Each is compared with those before it only where one lies in the other, and until enough has been told.
    for (auto at = paths_.lower_bound(path); at != paths_.end() && inside(at->first, path) && !full(); ++at)
      tell(what, path, source, *at);
    // Folders that it lies in are found by their hashes, which cost one walk along the path.
    std::vector<const entry*> around;
    std::size_t hash = 0;
    for (std::size_t i = 0; i < path.size() && !full(); ++i) {
      if (path[i] == '/' && i > 0)
        if (auto known = by_hash_.find(hash); known != by_hash_.end())
          for (auto* e : known->second)
            if (e->first == path.substr(0, i)) around.push_back(e);
      hash = (hash ^ static_cast<unsigned char>(path[i])) * 0x100000001b3u;
    }
    for (auto e = around.rbegin(); e != around.rend() && !full(); ++e) tell(what, path, source, **e);
    auto& same = by_hash_[hash];
    auto at = paths_.emplace(path, source);
    if (same.size() < warnings_told_max) same.push_back(&*at);
  }

 private:
  using entry = std::pair<const std::string_view, std::string>;

  bool full() const noexcept { return out_.size() >= warnings_told_max; }
  static bool inside(std::string_view inner, std::string_view outer) {
    return inner.starts_with(outer) && (inner.size() == outer.size() || inner[outer.size()] == '/');
  }
  static std::string spell(std::string_view path, std::string_view source) {
    return source.empty() ? quote(path) : fmt::format("{} ({})", quote(path), source);
  }
  void tell(std::string_view what, std::string_view path, std::string_view source, const entry& other) {
    if (!full())
      out_.push_back(fmt::format("volume {} ({}): overlapping paths: {} with {}", quote(volume_), what,
                                 spell(path, source), spell(other.first, other.second)));
  }

  warnings& out_;
  std::string_view volume_;
  std::multimap<std::string_view, std::string> paths_;
  std::unordered_map<std::size_t, std::vector<const entry*>> by_hash_;
};

void add_items(virtual_paths& to, const json::value& items, const std::string& what, const std::string& source) {
  for (std::size_t i = 0; i < items.size(); ++i) to.add(items[i]["path"].as_string(), what, source);
}

void add_projected(virtual_paths& to, warnings& out, const json::value& v) {
  for (std::size_t i = 0; i < v["projected"]["sources"].size(); ++i) {
    auto& s = v["projected"]["sources"][i];
    if (s.empty()) {
      out.push_back(fmt::format("volume {} (Projected) has no sources provided", quote(v["name"].as_string())));
    } else if (!s["configMap"]["items"].is_null()) {
      add_items(to, s["configMap"]["items"], "Projected",
                fmt::format("ConfigMap {}", quote(s["configMap"]["name"].as_string())));
    } else if (!s["secret"]["items"].is_null()) {
      add_items(to, s["secret"]["items"], "Projected",
                fmt::format("Secret {}", quote(s["secret"]["name"].as_string())));
    } else if (!s["downwardAPI"]["items"].is_null()) {
      add_items(to, s["downwardAPI"]["items"], "Projected", "DownwardAPI");
    } else if (auto& token = s["serviceAccountToken"]; token.is_object()) {
      to.add(token["path"].as_string(), "Projected", "ServiceAccountToken");
    } else if (auto& bundle = s["clusterTrustBundle"]; bundle.is_object()) {
      auto name = bundle["name"].is_null() ? bundle["signerName"].as_string() : bundle["name"].as_string();
      to.add(bundle["path"].as_string(), "Projected", fmt::format("ClusterTrustBundle {}", quote(name)));
    } else if (auto& certificate = s["podCertificate"]; certificate.is_object()) {
      to.add(certificate["certificateChainPath"].as_string(), "Projected", "PodCertificate chain");
      to.add(certificate["keyPath"].as_string(), "Projected", "PodCertificate key");
      to.add(certificate["credentialBundlePath"].as_string(), "Projected", "PodCertificate credential bundle");
    }
  }
}

void warn_overlaps(warnings& out, const json::value& volumes) {
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    auto& v = volumes[i];
    virtual_paths paths(out, v["name"].as_string());
    add_items(paths, v["configMap"]["items"], fmt::format("ConfigMap {}", quote(v["configMap"]["name"].as_string())),
              "");
    add_items(paths, v["secret"]["items"], fmt::format("Secret {}", quote(v["secret"]["secretName"].as_string())), "");
    add_items(paths, v["downwardAPI"]["items"], "DownwardAPI", "");
    add_projected(paths, out, v);
  }
}

void warn_repeated(warnings& out, const json::value& list, const place& at, const char* member) {
  name_set seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto text = list[i][member].as_string();
    if (!seen.insert(text).second)
      out.push_back(fmt::format("{}: duplicate {} {}", place(here, member).text(), member, quote(text)));
  }
}

void warn_whole_bytes(warnings& out, const json::value& amounts, const place& at) {
  for (auto name : {"memory", "ephemeral-storage"}) {
    auto q = schema::quantity::parse(amounts[name].as_string());
    if (q && !q->is_whole())
      out.push_back(fmt::format("{}: fractional byte value {} is invalid, must be an integer",
                                place::of_key(at, name).text(), quote(q->text())));
  }
}

void warn_amounts(warnings& out, const json::value& c, const place& at) {
  auto tell = [&](const char* list, const char* name) {
    auto q = schema::quantity::parse(c["resources"][list][name].as_string());
    const place of_list(at, std::string_view(list) == "limits" ? "resources.limits" : "resources.requests");
    if (q && !q->is_whole())
      out.push_back(fmt::format("{}: fractional byte value {} is invalid, must be an integer",
                                place::of_key(of_list, name).text(), quote(q->text())));
  };
  for (auto name : {"memory", "ephemeral-storage"})
    for (auto list : {"limits", "requests"}) tell(list, name);
}

// A later variable of the same name is meant where it builds on the one before.
void warn_hidden_variables(warnings& out, const json::value& env, const place& at) {
  name_set seen;
  for (std::size_t i = 0; i < env.size(); ++i) {
    auto name = env[i]["name"].as_string(), value = env[i]["value"].as_string();
    if (seen.insert(name).second) continue;
    auto reference = fmt::format("$({})", name);
    if (env[i]["valueFrom"].is_object() || value == reference || value.find(reference) == value.npos)
      out.push_back(fmt::format("{}: hides previous definition of {}, which may be dropped when using apply",
                                place(at, i).text(), quote(name)));
  }
}

struct context {
  const json::value& annotations;
  const json::value& spec;
  const place& top;  // of the template; of a pod the object itself
  bool is_template;
};

void warn_container(warnings& out, const json::value& c, const place& at, const context& with) {
  auto name = c["name"].as_string();
  if (c["securityContext"]["seccompProfile"].is_null())
    if (auto key = fmt::format("{}{}", seccomp_container_annotation, name); with.annotations.find(key))
      out.push_back(fmt::format("{}: non-functional in v1.27+; use the \"seccompProfile\" field instead",
                                place::of_key(with.top, "metadata.annotations", key).text()));
  if (with.is_template && c["securityContext"]["appArmorProfile"].is_null()) {
    auto key = fmt::format("{}{}", apparmor_annotation, name);
    auto note = with.annotations.find(key);
    auto& of_pod = with.spec["securityContext"]["appArmorProfile"];
    if (note && (of_pod.is_null() || !(of_pod == apparmor_profile_of(note->as_string()))))
      out.push_back(fmt::format("{}: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                                place::of_key(with.top, "metadata.annotations", key).text()));
  }
  warn_amounts(out, c, at);
  warn_hidden_variables(out, c["env"], place(at, "env"));
}

struct known_port {
  std::string at, host_ip;
  std::int64_t host_port;
};

// Ports of all containers that are one, or can't both be had.
void warn_ports(warnings& out, const json::value& spec, const place& at) {
  std::unordered_map<std::string, std::vector<known_port>> known;
  for_each_container(spec, at, [&](const json::value& c, const place& here) {
    for (std::size_t i = 0; i < c["ports"].size(); ++i) {
      auto& p = c["ports"][i];
      auto text = place(here, "ports", i).text();
      auto ip = p["hostIP"].as_string();
      auto host = p["hostPort"].as_integer(), port = p["containerPort"].as_integer();
      if (!ip.empty() && host == 0)
        out.push_back(fmt::format(
            "{}: hostIP set without hostPort: {{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}", text,
            p["name"].as_string(), host, port, p["protocol"].as_string(), ip));
      auto& same = known[fmt::format("{}/{}", port, p["protocol"].as_string())];
      for (auto& other : same) {
        if (out.size() >= warnings_told_max) break;
        if (ip == other.host_ip && host == other.host_port)
          out.push_back(fmt::format("{}: duplicate port definition with {}", text, other.at));
        else if (host == 0 || other.host_port == 0)
          out.push_back(fmt::format("{}: overlapping port definition with {}", text, other.at));
        else if (host == other.host_port && ip.empty() != other.host_ip.empty())
          out.push_back(fmt::format("{}: dangerously ambiguous port definition with {}", text, other.at));
      }
      if (same.size() < warnings_told_max) same.push_back({std::move(text), std::string(ip), host});
    }
  });
}

void warn_port_names(warnings& out, const json::value& spec, const place& at) {
  std::unordered_map<std::string_view, std::string> known;
  for_each_container(spec, at, [&](const json::value& c, const place& here) {
    for (std::size_t i = 0; i < c["ports"].size(); ++i) {
      auto name = c["ports"][i]["name"].as_string();
      if (name.empty()) continue;
      auto text = place(here, "ports", i).text();
      auto [other, fresh] = known.emplace(name, text);
      if (!fresh)
        out.push_back(
            fmt::format("{}: duplicate port name {} with {}, services and probes that select ports by name will use {}",
                        text, quote(name), other->second, other->second));
    }
  });
}

void warn_pod_affinity(warnings& out, const json::value& affinity, const place& at) {
  for (auto kind : {"podAffinity", "podAntiAffinity"}) {
    auto& a = affinity[kind];
    const place here(at, kind);
    for (std::size_t i = 0; i < a[must].size(); ++i) {
      const place of_term(here, must, i);
      if (a[must][i]["labelSelector"].is_null())
        out.push_back(fmt::format("{}: {}", place(of_term, "labelSelector").text(), null_selector));
    }
    for (std::size_t i = 0; i < a[should].size(); ++i) {
      const place of_term(here, should, i);
      if (a[should][i]["podAffinityTerm"]["labelSelector"].is_null())
        out.push_back(fmt::format("{}: {}", place(of_term, "podAffinityTerm.labelSelector").text(), null_selector));
    }
  }
}

void warn_all(warnings& out, const json::value& o, const place& top, bool is_template) {
  auto &annotations = o["metadata"]["annotations"], &spec = o["spec"];
  const place at(top, "spec");
  warn_node_labels(out, spec, at);
  warn_spread(out, spec["topologySpreadConstraints"], place(at, "topologySpreadConstraints"));
  warn_old_annotations(out, annotations, top);
  warn_volumes(out, spec["volumes"], place(at, "volumes"));
  warn_overlaps(out, spec["volumes"]);
  warn_repeated(out, spec["hostAliases"], place(at, "hostAliases"), "ip");
  warn_repeated(out, spec["imagePullSecrets"], place(at, "imagePullSecrets"), "name");
  for (std::size_t i = 0; i < spec["imagePullSecrets"].size(); ++i) {
    const place here(at, "imagePullSecrets", i);
    if (spec["imagePullSecrets"][i]["name"].as_string().empty())
      out.push_back(fmt::format("{}: invalid empty name \"\"", place(here, "name").text()));
  }
  warn_whole_bytes(out, spec["overhead"], place(at, "overhead"));
  if (spec["securityContext"]["seccompProfile"].is_null() && annotations.find(seccomp_pod_annotation))
    out.push_back(fmt::format("{}: non-functional in v1.27+; use the \"seccompProfile\" field instead",
                              place::of_key(top, "metadata.annotations", seccomp_pod_annotation).text()));
  const context with{annotations, spec, top, is_template};
  for_each_container(spec, at, [&](const json::value& c, const place& here) { warn_container(out, c, here, with); });
  warn_ports(out, spec, at);
  warn_port_names(out, spec, at);
  if (spec["terminationGracePeriodSeconds"].as_integer() < 0)
    out.push_back(fmt::format("{}: must be >= 0; negative values are invalid and will be treated as 1",
                              place(at, "terminationGracePeriodSeconds").text()));
  warn_pod_affinity(out, spec["affinity"], place(at, "affinity"));
  const place dns(at, "dnsConfig");
  for (std::size_t i = 0; i < spec["dnsConfig"]["nameservers"].size(); ++i)
    warn_ip(out, spec["dnsConfig"]["nameservers"][i].as_string(), place(dns, "nameservers", i));
  for (std::size_t i = 0; i < spec["hostAliases"].size(); ++i) {
    const place here(at, "hostAliases", i);
    warn_ip(out, spec["hostAliases"][i]["ip"].as_string(), place(here, "ip"));
  }
}

}  // namespace

void warn_pod(warnings& out, const json::value& pod) {
  warn_name(out, pod, "the Pod's hostname");
  warn_all(out, pod, place(""), false);
}

void warn_pod_template(warnings& out, const json::value& t, const place& at) { warn_all(out, t, at, true); }

}  // namespace kedge::api
