// program.h: the two verbs: compile a text, run a program.
//
//   auto env = environment::standard().variable("self", type::dyn()).build();
//   auto compiled = compile(env, "self.replicas <= 5");            // once, any core
//   if (!compiled) return issues_text(compiled.error(), text);
//   arena memory;                                                  // each time, on whichever core
//   bindings with(**compiled);
//   with.set("self", value::json(document));
//   outcome ran = run(**compiled, with, memory, 1'000'000);
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cel/arena.h"
#include "cel/cost.h"
#include "cel/environment.h"
#include "cel/issue.h"
#include "cel/type.h"
#include "cel/value.h"

namespace kedge::cel {

struct plan;

// A checked expression, ready to run. Never changes; shared by cores.
class program {
 public:
  const type& result_type() const noexcept;
  range cost() const noexcept;  // estimated before it runs
  const std::string& text() const noexcept;
  bool uses(std::string_view variable) const noexcept;
  const std::shared_ptr<const environment>& within() const noexcept { return within_; }

  ~program();
  program(std::shared_ptr<const environment> within, std::unique_ptr<const plan> p);
  const plan& steps() const noexcept { return *plan_; }

 private:
  std::shared_ptr<const environment> within_;
  std::unique_ptr<const plan> plan_;
};

// `sizes` (may be null) is asked only now. What is found wrong is in the order of cel-go's.
std::expected<std::shared_ptr<const program>, issues> compile(std::shared_ptr<const environment> within,
                                                              std::string_view text, const size_model* sizes = nullptr);

// The variables' values for a run, by slot.
class bindings {
 public:
  explicit bindings(const environment& of) : of_(&of), values_(of.slots()) {}
  explicit bindings(const program& p) : bindings(*p.within()) {}
  // A name that isn't declared is left out. The value must live as long as what the run gives.
  bindings& set(std::string_view name, const value& v);
  const value& at(std::size_t slot) const noexcept;

 private:
  const environment* of_;
  std::vector<value> values_;
};

struct failure {
  enum class reason : std::uint8_t {
    error,       // the expression's own: a missing key, a division by zero
    over_budget  // it would cost more than it may
  };
  reason why = reason::error;
  std::string message;  // cel-go's
};

struct outcome {
  std::expected<value, failure> result;
  std::uint64_t cost = 0;  // spent, also when it failed
};

// Bounded by `budget` and by the arena's memory; never waits. The result lives as long as the program, the bindings'
// values and the arena.
outcome run(const program& p, const bindings& with, arena& memory, std::uint64_t budget);

}  // namespace kedge::cel
