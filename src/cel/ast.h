// ast.h: an expression as a tree. Each node has a number; what later steps find out about it (place, type, overload) is
// kept beside the tree by that number.
#pragma once

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

}  // namespace kedge::cel
