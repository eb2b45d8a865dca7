#include "cel/environment.h"

#include <algorithm>

#include "cel/functions/libraries.h"

namespace kedge::cel {

value type_provider::make(std::string_view type_name, std::span<const std::pair<std::string_view, value>>,
                          arena& memory) const {
  return value::error(memory, "unknown type '" + std::string(type_name) + "'");
}

environment::builder& environment::builder::variable(std::string name, type t) {
  auto& all = made_->variables_;
  auto found = all.find(name);
  if (found != all.end()) {
    found->second.type = std::move(t);
    return *this;
  }
  const std::size_t slot = all.size();
  all.emplace(name, environment::variable{name, std::move(t), slot});
  return *this;
}

environment::builder& environment::builder::function(cel::function f) {
  auto& there = made_->functions_[f.name];
  if (there) {
    // Functions are shared with the environment from which this one was made.
    cel::function both = *there;
    for (overload& o : f.overloads) both.overloads.push_back(std::move(o));
    if (f.any) both.any = f.any;
    there = std::make_shared<const cel::function>(std::move(both));
  } else {
    there = std::make_shared<const cel::function>(std::move(f));
  }
  return *this;
}

namespace {

std::string macro_key(std::string_view name, std::size_t arguments, bool member) {
  return std::string(name) + (member ? ".m" : ".g") + std::to_string(arguments);
}

}  // namespace

environment::builder& environment::builder::macro(cel::macro m) {
  std::string key = macro_key(m.name, m.arguments, m.member);
  made_->macros_.insert_or_assign(std::move(key), std::move(m));
  return *this;
}

environment::builder& environment::builder::constant(std::string name, type t, value v) {
  made_->constants_.insert_or_assign(std::move(name), std::make_shared<const named>(named{std::move(t), v}));
  return *this;
}

environment::builder& environment::builder::types(std::shared_ptr<const type_provider> provider) {
  made_->providers_.push_back(std::move(provider));
  return *this;
}

environment::builder& environment::builder::costs(std::shared_ptr<const cost_model> model) {
  made_->costs_ = std::move(model);
  return *this;
}

environment::builder& environment::builder::strict_literals() {
  made_->strict_literals_ = true;
  return *this;
}

std::shared_ptr<const environment> environment::builder::build() {
  // What is built doesn't change, should the builder go on.
  return std::shared_ptr<const environment>(new environment(*made_));
}

environment::builder environment::standard() {
  builder b;
  b.made_ = std::shared_ptr<environment>(new environment());
  add_standard(b);
  add_optionals(b);
  return b;
}

environment::builder environment::extend() const {
  builder b;
  b.made_ = std::shared_ptr<environment>(new environment(*this));
  return b;
}

namespace {

template <typename Map>
auto* pointer_in(Map& map, std::string_view name) {
  auto found = map.find(name);
  return found == map.end() ? nullptr : &found->second;
}

// A dot in front says that the name is meant from the outermost on, as all names here are.
std::string_view absolute(std::string_view name) { return name.starts_with('.') ? name.substr(1) : name; }

}  // namespace

const environment::variable* environment::find_variable(std::string_view name) const {
  return pointer_in(variables_, absolute(name));
}

const function* environment::find_function(std::string_view name) const {
  auto found = pointer_in(functions_, absolute(name));
  return found ? found->get() : nullptr;
}

const macro* environment::find_macro(std::string_view name, std::size_t arguments, bool member) const {
  return pointer_in(macros_, macro_key(name, arguments, member));
}

const environment::named* environment::find_constant(std::string_view name) const {
  auto found = pointer_in(constants_, absolute(name));
  return found ? found->get() : nullptr;
}

const type_provider* environment::provider_of(std::string_view type_name) const {
  auto found = std::ranges::find_if(providers_, [&](const auto& p) { return p->has_type(absolute(type_name)); });
  return found == providers_.end() ? nullptr : found->get();
}

bool environment::has_type(std::string_view name) const { return provider_of(name) != nullptr; }

std::optional<type> environment::field(std::string_view type_name, std::string_view field) const {
  const type_provider* p = provider_of(type_name);
  return p ? p->field(absolute(type_name), field) : std::nullopt;
}

}  // namespace kedge::cel
