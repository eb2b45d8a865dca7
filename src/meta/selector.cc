#include "meta/selector.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/stable_sort.h"
#include "base/strings.h"
#include "meta/limits.h"
#include "meta/names.h"

namespace kedge::api {
namespace {

enum class token : unsigned char {
  end,
  identifier,
  comma,
  open,
  close,
  equals,
  double_equals,
  not_equals,
  not_sign,
  greater,
  less,
  in,
  not_in
};

// The lexer of k8s.io/apimachinery/pkg/labels: special characters end an identifier.
class lexer {
 public:
  explicit lexer(std::string_view text) : text_(text) { advance(); }
  token kind() const noexcept { return kind_; }
  std::string_view literal() const noexcept { return literal_; }
  void advance() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    auto start = at_;
    if (at_ == text_.size()) return set(token::end, start);
    if (is_special(text_[at_])) return special(start);
    while (at_ < text_.size() && !is_special(text_[at_]) && !is_space(text_[at_])) ++at_;
    auto word = text_.substr(start, at_ - start);
    set(word == "in" ? token::in : word == "notin" ? token::not_in : token::identifier, start);
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
  static bool is_special(char c) { return std::string_view("=!(),<>").find(c) != std::string_view::npos; }
  void set(token k, std::size_t start) {
    kind_ = k;
    literal_ = text_.substr(start, at_ - start);
  }
  void special(std::size_t start) {
    char c = text_[at_++];
    const bool then_equals = at_ < text_.size() && text_[at_] == '=';
    switch (c) {
      case ',': return set(token::comma, start);
      case '(': return set(token::open, start);
      case ')': return set(token::close, start);
      case '<': return set(token::less, start);
      case '>': return set(token::greater, start);
      case '=':
        if (then_equals) ++at_;
        return set(then_equals ? token::double_equals : token::equals, start);
      default:
        if (then_equals) ++at_;
        return set(then_equals ? token::not_equals : token::not_sign, start);
    }
  }
  std::string_view text_, literal_;
  std::size_t at_ = 0;
  token kind_ = token::end;
};

using text_result = std::expected<void, std::string>;

// Recursive descent over the lexer; errors in the words of labels.Parse.
class parser {
 public:
  explicit parser(std::string_view text) : lex_(text) {}

  std::expected<std::vector<requirement>, std::string> run() {
    std::vector<requirement> out;
    if (lex_.kind() == token::end) return out;
    for (;;) {
      if (lex_.kind() != token::identifier && lex_.kind() != token::not_sign && lex_.kind() != token::in &&
          lex_.kind() != token::not_in)
        return std::unexpected(fmt::format("found '{}', expected: !, identifier, or 'end of string'", lex_.literal()));
      requirement r;
      if (auto ok = one(r); !ok) return std::unexpected("unable to parse requirement: " + ok.error());
      out.push_back(std::move(r));
      if (out.size() > selector_requirements_max) return std::unexpected(std::string("too many requirements"));
      if (lex_.kind() == token::end) return out;
      if (lex_.kind() != token::comma)
        return std::unexpected(fmt::format("found '{}', expected: ',' or 'end of string'", lex_.literal()));
      lex_.advance();
      if (lex_.kind() != token::identifier && lex_.kind() != token::not_sign && lex_.kind() != token::in &&
          lex_.kind() != token::not_in)
        return std::unexpected(fmt::format("found '{}', expected: identifier after ','", lex_.literal()));
    }
  }

 private:
  text_result one(requirement& r) {
    if (lex_.kind() == token::not_sign) {
      lex_.advance();
      if (auto ok = key(r); !ok) return ok;
      r.op = selector_operator::not_exists;
      return {};
    }
    if (auto ok = key(r); !ok) return ok;
    switch (lex_.kind()) {
      case token::end:
      case token::comma: r.op = selector_operator::exists; return {};
      case token::in: return list(r, selector_operator::in);
      case token::not_in: return list(r, selector_operator::not_in);
      case token::equals:
      case token::double_equals: return single(r, selector_operator::equals);
      case token::not_equals: return single(r, selector_operator::not_equals);
      case token::greater: return number(r, selector_operator::greater);
      case token::less: return number(r, selector_operator::less);
      default:
        return std::unexpected(fmt::format("found '{}', expected: in, notin, =, ==, !=, gt, lt", lex_.literal()));
    }
  }
  text_result key(requirement& r) {
    if (lex_.kind() != token::identifier && lex_.kind() != token::in && lex_.kind() != token::not_in)
      return std::unexpected(fmt::format("found '{}', expected: identifier", lex_.literal()));
    r.key = lex_.literal();
    if (auto bad = check_qualified_name(r.key); !bad.empty())
      return std::unexpected(fmt::format("key: Invalid value: {}: {}", quote(r.key), join(bad, "; ")));
    lex_.advance();
    return {};
  }
  text_result value_ok(const requirement& r, std::string_view v) {
    if (auto bad = check_label_value(v); !bad.empty())
      return std::unexpected(
          fmt::format("values[{}][{}]: Invalid value: {}: {}", r.values.size(), r.key, quote(v), join(bad, "; ")));
    return {};
  }
  text_result single(requirement& r, selector_operator op) {
    r.op = op;
    lex_.advance();
    std::string v;
    if (lex_.kind() == token::identifier || lex_.kind() == token::in || lex_.kind() == token::not_in) {
      v = lex_.literal();
      lex_.advance();
    } else if (lex_.kind() != token::end && lex_.kind() != token::comma) {
      return std::unexpected(fmt::format("found '{}', expected: identifier", lex_.literal()));
    }
    if (auto ok = value_ok(r, v); !ok) return ok;
    r.values.push_back(std::move(v));
    return {};
  }
  text_result number(requirement& r, selector_operator op) {
    if (auto ok = single(r, op); !ok) return ok;
    if (!parse_int(r.values[0]))
      return std::unexpected(fmt::format(
          "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer", quote(r.values[0])));
    return {};
  }
  text_result list(requirement& r, selector_operator op) {
    r.op = op;
    lex_.advance();
    if (lex_.kind() != token::open) return std::unexpected(fmt::format("found '{}' expected: '('", lex_.literal()));
    lex_.advance();
    std::string v;
    for (;;) {
      v.clear();
      if (lex_.kind() == token::identifier || lex_.kind() == token::in || lex_.kind() == token::not_in) {
        v = lex_.literal();
        lex_.advance();
      }
      if (auto ok = value_ok(r, v); !ok) return ok;
      r.values.push_back(v);
      if (lex_.kind() == token::close) {
        lex_.advance();
        return {};
      }
      if (lex_.kind() != token::comma)
        return std::unexpected(fmt::format("found '{}', expected: ',', or ')' or identifier", lex_.literal()));
      lex_.advance();
    }
  }
  lexer lex_;
};

bool one_of(const std::vector<std::string>& values, std::string_view v) {
  for (auto& x : values)
    if (x == v) return true;
  return false;
}

}  // namespace

bool requirement::matches(const std::string_view* value) const noexcept {
  switch (op) {
    case selector_operator::equals:
    case selector_operator::in: return value && one_of(values, *value);
    case selector_operator::not_equals:
    case selector_operator::not_in: return !value || !one_of(values, *value);
    case selector_operator::exists: return value != nullptr;
    case selector_operator::not_exists: return value == nullptr;
    case selector_operator::greater:
    case selector_operator::less: {
      if (!value) return false;
      auto n = parse_int(*value);
      auto bound = parse_int(values[0]);
      return n && bound && (op == selector_operator::greater ? *n > *bound : *n < *bound);
    }
  }
  return false;
}

std::optional<std::string_view> label_in_text(std::string_view labels, std::string_view key) noexcept {
  // `{"name":"value","name":"value"}`: strings only, no escapes, so quotes delimit.
  std::size_t at = 0;
  for (;;) {
    auto open = labels.find('"', at);
    if (open == std::string_view::npos) return std::nullopt;
    auto close = labels.find('"', open + 1);
    if (close == std::string_view::npos) return std::nullopt;
    auto value_open = labels.find('"', close + 1);
    if (value_open == std::string_view::npos) return std::nullopt;
    auto value_close = labels.find('"', value_open + 1);
    if (value_close == std::string_view::npos) return std::nullopt;
    if (labels.substr(open + 1, close - open - 1) == key)
      return labels.substr(value_open + 1, value_close - value_open - 1);
    at = value_close + 1;
  }
}

api_result<label_selector> label_selector::parse(std::string_view text) {
  auto requirements = parser(text).run();
  if (!requirements) return fail(bad_request(requirements.error()));
  label_selector out;
  out.requirements_ = *std::move(requirements);
  return out;
}

label_selector label_selector::from_map(const json::value& map) {
  label_selector out;
  if (auto o = map.object())
    for (auto& m : *o)
      out.requirements_.push_back({m.name, selector_operator::equals, {std::string(m.value.as_string())}});
  return out;
}

label_selector label_selector::from_object(const json::value& selector) {
  if (!selector.is_object()) {
    label_selector none;
    none.nothing_ = true;
    return none;
  }
  auto out = from_map(selector["matchLabels"]);
  if (auto list = selector["matchExpressions"].array())
    for (auto& e : *list) {
      requirement r;
      r.key = e["key"].as_string();
      auto op = e["operator"].as_string();
      r.op = op == "In"       ? selector_operator::in
             : op == "NotIn"  ? selector_operator::not_in
             : op == "Exists" ? selector_operator::exists
                              : selector_operator::not_exists;
      if (auto values = e["values"].array())
        for (auto& v : *values) r.values.emplace_back(v.as_string());
      out.requirements_.push_back(std::move(r));
    }
  return out;
}

bool label_selector::matches_text(std::string_view labels) const noexcept {
  if (nothing_) return false;
  for (auto& r : requirements_) {
    auto v = label_in_text(labels, r.key);
    if (!r.matches(v ? &*v : nullptr)) return false;
  }
  return true;
}

bool label_selector::matches(const json::value& labels) const noexcept {
  if (nothing_) return false;
  for (auto& r : requirements_) {
    auto found = labels.find(r.key);
    auto v = found ? found->as_string() : std::string_view();
    if (!r.matches(found ? &v : nullptr)) return false;
  }
  return true;
}

std::string label_selector::text() const {
  auto sorted = requirements_;
  stable_sort_short(sorted, [](auto& a, auto& b) { return a.key < b.key; });
  std::string out;
  for (auto& r : sorted) {
    if (!out.empty()) out += ',';
    auto values = r.values;
    std::sort(values.begin(), values.end());
    switch (r.op) {
      case selector_operator::equals: out += r.key + "=" + values[0]; break;
      case selector_operator::not_equals: out += r.key + "!=" + values[0]; break;
      case selector_operator::in: out += r.key + " in (" + join(values, ",") + ")"; break;
      case selector_operator::not_in: out += r.key + " notin (" + join(values, ",") + ")"; break;
      case selector_operator::exists: out += r.key; break;
      case selector_operator::not_exists: out += "!" + r.key; break;
      case selector_operator::greater: out += r.key + ">" + values[0]; break;
      case selector_operator::less: out += r.key + "<" + values[0]; break;
    }
  }
  return out;
}

api_result<field_selector> field_selector::parse(std::string_view text) {
  // Terms end at commas that no backslash precedes; inside a value `\,`, `\=` and `\\` stand for the character.
  field_selector out;
  std::size_t at = 0;
  while (at < text.size()) {
    auto end = at;
    while (end < text.size() && text[end] != ',') end += text[end] == '\\' && end + 1 < text.size() ? 2 : 1;
    auto term = text.substr(at, end - at);
    at = end + 1;
    if (term.empty()) continue;
    auto bad = [&] {
      return fail(bad_request(fmt::format("invalid selector: '{}'; can't understand '{}'", text, term)));
    };
    auto op = term.find_first_of("!=");
    while (op != std::string_view::npos && term[op] == '!' && (op + 1 >= term.size() || term[op + 1] != '='))
      op = term.find_first_of("!=", op + 1);
    if (op == std::string_view::npos) return bad();
    field_requirement r;
    r.field = term.substr(0, op);
    r.equal = term[op] == '=';
    auto value = term.substr(op + (term[op] == '!' || (op + 1 < term.size() && term[op + 1] == '=') ? 2 : 1));
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (value[i] == '\\') {
        if (i + 1 >= value.size() || (value[i + 1] != '\\' && value[i + 1] != ',' && value[i + 1] != '='))
          return fail(bad_request(
              fmt::format("invalid field selector: invalid escape sequence: {}", quote(value.substr(i, 2)))));
        ++i;
      } else if (value[i] == '=') {
        return bad();
      }
      r.value += value[i];
    }
    out.requirements_.push_back(std::move(r));
    if (out.requirements_.size() > selector_requirements_max)
      return fail(bad_request("invalid selector: too many terms"));
  }
  return out;
}

std::optional<std::string> field_selector::exact(std::string_view field) const {
  for (auto& r : requirements_)
    if (r.equal && r.field == field) return r.value;
  return std::nullopt;
}

bool field_selector::demands(std::string_view field, std::string_view value) const noexcept {
  for (auto& r : requirements_)
    if (r.equal && r.field == field && r.value == value) return true;
  return false;
}

label_selector slices_of(std::string_view service) {
  return label_selector::from_map(json::object{{"kubernetes.io/service-name", std::string(service)}});
}

namespace {

bool meets(const json::value& requirement, const json::value& labels) noexcept {
  auto found = labels.find(requirement["key"].as_string());
  auto op = requirement["operator"].as_string();
  auto listed = [&] {
    auto values = requirement["values"].array();
    return found && values && std::any_of(values->begin(), values->end(), [&](const json::value& v) {
             return v.as_string() == found->as_string();
           });
  };
  if (op == "In") return listed();
  if (op == "NotIn") return !listed();
  if (op == "Exists") return found != nullptr;
  if (op == "DoesNotExist") return found == nullptr;
  return false;
}

}  // namespace

bool selects(const json::value& selector, const json::value& labels) noexcept {
  if (!selector.is_object()) return false;
  if (auto wanted = selector["matchLabels"].object())
    for (auto& [name, value] : *wanted) {
      auto found = labels.find(name);
      if (!found || found->as_string() != value.as_string()) return false;
    }
  if (auto expressions = selector["matchExpressions"].array())
    for (auto& requirement : *expressions)
      if (!meets(requirement, labels)) return false;
  return true;
}

}  // namespace kedge::api
