// schema_rules.cc: which schemas a CustomResourceDefinition may have: those from which a value's type follows at every
// place (structural ones), without what kube-apiserver doesn't support.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "api/custom/field_path.h"
#include "api/custom/rule_costs.h"
#include "api/custom/rules.h"
#include "api/custom/structural.h"
#include "api/custom/value_rules.h"
#include "base/strings.h"

namespace kedge::api::custom {
namespace {

constexpr std::string_view not_structural = " to be structural";

bool is_there(const json::value& v) {
  return v.is_string()                   ? !v.as_string().empty()
         : v.is_array() || v.is_object() ? !v.empty()
         : v.is_bool()                   ? v.as_bool()
                                         : !v.is_null();
}
// Of words whose empty schema says something, too.
bool is_said(const json::value& p, std::string_view word) {
  return is_there(p[word]) || p[word].is_bool() ||
         (p[word].is_object() && (word == "additionalItems" || word == "dependencies"));
}
bool keeps_unknown(const json::value& p) { return p["x-kubernetes-preserve-unknown-fields"].as_bool(); }
bool is_int_or_string(const json::value& p) { return p["x-kubernetes-int-or-string"].as_bool(); }
bool is_embedded(const json::value& p) { return p["x-kubernetes-embedded-resource"].as_bool(); }

// Each schema in another one, to which a value's parts must come up.
template <typename See>
void for_each_part(const json::value& p, const See& see) {
  if (p["items"].is_object()) see(p["items"]);
  if (p["additionalProperties"].is_object()) see(p["additionalProperties"]);
  if (auto members = p["properties"].object())
    for (auto& m : *members) see(m.value);
  if (p["not"].is_object()) see(p["not"]);
  for (auto list : {"allOf", "anyOf", "oneOf"})
    for (std::size_t i = 0; i < p[list].size(); ++i) see(p[list][i]);
}

// The first word that no structural schema has; empty when there is none.
std::string_view unsupported_word(const json::value& p) {
  for (auto word : {"id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"})
    if (word == std::string_view("additionalItems") ? is_said(p, word) : is_there(p[word]))
      return std::string_view(word) == "$schema" ? "schema" : word;
  if (p["items"].is_array()) return "items";
  std::string_view found;
  for_each_part(p, [&](const json::value& part) {
    if (found.empty()) found = unsupported_word(part);
  });
  return found;
}

// RE2's words for what is wrong with a pattern as Go's library, which reads the same language, has them: "missing ):
// (".
std::string as_go(const std::string& why) {
  auto colon = why.find(": ");
  auto words = why.substr(0, colon), what = colon == why.npos ? std::string() : why.substr(colon + 2);
  for (auto missing : {"missing )", "missing ]"})
    if (words == missing) words.insert(8, "closing ");
  return fmt::format("error parsing regexp: {}{}", words, what.empty() ? "" : fmt::format(": `{}`", what));
}

// Whether a type follows at every place. Its findings are told in the order of their text.
class structural_checker {
 public:
  enum class level { root, item, field };

  void check(const json::value& p, const place& at, level l) {
    if (found_.full()) return;
    parts(p, at, l);
    extensions(p, at);
    const bool skip_any = is_integer_or_text(p["anyOf"]),
               skip_first = is_integer_or_text(p["allOf"][std::size_t{0}]["anyOf"]);
    values(p, at, skip_any, skip_first);
    type(p, at, l);
    own_members(p, at, l);
    complete_values(p, p, at, at);
  }

  causes sorted() && {
    std::ranges::sort(found_, {}, [](const cause& c) { return c.field + ": " + c.message; });
    return std::move(found_);
  }

 private:
  static bool is_integer_or_text(const json::value& any_of) {
    return any_of.size() == 2 && any_of[0] == json::value(json::object{{"type", "integer"}}) &&
           any_of[1] == json::value(json::object{{"type", "string"}});
  }

  void parts(const json::value& p, const place& at, level l) {
    auto &items = p["items"], &more = p["additionalProperties"];
    if (p["type"].as_string() == "array" && !items.is_object())
      found_.push_back(required(place(at, "items"), "must be specified"));
    if (items.is_object()) check(items, place(at, "items"), level::item);
    if (auto members = p["properties"].object())
      for (auto& m : *members) check(m.value, place::of_key(at, "properties", m.name), level::field);
    if (more.is_null()) return;
    if (l == level::root)
      found_.push_back(forbidden_value(place(at, "additionalProperties"), "must not be used at the root"));
    if (more.is_object()) check(more, place(at, "additionalProperties"), level::field);
  }

  void extensions(const json::value& p, const place& at) {
    if (!is_int_or_string(p)) return;
    constexpr std::string_view wrong = "must be false if x-kubernetes-int-or-string is true";
    if (keeps_unknown(p))
      found_.push_back(invalid_value(place(at, "x-kubernetes-preserve-unknown-fields"), true, wrong));
    if (is_embedded(p)) found_.push_back(invalid_value(place(at, "x-kubernetes-embedded-resource"), true, wrong));
  }

  void type(const json::value& p, const place& at, level l) {
    constexpr std::string_view embedded = "must be object if x-kubernetes-embedded-resource is true";
    auto name = p["type"].as_string();
    const place here(at, "type");
    if (is_embedded(p) && name != "object")
      found_.push_back(name.empty() ? required(here, embedded) : invalid_value(here, name, embedded));
    else if (name.empty() && !is_int_or_string(p) && !keeps_unknown(p))
      found_.push_back(required(here, l == level::root   ? "must not be empty at the root"
                                      : l == level::item ? "must not be empty for specified array items"
                                                         : "must not be empty for specified object fields"));
    if (is_embedded(p) && !p["additionalProperties"].is_null())
      found_.push_back(forbidden_value(place(at, "additionalProperties"),
                                       "must not be used if x-kubernetes-embedded-resource is set"));
    if (l == level::root && !name.empty() && name != "object")
      found_.push_back(invalid_value(here, name, "must be object at the root"));
  }

  // apiVersion, kind and metadata, which an object has anyway.
  void own_members(const json::value& p, const place& at, level l) {
    auto& members = p["properties"];
    const bool whole = l == level::root || is_embedded(p);
    for (auto name : {"kind", "apiVersion"})
      if (auto m = members.find(std::string_view(name)); m && whole && (*m)["type"].as_string() != "string") {
        const place here = place::of_key(at, "properties", name);
        found_.push_back(invalid_value(place(here, "type"), (*m)["type"].as_string(), "must be string"));
      }
    if (auto m = members.find("metadata"))
      metadata(*m, place::of_key(at, "properties", "metadata"), whole, l == level::root);
    if (is_embedded(p) && !keeps_unknown(p) && members.empty())
      found_.push_back(required(
          place(at, "properties"),
          "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"));
  }

  void metadata(const json::value& m, const place& at, bool whole, bool root) {
    if (whole && m["type"].as_string() != "object")
      found_.push_back(invalid_value(place(at, "type"), m["type"].as_string(), "must be object"));
    if (!root) return;
    bool named = true;
    if (auto members = m["properties"].object())
      for (auto& one : *members) named = named && (one.name == "name" || one.name == "generateName");
    auto rest = m;
    for (auto name : {"type", "default", "properties"}) rest.erase(name);
    if (!named || !rest.empty())
      found_.push_back(forbidden_value(
          at, "must not specify anything other than name and generateName, but metadata is implicitly specified"));
  }

  // Rules of values: below allOf, anyOf, oneOf and not there is nothing else.
  void values(const json::value& p, const place& at, bool skip_any, bool skip_first) {
    for (std::size_t i = 0; i < p["anyOf"].size() && !skip_any; ++i)
      nested(p["anyOf"][i], place(at, "anyOf", i), false);
    for (std::size_t i = 0; i < p["allOf"].size(); ++i)
      nested(p["allOf"][i], place(at, "allOf", i), skip_first && i == 0);
    for (std::size_t i = 0; i < p["oneOf"].size(); ++i) nested(p["oneOf"][i], place(at, "oneOf", i), false);
    if (p["not"].is_object()) nested(p["not"], place(at, "not"), false);
    if (auto pattern = std::string(p["pattern"].as_string()); !pattern.empty())
      if (auto why = pattern_error(pattern); !why.empty())
        found_.push_back(invalid_value(place(at, "pattern"), pattern,
                                       "must be a valid regular expression, but isn't: " + as_go(why)));
  }

  void nested(const json::value& p, const place& at, bool skip_any) {
    if (found_.full()) return;
    values(p, at, skip_any, false);
    if (p["items"].is_object()) nested(p["items"], place(at, "items"), false);
    if (auto members = p["properties"].object())
      for (auto& m : *members) nested(m.value, place::of_key(at, "properties", m.name), false);
    auto none = [&](std::string_view word, std::string_view what) {
      if (is_there(p[word]))
        found_.push_back(forbidden_value(place(at, word), fmt::format("must be {}{}", what, not_structural)));
    };
    none("type", "empty");
    if (!p["additionalProperties"].is_null())
      found_.push_back(forbidden_value(place(at, "additionalProperties"), "must be undefined to be structural"));
    if (!p["default"].is_null())
      found_.push_back(forbidden_value(place(at, "default"), "must be undefined to be structural"));
    for (auto word : {"title", "description"}) none(word, "empty");
    for (auto word : {"nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
                      "x-kubernetes-int-or-string"})
      none(word, "false");
    none("x-kubernetes-list-map-keys", "empty");
    for (auto word : {"x-kubernetes-list-type", "x-kubernetes-map-type"}) none(word, "undefined");
    none("x-kubernetes-validations", "empty");
    if (p["properties"].find("metadata"))
      found_.push_back(
          forbidden_value(place::of_key(at, "properties", "metadata"), "must not be specified in a nested context"));
  }

  // What values' rules speak of must be in the schema itself. `v`: the rules, at `of_v`; `s`: the schema that they are
  // about, at `of_s`.
  void complete_values(const json::value& v, const json::value& s, const place& of_s, const place& of_v) {
    if (v["not"].is_object()) complete(v["not"], s, of_s, place(of_v, "not"));
    for (auto list : {"allOf", "anyOf", "oneOf"})
      for (std::size_t i = 0; i < v[list].size(); ++i) complete(v[list][i], s, of_s, place(of_v, list, i));
  }

  void complete(const json::value& v, const json::value& s, const place& of_s, const place& of_v) {
    if (found_.full()) return;
    if (!s.is_object())
      return found_.push_back(required(of_s, fmt::format("because it is defined in {}", of_v.text())));
    complete_values(v, s, of_s, of_v);
    if (v["items"].is_object()) complete(v["items"], s["items"], place(of_s, "items"), place(of_v, "items"));
    auto members = v["properties"].object();
    if (!members) return;
    for (auto& m : *members)
      complete(m.value, s["properties"][m.name], place::of_key(of_s, "properties", m.name),
               place::of_key(of_v, "properties", m.name));
  }

  causes found_;
};

// The rest, in the order of the walk.
class schema_checker {
 public:
  // `costs`: what rules may cost; null: they are not compiled, for the schema isn't one that tells types.
  schema_checker(causes& out, rule_costs* costs) : out_(out), costs_(costs) {}

  // `s`: null for what rules don't reach (the branches of allOf, anyOf, oneOf and not).
  void check(const json::value& p, const place& at, const rule_scope* s) {
    if (out_.full()) return;
    const auto before = out_.size();
    words(p, at);
    parts(p, at, s);
    if (auto keeps = p.find("x-kubernetes-preserve-unknown-fields"); keeps && keeps->is_bool() && !keeps->as_bool())
      out_.push_back(
          invalid_value(place(at, "x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined"));
    kind_of(p, at, "x-kubernetes-map-type", "object", {"atomic", "granular"});
    if (!kind_of_list(p, at)) set_items(p, at);
    list_keys(p, at);
    item_keys(p, at);
    rules(p, at);
    // Of a schema that is wrong here or below no type can be told.
    if (costs_ && s && out_.size() == before) costs_->check(p, at, *s);
  }

 private:
  void words(const json::value& p, const place& at) {
    static const std::vector<std::string> types{"array", "boolean", "integer", "number", "object", "string"};
    auto type = p["type"].as_string();
    if (!type.empty() && std::ranges::find(types, type) == types.end())
      out_.push_back(not_supported(place(at, "type"), type, types));
    for (auto word : {"id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"})
      if (is_said(p, word)) out_.push_back(forbidden_value(place(at, word), fmt::format("{} is not supported", word)));
    if (type == "null")
      out_.push_back(forbidden_value(place(at, "type"), "type cannot be set to null, use nullable as an alternative"));
    if (p["items"].is_array())
      out_.push_back(forbidden_value(place(at, "items"), "items must be a schema object and not an array"));
    if (p["uniqueItems"].as_bool())
      out_.push_back(
          forbidden_value(place(at, "uniqueItems"),
                          "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"));
  }

  void parts(const json::value& p, const place& at, const rule_scope* s) {
    auto &more = p["additionalProperties"], &items = p["items"];
    if (!p["properties"].empty() && (more.is_object() || (more.is_bool() && !more.as_bool())))
      out_.push_back(forbidden_value(place(at, "additionalProperties"),
                                     "additionalProperties and properties are mutual exclusive"));
    // One level down, with what bounds how often it can be there.
    auto below = [&](const json::value& part, const place& there, const rule_scope& of) {
      check(part, there, s ? &of : nullptr);
    };
    const auto within = s ? s->below(p) : rule_scope{};
    if (more.is_object()) below(more, place(at, "additionalProperties"), within);
    if (auto members = p["properties"].object())
      for (auto& m : *members) below(m.value, place::of_key(at, "properties", m.name), within);
    if (p["not"].is_object()) check(p["not"], place(at, "not"), nullptr);
    for (auto list : {"allOf", "oneOf", "anyOf"})
      for (std::size_t i = 0; i < p[list].size(); ++i) check(p[list][i], place(at, list, i), nullptr);
    if (!items.is_object()) return;
    auto of_items = within;
    if (of_items.without_past.empty() && p["x-kubernetes-list-type"].as_string() != "map")
      of_items.without_past = at.text();
    below(items, place(at, "items"), of_items);
  }

  // A word that is for one type alone, and its values; whether that type isn't there.
  bool kind_of(const json::value& p, const place& at, std::string_view word, std::string_view type,
               const std::vector<std::string>& known) {
    auto value = p[word].as_string(), is = p["type"].as_string();
    if (value.empty()) return false;
    const bool wrong = is != type;
    auto text = fmt::format("must be {} if {} is specified", type, word);
    if (wrong)
      out_.push_back(is.empty() ? required(place(at, "type"), text) : invalid_value(place(at, "type"), is, text));
    if (std::ranges::find(known, value) == known.end()) out_.push_back(not_supported(place(at, word), value, known));
    return wrong;
  }
  bool kind_of_list(const json::value& p, const place& at) {
    return kind_of(p, at, "x-kubernetes-list-type", "array", {"atomic", "set", "map"});
  }

  void set_items(const json::value& p, const place& at) {
    if (p["x-kubernetes-list-type"].as_string() != "set" || !p["items"].is_object()) return;
    auto& items = p["items"];
    auto type = items["type"].as_string();
    const place here(at, "items");
    constexpr std::string_view wrong = "must be atomic as item of a list with x-kubernetes-list-type=set";
    if (auto list = items["x-kubernetes-list-type"].as_string(); type == "array" && !list.empty() && list != "atomic")
      out_.push_back(invalid_value(place(here, "x-kubernetes-list-type"), list, wrong));
    if (type == "object" && items["x-kubernetes-map-type"].as_string() != "atomic")
      out_.push_back(invalid_value(place(here, "x-kubernetes-map-type"), items["x-kubernetes-list-type"], wrong));
  }

  void list_keys(const json::value& p, const place& at) {
    auto& keys = p["x-kubernetes-list-map-keys"];
    auto& items = p["items"];
    auto list = p["x-kubernetes-list-type"].as_string();
    const place of_list(at, "x-kubernetes-list-type"), of_keys(at, "x-kubernetes-list-map-keys"), of_items(at, "items");
    constexpr std::string_view must = "must be map if x-kubernetes-list-map-keys is non-empty";
    if (!keys.empty() && list != "map")
      out_.push_back(list.empty() ? required(of_list, must) : invalid_value(of_list, list, must));
    if (list != "map") return;
    if (keys.empty()) out_.push_back(required(of_keys, "must not be empty if x-kubernetes-list-type is map"));
    if (items.is_null()) out_.push_back(required(of_items, "must have a schema if x-kubernetes-list-type is map"));
    if (!items.is_object()) return;
    if (items["type"].as_string() != "object") {
      const place of_type(of_items, "type");
      return out_.push_back(invalid_value(of_type, items["type"].as_string(),
                                          "must be object if parent array's x-kubernetes-list-type is map"));
    }
    std::unordered_set<std::string_view> seen;
    for (std::size_t i = 0; i < keys.size() && !out_.full(); ++i) {
      auto key = keys[i].as_string();
      if (auto property = items["properties"].find(key); !property) {
        out_.push_back(invalid_value(of_keys, keys, "entries must all be names of item properties"));
      } else if (auto type = (*property)["type"].as_string(); type == "array" || type == "object") {
        const place here = place::of_key(of_items, "properties", key);
        out_.push_back(invalid_value(place(here, "type"), "object",
                                     "must be a scalar type if parent array's x-kubernetes-list-type is map"));
      }
      if (!seen.insert(key).second) out_.push_back(invalid_value(of_keys, keys, "must not contain duplicate entries"));
    }
  }

  // Keys must be there: needed, or with a default.
  void item_keys(const json::value& p, const place& at) {
    auto list = p["x-kubernetes-list-type"].as_string();
    auto &items = p["items"], &keys = p["x-kubernetes-list-map-keys"];
    if (!items.is_object() || (list != "set" && list != "map")) return;
    const place of_items(at, "items");
    if (items["nullable"].as_bool())
      out_.push_back(forbidden_value(place(of_items, "nullable"),
                                     fmt::format("cannot be nullable when x-kubernetes-list-type is {}", list)));
    if (list != "map") return;
    std::unordered_set<std::string_view> needed;
    for (std::size_t i = 0; i < items["required"].size(); ++i) needed.insert(items["required"][i].as_string());
    for (std::size_t i = 0; i < keys.size() && !out_.full(); ++i) {
      auto key = keys[i].as_string();
      auto property = items["properties"].find(key);
      if (!property) continue;
      const place here = place::of_key(of_items, "properties", key);
      if ((*property)["default"].is_null() && !needed.contains(key))
        out_.push_back(required(
            place(here, "default"),
            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"));
      if ((*property)["nullable"].as_bool())
        out_.push_back(forbidden_value(place(here, "nullable"),
                                       "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"));
    }
  }

  void rules(const json::value& p, const place& at) {
    auto& list = p["x-kubernetes-validations"];
    for (std::size_t i = 0; i < list.size(); ++i) {
      const place here(at, "x-kubernetes-validations", i), of_message(here, "message");
      auto rule = trim(list[i]["rule"].as_string()), message = list[i]["message"].as_string(),
           text = list[i]["messageExpression"].as_string();
      auto breaks = [](std::string_view s) { return s.find_first_of("\r\n") != s.npos; };
      if (rule.empty())
        out_.push_back(required(place(here, "rule"), "rule is not specified"));
      else if (!message.empty() && trim(message).empty())
        out_.push_back(invalid_value(of_message, message, "must be non-empty if specified"));
      else if (breaks(trim(message)))
        out_.push_back(invalid_value(of_message, message, "must not contain line breaks"));
      else if (breaks(rule) && trim(message).empty())
        out_.push_back(required(of_message, "message must be specified if rule contains line breaks"));
      if (!text.empty() && trim(text).empty())
        out_.push_back(required(place(here, "messageExpression"), "messageExpression must be non-empty if specified"));
      one_of(out_, list[i], here, "reason",
             {"FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"});
      field_path(p, list[i], place(here, "fieldPath"));
    }
  }

  void field_path(const json::value& p, const json::value& rule, const place& at) {
    auto path = rule["fieldPath"].as_string();
    if (path.empty()) return;
    if (trim(path).empty()) out_.push_back(invalid_value(at, path, "must be non-empty if specified"));
    if (path.find_first_of("\r\n") != path.npos)
      out_.push_back(invalid_value(at, path, "must not contain line breaks"));
    if (!find_field(path, p)) out_.push_back(invalid_value(at, path, "must be a valid path"));
  }

  causes& out_;
  rule_costs* costs_;
};

// A default must be what the schema would let through.
void check_defaults(causes& out, const json::value& p, const place& at) {
  if (out.full()) return;
  if (auto standard = p.find("default"); standard && !standard->is_null()) {
    auto s = structural::compile(p);
    causes wrong;
    check_tree(wrong, s.root(), *standard, nullptr, "", false);
    if (auto rules = wrong.empty() ? rule_tree::compile(p, false) : nullptr)
      rules->check_default(wrong, s.root(), *standard);
    for (auto& w : wrong) {
      w.field = at.text() + ".default" + (w.field.empty() || w.field == "<nil>" ? "" : "." + w.field);
      out.push_back(std::move(w));
    }
  }
  if (p["items"].is_object()) check_defaults(out, p["items"], place(at, "items"));
  if (p["additionalProperties"].is_object())
    check_defaults(out, p["additionalProperties"], place(at, "additionalProperties"));
  if (auto members = p["properties"].object())
    for (auto& m : *members) check_defaults(out, m.value, place::of_key(at, "properties", m.name));
}

// Beside a status subresource the root has only what isn't lost when the status' own schema is taken out of it.
void check_root(causes& out, const json::value& p, const place& at) {
  constexpr std::string_view allowed[] = {"description",
                                          "type",
                                          "format",
                                          "title",
                                          "maximum",
                                          "exclusiveMaximum",
                                          "minimum",
                                          "exclusiveMinimum",
                                          "maxLength",
                                          "minLength",
                                          "pattern",
                                          "maxItems",
                                          "minItems",
                                          "uniqueItems",
                                          "multipleOf",
                                          "required",
                                          "items",
                                          "properties",
                                          "externalDocs",
                                          "example",
                                          "x-kubernetes-preserve-unknown-fields",
                                          "x-kubernetes-validations"};
  if (auto type = p["type"].as_string(); !type.empty() && type != "object")
    return out.push_back(invalid_value(
        place(at, "type"), type,
        "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled"));
  auto members = p.object();
  const bool other = members && std::ranges::any_of(*members, [&](auto& m) {
                       const bool there = is_there(m.value) || m.value.is_object() || m.value.is_number();
                       return there && std::ranges::find(allowed, m.name) == std::end(allowed);
                     });
  if (other)
    out.push_back(invalid_value(at, p,
                                "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum "
                                "MaxLength MinLength Pattern MaxItems "
                                "MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example "
                                "XPreserveUnknownFields XValidations] fields "
                                "are allowed at the root of the schema if the status subresource is enabled"));
}

}  // namespace

void check_schema(causes& out, const json::value& props, const std::string& path, bool with_status) {
  const place at(path);
  const auto word = unsupported_word(props);
  const auto before = out.size();
  if (with_status) check_root(out, props, at);
  if (props["nullable"].as_bool())
    out.push_back(forbidden_value(place(at, "nullable"), "nullable cannot be true at the root"));
  bool tells_types = false;
  if (word.empty()) {
    structural_checker checker;
    checker.check(props, at, structural_checker::level::root);
    auto found = std::move(checker).sorted();
    if (found.empty()) {
      const auto sound = out.size();
      check_defaults(out, props, at);
      tells_types = out.size() == sound;
      const place of_default(at, "default");
      for (auto member : {"apiVersion", "kind"})
        if (props["default"].is_object()) need(out, props["default"], of_default, member);
    }
    for (auto& c : found) out.push_back(std::move(c));
  }
  rule_costs costs;
  const rule_scope whole{.times = 1, .root = true, .without_past = {}};
  schema_checker(out, tells_types ? &costs : nullptr).check(props, at, &whole);
  costs.tell(out);
  if (!word.empty() && out.size() == before)
    out.push_back(invalid_value(at, "", fmt::format("OpenAPIV3Schema '{}' is not supported", word)));
  costs.tell_total(out, at);
}

}  // namespace kedge::api::custom
