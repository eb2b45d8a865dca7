// packaged.h: the components that K3s packages as manifests, and what of each Kedge brings: the objects that others
// look for. What runs of them is Kedge itself, so no pod is deployed.
//
//   file of K3s             component        Kedge
//   coredns.yaml            coredns          Service kube-dns; each node answers
//   local-storage.yaml      local-storage    class local-path, its configuration; the leading server and the nodes
//   provision metrics-server/…        metrics-server   the role that reads metrics; each server reads what nodes use
//   runtimes.yaml           runtimes         the RuntimeClasses
//   rolebindings.yaml       rolebindings     what the API server may do at kubelets, and nodes' own clients at the API
//   ccm.yaml                ccm              (none); the leading server's controllers
//
// A taken-over cluster's AddOns of these names get this content, so that K3s's Deployments, accounts and roles go as
// what left a manifest does; K3s puts its own back when it starts again. traefik.yaml is K3s's own and applied as it
// lies, unless --with traefik brings the charts of these names.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "json/value.h"

namespace kedge::control::addons {

struct packaged_settings {
  json::value dns_service;                   // Service kube-system/kube-dns; null: there is none
  std::string local_storage_path;            // of the nodes' volumes
  bool usage = true;                         // metrics.k8s.io is served
  std::vector<json::value> node_roles = {};  // what nodes may read, in rolebindings as in K3s, lest they go with K3s's
  std::vector<json::value> traefik = {};     // --with traefik; empty: it isn't packaged
};

// By the file's place in the folder of manifests, with its objects.
std::map<std::string, std::vector<json::value>, std::less<>> packaged_components(const packaged_settings& s);

}  // namespace kedge::control::addons
