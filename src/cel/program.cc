#include "cel/program.h"

#include <utility>

#include "cel/check.h"
#include "cel/estimate.h"
#include "cel/parse.h"
#include "cel/plan.h"

namespace kedge::cel {

program::program(std::shared_ptr<const environment> within, std::unique_ptr<const plan> p)
    : within_(std::move(within)), plan_(std::move(p)) {}
program::~program() = default;

const type& program::result_type() const noexcept { return plan_->result; }
range program::cost() const noexcept { return plan_->cost; }
const std::string& program::text() const noexcept { return plan_->text; }
bool program::uses(std::string_view variable) const noexcept { return plan_->variables.contains(variable); }

std::expected<std::shared_ptr<const program>, issues> compile(std::shared_ptr<const environment> within,
                                                              std::string_view text, const size_model* sizes) {
  issues found;
  parsed expression = parse(text, *within, found);
  if (!expression.root) return std::unexpected(std::move(found));
  const checked types = check(expression, *within, found);
  if (found.empty() && within->has_strict_literals()) check_literals(expression, types, found);
  if (!found.empty()) return std::unexpected(std::move(found));
  auto planned = make_plan(*expression.root, types, *within, text);
  if (!planned) {
    found.no_program = std::move(planned.error());
    return std::unexpected(std::move(found));
  }
  (*planned)->cost = estimate(*expression.root, types, *within, sizes);
  return std::make_shared<const program>(std::move(within), std::move(*planned));
}

bindings& bindings::set(std::string_view name, const value& v) {
  if (const auto* variable = of_->find_variable(name)) values_[variable->slot] = v;
  return *this;
}

const value& bindings::at(std::size_t slot) const noexcept {
  static const value absent{};
  return slot < values_.size() ? values_[slot] : absent;
}

}  // namespace kedge::cel
