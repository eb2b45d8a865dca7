#include "api/custom/value_rules.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "base/ip.h"
#include "base/strings.h"
#include "base/time.h"
#include "json/write.h"
#include "meta/names.h"

namespace kedge::api::custom {
namespace {

// Compiled patterns that a core keeps: more than any CRD in the field uses at once; all are dropped when it is full.
constexpr std::size_t patterns_kept = 256;

const re2::RE2& compiled(const std::string& pattern) {
  thread_local std::unordered_map<std::string, std::unique_ptr<re2::RE2>> known;
  auto it = known.find(pattern);
  if (it == known.end()) {
    if (known.size() >= patterns_kept) known.clear();
    re2::RE2::Options options;
    options.set_log_errors(false);
    it = known.emplace(pattern, std::make_unique<re2::RE2>(pattern, options)).first;
  }
  return *it->second;
}

// The type's name as kube-openapi calls a value's.
std::string_view type_name(const json::value& v) {
  switch (v.type()) {
    case json::type::null: return "null";
    case json::type::boolean: return "boolean";
    case json::type::integer: return "integer";
    case json::type::number: return "number";
    case json::type::string: return "string";
    case json::type::array: return "array";
    case json::type::object: return "object";
  }
  return "null";
}

std::string_view type_name(value_kind k) {
  switch (k) {
    case value_kind::object: return "object";
    case value_kind::array: return "array";
    case value_kind::string: return "string";
    case value_kind::integer: return "integer";
    case value_kind::number: return "number";
    case value_kind::boolean: return "boolean";
    case value_kind::int_or_string: return "integer,string";
    case value_kind::any: return "";
  }
  return "";
}

bool whole(const json::value& v) {
  return v.is_integer() || (v.is_number() && std::floor(v.as_number()) == v.as_number());
}

bool of_kind(const json::value& v, value_kind k) {
  switch (k) {
    case value_kind::any: return true;
    case value_kind::object: return v.is_object();
    case value_kind::array: return v.is_array();
    case value_kind::string: return v.is_string();
    case value_kind::integer: return whole(v);
    case value_kind::number: return v.is_number();
    case value_kind::boolean: return v.is_bool();
    case value_kind::int_or_string: return v.is_string() || whole(v);
  }
  return false;
}

void mistyped(causes& out, const place& at, std::string_view wanted, std::string_view is) {
  const auto path = at.text();
  out.push_back(type_invalid(path, is, fmt::format("{} in body must be of type {}: {}", path, wanted, quote(is))));
}

void wrong(causes& out, const place& at, const json::value& v, std::string_view should) {
  const auto path = at.text();
  out.push_back(invalid_value(path, v, fmt::format("{} in body should {}", path, should)));
}

// Go's %v of a float64 that JSON calls a number.
std::string number_text(double n) {
  return json::write(std::floor(n) == n && std::fabs(n) < 1e15 ? json::value(static_cast<std::int64_t>(n))
                                                               : json::value(n));
}

std::size_t characters(std::string_view utf8) {
  std::size_t n = 0;
  for (unsigned char c : utf8) n += (c & 0xc0) != 0x80;
  return n;
}

void check_text(causes& out, const value_rules& r, const json::value& v, const place& path) {
  auto text = v.as_string();
  const auto length = static_cast<std::int64_t>(characters(text));
  if (r.max_length && length > *r.max_length) out.push_back(too_long(path, static_cast<std::size_t>(*r.max_length)));
  if (r.min_length && length < *r.min_length)
    wrong(out, path, v, fmt::format("be at least {} chars long", *r.min_length));
  if (!r.pattern.empty() && !matches_pattern(r.pattern, text))
    wrong(out, path, v, fmt::format("match '{}'", r.pattern));
  if (!r.format.empty() && !has_format(r.format, text)) {
    const auto where = path.text();
    out.push_back(
        type_invalid(where, v, fmt::format("{} in body must be of type {}: {}", where, r.format, quote(text))));
  }
}

// Whether a number is one of its format: those that say how large it may be.
bool fits_format(std::string_view format, const json::value& v) {
  const double n = v.as_number();
  if (format == "int32") return n >= INT32_MIN && n <= INT32_MAX;
  if (format == "int64") return v.is_integer() || (n >= -0x1p63 && n < 0x1p63);
  if (format == "float") return std::fabs(n) <= std::numeric_limits<float>::max();
  return true;
}

void check_number(causes& out, const value_rules& r, value_kind kind, const json::value& v, const place& path) {
  const double n = v.as_number();
  // The real server tells this without its place.
  if ((kind == value_kind::integer || kind == value_kind::number) && !fits_format(r.format, v))
    out.push_back(invalid_value(
        "<nil>", "",
        fmt::format("Checked value must be of type {} with format {} in {}", type_name(kind), r.format, path.text())));
  if (r.multiple_of && *r.multiple_of != 0) {
    auto times = n / *r.multiple_of;
    if (std::floor(times) != times)
      wrong(out, path, v, fmt::format("be a multiple of {}", number_text(*r.multiple_of)));
  }
  if (r.maximum && (r.exclusive_maximum ? n >= *r.maximum : n > *r.maximum))
    wrong(out, path, v,
          fmt::format("be less than {}{}", r.exclusive_maximum ? "" : "or equal to ", number_text(*r.maximum)));
  if (r.minimum && (r.exclusive_minimum ? n <= *r.minimum : n < *r.minimum))
    wrong(out, path, v,
          fmt::format("be greater than {}{}", r.exclusive_minimum ? "" : "or equal to ", number_text(*r.minimum)));
}

void check_sizes(causes& out, const value_rules& r, const json::value& v, const place& path) {
  const auto size = static_cast<std::int64_t>(v.size());
  const bool list = v.is_array();
  auto& least = list ? r.min_items : r.min_properties;
  auto& most = list ? r.max_items : r.max_properties;
  if (least && size < *least)
    wrong(out, path, v, fmt::format("have at least {} {}", *least, list ? "items" : "properties"));
  if (most && size > *most)
    out.push_back(too_many(path, static_cast<std::size_t>(size), static_cast<std::size_t>(*most)));
  if (!list || !r.unique_items) return;
  std::unordered_set<std::string> seen;
  for (std::size_t i = 0; i < v.size(); ++i)
    if (!seen.insert(json::write(v[i])).second) {
      out.push_back(invalid_value(path, v, fmt::format("{} in body shouldn't contain duplicates", path.text())));
      return;
    }
}

// A branch's findings go to the object's root in the real server.
void composed(causes& out, const place& path, std::string_view what) {
  out.push_back(invalid_value("<nil>", "", fmt::format("{} must {}", quote(path.text()), what)));
}

void check_branches(causes& out, const value_rules& r, const json::value& v, const place& path) {
  auto fits = [&](const node& n, causes* why) {
    causes found;
    check_tree(found, n, v, nullptr, path, false);
    const bool good = found.empty();
    if (why && !good && (why->empty() || found.size() < why->size())) *why = std::move(found);
    return good;
  };
  if (!r.any_of.empty()) {
    causes best;
    bool any = false;
    for (auto& n : r.any_of) any = any || fits(n, &best);
    if (!any) {
      composed(out, path, "validate at least one schema (anyOf)");
      out.insert(out.end(), best.begin(), best.end());
    }
  }
  if (!r.one_of.empty()) {
    causes best;
    std::size_t good = 0;
    for (auto& n : r.one_of) good += fits(n, &best);
    if (good != 1) {
      composed(out, path,
               good == 0 ? "validate one and only one schema (oneOf). Found none valid"
                         : fmt::format("validate one and only one schema (oneOf). Found {} valid alternatives", good));
      if (good == 0) out.insert(out.end(), best.begin(), best.end());
    }
  }
  if (!r.all_of.empty()) {
    std::size_t good = 0;
    for (auto& n : r.all_of) {
      causes found;
      check_tree(found, n, v, nullptr, path, false);
      good += found.empty();
      out.insert(out.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
    }
    if (good != r.all_of.size())
      composed(out, path,
               good == 0 ? "validate all the schemas (allOf). None validated" : "validate all the schemas (allOf)");
  }
  if (r.none_of && fits(*r.none_of, nullptr)) composed(out, path, "not validate the schema (not)");
}

json::value keys_of(const node& n, const json::value& item) {
  json::object out;
  for (auto& k : n.list_keys)
    if (auto v = item.find(k)) out.set(k, *v);
  return out;
}

void check_list(causes& out, const node& n, const json::value& v, const place& path) {
  if (n.list == list_kind::atomic) return;
  // Linear in the list: texts of items (or of their keys) are looked up, not compared one by one.
  std::unordered_map<std::string, bool> seen;
  for (std::size_t i = 0; i < v.size(); ++i) {
    auto identity = n.list == list_kind::set ? v[i] : keys_of(n, v[i]);
    auto [it, fresh] = seen.emplace(json::write(identity), false);
    if (fresh || it->second) continue;
    it->second = true;
    out.push_back(duplicate_value(place(path, i), identity));
  }
}

// The items of a list of type map by their keys; empty for other lists.
using items_by_keys = std::unordered_map<std::string, const json::value*>;
items_by_keys by_keys(const node& n, const json::value* list) {
  items_by_keys out;
  if (!list || n.list != list_kind::map) return out;
  for (std::size_t i = 0; i < list->size(); ++i) out.emplace(json::write(keys_of(n, (*list)[i])), &(*list)[i]);
  return out;
}

const json::value* same_item(const node& n, const json::value& item, const items_by_keys& before) {
  if (before.empty()) return nullptr;
  auto it = before.find(json::write(keys_of(n, item)));
  return it == before.end() ? nullptr : it->second;
}

void check_embedded(causes& out, const json::value& v, const place& path) {
  for (auto name : {"apiVersion", "kind"})
    if (v[name].as_string().empty()) out.push_back(required(place(path, name), "must not be empty"));
}

}  // namespace

std::string pattern_error(const std::string& pattern) {
  auto& r = compiled(pattern);
  return r.ok() ? std::string() : r.error();
}

bool matches_pattern(const std::string& pattern, std::string_view text) {
  auto& r = compiled(pattern);
  return r.ok() && re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), r);
}

bool has_format(std::string_view format, std::string_view text) {
  auto like = [&](const char* pattern) { return matches_pattern(pattern, text); };
  if (format == "date-time" || format == "datetime") return parse_rfc3339(text).has_value();
  if (format == "date")
    return like(R"(^\d{4}-\d{2}-\d{2}$)") && parse_rfc3339(std::string(text) + "T00:00:00Z").has_value();
  if (format == "ipv4") return text.find('.') != text.npos && ip_address::parse_sloppy(text);
  if (format == "ipv6") return text.find(':') != text.npos && ip_address::parse(text);
  if (format == "cidr") return ip_range::parse_sloppy(text).has_value();
  if (format == "mac") return like(R"(^([0-9A-Fa-f]{2}[:-]){5}([0-9A-Fa-f]{2})$)");
  if (format.starts_with("uuid"))
    return like(R"(^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$)");
  if (format == "hexcolor") return like(R"(^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$)");
  if (format == "rgbcolor") return like(R"(^rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)$)");
  if (format == "byte") return unbase64(text).has_value();
  if (format == "email") return like(R"(^[^@\s<>]+@[^@\s<>]+$)");
  if (format == "hostname")
    return like(R"(^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$)");
  if (format == "uri") return like(R"(^([a-zA-Z][a-zA-Z0-9+.-]*:|/)\S*$)");
  if (format == "duration")
    return like(
               R"(^[+-]?(\d+(\.\d*)?\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanosecond|microsecond|millisecond|second|minute|hour|day|week)s?\s*)+$)") ||
           text == "0";
  if (format == "bsonobjectid") return like(R"(^[0-9a-fA-F]{24}$)");
  return true;
}

void check_value(causes& out, const node& n, const json::value& v, const place& path) {
  auto r = n.rules.get();
  if (!r) return;
  if (!r->allowed.empty() && !r->is_allowed->contains(v)) {
    std::vector<std::string> all;
    for (auto& a : *r->allowed.array()) all.push_back(a.is_string() ? std::string(a.as_string()) : json::write(a));
    out.push_back(not_supported(path, v, all));
  }
  if (v.is_string())
    check_text(out, *r, v, path);
  else if (v.is_number())
    check_number(out, *r, n.kind, v, path);
  else if (v.is_array() || v.is_object())
    check_sizes(out, *r, v, path);
  check_branches(out, *r, v, path);
}

void check_tree(causes& out, const node& n, const json::value& v, const json::value* before, const place& path,
                bool root) {
  if (out.full() || (before && *before == v)) return;
  if (v.is_null() && n.nullable) return;
  if (!of_kind(v, n.kind)) return mistyped(out, path, type_name(n.kind), type_name(v));
  check_value(out, n, v, path);
  if (auto members = v.object()) {
    for (auto& m : *members) {
      auto p = n.find(m.name);
      if (!p) p = n.additional.get();
      if (!p) continue;
      check_tree(out, *p, m.value, before ? before->find(m.name) : nullptr, place(path, m.name), false);
    }
    for (auto& name : n.required)
      if (!members->find(name)) out.push_back(required(place(path, name)));
    if (n.embedded && !root) check_embedded(out, v, path);
  } else if (auto list = v.array()) {
    if (n.items) {
      auto old = by_keys(n, before);
      for (std::size_t i = 0; i < list->size(); ++i)
        check_tree(out, *n.items, (*list)[i], same_item(n, (*list)[i], old), place(path, i), false);
    }
    check_list(out, n, v, path);
  }
}

}  // namespace kedge::api::custom
