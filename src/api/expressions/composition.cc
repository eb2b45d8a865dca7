#include "api/expressions/composition.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "api/expressions/limits.h"
#include "base/strings.h"

namespace kedge::api::expressions {
namespace {

constexpr std::string_view variables_type = "kubernetes.variables";

// A variable's type as those after it see it: what has no plain form is known only when it runs.
cel::type shared_type(const cel::type& t) {
  switch (t.kind()) {
    case cel::type_kind::list: return cel::type::list(shared_type(t.parameters()[0]));
    case cel::type_kind::map: return cel::type::map(shared_type(t.parameters()[0]), shared_type(t.parameters()[1]));
    case cel::type_kind::null:
    case cel::type_kind::boolean:
    case cel::type_kind::integer:
    case cel::type_kind::unsigned_integer:
    case cel::type_kind::real:
    case cel::type_kind::string:
    case cel::type_kind::bytes:
    case cel::type_kind::duration:
    case cel::type_kind::timestamp: return t;
    default: return cel::type::dyn();
  }
}

cel::value document(const json::value* v) { return v ? cel::value::json(*v) : cel::value::null(); }

}  // namespace

expression compile_expression(std::shared_ptr<const cel::environment> within, std::string_view text, results allowed) {
  expression out{.text = std::string(text), .program = nullptr, .wrong = {}};
  auto compiled = cel::compile(std::move(within), text);
  if (!compiled) {
    out.wrong = "compilation failed: " + cel::issues_text(compiled.error(), text);
    return out;
  }
  auto& gives = (*compiled)->result_type();
  if (allowed.empty() || std::ranges::find(allowed, gives) != allowed.end()) {
    out.program = *std::move(compiled);
    return out;
  }
  std::vector<std::string> names;
  for (auto& t : allowed) names.push_back(t.is(cel::type_kind::null) ? "null_type" : t.text());
  out.wrong = names.size() == 1
                  ? fmt::format("must evaluate to {} but got {}", names[0], gives.text())
                  : fmt::format("must evaluate to one of [{}] but got {}", join(names, " "), gives.text());
  return out;
}

results boolean_result() {
  static const std::array all{cel::type::boolean()};
  return all;
}
results text_result() {
  static const std::array all{cel::type::string()};
  return all;
}
results text_or_null_result() {
  static const std::array all{cel::type::string(), cel::type::null()};
  return all;
}
results object_result() {
  static const std::array all{cel::type::object("Object")};
  return all;
}
results patch_result() {
  static const std::array all{cel::type::list(cel::type::object("JSONPatch"))};
  return all;
}

class composition::fields final : public cel::type_provider {
 public:
  bool has_type(std::string_view name) const override { return name == variables_type; }
  std::optional<cel::type> field(std::string_view type_name, std::string_view field) const override {
    auto it = types.find(field);
    if (type_name != variables_type || it == types.end()) return std::nullopt;
    return it->second;
  }
  std::map<std::string, cel::type, std::less<>> types;
};

composition::composition(bool params) : params_(params), known_(std::make_shared<fields>()) {}
composition::composition(std::shared_ptr<const cel::environment> within)
    : base_(std::move(within)), known_(std::make_shared<fields>()) {}
composition::~composition() = default;

std::shared_ptr<const cel::environment> composition::within(bool authorizer, bool patches) const {
  auto& made = environments_[{authorizer, patches}];
  if (!made)
    made = (base_ ? base_ : admission_environment({.params = params_, .authorizer = authorizer, .patches = patches}))
               ->extend()
               .variable("variables", cel::type::object(std::string(variables_type)))
               .types(known_)
               .build();
  return made;
}

const expression& composition::add(std::string name, std::string_view text) {
  auto e = compile_expression(within(true, false), text, {});
  known_->types.insert_or_assign(name, e.program ? shared_type(e.program->result_type()) : cel::type::dyn());
  return variables_.insert_or_assign(std::move(name), std::move(e)).first->second;
}

expression composition::compile(std::string_view text, results allowed, bool authorizer, bool patches) const {
  return compile_expression(within(authorizer, patches), text, allowed);
}

const expression* composition::variable(std::string_view name) const {
  auto it = variables_.find(name);
  return it == variables_.end() ? nullptr : &it->second;
}

// The value of `variables`.
class evaluation::variables final : public cel::opaque {
 public:
  explicit variables(const evaluation& within) : within_(within) {}

  const cel::type& type() const override {
    static const auto one = cel::type::object(std::string(variables_type));
    return one;
  }
  bool equals(const cel::opaque& other) const override { return this == &other; }
  bool has_fields() const override { return true; }
  bool has_field(std::string_view name) const override { return within_.of_.variable(name) != nullptr; }
  cel::value field(std::string_view name, cel::arena& memory) const override {
    auto e = within_.of_.variable(name);
    if (!e) return {};
    auto known = known_.find(e);
    if (known != known_.end()) return known->second;
    if (within_.paused_) return paused(memory);
    if (within_.depth_ == variables_depth_max) {
      within_.deeper_ = std::string(name);
      within_.paused_ = true;
      return paused(memory);
    }
    // Of two with one name the later one counts, also for itself.
    known_.emplace(e, cel::value::error(memory, fmt::format("composited variable {} asks for itself", quote(name))));
    ++within_.depth_;
    auto computed = compute(name, *e, memory);
    --within_.depth_;
    if (within_.paused_) {
      // What lies deeper may not ask for this one either.
      if (within_.deeper_)
        within_.frames_.back().begun.push_back(e);
      else
        known_.erase(e);
      return paused(memory);
    }
    known_[e] = computed;
    return computed;
  }
  // Those that did not come to an end.
  void forget(std::vector<const expression*>& begun) const {
    for (auto* e : begun) known_.erase(e);
    begun.clear();
  }

 private:
  cel::value compute(std::string_view name, const expression& e, cel::arena& memory) const {
    if (!e.program)
      return cel::value::error(memory,
                               fmt::format("composited variable {} fails to compile: {}", quote(name), e.wrong));
    auto ran = within_.run(*e.program);
    if (memory.was_cut()) within_.paused_ = true;
    if (within_.paused_) return {};
    within_.spent_on_variables_ += ran.cost;
    if (ran.result) return *ran.result;
    // Each of those that build on it would say so again.
    if (auto& why = ran.result.error().message; why.size() > told_through_max_bytes)
      return cel::value::error(memory, why);
    return cel::value::error(
        memory, fmt::format("composited variable {} fails to evaluate: {}", quote(name), ran.result.error().message));
  }

  static cel::value paused(cel::arena& memory) { return cel::value::error(memory, "others first"); }

  const evaluation& within_;
  mutable std::unordered_map<const expression*, cel::value> known_;
};

evaluation::evaluation(const composition& of, const admission_values& values, cel::arena& memory, std::uint64_t budget)
    : of_(of), values_(values), memory_(memory), budget_(budget) {}

cel::bindings& evaluation::bindings_within(const cel::program& p) const {
  for (auto& [environment, made] : bindings_)
    if (environment == p.within().get()) return *made;
  return *bindings_.emplace_back(p.within().get(), std::make_unique<cel::bindings>(p)).second;
}

cel::value evaluation::variables_value() const {
  if (!variables_) variables_ = memory_.make<variables>(*this);
  return cel::value::opaque(variables_);
}

// Of a policy's expressions most look at the object alone, and a cluster has many policies: what isn't used isn't
// bound.
cel::bindings& evaluation::bound(const cel::program& p) const {
  auto& out = bindings_within(p);
  auto bind = [&](std::string_view name, auto&& make) {
    if (p.uses(name)) out.set(name, make());
  };
  bind("object", [&] { return document(values_.object); });
  bind("oldObject", [&] { return document(values_.old); });
  bind("request", [&] { return document(values_.request); });
  bind("params", [&] { return document(values_.params); });
  bind("namespaceObject", [&] { return document(values_.home); });
  bind("variables", [&] { return variables_value(); });
  if (!values_.access) return out;
  auto once = [](cel::value& known, auto&& make) {
    if (known.is(cel::kind::absent)) known = make();
    return known;
  };
  bind("authorizer", [&] { return once(authorizer_, [&] { return authorizer_value(*values_.access, memory_); }); });
  bind("authorizer.requestResource", [&] {
    return once(resource_check_, [&] { return resource_check_value(*values_.access, *values_.resource, memory_); });
  });
  return out;
}

cel::outcome evaluation::run(const cel::program& p) const { return cel::run(p, bound(p), memory_, call_budget); }

evaluation::outcome evaluation::run(const expression& e) {
  for (;;)
    if (auto done = step(e)) return *std::move(done);
}

std::optional<evaluation::outcome> evaluation::step(const expression& e) {
  if (!e.program) return std::unexpected(failure{false, "compilation error: " + e.wrong});
  if (begun_ != &e) {
    turns_ = cel::paced();
    spent_on_variables_ = 0;
    if (variables_)
      for (auto& f : frames_) variables_->forget(f.begun);
    frames_.assign(1, {});
  }
  begun_ = &e;
  const bool ended = turns_.step(memory_, [this, &e] {
    paused_ = false;
    deeper_.reset();
    if (variables_) variables_->forget(frames_.back().begun);
    done_ = rest(e);
  });
  if (!ended) return std::nullopt;
  if (deeper_) frames_.push_back({*std::exchange(deeper_, std::nullopt), {}});
  return std::exchange(done_, std::nullopt);
}

// The last frame's part.
std::optional<evaluation::outcome> evaluation::rest(const expression& e) {
  if (frames_.size() > 1) {
    (void)variables_->field(frames_.back().name, memory_);
    if (!paused_) frames_.pop_back();
    return std::nullopt;
  }
  auto ran = run(*e.program);
  if (paused_ || memory_.was_cut()) return std::nullopt;
  begun_ = nullptr;
  if (spent_on_variables_ > budget_ || ran.cost > budget_ - spent_on_variables_)
    return std::unexpected(
        failure{true, "validation failed due to running out of cost budget, no further validation rules will be run"});
  budget_ -= spent_on_variables_ + ran.cost;
  if (ran.result) return *ran.result;
  return std::unexpected(
      failure{false, fmt::format("expression '{}' resulted in error: {}", e.text, ran.result.error().message)});
}

}  // namespace kedge::api::expressions
