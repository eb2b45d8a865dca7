// What mutating policies make: objects to be applied (Object{spec: Object.spec{…}}) and operations of JSON patches.
#include <algorithm>
#include <map>

#include "api/expressions/libraries/libraries.h"

namespace kedge::api::expressions {

namespace {

using cel::value;
using args = std::span<const value>;

// An object that an expression made: its fields as they were given.
class made_object final : public cel::opaque {
 public:
  made_object(std::string_view name, std::span<const std::pair<std::string_view, value>> fields)
      : type_(cel::type::object(std::string(name))) {
    for (const auto& [field_name, v] : fields) fields_.emplace_back(field_name, v);
  }
  const cel::type& type() const override { return type_; }
  bool has_fields() const override { return true; }
  bool has_field(std::string_view name) const override { return find(name) != nullptr; }
  value field(std::string_view name, cel::arena&) const override {
    const value* found = find(name);
    return found ? *found : value();
  }
  bool equals(const cel::opaque& other) const override {
    const auto a = json(), b = other.json();
    return a && b && *a == *b;
  }
  std::optional<json::value> json() const override {
    json::object out;
    cel::arena memory;
    for (const auto& [name, v] : fields_) {
      auto member = cel::to_json(v, memory);
      if (!member) return std::nullopt;
      out.set(name, std::move(*member));
    }
    return json::value(std::move(out));
  }

 private:
  const value* find(std::string_view name) const {
    auto found = std::ranges::find(fields_, name, &std::pair<std::string, value>::first);
    return found == fields_.end() ? nullptr : &found->second;
  }
  cel::type type_;
  std::vector<std::pair<std::string, value>> fields_;
};

class patch_types final : public cel::type_provider {
 public:
  bool has_type(std::string_view name) const override {
    return name == "JSONPatch" || name == "Object" || name.starts_with("Object.");
  }
  std::optional<cel::type> field(std::string_view type_name, std::string_view field) const override {
    if (type_name == "JSONPatch" && field != "value") return cel::type::string();
    return cel::type::dyn();
  }
  value make(std::string_view type_name, std::span<const std::pair<std::string_view, value>> fields,
             cel::arena& memory) const override {
    if (type_name == "JSONPatch")
      for (const auto& [name, v] : fields) {
        if (name != "op" && name != "path" && name != "from" && name != "value")
          return value::error(memory, "unexpected JSONPatchType field: " + std::string(name));
        if (name != "value" && !v.is(cel::kind::string))
          return value::error(memory, "unexpected type for JSONPatchType '" + std::string(name) + "' field");
      }
    return value::opaque(memory.make<made_object>(type_name, fields));
  }
};

value escape_key(args a, cel::arena& memory) {
  std::string out;
  for (char c : a[0].as_text()) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return value::string(memory.copy(out));
}

}  // namespace

void add_patches(cel::environment::builder& b) {
  b.types(std::make_shared<patch_types>());
  b.function({"jsonpatch.escapeKey",
              {global("string_jsonpatch_escapeKey_string", {cel::type::string()}, cel::type::string(), escape_key)}});
}

}  // namespace kedge::api::expressions
