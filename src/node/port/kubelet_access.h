// kubelet_access.h: who may ask the kubelet's port for what: x509 client certificates and bearer tokens, authorized by
// the API server (TokenReview, SubjectAccessReview), as the kubelet's webhook mode does it.
//
//   client certificate ─▶ client CA ─▶ user ─┐                     ┌▶ system:masters: yes
//   bearer token ─▶ TokenReview (cached) ────┴▶ method and path ───┴▶ SubjectAccessReview (cached): nodes/metrics,
//   nodes/stats …
//
// The API server itself is system:masters, so that nothing here waits for a review when it asks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "crypto/certificate.h"
#include "net/http/handler.h"
#include "node/join/api_client.h"

namespace kedge::node {

// The subresources of the node that a request is authorized for: the first that is granted is enough.
std::vector<std::string_view> node_subresources(std::string_view path);
// get, create, update, patch or delete; nothing for HEAD and others, which only who may everything may ask for.
std::string_view review_verb(std::string_view method);

class kubelet_access {
 public:
  kubelet_access(crypto::trust client_ca, std::string node_name, api_client& api)
      : client_ca_(std::move(client_ca)), node_name_(std::move(node_name)), api_(api) {}

  // Another authority says who clients are, from the next request on.
  void use(crypto::trust client_ca) { client_ca_ = std::move(client_ca); }

  // Success, errc::unauthenticated (401), errc::forbidden (403) or another error (500), with the text to answer.
  task<result<void>> check(net::http::exchange& e);
  // The name of a node of the cluster (system:node:…), or of who may everything; the same errors.
  task<result<std::string>> check_member(net::http::exchange& e);

 private:
  struct user {
    std::string name, uid;
    std::vector<std::string> groups;
  };
  template <typename T>
  struct remembered {
    T value;
    time_point until;
  };
  task<result<user>> identify(net::http::exchange& e);
  task<result<bool>> granted(const user& u, std::string verb, std::string subresource);
  template <typename T>
  void remember(std::map<std::string, remembered<T>>& in, std::string key, T value, duration how_long);

  crypto::trust client_ca_;
  std::string node_name_;
  api_client& api_;
  std::map<std::string, remembered<user>> tokens_;  // by digest
  std::map<std::string, remembered<bool>> decisions_;
};

}  // namespace kedge::node
