// composition.h: the expressions of one policy, which may use each other's results: variables.x.
//
//   composition: add(name, text) … ─▶ compile(text) … ─▶ kept with the policy, shared by cores
//   evaluation: what is there (object, request, …) and a budget ─▶ run(expression) … ─▶ a value, an error, or the end
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/expressions/authorizer.h"
#include "api/expressions/environment.h"
#include "cel/paced.h"
#include "cel/program.h"

namespace kedge::api::expressions {

// A compiled text, or why it isn't one.
struct expression {
  std::string text;
  std::shared_ptr<const cel::program> program;  // null: `wrong` says why, as kube-apiserver does
  std::string wrong;                            // "compilation failed: …", "must evaluate to bool but got int"
};
// The types that it may give. None: any.
using results = std::span<const cel::type>;
expression compile_expression(std::shared_ptr<const cel::environment> within, std::string_view text, results allowed);

// What such expressions must give.
results boolean_result();
results text_result();
results text_or_null_result();  // of audit annotations
results object_result();        // Object{…}, of apply configurations
results patch_result();         // [JSONPatch{…}]

// Lives in a shared pointer, with the policy; not to be changed any more when the first evaluation begins.
class composition {
 public:
  // `params`: they may speak of params.
  explicit composition(bool params);
  // Within another environment than admission's, to be checked alone.
  explicit composition(std::shared_ptr<const cel::environment> within);
  ~composition();

  // The next variable: it may use those before it, and is known to what is compiled after it.
  const expression& add(std::string name, std::string_view text);
  expression compile(std::string_view text, results allowed, bool authorizer = true, bool patches = false) const;

  const expression* variable(std::string_view name) const;

 private:
  friend class evaluation;
  // The variables' types, for the checker.
  class fields;
  std::shared_ptr<const cel::environment> within(bool authorizer, bool patches) const;
  bool params_ = false;
  std::shared_ptr<const cel::environment> base_;  // null: admission's
  std::map<std::string, expression, std::less<>> variables_;
  std::shared_ptr<fields> known_;
  mutable std::map<std::pair<bool, bool>, std::shared_ptr<const cel::environment>> environments_;  // while compiling
};

// What expressions of admission see. All is borrowed; null pointers are null.
struct admission_values {
  const json::value *object = nullptr, *old = nullptr, *request = nullptr, *params = nullptr, *home = nullptr;
  const access_host* access = nullptr;        // null: there is no authorizer
  const access_question* resource = nullptr;  // of authorizer.requestResource; never null where there is one
};

// One pass over some of a policy's expressions for one request. Variables are computed when the first one asks, once.
class evaluation {
 public:
  evaluation(const composition& of, const admission_values& values, cel::arena& memory, std::uint64_t budget);
  evaluation(const evaluation&) = delete;

  struct failure {
    bool out_of_budget = false;  // nothing may be run after this
    std::string message;
  };
  using outcome = std::expected<cel::value, failure>;
  // As much of it as nobody else need wait for (cel/paced.h). nullopt: it is to be called again with the same
  // expression, which stays where it is, and goes on.
  std::optional<outcome> step(const expression& e);
  // All of it at once.
  outcome run(const expression& e);
  std::uint64_t left() const noexcept { return budget_; }

 private:
  class variables;
  cel::outcome run(const cel::program& p) const;
  cel::bindings& bindings_within(const cel::program& p) const;
  cel::bindings& bound(const cel::program& p) const;
  cel::value variables_value() const;

  const composition& of_;
  const admission_values& values_;
  cel::arena& memory_;
  std::uint64_t budget_;
  // Variables that build on each other deeper than a stack may hold are computed from the deepest one up: each frame is
  // a variable that the one before it came to, the first one the expression itself.
  struct frame {
    std::string name;
    std::vector<const expression*> begun;  // on the way to the next frame's
  };
  std::optional<outcome> rest(const expression& e);

  const expression* begun_ = nullptr;  // that was not finished by the last step
  mutable std::vector<frame> frames_;
  mutable std::optional<std::string> deeper_;  // what is to be computed before this frame can go on
  mutable int depth_ = 0;                      // of variables that are being computed, each for the one before it
  mutable std::uint64_t spent_on_variables_ = 0;
  mutable bool paused_ = false;  // what this step gives means nothing
  // What few expressions use is made when one does.
  mutable const variables* variables_ = nullptr;
  mutable cel::value authorizer_, resource_check_;
  mutable std::vector<std::pair<const cel::environment*, std::unique_ptr<cel::bindings>>> bindings_;
  std::optional<outcome> done_;
  cel::paced turns_;  // ends before what it refers to
};

}  // namespace kedge::api::expressions
