// access.h: who asks, whether they may, and what the cluster's rules change in or refuse of a write.
//
//   exchange ─▶ authenticator ─▶ user ─▶ authorizer(attributes) ─▶ handler ─▶ admission (mutating, then validating) ─▶
//   store
//
// All three read the cluster from a snapshot; none of them waits for another server.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/selector.h"
#include "api/status.h"
#include "net/http/handler.h"
#include "store/store.h"

namespace kedge::api {

struct user_info {
  std::string name;
  std::string uid;
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;

  bool in_group(std::string_view group) const noexcept;
};

// Who somebody is, found out once (of a certificate, of a token) and shared by all that he asks for. Never changed:
// another user_info is another user.
class user_ref {
 public:
  user_ref() noexcept = default;  // nobody: without a name
  user_ref(user_info who) : who_(std::make_shared<const user_info>(std::move(who))) {}

  const user_info& operator*() const noexcept;
  const user_info* operator->() const noexcept { return &**this; }
  operator const user_info&() const noexcept { return **this; }
  // Whether both are one and the same, not only alike.
  bool is(const user_ref& other) const noexcept { return who_ == other.who_; }

 private:
  std::shared_ptr<const user_info> who_;
};

// Who the server's own parts act as: what K3s's in-process clients are.
const user_ref& server_itself();

// What is asked for, as authorizers, admission, audit and routing see it (RequestInfo of the real server).
struct attributes {
  user_ref user;
  std::string verb;  // get list watch create update patch delete deletecollection; for paths the lower-case method
  bool is_resource = false;
  std::string api_group, api_version, resource, subresource, ns, name;
  std::string path;       // non-resource requests
  field_selector fields;  // of a list, watch or deletion of a collection: what it is narrowed to
};

// x509 client certificates, Basic (passwd), service account tokens, bootstrap tokens, front proxy headers; anonymous.
class authenticator {
 public:
  virtual ~authenticator() = default;
  // The user, or 401. Groups system:authenticated / system:unauthenticated are added here. What can be known once per
  // connection (its certificate) is kept in connection().attachment. Impersonation is applied by the caller.
  virtual task<api_result<user_ref>> authenticate(net::http::exchange& e) = 0;
};

struct decision {
  enum class kind : unsigned char { allow, deny, no_opinion } what = kind::no_opinion;
  std::string reason;
};

class authorizer {
 public:
  virtual ~authorizer() = default;
  virtual decision authorize(const attributes& a, const store::snapshot& cluster) = 0;
};

enum class operation : unsigned char { create, update, remove, connect };  // in the order of admission/plugin.h's bits

struct admission_request {
  operation what;
  const attributes& who;
  std::string kind;                      // "Pod"
  json::value* object = nullptr;         // create, update: may be changed by mutate(); null for remove
  const json::value* old = nullptr;      // update, remove
  const json::value* options = nullptr;  // CreateOptions, DeleteOptions … as given, may be null
  bool dry_run = false;
  std::vector<std::string> warnings;  // texts for Warning headers
};

class admission {
 public:
  virtual ~admission() = default;
  virtual task<api_result<void>> mutate(admission_request& r, const store::snapshot& cluster) = 0;
  virtual task<api_result<void>> validate(admission_request& r, const store::snapshot& cluster) = 0;
};

}  // namespace kedge::api
