// What constants in a text must be, beyond their types: cel-go's validators, as Kubernetes turns them on.
#include <cstddef>
#include <expected>
#include <optional>
#include <string>

#include "cel/check.h"
#include "cel/functions/format.h"
#include "cel/literals.h"
#include "cel/regex.h"

namespace kedge::cel {

namespace {

class rules {
 public:
  rules(const parsed& expression, const checked& types, issues& found)
      : expression_(expression), types_(types), found_(found) {}

  void walk(const node& n, bool in_format) {
    if (n.kind == node_kind::call) check_argument(n);
    if (n.kind == node_kind::call && n.name == "format") check_format(n);
    if (!in_format && n.kind == node_kind::list) check_list(n);
    if (!in_format && n.kind == node_kind::map) check_map(n);
    const bool below_format = in_format || (n.kind == node_kind::call && n.name == "format");
    for_each_child(n, [&](const node& child) { walk(child, below_format); });
  }

 private:
  void refuse(node_id at, std::string message) {
    const place p = expression_.places[static_cast<std::size_t>(at)];
    found_.add(p.line, p.column, std::move(message));
  }

  const type& type_of(const node& n) const { return types_.types[static_cast<std::size_t>(n.id)]; }

  // The first argument, when it is a constant. (Of matches(text, pattern), that is the text: as in cel-go.)
  void check_argument(const node& n) {
    if (n.arguments.empty() || n.arguments[0]->kind != node_kind::literal) return;
    const literal& l = n.arguments[0]->constant;
    bool right = true;
    if (n.name == "duration")
      right = l.is == literal::form::string && parse_go_duration(l.text);
    else if (n.name == "timestamp")
      right = l.is == literal::form::string    ? in_range(parse_timestamp(l.text))
              : l.is == literal::form::integer ? l.integer >= timestamp_min && l.integer <= timestamp_max
                                               : false;
    else if (n.name == "matches")
      right = l.is != literal::form::string || regex::compile(l.text).has_value();
    if (!right) refuse(n.arguments[0]->id, "invalid " + n.name + " argument");
  }

  // A constant format with a list of arguments in the text: what will fail is told now.
  void check_format(const node& n) {
    const bool constant =
        n.target && n.target->kind == node_kind::literal && n.target->constant.is == literal::form::string;
    if (!constant || n.arguments.size() != 1 || n.arguments[0]->kind != node_kind::list) return;
    const auto& arguments = n.arguments[0]->arguments;
    std::size_t asked = 0;
    node_id at = n.id;
    auto walked = walk_format(n.target->constant.text, arguments.size(),
                              [&](std::size_t i, format_clause c) -> std::expected<std::string, std::string> {
                                ++asked;
                                const node* wrong = c.letter == 's'                 ? not_text(*arguments[i])
                                                    : fits(*arguments[i], c.letter) ? nullptr
                                                                                    : arguments[i].get();
                                if (!wrong) return std::string();
                                at = wrong->id;
                                return std::unexpected(format_refusal(c.letter, type_of(*wrong).name()));
                              });
    if (!walked)
      refuse(at, walked.error());
    else if (arguments.size() > asked)
      refuse(n.id, "too many arguments supplied to string.format (expected " + std::to_string(asked) + ", got " +
                       std::to_string(arguments.size()) + ")");
  }

  bool fits(const node& n, char letter) const {
    using enum type_kind;
    const type_kind k = type_of(n).kind();
    const bool whole = k == integer || k == unsigned_integer;
    switch (letter) {
      case 'd':
      case 'o': return k == dyn || whole;
      case 'f':
      case 'e': return k == dyn || k == real || k == string;
      case 'b': return k == dyn || whole || k == boolean;
      default: return k == dyn || whole || k == string || k == bytes;
    }
  }

  // The node that %s can't show; null when it can.
  const node* not_text(const node& n) const {
    switch (type_of(n).kind()) {
      case type_kind::opaque:
      case type_kind::object:
      case type_kind::parameter:
      case type_kind::error: return &n;
      default: break;
    }
    const node* wrong = nullptr;
    if (n.kind == node_kind::list || n.kind == node_kind::map)
      for_each_child(n, [&](const node& child) {
        if (!wrong) wrong = not_text(child);
      });
    return wrong;
  }

  static bool in_range(std::optional<moment> m) {
    return m && m->seconds >= timestamp_min && m->seconds <= timestamp_max;
  }

  void mismatch(const node& at, const type& expected, const type& actual) {
    refuse(at.id, "expected type '" + expected.text() + "' but found '" + actual.text() + "'");
  }

  type held(const node& n, bool optional) const {
    const type& t = type_of(n);
    return optional && !t.parameters().empty() ? type(t.parameters()[0]) : t;
  }

  void check_list(const node& n) {
    std::optional<type> first;
    for (std::size_t i = 0; i < n.arguments.size(); ++i) {
      type t = held(*n.arguments[i], is_optional_element(n, i));
      if (!first) {
        first = std::move(t);
      } else if (!(*first == t)) {
        mismatch(*n.arguments[i], *first, t);
        return;
      }
    }
  }

  void check_map(const node& n) {
    std::optional<type> keys, values;
    for (const node::entry& e : n.entries) {
      type key = type_of(*e.key), v = held(*e.value, e.optional);
      if (!keys) {
        keys = std::move(key);
        values = std::move(v);
        continue;
      }
      if (!(*keys == key)) mismatch(*e.key, *keys, key);
      if (!(*values == v)) mismatch(*e.value, *values, v);
    }
  }

  const parsed& expression_;
  const checked& types_;
  issues& found_;
};

}  // namespace

void check_literals(const parsed& expression, const checked& types, issues& found) {
  rules(expression, types, found).walk(*expression.root, false);
}

}  // namespace kedge::cel
