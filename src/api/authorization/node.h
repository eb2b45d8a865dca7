// node.h: what a node may ask for: its own objects, and what the pods bound to it name.
//
// The relationship is computed from the pods that are bound to the node, which the store finds by an index; what pods
// name is remembered by the revision that wrote them, so that a question parses only pods that changed since the last
// one. An instance belongs to one core.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/authorization/authorizer.h"
#include "base/strings.h"
#include "pod/references.h"

namespace kedge::api {

// "edge-7" for user system:node:edge-7 in group system:nodes; empty for everybody else (and for nodes without a name).
std::string_view node_name_of(const user_info& user) noexcept;
bool is_node(const user_info& user) noexcept;

class node_authorizer final : public authorizer {
 public:
  node_authorizer();
  ~node_authorizer() override;
  // Allow or no opinion (then with the reason): RBAC may still allow.
  decision authorize(const attributes& a, const store::snapshot& cluster) override;

 private:
  struct known_pod {
    store::revision mod = 0;
    pod_references refers;
  };

  const pod_references& names_of(const store::object_ref& pod);
  // Visits the pods of a namespace (empty: of all) that give the node something, until `test` returns true.
  template <typename Test>
  bool any_pod(std::string_view node, std::string_view ns, const store::snapshot& cluster, Test test);
  bool reaches_secret(std::string_view node, std::string_view ns, std::string_view name,
                      const store::snapshot& cluster);
  bool reaches_volume(std::string_view node, const json::value& volume, const store::snapshot& cluster);
  bool related(std::string_view node, const attributes& a, const store::snapshot& cluster);

  decision get_one(std::string_view node, const attributes& a, const store::snapshot& cluster);
  decision read_namespaced(std::string_view node, const attributes& a, const store::snapshot& cluster);
  decision claim_status(std::string_view node, const attributes& a, const store::snapshot& cluster);
  decision service_account(std::string_view node, const attributes& a, const store::snapshot& cluster);
  decision pod(std::string_view node, const attributes& a, const store::snapshot& cluster);
  decision pod_certificate_request(std::string_view node, const attributes& a, const store::snapshot& cluster);
  decision resource_slice(std::string_view node, const attributes& a, const store::snapshot& cluster);

  std::unordered_map<std::string, known_pod, string_hash, std::equal_to<>> pods_;  // by key
};

}  // namespace kedge::api
