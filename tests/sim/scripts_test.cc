// The scripts of tests/answers/controllers, played to Kedge's controllers in simulated time: what the looks see is what a real
// kube-controller-manager left (README.md there; record_scripts.py is this player's twin, step for step).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "cli/options_load.h"
#include "control_world.h"
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
  json::object spec{{"containers", json::array{container}}, {"terminationGracePeriodSeconds", 30},
                    {"automountServiceAccountToken", false}, {"serviceAccountName", "default"}};
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

std::string normal_text(std::string_view text) {
  if (text.size() > 10 && text[4] == '-' && text[7] == '-' && text[10] == 'T') return "TIME";
  if (text.starts_with("-----BEGIN CERTIFICATE")) return "PEM";
  std::string out;
  for (std::size_t i = 0; i < text.size();)
    if (is_uid_at(text, i))
      out += "UID", i += 36;
    else
      out += text[i++];
  return out;
}

// Times and uids are words: no two runs have the same. Members by name.
json::value normal(const json::value& v) {
  if (auto* text = v.string()) return normal_text(*text);
  if (auto* list = v.array()) {
    json::array out;
    for (auto& e : *list) out.push_back(normal(e));
    return out;
  }
  if (auto* members = v.object()) {
    std::map<std::string, json::value> sorted;
    for (auto& [name, value] : *members) sorted.emplace(name, normal(value));
    json::object out;
    for (auto& [name, value] : sorted) out.append(name, std::move(value));
    return out;
  }
  return v;
}

std::string full_name(const json::value& o) {
  auto& meta = o["metadata"];
  return (meta["namespace"].is_null() ? "" : std::string(meta["namespace"].as_string()) + "/") + std::string(meta["name"].as_string());
}

// What a look keeps of an object.
json::value seen(const json::value& o) {
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
  } else if (kind == "Pod") {
    out.erase("labels");  // its node's topology among them: an admission plugin's
    json::object status;
    for (auto name : {"phase", "reason", "message", "conditions", "observedGeneration"})
      if (auto* v = o["status"].find(name)) status.set(name, *v);
    out.set("status", std::move(status));
  } else {
    for (auto& [name, value] : *o.object())
      if (name != "kind" && name != "apiVersion" && name != "metadata") out.set(name, value);
  }
  return normal(json::value(std::move(out)));
}

std::string event_line(const json::value& e) {
  auto& about = e["involvedObject"];
  auto text = [](const json::value& v) { return v.as_string(); };
  return normal_text(fmt::format("{} {} {} {} {}/{}: {}", text(e["type"]), text(e["reason"]), text(e["source"]["component"]), text(about["kind"]),
                            text(about["namespace"]), text(about["name"]), text(e["message"])));
}

control_options options_of(const json::value& script) {
  control_options out;
  std::vector<std::string> arguments, warnings;
  for (auto& a : or_else(script["arguments"], json::array()).make_array()) arguments.emplace_back(a.as_string());
  auto read = cli::read_controller_manager_arguments(arguments, warnings);
  REQUIRE(read.has_value());
  CHECK(warnings.empty());
  out.settings = *std::move(read);
  out.settings.root_ca_pem = certificate;
  for (auto& name : *script["controllers"].array()) out.controllers.emplace_back(name.as_string());
  return out;
}

class play {
 public:
  explicit play(const json::value& script) : c_(1, options_of(script)) {
    // What bootstrap makes, as far as scripts need it.
    c_.create(thing("Namespace").resource, yaml("{kind: Namespace, apiVersion: v1, metadata: {name: kube-public}}"));
    c_.create(thing("ClusterRole").resource,
              yaml("{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: aggregator}, "
                   "rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [escalate]}]}"));
    c_.create({"rbac.authorization.k8s.io", "v1", "clusterrolebindings"},
              yaml("{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: aggregator}, "
                   "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: aggregator}, "
                   "subjects: [{kind: ServiceAccount, name: clusterrole-aggregation-controller, namespace: kube-system}]}"));
    c_.run_for(2s);
  }

  // What a look saw; null for other steps.
  json::value step(const json::value& given) {
    auto s = with_uids(given);
    if (!s["after"].is_null()) {
      live(parse_duration(s["after"].as_string()).value());
    } else if (auto* alive = s.find("alive")) {
      alive_.clear();
      for (auto& name : *alive->array()) alive_.emplace(name.as_string());
    } else if (auto* nodes = s.find("nodes")) {
      for (auto& name : *nodes->array()) add_node(std::string(name.as_string()), s["zone"]);
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
    } else if (auto* gone = s.find("delete")) {
      c_.remove(thing((*gone)["kind"].as_string()).resource, std::string((*gone)["metadata"]["namespace"].as_string()),
                std::string((*gone)["metadata"]["name"].as_string()),
                {.propagation_policy = std::string((*gone)["propagationPolicy"].as_string()), .grace_seconds = (*gone)["gracePeriodSeconds"].as_integer(-1)});
    } else if (auto* what = s.find("look")) {
      json::object out;
      for (auto& w : *what->array()) out.set(w.as_string(), look(w.as_string()));
      return normal(json::value(std::move(out)));
    } else {
      FAIL("what is " << json::write(given));
    }
    return {};
  }

 private:
  wall_time wall() { return wall_time(c_.w.now().time_since_epoch()); }

  // Time passes; kubelets that live renew their Leases each second.
  void live(duration d) {
    for (auto end = c_.w.now() + d; c_.w.now() < end;) {
      auto renewed = format_rfc3339_micro(wall());
      for (auto& name : alive_) {
        auto lease = yaml(fmt::format("{{kind: Lease, apiVersion: coordination.k8s.io/v1, metadata: {{name: {0}, namespace: kube-node-lease}}, "
                                      "spec: {{holderIdentity: {0}, leaseDurationSeconds: 40, renewTime: '{1}'}}}}", name, renewed));
        if (known_.insert(name).second)
          c_.create(thing("Lease").resource, lease);
        else
          merge("Lease", lease["metadata"], json::object{{"spec", lease["spec"]}}, "");
      }
      c_.run_for(std::min<duration>(end - c_.w.now(), 1s));
    }
  }

  void merge(std::string_view kind, const json::value& meta, json::value patch, std::string part) {
    auto why = c_.act([&](api::objects& o) -> task<std::string> {
      auto done = co_await o.patch(thing(kind).resource, std::string(meta["namespace"].as_string()), std::string(meta["name"].as_string()),
                                   api::patch_kind::merge, patch, part);
      co_return done ? "" : done.error().message;
    });
    CHECK(why == "");
  }

  void add_node(const std::string& name, const json::value& zone) {
    json::object labels{{"kubernetes.io/os", "linux"}};
    if (!zone.is_null()) labels.set("topology.kubernetes.io/zone", zone);
    c_.create(thing("Node").resource, json::object{{"kind", "Node"}, {"apiVersion", "v1"}, {"metadata", json::object{{"name", name}, {"labels", labels}}}});
    json::object first{{"Ready", "True"}};
    for (auto kind : kubelets_conditions) first.set(kind, "False");
    set_conditions(name, first);
  }

  // As a kubelet does: with a heartbeat.
  void set_conditions(const std::string& name, const json::object& wanted) {
    auto now = format_rfc3339(wall());
    c_.set_status(thing("Node").resource, "", name, [&](json::value& node) {
      auto& list = node.member("status").member("conditions").make_array();
      for (auto& [kind, status] : wanted) {
        auto it = std::ranges::find_if(list, [&](auto& c) { return c["type"].as_string() == kind; });
        if (it == list.end()) it = list.insert(it, json::object{{"type", kind}});
        for (auto& [field, value] : json::object{{"status", status}, {"reason", "Posted"}, {"message", "posted"}, {"lastHeartbeatTime", now}, {"lastTransitionTime", now}})
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

  json::value look(std::string_view what) {
    auto plural = what.substr(0, what.find('/'));
    auto name = plural.size() < what.size() ? what.substr(plural.size() + 1) : std::string_view();
    std::map<std::string, json::value> objects;
    std::set<std::string> lines;
    for (auto& o : all(thing_by_plural(plural))) {
      if (std::ranges::find(own_namespaces, o["metadata"]["namespace"].as_string()) != std::end(own_namespaces)) continue;
      if (!name.empty() && o["metadata"]["name"].as_string() != name) continue;
      if (plural == "events")
        lines.insert(event_line(o));
      else
        objects.emplace(full_name(o), seen(o));
    }
    json::array out;
    for (auto& line : lines) out.push_back(line);
    for (auto& [_, o] : objects) out.push_back(o);
    return out;
  }

  control_world c_;
  std::set<std::string> alive_, known_;
};

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
      auto differences = compared(got, normal(answer[looks]));
      CHECK_MESSAGE(differences.empty(), "look " << looks + 1 << ":" << differences);
      ++looks;
    }
    CHECK(looks == answer.size());
  }
}

}  // namespace

TEST_CASE("controllers do to nodes what kube-controller-manager does") { compare(KEDGE_ANSWERS "/controllers/nodes.yaml"); }
TEST_CASE("controllers clean up what kube-controller-manager cleans up") { compare(KEDGE_ANSWERS "/controllers/cleanup.yaml"); }
