// static_pods.h: pods that a folder's files name, with or without servers: what the kubelet calls the file source.
//
//   pod-manifests/*.yaml, *.json ─▶ read_manifests ─▶ pods with the kubelet's names, uids and marks ─▶ manager, each
//   static_period
//
// At the API a mirror stands for each, made by the node, so that people see it; its deletion changes nothing.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::node {

inline constexpr std::string_view note_config_source = "kubernetes.io/config.source",
                                  note_config_hash = "kubernetes.io/config.hash",
                                  note_config_seen = "kubernetes.io/config.seen",
                                  note_config_mirror = "kubernetes.io/config.mirror";

struct manifests {
  std::vector<json::value> pods;
  std::vector<std::string> problems;  // a file each, with what is wrong in it
};
// Blocking. Files that begin with '.' are nobody's; a folder that isn't there has none.
manifests read_manifests(const std::string& folder, const std::string& node_name);

// The pod of one manifest. `path`: the file's, which is part of its uid.
result<json::value> static_pod(json::value manifest, const std::string& path, const std::string& node_name);
// What stands for it at the API. `node`: the Node object, its owner.
json::value mirror_of(const json::value& static_pod, const json::value& node);
bool is_mirror(const json::value& pod);

}  // namespace kedge::node
