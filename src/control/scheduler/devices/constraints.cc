#include "control/scheduler/devices/constraints.h"

#include <algorithm>

namespace kedge::control::scheduler {
namespace {

// By its full name, or the driver's own by what stands behind the domain; null: the device hasn't got it.
const json::value* attribute_of(const device& d, std::string_view driver, std::string_view name) {
  auto& all = d.facts["attributes"];
  if (auto found = all.find(name)) return found;
  auto slash = name.find('/');
  return slash != name.npos && name.substr(0, slash) == driver ? all.find(name.substr(slash + 1)) : nullptr;
}

// The member by which an attribute has its value; empty for values that can't be compared.
std::string_view type_of(const json::value& attribute) {
  for (std::string_view name : {"string", "int", "bool", "version"})
    if (!attribute[name].is_null()) return name;
  return {};
}

}  // namespace

bool constraint_state::is_about(const device_request& r) const noexcept {
  auto& names = of_->requests;
  auto has = [&](std::string_view name) { return std::ranges::find(names, name) != names.end(); };
  return names.empty() || has(r.of.empty() ? r.name : r.of) || (!r.of.empty() && has(r.full_name()));
}

bool constraint_state::takes(const json::value& attribute) const noexcept {
  if (attributes_.empty()) return true;
  auto type = type_of(attribute);
  if (type.empty()) return false;
  auto same = [&](const json::value* other) { return (*other)[type] == attribute[type]; };
  return of_->what == device_constraint::kind::match ? same(attributes_.front())
                                                     : std::ranges::none_of(attributes_, same);
}

bool constraint_state::add(const device_request& r, const device& d, std::string_view driver) {
  if (!is_about(r)) return true;
  auto attribute = attribute_of(d, driver, of_->attribute);
  if (!attribute || !takes(*attribute)) return false;
  attributes_.push_back(attribute);
  return true;
}

void constraint_state::remove(const device_request& r) {
  if (is_about(r)) attributes_.pop_back();
}

}  // namespace kedge::control::scheduler
