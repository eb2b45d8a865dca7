// rules.h: x-kubernetes-validations of a schema, compiled, and what they say of an object.
//
//   schema ─▶ a tree of the places that have rules ─▶ each rule on the value there, with what was there before, within
//   one budget for the object
//
// Values are matched with what was there before by name, and items of lists of type map by their keys; other items have
// no past. What is wrong and was so before is only warned of, unless the rule itself looks at the past. Immutable;
// shared by cores.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/custom/structural.h"
#include "api/expressions/schema.h"
#include "cel/program.h"
#include "json/value.h"
#include "meta/validate.h"

namespace kedge::api::custom {

struct rule {
  std::string text, message, reason;  // without white space around; reason: empty for FieldValueInvalid
  std::string field;                  // of fieldPath, as messages spell it; empty: the place itself
  std::shared_ptr<const cel::program> program, tells;
  std::string wrong, tells_wrong;  // why there is no program: kube-apiserver's words
  bool uses_old = false;
  bool optional_old = false;
};

// The rules of one place, `props`, whose values `self` describes. None when it has none.
std::vector<rule> compile_rules_at(const json::value& props, const expressions::declaration& self);

class rule_run;

class rule_tree {
 public:
  // Null when the schema has no rules. `root`: it is a whole object.
  static std::unique_ptr<const rule_tree> compile(const json::value& props, bool root = true);

  // A default, which must be good by itself; as if it had been there before.
  void check_default(causes& out, const node& schema, const json::value& standard) const;

 private:
  friend class rule_run;
  std::string type;  // as the schema says it
  std::vector<rule> rules;
  bool undeclared = false;  // there are rules, and nothing is known of what they are about
  std::shared_ptr<const expressions::declaration> self;
  std::unique_ptr<const rule_tree> items, additional;
  std::vector<std::pair<std::string, std::unique_ptr<const rule_tree>>> properties;  // by name
};

// One object's way through the rules, a rule a step: whoever lets others go between two steps holds nobody up longer
// than one rule may take (expressions::call_budget). All that it is given outlives it.
class rule_run {
 public:
  // `schema`: of the same props as the rules. `warnings`: texts of what was wrong before.
  rule_run(const rule_tree& rules, causes& out, std::vector<std::string>& warnings, const node& schema,
           const json::value& object, const json::value* before);
  ~rule_run();
  // False: there is nothing more to do.
  bool step();

 private:
  friend class rule_tree;
  class state;
  std::unique_ptr<state> state_;
};

}  // namespace kedge::api::custom
