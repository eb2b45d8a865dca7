#include "cel/macro.h"

#include <utility>

namespace kedge::cel {

node_ptr node_factory::new_node(node_kind kind) {
  auto n = std::make_unique<node>();
  n->id = next_id();
  n->kind = kind;
  return n;
}
node_ptr node_factory::literal_bool(bool b) {
  node_ptr n = new_node(node_kind::literal);
  n->constant = {.is = literal::form::boolean, .boolean = b};
  return n;
}
node_ptr node_factory::literal_int(std::int64_t i) {
  node_ptr n = new_node(node_kind::literal);
  n->constant = {.is = literal::form::integer, .integer = i};
  return n;
}
node_ptr node_factory::ident(std::string name) {
  node_ptr n = new_node(node_kind::ident);
  n->name = std::move(name);
  return n;
}
node_ptr node_factory::call(std::string function, std::vector<node_ptr> arguments) {
  node_ptr n = new_node(node_kind::call);
  n->name = std::move(function);
  n->arguments = std::move(arguments);
  return n;
}
node_ptr node_factory::member_call(std::string function, node_ptr target, std::vector<node_ptr> arguments) {
  node_ptr n = call(std::move(function), std::move(arguments));
  n->target = std::move(target);
  return n;
}
node_ptr node_factory::list(std::vector<node_ptr> elements) {
  node_ptr n = new_node(node_kind::list);
  n->arguments = std::move(elements);
  return n;
}
node_ptr node_factory::map() { return new_node(node_kind::map); }
node_ptr node_factory::select(node_ptr operand, std::string field, bool test_only) {
  node_ptr n = new_node(node_kind::select);
  n->name = std::move(field);
  n->target = std::move(operand);
  n->test_only = test_only;
  return n;
}
node_ptr node_factory::fold(node_ptr range, std::string variable, std::string second, std::string accumulator,
                            node_ptr initial, node_ptr condition, node_ptr step, node_ptr result) {
  node_ptr n = new_node(node_kind::fold);
  n->loop = std::make_unique<node::fold>(node::fold{std::move(variable), std::move(second), std::move(accumulator),
                                                    std::move(range), std::move(initial), std::move(condition),
                                                    std::move(step), std::move(result)});
  return n;
}

namespace {

using expanded = std::expected<node_ptr, macro_error>;
using nodes = std::vector<node_ptr>;

template <typename... Nodes>
nodes list_of(Nodes... all) {
  nodes out;
  (out.push_back(std::move(all)), ...);
  return out;
}

std::unexpected<macro_error> wrong(const node& at, std::string message) {
  return std::unexpected(macro_error{at.id, std::move(message)});
}

const std::string accumulator(accumulator_name);

node_ptr accumulated(node_factory& make) { return make.ident(accumulator); }

bool overwrites(const std::string& name) { return name == accumulator || name == "__result__"; }

// The names of a fold's variables: one or two arguments that must be identifiers.
std::expected<std::pair<std::string, std::string>, macro_error> variables(const nodes& args, bool two,
                                                                          const char* not_a_name) {
  for (std::size_t i = 0; i < (two ? 2u : 1u); ++i)
    if (args[i]->kind != node_kind::ident) return wrong(*args[i], not_a_name);
  if (two && args[0]->name == args[1]->name) return wrong(*args[1], "duplicate variable name: " + args[0]->name);
  for (std::size_t i = 0; i < (two ? 2u : 1u); ++i)
    if (overwrites(args[i]->name)) return wrong(*args[i], "iteration variable overwrites accumulator variable");
  return std::pair(args[0]->name, two ? args[1]->name : std::string());
}

constexpr const char* simple_name = "argument must be a simple name";
constexpr const char* an_identifier = "argument is not an identifier";

template <bool two>
expanded expand_all(node_factory& make, node_ptr& target, nodes& args) {
  auto names = variables(args, two, simple_name);
  if (!names) return std::unexpected(names.error());
  node_ptr initial = make.literal_bool(true);
  node_ptr condition = make.call("@not_strictly_false", list_of(accumulated(make)));
  node_ptr step = make.call("_&&_", list_of(accumulated(make), std::move(args[two ? 2 : 1])));
  node_ptr result = accumulated(make);
  return make.fold(std::move(target), names->first, names->second, accumulator, std::move(initial),
                   std::move(condition), std::move(step), std::move(result));
}

template <bool two>
expanded expand_exists(node_factory& make, node_ptr& target, nodes& args) {
  auto names = variables(args, two, simple_name);
  if (!names) return std::unexpected(names.error());
  node_ptr initial = make.literal_bool(false);
  node_ptr condition = make.call("@not_strictly_false", list_of(make.call("!_", list_of(accumulated(make)))));
  node_ptr step = make.call("_||_", list_of(accumulated(make), std::move(args[two ? 2 : 1])));
  node_ptr result = accumulated(make);
  return make.fold(std::move(target), names->first, names->second, accumulator, std::move(initial),
                   std::move(condition), std::move(step), std::move(result));
}

template <bool two>
expanded expand_exists_one(node_factory& make, node_ptr& target, nodes& args) {
  auto names = variables(args, two, simple_name);
  if (!names) return std::unexpected(names.error());
  node_ptr initial = make.literal_int(0);
  node_ptr condition = make.literal_bool(true);
  node_ptr one_more = make.call("_+_", list_of(accumulated(make), make.literal_int(1)));
  node_ptr step = make.call("_?_:_", list_of(std::move(args[two ? 2 : 1]), std::move(one_more), accumulated(make)));
  node_ptr result = make.call("_==_", list_of(accumulated(make), make.literal_int(1)));
  return make.fold(std::move(target), names->first, names->second, accumulator, std::move(initial),
                   std::move(condition), std::move(step), std::move(result));
}

// What adds to the accumulator, if a filter (when there is one) lets it.
expanded collecting(node_factory& make, node_ptr& target, const std::pair<std::string, std::string>& names,
                    node_ptr initial, node_ptr step, node_ptr filter) {
  node_ptr condition = make.literal_bool(true);
  if (filter) step = make.call("_?_:_", list_of(std::move(filter), std::move(step), accumulated(make)));
  node_ptr result = accumulated(make);
  return make.fold(std::move(target), names.first, names.second, accumulator, std::move(initial), std::move(condition),
                   std::move(step), std::move(result));
}

template <bool two>
expanded expand_map(node_factory& make, node_ptr& target, nodes& args) {
  auto names = variables(args, two, two ? simple_name : an_identifier);
  if (!names) return std::unexpected(names.error());
  constexpr std::size_t first = two ? 2 : 1;
  node_ptr filter = args.size() > first + 1 ? std::move(args[first]) : nullptr;
  node_ptr initial = make.list({});
  node_ptr step = make.call("_+_", list_of(accumulated(make), make.list(list_of(std::move(args.back())))));
  return collecting(make, target, *names, std::move(initial), std::move(step), std::move(filter));
}

expanded expand_filter(node_factory& make, node_ptr& target, nodes& args) {
  auto names = variables(args, false, an_identifier);
  if (!names) return std::unexpected(names.error());
  node_ptr initial = make.list({});
  node_ptr step = make.call("_+_", list_of(accumulated(make), make.list(list_of(std::move(args[0])))));
  return collecting(make, target, *names, std::move(initial), std::move(step), std::move(args[1]));
}

expanded expand_transform_map(node_factory& make, node_ptr& target, nodes& args) {
  auto names = variables(args, true, simple_name);
  if (!names) return std::unexpected(names.error());
  node_ptr filter = args.size() > 3 ? std::move(args[2]) : nullptr;
  node_ptr initial = make.map();
  node_ptr key = make.ident(names->first);
  node_ptr step = make.call("cel.@mapInsert", list_of(accumulated(make), std::move(key), std::move(args.back())));
  return collecting(make, target, *names, std::move(initial), std::move(step), std::move(filter));
}

expanded expand_transform_map_entry(node_factory& make, node_ptr& target, nodes& args) {
  auto names = variables(args, true, simple_name);
  if (!names) return std::unexpected(names.error());
  node_ptr filter = args.size() > 3 ? std::move(args[2]) : nullptr;
  node_ptr initial = make.map();
  node_ptr step = make.call("cel.@mapInsert", list_of(accumulated(make), std::move(args.back())));
  return collecting(make, target, *names, std::move(initial), std::move(step), std::move(filter));
}

expanded expand_has(node_factory& make, node_ptr&, nodes& args) {
  if (args[0]->kind != node_kind::select || args[0]->test_only)
    return wrong(*args[0], "invalid argument to has() macro");
  return make.select(std::move(args[0]->target), args[0]->name, true);
}

// A name for a value: a fold over nothing, whose accumulator begins with the value.
node_ptr named(node_factory& make, std::string name, node_ptr v, node_ptr in) {
  node_ptr range = make.list({});
  node_ptr condition = make.literal_bool(false);
  node_ptr step = make.ident(name);
  return make.fold(std::move(range), "#unused", "", std::move(name), std::move(v), std::move(condition),
                   std::move(step), std::move(in));
}

template <bool flat>
expanded expand_optional_map(node_factory& make, node_ptr& target, nodes& args) {
  if (args[0]->kind != node_kind::ident)
    return wrong(*args[0],
                 std::string(flat ? "optFlatMap" : "optMap") + "() variable name must be a simple identifier");
  node_ptr held = make.member_call("value", make.copy(*target), {});
  node_ptr some = named(make, args[0]->name, std::move(held), std::move(args[1]));
  if (!flat) some = make.call("optional.of", list_of(std::move(some)));
  node_ptr has = make.member_call("hasValue", std::move(target), {});
  return make.call("_?_:_", list_of(std::move(has), std::move(some), make.call("optional.none", {})));
}

expanded expand_bind(node_factory& make, node_ptr& target, nodes& args) {
  if (!target || target->kind != node_kind::ident || target->name != "cel") return node_ptr();
  if (args[0]->kind != node_kind::ident) return wrong(*args[0], "cel.bind() variable names must be simple identifiers");
  return named(make, args[0]->name, std::move(args[1]), std::move(args[2]));
}

macro method(std::string name, std::size_t arguments, expansion e) { return {std::move(name), arguments, true, e}; }

}  // namespace

std::vector<macro> standard_macros() {
  return {{"has", 1, false, expand_has},
          method("all", 2, expand_all<false>),
          method("exists", 2, expand_exists<false>),
          method("exists_one", 2, expand_exists_one<false>),
          method("map", 2, expand_map<false>),
          method("map", 3, expand_map<false>),
          method("filter", 2, expand_filter)};
}

std::vector<macro> two_variable_macros() {
  return {method("all", 3, expand_all<true>),
          method("exists", 3, expand_exists<true>),
          method("exists_one", 3, expand_exists_one<true>),
          method("existsOne", 3, expand_exists_one<true>),
          method("transformList", 3, expand_map<true>),
          method("transformList", 4, expand_map<true>),
          method("transformMap", 3, expand_transform_map),
          method("transformMap", 4, expand_transform_map),
          method("transformMapEntry", 3, expand_transform_map_entry),
          method("transformMapEntry", 4, expand_transform_map_entry)};
}

std::vector<macro> optional_macros() {
  return {method("optMap", 2, expand_optional_map<false>), method("optFlatMap", 2, expand_optional_map<true>)};
}

std::vector<macro> binding_macros() { return {method("bind", 3, expand_bind)}; }

}  // namespace kedge::cel
