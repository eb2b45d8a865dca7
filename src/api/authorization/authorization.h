// authorization.h: from what is asked for to what may be touched.
//
//   request_info ─▶ authorization::ask (Node, RBAC; 403) ─▶ permission ─▶ on(the resource that is served; 404, 405) ─▶
//   authorized ─▶ read, write, watch, connect
//
// `authorized` is all that the code behind this step knows of a request's target: it takes no path and no query, so it
// can't touch anything but what was asked about. Only `authorization` makes one.
#pragma once

#include <string>
#include <string_view>

#include "api/authorization/authorizer.h"
#include "api/request/request.h"

namespace kedge::api {

struct served;

// What a request may act on: a resource with a namespace, a name and a subresource, as the authorizers saw them.
// Whoever keeps one keeps what `what()` is part of (the tables that the request holds).
class authorized {
 public:
  const served& what() const noexcept { return *what_; }
  // What was allowed, and to whom.
  const attributes& asked() const noexcept { return asked_; }
  const user_info& user() const noexcept { return asked_.user; }
  const std::string& verb() const noexcept { return asked_.verb; }
  const std::string& ns() const noexcept { return asked_.ns; }  // empty: all namespaces, or a resource that has none
  const std::string& name() const noexcept { return asked_.name; }  // empty: any of the collection
  const std::string& subresource() const noexcept { return asked_.subresource; }
  std::string key() const;     // of the one object: name() is not empty
  std::string prefix() const;  // of the collection

  // One object of the collection, which the whole of it implies. `name` is this one's, if it has one.
  authorized narrowed(std::string name) const;

 private:
  friend class authorization;
  friend class permission;
  authorized(const served& what, attributes asked) : what_(&what), asked_(std::move(asked)) {}
  const served* what_;
  attributes asked_;
};

// That a request was allowed, before it is known what serves it. Unauthorized clients must not learn what there is.
class permission {
 public:
  const attributes& asked() const noexcept { return asked_; }
  // The target of that request. 404 for a shape of path that this resource doesn't have (a node in a namespace, a pod
  // in none), 405 for a method that this shape doesn't take.
  api_result<authorized> on(const served& what, const request_info& shape) &&;

 private:
  friend class authorization;
  explicit permission(attributes asked) : asked_(std::move(asked)) {}
  attributes asked_;
};

// One a core. All must outlive it.
class authorization {
 public:
  authorization(authorizer& may, store::store& objects) : may_(may), objects_(objects) {}

  // 403 when they may not, 500 when nobody could tell; `verdict` says why (and when they may, by what).
  task<api_result<permission>> ask(attributes what, decision& verdict);
  // The same target with another verb, which is asked about: what a request does besides (a PUT that creates).
  task<api_result<authorized>> also(const authorized& to, std::string verb);

  // What the server does itself, as its own user or in the course of a request that was allowed: nobody is asked.
  static authorized own(const user_ref& as, std::string_view verb, const served& what, std::string ns, std::string name,
                        std::string_view subresource = {});

 private:
  authorizer& may_;
  store::store& objects_;
};

// The 403 of a refused request, worded as the real server's: who, what, where, and the authorizer's reason.
status forbidden_status(const attributes& a, std::string_view reason);

}  // namespace kedge::api
