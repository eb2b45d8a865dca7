// ast.h: an expression as a tree. Each node has a number; what later steps find out about it (place, type, overload) is
// kept beside the tree by that number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace kedge::cel {

using node_id = std::int64_t;

enum class node_kind : std::uint8_t { literal, ident, select, call, list, map, object, fold };

struct literal {
  enum class form : std::uint8_t { null, boolean, integer, unsigned_integer, real, string, bytes };
  form is = form::null;
  bool boolean = false;
  std::int64_t integer = 0;
  std::uint64_t unsigned_integer = 0;
  double real = 0;
  std::string text;
};

struct node;
using node_ptr = std::unique_ptr<node>;

struct node {
  node_id id = 0;
  node_kind kind = node_kind::literal;

  cel::literal constant;

  std::string name;        // of ident, select (the field), call (the function), object (the type)
  node_ptr target;         // of select the operand; of a method call the receiver
  bool test_only = false;  // select: has(a.b)

  struct entry {
    node_id id = 0;
    std::string field;  // of an object
    node_ptr key;       // of a map
    node_ptr value;
    bool optional = false;
  };
  std::vector<node_ptr> arguments;  // of a call; elements of a list
  std::vector<std::uint32_t> optional_elements;
  std::vector<entry> entries;  // of map and object

  // A fold over a range: what macros become. accumulator = initial; for each: while condition, accumulator = step;
  // then result.
  struct fold {
    std::string variable, second, accumulator;
    node_ptr range, initial, condition, step, result;
  };
  std::unique_ptr<fold> loop;
};

// Whether a list's element is `?e`.
inline bool is_optional_element(const node& list, std::size_t i) {
  for (std::uint32_t o : list.optional_elements)
    if (o == i) return true;
  return false;
}

// f(const node&) for each node directly below, in the order of evaluation.
template <typename F>
void for_each_child(const node& n, F f) {
  if (n.target) f(*n.target);
  for (const node_ptr& a : n.arguments) f(*a);
  for (const node::entry& e : n.entries) {
    if (e.key) f(*e.key);
    f(*e.value);
  }
  if (n.loop)
    for (const node_ptr* part : {&n.loop->range, &n.loop->initial, &n.loop->condition, &n.loop->step, &n.loop->result})
      f(**part);
}

}  // namespace kedge::cel
