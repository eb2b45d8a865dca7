#include "node/pods/environment.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "pod/amounts.h"

namespace kedge::node {

namespace {

using json::value;

const json::array& list_of(const value& v) {
  static const json::array none;
  auto* all = v.array();
  return all ? *all : none;
}

std::unexpected<error> missing(std::string_view kind, std::string_view name) {
  return fail(errc::not_found, fmt::format("{} \"{}\" not found", kind, name));
}

// The object of that name; null pointer: there is none, which is fine for one that is optional.
result<const value*> object_named(const named_objects& all, const value& ref, std::string_view kind) {
  auto name = ref["name"].as_string();
  auto i = all.find(name);
  if (i != all.end() && i->second) return &*i->second;
  if (ref["optional"].as_bool()) return nullptr;
  return missing(kind, name);
}

std::string variable_of(std::string_view name) {
  std::string out;
  for (char c : name) out += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return out;
}

// Docker's link variables and Kubernetes' own, of one service.
void add_service(const value& service, variables& out) {
  auto& ports = list_of(service["spec"]["ports"]);
  auto address = std::string(service["spec"]["clusterIP"].as_string());
  if (ports.empty()) return;
  auto prefix = variable_of(service["metadata"]["name"].as_string());
  auto put = [&](std::string name, std::string v) { out.set(prefix + name, std::move(v)); };
  put("_SERVICE_HOST", address);
  put("_SERVICE_PORT", std::to_string(ports.front()["port"].as_integer()));
  auto host = address.contains(':') ? "[" + address + "]" : address;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto number = std::to_string(ports[i]["port"].as_integer());
    if (auto name = ports[i]["name"].as_string(); !name.empty()) put("_SERVICE_PORT_" + variable_of(name), number);
    auto protocol = lower(ports[i]["protocol"].as_string("TCP"));
    auto url = fmt::format("{}://{}:{}", protocol, host, number);
    if (i == 0) put("_PORT", url);
    auto port = fmt::format("_PORT_{}_{}", number, variable_of(protocol));
    put(port, url);
    put(port + "_PROTO", protocol);
    put(port + "_PORT", number);
    put(port + "_ADDR", address);
  }
}

variables service_variables(const value& pod, const std::vector<value>& services) {
  variables out;
  auto ns = pod["metadata"]["namespace"].as_string();
  bool all = pod["spec"]["enableServiceLinks"].as_bool(true);
  for (auto& s : services) {
    auto ip = s["spec"]["clusterIP"].as_string();
    if (ip.empty() || ip == "None") continue;
    auto& m = s["metadata"];
    bool own_master = m["namespace"].as_string() == "default" && m["name"].as_string() == "kubernetes";
    if (own_master || (all && m["namespace"].as_string() == ns)) add_service(s, out);
  }
  return out;
}

std::string join_ips(const std::vector<std::string>& ips) { return join(ips, ","); }

// metadata.labels['key'] → key; nullopt for another path.
std::optional<std::string_view> subscript(std::string_view path, std::string_view of) {
  if (!path.starts_with(of) || path.size() < of.size() + 4 || path.substr(of.size(), 2) != "['" ||
      !path.ends_with("']"))
    return std::nullopt;
  return path.substr(of.size() + 2, path.size() - of.size() - 4);
}

std::string lines_of(const value& map) {
  std::vector<std::string> lines;
  if (auto* all = map.object())
    for (auto& [key, v] : *all) lines.push_back(key + "=" + quote(v.as_string()));
  std::sort(lines.begin(), lines.end());
  return join(lines, "\n");
}

}  // namespace

void variables::set(std::string_view name, std::string v) {
  auto [i, fresh] = at_.try_emplace(std::string(name), all_.size());
  if (fresh)
    all_.emplace_back(std::string(name), std::move(v));
  else
    all_[i->second].second = std::move(v);
}
const std::string* variables::find(std::string_view name) const {
  auto i = at_.find(name);
  return i == at_.end() ? nullptr : &all_[i->second].second;
}

std::optional<std::string> config_map_value(const value& object, std::string_view key) {
  if (auto* plain = object["data"].find(key)) return std::string(plain->as_string());
  if (auto* binary = object["binaryData"].find(key))
    if (auto bytes = unbase64(binary->as_string())) return *std::move(bytes);
  return std::nullopt;
}
std::optional<std::string> secret_value(const value& object, std::string_view key) {
  if (auto* binary = object["data"].find(key))
    if (auto bytes = unbase64(binary->as_string())) return *std::move(bytes);
  return std::nullopt;
}

object_names environment_needs(const value& container) {
  object_names out;
  auto add = [](std::set<std::string>& to, const value& ref) {
    if (ref.is_object()) to.emplace(ref["name"].as_string());
  };
  for (auto& from : list_of(container["envFrom"])) {
    add(out.config_maps, from["configMapRef"]);
    add(out.secrets, from["secretRef"]);
  }
  for (auto& e : list_of(container["env"])) {
    add(out.config_maps, e["valueFrom"]["configMapKeyRef"]);
    add(out.secrets, e["valueFrom"]["secretKeyRef"]);
  }
  return out;
}

result<std::string> field_value(const value& pod, std::string_view path, const std::vector<std::string>& pod_ips,
                                const node_view& node) {
  auto& m = pod["metadata"];
  auto first = [](const std::vector<std::string>& all) { return all.empty() ? std::string() : all.front(); };
  if (path == "metadata.name" || path == "metadata.namespace" || path == "metadata.uid")
    return std::string(m[path.substr(9)].as_string());
  if (path == "metadata.labels" || path == "metadata.annotations") return lines_of(m[path.substr(9)]);
  for (std::string_view map : {"metadata.labels", "metadata.annotations"})
    if (auto key = subscript(path, map)) return std::string(m[map.substr(9)][*key].as_string());
  if (path == "spec.nodeName") return node.name;
  if (path == "spec.serviceAccountName") return std::string(pod["spec"]["serviceAccountName"].as_string());
  if (path == "status.hostIP") return first(node.host_ips);
  if (path == "status.hostIPs") return join_ips(node.host_ips);
  if (path == "status.podIP") return first(pod_ips);
  if (path == "status.podIPs") return join_ips(pod_ips);
  return fail(errc::invalid, fmt::format("unsupported fieldPath: {}", path));
}

result<std::string> resource_value(const value& container, const value& ref, const node_view& node) {
  auto text = ref["resource"].as_string();
  auto dot = text.find('.');
  if (dot == std::string_view::npos)
    return fail(errc::invalid, fmt::format("unsupported container resource : {}", text));
  auto which = text.substr(0, dot), name = text.substr(dot + 1);
  auto& list = container["resources"][which];
  // As the kubelet: without a limit, what the node has; without a request, the limit when there is one.
  const value* asked = list.find(name);
  if (!asked && which == "requests") asked = container["resources"]["limits"].find(name);
  if (!asked && which == "limits") asked = node.allocatable.find(name);
  auto amount = asked ? pod::amount_of(*asked) : schema::quantity();
  auto divisor = pod::amount_of(ref["divisor"]);
  if (divisor.is_zero()) divisor = schema::quantity::of(1);
  auto up = [](std::int64_t a, std::int64_t b) { return b == 0 ? std::int64_t(0) : a / b + (a % b != 0); };
  if (name == "cpu") return std::to_string(up(amount.milli_value(), divisor.milli_value()));
  return std::to_string(up(amount.value(), divisor.value()));
}

// Kubernetes' third_party/forked/golang/expansion.
std::string expand(std::string_view text, const variables& env, const variables* behind) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    auto next = text[++i];
    if (next == '$') {
      out += '$';
    } else if (next != '(') {
      out += '$';
      out += next;
    } else if (auto end = text.find(')', i); end == std::string_view::npos) {
      out += "$(";
    } else {
      auto name = text.substr(i + 1, end - i - 1);
      auto* v = env.find(name);
      if (!v && behind) v = behind->find(name);
      out += v ? *v : fmt::format("$({})", name);
      i = end;
    }
  }
  return out;
}

std::vector<std::string> expand_all(const value& list, const variables& env) {
  std::vector<std::string> out;
  for (auto& word : list_of(list)) out.push_back(expand(word.as_string(), env));
  return out;
}

namespace {

// The value of one variable; nullopt: it is optional, and isn't there.
result<std::optional<std::string>> value_from(const value& pod, const value& container, const value& from,
                                              const pod_objects& objects, const std::vector<std::string>& ips,
                                              const node_view& node) {
  using found = std::optional<std::string>;
  if (auto& ref = from["fieldRef"]; ref.is_object()) {
    KEDGE_TRY(auto text, field_value(pod, ref["fieldPath"].as_string(), ips, node));
    return found(std::move(text));
  }
  if (auto& ref = from["resourceFieldRef"]; ref.is_object()) {
    auto name = ref["containerName"].as_string();
    KEDGE_TRY(auto text, resource_value(name.empty() ? container : container_named(pod, name), ref, node));
    return found(std::move(text));
  }
  struct source {
    const char* member;
    std::string_view kind, label;
    const named_objects& in;
    std::optional<std::string> (*get)(const value&, std::string_view);
  };
  for (auto& s : {source{"configMapKeyRef", "configmap", "ConfigMap", objects.config_maps, config_map_value},
                  source{"secretKeyRef", "secret", "Secret", objects.secrets, secret_value}}) {
    auto& ref = from[s.member];
    if (!ref.is_object()) continue;
    KEDGE_TRY(auto* object, object_named(s.in, ref, s.kind));
    if (!object) return found();
    auto key = ref["key"].as_string();
    if (auto text = s.get(*object, key)) return found(std::move(text));
    if (ref["optional"].as_bool()) return found();
    return fail(errc::not_found, fmt::format("couldn't find key {} in {} {}/{}", key, s.label,
                                             pod["metadata"]["namespace"].as_string(), ref["name"].as_string()));
  }
  return found(std::string());
}

// All of an object, with a prefix.
result<void> add_from(const value& from, const pod_objects& objects, variables& env) {
  const bool secret = from["secretRef"].is_object();
  auto& ref = from[secret ? "secretRef" : "configMapRef"];
  if (!ref.is_object()) return {};
  KEDGE_TRY(auto* object,
            object_named(secret ? objects.secrets : objects.config_maps, ref, secret ? "secret" : "configmap"));
  if (!object) return {};
  auto* data = (*object)["data"].object();
  if (!data) return {};
  auto prefix = std::string(from["prefix"].as_string());
  for (auto& [key, v] : *data)
    env.set(prefix + key, secret ? secret_value(*object, key).value_or("") : std::string(v.as_string()));
  return {};
}

}  // namespace

result<variables> make_environment(const value& pod, const value& container, const pod_objects& objects,
                                   const std::vector<std::string>& pod_ips, const node_view& node) {
  variables env;
  auto services = service_variables(pod, objects.services);
  for (auto& from : list_of(container["envFrom"])) KEDGE_CHECK(add_from(from, objects, env));
  for (auto& e : list_of(container["env"])) {
    auto name = e["name"].as_string();
    if (auto plain = e["value"].as_string(); !plain.empty()) {
      env.set(name, expand(plain, env, &services));
      continue;
    }
    KEDGE_TRY(auto found, value_from(pod, container, e["valueFrom"], objects, pod_ips, node));
    if (found) env.set(name, std::move(*found));
  }
  for (auto& [key, v] : services.all())
    if (!env.find(key)) env.set(key, v);
  return env;
}

}  // namespace kedge::node
