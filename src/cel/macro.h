// macro.h: calls that the parser replaces by other expressions: `x.all(e, e > 0)` becomes a fold.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cel/ast.h"

namespace kedge::cel {

// What a macro builds with; every node gets the place of the call.
class node_factory {
 public:
  virtual ~node_factory() = default;
  virtual node_id next_id() = 0;
  // Another node with the place of this one.
  virtual node_ptr copy(const node& n) = 0;

  node_ptr literal_bool(bool b);
  node_ptr literal_int(std::int64_t n);
  node_ptr ident(std::string name);
  node_ptr call(std::string function, std::vector<node_ptr> arguments);
  node_ptr member_call(std::string function, node_ptr target, std::vector<node_ptr> arguments);
  node_ptr list(std::vector<node_ptr> elements);
  node_ptr map();
  node_ptr select(node_ptr operand, std::string field, bool test_only);
  node_ptr fold(node_ptr range, std::string variable, std::string second, std::string accumulator, node_ptr initial,
                node_ptr condition, node_ptr step, node_ptr result);
  node_ptr new_node(node_kind kind);
};

// What is wrong with a macro's arguments, and where.
struct macro_error {
  node_id at;
  std::string message;
};

// A null node: this is no call of the macro after all, and stays what it is. The target is null for global macros.
using expansion = std::expected<node_ptr, macro_error> (*)(node_factory& make, node_ptr& target,
                                                           std::vector<node_ptr>& arguments);

struct macro {
  std::string name;
  std::size_t arguments = 0;
  bool member = false;
  expansion expand = nullptr;
};

// The name of folds' accumulators, which no text can write.
inline constexpr std::string_view accumulator_name = "@result";

std::vector<macro> standard_macros();      // has, all, exists, exists_one, map, filter
std::vector<macro> two_variable_macros();  // all, exists, existsOne, transformList, transformMap, transformMapEntry
std::vector<macro> optional_macros();      // optMap, optFlatMap
std::vector<macro> binding_macros();       // cel.bind

}  // namespace kedge::cel
