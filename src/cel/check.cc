#include "cel/check.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

#include "cel/unify.h"

namespace kedge::cel {

namespace {

class checker {
 public:
  checker(parsed& expression, const environment& env, issues& found)
      : env_(env), found_(found), places_(expression.places) {
    out_.types.resize(places_.size());
    out_.references.resize(places_.size());
  }

  checked all(node& root) {
    check(root);
    for (type& t : out_.types) t = types_.known(t, true);
    return std::move(out_);
  }

 private:
  void refuse(node_id id, std::string message) {
    const place p = places_[static_cast<std::size_t>(id)];
    found_.add(p.line, p.column, std::move(message));
  }

  type& type_of(const node& n) { return out_.types[static_cast<std::size_t>(n.id)]; }
  reference& reference_of(const node& n) { return out_.references[static_cast<std::size_t>(n.id)]; }

  void undeclared(const node& n, std::string_view name) {
    refuse(n.id, "undeclared reference to '" + std::string(name) + "' (in container '')");
    type_of(n) = type::error();
  }

  void mismatch(node_id at, const type& expected, const type& actual) {
    refuse(at, "expected type '" + expected.text() + "' but found '" + actual.text() + "'");
  }

  void check(node& n) {
    switch (n.kind) {
      case node_kind::literal: return check_literal(n);
      case node_kind::ident: return check_ident(n);
      case node_kind::select: return check_select(n);
      case node_kind::call: return check_call(n);
      case node_kind::list: return check_list(n);
      case node_kind::map: return check_map(n);
      case node_kind::object: return check_object(n);
      case node_kind::fold: return check_fold(n);
    }
  }

  void check_literal(node& n) {
    switch (n.constant.is) {
      case literal::form::null: type_of(n) = type::null(); break;
      case literal::form::boolean: type_of(n) = type::boolean(); break;
      case literal::form::integer: type_of(n) = type::integer(); break;
      case literal::form::unsigned_integer: type_of(n) = type::unsigned_integer(); break;
      case literal::form::real: type_of(n) = type::real(); break;
      case literal::form::string: type_of(n) = type::string(); break;
      case literal::form::bytes: type_of(n) = type::bytes(); break;
    }
  }

  const type* local(std::string_view name) const {
    auto found = std::find_if(locals_.rbegin(), locals_.rend(), [&](const auto& l) { return l.first == name; });
    return found == locals_.rend() ? nullptr : &found->second;
  }

  // What a name stands for outside of all folds.
  bool resolve_global(node& n, std::string_view name) {
    if (const auto* v = env_.find_variable(name)) {
      type_of(n) = v->type;
      reference_of(n) = {.what = reference::to::variable, .slot = v->slot};
      return true;
    }
    if (const auto* c = env_.find_constant(name)) {
      type_of(n) = c->of;
      reference_of(n) = {.what = reference::to::constant, .constant = c};
      return true;
    }
    return false;
  }

  void check_ident(node& n) {
    if (const type* t = local(n.name)) {
      type_of(n) = *t;
      reference_of(n).what = reference::to::local;
      return;
    }
    if (!resolve_global(n, n.name)) undeclared(n, n.name);
  }

  // a.b.c as one name, when nothing but names are in it.
  static std::optional<std::string> qualified(const node& n) {
    if (n.kind == node_kind::ident) return n.name;
    if (n.kind != node_kind::select || n.test_only) return std::nullopt;
    auto before = qualified(*n.target);
    if (!before) return std::nullopt;
    return *before + "." + n.name;
  }

  static const node& leftmost(const node& n) { return n.kind == node_kind::select ? leftmost(*n.target) : n; }

  void check_select(node& n) {
    if (!n.test_only && !local(leftmost(n).name)) {
      if (auto name = qualified(n); name && resolve_global(n, *name)) {
        n.kind = node_kind::ident;
        n.name = std::move(*name);
        n.target.reset();
        return;
      }
    }
    type result = field_type(n, *n.target, n.name, false);
    type_of(n) = n.test_only ? type::boolean() : types_.known(result, false);
  }

  type field_type(const node& n, node& operand, const std::string& field, bool optional) {
    check(operand);
    type of = types_.known(type_of(operand), false);
    const bool was_optional = of.is_optional();
    if (was_optional) of = type(of.parameters()[0]);
    type result = type::error();
    switch (of.kind()) {
      case type_kind::map: result = of.parameters()[1]; break;
      case type_kind::object:
        if (auto t = env_.field(of.name(), field))
          result = *t;
        else
          refuse(n.id, "undefined field '" + field + "'");
        break;
      case type_kind::parameter:
        types_.fits(type::dyn(), of);
        result = type::dyn();
        break;
      default:
        if (!unifier::is_dyn_or_error(of)) refuse(n.id, "type '" + of.text() + "' does not support field selection");
        result = type::dyn();
    }
    return was_optional || optional ? type::optional(result) : result;
  }

  void check_call(node& n) {
    if (n.name == "_?._") {
      const node& field = *n.arguments[1];
      type_of(n) = types_.known(field_type(n, *n.arguments[0], field.constant.text, true), false);
      type_of(*n.arguments[1]) = type::string();
      reference_of(n) = {.what = reference::to::function, .function = env_.find_function("_?._")};
      if (const function* f = reference_of(n).function) reference_of(n).overloads = {&f->overloads[0]};
      return;
    }
    for (node_ptr& a : n.arguments) check(*a);
    if (!n.target) {
      const function* f = env_.find_function(n.name);
      if (!f) return undeclared(n, n.name);
      n.name = f->name;
      return resolve(n, *f);
    }
    // Either a function in a namespace, or a method.
    if (auto space = qualified(*n.target)) {
      if (const function* f = env_.find_function(*space + "." + n.name)) {
        n.name = f->name;
        n.target.reset();
        return resolve(n, *f);
      }
    }
    check(*n.target);
    const function* f = env_.find_function(n.name);
    if (!f) return undeclared(n, n.name);
    resolve(n, *f);
  }

  // An overload's types with fresh variables for its parameters: the result first.
  std::vector<type> instance(const overload& o) {
    std::map<std::string, type, std::less<>> fresh;
    const std::function<type(const type&)> replace = [&](const type& t) -> type {
      if (t.is(type_kind::parameter)) {
        auto found = fresh.find(t.name());
        if (found == fresh.end()) found = fresh.emplace(t.name(), types_.fresh()).first;
        return found->second;
      }
      if (t.parameters().empty()) return t;
      std::vector<type> parameters;
      for (const type& p : t.parameters()) parameters.push_back(replace(p));
      switch (t.kind()) {
        case type_kind::list: return type::list(parameters[0]);
        case type_kind::map: return type::map(parameters[0], parameters[1]);
        case type_kind::type: return type::type_of(parameters[0]);
        default: return type::opaque(t.name(), std::move(parameters));
      }
    };
    std::vector<type> out{replace(o.result)};
    for (const type& a : o.arguments) out.push_back(replace(a));
    return out;
  }

  bool check_logical(node& n, const function& f) {
    bool right = true;
    for (const node_ptr& a : n.arguments) {
      if (types_.fits(type_of(*a), type::boolean())) continue;
      mismatch(a->id, type::boolean(), type_of(*a));
      right = false;
    }
    type_of(n) = right ? type::boolean() : type::error();
    reference_of(n) = {.what = reference::to::function, .function = &f, .overloads = {&f.overloads[0]}};
    return right;
  }

  void resolve(node& n, const function& f) {
    if (f.name == "_&&_" || f.name == "_||_") {
      check_logical(n, f);
      return;
    }
    std::vector<type> arguments;
    if (n.target) arguments.push_back(type_of(*n.target));
    for (const node_ptr& a : n.arguments) arguments.push_back(type_of(*a));
    reference r{.what = reference::to::function, .function = &f};
    std::optional<type> result;
    for (const overload& o : f.overloads) {
      if (o.member != (n.target != nullptr) || o.arguments.size() != arguments.size()) continue;
      std::vector<type> own = instance(o);
      if (!types_.all_fit(arguments, std::span<const type>(own).subspan(1))) continue;
      r.overloads.push_back(&o);
      type t = types_.known(own[0], false);
      if (!result)
        result = std::move(t);
      else if (!result->is_dyn() && !(t == *result))
        result = type::dyn();
    }
    if (!result) return no_overload(n, f, arguments);
    type_of(n) = *result;
    reference_of(n) = std::move(r);
  }

  void no_overload(node& n, const function& f, const std::vector<type>& arguments) {
    std::string signature;
    std::size_t first = 0;
    if (n.target) {
      signature = types_.known(arguments[0], true).text() + ".";
      first = 1;
    }
    signature += "(";
    for (std::size_t i = first; i < arguments.size(); ++i)
      signature += (i > first ? ", " : "") + types_.known(arguments[i], true).text();
    refuse(n.id, "found no matching overload for '" + f.name + "' applied to '" + signature + ")'");
    type_of(n) = type::error();
  }

  // The type of both, when a literal has elements of both.
  type joined(const std::optional<type>& before, const type& now) {
    if (!before) return now;
    if (types_.fits(*before, now)) return unifier::more_general(*before, now);
    return type::dyn();
  }

  type held(const node& n) {
    const type t = type_of(n);
    if (t.is_optional()) return t.parameters()[0];
    if (!t.is_dyn()) mismatch(n.id, type::optional(t), t);
    return t;
  }

  void check_list(node& n) {
    std::optional<type> items;
    for (std::size_t i = 0; i < n.arguments.size(); ++i) {
      node& element = *n.arguments[i];
      check(element);
      const bool optional = is_optional_element(n, i);
      items = joined(items, optional ? held(element) : type_of(element));
    }
    type_of(n) = type::list(items ? *items : types_.fresh());
  }

  void check_map(node& n) {
    std::optional<type> keys, values;
    for (node::entry& e : n.entries) {
      check(*e.key);
      keys = joined(keys, type_of(*e.key));
      check(*e.value);
      values = joined(values, e.optional ? held(*e.value) : type_of(*e.value));
    }
    if (!keys) {
      keys = types_.fresh();
      values = types_.fresh();
    }
    type_of(n) = type::map(*keys, *values);
  }

  void check_object(node& n) {
    if (n.name.starts_with('.')) n.name.erase(0, 1);
    if (!env_.has_type(n.name)) {
      undeclared(n, n.name);
      return;
    }
    type_of(n) = type::object(n.name);
    for (node::entry& e : n.entries) {
      check(*e.value);
      auto declared = env_.field(n.name, e.field);
      if (!declared) {
        refuse(e.id, "undefined field '" + e.field + "'");
        continue;
      }
      const type given = e.optional ? held(*e.value) : type_of(*e.value);
      if (!types_.fits(*declared, given))
        refuse(e.id, "expected type of field '" + e.field + "' is '" + declared->text() + "' but provided type is '" +
                         given.text() + "'");
    }
  }

  void assert_type(const node& n, const type& t) {
    if (!types_.fits(t, type_of(n))) mismatch(n.id, t, type_of(n));
  }

  void check_fold(node& n) {
    node::fold& f = *n.loop;
    check(*f.range);
    check(*f.initial);
    const type range = types_.known(type_of(*f.range), false);
    const type accumulator = type_of(*f.initial);
    locals_.emplace_back(f.accumulator, accumulator);
    type first, second;
    switch (range.kind()) {
      case type_kind::list:
        second = range.parameters()[0];
        first = f.second.empty() ? second : type::integer();
        break;
      case type_kind::map:
        first = range.parameters()[0];
        second = range.parameters()[1];
        break;
      case type_kind::dyn:
      case type_kind::error:
      case type_kind::parameter: types_.fits(type::dyn(), range); break;
      default:
        refuse(f.range->id, "expression of type '" + range.text() +
                                "' cannot be range of a comprehension (must be list, map, or dynamic)");
        first = second = type::error();
    }
    const std::size_t outside = locals_.size();
    locals_.emplace_back(f.variable, first);
    if (!f.second.empty()) locals_.emplace_back(f.second, second);
    check(*f.condition);
    assert_type(*f.condition, type::boolean());
    check(*f.step);
    assert_type(*f.step, accumulator);
    locals_.resize(outside);
    check(*f.result);
    locals_.pop_back();
    type_of(n) = types_.known(type_of(*f.result), false);
  }

  const environment& env_;
  issues& found_;
  const std::vector<place>& places_;
  checked out_;
  unifier types_;
  std::vector<std::pair<std::string, type>> locals_;  // the innermost last
};

}  // namespace

checked check(parsed& expression, const environment& env, issues& found) {
  return checker(expression, env, found).all(*expression.root);
}

}  // namespace kedge::cel
