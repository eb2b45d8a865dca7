#include "cel/selects.h"

#include "cel/ast.h"
#include "cel/issue.h"
#include "cel/parse.h"

namespace kedge::cel {
namespace {

// What stands for a.?b.
constexpr std::string_view optional_select = "_?._";

bool is_variable(const node& n, std::string_view name) { return n.kind == node_kind::ident && n.name == name; }

// No deeper than the parser goes.
bool selects(const node& n, std::string_view variable, std::string_view field) {
  if (n.kind == node_kind::select && is_variable(*n.target, variable) && n.name == field) return true;
  if (n.kind == node_kind::call && !n.target && n.name == optional_select && n.arguments.size() == 2 &&
      is_variable(*n.arguments[0], variable) && n.arguments[1]->kind == node_kind::literal &&
      n.arguments[1]->constant.text == field)
    return true;
  bool found = false;
  for_each_child(n, [&](const node& child) { found = found || selects(child, variable, field); });
  return found;
}

}  // namespace

bool selects(std::string_view text, const environment& within, std::string_view variable, std::string_view field) {
  issues found;
  auto tree = parse(text, within, found);
  return tree.root && selects(*tree.root, variable, field);
}

}  // namespace kedge::cel
