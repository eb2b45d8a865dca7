// registry.h: the resources that are served, each with its schema, its rules, and where its objects lie.
// Built once, constant afterwards; may be read from every core.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/kind_rules.h"
#include "base/strings.h"
#include "schema/resources.h"

namespace kedge::api {

// One resource in one version.
struct served {
  const schema::resource_info* info = nullptr;
  const kind_rules* rules = nullptr;
  const served* stored = nullptr;  // the version that objects are kept in; this one for nearly all
  std::string group, version, api_version, resource, kind;
  std::string key_prefix;          // "/registry/pods/"
  std::string list_head;           // `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"`
  bool has_status = false;
  bool is_virtual = false;         // created only, answered, never stored
  // Between this version and the stored one; null where they are the same.
  void (*to_stored)(json::value&) = nullptr;
  void (*from_stored)(json::value&) = nullptr;

  bool namespaced() const noexcept { return info->namespaced(); }
  const schema::type_info& type() const noexcept { return *info->type(); }
  bool native() const noexcept { return stored == this; }
  std::string key(std::string_view ns, std::string_view name) const;
  std::string prefix(std::string_view ns) const;  // of a namespace's objects, or all with ""
};

class registry {
 public:
  registry();
  const served* find(std::string_view group, std::string_view version, std::string_view resource) const noexcept;
  // In any version, the stored one first.
  const served* find_any(std::string_view group, std::string_view resource) const noexcept;
  const std::vector<std::unique_ptr<served>>& all() const noexcept { return all_; }

 private:
  std::vector<std::unique_ptr<served>> all_;
  std::unordered_map<std::string, const served*, string_hash, std::equal_to<>> index_;
};

// The one of the built-in resources.
const registry& builtin_registry();

// metadata of an object's value.
std::string_view name_in(const json::value& object) noexcept;
std::string_view namespace_in(const json::value& object) noexcept;

}  // namespace kedge::api
