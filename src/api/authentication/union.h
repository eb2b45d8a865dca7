// union.h: who is asking.
//
//   Basic (passwd) ─▶ front proxy headers ─▶ x509 client certificate ─▶ bearer token ─▶ anonymous (off by default)
//                                                                            └▶ of others: token file, issuers, webhook
//
// A union: the first that succeeds decides; a failing one only counts when none succeeds, and then it is a 401 even
// where anonymous requests are allowed. K3s's order: Basic wins over a good certificate.
//
// K3s runs kube-apiserver with --anonymous-auth=false: then every request without credentials gets 401, /healthz,
// /livez, /readyz and /version too. With `anonymous` on (--kube-apiserver-arg=anonymous-auth=true) such a request is
// system:anonymous of system:unauthenticated and RBAC decides, as with the real server.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/authentication/authenticator.h"
#include "api/authentication/token_source.h"
#include "api/authentication/tokens.h"
#include "crypto/certificate.h"
#include "crypto/passwd.h"

namespace kedge::api {

struct authn_settings {
  bool anonymous = false;
  std::vector<std::string> anonymous_paths;                            // where alone; empty: everywhere
  std::shared_ptr<const crypto::trust> client_ca;                      // null: no client certificates
  std::shared_ptr<const crypto::trust> request_header_ca;              // null: no front proxy
  std::vector<std::string> request_header_names{"system:auth-proxy"};  // CNs that may; empty: every CN of that CA
  std::vector<std::string> username_headers{"X-Remote-User"};
  std::vector<std::string> uid_headers{"X-Remote-Uid"};
  std::vector<std::string> group_headers{"X-Remote-Group"};
  std::vector<std::string> extra_prefixes{"X-Remote-Extra-"};
  // The passwd table as it stands now (token rotation replaces it); null or giving null: no Basic authentication.
  std::function<std::shared_ptr<const crypto::passwd>()> passwd;
  // Asked in turn about a bearer token that is none of this cluster's; they outlive the authenticator. This core's.
  std::vector<token_source*> others;
};

// One per core; settings may be shared. `tokens` may be null (no bearer tokens) and is shared with reviews of this
// core.
class union_authenticator final : public authenticator {
 public:
  union_authenticator(authn_settings settings, token_authenticator* tokens, store::store& objects);
  ~union_authenticator() override;

  task<api_result<user_ref>> authenticate(net::http::exchange& e) override;
  // Other authorities: connections that stand are looked at again, too.
  void use(std::shared_ptr<const crypto::trust> client_ca, std::shared_ptr<const crypto::trust> request_header_ca);

  // The same without HTTP: `certificates` as the peer sent them (DER, leaf first).
  api_result<user_ref> identify(const net::http::headers& headers, net::http::connection_info& connection,
                                const store::snapshot& cluster, wall_time now, std::string_view path = {});

 private:
  struct connection_identity;
  // Whom a token of others speaks for; nobody when none of them knows it.
  task<std::optional<user_ref>> ask_others(std::string token);
  enum class outcome : unsigned char { none, good, bad };
  connection_identity& identity_of(net::http::connection_info& connection, wall_time now);
  outcome basic(const net::http::headers& headers, user_info& user) const;
  outcome front_proxy(const net::http::headers& headers, const connection_identity& connection, user_info& user) const;
  outcome bearer(const net::http::headers& headers, connection_identity& connection, const store::snapshot& cluster,
                 wall_time now, user_ref& user);

  authn_settings settings_;
  unsigned trust_ = 0;  // how many authorities there have been
  token_authenticator* tokens_;
  store::store& objects_;
};

// The bearer token of a request: of the Authorization header, or of the websocket subprotocol
// `base64url.bearer.authorization.k8s.io.<base64url token>`. Empty without one.
std::string bearer_token(const net::http::headers& headers);

}  // namespace kedge::api
