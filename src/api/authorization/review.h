// review.h: the resources that are questions: they are created, answered in the same request, and never stored.
//
//   POST tokenreviews, selfsubjectreviews                                        authentication.k8s.io/v1
//   POST subjectaccessreviews, selfsubjectaccessreviews, selfsubjectrulesreviews authorization.k8s.io/v1
//   POST namespaces/{ns}/localsubjectaccessreviews                               authorization.k8s.io/v1
//   POST namespaces/{ns}/serviceaccounts/{name}/token (TokenRequest)             authentication.k8s.io/v1
//
// The caller has authenticated, authorized and decoded; it answers 201 with what it gets. An instance belongs to one
// core.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/authentication/token_source.h"
#include "api/authentication/tokens.h"
#include "api/authorization/rbac.h"
#include "base/time.h"
#include "json/value.h"

namespace kedge::api {

struct review_settings {
  std::vector<token_source*> others;       // asked about tokens that are none of this cluster's; this core's
  std::int64_t token_seconds_longest = 0;  // of what a TokenRequest gives; 0: as long as is asked for
  bool extends_injected = true;            // see token_seconds_injected
};

class reviews {
 public:
  // All must outlive this. `issuer` may be null: then TokenRequest answers 404, as without a signing key.
  reviews(authorizer& authz, rule_source& rules, token_authenticator& tokens, const token_issuer* issuer,
          review_settings settings = {})
      : authz_(authz), rules_(rules), tokens_(tokens), issuer_(issuer), settings_(std::move(settings)) {}

  // Whether create() answers this resource (with its subresource): "tokenreviews", "serviceaccounts"+"token" …
  static bool handles(std::string_view group, std::string_view resource, std::string_view subresource) noexcept;

  // The answer to a POST of `body` as described by `a`. Picks the function below by a.resource and a.subresource.
  api_result<json::value> create(const attributes& a, const json::value& body, const store::snapshot& cluster,
                                 std::vector<std::string>* warnings = nullptr);

  api_result<json::value> token_review(const json::value& body, const store::snapshot& cluster);
  // The same when there are other sources of tokens.
  task<api_result<json::value>> token_review_by_all(json::value body, store::snapshot cluster);
  api_result<json::value> self_subject_review(const user_info& who, const json::value& body);
  api_result<json::value> subject_access_review(const json::value& body, const store::snapshot& cluster);
  api_result<json::value> local_subject_access_review(std::string_view ns, const json::value& body,
                                                      const store::snapshot& cluster);
  api_result<json::value> self_subject_access_review(const user_info& who, const json::value& body,
                                                     const store::snapshot& cluster);
  api_result<json::value> self_subject_rules_review(const user_info& who, const json::value& body,
                                                    const store::snapshot& cluster);
  // `warnings` may be null.
  api_result<json::value> token_request(const attributes& a, const json::value& body, const store::snapshot& cluster,
                                        std::vector<std::string>* warnings = nullptr);

 private:
  json::value access_status(const attributes& asked, const store::snapshot& cluster);

  authorizer& authz_;
  rule_source& rules_;
  token_authenticator& tokens_;
  const token_issuer* issuer_;
  review_settings settings_;
};

// {username, uid, groups, extra}, empty members left out.
json::value user_to_json(const user_info& user);

}  // namespace kedge::api
