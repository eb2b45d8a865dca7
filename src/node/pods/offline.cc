#include "node/pods/offline.h"

#include <fmt/format.h>

#include <utility>

#include "base/strings.h"
#include "crypto/digest.h"
#include "json/write.h"
#include "node/pods/seen.h"
#include "node/pods/static_pods.h"
#include "pod/references.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

std::string path_of(std::string_view ns, std::string_view kind, std::string_view name) {
  return fmt::format("/api/v1/namespaces/{}/{}/{}", ns, kind, name);
}
std::string path_of_pod(const value& pod) {
  auto& m = pod["metadata"];
  return path_of(m["namespace"].as_string(), "pods", m["name"].as_string());
}
bool is_pod_path(std::string_view path) {
  auto parts = split(path, '/');
  return parts.size() == 7 && parts[5] == "pods";
}
std::string services_of(std::string_view ns) { return path_of(ns, "services", ""); }
// One of many that an account can have: each of a pod, an audience and a length of life.
std::string path_of_token(std::string_view ns, const value& spec) {
  return path_of(ns, "pods", spec["boundObjectRef"]["name"].as_string()) + "/token/" +
         crypto::sha256_hex(as_bytes(json::write(spec)));
}

value picked(const value& from, std::initializer_list<std::string_view> members) {
  object out;
  for (auto name : members)
    if (auto* found = from.find(name)) out.set(std::string(name), *found);
  return out;
}

// What a start needs of it: the rest changes with each heartbeat and each restart of a container.
value essence_of(const value& pod) {
  value out(pod);
  auto& m = out.member("metadata");
  for (auto* name : {"managedFields", "resourceVersion"}) m.erase(name);
  out.set("status", picked(pod["status"], {"phase", "startTime", "qosClass"}));
  return out;
}

// Whether it is the server's word, not that there is none.
bool is_answer(const error& e) {
  switch (e.code) {
    case errc::invalid:
    case errc::forbidden:
    case errc::unauthenticated:
    case errc::not_found:
    case errc::already_exists:
    case errc::conflict:
    case errc::expired:
    case errc::too_large: return true;
    default: return false;
  }
}

}  // namespace

void offline_pods::let_go(const std::vector<std::string>& needs) {
  for (auto& path : needs) {
    auto count = needed_.find(path);
    if (count == needed_.end() || --count->second > 0) continue;
    needed_.erase(count);
    store_.forget(path);
  }
}

void offline_pods::keep(const value& pod) {
  auto path = path_of_pod(pod);
  auto ns = pod["metadata"]["namespace"].as_string();
  auto names = api::references_of(pod);
  one now{.uid = names.uid, .needs = {path, services_of(ns)}};
  for (auto& name : names.config_maps) now.needs.push_back(path_of(ns, "configmaps", name));
  for (auto& name : names.secrets) now.needs.push_back(path_of(ns, "secrets", name));
  for (auto& name : names.volume_claims) now.needs.push_back(path_of(ns, "persistentvolumeclaims", name));
  for (auto& need : now.needs) ++needed_[need];
  auto& known = known_[path];
  let_go(std::exchange(known, std::move(now)).needs);
  store_.keep(path, essence_of(pod));
}

void offline_pods::listed(const std::vector<value>& pods) {
  known_.clear();
  needed_.clear();
  for (auto& pod : pods)
    if (!is_mirror(pod) && !is_terminal_phase(pod["status"]["phase"].as_string())) keep(pod);
  for (auto& path : store_.paths()) {
    // What is the cluster's goes with the last pod, tokens with theirs.
    const bool is_needed = !path.starts_with("/api/v1/namespaces/")
                               ? !known_.empty() || path.starts_with("/api/v1/nodes/")
                               : needed_.contains(path) || known_.contains(path.substr(0, path.find("/token/")));
    if (!is_needed) store_.forget(path);
  }
}

void offline_pods::changed(const value& pod) {
  if (is_mirror(pod)) return;
  if (is_terminal_phase(pod["status"]["phase"].as_string())) return removed(pod);
  keep(pod);
}

void offline_pods::removed(const value& pod) {
  auto known = known_.find(path_of_pod(pod));
  if (known == known_.end() || known->second.uid != pod["metadata"]["uid"].as_string()) return;
  let_go(known->second.needs);
  store_.forget_below(known->first + "/");
  known_.erase(known);
}

task<std::vector<value>> offline_pods::pods() {
  std::vector<value> out;
  for (auto& path : store_.paths()) {
    if (!is_pod_path(path)) continue;
    if (auto pod = co_await store_.find(path)) out.push_back(*std::move(pod));
  }
  co_return out;
}

task<result<std::optional<value>>> offline_cluster::either(std::string path, task<result<std::optional<value>>> asked) {
  auto answer = co_await std::move(asked);
  if (answer && *answer)
    store_.keep(std::move(path), **answer);
  else if (answer)
    store_.forget(path);
  else if (!is_answer(answer.error()))
    if (auto kept = co_await store_.find(std::move(path))) co_return kept;
  co_return answer;
}

task<result<std::optional<value>>> offline_cluster::config_map(std::string ns, std::string name, time_point since) {
  auto path = path_of(ns, "configmaps", name);
  return either(std::move(path), api_.config_map(std::move(ns), std::move(name), since));
}
task<result<std::optional<value>>> offline_cluster::secret(std::string ns, std::string name, time_point since) {
  auto path = path_of(ns, "secrets", name);
  return either(std::move(path), api_.secret(std::move(ns), std::move(name), since));
}
task<result<std::optional<value>>> offline_cluster::object(std::string path) {
  auto asked = api_.object(path);
  return either(std::move(path), std::move(asked));
}

task<result<std::vector<value>>> offline_cluster::services(std::string ns, time_point since) {
  auto path = services_of(ns);
  auto answer = co_await api_.services(std::move(ns), since);
  if (answer) {
    json::array all(answer->begin(), answer->end());
    store_.keep(std::move(path), value(std::move(all)));
  } else if (!is_answer(answer.error())) {
    auto kept = co_await store_.find(std::move(path));
    if (auto* all = kept ? kept->array() : nullptr) co_return std::vector<value>(all->begin(), all->end());
  }
  co_return answer;
}

task<result<value>> offline_cluster::token(std::string ns, std::string account, value spec) {
  auto path = path_of_token(ns, spec);
  auto answer = co_await api_.token(std::move(ns), std::move(account), std::move(spec));
  if (answer) {
    store_.keep(std::move(path), *answer);
  } else if (!is_answer(answer.error())) {
    // One that has run out is better than a pod that doesn't start: it is renewed as soon as there is a server.
    if (auto kept = co_await store_.find(std::move(path))) co_return *std::move(kept);
  }
  co_return answer;
}

value offline_node(const value& node) {
  return object{{"apiVersion", "v1"},
                {"kind", "Node"},
                {"metadata", picked(node["metadata"], {"name", "uid", "labels", "annotations"})},
                {"spec", picked(node["spec"], {"podCIDR", "podCIDRs"})},
                {"status", picked(node["status"], {"allocatable", "capacity"})}};
}

}  // namespace kedge::node
