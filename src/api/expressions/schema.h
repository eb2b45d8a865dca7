// schema.h: what a schema says of data, for expressions: the type that they are checked with, how JSON is read, how
// large it may be.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cel/cost.h"
#include "cel/environment.h"
#include "cel/type.h"
#include "cel/value.h"
#include "json/value.h"

namespace kedge::api::expressions {

// An OpenAPI v3 schema (structural, as of custom resources), read once. Immutable, shared by cores; keep it for as long
// as values of its shape.
class declaration : public std::enable_shared_from_this<declaration> {
 public:
  // `root`: it is a whole object, which has metadata whatever the schema says. Null pointer when the schema says
  // nothing that expressions could use (no type, deeper than schema_depth_max). Objects are named after `type_name`.
  static std::shared_ptr<const declaration> of(const json::value& schema, bool root,
                                               std::string type_name = "selfType");

  const cel::type& type() const noexcept;
  const cel::shape* shape() const noexcept;
  // The objects in it, by name; lives as long as the declaration.
  std::shared_ptr<const cel::type_provider> types() const;
  // Sizes of what is reached from a variable of this type.
  const cel::size_model& sizes() const noexcept;
  // How often data of this schema can be in one request.
  std::uint64_t cardinality_max() const noexcept;
  // A value to be bound to a variable of this type.
  cel::value read(const json::value& document, cel::arena& memory) const;

  ~declaration();
  struct parts;
  explicit declaration(std::unique_ptr<const parts> p);

 private:
  std::unique_ptr<const parts> parts_;
};

// base_environment() with self and oldSelf (optional: oldSelf is an optional) of the declaration's type.
std::shared_ptr<const cel::environment> rule_environment(const declaration& self, bool optional_old_self);

// A property's name as expressions write it ("a-b" → "a__dash__b"); nothing when they can't.
std::optional<std::string> escape_name(std::string_view name);
// The other way round; nothing for what escape_name never gives.
std::optional<std::string> unescape_name(std::string_view escaped);

}  // namespace kedge::api::expressions
