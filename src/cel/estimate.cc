#include "cel/estimate.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cel/macro.h"
#include "cel/utf8.h"

namespace kedge::cel {

namespace {

using path = std::vector<std::string>;

path operator+(path p, std::string_view step) {
  p.emplace_back(step);
  return p;
}

// The sizes of what a list or a map holds.
struct entry_sizes {
  bool list;
  range key, value;

  static std::optional<entry_sizes> either(const std::optional<entry_sizes>& a, const std::optional<entry_sizes>& b) {
    if (!a || !b) return std::nullopt;
    return entry_sizes{a->list, a->key.either(b->key), a->value.either(b->value)};
  }
};

constexpr std::uint64_t most = UINT64_MAX;

class estimator {
 public:
  estimator(const checked& types, const environment& env, const size_model* sizes)
      : types_(types), env_(env), sizes_(sizes) {}

  range cost(const node& n) {
    switch (n.kind) {
      case node_kind::literal: return {};
      case node_kind::ident: return cost_ident(n);
      case node_kind::select: return cost_select(n);
      case node_kind::call: return cost_call(n);
      case node_kind::list: return cost_list(n);
      case node_kind::map: return cost_map(n);
      case node_kind::object: return cost_object(n);
      case node_kind::fold: return is_binding(n) ? cost_binding(n) : cost_fold(n);
    }
    return {};
  }

 private:
  struct local {
    path where;
    std::optional<range> size;
    std::optional<entry_sizes> entries;
  };

  const type& type_of(const node& n) const { return types_.types[static_cast<std::size_t>(n.id)]; }
  const reference& reference_of(const node& n) const { return types_.references[static_cast<std::size_t>(n.id)]; }

  const local* find_local(std::string_view name) const {
    auto found = locals_.find(name);
    return found == locals_.end() || found->second.empty() ? nullptr : &found->second.back();
  }

  path path_of(const node& n) const {
    if (n.kind == node_kind::ident)
      if (const local* l = find_local(n.name)) return l->where;
    auto found = paths_.find(n.id);
    return found == paths_.end() ? path() : found->second;
  }

  static std::optional<range> size_of_text(const node& n) {
    switch (n.kind) {
      case node_kind::literal:
        if (n.constant.is == literal::form::string) return range::exactly(utf8_count(n.constant.text));
        if (n.constant.is == literal::form::bytes) return range::exactly(n.constant.text.size());
        return range::exactly(1);
      case node_kind::list: return range::exactly(n.arguments.size());
      case node_kind::map: return range::exactly(n.entries.size());
      default: return std::nullopt;
    }
  }

  static bool has_one_size(const type& t) {
    switch (t.kind()) {
      case type_kind::boolean:
      case type_kind::real:
      case type_kind::duration:
      case type_kind::integer:
      case type_kind::timestamp:
      case type_kind::unsigned_integer: return true;
      default: return t.is_optional() && has_one_size(t.parameters()[0]);
    }
  }

  std::optional<range> size_of(const node& n) {
    if (auto found = computed_.find(n.id); found != computed_.end()) return found->second;
    if (auto s = size_of_text(n)) return s;
    if (sizes_) {
      estimated_part part;
      part.path = path_of(n);
      part.type = type_of(n);
      if (auto s = sizes_->size_of(part)) {
        computed_.insert_or_assign(n.id, *s);
        return s;
      }
    }
    if (has_one_size(type_of(n))) return range::exactly(1);
    if (n.kind == node_kind::ident)
      if (const local* l = find_local(n.name)) return l->size;
    return std::nullopt;
  }

  range size_or_unknown(const node& n) { return size_of(n).value_or(range::unknown()); }

  void set_size(const node& n, std::optional<range> s) {
    if (s) computed_.insert_or_assign(n.id, *s);
  }

  std::optional<entry_sizes> entries_of(const node& n) const {
    if (auto found = entries_.find(n.id); found != entries_.end()) return found->second;
    if (n.kind == node_kind::ident)
      if (const local* l = find_local(n.name)) return l->entries;
    return std::nullopt;
  }

  void set_entries(const node& n, const std::optional<entry_sizes>& s) {
    if (s) entries_.insert_or_assign(n.id, *s);
  }

  estimated_part part_of(const node& n) {
    estimated_part p;
    p.path = path_of(n);
    if (!p.path.empty() && (p.path[0] == accumulator_name || p.path[0] == "__result__")) p.path.clear();
    p.type = type_of(n);
    p.size = size_of(n);
    if (n.kind == node_kind::literal && n.constant.is == literal::form::integer) p.constant = n.constant.integer;
    return p;
  }

  range cost_ident(const node& n) {
    const local* l = find_local(n.name);
    paths_.insert_or_assign(n.id, l ? l->where : path{n.name});
    return range::exactly(1);
  }

  range cost_select(const node& n) {
    if (n.test_only) return cost(*n.target);
    range sum = cost(*n.target);
    switch (type_of(*n.target).kind()) {
      case type_kind::map:
      case type_kind::object:
      case type_kind::parameter: sum = sum + range::exactly(1); break;
      default: break;
    }
    paths_.insert_or_assign(n.id, path_of(*n.target) + n.name);
    return sum;
  }

  range cost_call(const node& n) {
    if (n.name == "dyn" && n.arguments.size() == 1) {
      const range argument = cost(*n.arguments[0]);
      set_size(n, size_of(*n.arguments[0]));
      set_entries(n, entries_of(*n.arguments[0]));
      return range::exactly(1) + argument;
    }
    std::vector<range> costs;
    std::vector<estimated_part> parts;
    for (const node_ptr& a : n.arguments) {
      costs.push_back(cost(*a));
      parts.push_back(part_of(*a));
    }
    const reference& r = reference_of(n);
    if (r.overloads.empty()) return {};
    range sum;
    std::optional<estimated_part> target;
    if (n.target) {
      sum = cost(*n.target);
      target = part_of(*n.target);
    }
    range call{most, 0};
    std::optional<range> result_size;
    for (const overload* o : r.overloads) {
      const call_estimate one = cost_overload(n, *o, target ? &*target : nullptr, parts, costs);
      call = call.either(one.cost);
      if (one.result_size) result_size = result_size ? result_size->either(*one.result_size) : *one.result_size;
      const bool in_list = o->id == "index_list", in_map = o->id == "index_map";
      if (in_list || in_map) {
        auto entries = entries_of(*n.arguments[0]);
        result_size = entries ? std::optional(entries->value) : std::nullopt;
        paths_.insert_or_assign(n.id, path_of(*n.arguments[0]) + (in_list ? "@items" : "@values"));
      }
      if (!result_size) result_size = size_of(n);
    }
    set_size(n, result_size);
    return sum + call;
  }

  call_estimate cost_overload(const node& n, const overload& o, const estimated_part* target,
                              const std::vector<estimated_part>& parts, const std::vector<range>& costs) {
    const std::string_view id = o.id;
    range arguments;
    for (range c : costs) arguments = arguments + c;
    if (o.estimate) {
      if (auto own = o.estimate(target, parts, sizes_)) {
        own->cost = own->cost + arguments;
        return *own;
      }
    }
    if (const cost_model* model = env_.costs()) {
      if (auto own = model->estimate(n.name, id, target, parts, sizes_)) {
        own->cost = own->cost + arguments;
        return *own;
      }
    }
    const auto size = [](const estimated_part& p) { return p.size.value_or(range::unknown()); };
    const auto traversed = [&](const estimated_part& p) { return size(p).scaled(cost_of_character); };
    const auto is = [&](auto... ids) { return ((id == std::string_view(ids)) || ...); };
    const std::size_t count = parts.size();
    if (is("string_format") && target) return {traversed(*target) + arguments, {}};
    if (is("string_to_bytes") && count == 1) {
      const range s = size(parts[0]);
      return {s.scaled(cost_of_character) + arguments, range{s.min, s.max * 4}};
    }
    if (is("bytes_to_string") && count == 1) {
      const range s = size(parts[0]);
      return {s.scaled(cost_of_character) + arguments, range{s.min / 4, s.max}};
    }
    if (is("strings_quote") && count == 1) {
      const range s = size(parts[0]);
      return {s.scaled(cost_of_character) + arguments, range{s.min + 2, s.max * 2 + 2}};
    }
    if (is("starts_with_string", "ends_with_string") && count == 1) return {traversed(parts[0]) + arguments, {}};
    if (is("in_list") && count == 2) return {size(parts[1]).scaled(1) + arguments, {}};
    if (is("matches", "matches_string")) {
      const bool method = target && count == 1;
      if (method || (!target && count == 2)) {
        const estimated_part &text = method ? *target : parts[0], &pattern = method ? parts[0] : parts[1];
        const range by_text = (size(text) + range{1, 1}).scaled(cost_of_character);
        return {by_text * size(pattern).scaled(cost_of_regex_character) + arguments, {}};
      }
    }
    if (is("contains_string") && target && count == 1)
      return {traversed(*target) * traversed(parts[0]) + arguments, {}};
    if (is("logical_or", "logical_and")) return {{costs[0].min, (costs[0] + costs[1]).max}, {}};
    if (is("conditional")) {
      set_entries(n, entry_sizes::either(entries_of(*n.arguments[1]), entries_of(*n.arguments[2])));
      return {costs[0] + costs[1].either(costs[2]), size(parts[1]).either(size(parts[2]))};
    }
    if (is("add_string", "add_bytes", "add_list") && count == 2) {
      const range both = size(parts[0]) + size(parts[1]);
      set_entries(n, entry_sizes::either(entries_of(*n.arguments[0]), entries_of(*n.arguments[1])));
      if (is("add_list")) return {range::exactly(1) + arguments, both};
      return {both.scaled(cost_of_character) + arguments, both};
    }
    if (compares_text(id) && count == 2) {
      const std::uint64_t smaller = std::min(size(parts[0]).max, size(parts[1]).max);
      return {range{smaller > 0 ? 1u : 0u, smaller}.scaled(cost_of_character) + arguments, {}};
    }
    return {range::exactly(1) + arguments, {}};
  }

  static bool compares_text(std::string_view id) {
    if (id == "equals" || id == "not_equals") return true;
    const bool orders = id.starts_with("less_") || id.starts_with("greater_");
    return orders && (id.ends_with("_string") || id.ends_with("_bytes"));
  }

  range cost_list(const node& n) {
    range sum, items{n.arguments.empty() ? 0 : most, 0};
    for (const node_ptr& e : n.arguments) {
      sum = sum + cost(*e);
      items = items.either(size_or_unknown(*e));
    }
    set_entries(n, entry_sizes{true, range::exactly(1), items});
    return sum + range::exactly(cost_of_list);
  }

  range cost_map(const node& n) {
    const std::uint64_t from = n.entries.empty() ? 0 : most;
    range sum, keys{from, 0}, values{from, 0};
    for (const node::entry& e : n.entries) {
      sum = sum + cost(*e.key);
      sum = sum + cost(*e.value);
      keys = keys.either(size_or_unknown(*e.key));
      values = values.either(size_or_unknown(*e.value));
    }
    set_entries(n, entry_sizes{false, keys, values});
    return sum + range::exactly(cost_of_map);
  }

  range cost_object(const node& n) {
    range sum;
    for (const node::entry& e : n.entries) sum = sum + cost(*e.value);
    return sum + range::exactly(cost_of_object);
  }

  // cel.bind and its like: a fold over nothing that never steps.
  static bool is_binding(const node& n) {
    const node::fold& f = *n.loop;
    return f.range->kind == node_kind::list && f.range->arguments.empty() && f.condition->kind == node_kind::literal &&
           f.condition->constant.is == literal::form::boolean && !f.condition->constant.boolean &&
           f.accumulator != "__result__";
  }

  void push(const std::string& name, local l) { locals_[name].push_back(std::move(l)); }
  void pop(const std::string& name) { locals_[name].pop_back(); }

  range cost_binding(const node& n) {
    const node::fold& f = *n.loop;
    range sum = cost(*f.range);
    sum = sum + cost(*f.initial);
    push(f.accumulator, {path_of(*f.initial), size_of(*f.initial), entries_of(*f.initial)});
    sum = sum + cost(*f.result);
    pop(f.accumulator);
    set_size(n, size_of(*f.result));
    set_entries(n, entries_of(*f.result));
    return sum;
  }

  void push_variables(const node::fold& f) {
    auto entries = entries_of(*f.range);
    const bool list = entries ? entries->list : type_of(*f.range).is(type_kind::list);
    std::optional<range> key, v;
    if (entries) {
      key = entries->key;
      v = entries->value;
    }
    const path at = path_of(*f.range);
    if (f.second.empty()) {
      push(f.variable, {at + (list ? "@items" : "@keys"), list ? v : key, {}});
      return;
    }
    push(f.variable, {at + (list ? "@indices" : "@keys"), key, {}});
    push(f.second, {at + (list ? "@items" : "@values"), v, {}});
  }

  range cost_fold(const node& n) {
    const node::fold& f = *n.loop;
    range sum = cost(*f.range);
    sum = sum + cost(*f.initial);
    push(f.accumulator, {path_of(*f.initial), size_of(*f.initial), entries_of(*f.initial)});
    push_variables(f);
    const range condition = cost(*f.condition);
    const range step = cost(*f.step);
    pop(f.variable);
    if (!f.second.empty()) pop(f.second);
    sum = sum + cost(*f.result);
    pop(f.accumulator);
    const range times = size_or_unknown(*f.range);
    sum = sum + times * (step + condition);
    if (f.initial->kind == node_kind::literal) {
      set_size(n, size_of(*f.initial));
    } else if (f.initial->kind == node_kind::list || f.initial->kind == node_kind::map) {
      set_size(n, times);
      set_entries(n, entries_of(*f.step));
    }
    return sum;
  }

  const checked& types_;
  const environment& env_;
  const size_model* sizes_;
  std::unordered_map<node_id, path> paths_;
  std::unordered_map<node_id, range> computed_;
  std::unordered_map<node_id, entry_sizes> entries_;
  std::map<std::string, std::vector<local>, std::less<>> locals_;
};

}  // namespace

range estimate(const node& root, const checked& types, const environment& env, const size_model* sizes) {
  return estimator(types, env, sizes).cost(root);
}

}  // namespace kedge::cel
