// plugin.h: the CNI plugins that K3s ships, in this program: `flannel`, `bridge`, `host-local`, `portmap`, `loopback`.
// The runtime calls a link of that name to it for each pod (containernetworking/cni, SPEC.md 1.0 and 1.1; results down
// to version 0.3.0).
//
//   environment, configuration on stdin ─▶ request ─▶ plugin's add | del | check | gc ─▶ result or error on stdout
//
// A plugin is a process of its own for one call: it may block. What it must remember lies in files, in the formats of
// the originals, so that a node's folder can change hands.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::node::cni {

struct request {
  std::string command;  // "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"
  std::string container_id;
  std::string network_namespace;  // a path; may be empty or gone for DEL
  std::string interface;
  std::string arguments;  // CNI_ARGS
  json::value config;     // of this plugin; prevResult and runtimeConfig in it

  std::string network() const { return std::string(config["name"].as_string()); }
  // The results of the plugins before this one, in the form of 1.0; null when it is the first.
  const json::value& previous() const noexcept { return config["prevResult"]; }
};

// What can be asked of a plugin. Results are in the form of version 1.0.
struct plugin {
  std::string_view name;
  result<json::value> (*add)(const request&);
  result<void> (*del)(const request&);  // of what is gone already: success
  result<void> (*check)(const request&);
  result<void> (*gc)(const request&);  // null: keeps nothing
};

result<json::value> bridge_add(const request& r);
result<void> bridge_del(const request& r);
result<void> bridge_check(const request& r);
result<void> bridge_gc(const request& r);
result<json::value> flannel_add(const request& r);
result<void> flannel_del(const request& r);
result<void> flannel_check(const request& r);
result<void> flannel_gc(const request& r);
result<json::value> loopback_add(const request& r);
result<void> loopback_del(const request& r);
result<void> loopback_check(const request& r);
result<json::value> portmap_add(const request& r);
result<void> portmap_del(const request& r);
result<void> portmap_check(const request& r);
result<void> portmap_gc(const request& r);

// The attachments that a GC names as alive: (container id, interface).
std::vector<std::pair<std::string, std::string>> valid_attachments(const json::value& config);

// The names under which this program is a plugin.
std::vector<std::string_view> plugin_names();
bool is_plugin(std::string_view name);

// One call: `environment` gives CNI_…, `input` is what stands on stdin. What is to be printed, and the exit code.
struct outcome {
  std::string output;
  int code = 0;
};
outcome call(std::string_view name, const std::function<std::string(const char*)>& environment, std::string_view input);

// The whole life of the process.
int run_plugin(std::string_view name);

}  // namespace kedge::node::cni
