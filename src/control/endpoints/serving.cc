#include "control/endpoints/serving.h"

#include <algorithm>

#include "control/conditions.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

bool same_endpoint(const json::value& a, const json::value& b) {
  return a["metadata"]["labels"] == b["metadata"]["labels"] && a["status"]["podIPs"] == b["status"]["podIPs"] &&
         is_ready(a) == is_ready(b) && is_deleting(a) == is_deleting(b) && is_finished(a) == is_finished(b) &&
         node_of(a) == node_of(b) && a["spec"]["hostname"] == b["spec"]["hostname"] &&
         a["spec"]["subdomain"] == b["spec"]["subdomain"];
}

}  // namespace

bool has_address(const json::value& service) {
  auto ip = service["spec"]["clusterIP"].as_string();
  return !ip.empty() && ip != "None";
}

std::vector<std::string> families_of(const json::value& service) {
  std::vector<std::string> out;
  auto& families = service["spec"]["ipFamilies"];
  for (std::size_t i = 0; i < families.size(); ++i) out.emplace_back(families[i].as_string());
  if (out.empty() && has_address(service))
    out = {service["spec"]["clusterIP"].as_string().find(':') == std::string_view::npos ? "IPv4" : "IPv6"};
  if (out.empty()) out = {"IPv4", "IPv6"};
  return out;
}

std::optional<std::int64_t> port_of(const json::value& pod, const json::value& port) {
  auto& target = port["targetPort"];
  if (target.is_integer()) return target.as_integer();
  auto find = [&](const json::value& container) -> std::optional<std::int64_t> {
    for (std::size_t i = 0; i < container["ports"].size(); ++i) {
      auto& p = container["ports"][i];
      if (p["name"].as_string() == target.as_string() &&
          p["protocol"].as_string("TCP") == port["protocol"].as_string("TCP"))
        return p["containerPort"].as_integer();
    }
    return std::nullopt;
  };
  auto& spec = pod["spec"];
  for (std::size_t i = 0; i < spec["containers"].size(); ++i)
    if (auto found = find(spec["containers"][i])) return found;
  for (std::size_t i = 0; i < spec["initContainers"].size(); ++i)
    if (spec["initContainers"][i]["restartPolicy"].as_string() == "Always")
      if (auto found = find(spec["initContainers"][i])) return found;
  return std::nullopt;
}

std::vector<const json::value*> pods_of(const view& cluster, const json::value& service) {
  std::vector<const json::value*> out;
  auto selector = api::label_selector::from_map(service["spec"]["selector"]);
  cluster.cluster().scan(cluster.prefix(pods, service["metadata"]["namespace"].as_string()), {},
                         [&](const store::object_ref& o) {
                           if (!selector.matches_text(o->labels_text())) return true;
                           auto v = cluster.value(o);
                           if (v) out.push_back(v);
                           return true;
                         });
  return out;
}

bool serves(const json::value& pod) { return !is_finished(pod) && !pod["status"]["podIPs"].empty(); }

json::array addresses_of(const json::value& pod, std::string_view family) {
  json::array out;
  auto& list = pod["status"]["podIPs"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto ip = list[i]["ip"].as_string();
    if ((ip.find(':') != std::string_view::npos) == (family == "IPv6")) out.emplace_back(ip);
  }
  return out;
}

std::string trigger_times::of(const std::string& key, const json::value& service,
                              const std::vector<const json::value*>& selected) {
  auto& known = known_[key];
  std::string earliest;
  auto see = [&](std::string_view now, std::string_view before) {
    if (!now.empty() && now > before && (earliest.empty() || now < earliest)) earliest = now;
  };
  times next;
  for (auto pod : selected) {
    auto name = (*pod)["metadata"]["name"].as_string();
    auto now = condition_of(*pod, "Ready")["lastTransitionTime"].as_string();
    auto before = known.pods.find(name);
    see(now, before == known.pods.end() ? std::string_view() : std::string_view(before->second));
    next.pods.emplace(name, now);
  }
  next.service = service["metadata"]["creationTimestamp"].as_string();
  see(next.service, known.service);
  known = std::move(next);
  return earliest;
}

void service_selectors::service_changed(const seen& s, keys& k) {
  auto [ns, name] = split_name(s.name());
  auto& selector = s.value()["spec"]["selector"];
  auto& here = by_namespace_[std::string(ns)];
  if (s.deleted() || !selector.is_object())
    here.erase(std::string(name));
  else
    here.insert_or_assign(std::string(name), api::label_selector::from_map(selector));
  if (here.empty()) by_namespace_.erase(std::string(ns));
  own_key(s, k);
}

void add_batched(keys& k, const std::string& key, duration batch) {
  batch > duration::zero() ? k.add_after(key, batch) : k.add(key);
}

void service_selectors::pod_changed(const seen& s, keys& k, duration batch) const {
  auto here = by_namespace_.find(split_name(s.name()).ns);
  if (here == by_namespace_.end()) return;
  if (s.modified() && same_endpoint(s.value_before(), s.value())) return;
  for (auto& [name, selector] : here->second)
    if (selector.matches(s.value()["metadata"]["labels"]) ||
        (s.modified() && selector.matches(s.value_before()["metadata"]["labels"])))
      add_batched(k, here->first + "/" + name, batch);
}

void service_selectors::name_all(keys& k) const {
  for (auto& [ns, here] : by_namespace_)
    for (auto& [name, selector] : here) k.add(ns + "/" + name);
}

}  // namespace kedge::control
