#include "cel/plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "cel/functions/libraries.h"

namespace kedge::cel {

namespace {

// What calls of the standard's overloads cost when they run, by what they had to go through.

std::uint64_t tenth(std::uint64_t n) {
  return static_cast<std::uint64_t>(std::ceil(static_cast<double>(n) * cost_of_character));
}

std::uint64_t of_first(std::span<const value> a, const value&) { return tenth(size_for_cost(a[0])); }
std::uint64_t of_second(std::span<const value> a, const value&) { return tenth(size_for_cost(a[1])); }
std::uint64_t of_list(std::span<const value> a, const value&) { return size_for_cost(a[1]); }
std::uint64_t of_both(std::span<const value> a, const value&) {
  return tenth(size_for_cost(a[0]) + size_for_cost(a[1]));
}
std::uint64_t of_smaller(std::span<const value> a, const value&) {
  return tenth(std::min(size_for_cost(a[0]), size_for_cost(a[1])));
}
std::uint64_t of_matching(std::span<const value> a, const value&) {
  return tenth(size_for_cost(a[0]) + 1) *
         static_cast<std::uint64_t>(std::ceil(static_cast<double>(size_for_cost(a[1])) * cost_of_regex_character));
}
std::uint64_t of_product(std::span<const value> a, const value&) {
  return tenth(size_for_cost(a[0])) * tenth(size_for_cost(a[1]));
}

constexpr std::pair<std::string_view, call_cost> standard_costs[] = {
    {"starts_with_string", of_second},
    {"ends_with_string", of_second},
    {"string_to_bytes", of_first},
    {"bytes_to_string", of_first},
    {"strings_quote", of_first},
    {"string_format", of_first},
    {"in_list", of_list},
    {"less_string", of_smaller},
    {"greater_string", of_smaller},
    {"less_equals_string", of_smaller},
    {"greater_equals_string", of_smaller},
    {"less_bytes", of_smaller},
    {"greater_bytes", of_smaller},
    {"less_equals_bytes", of_smaller},
    {"greater_equals_bytes", of_smaller},
    {"equals", of_smaller},
    {"not_equals", of_smaller},
    {"add_string", of_both},
    {"add_bytes", of_both},
    {"matches", of_matching},
    {"matches_string", of_matching},
    {"contains_string", of_product},
};

bool converts(std::string_view function) {
  static constexpr std::array names = {"bool", "bytes",  "double",    "duration", "dyn",
                                       "int",  "string", "timestamp", "type",     "uint"};
  return std::ranges::find(names, function) != names.end();
}

op operator_of(std::string_view function) {
  if (function == "_&&_") return op::logical_and;
  if (function == "_||_") return op::logical_or;
  if (function == "_?_:_") return op::conditional;
  if (function == "@not_strictly_false") return op::not_strictly_false;
  if (function == "_==_") return op::equal;
  if (function == "_!=_") return op::not_equal;
  if (function == "_<_") return op::less;
  if (function == "_<=_") return op::less_equal;
  if (function == "_>_") return op::greater;
  if (function == "_>=_") return op::greater_equal;
  return op::call;
}

class planner {
 public:
  planner(const checked& types, const environment& env, plan& out) : types_(types), env_(env), out_(out) {}

  step_id place(const node& n) {
    switch (n.kind) {
      case node_kind::literal: return add({.constant = literal_value(n.constant)});
      case node_kind::ident: return place_ident(n);
      case node_kind::select: return place_qualified(*n.target, {.key = text(n.name), .test_only = n.test_only});
      case node_kind::call: return place_call(n);
      case node_kind::list: return place_list(n);
      case node_kind::map: return place_map(n);
      case node_kind::object: return place_object(n);
      case node_kind::fold: return place_fold(n);
    }
    return no_step;
  }

  std::optional<std::string> failed;

 private:
  step_id add(step s) {
    out_.steps.push_back(std::move(s));
    return static_cast<step_id>(out_.steps.size() - 1);
  }
  step& at(step_id i) { return out_.steps[i]; }
  bool is_constant(step_id i) { return at(i).what == op::constant; }
  const reference& reference_of(const node& n) const { return types_.references[static_cast<std::size_t>(n.id)]; }

  value text(std::string_view s) { return value::string(out_.constants.copy(s)); }

  value literal_value(const literal& l) {
    switch (l.is) {
      case literal::form::null: return value::null();
      case literal::form::boolean: return value::boolean(l.boolean);
      case literal::form::integer: return value::integer(l.integer);
      case literal::form::unsigned_integer: return value::unsigned_integer(l.unsigned_integer);
      case literal::form::real: return value::real(l.real);
      case literal::form::string: return text(l.text);
      case literal::form::bytes: return value::bytes(out_.constants.copy(l.text));
    }
    return {};
  }

  step_id place_ident(const node& n) {
    const reference& r = reference_of(n);
    if (r.what == reference::to::constant) return add({.constant = r.constant->is});
    step s{.what = op::attribute};
    s.name = n.name.starts_with('.') ? n.name.substr(1) : n.name;
    if (r.what == reference::to::local) {
      s.from = step::base::local;
      for (auto it = locals_.rbegin(); it != locals_.rend(); ++it) {
        if (it->first != n.name) continue;
        s.slot = it->second;
        break;
      }
    } else {
      s.from = step::base::variable;
      s.slot = static_cast<std::uint32_t>(r.slot);
      out_.variables.insert(s.name);
    }
    return add(std::move(s));
  }

  // Selecting goes on with an attribute when there is one.
  step_id place_qualified(const node& operand, qualifier q) {
    const step_id of = place(operand);
    return qualify(of, std::move(q));
  }

  step_id qualify(step_id of, qualifier q) {
    if (at(of).what == op::attribute && (at(of).qualifiers.empty() || !at(of).qualifiers.back().test_only)) {
      at(of).qualifiers.push_back(std::move(q));
      return of;
    }
    step s{.what = op::attribute, .parts = {of}};
    s.qualifiers.push_back(std::move(q));
    return add(std::move(s));
  }

  call_cost cost_of(std::string_view function, std::string_view overload) const {
    if (const cost_model* model = env_.costs())
      if (call_cost own = model->reckon(function, overload)) return own;
    auto found = std::ranges::find(standard_costs, overload, &std::pair<std::string_view, call_cost>::first);
    return found == std::end(standard_costs) ? nullptr : found->second;
  }

  step_id place_call(const node& n) {
    const reference& r = reference_of(n);
    if (n.name == "_[_]" || n.name == "_[?_]" || n.name == "_?._") {
      const step_id of = place(*n.arguments[0]);
      const step_id by = place(*n.arguments[1]);
      qualifier q{.optional = n.name != "_[_]"};
      if (is_constant(by))
        q.key = at(by).constant;
      else
        q.by = by;
      return qualify(of, std::move(q));
    }
    step s{.what = operator_of(n.name)};
    if (n.target) s.parts.push_back(place(*n.target));
    for (const node_ptr& a : n.arguments) s.parts.push_back(place(*a));
    s.function = r.function;
    s.overloads = r.overloads;
    const std::string_view id = r.overloads.size() == 1 ? std::string_view(r.overloads[0]->id) : std::string_view();
    if (n.name == "or" && id == "optional_or_optional") s.what = op::optional_or;
    if (n.name == "orValue" && id == "optional_orValue_value") s.what = op::optional_or_value;
    if (s.what == op::equal)
      s.cost = cost_of(n.name, "equals");
    else if (s.what == op::not_equal)
      s.cost = cost_of(n.name, "not_equals");
    else if (r.overloads.size() == 1 && r.overloads[0]->cost)
      s.cost = r.overloads[0]->cost;
    else
      s.cost = cost_of(n.name, id);
    if (s.what != op::call) return add(std::move(s));
    const bool dispatches = r.overloads.size() != 1 && !r.function->any && r.function->overloads.size() > 1;
    s.stops_at_error = s.parts.size() > 2 || dispatches;
    if (id == "in_list" && is_constant(s.parts[1])) return place_in(std::move(s));
    if (converts(n.name) && s.parts.size() == 1 && is_constant(s.parts[0])) return convert(s);
    if (r.function->any_with_regex) compile_pattern(s);
    for (const overload* o : s.overloads)
      if (o->prepare) o->prepare(is_constant(s.parts.back()) ? &at(s.parts.back()).constant : nullptr);
    return add(std::move(s));
  }

  void compile_pattern(step& s) {
    const step_id by = s.parts[s.function->pattern];
    if (!is_constant(by) || !at(by).constant.is(kind::string)) return;
    auto compiled = regex::compile(at(by).constant.as_text());
    if (!compiled) {
      if (!failed) failed = std::move(compiled.error());
      return;
    }
    s.pattern = std::move(*compiled);
  }

  // Constants are converted once.
  step_id convert(const step& s) {
    const value argument = at(s.parts[0]).constant;
    const value made = call_function(*s.function, s.overloads, std::span(&argument, 1), out_.constants);
    if (made.is_error() && !failed) failed = std::string(made.as_text());
    return add({.constant = made});
  }

  // x in [constants]: a set, when they can be looked up.
  step_id place_in(step s) {
    const value list = at(s.parts[1]).constant;
    const std::size_t n = *list.size();
    if (n == 0) return add({.constant = value::boolean(false)});
    map_maker entries(out_.constants);
    for (std::size_t i = 0; i < n; ++i) {
      const value item = list.at(i, out_.constants);
      const bool simple = item.is(kind::boolean) || item.is(kind::integer) || item.is(kind::unsigned_integer) ||
                          item.is(kind::real) || item.is(kind::string);
      if (!simple) return add(std::move(s));
      entries.add(item, value::boolean(true));
    }
    return add({.what = op::in_set, .constant = entries.done(), .parts = {s.parts[0]}});
  }

  step_id place_list(const node& n) {
    step s{.what = op::list};
    bool constant = true;
    for (std::size_t i = 0; i < n.arguments.size(); ++i) {
      s.parts.push_back(place(*n.arguments[i]));
      s.optional.push_back(is_optional_element(n, i));
      constant = constant && is_constant(s.parts.back());
    }
    if (!constant || !n.optional_elements.empty()) return add(std::move(s));
    std::vector<value> items;
    for (step_id p : s.parts) items.push_back(at(p).constant);
    return add({.constant = value::list(out_.constants, items)});
  }

  step_id place_map(const node& n) {
    step s{.what = op::map};
    bool constant = true;
    for (const node::entry& e : n.entries) {
      s.parts.push_back(place(*e.key));
      s.parts.push_back(place(*e.value));
      s.optional.push_back(e.optional);
      constant = constant && !e.optional && is_constant(s.parts[s.parts.size() - 2]) && is_constant(s.parts.back());
    }
    if (!constant) return add(std::move(s));
    map_maker made(out_.constants);
    for (std::size_t i = 0; i < s.parts.size(); i += 2) made.add(at(s.parts[i]).constant, at(s.parts[i + 1]).constant);
    return add({.constant = made.done()});
  }

  step_id place_object(const node& n) {
    step s{.what = op::object};
    s.name = n.name;
    s.types = env_.provider_of(n.name);
    for (const node::entry& e : n.entries) {
      s.parts.push_back(place(*e.value));
      s.fields.push_back(e.field);
      s.optional.push_back(e.optional);
    }
    return add(std::move(s));
  }

  std::uint32_t local(std::string name, step_id begins) {
    out_.local_begins.push_back(begins);
    const auto slot = static_cast<std::uint32_t>(out_.local_begins.size() - 1);
    locals_.emplace_back(std::move(name), slot);
    return slot;
  }

  step_id place_fold(const node& n) {
    const node::fold& f = *n.loop;
    step s{.what = op::fold};
    s.two = !f.second.empty();
    const step_id begins = place(*f.initial);
    s.range = place(*f.range);
    s.accumulator = local(f.accumulator, begins);
    const std::size_t outside = locals_.size();
    s.first = local(f.variable, no_step);
    if (s.two) s.second = local(f.second, no_step);
    s.condition = place(*f.condition);
    s.next = place(*f.step);
    locals_.resize(outside);
    s.result = place(*f.result);
    locals_.pop_back();
    return add(std::move(s));
  }

  const checked& types_;
  const environment& env_;
  plan& out_;
  std::vector<std::pair<std::string, std::uint32_t>> locals_;
};

}  // namespace

std::expected<std::unique_ptr<plan>, std::string> make_plan(const node& root, const checked& types,
                                                            const environment& env, std::string_view text) {
  auto out = std::make_unique<plan>();
  out->text = text;
  out->result = types.types[static_cast<std::size_t>(root.id)];
  planner p(types, env, *out);
  out->root = p.place(root);
  if (p.failed) return std::unexpected(std::move(*p.failed));
  return out;
}

}  // namespace kedge::cel
