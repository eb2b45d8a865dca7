// match.h: which requests a policy, or a binding of it, is about: matchConstraints and matchResources. Pure.
//
//   namespaceSelector and objectSelector ─▶ excludeResourceRules ─▶ resourceRules, of the request as it came; else,
//   with matchPolicy Equivalent, of the same objects in another version or group
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/admission/plugin.h"
#include "api/registry/registry.h"
#include "meta/selector.h"

namespace kedge::api::policy {

// A request, as rules and selectors ask about it. Lives as long as the request, whose object mutations exchange.
struct subject {
  operation what;
  const served& asked;  // the resource in the version that the request names
  std::string_view subresource;
  std::string name;  // empty while it is still to be generated
  std::string ns;    // of a Namespace its own name
  const json::value *object = nullptr, *old = nullptr;
  const store::snapshot& cluster;  // for the namespace's labels

  bool is_namespace() const noexcept { return asked.group.empty() && asked.resource == "namespaces"; }
};
// `asked` may be another than the request's, whose name, body and namespace these are.
subject subject_of(const admission_request& r, const served& asked, const store::snapshot& cluster);

// Group, version and kind of what a resource, or its subresource, takes and gives.
struct kind_name {
  std::string_view group, version, kind;
  std::string api_version() const;
};
kind_name kind_of(const served& s, std::string_view subresource);

// A NamedRuleWithOperations.
struct resource_rule {
  struct resource_name {
    std::string resource, subresource;
  };
  operations what{};
  std::vector<std::string> groups, versions, names;
  std::vector<resource_name> resources;
  enum class scope : unsigned char { any, cluster, namespaced } where = scope::any;

  static resource_rule compile(const json::value& rule);
  // Of the request on `s`, which is what was asked for or stores the same objects.
  bool matches(const subject& r, const served& s) const;
};

// Whether, in which version, or why it can't be told.
struct match {
  const served* as = nullptr;
  std::string wrong;  // not empty: the request is meant, but for a selector that can't be asked
  explicit operator bool() const noexcept { return as != nullptr; }
};

class match_resources {
 public:
  match_resources() = default;  // everything
  // MatchResources as they are stored: defaulted.
  explicit match_resources(const json::value& v);

  match of(const subject& r) const;
  // What the rules name: resources, without their subresources. "*": any.
  std::vector<std::string_view> resources() const;

 private:
  label_selector namespaces_ = label_selector::from_object(json::object{});
  label_selector objects_ = label_selector::from_object(json::object{});
  std::vector<resource_rule> rules_, excluded_;
  bool equivalent_ = false;
};

}  // namespace kedge::api::policy
