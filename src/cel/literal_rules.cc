// What constants in a text must be, beyond their types: cel-go's validators, as Kubernetes turns them on.
#include <optional>
#include <string>

#include "cel/check.h"
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
      right = l.is != literal::form::string || parse_go_duration(l.text);
    else if (n.name == "timestamp")
      right = l.is == literal::form::string    ? in_range(parse_timestamp(l.text))
              : l.is == literal::form::integer ? l.integer >= timestamp_min && l.integer <= timestamp_max
                                               : true;
    else if (n.name == "matches")
      right = l.is != literal::form::string || regex::compile(l.text).has_value();
    if (!right) refuse(n.arguments[0]->id, "invalid " + n.name + " argument");
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
