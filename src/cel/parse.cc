#include "cel/parse.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "cel/lex.h"
#include "cel/limits.h"
#include "cel/literals.h"
#include "cel/macro.h"
#include "cel/unescape.h"
#include "cel/utf8.h"

namespace kedge::cel {

namespace {

constexpr std::string_view expression_begins =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

constexpr std::string_view arguments_begin =
    "{'[', '{', '(', ')', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, "
    "IDENTIFIER}";
constexpr std::string_view index_begins =
    "{'[', '{', '(', '.', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, "
    "IDENTIFIER}";

constexpr std::string_view reserved[] = {"as",        "break", "const",  "continue", "else", "false", "for",
                                         "function",  "if",    "import", "in",       "let",  "loop",  "package",
                                         "namespace", "null",  "return", "true",     "var",  "void",  "while"};

// The grammar's rules that recurse; each may be open so many times at once.
enum rule : std::uint8_t { rule_expr, rule_relation, rule_calc, rule_unary, rule_member, rule_count };

class parser final : public node_factory {
 public:
  parser(std::string_view text, std::vector<token> tokens, const environment& env, issues& found,
         std::vector<place>& places)
      : text_(text), tokens_(std::move(tokens)), env_(env), found_(found), places_(places) {
    places_.push_back({1, 0});  // no node is number 0
  }

  node_ptr all() {
    node_ptr root = expr();
    if (root && !is(token_kind::end)) {
      unexpected("<EOF>", ahead(1).kind == token_kind::end);
      return nullptr;
    }
    return root;
  }

  // node_factory: nodes of a macro are where the call is.
  node_id next_id() override {
    places_.push_back(here_);
    if (places_.size() > nodes_max && !failed_)
      fail_at(here_, "expression has too many nodes once its macros are expanded");
    return static_cast<node_id>(places_.size() - 1);
  }

  node_ptr copy(const node& n) override {
    const place before = here_;
    here_ = places_[static_cast<std::size_t>(n.id)];
    auto out = std::make_unique<node>();
    out->id = next_id();
    out->kind = n.kind;
    out->constant = n.constant;
    out->name = n.name;
    out->test_only = n.test_only;
    if (failed_) {  // no further: the copy is not used any more
      here_ = before;
      return out;
    }
    if (n.target) out->target = copy(*n.target);
    for (const node_ptr& a : n.arguments) out->arguments.push_back(copy(*a));
    out->optional_elements = n.optional_elements;
    for (const node::entry& e : n.entries)
      out->entries.push_back({next_id(), e.field, e.key ? copy(*e.key) : nullptr, copy(*e.value), e.optional});
    if (n.loop) {
      const node::fold& f = *n.loop;
      out->loop =
          std::make_unique<node::fold>(node::fold{f.variable, f.second, f.accumulator, copy(*f.range), copy(*f.initial),
                                                  copy(*f.condition), copy(*f.step), copy(*f.result)});
    }
    here_ = before;
    return out;
  }

 private:
  const token& now() const noexcept { return tokens_[at_]; }
  const token& ahead(std::size_t n) const noexcept { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  bool is(token_kind k) const noexcept { return now().kind == k; }
  token open() {
    ++brackets_;
    return take();
  }
  token take() { return is(token_kind::end) ? now() : tokens_[at_++]; }

  static place place_of(const token& t) noexcept { return {t.line, t.column}; }

  std::nullptr_t fail_at(place where, std::string message) {
    if (!failed_) found_.add(where.line, where.column, std::move(message));
    failed_ = true;
    return nullptr;
  }

  // The same, where cel-go's parser goes on as if an operand stood here: what follows may be wrong, too.
  node_ptr passed_over(place where, std::string message) {
    if (!failed_) found_.add(where.line, where.column, std::move(message));
    return new_node(node_kind::literal);
  }

  // The token stands where it can't. One that could be left out (what follows fits) is called extraneous.
  std::nullptr_t unexpected(std::string_view expected, bool extraneous) {
    return fail_at(place_of(now()), unexpected_text(expected, extraneous && !is(token_kind::end)));
  }
  std::string unexpected_text(std::string_view expected, bool extraneous) const {
    return std::string("Syntax error: ") + (extraneous ? "extraneous" : "mismatched") + " input '" +
           std::string(now().text) + "' expecting " + std::string(expected);
  }

  bool begins_expression(token_kind k) const noexcept {
    switch (k) {
      case token_kind::left_bracket:
      case token_kind::left_brace:
      case token_kind::left_parenthesis:
      case token_kind::dot:
      case token_kind::minus:
      case token_kind::exclamation:
      case token_kind::true_:
      case token_kind::false_:
      case token_kind::null:
      case token_kind::real:
      case token_kind::integer:
      case token_kind::unsigned_integer:
      case token_kind::string:
      case token_kind::bytes:
      case token_kind::identifier: return true;
      default: return false;
    }
  }

  static bool takes_operands(token_kind k) noexcept {
    switch (k) {
      case token_kind::star:
      case token_kind::slash:
      case token_kind::percent:
      case token_kind::plus:
      case token_kind::logical_and:
      case token_kind::logical_or:
      case token_kind::question: return true;
      default: return !relation_of(k).empty();
    }
  }

  // A rule's depth, for as long as it is open.
  class depth {
   public:
    depth(parser& p, rule r) : parser_(p), rule_(r) { ++parser_.open_[rule_]; }
    ~depth() { --parser_.open_[rule_]; }
    depth(const depth&) = delete;
    depth& operator=(const depth&) = delete;
    bool too_deep() {
      if (parser_.open_[rule_] <= parse_depth_max) return false;
      parser_.fail_at({-1, -1}, "expression recursion limit exceeded: " + std::to_string(parse_depth_max));
      return true;
    }

   private:
    parser& parser_;
    rule rule_;
  };

  // Operators, selections and calls upon each other make a tree that must not be deeper than it may be nested.
  bool too_deep(const node* a, const node* b = nullptr) {
    const int deepest = std::max(depth_of(a), depth_of(b));
    if (deepest < parse_depth_max) {
      next_depth_ = deepest + 1;
      return false;
    }
    fail_at({-1, -1}, "max recursion depth exceeded");
    return true;
  }
  int depth_of(const node* n) const {
    if (!n) return 0;
    auto found = depths_.find(n->id);
    return found == depths_.end() ? 0 : found->second;
  }
  // What was made is as deep as too_deep() has found.
  node_ptr deepened(node_ptr n) {
    if (n) depths_[n->id] = next_depth_;
    return n;
  }

  node_ptr made(node_kind kind, const token& where) {
    here_ = place_of(where);
    return new_node(kind);
  }

  node_ptr call_of(const token& op, std::string function, std::vector<node_ptr> arguments) {
    node_ptr n = made(node_kind::call, op);
    n->name = std::move(function);
    n->arguments = std::move(arguments);
    return n;
  }

  template <typename... Nodes>
  static std::vector<node_ptr> nodes(Nodes... all) {
    std::vector<node_ptr> out;
    (out.push_back(std::move(all)), ...);
    return out;
  }

  node_ptr expr() {
    depth d(*this, rule_expr);
    if (d.too_deep()) return nullptr;
    node_ptr condition = logical_or();
    if (!condition || !is(token_kind::question)) return condition;
    const token op = take();
    node_ptr yes = logical_or();
    if (!yes) return nullptr;
    if (!is(token_kind::colon)) return unexpected("':'", false);
    take();
    node_ptr no = expr();
    if (!no) return nullptr;
    return call_of(op, "_?_:_", nodes(std::move(condition), std::move(yes), std::move(no)));
  }

  // A chain of one operator becomes a balanced tree, so that long ones are not deep.
  node_ptr balanced(std::string_view function, std::vector<node_ptr>& terms, std::vector<token>& ops, std::size_t from,
                    std::size_t to) {
    if (from == to) return std::move(terms[from]);
    const std::size_t middle = from + (to - from) / 2;
    node_ptr left = balanced(function, terms, ops, from, middle);
    node_ptr right = balanced(function, terms, ops, middle + 1, to);
    return call_of(ops[middle], std::string(function), nodes(std::move(left), std::move(right)));
  }

  node_ptr chain(token_kind op, std::string_view function, node_ptr (parser::*term)()) {
    std::vector<node_ptr> terms;
    std::vector<token> ops;
    terms.push_back((this->*term)());
    if (!terms.back()) return nullptr;
    while (is(op)) {
      ops.push_back(take());
      terms.push_back((this->*term)());
      if (!terms.back()) return nullptr;
    }
    return balanced(function, terms, ops, 0, terms.size() - 1);
  }

  node_ptr logical_or() { return chain(token_kind::logical_or, "_||_", &parser::logical_and); }
  node_ptr logical_and() { return chain(token_kind::logical_and, "_&&_", &parser::relation); }

  static std::string_view relation_of(token_kind k) noexcept {
    switch (k) {
      case token_kind::less: return "_<_";
      case token_kind::less_equal: return "_<=_";
      case token_kind::greater: return "_>_";
      case token_kind::greater_equal: return "_>=_";
      case token_kind::equal: return "_==_";
      case token_kind::not_equal: return "_!=_";
      case token_kind::in: return "@in";
      default: return {};
    }
  }

  node_ptr relation() {
    depth d(*this, rule_relation);
    if (d.too_deep()) return nullptr;
    node_ptr left = sum();
    for (auto function = relation_of(now().kind); left && !function.empty(); function = relation_of(now().kind)) {
      const token op = take();
      node_ptr right = sum();
      if (!right || too_deep(left.get(), right.get())) return nullptr;
      left = deepened(call_of(op, std::string(function), nodes(std::move(left), std::move(right))));
    }
    return left;
  }

  node_ptr sum() {
    depth d(*this, rule_calc);
    if (d.too_deep()) return nullptr;
    node_ptr left = product();
    while (left && (is(token_kind::plus) || is(token_kind::minus))) {
      const token op = take();
      node_ptr right = product();
      if (!right || too_deep(left.get(), right.get())) return nullptr;
      left =
          deepened(call_of(op, op.kind == token_kind::plus ? "_+_" : "_-_", nodes(std::move(left), std::move(right))));
    }
    return left;
  }

  node_ptr product() {
    node_ptr left = unary();
    while (left && (is(token_kind::star) || is(token_kind::slash) || is(token_kind::percent))) {
      const token op = take();
      node_ptr right = unary();
      if (!right || too_deep(left.get(), right.get())) return nullptr;
      const char* function = op.kind == token_kind::star ? "_*_" : op.kind == token_kind::slash ? "_/_" : "_%_";
      left = deepened(call_of(op, function, nodes(std::move(left), std::move(right))));
    }
    return left;
  }

  node_ptr unary() {
    depth d(*this, rule_unary);
    if (d.too_deep()) return nullptr;
    const token_kind op = now().kind;
    const bool number_follows = ahead(1).kind == token_kind::integer || ahead(1).kind == token_kind::real;
    if (op != token_kind::exclamation && (op != token_kind::minus || number_follows)) return member();
    if (op == token_kind::minus)
      if (auto wrong = nothing_to_negate()) return wrong;
    const token first = now();
    std::size_t n = 0;
    // The last minus before a number is the number's sign, unless there are more of them.
    for (; is(op); ++n) take();
    if (op == token_kind::exclamation && !begins_expression(now().kind)) {
      auto wrong = unexpected_text(expression_begins, true);
      return takes_operands(now().kind) ? passed_over(place_of(now()), std::move(wrong))
                                        : fail_at(place_of(now()), std::move(wrong));
    }
    node_ptr operand = member();
    if (!operand || n % 2 == 0) return operand;
    return call_of(first, op == token_kind::exclamation ? "!_" : "-_", nodes(std::move(operand)));
  }

  // From a token through another, as it stands in the text but for what is no token; through its end, where that is the
  // other.
  std::string between(const token& from, const token& to) const {
    std::string out;
    const char* at = from.text.data();
    for (auto& t : tokens_) {
      const bool last = t.kind == token_kind::end;
      const char* begins = last ? text_.data() + text_.size() : t.text.data();
      if (begins < at) continue;
      std::string_view gap(at, begins);
      if (auto other = gap.find_first_not_of(" \t\r\n\f"); other < gap.size() && !gap.substr(other).starts_with("//"))
        gap = gap.substr(0, other);
      out += gap;
      if (last) break;
      out += t.text;
      if (begins == to.text.data()) break;
      at = begins + t.text.size();
    }
    return out;
  }

  // Of a sign without an operand cel-go's parser makes a difference without its first part. The signs before it are
  // gone then; null: there is an operand.
  node_ptr nothing_to_negate() {
    std::size_t n = 0;
    while (ahead(n).kind == token_kind::minus) ++n;
    if (begins_expression(ahead(n).kind)) return nullptr;
    for (; n > 1; --n) take();
    return passed_over(place_of(ahead(1)),
                       "Syntax error: no viable alternative at input '" + between(now(), ahead(1)) + "'");
  }

  node_ptr member() {
    depth d(*this, rule_member);
    if (d.too_deep()) return nullptr;
    node_ptr n = primary();
    while (n && (is(token_kind::dot) || is(token_kind::left_bracket))) {
      if (too_deep(n.get())) return nullptr;
      const int depth_now = next_depth_;
      n = is(token_kind::dot) ? selection(std::move(n)) : index(std::move(n));
      next_depth_ = depth_now;
      n = deepened(std::move(n));
    }
    return n;
  }

  node_ptr index(node_ptr of) {
    const token op = open();
    const bool optional = is(token_kind::question);
    if (optional) take();
    if (!optional && !begins_expression(now().kind)) return unexpected(index_begins, false);
    node_ptr at = expr();
    if (!at || !close(token_kind::right_bracket, "']'")) return nullptr;
    return call_of(op, optional ? "_[?_]" : "_[_]", nodes(std::move(of), std::move(at)));
  }

  node_ptr selection(node_ptr of) {
    const token op = take();
    const bool optional = is(token_kind::question);
    if (optional) take();
    if (!is(token_kind::identifier) && !is(token_kind::escaped_identifier)) {
      const place here = place_of(now());
      if (optional) {
        passed_over(here, unexpected_text("{IDENTIFIER, ESC_IDENTIFIER}", false));
        return fail_at(here, "unsupported ident kind");
      }
      if (is(token_kind::true_) || is(token_kind::false_) || is(token_kind::null))
        return fail_at(here, unexpected_text("IDENTIFIER", false));
      return fail_at(here, "Syntax error: no viable alternative at input '" + between(op, now()) + "'");
    }
    const token name = take();
    const bool escaped = name.kind == token_kind::escaped_identifier;
    const std::string field(escaped ? name.text.substr(1, name.text.size() - 2) : name.text);
    if (optional) {
      node_ptr key = made(node_kind::literal, name);
      key->constant = {.is = literal::form::string, .text = field};
      return call_of(op, "_?._", nodes(std::move(of), std::move(key)));
    }
    if (!escaped && is(token_kind::left_parenthesis)) return method(field, std::move(of));
    node_ptr n = made(node_kind::select, op);
    n->name = field;
    n->target = std::move(of);
    return n;
  }

  // The arguments behind an open parenthesis, to the closing one.
  bool arguments(std::vector<node_ptr>& out) {
    if (is(token_kind::right_parenthesis)) return close(token_kind::right_parenthesis, "')'");
    if (!begins_expression(now().kind)) {
      unexpected(arguments_begin, false);
      return false;
    }
    while (true) {
      node_ptr a = expr();
      if (!a) return false;
      out.push_back(std::move(a));
      if (!is(token_kind::comma)) break;
      take();
    }
    return close(token_kind::right_parenthesis, "')'");
  }

  // `or_comma`: an element more could stand there.
  bool close(token_kind k, std::string_view name, bool or_comma = false) {
    if (is(k)) {
      take();
      --brackets_;
      return true;
    }
    // One that closes all would make the text whole.
    if (is(token_kind::end) && brackets_ == 1 && !or_comma) {
      fail_at(place_of(now()), "Syntax error: missing " + std::string(name) + " at '<EOF>'");
      return false;
    }
    const std::string both = "{" + std::string(name) + ", ','}";
    if (or_comma) name = both;
    if (ahead(1).kind == k && !is(token_kind::end))
      unexpected(name, true);
    else
      unexpected(name, false);
    return false;
  }

  node_ptr method(const std::string& name, node_ptr target) {
    const token open = this->open();
    std::vector<node_ptr> args;
    if (!arguments(args)) return nullptr;
    if (const macro* m = env_.find_macro(name, args.size(), true)) {
      if (auto expanded = expand(*m, open, target, args)) return std::move(*expanded);
    }
    node_ptr n = made(node_kind::call, open);
    n->name = name;
    n->target = std::move(target);
    n->arguments = std::move(args);
    return n;
  }

  // Nothing: no call of the macro after all. A null node: its arguments are wrong, which has been told.
  std::optional<node_ptr> expand(const macro& m, const token& open, node_ptr& target, std::vector<node_ptr>& args) {
    here_ = place_of(open);
    auto out = m.expand(*this, target, args);
    if (!out) {
      fail_at(places_[static_cast<std::size_t>(out.error().at)], out.error().message);
      return node_ptr();
    }
    if (failed_) return node_ptr();
    if (!*out) return std::nullopt;
    return std::move(*out);
  }

  node_ptr primary() {
    switch (now().kind) {
      case token_kind::left_parenthesis: {
        open();
        node_ptr inner = expr();
        if (!inner || !close(token_kind::right_parenthesis, "')'")) return nullptr;
        return inner;
      }
      case token_kind::left_bracket: return list();
      case token_kind::left_brace: return map();
      case token_kind::dot:
      case token_kind::identifier: return name();
      default: return literal_value();
    }
  }

  node_ptr list() {
    const token open = this->open();
    bool comma = false;
    node_ptr n = made(node_kind::list, open);
    while (!is(token_kind::right_bracket) && !is(token_kind::comma)) {
      const bool optional = is(token_kind::question);
      if (optional) take();
      node_ptr element = expr();
      if (!element) return nullptr;
      if (optional) n->optional_elements.push_back(static_cast<std::uint32_t>(n->arguments.size()));
      n->arguments.push_back(std::move(element));
      if (!is(token_kind::comma)) break;
      take();
      comma = !begins_expression(now().kind) && !is(token_kind::question);
      if (comma) break;
    }
    if (is(token_kind::comma) && n->arguments.empty()) {
      take();
      comma = true;
    }
    return close(token_kind::right_bracket, "']'", !comma) ? std::move(n) : nullptr;
  }

  node_ptr map() {
    const token open = this->open();
    bool comma = false;
    node_ptr n = made(node_kind::map, open);
    while (!is(token_kind::right_brace) && !is(token_kind::comma)) {
      const bool optional = is(token_kind::question);
      if (optional) take();
      node_ptr key = expr();
      if (!key) return nullptr;
      if (!is(token_kind::colon)) return unexpected("':'", false);
      here_ = place_of(take());
      const node_id id = next_id();
      node_ptr v = expr();
      if (!v) return nullptr;
      n->entries.push_back({id, {}, std::move(key), std::move(v), optional});
      if (!is(token_kind::comma)) break;
      take();
      comma = !begins_expression(now().kind) && !is(token_kind::question);
      if (comma) break;
    }
    if (is(token_kind::comma) && n->entries.empty()) {
      take();
      comma = true;
    }
    return close(token_kind::right_brace, "'}'", !comma) ? std::move(n) : nullptr;
  }

  // An identifier, a call, or an object: a.b.C{…}.
  node_ptr name() {
    const bool dot = is(token_kind::dot);
    const token first = now();
    if (dot) take();
    if (is(token_kind::end)) return fail_at(place_of(now()), "Syntax error: no viable alternative at input '.'");
    if (!is(token_kind::identifier)) return unexpected("IDENTIFIER", false);
    // Is it an object's type?
    std::size_t ahead_by = 1;
    while (ahead(ahead_by).kind == token_kind::dot && ahead(ahead_by + 1).kind == token_kind::identifier) ahead_by += 2;
    if (ahead(ahead_by).kind == token_kind::left_brace) return object(dot);
    const token id = take();
    for (std::string_view word : reserved)
      if (id.text == word) return fail_at(place_of(dot ? first : id), "reserved identifier: " + std::string(word));
    std::string full = (dot ? "." : "") + std::string(id.text);
    if (!is(token_kind::left_parenthesis)) {
      node_ptr n = made(node_kind::ident, id);
      n->name = std::move(full);
      return n;
    }
    const token open = this->open();
    std::vector<node_ptr> args;
    if (!arguments(args)) return nullptr;
    if (const macro* m = env_.find_macro(full, args.size(), false)) {
      node_ptr none;
      if (auto expanded = expand(*m, open, none, args)) return std::move(*expanded);
    }
    return call_of(open, std::move(full), std::move(args));
  }

  node_ptr object(bool dot) {
    std::string type = dot ? "." : "";
    while (!is(token_kind::left_brace)) type += take().text;
    node_ptr n = made(node_kind::object, open());
    n->name = std::move(type);
    while (!is(token_kind::right_brace) && !is(token_kind::comma)) {
      const bool optional = is(token_kind::question);
      if (optional) take();
      if (!is(token_kind::identifier) && !is(token_kind::escaped_identifier))
        return unexpected("{'?', '}', ',', IDENTIFIER, ESC_IDENTIFIER}", false);
      const token field = take();
      if (!is(token_kind::colon)) return unexpected("':'", false);
      here_ = place_of(take());
      const node_id id = next_id();
      node_ptr v = expr();
      if (!v) return nullptr;
      const bool escaped = field.kind == token_kind::escaped_identifier;
      n->entries.push_back({id, std::string(escaped ? field.text.substr(1, field.text.size() - 2) : field.text),
                            nullptr, std::move(v), optional});
      if (!is(token_kind::comma)) break;
      take();
      if (is(token_kind::right_brace)) break;
    }
    if (is(token_kind::comma) && n->entries.empty()) take();
    return close(token_kind::right_brace, "'}'") ? std::move(n) : nullptr;
  }

  node_ptr constant(const token& where, literal of) {
    node_ptr n = made(node_kind::literal, where);
    n->constant = std::move(of);
    return n;
  }

  node_ptr literal_value() {
    const token first = now();
    std::string sign;
    if (is(token_kind::minus)) {
      sign = "-";
      take();
      if (!is(token_kind::integer) && !is(token_kind::real)) return unexpected("{NUM_FLOAT, NUM_INT}", false);
    }
    switch (now().kind) {
      case token_kind::true_:
      case token_kind::false_:
        return constant(first, {.is = literal::form::boolean, .boolean = take().kind == token_kind::true_});
      case token_kind::null: take(); return constant(first, {});
      case token_kind::integer: return integer(first, sign);
      case token_kind::unsigned_integer: return unsigned_integer(first);
      case token_kind::real: {
        auto d = parse_real(sign + std::string(take().text));
        if (!d) return fail_at(place_of(first), "invalid double literal");
        return constant(first, {.is = literal::form::real, .real = *d});
      }
      case token_kind::string:
      case token_kind::bytes: return text(first);
      default: break;
    }
    // A token too many, or something else altogether?
    if (!is(token_kind::end) && begins_expression(ahead(1).kind)) return unexpected(expression_begins, true);
    if (takes_operands(now().kind)) return passed_over(place_of(now()), unexpected_text(expression_begins, false));
    return unexpected(expression_begins, false);
  }

  node_ptr integer(const token& first, const std::string& sign) {
    std::string_view digits = take().text;
    std::optional<std::int64_t> n;
    if (digits.starts_with("0x")) {
      std::uint64_t bits = 0;
      bool fits = digits.size() <= 18;
      for (char c : digits.substr(2)) {
        if (bits >> 60 != 0) fits = false;
        bits = bits << 4 | static_cast<std::uint64_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
      }
      const std::uint64_t most = static_cast<std::uint64_t>(INT64_MAX) + (sign.empty() ? 0 : 1);
      if (fits && bits <= most)
        n = sign.empty() ? static_cast<std::int64_t>(bits) : static_cast<std::int64_t>(0 - bits);
    } else {
      n = parse_integer(sign + std::string(digits));
    }
    if (!n) return fail_at(place_of(first), "invalid int literal");
    return constant(first, {.is = literal::form::integer, .integer = *n});
  }

  node_ptr unsigned_integer(const token& first) {
    std::string_view digits = take().text;
    digits.remove_suffix(1);
    std::optional<std::uint64_t> n;
    if (digits.starts_with("0x")) {
      std::uint64_t bits = 0;
      bool fits = true;
      for (char c : digits.substr(2)) {
        if (bits >> 60 != 0) fits = false;
        bits = bits << 4 | static_cast<std::uint64_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
      }
      if (fits) n = bits;
    } else {
      n = parse_unsigned(digits);
    }
    if (!n) return fail_at(place_of(first), "invalid uint literal");
    return constant(first, {.is = literal::form::unsigned_integer, .unsigned_integer = *n});
  }

  node_ptr text(const token& first) {
    const bool bytes = first.kind == token_kind::bytes;
    auto content = unescape(take().text.substr(bytes ? 1 : 0), bytes);
    if (!content) return fail_at(place_of(first), content.error());
    return constant(first, {.is = bytes ? literal::form::bytes : literal::form::string, .text = std::move(*content)});
  }

  std::string_view text_;
  std::vector<token> tokens_;
  std::size_t at_ = 0;
  const environment& env_;
  issues& found_;
  std::vector<place>& places_;
  place here_;
  bool failed_ = false;
  int brackets_ = 0;  // that are open
  std::unordered_map<node_id, int> depths_;
  int next_depth_ = 0;
  std::array<int, rule_count> open_{};
};

}  // namespace

parsed parse(std::string_view text, const environment& env, issues& found) {
  parsed out;
  if (const std::size_t size = utf8_count(text); size > text_max_characters) {
    found.add(-1, -1,
              "expression code point size exceeds limit: size: " + std::to_string(size) + ", limit " +
                  std::to_string(text_max_characters));
    return out;
  }
  auto tokens = lex(text, found);
  out.root = parser(text, std::move(tokens), env, found, out.places).all();
  if (!found.empty()) out.root.reset();
  return out;
}

}  // namespace kedge::cel
