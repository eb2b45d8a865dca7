// structural.h: a custom resource's schema (the structural subset of OpenAPI v3), compiled, and what is done by it.
//
//   body ─▶ prune what the schema doesn't know ─▶ default ─▶ validate (values, then lists of type set and map)
//
// A compiled schema is immutable and may be used from every core. x-kubernetes-validations are rules.h's.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "json/value.h"
#include "meta/validate.h"

namespace kedge::api::custom {

enum class value_kind : unsigned char { any, object, array, string, integer, number, boolean, int_or_string };
enum class list_kind : unsigned char { atomic, set, map };

struct value_rules;

// One level of a schema. Also used for the branches of allOf, anyOf, oneOf and not, which only validate.
struct node {
  node();
  node(node&&) noexcept;
  node& operator=(node&&) noexcept;
  ~node();

  value_kind kind = value_kind::any;
  list_kind list = list_kind::atomic;
  bool nullable = false;
  bool keeps_unknown = false;                            // x-kubernetes-preserve-unknown-fields
  bool embedded = false;                                 // x-kubernetes-embedded-resource
  bool additional_any = false;                           // additionalProperties: true
  bool has_defaults = false;                             // here or below
  std::vector<std::pair<std::string, node>> properties;  // by name
  std::unique_ptr<node> items, additional;
  std::vector<std::string> required, list_keys;
  std::unique_ptr<json::value> default_value;
  std::unique_ptr<value_rules> rules;  // null: none

  const node* find(std::string_view property) const noexcept;
};

class structural {
 public:
  // `props`: a JSONSchemaProps that check_schema() accepts; what it would refuse is left out here.
  static structural compile(const json::value& props);

  // Removes what the schema doesn't know; its paths go to `unknown` when not null, sorted.
  void prune(json::value& object, std::vector<std::string>* unknown) const;
  // What is absent, and null without a right to it, becomes the default. Where there is none such nulls go, unless they
  // are kept: then validation refuses them, as it shall when they are what an apply came to.
  void apply_defaults(json::value& object, bool keep_nulls = false) const;
  // `before`: the object that this one replaces, or null. What stands unchanged from it is not complained about.
  void validate(causes& out, const json::value& object, const json::value* before) const;

  const node& root() const noexcept { return root_; }
  bool has_defaults() const noexcept { return root_.has_defaults; }

 private:
  node root_;
};

// Whether a CustomResourceDefinition may have this schema; kube-apiserver's rules for apiextensions.k8s.io/v1.
// `with_status`: beside a status subresource.
void check_schema(causes& out, const json::value& props, const std::string& path, bool with_status = false);

}  // namespace kedge::api::custom
