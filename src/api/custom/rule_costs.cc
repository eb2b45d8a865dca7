#include "api/custom/rule_costs.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "api/custom/rules.h"
#include "api/expressions/limits.h"
#include "meta/internal_form.h"

namespace kedge::api::custom {
namespace {

constexpr std::size_t told_max = 4;  // of the dearest

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  if (a == 0) return 0;
  return UINT64_MAX / a < b ? UINT64_MAX : a * b;
}

std::string over_budget(std::string_view what, std::uint64_t cost, std::uint64_t limit) {
  const double factor = static_cast<double>(cost) / static_cast<double>(limit);
  const auto text = factor > 100.0 ? std::string("more than 100x")
                    : factor < 1.5 ? fmt::format("{:f}x", factor)
                                   : fmt::format("{:.1f}x", factor);
  return fmt::format(
      "{} exceeds budget by factor of {} (try simplifying the rule, or adding maxItems, maxProperties, and "
      "maxLength where arrays, maps, and strings are declared)",
      what, text);
}

// How many parts a value has of each of its schema's parts; nullopt: any number.
std::optional<std::uint64_t> parts_max(const json::value& p) {
  auto type = p["type"].as_string();
  auto& most = p[type == "array" ? "maxItems" : "maxProperties"];
  const bool many = type == "array" || (type == "object" && !p["additionalProperties"].is_null());
  if (!many) return 1;
  if (!most.is_number()) return std::nullopt;
  return static_cast<std::uint64_t>(std::max<std::int64_t>(most.as_integer(), 0));
}

}  // namespace

rule_scope rule_scope::below(const json::value& props) const {
  rule_scope out{.times = std::nullopt, .root = false, .without_past = without_past};
  if (auto most = parts_max(props); times && most) out.times = custom::times(*times, *most);
  return out;
}

void rule_costs::add(std::uint64_t cost, std::string at) {
  total_ = UINT64_MAX - total_ < cost ? UINT64_MAX : total_ + cost;
  if (cost < expressions::schema_cost_max / 100) return;
  most_.push_back({cost, std::move(at)});
  std::ranges::sort(most_, std::greater<>(), &costly::cost);
  if (most_.size() > told_max) most_.resize(told_max);
}

void rule_costs::check(const json::value& props, const place& at, const rule_scope& s) {
  auto& list = props["x-kubernetes-validations"];
  if (list.empty()) return;
  const place of_list(at, "x-kubernetes-validations");
  auto self = expressions::declaration::of(props, s.root || props["x-kubernetes-embedded-resource"].as_bool());
  if (!self) {
    found_.push_back({"InternalError",
                      "Internal error: internal error: failed to construct type information for "
                      "x-kubernetes-validations rules: unable to convert structural schema to CEL declarations",
                      of_list.text()});
    return;
  }
  const auto rules = compile_rules_at(props, *self);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    auto& r = rules[i];
    const place here(of_list, i), of_rule(here, "rule"), of_message(here, "messageExpression");
    const auto told = internal_form("apiextensions/v1.ValidationRule", list[i]);
    const auto often = s.times ? *s.times : self->cardinality_max();
    const auto cost = r.program ? times(r.program->cost().max, often) : 0;
    if (cost > expressions::rule_cost_max)
      found_.push_back(forbidden_value(of_rule, over_budget("estimated rule cost", cost, expressions::rule_cost_max)));
    add(cost, of_rule.text());
    if (!r.wrong.empty()) found_.push_back(invalid_value(of_rule, told, r.wrong));
    if (!r.tells_wrong.empty()) {
      found_.push_back(invalid_value(of_message, told, r.tells_wrong));
    } else if (r.tells) {
      const auto to_tell = r.tells->cost().max;
      if (to_tell > expressions::rule_cost_max)
        found_.push_back(forbidden_value(
            of_message, over_budget("estimated messageExpression cost", to_tell, expressions::rule_cost_max)));
      add(to_tell, of_message.text());
    }
    if (r.uses_old && !s.without_past.empty())
      found_.push_back(invalid_value(
          of_rule, list[i]["rule"],
          fmt::format("oldSelf cannot be used on the uncorrelatable portion of the schema within {}", s.without_past)));
    else if (!r.uses_old && list[i]["optionalOldSelf"].is_bool())
      found_.push_back(invalid_value(place(here, "optionalOldSelf"), list[i]["optionalOldSelf"],
                                     "may not be set if oldSelf is not used in rule"));
  }
}

void rule_costs::tell(causes& out) {
  for (auto& c : found_) out.push_back(std::move(c));
  found_.clear();
}

void rule_costs::tell_total(causes& out, const place& at) const {
  if (total_ <= expressions::schema_cost_max) return;
  for (auto& one : most_)
    out.push_back(forbidden_value(
        one.at, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"));
  out.push_back(
      forbidden_value(at, over_budget("x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema",
                                      total_, expressions::schema_cost_max)));
}

}  // namespace kedge::api::custom
