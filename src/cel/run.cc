#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "cel/default_map.h"
#include "cel/functions/libraries.h"
#include "cel/plan.h"
#include "cel/program.h"

namespace kedge::cel {

namespace {

// How Go's %T names what an expression tried to go through.
std::string go_type_text(const value& v) {
  switch (v.kind()) {
    case kind::null: return "types.Null";
    case kind::boolean: return "types.Bool";
    case kind::integer: return "types.Int";
    case kind::unsigned_integer: return "types.Uint";
    case kind::real: return "types.Double";
    case kind::string: return "types.String";
    case kind::bytes: return "types.Bytes";
    case kind::duration: return "types.Duration";
    case kind::timestamp: return "types.Timestamp";
    case kind::type: return "*types.Type";
    case kind::optional: return "*types.Optional";
    case kind::opaque: {
      // net.IP is cel.IP there.
      const std::string& name = v.as_opaque().type().name();
      return "cel." + name.substr(name.rfind('.') + 1);
    }
    default: return "types.Val";
  }
}

class runner {
 public:
  runner(const plan& p, const bindings& with, arena& memory, std::uint64_t budget)
      : plan_(p), with_(with), memory_(memory), budget_(budget) {
    if (p.local_begins.size() > few_locals_.size()) {
      many_locals_.resize(p.local_begins.size());
      locals_ = many_locals_.data();
    } else {
      locals_ = few_locals_.data();
    }
  }

  value run() { return eval(plan_.root); }
  std::uint64_t cost() const noexcept { return cost_; }
  bool over_budget() const noexcept { return over_ || memory_.full(); }

 private:
  void charge(std::uint64_t n) {
    if (over_) return;
    cost_ += n;
    if (cost_ > budget_) over_ = true;
    // A price is more than the work of one step: asking the authorizer has one of 350,000.
    memory_.worked(std::min<std::size_t>(n, part_work / 2));
  }

  value cancelled() { return value::error(memory_, "operation cancelled: actual cost limit exceeded"); }
  value error(std::string_view message) { return value::error(memory_, message); }

  value eval(step_id i) {
    const step& s = plan_.steps[i];
    switch (s.what) {
      case op::constant: return s.constant;
      case op::attribute: return eval_attribute(s, true);
      case op::conditional: return eval_conditional(s);
      case op::logical_and: return eval_logical(s, false);
      case op::logical_or: return eval_logical(s, true);
      case op::not_strictly_false: {
        const value v = eval(s.parts[0]);
        charge(1);
        return v.is(kind::boolean) ? v : value::boolean(true);
      }
      case op::equal:
      case op::not_equal: return eval_equal(s);
      case op::less:
      case op::less_equal:
      case op::greater:
      case op::greater_equal: return eval_comparison(s);
      case op::call: return eval_call(s);
      case op::in_set: {
        const value v = eval(s.parts[0]);
        return v.is_error() ? v : value::boolean(!s.constant.find(v, memory_).is(kind::absent));
      }
      case op::optional_or:
      case op::optional_or_value: {
        const value v = eval(s.parts[0]);
        if (v.is_error()) return v;
        if (!v.is(kind::optional)) return no_such_overload(memory_);
        if (!v.held()) return eval(s.parts[1]);
        return s.what == op::optional_or ? v : *v.held();
      }
      case op::list: return eval_list(s);
      case op::map: return eval_map(s);
      case op::object: return eval_object(s);
      case op::fold: return eval_fold(s);
    }
    return {};
  }

  // Terms that fail count only when no other decides.
  value eval_logical(const step& s, bool decides) {
    value failed;
    for (step_id part : s.parts) {
      const value v = eval(part);
      if (over_) return v;
      if (v.is(kind::boolean)) {
        if (v.as_bool() == decides) return v;
      } else if (failed.is(kind::absent)) {
        failed = v.is_error() ? v : no_such_overload(memory_);
      }
    }
    return failed.is(kind::absent) ? value::boolean(!decides) : failed;
  }

  // A branch that is an attribute is read without the step that reading one costs elsewhere (as in cel-go).
  value eval_branch(step_id i) {
    const step& s = plan_.steps[i];
    return s.what == op::attribute ? eval_attribute(s, false) : eval(i);
  }

  value eval_conditional(const step& s) {
    const value condition = eval(s.parts[0]);
    if (condition.is_true()) return eval_branch(s.parts[1]);
    if (condition.is_false()) return eval_branch(s.parts[2]);
    return condition.is_error() ? condition : no_such_overload(memory_);
  }

  // A step over two values that are whole numbers or such costs one.
  void charge_call(const step& s, std::span<const value> arguments, const value& result) {
    charge(s.cost ? s.cost(arguments, result) : 1);
  }

  value eval_equal(const step& s) {
    const std::array<value, 2> args = {eval(s.parts[0]), eval(s.parts[1])};
    value out;
    if (args[0].is_error())
      out = args[0];
    else if (args[1].is_error())
      out = args[1];
    else
      out = value::boolean(equal(args[0], args[1], memory_) == (s.what == op::equal));
    if (args[0].is(kind::integer) || args[0].is(kind::boolean) || args[0].is(kind::opaque))
      charge(1);
    else
      charge_call(s, args, out);
    return out;
  }

  static bool is_ordered(const value& v) noexcept {
    switch (v.kind()) {
      case kind::boolean:
      case kind::integer:
      case kind::unsigned_integer:
      case kind::real:
      case kind::string:
      case kind::bytes:
      case kind::duration:
      case kind::timestamp: return true;
      default: return false;
    }
  }

  static bool is_number(const value& v) noexcept {
    return v.is(kind::integer) || v.is(kind::unsigned_integer) || v.is(kind::real);
  }
  static bool is_nan(const value& v) noexcept { return v.is(kind::real) && std::isnan(v.as_real()); }

  value eval_comparison(const step& s) {
    const std::array<value, 2> args = {eval(s.parts[0]), eval(s.parts[1])};
    const value out = compared(s, args[0], args[1]);
    charge_call(s, args, out);
    return out;
  }

  value compared(const step& s, const value& a, const value& b) {
    if (a.is_error()) return a;
    if (b.is_error()) return b;
    if (!is_ordered(a)) return no_such_overload(s.function->name, a, memory_);
    if (is_nan(a)) return error("NaN values cannot be ordered");
    auto order = compare(a, b);
    if (!order) return is_nan(b) && is_number(a) ? error("NaN values cannot be ordered") : no_such_overload(memory_);
    switch (s.what) {
      case op::less: return value::boolean(*order < 0);
      case op::less_equal: return value::boolean(*order <= 0);
      case op::greater: return value::boolean(*order > 0);
      default: return value::boolean(*order >= 0);
    }
  }

  value eval_call(const step& s) {
    std::array<value, 4> few;
    std::vector<value> many;
    const std::size_t n = s.parts.size();
    value* args = few.data();
    if (n > few.size()) {
      many.resize(n);
      args = many.data();
    }
    const value* failed = nullptr;
    for (std::size_t i = 0; i < n; ++i) {
      args[i] = eval(s.parts[i]);
      if (!args[i].is_error()) continue;
      if (s.stops_at_error) return args[i];
      if (!failed) failed = &args[i];
    }
    const std::span<const value> all(args, n);
    // What calls make may be larger each time: none is made for nothing.
    if (over_budget()) return cancelled();
    value out;
    if (failed)
      out = *failed;
    else if (s.pattern)
      out = s.function->any_with_regex(all, *s.pattern, memory_);
    else
      out = call_function(*s.function, s.overloads, all, memory_);
    charge_call(s, all, out);
    return out;
  }

  value eval_list(const step& s) {
    std::vector<value> items;
    items.reserve(s.parts.size());
    value failed;
    for (std::size_t i = 0; i < s.parts.size(); ++i) {
      value v = eval(s.parts[i]);
      if (!v.is_error() && s.optional[i]) {
        if (!v.is(kind::optional))
          v = error("cannot initialize optional list element from non-optional value " + text_of(v));
        else if (!v.held())
          continue;
        else
          v = *v.held();
      }
      if (v.is_error()) {
        failed = v;
        break;
      }
      items.push_back(v);
    }
    charge(cost_of_list);
    return failed.is_error() ? failed : value::list(memory_, items);
  }

  value eval_map(const step& s) {
    map_maker out(memory_);
    value failed;
    for (std::size_t i = 0; i < s.optional.size(); ++i) {
      const value key = eval(s.parts[2 * i]);
      value v = key.is_error() ? key : eval(s.parts[2 * i + 1]);
      if (!v.is_error() && s.optional[i]) {
        if (!v.is(kind::optional))
          v = error("cannot initialize optional entry '" + text_of(key) + "' from non-optional value " + text_of(v));
        else if (!v.held())
          continue;
        else
          v = *v.held();
      }
      if (v.is_error()) {
        failed = v;
        break;
      }
      out.add(key, v);
    }
    charge(cost_of_map);
    return failed.is_error() ? failed : out.done();
  }

  value eval_object(const step& s) {
    std::vector<std::pair<std::string_view, value>> fields;
    value out;
    for (std::size_t i = 0; i < s.parts.size(); ++i) {
      value v = eval(s.parts[i]);
      if (!v.is_error() && s.optional[i]) {
        if (!v.is(kind::optional))
          v = error("cannot initialize optional entry '" + s.fields[i] + "' from non-optional value " + text_of(v));
        else if (!v.held())
          continue;
        else
          v = *v.held();
      }
      if (v.is_error()) {
        out = v;
        break;
      }
      fields.emplace_back(s.fields[i], v);
    }
    charge(cost_of_object);
    if (out.is_error()) return out;
    return s.types ? s.types->make(s.name, fields, memory_) : error("unknown type: " + s.name);
  }

  value& local(std::uint32_t slot) {
    value& v = locals_[slot];
    // An accumulator begins when it is first looked at: what cel.bind names is not computed for nothing.
    if (v.is(kind::absent) && plan_.local_begins[slot] != no_step) v = eval(plan_.local_begins[slot]);
    return v;
  }

  value eval_fold(const step& s) {
    locals_[s.accumulator] = value();
    const value range = eval(s.range);
    if (range.is_error()) return range;
    const bool list = range.is(kind::list);
    if (!list && !range.is(kind::map)) {
      const std::string what = go_type_text(range);
      return error(s.two ? "unsupported comprehension range type: " + what
                         : "got '" + what + "', expected iterable type");
    }
    const std::size_t n = *range.size();
    for (std::size_t i = 0; i < n && !over_budget(); ++i) {
      memory_.worked(1);
      if (s.two) {
        locals_[s.first] = list ? value::integer(static_cast<std::int64_t>(i)) : range.key_at(i, memory_);
        locals_[s.second] = list ? range.at(i, memory_) : range.value_at(i, memory_);
      } else {
        locals_[s.first] = list ? range.at(i, memory_) : range.key_at(i, memory_);
      }
      const value go_on = eval(s.condition);
      if (go_on.is_false()) break;
      locals_[s.accumulator] = eval(s.next);
    }
    return eval(s.result);
  }

  // What a key finds in a value. Absent: it isn't there (only asked `if_present`); an error: or why not.
  value find(const value& of, const value& key, bool if_present, bool presence_only) {
    switch (of.kind()) {
      case kind::error: return of;
      case kind::map: {
        if (auto otherwise = default_of(of)) {
          const value found = of.find(key, memory_);
          return found.is(kind::absent) ? *otherwise : found;
        }
        if (presence_only && key.is(kind::string)) return of.has(key.as_text()) ? value::boolean(true) : value();
        const value found = of.find(key, memory_);
        if (!found.is(kind::absent) || if_present) return found;
        return error("no such key: " + text_of(key));
      }
      case kind::list: {
        auto index = index_of(key);
        if (!index && is_number(key)) return error("unsupported index value " + text_of(key) + " in list");
        if (!index) return error("unsupported index type '" + std::string(kind_text(key)) + "' in list");
        if (*index >= 0 && static_cast<std::uint64_t>(*index) < *of.size())
          return of.at(static_cast<std::size_t>(*index), memory_);
        return if_present ? value() : error("index out of bounds: " + text_of(key));
      }
      case kind::opaque:
        if (of.as_opaque().has_fields() && key.is(kind::string)) {
          if (presence_only) return of.as_opaque().has_field(key.as_text()) ? value::boolean(true) : value();
          if (if_present && !of.as_opaque().has_field(key.as_text())) return {};
          const value found = of.as_opaque().field(key.as_text(), memory_);
          return found.is(kind::absent) && !if_present ? error("no such key: " + text_of(key)) : found;
        }
        [[fallthrough]];
      default: return if_present ? value() : error("no such key: " + text_of(key));
    }
  }

  static std::optional<std::int64_t> index_of(const value& key) {
    if (key.is(kind::integer)) return key.as_integer();
    if (key.is(kind::unsigned_integer) && key.as_unsigned() <= INT64_MAX)
      return static_cast<std::int64_t>(key.as_unsigned());
    if (key.is(kind::real) && std::floor(key.as_real()) == key.as_real() && std::abs(key.as_real()) < 9e18)
      return static_cast<std::int64_t>(key.as_real());
    return std::nullopt;
  }

  value base_of(const step& s) {
    switch (s.from) {
      case step::base::variable: {
        const value& v = with_.at(s.slot);
        return v.is(kind::absent) ? error("no such attribute(s): " + s.name) : v;
      }
      case step::base::local: return local(s.slot);
      case step::base::part: return eval(s.parts[0]);
    }
    return {};
  }

  value eval_attribute(const step& s, bool charged) {
    const bool test = !s.qualifiers.empty() && s.qualifiers.back().test_only;
    const bool conditional = s.from == step::base::part && plan_.steps[s.parts[0]].what == op::conditional;
    value v = base_of(s);
    if (!v.is_error()) v = qualified(s, v);
    if (charged && !test && !conditional) charge(1);
    return v;
  }

  value qualified(const step& s, value v) {
    if (s.qualifiers.empty()) return v;
    bool optional = v.is(kind::optional);
    const bool test = s.qualifiers.back().test_only;
    if (optional) {
      if (!v.held()) return test ? value::boolean(false) : v;
      v = *v.held();
    }
    for (const qualifier& q : s.qualifiers) {
      value key = q.key;
      if (q.by != no_step) {
        key = eval_branch(q.by);
        if (key.is_error()) {
          charge(1);
          return key;
        }
      }
      optional = optional || q.optional;
      const value found = find(v, key, optional || q.test_only, q.test_only);
      if (found.is_error()) {
        if (!optional) charge(1);
        return found;
      }
      if (q.test_only) {
        if (!optional || !found.is(kind::absent)) charge(1);
        return value::boolean(!found.is(kind::absent));
      }
      if (found.is(kind::absent)) return test ? value::boolean(false) : value::none();
      charge(1);
      v = found;
    }
    return optional ? value::some(memory_, v) : v;
  }

  const plan& plan_;
  const bindings& with_;
  arena& memory_;
  std::uint64_t budget_;
  std::uint64_t cost_ = 0;
  bool over_ = false;
  std::array<value, 8> few_locals_;
  std::vector<value> many_locals_;
  value* locals_ = nullptr;
};

}  // namespace

outcome run(const program& p, const bindings& with, arena& memory, std::uint64_t budget) {
  runner r(p.steps(), with, memory, budget);
  const value v = r.run();
  if (r.over_budget())
    return {std::unexpected(failure{failure::reason::over_budget, "operation cancelled: actual cost limit exceeded"}),
            r.cost()};
  if (v.is_error()) return {std::unexpected(failure{failure::reason::error, std::string(v.as_text())}), r.cost()};
  return {v, r.cost()};
}

}  // namespace kedge::cel
