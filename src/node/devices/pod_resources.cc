#include "node/devices/pod_resources.h"

#include <fmt/format.h>

#include "base/log.h"
#include "crypto/files.h"
#include "net/http/server.h"
#include "node/limits.h"
#include "reactor/offload.h"

namespace kedge::node {

using json::value;

task<void> pod_resources::run() {
  for (bool first = true;; first = false) {
    auto made = co_await reactor::offload([folder = parts_.folder] { return crypto::make_folder(folder, 0750); });
    net::http::server server(*this, {.listen = {reactor::endpoint::unix_path(parts_.folder + "/kubelet.sock")},
                                     .plain_http2 = true,
                                     .connections_max = plugin_connections_max,
                                     .network = parts_.network});
    auto ended = made && !*made ? std::move(*made) : co_await server.run(0);
    if (first && !ended) log::warning("nobody can ask what pods have: {}", ended.error().message);
    co_await reactor::sleep_for(kubelet_listen_retry);
  }
}

// Init containers that have ended have nothing.
pod_has pod_resources::describe(const value& pod) const {
  auto& m = pod["metadata"];
  pod_has out{
      .name = std::string(m["name"].as_string()), .ns = std::string(m["namespace"].as_string()), .containers = {}};
  for (auto* list : {"initContainers", "containers"}) {
    auto* all = pod["spec"][list].array();
    if (!all) continue;
    for (auto& c : *all) {
      if (std::string_view(list) == "initContainers" && c["restartPolicy"].as_string() != "Always") continue;
      auto& one = out.containers.emplace_back();
      one.name = c["name"].as_string();
      if (parts_.cpus) one.cpus = parts_.cpus(m["uid"].as_string(), one.name);
      if (parts_.memory) one.memory = parts_.memory(m["uid"].as_string(), one.name);
      if (auto* has = parts_.devices.ledger().find(m["uid"].as_string(), one.name))
        for (auto& [resource, a] : *has) one.devices.emplace_back(resource, a.devices);
    }
  }
  return out;
}

task<result<std::string>> pod_resources::answer(std::string method, std::string message) {
  constexpr std::string_view service = "/v1.PodResourcesLister/";
  if (method == fmt::format("{}List", service)) {
    parts_.devices.free_unused();
    std::vector<pod_has> all;
    for (auto& p : parts_.pods()) all.push_back(describe(*p));
    co_return encode_pods(all);
  }
  if (method == fmt::format("{}GetAllocatableResources", service)) {
    std::vector<std::pair<std::string, devices_by_node>> all;
    for (auto& [resource, count] : parts_.devices.ledger().counts()) {
      devices_by_node by_node;
      for (auto& d : parts_.devices.ledger().devices(resource)) {
        if (!d.healthy) continue;
        if (d.numa_nodes.empty()) by_node[-1].push_back(d.id);
        for (auto node : d.numa_nodes) by_node[node].push_back(d.id);
      }
      all.emplace_back(resource, std::move(by_node));
    }
    co_return encode_allocatable(all, parts_.allocatable_cpus ? parts_.allocatable_cpus() : std::set<int>(),
                                 parts_.allocatable_memory ? parts_.allocatable_memory() : std::vector<memory_block>());
  }
  if (method == fmt::format("{}Get", service)) {
    KEDGE_CO_TRY(auto asked, decode_pod_asked_for(message));
    for (auto& p : parts_.pods())
      if ((*p)["metadata"]["name"].as_string() == asked.name && (*p)["metadata"]["namespace"].as_string() == asked.ns)
        co_return encode_one_pod(describe(*p));
    co_return fail(errc::internal, fmt::format("pod {} in namespace {} not found", asked.name, asked.ns));
  }
  co_return fail(errc::unsupported, fmt::format("unknown method {}", method));
}

}  // namespace kedge::node
