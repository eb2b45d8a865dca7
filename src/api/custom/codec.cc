#include "api/custom/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "api/printers/printer.h"
#include "api/registry/field_text.h"
#include "base/strings.h"
#include "json/write.h"
#include "meta/names.h"
#include "reactor/loop.h"
#include "schema/decode.h"
#include "store/text.h"

namespace kedge::api::custom {
namespace {

const schema::type_info& metadata_type() {
  static const auto& type = *schema::find_type("meta/v1.PartialObjectMetadata");
  return type;
}

// {metadata} through the type that has it, so that messages and paths are the real server's.
api_result<void> decode_metadata(const served& s, json::value& v, schema::unknown_list* unknown, bool for_patch) {
  auto& m = v["metadata"];
  if (m.is_null()) {
    v.set("metadata", json::object{});
    return {};
  }
  json::value shell = json::object{{"kind", s.kind}, {"apiVersion", s.api_version}, {"metadata", m}};
  if (auto ok = schema::decode(metadata_type(), shell, unknown); !ok) {
    if (for_patch) return fail(invalid("", "", "", {invalid_value("patch", m["name"], ok.error().message)}));
    return fail(bad_request(fmt::format("{} in version {} cannot be handled as a {}: {}", s.kind, quote(s.version),
                                        s.kind, ok.error().message)));
  }
  v.set("metadata", shell["metadata"].is_null() ? json::value(json::object{}) : shell["metadata"]);
  return {};
}

void sort_members(json::value& v) {
  if (auto members = v.object()) {
    for (auto& m : *members) sort_members(m.value);
    if (std::is_sorted(members->begin(), members->end(), [](auto& a, auto& b) { return a.name < b.name; })) return;
    std::vector<json::member> all(std::make_move_iterator(members->begin()), std::make_move_iterator(members->end()));
    std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.name < b.name; });
    json::object sorted;
    sorted.reserve(all.size());
    for (auto& m : all) sorted.append(std::move(m.name), std::move(m.value));
    v = std::move(sorted);
  } else if (auto list = v.array()) {
    for (auto& e : *list) sort_members(e);
  }
}

const json::value* at_path(const json::value& v, const std::vector<std::string>& path) {
  auto found = &v;
  for (auto& step : path) {
    found = found->find(step);
    if (!found) return nullptr;
  }
  return path.empty() ? nullptr : found;
}

std::string strict_text(const schema::unknown_list& unknown, const json::duplicate_list& duplicates) {
  std::vector<std::string> all;
  for (auto& d : duplicates) all.push_back(fmt::format("duplicate field {}", quote(d)));
  for (auto& u : unknown) all.push_back(fmt::format("unknown field {}", quote(u)));
  return join(all, ", ");
}

}  // namespace

api_result<json::value> decode(const served& s, json::value v, field_validation validation,
                               json::duplicate_list duplicates, std::vector<std::string>& warnings, bool for_patch) {
  auto version = v["apiVersion"].as_string();
  if (version != s.api_version)
    return fail(bad_request(fmt::format("the API version in the data ({}) does not match the expected API version ({})",
                                        version, s.api_version)));
  if (auto kind = v["kind"].as_string(); kind != s.kind) {
    if (kind.empty()) return fail(bad_request(fmt::format("Object 'Kind' is missing in '{}'", json::write(v))));
    return fail(invalid(s.group, s.kind, v["metadata"]["name"].as_string(),
                        {invalid_value("kind", kind, fmt::format("must be {}", s.kind))}));
  }
  schema::unknown_list unknown;
  auto told = validation == field_validation::ignore ? nullptr : &unknown;
  KEDGE_CHECK(decode_metadata(s, v, told, for_patch));
  if (s.custom->has_schema) {
    std::vector<std::string> pruned;
    s.custom->schema.prune(v, told ? &pruned : nullptr);
    unknown.insert(unknown.end(), pruned.begin(), pruned.end());
  }
  if (!told || (unknown.empty() && duplicates.empty())) return v;
  if (validation == field_validation::warn) {
    for (auto& d : duplicates) warnings.push_back(fmt::format("duplicate field {}", quote(d)));
    for (auto& u : unknown) warnings.push_back(fmt::format("unknown field {}", quote(u)));
    return v;
  }
  auto text = "strict decoding error: " + strict_text(unknown, duplicates);
  if (for_patch) {
    auto refused = invalid("", "", "", {});
    refused.causes = {cause{"FieldValueInvalid", fmt::format("Invalid value: {}: {}", quote("patch"), text), "patch"}};
    refused.message = text;
    return fail(std::move(refused));
  }
  return fail(bad_request(
      fmt::format("{} in version {} cannot be handled as a {}: {}", s.kind, quote(s.version), s.kind, text)));
}

void canonicalise(const served& s, json::value& object) {
  json::value shell = json::object{{"kind", s.kind}, {"apiVersion", s.api_version}, {"metadata", object["metadata"]}};
  schema::normalise(metadata_type(), shell);
  json::object out;
  out.set("kind", s.kind);
  out.set("apiVersion", s.api_version);
  out.set("metadata", shell["metadata"].is_object() ? shell["metadata"] : json::value(json::object{}));
  object.erase("kind");
  object.erase("apiVersion");
  object.erase("metadata");
  sort_members(object);
  if (auto members = object.object())
    for (auto& m : *members) out.append(std::move(m.name), std::move(m.value));
  object = std::move(out);
}

void bring_to(const served& s, json::value& v) {
  // What was stored by an older schema is pruned and defaulted by the one of the version that it is stored in.
  const served* from = nullptr;
  auto version = v["apiVersion"].as_string();
  for (auto one : s.custom->owner->versions())
    if (one->api_version == version) from = one;
  if (!from) from = s.stored;
  if (from->custom->has_schema) {
    from->custom->schema.prune(v, nullptr);
    from->custom->schema.apply_defaults(v);
  }
  v.set("apiVersion", s.api_version);
  if (from == &s || !s.custom->has_schema) return;
  s.custom->schema.prune(v, nullptr);
  s.custom->schema.apply_defaults(v);
}

bool is_in_version(const served& s, const store::object& o) noexcept {
  constexpr std::string_view member = ",\"apiVersion\":\"";
  auto text = o.bytes().substr(0, 512);
  auto at = text.find(member);
  if (at == text.npos) return false;
  text.remove_prefix(at + member.size());
  return text.size() > s.api_version.size() && text.starts_with(s.api_version) && text[s.api_version.size()] == '"';
}

bool is_ready(const served& s, const store::object& o) noexcept {
  return o.mod() >= s.custom->owner->since() && is_in_version(s, o);
}

std::string_view field_text(const served& s, const selectable_field& field, const store::object& o,
                            std::string& buffer) {
  if (!field.plain_path.empty() && is_ready(s, o)) return api::field_text(o.bytes(), field.plain_path, buffer);
  auto object = json::parse(o.bytes());
  if (!object) return {};
  bring_to(s, *object);
  auto v = field.path.first(*object);
  if (!v || v->is_null()) return {};
  buffer = v->is_string() ? std::string(v->as_string()) : json::write(*v);
  return buffer;
}

bool is_ending(const definition& d, const store::snapshot& cluster) {
  auto crd = cluster.find(schema::custom_key_prefix("apiextensions.k8s.io", "customresourcedefinitions") + d.name());
  if (!crd) return true;
  // Nearly always. A definition's text may be a megabyte, and each create of its objects asks.
  if (crd->mod() == d.source()->mod()) return d.terminating();
  return !store::member_at(crd->bytes(), "metadata.deletionTimestamp").empty();
}

namespace {

// By the schema; then nullopt, or a run of its rules that has not begun.
std::optional<rule_run> validate_by_schema(causes& out, std::vector<std::string>& warnings, const served& s,
                                           const json::value& object, const json::value* before) {
  auto& c = *s.custom;
  if (c.has_schema) c.schema.validate(out, object, before);
  if (c.scale)
    if (auto n = at_path(object, c.scale->replicas); n && n->is_integer() && n->as_integer() < 0)
      out.push_back(invalid_value(join(c.scale->replicas, "."), *n, "should be a non-negative integer"));
  if (!c.rules) return std::nullopt;
  // Rules may rely on types and on what must be there.
  const bool blocked = std::ranges::any_of(out, [](auto& one) {
    constexpr std::string_view blocking[] = {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong",
                                             "FieldValueTooMany", "FieldValueTypeInvalid"};
    return std::ranges::find(blocking, one.reason) != std::end(blocking);
  });
  if (blocked) {
    out.push_back(invalid_value("<nil>", nullptr,
                                "some validation rules were not checked because the object was invalid; correct the "
                                "existing errors to complete validation"));
    return std::nullopt;
  }
  return std::optional<rule_run>(std::in_place, *c.rules, out, warnings, c.schema.root(), object, before);
}

}  // namespace

task<void> validate(causes& out, std::vector<std::string>& warnings, const served& s, const json::value& object,
                    const json::value* before) {
  auto rules = validate_by_schema(out, warnings, s, object, before);
  while (rules && rules->step()) co_await reactor::maybe_yield();
}

void validate_at_once(causes& out, std::vector<std::string>& warnings, const served& s, const json::value& object,
                      const json::value* before) {
  auto rules = validate_by_schema(out, warnings, s, object, before);
  while (rules && rules->step()) continue;
}

void warn(std::vector<std::string>& out, const json::value& object, const json::value* before) {
  auto names = [](const json::value& o) {
    std::set<std::string_view> all;
    auto& list = o["metadata"]["finalizers"];
    for (std::size_t i = 0; i < list.size(); ++i) all.insert(list[i].as_string());
    return all;
  };
  const auto known = before ? names(*before) : std::set<std::string_view>();
  auto tell = [&](std::string_view name, std::string_view what) {
    out.push_back(fmt::format("metadata.finalizers: {}: {}", quote(name), what));
  };
  for (auto name : names(object)) {
    if (known.contains(name)) continue;
    for (auto& wrong : check_qualified_name(name)) tell(name, wrong);
    if (name.find('/') != name.npos || name == "orphan" || name == "foregroundDeletion" || name == "kubernetes")
      continue;
    tell(name,
         name.find('.') == name.npos
             ? "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
             : "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with "
               "other finalizer writers");
  }
}

json::array cells(const served& s, const json::value& object, wall_time now) {
  json::array out;
  out.push_back(object["metadata"]["name"]);
  for (auto& c : s.custom->columns) {
    auto v = c.path.first(object);
    if (!v || v->is_null()) {
      out.emplace_back(nullptr);
    } else if (c.type == "string") {
      out.emplace_back(v->is_string() ? std::string(v->as_string()) : json::write(*v));
    } else if (c.type == "integer") {
      out.push_back(v->is_number()
                        ? json::value(v->is_integer() ? v->as_integer() : static_cast<std::int64_t>(v->as_number()))
                        : json::value());
    } else if (c.type == "number") {
      out.push_back(v->is_number() ? *v : json::value());
    } else if (c.type == "boolean") {
      out.push_back(v->is_bool() ? *v : json::value());
    } else if (c.type == "date") {
      if (!v->is_string())
        out.emplace_back(nullptr);
      else
        out.emplace_back(parse_rfc3339(v->as_string()) ? age(*v, now) : std::string("<invalid>"));
    } else {
      out.emplace_back(nullptr);
    }
  }
  return out;
}

json::value scale_of(const served& s, const json::value& o) {
  auto& m = o["metadata"];
  json::object meta{{"name", m["name"]}};
  if (s.namespaced()) meta.set("namespace", m["namespace"]);
  for (auto name : {"uid", "resourceVersion", "creationTimestamp"}) meta.set(name, m[name]);
  auto& paths = *s.custom->scale;
  json::object spec, status;
  auto wanted = at_path(o, paths.replicas), is = at_path(o, paths.status_replicas),
       selector = at_path(o, paths.selector);
  if (wanted && wanted->as_integer() != 0) spec.set("replicas", *wanted);
  status.set("replicas", is ? is->as_integer() : 0);
  if (selector && !selector->as_string().empty()) status.set("selector", *selector);
  return json::object{{"kind", "Scale"},
                      {"apiVersion", "autoscaling/v1"},
                      {"metadata", std::move(meta)},
                      {"spec", std::move(spec)},
                      {"status", std::move(status)}};
}

void set_replicas(const served& s, json::value& o, std::int64_t replicas) {
  auto v = &o;
  for (auto& step : s.custom->scale->replicas) v = &v->member(step);
  *v = replicas;
}

}  // namespace kedge::api::custom
