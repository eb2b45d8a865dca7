// The scripts of tests/answers/controllers, played to Kedge's controllers in simulated time: what the looks see is what
// a real kube-controller-manager left (README.md there; record_scripts.py is this player's twin, step for step).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <set>

#include "base/strings.h"
#include "cli/options_load.h"
#include "control_world.h"
#include "crypto/certificate.h"
#include "json/parse.h"
#include "json/write.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

struct kind_of_thing {
  std::string_view kind;
  api::resource_id resource;
  bool namespaced = true;
};

const kind_of_thing things[] = {
    {"Node", {"", "v1", "nodes"}, false},
    {"Pod", {"", "v1", "pods"}},
    {"ConfigMap", {"", "v1", "configmaps"}},
    {"Secret", {"", "v1", "secrets"}},
    {"Namespace", {"", "v1", "namespaces"}, false},
    {"ServiceAccount", {"", "v1", "serviceaccounts"}},
    {"ResourceQuota", {"", "v1", "resourcequotas"}},
    {"PersistentVolumeClaim", {"", "v1", "persistentvolumeclaims"}},
    {"PersistentVolume", {"", "v1", "persistentvolumes"}, false},
    {"Event", {"", "v1", "events"}},
    {"Lease", {"coordination.k8s.io", "v1", "leases"}},
    {"ClusterRole", {"rbac.authorization.k8s.io", "v1", "clusterroles"}, false},
    {"ReplicaSet", {"apps", "v1", "replicasets"}},
    {"DaemonSet", {"apps", "v1", "daemonsets"}},
    {"PodDisruptionBudget", {"policy", "v1", "poddisruptionbudgets"}},
    {"Service", {"", "v1", "services"}},
    {"Endpoints", {"", "v1", "endpoints"}},
    {"ReplicationController", {"", "v1", "replicationcontrollers"}},
    {"Deployment", {"apps", "v1", "deployments"}},
    {"StatefulSet", {"apps", "v1", "statefulsets"}},
    {"ControllerRevision", {"apps", "v1", "controllerrevisions"}},
    {"Job", {"batch", "v1", "jobs"}},
    {"CronJob", {"batch", "v1", "cronjobs"}},
    {"EndpointSlice", {"discovery.k8s.io", "v1", "endpointslices"}},
    {"HorizontalPodAutoscaler", {"autoscaling", "v2", "horizontalpodautoscalers"}},
    {"StorageClass", {"storage.k8s.io", "v1", "storageclasses"}, false},
    {"VolumeAttachment", {"storage.k8s.io", "v1", "volumeattachments"}, false},
    {"CSINode", {"storage.k8s.io", "v1", "csinodes"}, false},
    {"CSIDriver", {"storage.k8s.io", "v1", "csidrivers"}, false},
    {"ServiceCIDR", {"networking.k8s.io", "v1", "servicecidrs"}, false},
    {"IPAddress", {"networking.k8s.io", "v1", "ipaddresses"}, false},
    {"ResourceClaim", {"resource.k8s.io", "v1", "resourceclaims"}},
    {"ResourceClaimTemplate", {"resource.k8s.io", "v1", "resourceclaimtemplates"}},
    {"CertificateSigningRequest", {"certificates.k8s.io", "v1", "certificatesigningrequests"}, false},
    {"StorageVersionMigration", {"storagemigration.k8s.io", "v1", "storageversionmigrations"}, false},
};
constexpr std::string_view own_namespaces[] = {"kube-system", "kube-public", "kube-node-lease"};
constexpr std::string_view kubelets_conditions[] = {"MemoryPressure", "DiskPressure", "PIDPressure"};
constexpr std::string_view certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

const kind_of_thing& thing(std::string_view kind) {
  auto* found = std::ranges::find(things, kind, &kind_of_thing::kind);
  REQUIRE_MESSAGE(found != std::end(things), std::string(kind));
  return *found;
}

const kind_of_thing& thing_by_plural(std::string_view plural) {
  auto* found = std::ranges::find_if(things, [&](auto& t) { return t.resource.plural == plural; });
  REQUIRE_MESSAGE(found != std::end(things), std::string(plural));
  return *found;
}

json::value file(const std::filesystem::path& path) {
  std::ifstream in(path);
  REQUIRE_MESSAGE(in.good(), path.string());
  std::string text(std::istreambuf_iterator<char>(in), {});
  return path.extension() == ".yaml" ? yaml(text) : json::parse(text).value();
}

json::value or_else(const json::value& v, json::value otherwise) { return v.is_null() ? std::move(otherwise) : v; }

// A step's pod, and its status (null: none yet).
std::pair<json::value, json::value> pod_of(const json::value& step) {
  json::object meta{{"name", step["name"]}, {"namespace", or_else(step["namespace"], "default")}};
  for (auto name : {"labels", "finalizers"})
    if (!step[name].is_null()) meta.set(name, step[name]);
  if (!step["owner"].is_null()) meta.set("ownerReferences", json::array{step["owner"]});
  json::object container{{"name", "c"}, {"image", "i"}};
  if (!step["resources"].is_null()) container.set("resources", step["resources"]);
  json::object spec{{"containers", json::array{container}},
                    {"terminationGracePeriodSeconds", 30},
                    {"automountServiceAccountToken", false},
                    {"serviceAccountName", "default"}};
  for (auto [name, field] : {std::pair{"node", "nodeName"}, {"tolerations", "tolerations"}, {"volumes", "volumes"}})
    if (!step[name].is_null()) spec.set(field, step[name]);
  json::object status;
  if (!step["node"].is_null() || !step["phase"].is_null()) {
    status.set("phase", or_else(step["phase"], "Running"));
    status.set("conditions", json::array{json::object{{"type", "Ready"}, {"status", or_else(step["ready"], "True")}}});
  }
  if (!step["reason"].is_null()) status.set("reason", step["reason"]);
  json::value pod = json::object{{"kind", "Pod"}, {"apiVersion", "v1"}, {"metadata", meta}, {"spec", spec}};
  return {std::move(pod), status.empty() ? json::value() : json::value(std::move(status))};
}

bool is_uid_at(std::string_view text, std::size_t at) {
  if (at + 36 > text.size()) return false;
  for (std::size_t i = 0; i < 36; ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    auto c = text[at + i];
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

// The letters of generated names and of hashes.
bool is_safe(char c) { return std::string_view("bcdfghjklmnpqrstvwxz2456789").find(c) != std::string_view::npos; }
bool goes_on(std::string_view text, std::size_t at) {
  return at < text.size() &&
         ((text[at] >= 'a' && text[at] <= 'z') || (text[at] >= '0' && text[at] <= '9') || text[at] == '.');
}
// How many characters from `at` on are of the kind, when no word's character is before or behind them.
template <typename F>
std::size_t run_of(std::string_view text, std::size_t at, F kind) {
  auto end = at;
  while (end < text.size() && kind(text[end])) ++end;
  return goes_on(text, end) || (at > 0 && goes_on(text, at - 1)) ? 0 : end - at;
}

using hash_words = std::map<std::string, std::string, std::less<>>;

// What is random in names is a word, and each hash is counted.
std::string without_names(std::string_view text, const hash_words& hashes) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const bool first = i == 0 || !goes_on(text, i - 1), behind_dash = i > 0 && text[i - 1] == '-';
    auto safe = first ? run_of(text, i, is_safe) : 0;
    if (safe >= 7 && safe <= 10) {
      if (auto found = hashes.find(text.substr(i, safe)); found != hashes.end()) {
        out += found->second, i += safe;
        continue;
      }
    }
    if (behind_dash && safe == 5) {
      out += '*', i += 5;
      continue;
    }
    if (behind_dash && first && run_of(text, i, [](char c) { return c >= '0' && c <= '9'; }) == 8) {
      out += "MINUTE", i += 8;
      continue;
    }
    out += text[i++];
  }
  return out;
}

std::string normal_text(std::string_view text, const hash_words& hashes = {}) {
  if (text.size() > 10 && text[4] == '-' && text[7] == '-' && text[10] == 'T') return "TIME";
  if (text.starts_with("-----BEGIN CERTIFICATE") || text.starts_with("LS0tLS1CRUdJTi")) return "PEM";
  if (text.starts_with("ZXlK")) return "TOKEN";
  std::string out;
  for (std::size_t i = 0; i < text.size();)
    if (is_uid_at(text, i))
      out += "UID", i += 36;
    else
      out += text[i++];
  return without_names(out, hashes);
}

// Times and uids are words: no two runs have the same. Members by name.
json::value normal(const json::value& v, const hash_words& hashes = {}) {
  if (auto* text = v.string()) return normal_text(*text, hashes);
  if (auto* list = v.array()) {
    json::array out;
    for (auto& e : *list) out.push_back(normal(e, hashes));
    return out;
  }
  if (auto* members = v.object()) {
    std::map<std::string, json::value> sorted;
    for (auto& [name, value] : *members) sorted.emplace(name, normal(value, hashes));
    json::object out;
    for (auto& [name, value] : sorted) out.append(name, std::move(value));
    return out;
  }
  return v;
}

json::array sorted_by_text(
    const json::value& list, const std::function<json::value(const json::value&)>& key = [](auto& v) { return v; }) {
  json::array out = list.array() ? *list.array() : json::array();
  std::ranges::stable_sort(out, {}, [&](auto& v) { return json::write(normal(key(v))); });
  return out;
}

std::string full_name(const json::value& o) {
  auto& meta = o["metadata"];
  return (meta["namespace"].is_null() ? "" : std::string(meta["namespace"].as_string()) + "/") +
         std::string(meta["name"].as_string());
}

// A pod as its workload made it.
void keep_whole_pod(json::object& out, const json::value& o) {
  json::object labels;
  if (auto* all = o["metadata"]["labels"].object())
    for (auto& [name, value] : *all)
      if (!name.starts_with("topology.")) labels.append(name, value);
  out.set("labels", std::move(labels));
  out.set("phase", o["status"]["phase"]);
  auto& spec = o["spec"];
  json::array containers, volumes;
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) {
    json::object c;
    for (auto name : {"name", "image", "env"})
      if (auto* v = spec["containers"][i].find(name)) c.set(name, *v);
    containers.emplace_back(std::move(c));
  }
  for (std::size_t i = 0; i < spec["volumes"].size(); ++i)
    if (!spec["volumes"][i]["name"].as_string().starts_with("kube-api-access")) volumes.push_back(spec["volumes"][i]);
  out.set("containers", std::move(containers));
  out.set("volumes", sorted_by_text(volumes, [](auto& v) { return v["name"]; }));
  out.set("tolerations", sorted_by_text(spec["tolerations"]));
  for (auto name : {"nodeName", "hostname", "subdomain", "affinity", "restartPolicy"})
    if (auto* v = spec.find(name)) out.set(name, *v);
}

// What a look keeps of an object.
json::value seen(const json::value& o, const hash_words& hashes, bool whole) {
  auto& meta = o["metadata"];
  json::object out{{"name", full_name(o)}};
  for (auto name : {"labels", "annotations", "finalizers", "ownerReferences"})
    if (!meta[name].empty()) out.set(name, meta[name]);
  if (!meta["deletionTimestamp"].is_null()) out.set("deleting", true);
  auto kind = o["kind"].as_string();
  if (kind == "Node") {
    auto taints = o["spec"]["taints"].array() ? *o["spec"]["taints"].array() : json::array();
    std::ranges::sort(taints, {}, [](auto& t) { return std::pair(t["key"].as_string(), t["effect"].as_string()); });
    out.set("taints", std::move(taints));
    out.set("unschedulable", o["spec"]["unschedulable"].as_bool());
    out.set("conditions", or_else(o["status"]["conditions"], json::array()));
    if (auto* attached = o["status"].find("volumesAttached")) out.set("volumesAttached", *attached);
  } else if (whole) {
    keep_whole_pod(out, o);
  } else if (kind == "Pod") {
    out.erase("labels");  // its node's topology among them: an admission plugin's
    json::object status;
    for (auto name : {"phase", "reason", "message", "conditions", "observedGeneration", "resourceClaimStatuses"})
      if (auto* v = o["status"].find(name)) status.set(name, *v);
    out.set("status", std::move(status));
  } else {
    for (auto& [name, value] : *o.object())
      if (name != "kind" && name != "apiVersion" && name != "metadata") out.set(name, value);
    if (kind == "CertificateSigningRequest") {
      auto spec = o["spec"];
      for (auto asker : {"username", "uid", "groups", "extra"}) spec.erase(asker);
      out.set("spec", std::move(spec));
    }
    if (kind == "EndpointSlice")
      out.set("endpoints", sorted_by_text(o["endpoints"], [](auto& e) { return e["addresses"]; }));
  }
  return normal(json::value(std::move(out)), hashes);
}

std::string event_line(const json::value& e, const hash_words& hashes) {
  auto& about = e["involvedObject"];
  auto text = [](const json::value& v) { return v.as_string(); };
  return normal_text(
      fmt::format("{} {} {} {} {}/{}: {}", text(e["type"]), text(e["reason"]), text(e["source"]["component"]),
                  text(about["kind"]), text(about["namespace"]), text(about["name"]), text(e["message"])),
      hashes);
}

// What adapters answer, by path: items, or the code of a refusal.
using measured_items = std::map<std::string, json::value, std::less<>>;

api::raw_answer answer_of(const measured_items& all, std::string_view path) {
  if (path == "/apis/custom.metrics.k8s.io") return {200, R"({"preferredVersion":{"version":"v1beta2"}})"};
  std::string as_go_asks(path);  // spaces as forms have them
  for (std::size_t at; (at = as_go_asks.find("%20")) != as_go_asks.npos;) as_go_asks.replace(at, 3, "+");
  auto found = all.find(as_go_asks);
  if (found != all.end() && found->second.is_array()) return {200, json::write(json::object{{"items", found->second}})};
  const int code = found == all.end() ? 404 : static_cast<int>(found->second.as_integer());
  return {code, json::write(json::object{{"kind", "Status"}, {"message", fmt::format("no metrics: {}", code)}})};
}

control_options options_of(const json::value& script, const measured_items& measured) {
  control_options out;
  auto& steps = *script["steps"].array();
  if (std::ranges::any_of(steps, [](auto& step) { return step.find("measures") != nullptr; }))
    out.ask = [&measured](api::user_ref, api::raw_request q) -> task<result<api::raw_answer>> {
      co_return answer_of(measured, q.path);
    };
  std::vector<std::string> arguments, warnings;
  for (auto& a : or_else(script["arguments"], json::array()).make_array()) arguments.emplace_back(a.as_string());
  auto read = cli::read_controller_manager_arguments(arguments, warnings);
  REQUIRE(read.has_value());
  CHECK(warnings.empty());
  out.settings = *std::move(read);
  out.settings.root_ca_pem = certificate;
  static const auto authority = crypto::authority::create("ca", wall_time(std::chrono::seconds(1'700'000'000))).value();
  out.settings.client_authority = out.settings.server_authority = std::make_shared<crypto::authority>(authority);
  out.settings.service_account_key = std::make_shared<crypto::private_key>(authority.key());
  for (auto& name : *script["controllers"].array()) out.controllers.emplace_back(name.as_string());
  return out;
}

class play {
 public:
  explicit play(const json::value& script) : c_(1, options_of(script, measured_)) {
    // What bootstrap makes, as far as scripts need it.
    c_.create(thing("Namespace").resource, yaml("{kind: Namespace, apiVersion: v1, metadata: {name: kube-public}}"));
    c_.grant("clusterrole-aggregation-controller",
             "{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [escalate]}");
    c_.grant("resource-claim-controller",
             "{apiGroups: [resource.k8s.io], resources: [resourceclaims/binding], verbs: [update, patch]}");
    if (std::ranges::any_of(*script["controllers"].array(),
                            [](auto& name) { return name.as_string().starts_with("csr"); }))
      c_.grant("certificate-controller",
               "{apiGroups: [certificates.k8s.io], resources: [signers], verbs: [approve, sign]}");
    c_.run_for(2s);
  }

  // What a look saw; null for other steps.
  json::value step(const json::value& given) {
    auto s = with_uids(given);
    if (!s["after"].is_null()) {
      live(parse_duration(s["after"].as_string()).value());
    } else if (auto* second = s.find("minute")) {
      auto into = wall().time_since_epoch() % 60s;
      auto left = (std::chrono::seconds(second->as_integer()) - into + 60s) % 60s;
      live(left > 0s ? duration(left) : 60s);
    } else if (auto* plural = s.find("deleteall")) {
      auto& t = thing_by_plural(plural->as_string());
      for (auto& o : all(t))
        c_.remove(t.resource, std::string(o["metadata"]["namespace"].as_string()),
                  std::string(o["metadata"]["name"].as_string()), {.propagation_policy = "Background"});
    } else if (auto* how = s.find("finishjobs")) {
      finish_jobs(how->as_string());
    } else if (auto* act = s.find("kubelet")) {
      if (act->is_object())
        kubelet(*act);
      else
        auto_ = act->as_string() == "auto";
    } else if (auto* alive = s.find("alive")) {
      alive_.clear();
      for (auto& name : *alive->array()) alive_.emplace(name.as_string());
    } else if (auto* nodes = s.find("nodes")) {
      for (auto& name : *nodes->array()) add_node(std::string(name.as_string()), s["zone"], s["labels"]);
    } else if (auto* ready = s.find("ready")) {
      for (auto& [name, status] : *ready->object()) set_conditions(name, json::object{{"Ready", status}});
    } else if (auto* conditions = s.find("conditions")) {
      for (auto& [name, wanted] : *conditions->object()) set_conditions(name, *wanted.object());
    } else if (auto* given_pod = s.find("pod")) {
      auto [pod, status] = pod_of(*given_pod);
      c_.create(thing("Pod").resource, pod);
      if (!status.is_null()) merge("Pod", pod["metadata"], json::object{{"status", status}}, "status");
    } else if (auto* state = s.find("podstatus")) {
      merge("Pod", json::object{{"namespace", "default"}, {"name", (*state)["name"]}},
            json::object{{"status", json::object{{"phase", (*state)["phase"]}}}}, "status");
    } else if (auto* o = s.find("create")) {
      c_.create(thing((*o)["kind"].as_string()).resource, *o);
    } else if (s.find("patch") || s.find("status")) {
      bool status = s.find("status");
      auto body = s[status ? "status" : "patch"];
      std::string kind(body["kind"].as_string());
      body.erase("kind"), body.erase("apiVersion");
      merge(kind, body["metadata"], body, status ? "status" : "");
    } else if (auto* measures = s.find("measures")) {
      for (auto& [path, items] : *measures->object()) measured_.insert_or_assign(std::string(path), items);
    } else if (auto* name = s.find("approve")) {
      decide(*name, "Approved");
    } else if (auto* refused = s.find("deny")) {
      decide(*refused, "Denied");
    } else if (auto* gone = s.find("delete")) {
      c_.remove(thing((*gone)["kind"].as_string()).resource, std::string((*gone)["metadata"]["namespace"].as_string()),
                std::string((*gone)["metadata"]["name"].as_string()),
                {.propagation_policy = std::string((*gone)["propagationPolicy"].as_string()),
                 .grace_seconds = (*gone)["gracePeriodSeconds"].as_integer(-1)});
    } else if (auto* what = s.find("look")) {
      count_hashes();
      json::object out;
      for (auto& w : *what->array()) out.set(w.as_string(), look(w.as_string()));
      return normal(json::value(std::move(out)));
    } else {
      FAIL("what is " << json::write(given));
    }
    return {};
  }

 private:
  wall_time wall() { return c_.server(0).loop().wall_now(); }

  // Time passes; kubelets that live renew their Leases each second, and look after pods when they do so by themselves.
  void live(duration d) {
    for (auto end = c_.w.now() + d; c_.w.now() < end;) {
      auto renewed = format_rfc3339_micro(wall());
      for (auto& name : alive_) {
        auto lease = yaml(fmt::format(
            "{{kind: Lease, apiVersion: coordination.k8s.io/v1, metadata: {{name: {0}, namespace: kube-node-lease}}, "
            "spec: {{holderIdentity: {0}, leaseDurationSeconds: 40, renewTime: '{1}'}}}}",
            name, renewed));
        if (known_.insert(name).second)
          c_.create(thing("Lease").resource, lease);
        else
          merge("Lease", lease["metadata"], json::object{{"spec", lease["spec"]}}, "");
      }
      if (auto_) {
        kubelet(json::object{{"does", "run"}});
        kubelet(json::object{{"does", "end"}});
      }
      c_.run_for(std::min<duration>(end - c_.w.now(), auto_ ? 200ms : 1s));
    }
  }

  // What kubelets do to pods: those of a name, or of some labels, that the act is for; the first `count` of them.
  void kubelet(const json::value& act) {
    auto does = act["does"].as_string();
    std::vector<json::value> chosen;
    for (auto& pod : all(thing("Pod"))) {
      auto phase = pod["status"]["phase"].as_string();
      const bool deleting = !pod["metadata"]["deletionTimestamp"].is_null();
      const bool fits =
          does == "end" ? deleting
                        : !deleting && (does == "run" ? phase == "Pending" : phase != "Succeeded" && phase != "Failed");
      if (!fits || pod["metadata"]["namespace"].as_string() != "default") continue;
      if (act.find("name") && act["name"].as_string() != pod["metadata"]["name"].as_string()) continue;
      if (!api::label_selector::from_map(or_else(act["labels"], json::object())).matches(pod["metadata"]["labels"]))
        continue;
      chosen.push_back(pod);
    }
    std::ranges::sort(chosen, {}, [](auto& p) {
      return std::pair(p["status"]["phase"].as_string() != "Running", p["metadata"]["name"].as_string());
    });
    auto count = std::min(chosen.size(), static_cast<std::size_t>(act["count"].as_integer(1'000'000)));
    for (std::size_t i = 0; i < count; ++i) kubelet_does(act, chosen[i]);
  }

  void kubelet_does(const json::value& act, const json::value& pod) {
    auto does = act["does"].as_string();
    std::string name(pod["metadata"]["name"].as_string());
    if (does == "end") return c_.remove(thing("Pod").resource, "default", name, {.grace_seconds = 0});
    if (pod["spec"]["nodeName"].is_null()) bind(pod, std::string(act["node"].as_string("a")));
    c_.set_status(thing("Pod").resource, "default", name, [&](json::value& p) {
      auto now = format_rfc3339(wall());
      auto& status = p.member("status");
      status.set("phase", does == "succeed" ? "Succeeded" : does == "fail" ? "Failed" : "Running");
      set_pod_condition(
          status,
          json::object{{"type", "Ready"}, {"status", does == "run" ? "True" : "False"}, {"lastTransitionTime", now}});
      for (std::size_t i = 0; i < act["conditions"].size(); ++i) set_pod_condition(status, act["conditions"][i]);
      if (status["podIPs"].empty()) {
        ++addresses_;
        auto ip = fmt::format("10.1.{}.{}", addresses_ / 250, addresses_ % 250 + 1);
        status.set("podIP", ip);
        status.set("podIPs", json::array{json::object{{"ip", ip}}});
        status.set("startTime", now);
      }
      json::value state = json::object{{"running", json::object{{"startedAt", now}}}};
      if (does == "succeed" || does == "fail")
        state = json::object{{"terminated", json::object{{"exitCode", act["exit"].as_integer(does == "fail")},
                                                         {"reason", does == "fail" ? "Error" : "Completed"},
                                                         {"startedAt", now},
                                                         {"finishedAt", now}}}};
      json::array containers;
      for (std::size_t i = 0; i < p["spec"]["containers"].size(); ++i)
        containers.emplace_back(json::object{{"name", p["spec"]["containers"][i]["name"]},
                                             {"image", "i"},
                                             {"imageID", ""},
                                             {"ready", does == "run"},
                                             {"restartCount", act["restarts"].as_integer()},
                                             {"state", state}});
      status.set("containerStatuses", std::move(containers));
      if (act.find("reason")) status.set("reason", act["reason"]);
    });
  }

  void bind(const json::value& pod, std::string node) {
    auto& terms =
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    for (std::size_t i = 0; i < terms.size(); ++i)
      if (auto& fields = terms[i]["matchFields"]; !fields.empty()) node = fields[0]["values"][0].as_string();
    CHECK(c_.act([&](api::objects& o) -> task<std::string> {
      auto& m = pod["metadata"];
      auto done = co_await o.bind(std::string(m["namespace"].as_string()), std::string(m["name"].as_string()),
                                  std::string(m["uid"].as_string()), node);
      co_return done || done.error().code == 409 ? "" : done.error().message;
    }) == "");
  }

  static void set_pod_condition(json::value& status, const json::value& c) {
    auto& list = status.member("conditions").make_array();
    auto it = std::ranges::find_if(list, [&](auto& had) { return had["type"] == c["type"]; });
    if (it == list.end()) it = list.insert(it, json::object{});
    for (auto& [field, value] : *c.object()) it->set(field, value);
  }

  void merge(std::string_view kind, const json::value& meta, json::value patch, std::string part) {
    auto why = c_.act([&](api::objects& o) -> task<std::string> {
      auto done = co_await o.patch(thing(kind).resource, std::string(meta["namespace"].as_string()),
                                   std::string(meta["name"].as_string()), api::patch_kind::merge, patch, part);
      co_return done ? "" : done.error().message;
    });
    CHECK(why == "");
  }

  // What an administrator says to a certificate request.
  void decide(const json::value& name, std::string_view type) {
    merge("CertificateSigningRequest", json::object{{"name", name}},
          json::object{{"status", json::object{{"conditions", json::array{json::object{{"type", type},
                                                                                       {"status", "True"},
                                                                                       {"reason", "ByHand"},
                                                                                       {"message", "by hand"}}}}}}},
          "approval");
  }

  void add_node(const std::string& name, const json::value& zone, const json::value& more) {
    json::object labels{{"kubernetes.io/os", "linux"}};
    if (!zone.is_null()) labels.set("topology.kubernetes.io/zone", zone);
    if (auto* own = more.object())
      for (auto& [label, value] : *own) labels.set(label, value);
    c_.create(thing("Node").resource, json::object{{"kind", "Node"},
                                                   {"apiVersion", "v1"},
                                                   {"metadata", json::object{{"name", name}, {"labels", labels}}}});
    json::object first{{"Ready", "True"}};
    for (auto kind : kubelets_conditions) first.set(kind, "False");
    set_conditions(name, first);
  }

  // Ends jobs as job-controller would, when it doesn't run.
  void finish_jobs(std::string_view how) {
    for (auto& o : all(thing("Job"))) {
      if (!o["status"]["conditions"].empty()) continue;
      c_.set_status(
          thing("Job").resource, "default", std::string(o["metadata"]["name"].as_string()), [&](json::value& job) {
            auto now = format_rfc3339(wall());
            auto& status = job.member("status");
            status.set("startTime", now);
            json::array conditions;
            for (auto type :
                 {how == "Complete" ? std::string_view("SuccessCriteriaMet") : std::string_view("FailureTarget"), how})
              conditions.emplace_back(json::object{
                  {"type", type}, {"status", "True"}, {"lastTransitionTime", now}, {"lastProbeTime", now}});
            status.set("conditions", std::move(conditions));
            if (how == "Complete") status.set("completionTime", now), status.set("succeeded", 1);
          });
    }
  }

  // As a kubelet does: with a heartbeat.
  void set_conditions(const std::string& name, const json::object& wanted) {
    auto now = format_rfc3339(wall());
    c_.set_status(thing("Node").resource, "", name, [&](json::value& node) {
      auto& list = node.member("status").member("conditions").make_array();
      for (auto& [kind, status] : wanted) {
        auto it = std::ranges::find_if(list, [&](auto& c) { return c["type"].as_string() == kind; });
        if (it == list.end()) it = list.insert(it, json::object{{"type", kind}});
        for (auto& [field, value] : json::object{{"status", status},
                                                 {"reason", "Posted"},
                                                 {"message", "posted"},
                                                 {"lastHeartbeatTime", now},
                                                 {"lastTransitionTime", now}})
          it->set(field, value);
      }
    });
  }

  std::vector<json::value> all(const kind_of_thing& t) {
    std::vector<json::value> out;
    CHECK(c_.act([&](api::objects& o) -> task<std::string> {
      out.clear();
      o.each(t.resource, "", {}, [&](const json::value& v) { return out.push_back(v), true; });
      co_return "";
    }) == "");
    return out;
  }

  json::value with_uids(const json::value& v) {
    if (auto* members = v.object()) {
      json::object out;
      for (auto& [name, value] : *members) out.append(name, with_uids(value));
      return out;
    }
    if (auto* list = v.array()) {
      json::array out;
      for (auto& e : *list) out.push_back(with_uids(e));
      return out;
    }
    auto text = v.as_string();
    if (!text.starts_with("$uid(")) return v;
    auto path = text.substr(5, text.size() - 6);
    auto slash = path.find('/');
    auto name = path.substr(path[slash + 1] == '/' ? slash + 2 : slash + 1);
    for (auto& o : all(thing_by_plural(path.substr(0, slash))))
      if (full_name(o) == name) return o["metadata"]["uid"];
    FAIL("nothing has the uid " << text);
    return {};
  }

  // The hashes of templates, in the order of their revisions.
  void count_hashes() {
    std::set<std::tuple<std::string, std::int64_t, std::string>> found;
    for (auto kind : {"ReplicaSet", "ControllerRevision"})
      for (auto& o : all(thing(kind))) {
        auto& meta = o["metadata"];
        auto hashed = meta["labels"]["pod-template-hash"].as_string();
        if (hashed.empty()) hashed = meta["labels"]["controller.kubernetes.io/hash"].as_string();
        if (hashed.empty()) hashed = meta["name"].as_string().substr(meta["name"].as_string().rfind('-') + 1);
        auto noted = meta["annotations"]["deployment.kubernetes.io/revision"].as_string();
        found.emplace(meta["ownerReferences"].empty() ? "" : meta["ownerReferences"][0]["name"].as_string(),
                      noted.empty() ? o["revision"].as_integer() : parse_int(noted).value_or(0), hashed);
      }
    for (auto& [owner, revision, hashed] : found)
      if (hashed.size() >= 7 && hashed.size() <= 10 && std::ranges::all_of(hashed, is_safe))
        hashes_.emplace(hashed, fmt::format("HASH{}", hashes_.size() + 1));
  }

  // How many endpoints each slice has, where which ones it has is chance.
  json::value slice_sizes() {
    std::vector<std::int64_t> sizes;
    for (auto& o : all(thing("EndpointSlice"))) sizes.push_back(static_cast<std::int64_t>(o["endpoints"].size()));
    std::ranges::sort(sizes);
    return json::array(sizes.begin(), sizes.end());
  }

  json::value look(std::string_view what) {
    auto plural = what.substr(0, what.find('/'));
    auto name = plural.size() < what.size() ? what.substr(plural.size() + 1) : std::string_view();
    if (plural == "slicesizes") return slice_sizes();
    const bool whole = plural == "wholepods";
    if (whole) plural = "pods";
    std::map<std::pair<std::string, std::string>, json::value> objects;
    std::set<std::string> lines;
    for (auto& o : all(thing_by_plural(plural))) {
      if (std::ranges::find(own_namespaces, o["metadata"]["namespace"].as_string()) != std::end(own_namespaces))
        continue;
      if (!name.empty() && o["metadata"]["name"].as_string() != name) continue;
      if (plural == "events") {
        lines.insert(event_line(o, hashes_));
        continue;
      }
      auto kept = seen(o, hashes_, whole);
      std::pair key(std::string(kept["name"].as_string()), json::write(kept));
      while (objects.contains(key)) key.second += ' ';
      objects.emplace(std::move(key), std::move(kept));
    }
    json::array out;
    for (auto& line : lines) out.push_back(line);
    for (auto& [_, o] : objects) out.push_back(o);
    return out;
  }

  measured_items measured_;  // before what asks for it
  control_world c_;
  std::set<std::string> alive_, known_;
  hash_words hashes_;
  int addresses_ = 0;
  bool auto_ = false;
};

// What differs from run to run of the real one: which of two writes met a conflict, what came last of many alike.
std::string canonical_text(std::string_view text) {
  constexpr std::string_view combined = "(combined from similar events)";
  if (auto at = text.find(combined); at != text.npos) return std::string(text.substr(0, at + combined.size()));
  std::string out;
  // Which of a set's pods is the first by a name of chance.
  if (auto at = text.find(" on node "); at != text.npos && text.contains(" daemon pod ")) {
    auto rest = text.substr(std::min(text.find(',', at), text.size()));
    return canonical_text(text.substr(0, at)) + " on NODE" + std::string(rest);
  }
  for (std::size_t i = 0; i < text.size();) {
    auto safe = i == 0 || !goes_on(text, i - 1) ? run_of(text, i, is_safe) : 0;
    if (safe >= 8 && safe <= 10)
      out += "HASHED", i += safe;  // of a template that was gone before a look
    else
      out += text[i++];
  }
  return out;
}

bool is_list_of_conditions(const json::array& list) {
  return !list.empty() &&
         std::ranges::all_of(list, [](auto& c) { return c["type"].is_string() && c["status"].is_string(); });
}

// Lists whose order is that of a hash, there.
constexpr std::string_view kept_as_sets[] = {"events", "subsets",  "addresses", "notReadyAddresses",
                                             "ports",  "wholepods"};
// Which of two quick looks told it.
constexpr std::string_view trigger_note = "endpoints.kubernetes.io/last-change-trigger-time";

// A daemon without its node: which one an update begins with is chance.
void forget_node(json::object& pod) {
  auto* affinity = pod.find("affinity");
  if (!affinity || (*affinity)["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]
                              ["matchFields"]
                                  .empty())
    return;
  pod.erase("affinity");
  if (auto* node = pod.find("nodeName")) *node = "NODE";
}

json::value canonical(const json::value& v, std::string_view name = {}) {
  if (auto* text = v.string()) return name == "resourceVersion" ? "N" : canonical_text(*text);
  if (auto* list = v.array()) {
    std::vector<std::pair<std::string, json::value>> sorted;
    const bool conditions = is_list_of_conditions(*list);
    const bool set = conditions || std::ranges::find(kept_as_sets, name) != std::end(kept_as_sets);
    for (auto& e : *list) {
      if (e.as_string().find("ClusterIPNotAllocated") != std::string_view::npos) continue;  // kube-apiserver's own
      auto next = canonical(e);
      sorted.emplace_back(set ? json::write(conditions ? next["type"] : next) : "", std::move(next));
    }
    std::ranges::stable_sort(sorted, {}, &std::pair<std::string, json::value>::first);
    json::array out;
    for (auto& [_, e] : sorted)
      if (!(name == "events" && !out.empty() && out.back() == e)) out.push_back(std::move(e));
    return out;
  }
  if (auto* members = v.object()) {
    json::object out;
    for (auto& [key, value] : *members)
      if (key != trigger_note && !(key == "annotations" && value.size() == 1 && value.find(trigger_note)))
        out.append(key, canonical(value, key));
    forget_node(out);
    // A Deployment's that both mean the same.
    if (auto reason = v["reason"].as_string(); reason == "NewReplicaSetCreated" || reason == "ReplicaSetUpdated")
      out.set("reason", "moves"), out.erase("message");
    return out;
  }
  return v;
}

// One line for each place where the two differ.
std::string compared(const json::value& got, const json::value& real, const std::string& at = {}) {
  if (got == real) return {};
  std::string out;
  if (got.is_object() && real.is_object()) {
    for (auto& [name, value] : *real.object()) out += compared(got[name], value, at + "." + name);
    for (auto& [name, value] : *got.object())
      if (!real.find(name)) out += compared(value, {}, at + "." + name);
  } else if (got.is_array() && real.is_array()) {
    for (std::size_t i = 0; i < std::max(got.size(), real.size()); ++i) {
      auto& named = (i < real.size() ? real : got)[i];
      auto label = std::string(named["name"].as_string(named["type"].as_string(named["key"].as_string())));
      out += compared(got[i], real[i], at + "[" + (label.empty() ? std::to_string(i) : label) + "]");
    }
  } else {
    out = "\n  " + at + "\n    here:  " + json::write(got) + "\n    there: " + json::write(real);
  }
  return out;
}

void compare(const std::filesystem::path& scripts) {
  auto answers_file = scripts;
  auto answers = file(answers_file.replace_extension(".json"));
  for (auto& script : *file(scripts).array()) {
    std::string name(script["name"].as_string());
    CAPTURE(name);
    if (auto only = std::getenv("KEDGE_SCRIPT"); only && name != only) continue;  // by hand
    auto& answer = answers[name];
    if (!answer.is_array()) {
      CHECK_MESSAGE(false, "not recorded");
      continue;
    }
    play p(script);
    std::size_t looks = 0;
    for (auto& step : *script["steps"].array()) {
      auto got = p.step(step);
      if (got.is_null()) continue;
      auto differences = compared(canonical(got), canonical(normal(answer[looks])));
      CHECK_MESSAGE(differences.empty(), "look " << looks + 1 << ":" << differences);
      ++looks;
    }
    CHECK(looks == answer.size());
  }
}

}  // namespace

TEST_CASE("controllers do to nodes what kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/nodes.yaml");
}
TEST_CASE("controllers keep workloads as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/workloads.yaml");
}
TEST_CASE("controllers keep daemons as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/daemons.yaml");
}
TEST_CASE("controllers tell who serves as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/endpoints.yaml");
}
TEST_CASE("controllers bind volumes as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/volumes.yaml");
}
TEST_CASE("controllers keep claims of devices as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/devices.yaml");
}
TEST_CASE("controllers scale by themselves as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/autoscaling.yaml");
}
TEST_CASE("controllers scale by what adapters measure as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/measuring.yaml");
}
TEST_CASE("controllers let people in as kube-controller-manager does") {
  compare(KEDGE_ANSWERS "/controllers/access.yaml");
}
TEST_CASE("controllers clean up what kube-controller-manager cleans up") {
  compare(KEDGE_ANSWERS "/controllers/cleanup.yaml");
}
