// bootstrap.h: the objects that every cluster has, made or repaired at start.
#pragma once

#include <string>
#include <vector>

#include "api/objects.h"

namespace kedge::api {

struct bootstrap_options {
  std::string service_ip;                                     // of default/kubernetes; empty: the first of them all
  std::vector<std::string> service_cidrs = {"10.43.0.0/16"};  // one of a family at most
  std::vector<std::string> endpoint_addresses;                // where API servers listen, this one's too
  int endpoint_port = 6443;
  std::string root_ca;                       // PEM: kube-root-ca.crt in every namespace of the system
  std::string client_ca, request_header_ca;  // PEM: extension-apiserver-authentication
  bool usage = false;                        // metrics.k8s.io is served: who may view a namespace may read it
};

// Creates what is missing, many at once; brings RBAC objects up to date (adds missing rules and subjects, as the real
// server's reconciliation does, unless the autoupdate annotation is "false"). Another server may do the same at the
// same time.
task<result<void>> bootstrap_cluster(objects& client, bootstrap_options options);

// Makes those that are missing of what must stand while a cluster lives: the system's namespaces, default/kubernetes,
// the range of services, flow schemas and priority levels, what extension API servers trust. kube-apiserver does the
// same; roles, priority classes and API services are made at the start alone.
task<result<void>> ensure_system_objects(objects& client, bootstrap_options options);

// The endpoints of default/kubernetes: all servers' addresses, sorted.
task<result<void>> publish_endpoints(objects& client, std::vector<std::string> addresses, int port);

}  // namespace kedge::api
