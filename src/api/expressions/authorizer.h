// authorizer.h: the `authorizer` of expressions: who asks, and what the server answers.
//
//   authorizer.group('apps').resource('deployments').namespace('x').name('y').check('update').allowed()
//
// The expression builds a question; the host that was given with the value answers it at once.
#pragma once

#include <optional>
#include <string>

#include "cel/value.h"

namespace kedge::api::expressions {

struct access_question {
  // Set by serviceAccount(namespace, name): ask for that account instead of the request's user.
  std::optional<std::string> service_account_namespace, service_account_name;
  bool is_resource = false;
  std::string path;  // when it is no resource
  std::string group, resource, subresource, namespace_, name, verb;
  std::string field_selector, label_selector;  // as they were written, "" for none
};

struct access_answer {
  enum class verdict : unsigned char { no_opinion, allow, deny };
  verdict is = verdict::no_opinion;
  std::string reason;
  std::optional<std::string> error;
};

class access_host {
 public:
  virtual ~access_host() = default;
  virtual access_answer check(const access_question& q) const = 0;
};

// The variables' types, and their values: the host must live as long as the arena.
const cel::type& authorizer_type();
const cel::type& resource_check_type();
cel::value authorizer_value(const access_host& host, cel::arena& memory);
// `authorizer.requestResource`: the resource of the request (group, resource, subresource, namespace, name).
cel::value resource_check_value(const access_host& host, access_question about, cel::arena& memory);

}  // namespace kedge::api::expressions
