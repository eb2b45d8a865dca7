#include "api/expressions/schema.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <utility>

#include "api/expressions/environment.h"
#include "api/expressions/limits.h"

namespace kedge::api::expressions {

namespace {

using cel::shape;
using cel::type;

// The bounds of JSON's texts by format, with their quotes (apiserver/pkg/cel/limits.go).
constexpr std::int64_t duration_min = 3, duration_max = 32, date_size = 12, date_time_min = 21, date_time_max = 32;
constexpr std::int64_t text_min = 2, bool_min = 4, number_min = 1;

// A level of a schema, as expressions know it.
struct level {
  type of;
  const shape* reads = nullptr;
  std::int64_t elements_max = 0;  // characters of text, elements of lists and maps
  std::int64_t bytes_min = 1;     // of its JSON
  const level* items = nullptr;   // of lists and maps
  bool map = false;
  std::map<std::string, const level*, std::less<>> fields;  // of objects, by escaped name
};

std::int64_t not_negative(std::int64_t n) { return std::max<std::int64_t>(n, 0); }

}  // namespace

struct declaration::parts {
  std::deque<level> levels;
  std::deque<cel::shape> shapes;
  std::map<std::string, const level*, std::less<>> objects;
  const level* root = nullptr;

  struct provider final : cel::type_provider {
    const parts* of = nullptr;
    bool has_type(std::string_view name) const override { return of->objects.contains(name); }
    std::optional<cel::type> field(std::string_view type_name, std::string_view field) const override {
      auto object = of->objects.find(type_name);
      if (object == of->objects.end()) return std::nullopt;
      auto found = object->second->fields.find(field);
      return found == object->second->fields.end() ? std::nullopt : std::optional(found->second->of);
    }
  } types;

  struct size final : cel::size_model {
    const parts* of = nullptr;
    std::optional<cel::range> size_of(const cel::estimated_part& part) const override {
      if (part.path.empty()) return std::nullopt;
      const level* at = of->root;
      for (std::size_t i = 1; i < part.path.size(); ++i) {
        const std::string& step = part.path[i];
        if (step == "@items" || step == "@values") {
          at = at->items;
        } else if (step == "@keys") {
          if (!at->map) return std::nullopt;
          static const level key{.of = cel::type::string(), .elements_max = 0};
          at = &key;
        } else {
          auto found = at->fields.find(step);
          at = found == at->fields.end() ? nullptr : found->second;
        }
        if (!at) return std::nullopt;
      }
      return cel::range{0, static_cast<std::uint64_t>(at->elements_max)};
    }
  } sizes;
};

namespace {

class reader {
 public:
  explicit reader(declaration::parts& out) : out_(out) {}

  const level* read(const json::value& schema, bool root, const std::string& name, int depth) {
    if (depth > schema_depth_max) return nullptr;
    if (schema["x-kubernetes-int-or-string"].as_bool()) return read_int_or_string(schema);
    const std::string_view kind = schema["type"].as_string();
    if (kind == "array") return read_list(schema, name, depth);
    if (kind == "object") return read_object(schema, root, name, depth);
    if (kind == "string") return read_string(schema);
    if (kind == "boolean") return &add({.of = type::boolean(), .bytes_min = bool_min});
    if (kind == "number")
      return &add({.of = type::real(), .reads = &add_shape({.as = shape::form::real}), .bytes_min = number_min});
    if (kind == "integer") return &add({.of = type::integer(), .bytes_min = number_min});
    return nullptr;
  }

 private:
  level& add(level l) { return out_.levels.emplace_back(std::move(l)); }
  shape& add_shape(shape s) { return out_.shapes.emplace_back(std::move(s)); }

  static std::optional<std::int64_t> number(const json::value& schema, std::string_view name) {
    const json::value* v = schema.find(name);
    return v && v->is_number() ? std::optional(static_cast<std::int64_t>(v->as_number())) : std::nullopt;
  }

  const level* read_int_or_string(const json::value& schema) {
    auto most = number(schema, "maxLength");
    return &add(
        {.of = type::dyn(), .elements_max = most ? not_negative(*most) * 4 : request_max_bytes - 2, .bytes_min = 1});
  }

  const level* read_string(const json::value& schema) {
    const std::string_view format = schema["format"].as_string();
    auto most = number(schema, "maxLength");
    if (format == "byte")
      return &add({.of = type::bytes(),
                   .reads = &add_shape({.as = shape::form::bytes}),
                   .elements_max = most ? not_negative(*most) : request_max_bytes - 2,
                   .bytes_min = text_min});
    if (format == "duration")
      return &add({.of = type::duration(),
                   .reads = &add_shape({.as = shape::form::duration}),
                   .elements_max = duration_max,
                   .bytes_min = duration_min});
    if (format == "date")
      return &add({.of = type::timestamp(),
                   .reads = &add_shape({.as = shape::form::date}),
                   .elements_max = date_size,
                   .bytes_min = date_size});
    if (format == "date-time")
      return &add({.of = type::timestamp(),
                   .reads = &add_shape({.as = shape::form::date_time}),
                   .elements_max = date_time_max,
                   .bytes_min = date_time_min});
    return &add({.of = type::string(), .elements_max = text_max(schema, most), .bytes_min = text_min});
  }

  static std::int64_t text_max(const json::value& schema, std::optional<std::int64_t> most) {
    if (most) return not_negative(*most) * 4;  // a character may take four bytes
    const json::array* values = schema["enum"].array();
    if (!values || values->empty()) return request_max_bytes - 2;
    std::int64_t longest = 0;
    for (const json::value& v : *values) longest = std::max(longest, static_cast<std::int64_t>(v.as_string().size()));
    return longest;
  }

  const level* read_list(const json::value& schema, const std::string& name, int depth) {
    const json::value& items = schema["items"];
    if (!items.is_object()) return nullptr;
    const level* item = read(items, items["x-kubernetes-embedded-resource"].as_bool(), name + ".@idx", depth + 1);
    if (!item) return nullptr;
    shape& s = add_shape({.as = shape::form::list});
    s.items = item->reads;
    const std::string_view kind = schema["x-kubernetes-list-type"].as_string();
    if (kind == "set") s.list = shape::list_kind::set;
    if (kind == "map") {
      s.list = shape::list_kind::map;
      if (const json::array* keys = schema["x-kubernetes-list-map-keys"].array())
        for (const json::value& key : *keys)
          if (auto escaped = escape_name(key.as_string())) s.keys.push_back(*escaped);
    }
    auto most = number(schema, "maxItems");
    return &add({.of = type::list(item->of),
                 .reads = &s,
                 .elements_max = most ? not_negative(*most) : (request_max_bytes - 2) / (item->bytes_min + 1),
                 .bytes_min = 2,
                 .items = item});
  }

  const level* read_map(const json::value& schema, const json::value& additional, const std::string& name, int depth) {
    const level* item =
        read(additional, additional["x-kubernetes-embedded-resource"].as_bool(), name + ".@elem", depth + 1);
    if (!item) return nullptr;
    shape& s = add_shape({.as = shape::form::map});
    s.items = item->reads;
    auto most = number(schema, "maxProperties");
    return &add({.of = type::map(type::string(), item->of),
                 .reads = &s,
                 .elements_max = most ? not_negative(*most) : (request_max_bytes - 2) / (item->bytes_min + 6),
                 .bytes_min = 2,
                 .items = item,
                 .map = true});
  }

  void add_field(level& object, shape& s, const std::string& field, const level* of) {
    auto escaped = escape_name(field);
    if (!escaped || !of) return;
    object.fields.insert_or_assign(*escaped, of);
    s.fields.insert_or_assign(*escaped, shape::field{field, of->reads});
  }

  // What every object has, whatever its schema says.
  void add_root_fields(level& object, shape& s, const std::string& name) {
    const level* text = &add({.of = type::string(), .elements_max = request_max_bytes - 2, .bytes_min = text_min});
    add_field(object, s, "kind", text);
    add_field(object, s, "apiVersion", text);
    const std::string metadata_name = name + ".metadata";
    level& metadata = add({.of = type::object(metadata_name), .bytes_min = 2});
    shape& inner = add_shape({.as = shape::form::object, .type_name = metadata_name});
    metadata.reads = &inner;
    add_field(metadata, inner, "name", text);
    add_field(metadata, inner, "generateName", text);
    out_.objects.insert_or_assign(metadata_name, &metadata);
    add_field(object, s, "metadata", &metadata);
  }

  static bool has_root_fields(const json::value& schema) {
    const json::value& p = schema["properties"];
    const json::value& metadata = p["metadata"];
    return p["kind"]["type"] == json::value("string") && p["apiVersion"]["type"] == json::value("string") &&
           metadata["type"] == json::value("object") &&
           metadata["properties"]["name"]["type"] == json::value("string") &&
           metadata["properties"]["generateName"]["type"] == json::value("string");
  }

  const level* read_object(const json::value& schema, bool root, const std::string& name, int depth) {
    if (const json::value* additional = schema.find("additionalProperties");
        additional && additional->is_object() && !root)
      return read_map(schema, *additional, name, depth);
    level& object = add({.of = type::object(name), .bytes_min = 2});
    shape& s = add_shape({.as = shape::form::object, .type_name = name});
    object.reads = &s;
    const bool adds_root = root && !has_root_fields(schema);
    if (const json::object* properties = schema["properties"].object()) {
      for (const auto& [field, of] : *properties) {
        if (adds_root && (field == "kind" || field == "apiVersion" || field == "metadata")) continue;
        auto escaped = escape_name(field);
        const level* l = read(of, of["x-kubernetes-embedded-resource"].as_bool(),
                              name + "." + (escaped ? *escaped : field), depth + 1);
        if (!l) continue;
        add_field(object, s, field, l);
        if (is_required(schema, field) && !of.find("default"))
          object.bytes_min += static_cast<std::int64_t>(field.size()) + l->bytes_min + 4;
      }
    }
    if (adds_root) add_root_fields(object, s, name);
    out_.objects.insert_or_assign(name, &object);
    return &object;
  }

  static bool is_required(const json::value& schema, std::string_view field) {
    const json::array* required = schema["required"].array();
    return required && std::ranges::any_of(*required, [&](const json::value& v) { return v.as_string() == field; });
  }

  declaration::parts& out_;
};

}  // namespace

declaration::declaration(std::unique_ptr<const parts> p) : parts_(std::move(p)) {}
declaration::~declaration() = default;

std::shared_ptr<const declaration> declaration::of(const json::value& schema, bool root, std::string type_name) {
  auto p = std::make_unique<parts>();
  p->root = reader(*p).read(schema, root, type_name, 0);
  if (!p->root) return nullptr;
  p->types.of = p->sizes.of = p.get();
  return std::make_shared<const declaration>(std::move(p));
}

const cel::type& declaration::type() const noexcept { return parts_->root->of; }
const cel::shape* declaration::shape() const noexcept { return parts_->root->reads; }
const cel::size_model& declaration::sizes() const noexcept { return parts_->sizes; }
std::shared_ptr<const cel::type_provider> declaration::types() const {
  return {shared_from_this(), &parts_->types};  // lives as long as the declaration
}

std::uint64_t declaration::cardinality_max() const noexcept {
  return static_cast<std::uint64_t>(request_max_bytes / (parts_->root->bytes_min + 1));
}

cel::value declaration::read(const json::value& document, cel::arena& memory) const {
  return cel::value::json(document, shape(), memory);
}

std::shared_ptr<const cel::environment> rule_environment(const declaration& self, bool optional_old_self) {
  auto b = base_environment()->extend();
  b.types(self.types());
  b.variable("self", self.type());
  b.variable("oldSelf", optional_old_self ? cel::type::optional(self.type()) : self.type());
  return b.build();
}

namespace {

constexpr std::string_view reserved[] = {"true",     "false",   "null",      "in",       "as",  "break",  "const",
                                         "continue", "else",    "for",       "function", "if",  "import", "let",
                                         "loop",     "package", "namespace", "return",   "var", "void",   "while"};

bool is_reserved(std::string_view name) { return std::ranges::find(reserved, name) != std::end(reserved); }

}  // namespace

std::optional<std::string> escape_name(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return std::nullopt;
  if (is_reserved(name)) return "__" + std::string(name) + "__";
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (name.substr(i).starts_with("__")) {
      out += "__underscores__";
      ++i;
    } else if (c == '.') {
      out += "__dot__";
    } else if (c == '-') {
      out += "__dash__";
    } else if (c == '/') {
      out += "__slash__";
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_') {
      out += c;
    } else {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<std::string> unescape_name(std::string_view escaped) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> escapes{
      {{"__underscores__", "__"}, {"__dot__", "."}, {"__dash__", "-"}, {"__slash__", "/"}}};
  if (escaped.starts_with("__") && escaped.ends_with("__") && escaped.size() > 4 &&
      is_reserved(escaped.substr(2, escaped.size() - 4)))
    return std::string(escaped.substr(2, escaped.size() - 4));
  std::string out;
  while (!escaped.empty()) {
    const auto at = escaped.find("__");
    out += escaped.substr(0, at);
    if (at == std::string_view::npos) break;
    escaped.remove_prefix(at);
    // What stands between two pairs of underscores is an escape, and must be a known one.
    const auto ends = escaped.find('_', 2);
    if (ends == std::string_view::npos || ends == 2 || !escaped.substr(ends).starts_with("__")) {
      out += escaped.front();
      escaped.remove_prefix(1);
      continue;
    }
    const auto word = escaped.substr(0, ends + 2);
    auto known = std::ranges::find(escapes, word, &std::pair<std::string_view, std::string_view>::first);
    if (known == escapes.end()) return std::nullopt;
    out += known->second;
    escaped.remove_prefix(word.size());
  }
  return out;
}

}  // namespace kedge::api::expressions
