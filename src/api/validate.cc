#include "api/validate.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/limits.h"
#include "base/strings.h"
#include "schema/quantity.h"

namespace kedge::api {

std::string at(std::string_view path, std::size_t i) { return fmt::format("{}[{}]", path, i); }
std::string at_key(std::string_view path, std::string_view key) { return fmt::format("{}[{}]", path, key); }
std::string under(std::string_view path, std::string_view member) {
  return path.empty() ? std::string(member) : fmt::format("{}.{}", path, member);
}

void add_problems(causes& out, const std::string& field, const json::value& v, const problems& p) {
  for (auto& text : p) out.push_back(invalid_value(field, v, text));
}

bool need(causes& out, const json::value& parent, std::string_view path, std::string_view member, std::string_view detail) {
  auto& v = parent[member];
  const bool there = v.is_string() ? !v.string()->empty() : v.is_array() || v.is_object() ? !v.empty() : !v.is_null();
  if (!there) out.push_back(required(under(path, member), detail));
  return there;
}

void one_of(causes& out, const json::value& parent, std::string_view path, std::string_view member,
            std::initializer_list<std::string_view> allowed) {
  auto& v = parent[member];
  if (v.is_null()) return;
  for (auto a : allowed)
    if (v.as_string() == a) return;
  std::vector<std::string> list(allowed.begin(), allowed.end());
  std::sort(list.begin(), list.end());
  out.push_back(not_supported(under(path, member), v, list));
}

void not_negative(causes& out, const json::value& parent, std::string_view path, std::string_view member) {
  auto& v = parent[member];
  if (v.is_number() && v.as_number() < 0) out.push_back(invalid_value(under(path, member), v, "must be greater than or equal to 0"));
}

void immutable(causes& out, const json::value& now, const json::value& before, std::string field) {
  if (!(now == before)) out.push_back(invalid_value(std::move(field), now, "field is immutable"));
}

void check_labels(causes& out, const json::value& labels, const std::string& field) {
  auto o = labels.object();
  if (!o) return;
  for (auto& m : *o) {
    add_problems(out, field, m.name, check_qualified_name(m.name));
    add_problems(out, field, m.value, check_label_value(m.value.as_string()));
  }
}

void check_annotations(causes& out, const json::value& annotations, const std::string& field) {
  auto o = annotations.object();
  if (!o) return;
  std::size_t total = 0;
  for (auto& m : *o) {
    add_problems(out, field, m.name, check_qualified_name(lower(m.name)));
    total += m.name.size() + m.value.as_string().size();
  }
  if (total > annotations_max_bytes) out.push_back(too_long(field, annotations_max_bytes));
}

void check_label_selector(causes& out, const json::value& selector, const std::string& field) {
  if (auto labels = selector["matchLabels"].object())
    for (auto& m : *labels) {
      add_problems(out, field + ".matchLabels", m.name, check_qualified_name(m.name));
      add_problems(out, field + ".matchLabels", m.value, check_label_value(m.value.as_string()));
    }
  auto list = selector["matchExpressions"].array();
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    auto& e = (*list)[i];
    auto path = at(field + ".matchExpressions", i);
    auto op = e["operator"].as_string();
    if (op == "In" || op == "NotIn") {
      if (e["values"].empty())
        out.push_back(required(path + ".values", "must be specified when `operator` is 'In' or 'NotIn'"));
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (!e["values"].empty())
        out.push_back(forbidden_value(path + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
    } else {
      out.push_back(invalid_value(path + ".operator", op, "not a valid selector operator"));
    }
    add_problems(out, path + ".key", e["key"], check_qualified_name(e["key"].as_string()));
    for (std::size_t j = 0; j < e["values"].size(); ++j)
      add_problems(out, at(path + ".values", j), e["values"][j], check_label_value(e["values"][j].as_string()));
  }
}

void check_port_or_name(causes& out, const json::value& v, const std::string& field) {
  if (v.is_string())
    add_problems(out, field, v, check_port_name(v.as_string()));
  else
    add_problems(out, field, v, check_port_number(v.as_integer()));
}

void check_int_or_percent(causes& out, const json::value& v, const std::string& field) {
  if (v.is_null()) return;
  if (auto text = v.string()) {
    auto digits = std::string_view(*text);
    if (!digits.ends_with('%') || !parse_uint(digits.substr(0, digits.size() - 1)))
      out.push_back(invalid_value(field, v,
                                  "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex "
                                  "used for validation is '[0-9]+%')"));
  } else if (v.as_integer() < 0) {
    out.push_back(invalid_value(field, v, "must be greater than or equal to 0"));
  }
}

void check_quantity(causes& out, const json::value& v, const std::string& field) {
  auto q = schema::quantity::parse(v.as_string());
  if (q && q->sign() < 0) out.push_back(invalid_value(field, v, "must be greater than or equal to 0"));
}

namespace {

// A generated name's base ends in a dash more often than not: what follows makes it right.
std::string without_last_dash(std::string_view name) {
  if (name.size() > 1 && name.back() == '-') return std::string(name.substr(0, name.size() - 2)) + "a";
  return std::string(name);
}

bool standard_finalizer(std::string_view f) { return f == "orphan" || f == "foregroundDeletion" || f == "kubernetes"; }

void check_finalizers(causes& out, const json::value& finalizers, const std::string& field, bool plain) {
  bool orphan = false, foreground = false;
  for (std::size_t i = 0; i < finalizers.size(); ++i) {
    auto f = finalizers[i].as_string();
    add_problems(out, field, f, check_qualified_name(f));
    if (!plain && f.find('/') == std::string_view::npos && !standard_finalizer(f))
      out.push_back(invalid_value(field, f, "name is neither a standard finalizer name nor is it fully qualified"));
    orphan = orphan || f == "orphan";
    foreground = foreground || f == "foregroundDeletion";
  }
  if (orphan && foreground)
    out.push_back(invalid_value(field, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"));
}

void check_owners(causes& out, const json::value& owners, const std::string& field) {
  std::string controller;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    auto& o = owners[i];
    auto version = o["apiVersion"].as_string();
    if (version.empty() || version.ends_with('/'))
      out.push_back(invalid_value(field + ".apiVersion", version, "version must not be empty"));
    if (o["kind"].as_string().empty()) out.push_back(invalid_value(field + ".kind", o["kind"].as_string(), "must not be empty"));
    if (o["name"].as_string().empty()) out.push_back(invalid_value(field + ".name", o["name"].as_string(), "must not be empty"));
    if (o["uid"].as_string().empty()) out.push_back(invalid_value(field + ".uid", o["uid"].as_string(), "must not be empty"));
    if (version == "v1" && o["kind"].as_string() == "Event")
      out.push_back(invalid_value(field, o, "/v1, Kind=Event is disallowed from being an owner"));
    if (!o["controller"].as_bool()) continue;
    auto name = fmt::format("{}/{}", o["kind"].as_string(), o["name"].as_string());
    if (!controller.empty())
      out.push_back(invalid_value(field, owners,
                                  fmt::format("Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                                              controller, name)));
    controller = name;
  }
}

}  // namespace

void check_metadata(causes& out, const json::value& m, const metadata_rules& rules, const std::string& field) {
  // Paths are spelled only where something is to be said of them.
  auto tell = [&](const char* member, const problems& p) {
    if (!p.empty()) add_problems(out, field + "." + member, m[member], p);
  };
  if (auto base = m["generateName"].as_string(); !base.empty()) tell("generateName", rules.name(without_last_dash(base)));
  auto name = m["name"].as_string();
  if (name.empty())
    out.push_back(required(field + ".name", "name or generateName is required"));
  else
    tell("name", rules.name(name));
  auto ns = m["namespace"].as_string();
  if (rules.namespaced) {
    if (ns.empty())
      out.push_back(required(field + ".namespace"));
    else
      tell("namespace", check_dns1123_label(ns));
  } else if (!ns.empty()) {
    out.push_back(forbidden_value(field + ".namespace", "not allowed on this type"));
  }
  if (auto labels = m.find("labels")) check_labels(out, *labels, field + ".labels");
  if (auto annotations = m.find("annotations")) check_annotations(out, *annotations, field + ".annotations");
  if (auto owners = m.find("ownerReferences")) check_owners(out, *owners, field + ".ownerReferences");
  if (auto finalizers = m.find("finalizers")) check_finalizers(out, *finalizers, field + ".finalizers", rules.plain_finalizers);
}

void check_metadata_update(causes& out, const json::value& now, const json::value& before) {
  if (before["deletionTimestamp"].is_string()) {
    std::string fresh;
    for (std::size_t i = 0; i < now["finalizers"].size(); ++i) {
      auto f = now["finalizers"][i].as_string();
      auto old = before["finalizers"].array();
      if (old && std::any_of(old->begin(), old->end(), [&](auto& x) { return x.as_string() == f; })) continue;
      fresh += (fresh.empty() ? "" : ", ") + quote(f);
    }
    if (!fresh.empty())
      out.push_back(forbidden_value("metadata.finalizers",
                                    fmt::format("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", fresh)));
  }
  for (auto name : {"name", "namespace", "uid", "creationTimestamp"})
    if (!(now[name] == before[name])) immutable(out, now[name], before[name], std::string("metadata.") + name);
}

}  // namespace kedge::api
