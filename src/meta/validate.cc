#include "meta/validate.h"

#include <fmt/format.h>

#include <unordered_set>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "meta/limits.h"
#include "schema/quantity.h"

namespace kedge::api {

std::string at(std::string_view path, std::size_t i) { return fmt::format("{}[{}]", path, i); }

void add_problems(causes& out, const place& at, const json::value& v, const problems& p) {
  for (auto& text : p) out.push_back(invalid_value(at, v, text));
}

bool need(causes& out, const json::value& parent, const place& at, std::string_view member, std::string_view detail) {
  auto& v = parent[member];
  const bool there = v.is_string() ? !v.string()->empty() : v.is_array() || v.is_object() ? !v.empty() : !v.is_null();
  if (!there) out.push_back(required(place(at, member), detail));
  return there;
}

void one_of(causes& out, const json::value& parent, const place& at, std::string_view member,
            std::initializer_list<std::string_view> allowed) {
  auto& v = parent[member];
  if (v.is_null()) return;
  for (auto a : allowed)
    if (v.as_string() == a) return;
  out.push_back(not_supported(place(at, member), v, {allowed.begin(), allowed.end()}));
}

void one_of_needed(causes& out, const json::value& parent, const place& at, std::string_view member,
                   std::initializer_list<std::string_view> allowed) {
  if (parent[member].as_string().empty())
    out.push_back(required(place(at, member)));
  else
    one_of(out, parent, at, member, allowed);
}

void not_negative(causes& out, const json::value& parent, const place& at, std::string_view member) {
  auto& v = parent[member];
  if (v.is_number() && v.as_number() < 0)
    out.push_back(invalid_value(place(at, member), v, "must be greater than or equal to 0"));
}

void immutable(causes& out, const json::value& now, const json::value& before, const place& at) {
  if (!(now == before)) out.push_back(invalid_value(at, now, "field is immutable"));
}

void declared_immutable(causes& out, const json::value& now, const json::value& before, const place& at) {
  if (!(now == before)) out.push_back(invalid_value(at, nullptr, "field is immutable"));
}

void check_labels(causes& out, const json::value& labels, const place& at) {
  auto o = labels.object();
  if (!o) return;
  for (auto& m : *o) {
    add_problems(out, at, m.name, check_qualified_name(m.name));
    add_problems(out, at, m.value, check_label_value(m.value.as_string()));
  }
}

void check_annotations(causes& out, const json::value& annotations, const place& at) {
  auto o = annotations.object();
  if (!o) return;
  std::size_t total = 0;
  for (auto& m : *o) {
    add_problems(out, at, m.name, check_qualified_name(lower(m.name)));
    total += m.name.size() + m.value.as_string().size();
  }
  if (total > annotations_max_bytes) out.push_back(too_long(at, annotations_max_bytes));
}

void check_label_selector(causes& out, const json::value& selector, const place& at, bool any_values) {
  check_labels(out, selector["matchLabels"], place(at, "matchLabels"));
  auto list = selector["matchExpressions"].array();
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    auto& e = (*list)[i];
    const place here(at, "matchExpressions", i);
    auto op = e["operator"].as_string();
    if (op == "In" || op == "NotIn") {
      if (e["values"].empty())
        out.push_back(required(place(here, "values"), "must be specified when `operator` is 'In' or 'NotIn'"));
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (!e["values"].empty())
        out.push_back(forbidden_value(place(here, "values"),
                                      "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
    } else {
      out.push_back(invalid_value(place(here, "operator"), op, "not a valid selector operator"));
    }
    add_problems(out, place(here, "key"), e["key"].as_string(), check_qualified_name(e["key"].as_string()));
    for (std::size_t j = 0; j < e["values"].size() && !any_values; ++j)
      add_problems(out, place(here, "values", j), e["values"][j], check_label_value(e["values"][j].as_string()));
  }
}

void check_user_annotations(causes& out, const json::object& notes, const place& at) {
  std::size_t total = 0;
  for (auto& m : notes) {
    auto key = lower(m.name);
    total += m.name.size() + m.value.as_string().size();
    if (key.empty())
      out.push_back(required(at));
    else if (auto wrong = check_qualified_name(key); !wrong.empty())
      add_problems(out, at, key, wrong);
    else if (key.find('/') == key.npos)
      out.push_back(invalid_value(at, key, "must be a domain-prefixed key (such as \"acme.io/foo\")"));
  }
  if (total > annotations_max_bytes) out.push_back(too_long(at, annotations_max_bytes));
}

void check_standard_conditions(causes& out, const json::value& list, const place& at) {
  constexpr std::size_t reason_max = 1024, message_max = 32 * 1024;
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& c = list[i];
    const place here(at, i);
    auto type = c["type"].as_string(), reason = c["reason"].as_string();
    if (!seen.insert(type).second) out.push_back(duplicate_value(here, type));
    if (type.empty())
      out.push_back(required(place(here, "type"), "is required"));
    else
      add_problems(out, place(here, "type"), type, check_qualified_name(type));
    one_of_needed(out, c, here, "status", {"False", "True", "Unknown"});
    if (c["observedGeneration"].as_integer() < 0)
      out.push_back(invalid_value(place(here, "observedGeneration"), c["observedGeneration"],
                                  "must be greater than or equal to zero"));
    if (c["lastTransitionTime"].is_null()) out.push_back(required(place(here, "lastTransitionTime")));
    if (reason.empty()) {
      out.push_back(required(place(here, "reason")));
    } else {
      add_problems(out, place(here, "reason"), reason, check_condition_reason(reason));
      if (reason.size() > reason_max) out.push_back(too_long(place(here, "reason"), reason_max));
    }
    if (c["message"].as_string().size() > message_max) out.push_back(too_long(place(here, "message"), message_max));
  }
}

bool has_bad_values(const json::value& selector) {
  auto& list = selector["matchExpressions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    for (std::size_t j = 0; j < list[i]["values"].size(); ++j)
      if (!check_label_value(list[i]["values"][j].as_string()).empty()) return true;
  return false;
}

void check_domain_path(causes& out, std::string_view text, const place& at) {
  if (text.empty()) return out.push_back(required(at));
  auto slash = text.find('/');
  if (slash == text.npos || slash == 0 || slash + 1 == text.size())
    return out.push_back(invalid_value(at, text, "must be a domain-prefixed path (such as \"acme.io/foo\")"));
  auto host = text.substr(0, slash), path = text.substr(slash + 1);
  add_problems(out, at, host, check_dns1123_subdomain(host));
  if (auto wrong = check_http_path(path); !wrong.empty()) add_problems(out, at, path, wrong);
}

void check_id(causes& out, const json::value& id, const place& at) {
  if (id.as_integer() < 0 || id.as_integer() > INT32_MAX)
    out.push_back(invalid_value(at, id, "must be between 0 and 2147483647, inclusive"));
}

void check_port_or_name(causes& out, const json::value& v, const place& at) {
  if (v.is_string())
    add_problems(out, at, v, check_port_name(v.as_string()));
  else
    add_problems(out, at, v, check_port_number(v.as_integer()));
}

void check_int_or_percent(causes& out, const json::value& v, const place& at) {
  if (v.is_null()) return;
  if (auto text = v.string()) {
    auto digits = std::string_view(*text);
    if (!digits.ends_with('%') || !parse_uint(digits.substr(0, digits.size() - 1)))
      out.push_back(invalid_value(
          at, v,
          "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex "
          "used for validation is '[0-9]+%')"));
  } else if (v.as_integer() < 0) {
    out.push_back(invalid_value(at, v, "must be greater than or equal to 0"));
  }
}

void check_quantity(causes& out, const json::value& v, const place& at) {
  auto q = schema::quantity::parse(v.as_string());
  if (q && q->sign() < 0) out.push_back(invalid_value(at, v, "must be greater than or equal to 0"));
}

namespace {

// A generated name's base ends in a dash more often than not: what follows makes it right.
std::string without_last_dash(std::string_view name) {
  if (name.size() > 1 && name.back() == '-') return std::string(name.substr(0, name.size() - 2)) + "a";
  return std::string(name);
}

bool standard_finalizer(std::string_view f) { return f == "orphan" || f == "foregroundDeletion" || f == "kubernetes"; }

void check_finalizers(causes& out, const json::value& finalizers, const place& at) {
  bool orphan = false, foreground = false;
  for (std::size_t i = 0; i < finalizers.size(); ++i) {
    auto f = finalizers[i].as_string();
    add_problems(out, at, f, check_qualified_name(f));
    orphan = orphan || f == "orphan";
    foreground = foreground || f == "foregroundDeletion";
  }
  if (orphan && foreground)
    out.push_back(invalid_value(at, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"));
}

void check_standard_finalizers(causes& out, const json::value& finalizers, const place& at) {
  for (std::size_t i = 0; i < finalizers.size(); ++i) {
    auto f = finalizers[i].as_string();
    if (f.find('/') == f.npos && !standard_finalizer(f))
      out.push_back(
          invalid_value(place(at, i), f, "name is neither a standard finalizer name nor is it fully qualified"));
  }
}

// "v1", "apps/v1"; the group may be anything without a slash.
bool is_group_version(std::string_view text) {
  auto slash = text.find('/');
  return slash == text.npos ? !text.empty() : slash + 1 < text.size() && text.find('/', slash + 1) == text.npos;
}

void check_owners(causes& out, const json::value& owners, const place& at) {
  std::string controller;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    auto& o = owners[i];
    const place here(at, i);
    auto version = o["apiVersion"].as_string();
    if (version.empty())
      out.push_back(required(place(here, "apiVersion"), "must not be empty"));
    else if (!is_group_version(version))
      out.push_back(invalid_value(place(here, "apiVersion"), version, "must be <group>/<version> or <version>"));
    for (auto member : {"kind", "name", "uid"}) need(out, o, here, member, "must not be empty");
    if (version == "v1" && o["kind"].as_string() == "Event")
      out.push_back(invalid_value(here, o, "/v1, Kind=Event is disallowed from being an owner"));
    // What is said of a second one quotes the whole list: not again when nobody would see it.
    if (!o["controller"].as_bool() || out.full()) continue;
    auto name = fmt::format("{}/{}", o["kind"].as_string(), o["name"].as_string());
    if (!controller.empty())
      out.push_back(invalid_value(
          at, owners,
          fmt::format("Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                      controller, name)));
    else
      controller = name;
  }
}

void check_name(causes& out, const json::value& m, name_check rule, const place& at) {
  if (auto base = m["generateName"].as_string(); !base.empty())
    add_problems(out, place(at, "generateName"), base, rule(without_last_dash(base)));
  auto name = m["name"].as_string();
  if (name.empty())
    out.push_back(required(place(at, "name"), "name or generateName is required"));
  else
    add_problems(out, place(at, "name"), name, rule(name));
}

void check_common(causes& out, const json::value& m, const metadata_rules& rules, name_check name_rule,
                  const place& at) {
  check_name(out, m, name_rule, at);
  auto ns = m["namespace"].as_string();
  if (rules.namespaced) {
    if (ns.empty())
      out.push_back(required(place(at, "namespace")));
    else
      add_problems(out, place(at, "namespace"), ns, check_dns1123_label(ns));
  } else if (!ns.empty()) {
    out.push_back(forbidden_value(place(at, "namespace"), "not allowed on this type"));
  }
  if (auto labels = m.find("labels")) check_labels(out, *labels, place(at, "labels"));
  if (auto annotations = m.find("annotations")) check_annotations(out, *annotations, place(at, "annotations"));
  if (auto owners = m.find("ownerReferences")) check_owners(out, *owners, place(at, "ownerReferences"));
  if (auto finalizers = m.find("finalizers")) check_finalizers(out, *finalizers, place(at, "finalizers"));
}

}  // namespace

void check_finalizer(causes& out, std::string_view name, const place& at) {
  add_problems(out, at, name, check_qualified_name(name));
  if (name.find('/') == name.npos && !standard_finalizer(name))
    out.push_back(invalid_value(at, name, "name is neither a standard finalizer name nor is it fully qualified"));
}

void check_metadata(causes& out, const json::value& m, const metadata_rules& rules, const place& at) {
  check_common(out, m, rules, rules.name, at);
  if (auto finalizers = m.find("finalizers"); finalizers && !rules.plain_finalizers)
    check_standard_finalizers(out, *finalizers, place(at, "finalizers"));
}

void check_metadata_update(causes& out, const json::value& now, const json::value& before,
                           const metadata_rules& rules) {
  const place at("metadata");
  // A name that stands may be of an older rule: it must only be one that a path can have.
  check_common(out, now, rules, check_path_segment, at);
  if (before["deletionTimestamp"].is_string()) {
    std::set<std::string_view> held, fresh;
    for (std::size_t i = 0; i < before["finalizers"].size(); ++i) held.insert(before["finalizers"][i].as_string());
    for (std::size_t i = 0; i < now["finalizers"].size(); ++i)
      if (auto f = now["finalizers"][i].as_string(); !held.contains(f)) fresh.insert(f);
    std::string list;
    for (auto f : fresh) list += (list.empty() ? "" : ", ") + quote(f);
    if (!list.empty())
      out.push_back(forbidden_value(
          place(at, "finalizers"),
          fmt::format(
              "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
              list)));
  }
  for (auto name : {"name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"})
    if (!(now[name] == before[name])) immutable(out, now[name], before[name], place(at, name));
  if (auto finalizers = now.find("finalizers"); finalizers && !rules.plain_finalizers)
    check_standard_finalizers(out, *finalizers, place(at, "finalizers"));
  if (!rules.name_stands) check_name(out, now, rules.name, at);
}

}  // namespace kedge::api
