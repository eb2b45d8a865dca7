// What calls of Kubernetes' functions cost. The estimates decide which rules a definition may have, so they are the
// real ones to the last step.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "api/expressions/libraries/libraries.h"
#include "cel/cost.h"

namespace kedge::api::expressions {

namespace {

using cel::call_estimate;
using cel::estimated_part;
using cel::kind;
using cel::range;
using cel::size_for_cost;
using cel::value;
using args = std::span<const value>;
using parts = std::span<const estimated_part>;

constexpr std::uint64_t check_cost = 350'000;  // two authorization checks an expression
constexpr std::uint64_t format_regex_max = 128;

std::uint64_t scaled(std::uint64_t n, double factor) { return range::exactly(n).scaled(factor).max; }

// Of a label or field selector: reading it, and its requirements.
range of_selector(range length) {
  return range::exactly(cel::cost_of_list) + length.scaled(cel::cost_of_character) +
         length.scaled(0.5).scaled(static_cast<double>(cel::cost_of_list + cel::cost_of_object));
}

// Going through a value as a tree.
std::uint64_t traversal(const value& v, cel::arena& memory, int depth = 0) {
  switch (v.kind()) {
    case kind::string:
    case kind::bytes:
      return static_cast<std::uint64_t>(static_cast<double>(v.as_text().size()) * cel::cost_of_character);
    case kind::list: {
      std::uint64_t sum = 0;
      for (std::size_t i = 0, n = *v.size(); i < n && depth < 1000; ++i)
        sum += traversal(v.at(i, memory), memory, depth + 1);
      return sum;
    }
    case kind::map: {
      std::uint64_t sum = 0;
      for (std::size_t i = 0, n = *v.size(); i < n && depth < 1000; ++i)
        sum += traversal(v.key_at(i, memory), memory, depth + 1) + traversal(v.value_at(i, memory), memory, depth + 1);
      return sum;
    }
    default: return 1;
  }
}

std::uint64_t one(args, const value&) { return 1; }
std::uint64_t check(args, const value&) { return check_cost; }
std::uint64_t selector(args a, const value&) { return of_selector(range::exactly(size_for_cost(a[1]))).max; }
std::uint64_t traversed(args a, const value&) {
  cel::arena memory;
  return traversal(a[0], memory);
}
std::uint64_t read(args a, const value&) { return scaled(size_for_cost(a[0]), cel::cost_of_character); }
std::uint64_t read_twice(args a, const value&) { return scaled(size_for_cost(a[0]), 2 * cel::cost_of_character); }
std::uint64_t written_twice(args, const value& result) {
  return scaled(size_for_cost(result), 2 * cel::cost_of_character);
}
std::uint64_t matched(args a, const value&) {
  return scaled(size_for_cost(a[0]) + 1, cel::cost_of_character) *
         scaled(size_for_cost(a[1]), cel::cost_of_regex_character);
}
std::uint64_t contains_ip(args a, const value&) { return scaled(2 * size_for_cost(a[0]), cel::cost_of_character); }
std::uint64_t contains_ip_text(args a, const value& r) {
  return contains_ip(a, r) + scaled(size_for_cost(a[1]), cel::cost_of_character);
}
std::uint64_t contains_cidr(args a, const value& r) {
  return contains_ip(a, r) + scaled(size_for_cost(a[0]), cel::cost_of_character) + 1;
}
std::uint64_t contains_cidr_text(args a, const value& r) {
  return contains_cidr(a, r) + scaled(size_for_cost(a[1]), cel::cost_of_character);
}

using by_name = std::map<std::string_view, cel::call_cost>;

const by_name& run_costs() {
  static const by_name all = [] {
    by_name m;
    m["check"] = check;
    for (auto name : {"serviceAccount",
                      "path",
                      "group",
                      "resource",
                      "subresource",
                      "namespace",
                      "name",
                      "allowed",
                      "reason",
                      "error",
                      "errored",
                      "masked",
                      "prefixLength",
                      "family",
                      "isUnspecified",
                      "isLoopback",
                      "isLinkLocalMulticast",
                      "isLinkLocalUnicast",
                      "isGlobalUnicast",
                      "format.named",
                      "sign",
                      "asInteger",
                      "isInteger",
                      "asApproximateFloat",
                      "isGreaterThan",
                      "isLessThan",
                      "compareTo",
                      "add",
                      "sub",
                      "major",
                      "minor",
                      "patch",
                      "getScheme",
                      "getHostname",
                      "getHost",
                      "getPort",
                      "getEscapedPath",
                      "getQuery"})
      m[name] = one;
    for (auto name : {"fieldSelector", "labelSelector"}) m[name] = selector;
    for (auto name : {"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"}) m[name] = traversed;
    for (auto name : {"url", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey", "cidr", "isIP",
                      "isCIDR", "ip", "quantity", "isQuantity", "semver", "isSemver"})
      m[name] = read;
    for (auto name : {"replace", "split", "ip.isCanonical"}) m[name] = read_twice;
    m["join"] = written_twice;
    for (auto name : {"find", "findAll"}) m[name] = matched;
    m["containsIP"] = contains_ip;
    m["containsCIDR"] = contains_cidr;
    return m;
  }();
  return all;
}

class costs final : public cel::cost_model {
 public:
  cel::call_cost reckon(std::string_view function, std::string_view overload) const override {
    if (overload == "cidr_ip") return one;
    if (overload == "cidr_contains_ip_string") return contains_ip_text;
    if (overload == "cidr_contains_cidr_string") return contains_cidr_text;
    auto found = run_costs().find(function);
    return found == run_costs().end() ? nullptr : found->second;
  }

  std::optional<call_estimate> estimate(std::string_view function, std::string_view overload,
                                        const estimated_part* target, parts a,
                                        const cel::size_model* sizes) const override {
    auto found = run_costs().find(function);
    const cel::call_cost run = found == run_costs().end() ? nullptr : found->second;
    const auto size = [&](const estimated_part& p) { return cel::size_of(p, sizes); };
    if (overload == "cidr_ip" || run == one) return call_estimate{range::exactly(1), {}};
    if (run == check) return call_estimate{range::exactly(check_cost), {}};
    if (run == selector && a.size() == 1) return call_estimate{of_selector(size(a[0])), {}};
    if (run == traversed && target) return of_elements(*target, sizes);
    if (function == "url" || function == "jsonpatch.escapeKey") {
      if (a.size() != 1) return std::nullopt;
      const range s = size(a[0]);
      return call_estimate{s.scaled(cel::cost_of_character), s};
    }
    if (function == "lowerAscii" || function == "upperAscii" || function == "substring" || function == "trim") {
      if (!target) return std::nullopt;
      const range s = size(*target);
      return call_estimate{s.scaled(cel::cost_of_character), s};
    }
    if (function == "replace")
      return target && a.size() >= 2 ? std::optional(of_replace(size(*target), size(a[0]), size(a[1]))) : std::nullopt;
    if (function == "split") return target ? std::optional(of_split(size(*target), a)) : std::nullopt;
    if (function == "join") return target ? std::optional(of_join(*target, a, sizes)) : std::nullopt;
    if (run == matched && target && !a.empty()) {
      const range s = size(*target);
      const range text = (s + range{1, 1}).scaled(cel::cost_of_character);
      return call_estimate{text * size(a[0]).scaled(cel::cost_of_regex_character), range{0, s.max}};
    }
    if (run == contains_ip || run == contains_cidr)
      return a.empty() ? std::nullopt : std::optional(of_containing(overload, size(a[0])));
    if (run == read || run == read_twice) {
      if (a.empty()) return std::nullopt;
      return call_estimate{size(a[0]).scaled(run == read ? cel::cost_of_character : 2 * cel::cost_of_character), {}};
    }
    if (function == "validate" && !a.empty()) {
      const double regex = static_cast<double>(format_regex_max) * cel::cost_of_regex_character;
      return call_estimate{size(a[0]).scaled(cel::cost_of_character).scaled(regex), {}};
    }
    if (function == "_==_" && a.size() == 2 && a[0].type == a[1].type) return of_equality(a);
    return std::nullopt;
  }

 private:
  static std::optional<estimated_part> element_of(const estimated_part& list) {
    if (list.type.parameters().empty()) return std::nullopt;
    estimated_part out;
    out.type = list.type.parameters()[0];
    if (!list.path.empty()) {
      out.path = list.path;
      out.path.emplace_back("@items");
    }
    return out;
  }

  // Looking at each element once; text elements are gone through. A text instead of a list is searched.
  static std::optional<call_estimate> of_elements(const estimated_part& target, const cel::size_model* sizes) {
    const range size = cel::size_of(target, sizes);
    auto element = element_of(target);
    if (!element) return call_estimate{size.scaled(cel::cost_of_character), {}};
    range each = range::exactly(1);
    if (element->type.is(cel::type_kind::string) || element->type.is(cel::type_kind::bytes))
      each = each + cel::size_of(*element, sizes).scaled(cel::cost_of_character);
    return call_estimate{size * each, {}};
  }

  static std::uint64_t divided(std::uint64_t a, std::uint64_t b) {
    const double d = std::ceil(static_cast<double>(a) / static_cast<double>(b));
    return d >= 18446744073709551616.0 ? UINT64_MAX : static_cast<std::uint64_t>(d);
  }

  static call_estimate of_replace(range text, range old, range by) {
    range count, kept;
    const auto one_more = [](std::uint64_t n) { return n < UINT64_MAX ? n + 1 : n; };
    if (old.min == 0) {
      // Around every character.
      count.max = one_more(text.max);
      kept.max = text.max;
    } else if (by.max <= old.min) {
      kept.max = text.max;
    } else {
      count.max = divided(text.max, old.min);
    }
    if (old.max == 0) {
      count.min = one_more(text.min);
      kept.min = text.min;
    } else if (old.max <= by.min) {
      kept.min = text.min;
    } else {
      count.min = divided(text.min, old.max);
    }
    return {text.scaled(2 * cel::cost_of_character), count * by + kept};
  }

  static call_estimate of_split(range text, parts a) {
    std::uint64_t most = text.max;
    if (a.size() > 1 && a[1].constant) most = static_cast<std::uint64_t>(*a[1].constant);
    return {text.scaled(2 * cel::cost_of_character), range{0, most}};
  }

  static call_estimate of_join(const estimated_part& target, parts a, const cel::size_model* sizes) {
    range size;
    const range count = cel::size_of(target, sizes);
    if (auto element = element_of(target)) size = count * cel::size_of(*element, sizes);
    if (!a.empty()) {
      const auto between = [](std::uint64_t n) { return n > 0 ? n - 1 : 0; };
      size = size + cel::size_of(a[0], sizes) * range{between(count.min), between(count.max)};
    }
    return {size.scaled(cel::cost_of_character), size};
  }

  static call_estimate of_containing(std::string_view overload, range text) {
    const range address{4, 16};
    range cost = (address + address).scaled(cel::cost_of_character);
    if (overload.starts_with("cidr_contains_cidr"))
      cost = cost + address.scaled(cel::cost_of_character) + range::exactly(1);
    if (overload.ends_with("_string")) cost = cost + text.scaled(cel::cost_of_character);
    return {cost, {}};
  }

  static std::optional<call_estimate> of_equality(parts a) {
    const cel::type& t = a[0].type;
    if (t.is(cel::type_kind::opaque) && (t.name() == "net.IP" || t.name() == "net.CIDR"))
      return call_estimate{range::exactly(1), {}};
    if (!t.is(cel::type_kind::object)) return std::nullopt;
    // These compare the types themselves, and two that were made apart are never the same: kubernetes.* are.
    if (t.name() == "kubernetes.Quantity" || t.name() == "kubernetes.Semver" ||
        t.name().starts_with("kubernetes.authorization."))
      return call_estimate{range::exactly(1), {}};
    if (t.name() == "kubernetes.NamedFormat") return call_estimate{range{1, 64}.scaled(cel::cost_of_character), {}};
    if (t.name() == "kubernetes.URL")
      return call_estimate{
          range{1, a[1].size ? std::max<std::uint64_t>(a[1].size->max, 0) : 1}.scaled(cel::cost_of_character), {}};
    return std::nullopt;
  }
};

}  // namespace

std::shared_ptr<const cel::cost_model> library_costs() {
  static const auto model = std::make_shared<const costs>();
  return model;
}

}  // namespace kedge::api::expressions
