#include "api/custom/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <unordered_map>

#include "api/custom/field_path.h"
#include "api/custom/limits.h"
#include "api/expressions/limits.h"
#include "base/strings.h"
#include "cel/paced.h"
#include "json/write.h"

namespace kedge::api::custom {

namespace {

rule compile_rule(const json::value& v, const json::value& props, const expressions::declaration& self) {
  rule r;
  r.text = trim(v["rule"].as_string());
  r.message = trim(v["message"].as_string());
  r.reason = v["reason"].as_string();
  r.optional_old = v["optionalOldSelf"].as_bool();
  if (r.text.empty()) return r;
  auto within = expressions::rule_environment(self, r.optional_old);
  auto text = v["rule"].as_string();
  auto program = cel::compile(within, text, &self.sizes());
  if (!program) {
    r.wrong = "compilation failed: " + cel::issues_text(program.error(), text);
    return r;
  }
  if (!((*program)->result_type() == cel::type::boolean())) {
    r.wrong = "cel expression must evaluate to a bool";
    return r;
  }
  r.uses_old = (*program)->uses("oldSelf");
  r.program = *std::move(program);
  if (auto tells = v["messageExpression"].as_string(); !tells.empty()) {
    auto told = cel::compile(within, tells, &self.sizes());
    if (!told)
      r.tells_wrong = "messageExpression compilation failed: " + cel::issues_text(told.error(), tells);
    else if (!((*told)->result_type() == cel::type::string()))
      r.tells_wrong = "messageExpression must evaluate to a string";
    else
      r.tells = *std::move(told);
  }
  if (auto path = v["fieldPath"].as_string(); !path.empty())
    if (auto found = find_field(path, props)) r.field = found->text;
  return r;
}

bool has_rules(const json::value& props) {
  if (!props["x-kubernetes-validations"].empty()) return true;
  if (auto members = props["properties"].object())
    for (auto& m : *members)
      if (has_rules(m.value)) return true;
  for (auto part : {"items", "additionalProperties"})
    if (props[part].is_object() && has_rules(props[part])) return true;
  return false;
}

json::value keys_in(const node& n, const json::value& item) {
  json::object out;
  for (auto& k : n.list_keys)
    if (auto v = item.find(k)) out.set(k, *v);
  return out;
}

using items_by_keys = std::unordered_map<std::string, const json::value*>;

// Of a list of type map; empty of others, whose items have no past.
items_by_keys by_keys(const node& n, const json::value* list) {
  items_by_keys out;
  if (!list || !list->is_array() || n.list != list_kind::map) return out;
  for (std::size_t i = 0; i < list->size(); ++i) out.emplace(json::write(keys_in(n, (*list)[i])), &(*list)[i]);
  return out;
}

const json::value* same_item(const node& n, const items_by_keys& before, const json::value& item) {
  if (before.empty()) return nullptr;
  auto it = before.find(json::write(keys_in(n, item)));
  return it == before.end() ? nullptr : it->second;
}

// What kube-apiserver calls unchanged: as the schema matches values of now with those of before. What the schema
// doesn't know has no past.
bool is_unchanged(const node& n, const json::value& now, const json::value& before) {
  if (auto list = now.array()) {
    if (n.list != list_kind::map || !n.items) return now == before;
    if (now.size() != before.size() || !before.is_array()) return false;
    auto old = by_keys(n, &before);
    return std::ranges::all_of(*list, [&](auto& item) {
      auto was = same_item(n, old, item);
      return was && is_unchanged(*n.items, item, *was);
    });
  }
  if (auto members = now.object()) {
    if (now.size() != before.size() || !before.is_object()) return false;
    return std::ranges::all_of(*members, [&](auto& m) {
      auto was = before.find(m.name);
      auto of = n.find(m.name);
      if (!of) of = n.additional.get();
      return was && of && is_unchanged(*of, m.value, *was);
    });
  }
  return now == before;
}

// A value and what it was, where the two can be matched.
struct matched {
  const node* schema = nullptr;
  const json::value *now = nullptr, *before = nullptr;
  explicit operator bool() const noexcept { return schema != nullptr; }
};

// How a place is matched: itself, or the nearest one around it that is.
struct past {
  matched here, around;

  const matched& nearest() const { return here ? here : around; }
  past member(std::string_view name) const {
    if (!here) return *this;
    if (!around && (name == "apiVersion" || name == "kind")) return {};
    auto of = here.schema->find(name);
    if (!of) of = here.schema->additional.get();
    auto now = here.now->find(name), before = here.before->find(name);
    return {of && now && before ? matched{of, now, before} : matched{}, here};
  }
  past item(const json::value& now, const json::value* before) const {
    if (!here) return *this;
    auto of = here.schema->items.get();
    return {of && before ? matched{of, &now, before} : matched{}, here};
  }
};

}  // namespace

std::vector<rule> compile_rules_at(const json::value& props, const expressions::declaration& self) {
  std::vector<rule> out;
  auto& list = props["x-kubernetes-validations"];
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(compile_rule(list[i], props, self));
  return out;
}

std::unique_ptr<const rule_tree> rule_tree::compile(const json::value& props, bool root) {
  if (!has_rules(props)) return nullptr;
  auto out = std::make_unique<rule_tree>();
  out->type = props["type"].as_string();
  if (!props["x-kubernetes-validations"].empty()) {
    out->self = expressions::declaration::of(props, root);
    if (out->self)
      out->rules = compile_rules_at(props, *out->self);
    else
      out->undeclared = true;
  }
  auto embedded = [](const json::value& part) { return part["x-kubernetes-embedded-resource"].as_bool(); };
  if (auto& items = props["items"]; items.is_object()) out->items = compile(items, embedded(items));
  if (auto& more = props["additionalProperties"]; more.is_object()) out->additional = compile(more, embedded(more));
  if (auto members = props["properties"].object())
    for (auto& m : *members)
      if (auto part = compile(m.value, embedded(m.value))) out->properties.emplace_back(m.name, std::move(part));
  std::ranges::sort(out->properties, {}, [](auto& p) { return std::string_view(p.first); });
  return out;
}

// The places of one object that have rules, from the top down, and the rules of the one whose turn it is.
class rule_run::state {
 public:
  state(causes& out, std::vector<std::string>& warnings) : out_(out), warnings_(warnings) {}

  // `at`: null for the object itself.
  void collect(const rule_tree& t, const node& n, const json::value& v, const json::value* before, const past& was,
               const place* at) {
    if (v.is_null()) return;
    if (before && before->is_null()) before = nullptr;
    if (!t.rules.empty() || t.undeclared) spots_.push_back({&t, &v, before, was, at});
    static constexpr std::string_view whole;
    static const place top(whole);
    const place& up = at ? *at : top;
    if (auto list = v.array()) {
      if (!t.items || !n.items) return;
      auto old = by_keys(n, before);
      for (std::size_t i = 0; i < list->size(); ++i) {
        auto item_before = same_item(n, old, (*list)[i]);
        collect(*t.items, *n.items, (*list)[i], item_before, was.item((*list)[i], item_before),
                &places_.emplace_back(up, i));
      }
    } else if (auto members = v.object()) {
      for (auto& m : *members) {
        auto found =
            std::ranges::lower_bound(t.properties, m.name, {}, [](auto& p) { return std::string_view(p.first); });
        const bool named = found != t.properties.end() && found->first == m.name;
        auto part = named ? found->second.get() : t.additional.get();
        auto of = named ? n.find(m.name) : n.additional.get();
        if (!part || !of) continue;
        places_.push_back(named ? place(up, m.name) : place::of_key(up, m.name));
        collect(*part, *of, m.value, before ? before->find(m.name) : nullptr, was.member(m.name), &places_.back());
      }
    }
  }

  bool step() {
    if (stopped_ || next_ == spots_.size()) return false;
    auto& s = spots_[next_];
    if (!memory_ && !enter(s)) return true;
    const auto went = run(s, s.tree->rules[rule_]);
    if (!went) return true;  // others first
    with_.reset();
    if (!*went) stopped_ = true;
    if (++rule_ == s.tree->rules.size()) leave();
    return true;
  }

 private:
  struct spot {
    const rule_tree* tree;
    const json::value *now, *before;
    past was;
    const place* at;
  };

  static std::string text_of(const place* at) { return at ? at->text() : "<nil>"; }
  static std::string named(const rule& r) { return r.message.empty() ? r.text : r.message; }
  void wrong(const spot& s, std::string_view what) { out_.push_back(invalid_value(text_of(s.at), s.tree->type, what)); }

  // False: none of the place's rules runs.
  bool enter(const spot& s) {
    if (out_.full()) {
      stopped_ = true;
    } else if (s.tree->undeclared) {
      wrong(s, "rule compiler initialization error: failed to convert to declType for CEL validation rules");
      leave();
    } else if (left_ == 0) {
      wrong(s, out_of_budget);
      stopped_ = true;
    } else {
      memory_.emplace();
      self_ = s.tree->self->read(*s.now, *memory_);
      old_ = s.before ? s.tree->self->read(*s.before, *memory_) : cel::value();
    }
    return memory_.has_value();
  }
  void leave() {
    self_ = old_ = cel::value();
    memory_.reset();
    rule_ = 0;
    ++next_;
  }

  // False when no more rules may be run; nothing while it hasn't come to its end.
  std::optional<bool> run(const spot& s, const rule& r) {
    if (!r.wrong.empty()) {
      wrong(s, "rule compile error: " + r.wrong);
      return true;
    }
    // A rule about a change has nothing to say of what is new.
    if (!r.program || (r.uses_old && !s.before && !r.optional_old)) return true;
    if (telling_) return tell(s, r);
    if (!with_) bind(s, r);
    if (!evaluate(*r.program)) return std::nullopt;
    if (ran_.cost > left_) {
      wrong(s, out_of_budget);
      return false;
    }
    left_ -= ran_.cost;
    if (!ran_.result) return fails(s, r, ran_.result.error());
    if (ran_.result->is_true()) return true;
    if (!r.tells) return refuse(*s.tree, r, {}, *s.now, s.was, s.at), true;
    telling_ = true;
    return tell(s, r);
  }

  void bind(const spot& s, const rule& r) {
    with_.emplace(*r.program);
    with_->set("self", self_);
    if (r.optional_old)
      with_->set("oldSelf", s.before ? cel::value::some(*memory_, old_) : cel::value::none());
    else if (s.before)
      with_->set("oldSelf", old_);
  }

  // Into ran_. False: it hasn't come to its end.
  bool evaluate(const cel::program& p) {
    return turns_.step(*memory_, [this, &p] { ran_ = cel::run(p, *with_, *memory_, expressions::call_budget); });
  }

  bool fails(const spot& s, const rule& r, const cel::failure& why) {
    if (why.message.starts_with("no such overload")) {
      wrong(s, fmt::format(
                   "'{}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                   why.message, named(r)));
    } else if (why.why == cel::failure::reason::over_budget) {
      wrong(s, fmt::format("'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                           why.message, named(r)));
      return false;
    } else {
      wrong(s, fmt::format("{} evaluating rule: {}", why.message, named(r)));
    }
    return true;
  }

  // The same as run(), of a rule that doesn't hold and says why by an expression.
  std::optional<bool> tell(const spot& s, const rule& r) {
    if (!evaluate(*r.tells)) return std::nullopt;
    telling_ = false;
    bool over = false;
    auto told = message_of(r, over);
    if (over) {
      auto field = text_of(s.at);
      if (!r.field.empty()) field = s.at ? fmt::format("{}.{}", field, r.field) : r.field;
      add(invalid_value(field, s.tree->type, told), r, s.was);
      return false;
    }
    refuse(*s.tree, r, std::move(told), *s.now, s.was, s.at);
    return true;
  }

  // `told`: the message; empty: the rule's own.
  void refuse(const rule_tree& t, const rule& r, std::string told, const json::value& v, const past& was,
              const place* at) {
    auto field = text_of(at);
    if (!r.field.empty()) field = at ? fmt::format("{}.{}", field, r.field) : r.field;
    auto detail = !told.empty() ? std::move(told) : r.message.empty() ? "failed rule: " + r.text : r.message;
    const bool plain = t.type != "object" && t.type != "array";
    if (r.reason == "FieldValueForbidden")
      add(forbidden_value(field, detail), r, was);
    else if (r.reason == "FieldValueRequired")
      add(required(field, detail), r, was);
    else if (r.reason == "FieldValueDuplicate")
      add(plain ? duplicate_value(field, v) : cause{"FieldValueDuplicate", "Duplicate value", field}, r, was);
    else
      add(plain ? invalid_value(field, v, detail) : invalid_whatever(field, detail), r, was);
  }

  // What was wrong before and stands unchanged may stay, with a warning.
  void add(cause c, const rule& r, const past& was) {
    if (r.uses_old || !is_unchanged(was.nearest()))
      out_.push_back(std::move(c));
    else if (warnings_.size() < rule_warnings_max)
      warnings_.push_back(fmt::format("{}: {}", c.field, c.message));
  }

  // Compared once: the items of a list without keys are all matched as that list.
  bool is_unchanged(const matched& m) {
    if (!m) return false;
    auto [known, fresh] = unchanged_.try_emplace(m.now, false);
    if (fresh) known->second = custom::is_unchanged(*m.schema, *m.now, *m.before);
    return known->second;
  }

  // The message that the expression has given; empty when it gave none. `over`: what is said instead, and nothing runs
  // any more.
  std::string message_of(const rule& r, bool& over) {
    if (ran_.cost > left_) {
      over = true;
      return "messageExpression evaluation failed due to running out of cost budget, no further validation rules will "
             "be run";
    }
    if (!ran_.result && ran_.result.error().why == cel::failure::reason::over_budget) {
      over = true;
      return fmt::format(
          "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
          quote(r.tells->text()));
    }
    left_ -= ran_.cost;
    if (!ran_.result || !ran_.result->is(cel::kind::string)) return {};
    auto text = trim(ran_.result->as_text());
    if (text.size() > expressions::message_max_bytes || text.find('\n') != text.npos) return {};
    return std::string(text);
  }

  static constexpr std::string_view out_of_budget =
      "validation failed due to running out of cost budget, no further validation rules will be run";
  causes& out_;
  std::vector<std::string>& warnings_;
  std::uint64_t left_ = expressions::object_budget;
  std::deque<place> places_;  // each names the one above it
  std::vector<spot> spots_;
  std::unordered_map<const json::value*, bool> unchanged_;
  std::size_t next_ = 0, rule_ = 0;
  std::optional<cel::arena> memory_;  // while the next place's rules run
  cel::value self_, old_;
  bool stopped_ = false;
  // Of the rule whose turn it is.
  std::optional<cel::bindings> with_;
  cel::outcome ran_;
  bool telling_ = false;
  cel::paced turns_;  // ends before what it refers to
};

rule_run::rule_run(const rule_tree& rules, causes& out, std::vector<std::string>& warnings, const node& schema,
                   const json::value& object, const json::value* before)
    : state_(std::make_unique<state>(out, warnings)) {
  past was;
  if (before) was.here = {&schema, &object, before};
  state_->collect(rules, schema, object, before, was, nullptr);
}
rule_run::~rule_run() = default;
bool rule_run::step() { return state_->step(); }

void rule_tree::check_default(causes& out, const node& schema, const json::value& standard) const {
  std::vector<std::string> none;
  rule_run::state one(out, none);
  one.collect(*this, schema, standard, &standard, {}, nullptr);
  while (one.step()) continue;
}

}  // namespace kedge::api::custom
