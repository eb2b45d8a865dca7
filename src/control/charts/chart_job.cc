#include "control/charts/chart_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/strings.h"
#include "base/time.h"
#include "crypto/digest.h"
#include "json/write.h"

namespace kedge::control::charts {

namespace {

using json::array;
using json::object;
using json::value;

constexpr std::string_view chart_label = "helmcharts.helm.cattle.io/chart";
constexpr std::string_view hash_note = "helmcharts.helm.cattle.io/configHash";
constexpr std::string_view role_prefix = "node-role.kubernetes.io/";
constexpr std::int64_t back_off_limit = 1000;
constexpr std::int64_t file_mode = 0644;
constexpr std::size_t label_max = 63;
constexpr std::string_view expectations[] = {"EXPECTED_RELEASE_REVISION", "CONFIG_HASH"};

std::string name_of(const value& o) { return std::string(o["metadata"]["name"].as_string()); }
std::string namespace_of(const value& o) { return std::string(o["metadata"]["namespace"].as_string()); }
std::string text(const value& v) { return std::string(v.as_string()); }
std::string yes_no(const value& v) { return v.as_bool() ? "true" : "false"; }
bool is_removed(const value& chart) { return !chart["metadata"]["deletionTimestamp"].is_null(); }
bool is_empty(const value& v) { return v.is_null(); }

const array& list_of(const value& v) {
  static const array none;
  return v.array() ? *v.array() : none;
}

// As Go's encoding/json writes a map: members sorted, characters of HTML escaped.
value sorted(const value& v) {
  if (auto* list = v.array()) {
    array out;
    for (auto& e : *list) out.push_back(sorted(e));
    return out;
  }
  auto* o = v.object();
  if (!o) return v;
  std::vector<const json::member*> members;
  for (auto& m : *o) members.push_back(&m);
  std::ranges::sort(members, {}, &json::member::name);
  object out;
  for (auto* m : members) out.append(m->name, sorted(m->value));
  return out;
}
std::string go_json(const value& v) {
  std::string out;
  for (char c : json::write(sorted(v))) switch (c) {
      case '<': out += "\\u003c"; break;
      case '>': out += "\\u003e"; break;
      case '&': out += "\\u0026"; break;
      default: out += c;
    }
  return out;
}

object variable(std::string_view name, std::string_view text) {
  object out{{"name", name}};
  if (!text.empty()) out.set("value", text);
  return out;
}

// Commas belong to the value, unless they are escaped already.
std::string escaped(std::string_view text) {
  std::string out;
  std::size_t slashes = 0;
  for (char c : text) {
    if (c == ',' && slashes % 2 == 0) out += '\\';
    slashes = c == '\\' ? slashes + 1 : 0;
    out += c;
  }
  return out;
}

array arguments_of(const value& chart) {
  if (is_removed(chart)) return {"delete"};
  auto& spec = chart["spec"];
  array out{"install"};
  auto add = [&](std::string_view flag, const value& v) {
    if (v.as_string().empty()) return;
    out.emplace_back(flag);
    out.push_back(v);
  };
  add("--namespace", spec["targetNamespace"]);
  if (spec["createNamespace"].as_bool()) out.emplace_back("--create-namespace");
  if (spec["takeOwnership"].as_bool()) out.emplace_back("--take-ownership");
  add("--version", spec["version"]);
  std::map<std::string_view, const value*> set;
  if (auto* all = spec["set"].object())
    for (auto& m : *all) set.emplace(m.name, &m.value);
  for (auto& [name, v] : set) {
    auto given = v->is_integer() ? std::to_string(v->as_integer()) : text(*v);
    auto word = lower(given);
    const bool typed = v->is_integer() || word == "true" || word == "false" || word == "null";
    out.emplace_back(typed ? "--set" : "--set-string");
    out.emplace_back(fmt::format("{}={}", name, typed ? given : escaped(given)));
  }
  return out;
}

array environment_of(const value& chart, const helm_settings& s) {
  auto& spec = chart["spec"];
  auto name = name_of(chart), repo = text(spec["repo"]);
  array out{variable("NAME", name),
            variable("VERSION", text(spec["version"])),
            variable("REPO", repo),
            variable("HELM_DRIVER", spec["driver"].as_string().empty() ? "secret" : text(spec["driver"])),
            variable("CHART_NAMESPACE", namespace_of(chart)),
            variable("CHART", repo.empty() ? text(spec["chart"]) : name + "/" + text(spec["chart"])),
            variable("HELM_VERSION", text(spec["helmVersion"])),
            variable("TARGET_NAMESPACE", release_namespace(chart)),
            variable("AUTH_PASS_CREDENTIALS", yes_no(spec["authPassCredentials"])),
            variable("INSECURE_SKIP_TLS_VERIFY", yes_no(spec["insecureSkipTLSVerify"])),
            variable("PLAIN_HTTP", yes_no(spec["plainHTTP"]))};
  if (auto& given = spec["timeout"]; given.is_string()) {
    auto d = parse_duration(given.as_string());
    out.emplace_back(variable("TIMEOUT", d ? format_duration(*d) : text(given)));
  }
  if (spec["bootstrap"].as_bool()) {
    out.emplace_back(variable("KUBERNETES_SERVICE_HOST", "127.0.0.1"));
    out.emplace_back(variable("KUBERNETES_SERVICE_PORT", std::to_string(s.api_port)));
    out.emplace_back(variable("BOOTSTRAP", "true"));
  }
  for (auto& [name_of_proxy, address] : s.proxies) out.emplace_back(variable(name_of_proxy, address));
  return out;
}

array tolerations_of(const value& chart, const helm_settings& s) {
  array out;
  if (chart["spec"]["bootstrap"].as_bool()) {
    auto etcd = std::string(role_prefix) + "etcd", control = std::string(role_prefix) + "control-plane";
    out = {object{{"key", "node.kubernetes.io/not-ready"}, {"effect", "NoSchedule"}},
           object{{"key", "node.kubernetes.io/network-unavailable"}, {"effect", "NoSchedule"}},
           object{{"key", "node.cloudprovider.kubernetes.io/uninitialized"},
                  {"operator", "Equal"},
                  {"value", "true"},
                  {"effect", "NoSchedule"}},
           object{{"key", "CriticalAddonsOnly"}, {"operator", "Exists"}},
           object{{"key", etcd}, {"operator", "Exists"}, {"effect", "NoExecute"}},
           object{{"key", control}, {"operator", "Exists"}, {"effect", "NoSchedule"}}};
  }
  out.insert(out.end(), s.job_tolerations.begin(), s.job_tolerations.end());
  return out;
}

// The pod's volumes and where its container sees them.
struct mounted {
  array volumes, mounts;
  void add(std::string_view name, std::string_view path, object source) {
    source.set("name", name);
    volumes.emplace_back(std::move(source));
    mounts.push_back(object{{"mountPath", path}, {"name", name}});
  }
};

object memory() { return {{"emptyDir", object{{"medium", "Memory"}}}}; }
object of_secret(const value& reference, array items = {}) {
  object source{{"defaultMode", file_mode}, {"secretName", reference["name"]}};
  if (!items.empty()) source.set("items", std::move(items));
  return {{"secret", std::move(source)}};
}
object of_config_map(const value& name) { return {{"configMap", object{{"defaultMode", file_mode}, {"name", name}}}}; }
object item(std::string_view key, std::string_view path) { return {{"key", key}, {"path", path}}; }

// The Secret with a chart's own values, and the files of the job's folder /config in the order in which Helm reads
// them: what the chart says, then what its HelmChartConfig adds; of each the text, the values, the Secrets.
class values_files {
 public:
  explicit values_files(const value& chart)
      : chart_(name_of(chart)),
        secret_(object{{"apiVersion", "v1"},
                       {"kind", "Secret"},
                       {"metadata", object{{"name", "chart-values-" + chart_}, {"namespace", namespace_of(chart)}}},
                       {"type", "helmcharts.helm.cattle.io/values"}}) {
    add("HelmChart", '0', chart["spec"], [&] {
      if (auto& ca = chart["spec"]["repoCA"]; !ca.as_string().empty()) file("RepoCA", ca.as_string(), "ca-file.pem");
    });
  }
  void add_config(const value& config) {
    add("HelmChartConfig", '1', config["spec"], [] {});
  }

  object volume() && {
    object own{{"name", secret_["metadata"]["name"]}};
    if (!items_.empty()) own.set("items", std::move(items_));
    array sources{object{{"secret", std::move(own)}}};
    for (auto& s : sources_) sources.push_back(std::move(s));
    return {{"projected", object{{"defaultMode", file_mode}, {"sources", std::move(sources)}}}};
  }
  const value& secret() const { return secret_; }

 private:
  void file(const std::string& key, std::string_view content, std::string_view path) {
    secret_.member("data").set(key, base64(as_bytes(content)));
    items_.push_back(item(key, path));
  }
  template <typename F>
  void add(const std::string& kind, char rank, const value& spec, F between) {
    if (auto content = spec["valuesContent"].as_string(); !content.empty())
      file(kind + "ValuesContent", content, fmt::format("values-{}-000-{}-ValuesContent.yaml", rank, kind));
    if (auto& values = spec["values"]; !is_empty(values))
      file(kind + "Values", json::write_yaml(values), fmt::format("values-{}-001-{}-Values.yaml", rank, kind));
    between();
    int number = 1;
    for (auto& s : list_of(spec["valuesSecrets"])) {
      auto& keys = list_of(s["keys"]);
      if (keys.empty() || s["name"].as_string() == "chart-values-" + chart_) continue;
      array items;
      for (auto& key : keys)
        items.push_back(
            item(key.as_string(), fmt::format("values-{}-{:03}-{}-ValuesSecret.yaml", rank, ++number, kind)));
      sources_.push_back(object{
          {"secret",
           object{{"items", std::move(items)}, {"name", s["name"]}, {"optional", s["ignoreUpdates"].as_bool()}}}});
    }
  }

  std::string chart_;
  value secret_;
  array items_, sources_;
};

value content_map(const value& chart) {
  value out =
      object{{"apiVersion", "v1"},
             {"kind", "ConfigMap"},
             {"metadata", object{{"name", "chart-content-" + name_of(chart)}, {"namespace", namespace_of(chart)}}}};
  if (auto& content = chart["spec"]["chartContent"]; !content.as_string().empty())
    out.member("data").set(name_of(chart) + ".tgz.base64", content);
  return out;
}

value account_of(const value& chart) {
  return object{{"apiVersion", "v1"},
                {"kind", "ServiceAccount"},
                {"metadata", object{{"name", "helm-" + name_of(chart)}, {"namespace", namespace_of(chart)}}},
                {"automountServiceAccountToken", true}};
}

value binding_of(const value& chart, const std::string& role) {
  return object{{"apiVersion", "rbac.authorization.k8s.io/v1"},
                {"kind", "ClusterRoleBinding"},
                {"metadata", object{{"name", fmt::format("helm-{}-{}", namespace_of(chart), name_of(chart))}}},
                {"roleRef", object{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", role}}},
                {"subjects", array{object{{"kind", "ServiceAccount"},
                                          {"name", "helm-" + name_of(chart)},
                                          {"namespace", namespace_of(chart)}}}}};
}

// What a HelmChartConfig says, else the chart, else the default.
std::string chosen(const value* config, const value& chart, const char* name, std::string_view otherwise) {
  if (config)
    if (auto given = (*config)["spec"][name].as_string(); !given.empty()) return std::string(given);
  return std::string(chart["spec"][name].as_string().empty() ? otherwise : chart["spec"][name].as_string());
}

std::string hash_of(const value& template_, std::int64_t limit, const std::vector<const value*>& objects) {
  auto text = std::to_string(limit) + go_json(template_) + "\n";
  for (auto* o : objects) {
    std::map<std::string_view, std::string_view> data;
    if (auto* all = (*o)["data"].object())
      for (auto& m : *all) data.emplace(m.name, m.value.as_string());
    for (auto& [key, content] : data) text.append(key).append(content);
  }
  auto out = hex(as_bytes(crypto::sha256(as_bytes(text))));
  std::ranges::transform(out, out.begin(), [](char c) { return c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c; });
  return out;
}

}  // namespace

std::string job_name(const value& chart) {
  return (is_removed(chart) ? "helm-delete-" : "helm-install-") + name_of(chart);
}

std::string_view release_namespace(const value& chart) {
  auto target = chart["spec"]["targetNamespace"].as_string();
  return target.empty() ? chart["metadata"]["namespace"].as_string() : target;
}

std::vector<std::string> watched_secrets(const value& chart, const value* config) {
  std::vector<std::string> out;
  for (auto* from : {&chart, config})
    if (from)
      for (auto& s : list_of((*from)["spec"]["valuesSecrets"]))
        if (!s["ignoreUpdates"].as_bool() && s["name"].as_string() != "chart-values-" + name_of(chart))
          out.push_back(text(s["name"]));
  return out;
}

std::string source_of(const value& chart) {
  auto& spec = chart["spec"];
  auto of = text(spec["chart"]), version = text(spec["version"]);
  if (!spec["chartContent"].as_string().empty()) {
    auto url = chart["metadata"]["annotations"]["helm.cattle.io/chart-url"].as_string();
    return "inline spec.chartContent" + (url.empty() ? std::string() : fmt::format(" from {}", url));
  }
  if (of.starts_with("oci://"))
    return version.empty() ? "latest stable version from OCI registry " + of
                           : fmt::format("version {} from OCI registry {}", version, of);
  if (of.contains("://")) return of;
  auto repo = text(spec["repo"]);
  return version.empty() ? fmt::format("latest stable version of {} from chart repository {}", of, repo)
                         : fmt::format("{} version {} from chart repository {}", of, version, repo);
}

chart_job job_of(const value& chart, const value* config, const secret_finder& secret, const helm_settings& s) {
  auto& spec = chart["spec"];
  const bool removed = is_removed(chart);
  if (removed) config = nullptr;
  mounted m;
  m.add("klipper-helm", "/home/klipper-helm/.helm", memory());
  m.add("klipper-cache", "/home/klipper-helm/.cache", memory());
  m.add("klipper-config", "/home/klipper-helm/.config", memory());
  m.add("tmp", "/tmp", memory());
  if (auto& r = spec["authSecret"]; r.is_object()) m.add("auth", "/auth", of_secret(r));
  if (auto& r = spec["dockerRegistrySecret"]; r.is_object())
    m.add("dockerconfig", "/home/klipper-helm/.docker", of_secret(r, {item(".dockerconfigjson", "config.json")}));
  if (auto& r = spec["repoCAConfigMap"]; r.is_object()) m.add("ca-files", "/ca-files", of_config_map(r["name"]));

  chart_job out;
  std::vector<const value*> hashed;
  if (!removed) {
    values_files values(chart);
    if (config) values.add_config(*config);
    out.objects = {values.secret(), content_map(chart)};
    m.add("values", "/config", std::move(values).volume());
    m.add("content", "/chart", of_config_map(out.objects[1]["metadata"]["name"]));
    hashed = {&out.objects[1], &out.objects[0]};
    for (auto& name : watched_secrets(chart, config))
      if (auto* found = secret(name)) hashed.push_back(found);
  }

  auto environment = environment_of(chart, s);
  auto& forced = config && (*config)["spec"]["forceConflicts"].is_bool() ? (*config)["spec"] : spec;
  environment.emplace_back(variable("FAILURE_POLICY", chosen(config, chart, "failurePolicy", "reinstall")));
  environment.emplace_back(variable("SERVER_SIDE", chosen(config, chart, "serverSide", "auto")));
  environment.emplace_back(variable("FORCE_CONFLICTS", yes_no(forced["forceConflicts"])));

  auto image = std::string(trim(spec["jobImage"].as_string()));
  object container{{"name", "helm"},
                   {"image", image.empty() ? s.job_image : image},
                   {"imagePullPolicy", "IfNotPresent"},
                   {"args", arguments_of(chart)},
                   {"env", std::move(environment)},
                   {"resources", s.job_resources},
                   {"volumeMounts", std::move(m.mounts)}};
  container.set("securityContext", spec["securityContext"].is_object()
                                       ? spec["securityContext"]
                                       : value(object{{"allowPrivilegeEscalation", false},
                                                      {"capabilities", object{{"drop", array{"ALL"}}}},
                                                      {"readOnlyRootFilesystem", true}}));
  object selector{{"kubernetes.io/os", "linux"}};
  if (spec["bootstrap"].as_bool()) selector.set(std::string(role_prefix) + "control-plane", "true");
  object pod{{"restartPolicy", "OnFailure"},
             {"containers", array{std::move(container)}},
             {"serviceAccountName", "helm-" + name_of(chart)},
             {"priorityClassName", "system-cluster-critical"},
             {"nodeSelector", std::move(selector)},
             {"volumes", std::move(m.volumes)}};
  pod.set("securityContext",
          spec["podSecurityContext"].is_object()
              ? spec["podSecurityContext"]
              : value(object{{"runAsNonRoot", true}, {"seccompProfile", object{{"type", "RuntimeDefault"}}}}));
  if (spec["bootstrap"].as_bool()) pod.set("hostNetwork", true);
  if (auto tolerations = tolerations_of(chart, s); !tolerations.empty()) pod.set("tolerations", std::move(tolerations));

  object labels{{std::string(chart_label), name_of(chart)}};
  value template_ = object{{"metadata", object{{"labels", labels}}}, {"spec", std::move(pod)}};
  const auto limit = spec["backOffLimit"].as_integer(back_off_limit);
  auto hash = hash_of(template_, limit, hashed);
  template_.member("metadata").set("annotations", object{{std::string(hash_note), "SHA256=" + hash}});
  out.hash = hash.substr(0, label_max);
  out.objects.push_back(account_of(chart));
  out.objects.push_back(binding_of(chart, s.job_cluster_role));
  out.job =
      object{{"apiVersion", "batch/v1"},
             {"kind", "Job"},
             {"metadata",
              object{{"name", job_name(chart)}, {"namespace", namespace_of(chart)}, {"labels", std::move(labels)}}},
             {"spec", object{{"suspend", true}, {"backoffLimit", limit}, {"template", std::move(template_)}}}};
  return out;
}

void release::see(const value& labels) {
  auto number = parse_int(labels["version"].as_string());
  if (!number || *number <= revision) return;
  revision = *number;
  status = text(labels["status"]);
  hash = text(labels[hash_note]);
}

void expect(value& job, const release& now, const std::string& hash) {
  auto& containers = job.member("spec").member("template").member("spec").member("containers").make_array();
  for (auto& c : containers) {
    c.member("env").push_back(variable(expectations[0], std::to_string(now.revision)));
    c.member("env").push_back(variable(expectations[1], hash));
  }
}

bool is_another(const value& there, const value& wanted) {
  auto plain = [](value t) {
    t.member("metadata").erase("labels");
    t.member("metadata").erase("creationTimestamp");
    auto& pod = t.member("spec");
    for (auto name : {"serviceAccount", "terminationGracePeriodSeconds", "dnsPolicy", "schedulerName"}) pod.erase(name);
    for (auto& c : pod.member("containers").make_array()) {
      c.erase("terminationMessagePath");
      c.erase("terminationMessagePolicy");
      std::erase_if(c.member("env").make_array(), [](auto& e) {
        return std::ranges::find(expectations, e["name"].as_string()) != std::end(expectations);
      });
    }
    return t;
  };
  return plain(there["spec"]["template"]) != plain(wanted["spec"]["template"]);
}

}  // namespace kedge::control::charts
