// registry.h: the resources that are served, each with its schema, its rules, and where its objects lie.
//
// The built-in ones are constant. Those of CustomResourceDefinitions come and go: a registry with them is made anew
// whenever one changes and is immutable afterwards (custom/tables.h swaps it); who keeps a `served` of it keeps it by
// pin(). May be read from every core.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "schema/resources.h"

namespace kedge::api {

namespace custom {
class definition;
struct version;
}  // namespace custom

using word_list = std::vector<std::string_view>;

// What stands behind a resource in its URL: "status", "scale", "exec".
struct served_subresource {
  std::string_view name, group, version, kind;  // of its body
  word_list verbs;
  bool has_verb(std::string_view verb) const noexcept;
};

// One resource in one version.
struct served {
  const schema::resource_info* info = nullptr;  // null: a custom resource, or is_measured
  const custom::version* custom = nullptr;      // null: built in
  const kind_rules* rules = nullptr;
  const served* stored = nullptr;  // the version that objects are kept in; this one for nearly all
  std::string group, version, api_version, resource, kind;
  std::string key_prefix;  // "/registry/pods/"
  std::string list_head;   // `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"`
  std::string list_kind;   // "PodList"
  std::string_view singular;
  word_list verbs, short_names, categories;
  std::vector<schema::column_info> columns;
  std::vector<served_subresource> subresources;
  bool is_namespaced = false;
  bool has_status = false;
  bool is_virtual = false;   // created only, answered, never stored
  bool is_measured = false;  // read only, asked of the nodes, never stored: usage/
  // Between this version and the stored one; null where they are the same.
  void (*to_stored)(json::value&) = nullptr;
  void (*from_stored)(json::value&) = nullptr;

  bool namespaced() const noexcept { return is_namespaced; }
  // Of a custom resource: a type that has its metadata and nothing else.
  const schema::type_info& type() const noexcept;
  bool native() const noexcept { return stored == this; }
  bool has_verb(std::string_view verb) const noexcept;
  const served_subresource* subresource(std::string_view name) const noexcept;
  std::string key(std::string_view ns, std::string_view name) const;
  std::string prefix(std::string_view ns) const;  // of a namespace's objects, or all with ""
};

// Keeps `s` alive for its holder; null for built-in ones, which live for ever.
std::shared_ptr<const custom::definition> pin(const served& s);

class registry {
 public:
  registry();  // the built-in resources
  // `more`: built-in ones that not every server has; they live for ever.
  registry(const registry& builtin, std::vector<std::shared_ptr<const custom::definition>> definitions,
           const std::vector<const served*>& more = {});

  const served* find(std::string_view group, std::string_view version, std::string_view resource) const noexcept;
  // In any version, the stored one first.
  const served* find_any(std::string_view group, std::string_view resource) const noexcept;
  // By what an object says of itself: ("apps/v1", "Deployment").
  const served* find_kind(std::string_view api_version, std::string_view kind) const noexcept;
  const std::vector<const served*>& all() const noexcept { return all_; }
  const std::vector<std::shared_ptr<const custom::definition>>& definitions() const noexcept { return definitions_; }

 private:
  const registry* builtin_ = nullptr;
  std::vector<std::unique_ptr<served>> own_;
  std::vector<std::shared_ptr<const custom::definition>> definitions_;
  std::vector<const served*> all_;
  std::unordered_map<std::string, const served*, string_hash, std::equal_to<>> index_;
};

// The one of the built-in resources.
const registry& builtin_registry();

// metadata of an object's value.
std::string_view name_in(const json::value& object) noexcept;
std::string_view namespace_in(const json::value& object) noexcept;

// Canonical form, and defaults, of an object in this version: the schema table's, or the custom resource's schema.
void normalise(const served& s, json::value& object);
void apply_defaults(const served& s, json::value& object,
                    bool keep_nulls = false);  // nulls of custom resources: structural.h

}  // namespace kedge::api
